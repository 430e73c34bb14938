"""SCFs that begin with what DIIS learned at other geometries: the same energies in fewer cycles."""

from pathlib import Path

import numpy as np
import pytest
from pyscf import lib
from pyscf.scf.diis import CDIIS

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.diis_history import continued_diis, history_of
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.recycled_diis import Pair, RecycledDiis
from alkaflow.workflows.surface import KohnShamGradient

# Li at the oxygen of formaldehyde [Angstrom]
POSITIONS = np.array([[0, 0, 0], [0, 0, 1.23], [0, 0.94, -0.58], [0, -0.94, -0.58], [0.1, 0.3, 3.0]])
COMPLEX = Structure(("C", "O", "H", "H", "Li"), POSITIONS, 0, 2)
CATION = Structure(COMPLEX.symbols, POSITIONS, 1, 1)


def level() -> KohnSham:
    given = parse_level("b3lyp-d3bj/6-31g")
    assert isinstance(given, KohnSham)
    return given.model_copy(update={"grid": 1, "energy_threshold": 1e-8, "gradient_threshold": 1e-5})


def mean_field_of(structure: Structure) -> object:
    mean_field = build_mean_field(build_molecule(structure, level(), 2000), level())
    set_grid(mean_field, 1)
    return mean_field


@pytest.mark.parametrize("structure", [COMPLEX, CATION], ids=["unrestricted", "restricted"])
def test_without_earlier_ones_it_is_pyscfs(structure: Structure) -> None:
    """The same Fock matrices from the same densities, and what is remembered of them."""
    mean_field = mean_field_of(structure)
    ours, pyscf = RecycledDiis(mean_field), CDIIS(mean_field)
    overlap = mean_field.get_ovlp()
    pyscf.Corth = mean_field.check_linear_dependency(overlap)
    density = np.array(mean_field.get_init_guess())
    for _ in range(4):
        fock = mean_field.get_fock(dm=density)
        found = ours.update(overlap, density, fock)
        np.testing.assert_allclose(found, pyscf.update(overlap, density, fock), atol=1e-7)
        energies, orbitals = mean_field.eig(found, overlap)
        occupations = mean_field.get_occ(energies, orbitals)
        density = mean_field.make_rdm1(orbitals, occupations)
    state = {"mf": mean_field, "mo_occ": occupations}
    remembered, known = (history_of(state | {"mf_diis": each}) for each in (ours, pyscf))
    assert set(remembered) == set(known)
    for name, array in known.items():
        np.testing.assert_allclose(remembered[name], array, atol=1e-9)
    fock = mean_field.get_fock(dm=density)
    again = continued_diis(mean_field, remembered)
    np.testing.assert_allclose(again.update(overlap, density, fock), ours.update(overlap, density, fock), atol=1e-6)


def test_a_change_that_was_seen_elsewhere_is_taken_at_once() -> None:
    """Where half of an earlier change of the error cancels this one, half of its change of the Fock matrix is taken."""
    mean_field = mean_field_of(COMPLEX)
    density = np.array(mean_field.get_init_guess())
    fock = np.array(mean_field.get_fock(dm=density))
    first = RecycledDiis(mean_field)
    assert first.update(None, density, fock) is fock
    values, vectors = np.linalg.eigh(mean_field.get_ovlp())
    root = (vectors * np.sqrt(values)) @ vectors.T
    wrong = [root @ d @ f @ np.linalg.inv(root) for d, f in zip(density, fock, strict=True)]
    error = np.array([lib.pack_tril(each.T - each) for each in wrong])
    change = np.array([lib.pack_tril(each + each.T) for each in np.random.default_rng(0).random(fock.shape)])
    found = RecycledDiis(mean_field, [Pair(change, -2 * error)]).update(None, density, fock)
    expected = [f + root @ lib.unpack_tril(c) @ root / 2 for f, c in zip(fock, change, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_an_scf_keeps_what_it_learned() -> None:
    mean_field = mean_field_of(COMPLEX)
    kept = []
    guess = lib.tag_array(mean_field.get_init_guess(), pairs=[])
    converge(mean_field, guess, lambda state: kept.append(len(state["mf_diis"].pairs)))
    assert kept[:3] == [0, 0, 1]  # the first Fock matrix is that of a guess
    assert kept[-1] == 7


def test_a_relaxation_takes_fewer_cycles_to_the_same_energies(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = [POSITIONS + 0.02 * k * rng.uniform(-1, 1, POSITIONS.shape) for k in range(5)]
    cycles: dict[bool, list[int]] = {}
    energies: dict[bool, list[float]] = {}
    for recycled in (True, False):
        surface = KohnShamGradient(COMPLEX, level(), 2000, Progress(tmp_path), grid=1)
        guess = None
        cycles[recycled], energies[recycled] = [], []
        for positions in path:
            if not recycled:
                surface._pairs = []
            found = surface(positions / BOHR_ANGSTROM, guess)
            guess = found.guess
            cycles[recycled].append(found.cycles)
            energies[recycled].append(found.energy)
    np.testing.assert_allclose(energies[True], energies[False], atol=1e-7)
    assert cycles[True][0] == cycles[False][0]
    assert sum(cycles[True][1:]) < 0.8 * sum(cycles[False][1:])


def test_a_singlet_that_breaks_its_symmetry_begins_anew(tmp_path: Path) -> None:
    """What a restricted SCF learned does not fit the unrestricted ones after it."""
    positions = np.array([[0, 0, 0], [0, 0, 1.6]]) / BOHR_ANGSTROM
    hydrogen = Structure(("H", "H"), positions * BOHR_ANGSTROM, 0, 1)
    surface = KohnShamGradient(hydrogen, level(), 1000, Progress(tmp_path), grid=1, stabilised=True)
    first = surface(positions, None)
    assert "coefficients_alpha" in first.guess
    second = surface(positions * 1.02, first.guess)
    assert second.energy > first.energy
    assert 1 <= second.cycles < 30
