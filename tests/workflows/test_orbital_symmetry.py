"""Representations by quadrature, against PySCF's symmetry-adapted orbitals and their character tables."""

from typing import Any

import numpy as np
import pytest

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.structures.symmetry import Operation
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.orbital_symmetry import expectation_values, reflections_and_turns, representations
from alkaflow.workflows.pyscf_engine import build_molecule

FORMALDEHYDE = Structure(
    ("O", "C", "H", "H"), np.array([[0, 0, 1.21], [0, 0, 0], [0.94, 0, -0.58], [-0.94, 0, -0.58]]), 0, 1
)
# rows: the twofold axis z, the planes xz and yz
CHARACTERS = {"A1": (1, 1, 1), "A2": (1, -1, -1), "B1": (-1, 1, -1), "B2": (-1, -1, 1)}


def level() -> KohnSham:
    found = parse_level("b3lyp/6-31g")
    assert isinstance(found, KohnSham)
    return found


def adapted_orbitals() -> tuple[np.ndarray, list[str]]:
    """Orbitals of formaldehyde and the names of their representations, by PySCF alone."""
    from pyscf import gto, scf, symm

    molecule = gto.M(
        atom=[(s, tuple(x / BOHR_ANGSTROM)) for s, x in zip(FORMALDEHYDE.symbols, FORMALDEHYDE.positions, strict=True)],
        unit="Bohr",
        basis="6-31g",
        symmetry="C2v",
        verbose=0,
    )
    mean_field = scf.RHF(molecule)
    mean_field.chkfile = None
    mean_field.kernel()
    names = symm.label_orb_symm(molecule, molecule.irrep_name, molecule.symm_orb, mean_field.mo_coeff)
    return mean_field.mo_coeff, list(names)


def grids(structure: Structure) -> tuple[Any, Any]:
    from pyscf import dft

    molecule = build_molecule(structure, level(), 2000)
    grids = dft.Grids(molecule)
    grids.level = 0
    return molecule, grids.build()


def in_order(structure: Structure) -> list[Operation]:
    """Operations in the order of `CHARACTERS`: by what they leave of x and y."""
    found = reflections_and_turns(structure)
    assert len(found) == 3
    signs = [(-1, -1), (1, -1), (-1, 1)]
    return sorted(found, key=lambda o: signs.index((round(o.matrix[0, 0]), round(o.matrix[1, 1]))))


def test_representations_are_those_of_the_point_group() -> None:
    orbitals, names = adapted_orbitals()
    molecule, grid = grids(FORMALDEHYDE)
    operations = in_order(FORMALDEHYDE)
    assert {*names} == {"A1", "B1", "B2"}
    assert representations(orbitals, molecule, grid, operations) == [CHARACTERS[name] for name in names]
    values = expectation_values(orbitals, molecule, grid, operations)
    assert values == pytest.approx(np.array([CHARACTERS[name] for name in names]).T, abs=0.01)


def test_a_relaxed_geometry_is_symmetric_enough() -> None:
    """Atoms off by 0.02 Angstrom, where PySCF sees no symmetry."""
    orbitals, names = adapted_orbitals()
    noise = 0.02 * np.random.default_rng(1).uniform(-1, 1, (4, 3))
    noisy = Structure(FORMALDEHYDE.symbols, FORMALDEHYDE.positions + noise, 0, 1)
    molecule, grid = grids(noisy)
    occupied = orbitals[:, :8]
    assert representations(occupied, molecule, grid, in_order(noisy)) == [CHARACTERS[name] for name in names[:8]]


def test_a_mixture_belongs_to_neither() -> None:
    orbitals, names = adapted_orbitals()
    homo, pi = 7, 6
    assert {names[homo], names[pi]} == {"B1", "B2"}
    molecule, grid = grids(FORMALDEHYDE)
    mixture = (orbitals[:, [homo]] + orbitals[:, [pi]]) / np.sqrt(2)
    assert representations(mixture, molecule, grid, in_order(FORMALDEHYDE)) == [(-1, 0, 0)]


def test_no_symmetry_no_operations() -> None:
    crooked = Structure(("O", "H", "F"), np.array([[0, 0, 0], [0.96, 0, 0], [-0.3, 1.4, 0]]), 0, 1)
    assert [np.linalg.det(o.matrix) for o in reflections_and_turns(crooked)] == [pytest.approx(-1)]  # its own plane
    chiral = Structure(
        ("C", "H", "F", "Cl", "Br"),
        np.array([[0, 0, 0], [0.63, 0.63, 0.63], [-0.8, -0.8, 0.8], [-1.0, 1.0, -1.0], [1.1, -1.1, -1.1]]),
        0,
        1,
    )
    assert reflections_and_turns(chiral) == []
