from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import (
    BUILTIN,
    Structure,
    from_ase,
    from_pymatgen,
    from_smiles,
    hatcn,
    load_host,
    to_ase,
    to_pymatgen,
    write_xyz,
)
from alkaflow.structures.graph import BondGraph


def test_builtin_hosts() -> None:
    formulas = {name: load_host(name).formula for name in BUILTIN}
    assert formulas == {
        "hatcn": "C18N12",
        "dicyanopyrazine": "C6H2N4",
        "pyrazine": "C4H4N2",
        "bipyrimidine": "C8H6N4",
    }
    assert np.array_equal(load_host("HATCN").positions, hatcn().positions)


def test_bipyrimidine_is_planar() -> None:
    positions = load_host("bipyrimidine").positions
    assert np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)[2] < 0.3


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my host.xyz"
    write_xyz(hatcn(), path)
    assert load_host(str(path)).formula == "C18N12"
    assert load_host(str(path), charge=-1).multiplicity == 2
    assert load_host(str(path), multiplicity=3).multiplicity == 3


def test_smiles_gives_known_bond_lengths() -> None:
    # benzene, experiment: C-C 1.397, C-H 1.084 Angstrom (Pliva et al. 1991, doi 10.1016/0022-2852(91)90249-R)
    benzene = from_smiles("c1ccccc1")
    graph = BondGraph(benzene)
    lengths = [float(np.linalg.norm(benzene.positions[i] - benzene.positions[j])) for i, j in graph.bonds]
    assert len(lengths) == 12
    assert min(lengths) == pytest.approx(1.084, abs=0.02)
    assert max(lengths) == pytest.approx(1.397, abs=0.02)


def test_smiles_is_reproducible_and_carries_its_charge() -> None:
    assert np.array_equal(from_smiles("CCO").positions, from_smiles("CCO").positions)
    ion = from_smiles("[O-]C(=O)c1ccccc1")
    assert (ion.charge, ion.multiplicity) == (-1, 1)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("hatcm", "did you mean 'hatcn'"),
        ("missing.xyz", "cannot read missing.xyz"),
        ("C1CC(", "not a SMILES"),
        ("C.C", "several pieces"),
        ("[CH3]", "radical electrons on atom 0"),
        ("", "not a SMILES"),
        ("C" * 300 + "(", "not a SMILES"),
    ],
)
def test_bad_hosts(host: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_host(host)


def test_unknown_builtin() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pyrazine'"):
        load_host("pyrazin")


@pytest.mark.parametrize("name", ["LiH", "CH3", "H2O"])
def test_ase_and_pymatgen_round_trips(name: str) -> None:
    atoms = molecule(name)
    structure = from_ase(atoms, multiplicity=2 if name == "CH3" else 1)
    for back in (from_ase(to_ase(structure)), from_pymatgen(to_pymatgen(structure))):
        assert back.symbols == structure.symbols
        assert np.allclose(back.positions, atoms.positions)
        assert (back.charge, back.multiplicity) == (structure.charge, structure.multiplicity)


def test_impossible_spin_is_refused() -> None:
    with pytest.raises(BadInputError, match="192 electrons cannot have multiplicity 2"):
        load_host("hatcn", multiplicity=2)
    with pytest.raises(BadInputError, match="3 electrons cannot have multiplicity 6"):
        Structure(("Li",), np.zeros((1, 3)), multiplicity=6)
