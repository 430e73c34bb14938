"""Charge and multiplicity on the way from ASE and pymatgen."""

import io
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from pymatgen.core import Molecule
from pymatgen.io.ase import AseAtomsAdaptor

from alkaflow.errors import BadInputError
from alkaflow.structures import from_ase, from_pymatgen


@pytest.mark.parametrize("name", ["O2", "CH3", "NO", "CN", "Si2", "SO", "CH2_s3B1d", "CH2_s1A1d", "H2O", "Li", "P"])
def test_moments_of_the_g2_set(name: str) -> None:
    """pymatgen, which reads the same moments, and the experimental ground states that ASE's set has, agree."""
    atoms = molecule(name)
    structure = from_ase(atoms)
    theirs = AseAtomsAdaptor.get_molecule(atoms)
    assert (structure.charge, structure.multiplicity) == (theirs.charge, theirs.spin_multiplicity)
    triplets, quartets = {"O2", "Si2", "SO", "CH2_s3B1d"}, {"P"}
    electrons = int(atoms.numbers.sum())
    assert structure.multiplicity == (3 if name in triplets else 4 if name in quartets else 1 + electrons % 2)


@pytest.mark.parametrize(
    ("arrays", "info", "charge", "multiplicity"),
    [
        ({}, {}, 0, 1),
        ({"magmoms": [1, 1]}, {}, 0, 3),
        ({"magmoms": [-1, -1]}, {}, 0, 3),
        ({"magmoms": [1, -1]}, {}, 0, 1),
        ({"magmoms": [0, 0]}, {"charge": 1}, 1, 2),
        ({"magmoms": [0.5002, 0.4999], "charges": [0.5, 0.5]}, {}, 1, 2),
        ({"charges": [-1.0, 0.0]}, {}, -1, 2),
        ({"charges": [0.25, -0.25]}, {}, 0, 1),
        ({"magmoms": [1, 1]}, {"multiplicity": 1}, 0, 1),
        ({"magmoms": [0.3, 0.3], "charges": [0.1, 0.1]}, {"multiplicity": 5, "charge": 0}, 0, 5),
        ({}, {"spin": 3}, 0, 3),
        ({}, {"spin_multiplicity": 3.0, "spin": 3, "charge": np.float64(-2)}, -2, 3),
    ],
)
def test_what_atoms_say(arrays: dict[str, Any], info: dict[str, Any], charge: int, multiplicity: int) -> None:
    """Of an oxygen molecule; the same after it was written in the extended XYZ format and read again."""
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], info=info, **arrays)
    text = io.StringIO()
    write(text, atoms, format="extxyz")
    text.seek(0)
    for given in (atoms, read(text, format="extxyz")):
        structure = from_ase(given)
        assert (structure.charge, structure.multiplicity) == (charge, multiplicity)
        assert (type(structure.charge), type(structure.multiplicity)) == (int, int)


@pytest.mark.parametrize(
    ("arrays", "info", "sentence"),
    [
        ({"magmoms": [0.3, 0.3]}, {}, r"initial magnetic moments of the ase\.Atoms sum to 0\.6000, which is no whole"),
        ({"charges": [0.1, 0.3]}, {}, r"initial charges .* sum to 0\.4000, .*set atoms\.info\['charge'\]"),
        ({"charges": [np.nan, 0]}, {}, "sum to nan"),
        ({"magmoms": [[0, 0, 1], [0, 0, 1]]}, {}, "are vectors; set atoms.info"),
        ({"magmoms": [1, 1]}, {"charge": 1}, "which sum to 2: 15 electrons cannot have multiplicity 3; give"),
        ({}, {"charge": 0.5}, r"atoms\.info\['charge'\] is '0\.5'; it must be a whole number"),
        ({}, {"charge": "foo"}, "is 'foo'; it must be a whole number"),
        ({}, {"charge": True}, "is 'True'; it must be a whole number"),
        ({}, {"spin": 0}, r"atoms\.info\['spin'\]: 16 electrons cannot have multiplicity 0; give the multiplicity"),
        ({}, {"spin": 2}, "16 electrons cannot have multiplicity 2"),
        ({}, {"spin": 3, "multiplicity": 1}, r"\['multiplicity'\] is 1 but atoms\.info\['spin'\] is 3; leave out"),
    ],
)
def test_what_atoms_cannot_say(arrays: dict[str, Any], info: dict[str, Any], sentence: str) -> None:
    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], info=info, **arrays)
    with pytest.raises(BadInputError, match=sentence):
        from_ase(atoms)
    structure = from_ase(atoms, charge=0, multiplicity=3)  # what is given overrides
    assert (structure.charge, structure.multiplicity) == (0, 3)


def test_a_charge_alone_keeps_the_moments() -> None:
    assert from_ase(molecule("O2"), charge=2).multiplicity == 3
    assert from_ase(molecule("H2O"), charge=1).multiplicity == 2
    with pytest.raises(BadInputError, match="which sum to 2: 15 electrons cannot have multiplicity 3"):
        from_ase(molecule("O2"), charge=1)


def test_crystals_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"set atoms\.pbc = False"):
        from_ase(bulk("Na"))
    boxed = molecule("H2O", vacuum=5.0)
    assert from_ase(boxed).formula == "H2O"
    boxed.pbc = [False, False, True]
    with pytest.raises(BadInputError, match="periodic boundaries are a crystal"):
        from_ase(boxed)


def test_the_state_of_a_molecule() -> None:
    """Of pymatgen's, as it stands and after its way through ASE."""
    cation = Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.1]], charge=1, spin_multiplicity=4)
    adapted = AseAtomsAdaptor.get_atoms(cation)
    for structure in (from_pymatgen(cation), from_ase(adapted)):
        assert (structure.charge, structure.multiplicity) == (1, 4)
    assert from_pymatgen(cation, charge=1).multiplicity == 4
    assert from_pymatgen(cation, charge=0).multiplicity == 1
    adapted.info["charge"] = 0
    with pytest.raises(BadInputError, match=r"atoms\.info\['charge'\] is 0 but atoms\.charge is 1"):
        from_ase(adapted)
    fraction = Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.1]], charge=0.5)
    with pytest.raises(BadInputError, match=r"charge of the pymatgen Molecule is '0\.5'"):
        from_pymatgen(fraction)
    assert from_pymatgen(fraction, charge=1).multiplicity == 2
