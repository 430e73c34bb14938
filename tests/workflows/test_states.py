"""Competing states, against PySCF's own runs within point groups, where each state is the lowest of its symmetry."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import Fragment
from alkaflow.errors import BadInputError
from alkaflow.levels import FUNCTIONALS, KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.checkpoint import load, save
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.guess import density_of, orbitals_in_basis
from alkaflow.workflows.lowest_state import Ordered, checkpoint_of_ordered, orbitals_of, order_states, ordered_in
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.scf_log import Log
from alkaflow.workflows.states import State, search_states

MEMORY = 2000


def level(text: str, **changes: Any) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump() | {"grid": 1} | changes)


# formaldehyde, C2v, with Li beyond the oxygen [Angstrom]
FORMALDEHYDE = Structure(
    ("O", "C", "H", "H", "Li"),
    np.array([[0, 0, 1.21], [0, 0, 0], [0.94, 0, -0.58], [-0.94, 0, -0.58], [0, 0, 3.11]]),
    0,
    2,
)
PARTS = (Fragment(atoms=(0, 1, 2, 3), charge=0, multiplicity=1), Fragment(atoms=(4,), charge=0, multiplicity=2))
# the ion pair LiO2, C2v in the plane yz [Angstrom]
SUPEROXIDE = Structure(("O", "O", "Li"), np.array([[0, 0.675, 0], [0, -0.675, 0], [0, 0, 1.62]]), 0, 2)


def in_its_point_group(structure: Structure, method: KohnSham, occupied: dict[str, tuple[int, int]]) -> float:
    """Energy of the lowest state with so many electrons of each spin in each representation of C2v, by PySCF alone."""
    from pyscf import dft, gto

    positions = structure.positions / BOHR_ANGSTROM
    molecule = gto.M(
        atom=[(s, tuple(map(float, x))) for s, x in zip(structure.symbols, positions, strict=True)],
        unit="Bohr",
        basis=method.basis,
        spin=structure.multiplicity - 1,
        symmetry="C2v",
        verbose=0,
    )
    mean_field = dft.UKS(molecule).density_fit(auxbasis=method.fitting)
    mean_field.xc, mean_field.chkfile, mean_field.grids.level = FUNCTIONALS[method.functional], None, method.grid
    mean_field.irrep_nelec, mean_field.conv_tol, mean_field.conv_tol_grad = occupied, 1e-9, 1e-5
    mean_field.kernel()
    assert mean_field.converged
    return float(mean_field.e_tot)


def electrons_elsewhere(one: Any, other: Any, overlap: np.ndarray) -> float:
    """Sum over spins of the electrons by which two densities differ: through a Cholesky factor of the overlap."""
    factor = np.linalg.cholesky(overlap)
    return sum(float(abs(np.linalg.eigvalsh(factor.T @ (a - b) @ factor)).sum()) / 2 for a, b in zip(one, other))  # noqa: B905


@pytest.fixture(scope="module")
def found() -> list[State]:
    return search_states(FORMALDEHYDE, level("b3lyp/sto-3g", grid=0), PARTS, MEMORY, swaps=1)


def test_both_states_of_lithium_on_formaldehyde(found: list[State]) -> None:
    """The odd electron on Li (2A1), on the pi* of the carbonyl (2B2, the plane being xz), and what breaks the symmetry.

    All guesses lead to 2A1, a saddle point: Li takes up some of its p orbitals off the axis.
    """
    method = level("b3lyp/sto-3g", grid=0)
    on_lithium = in_its_point_group(FORMALDEHYDE, method, {"A1": (7, 6), "B1": (2, 2), "B2": (1, 1)})
    on_carbonyl = in_its_point_group(FORMALDEHYDE, method, {"A1": (6, 6), "B1": (2, 2), "B2": (2, 1)})
    energies = [state.energy for state in found]
    assert energies == sorted(energies)
    assert len(energies) == 3
    assert energies[1:] == pytest.approx([on_lithium, on_carbonyl], abs=1e-5)
    assert energies[0] < on_lithium - 1e-3
    assert found[0].starts == ("rotated out of the lowest",)
    assert found[1].guest_charges[0] < found[2].guest_charges[0]
    assert all(0.749 < state.s_squared < 0.78 for state in found)
    assert not any(state.restricted for state in found)


def test_starts_are_merged_and_named(found: list[State]) -> None:
    starts = [start for state in found for start in state.starts]
    assert {"default guess", "neutral fragments", "electron on the host", "SOMO to LUMO"} < set(starts)
    assert len(starts) == len(set(starts)) > len(found)
    assert all(state.label == state.starts[0] for state in found)
    overlap = build_molecule(FORMALDEHYDE, level("b3lyp/sto-3g"), MEMORY).intor("int1e_ovlp")
    assert electrons_elsewhere(np.asarray(found[1].density), np.asarray(found[2].density), overlap) > 0.5


def test_densities_hold_the_electrons(found: list[State]) -> None:
    overlap = build_molecule(FORMALDEHYDE, level("b3lyp/sto-3g"), MEMORY).intor("int1e_ovlp")
    for state in found:
        assert [np.sum(d * overlap) for d in np.asarray(state.density)] == pytest.approx([10, 9], abs=1e-8)
        assert state.density.mo_occ.sum() == 19


def test_a_state_starts_an_scf_in_another_basis(found: list[State]) -> None:
    """Projected with orthonormal orbitals as tags; the SCF ends in a state with the charge of the one it came from."""
    small, large = level("b3lyp/sto-3g"), level("b3lyp/3-21g")
    molecule = build_molecule(FORMALDEHYDE, large, MEMORY)
    overlap = molecule.intor("int1e_ovlp")
    for state in found:
        mean_field = build_mean_field(molecule, large)
        projected = orbitals_in_basis(orbitals_of(state), build_molecule(FORMALDEHYDE, small, MEMORY), molecule)
        density = density_of(mean_field, projected)
        assert [np.sum(d * overlap) for d in np.asarray(density)] == pytest.approx([10, 9], abs=1e-8)
        rebuilt = (density.mo_coeff * density.mo_occ[:, None, :]) @ density.mo_coeff.transpose(0, 2, 1)
        assert rebuilt == pytest.approx(np.asarray(density), abs=1e-10)
        mean_field = build_mean_field(molecule, large)
        set_grid(mean_field, 0)
        fast, slow = mean_field.get_jk(dm=density), mean_field.get_jk(dm=np.array(density))
        assert np.asarray(fast[1]) == pytest.approx(np.asarray(slow[1]), abs=1e-9)
    mean_field.kernel(dm0=density)
    assert mean_field.converged


def test_two_doublets_of_lithium_superoxide() -> None:
    """The hole in the pi* out of the plane (2A2) or in it (2B2): each is found, and by which start is told."""
    method = level("b3lyp/6-31g", energy_threshold=1e-7, gradient_threshold=2e-4)
    reports: list[tuple[str, int, float]] = []
    parts = (Fragment(atoms=(0, 1), charge=0, multiplicity=3), Fragment(atoms=(2,), charge=0, multiplicity=2))
    states = search_states(SUPEROXIDE, method, parts, MEMORY, lambda *line: reports.append(line), swaps=2)
    hole_out_of_plane = in_its_point_group(SUPEROXIDE, method, {"B1": (1, 1), "A2": (1, 0)})
    hole_in_plane = in_its_point_group(SUPEROXIDE, method, {"B1": (1, 1), "A2": (1, 1)})
    assert [state.energy for state in states] == pytest.approx([hole_out_of_plane, hole_in_plane], abs=1e-5)
    assert "default guess" in states[0].starts
    assert "HOMO to SOMO, spin down" in states[1].starts
    # the hole of superoxide alone is in any direction: an electron on the host leads to either state
    assert set(states[1].starts) <= {"electron on the host", "HOMO to SOMO, spin down"}
    assert all(state.guest_charges[0] > 0.5 for state in states)
    assert [line[1] for line in reports] == list(range(1, len(reports) + 1))
    assert states[0].energy == min(line[2] for line in reports)


def test_what_only_an_exchange_of_orbitals_gets_to(found: list[State]) -> None:
    """Without knowing its fragments, the state with the electron on the carbonyl is not reached by any guess."""
    whole = (Fragment(atoms=tuple(range(5)), charge=0, multiplicity=2),)
    states = search_states(FORMALDEHYDE, level("b3lyp/sto-3g", grid=0), whole, MEMORY, swaps=1)
    assert [state.energy for state in states] == pytest.approx([state.energy for state in found], abs=1e-5)
    assert states[2].starts == ("SOMO to LUMO",)


def test_starts_that_come_near_a_known_state_end_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same states from the same starts as where every SCF goes to its end, in fewer cycles."""
    cycles = [0, 0]
    parts = (Fragment(atoms=(0, 1), charge=0, multiplicity=3), Fragment(atoms=(2,), charge=0, multiplicity=2))
    noted, searches = Log.__call__, []

    def counted(log: Log, state: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        cycles[len(searches)] += 1
        noted(log, state, *args, **kwargs)

    monkeypatch.setattr(Log, "__call__", counted)
    for nearby in ((0.0, 0.0), (1e-3, 0.1)):
        monkeypatch.setattr("alkaflow.workflows.states._NEARBY", nearby)
        searches.append(search_states(SUPEROXIDE, level("b3lyp/sto-3g", grid=0), parts, MEMORY, swaps=1))
    to_the_end, shorter = searches
    assert [state.energy for state in shorter] == pytest.approx([state.energy for state in to_the_end], abs=1e-5)
    assert [set(state.starts) for state in shorter] == [set(state.starts) for state in to_the_end]
    assert cycles[1] < cycles[0]


def test_a_saddle_point_that_all_starts_lead_to_is_left() -> None:
    """The restricted singlet of stretched H2 as one fragment; the two atoms have the lower energy."""
    method = level("b3lyp/3-21g", grid=2)
    stretched = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 3.0]]), 0, 1)
    whole = (Fragment(atoms=(0, 1), charge=0, multiplicity=1),)
    states = search_states(stretched, method, whole, MEMORY, swaps=0)
    assert states[0].s_squared > 0.9
    assert states[0].energy < states[-1].energy - 0.03


def test_singlets_of_stretched_hydrogen() -> None:
    """Restricted, and with broken symmetry: that one has the energy of two atoms and half a triplet in it."""
    method = level("b3lyp/3-21g")
    stretched = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 4.0]]))
    states = search_states(
        stretched,
        method,
        [Fragment(atoms=(0,), charge=0, multiplicity=2), Fragment(atoms=(1,), charge=0, multiplicity=2)],
        MEMORY,
        swaps=1,
    )
    lone = build_mean_field(build_molecule(Structure(("H",), np.zeros((1, 3)), 0, 2), method, MEMORY), method)
    set_grid(lone, 1)
    lone.kernel()
    assert states[0].energy == pytest.approx(2 * lone.e_tot, abs=3e-4)
    assert states[0].s_squared == pytest.approx(1.0, abs=0.01)
    assert not states[0].restricted
    assert states[0].guest_charges == (pytest.approx(0.0, abs=1e-5),)
    restricted = [state for state in states if state.restricted]
    plain = build_mean_field(build_molecule(stretched, method, MEMORY), method)
    set_grid(plain, 1)
    plain.kernel()
    assert restricted[0].energy == pytest.approx(plain.e_tot, abs=1e-6)
    assert restricted[0].s_squared == 0.0
    assert restricted[0].density.shape == (4, 4)
    # up-down and down-up are one state
    assert sum(abs(state.energy - states[0].energy) < 1e-5 for state in states) == 1


def test_triplet_of_two_lithium_atoms_far_apart() -> None:
    """Two doublets couple to a triplet; the state of neutral atoms has twice the energy of one."""
    method = level("b3lyp/3-21g", grid=1)
    far = Structure(("Li", "Li"), np.array([[0, 0, 0], [0, 0, 12.0]]), 0, 3)
    states = search_states(
        far,
        method,
        [Fragment(atoms=(0,), charge=0, multiplicity=2), Fragment(atoms=(1,), charge=0, multiplicity=2)],
        MEMORY,
        swaps=0,
    )
    lone = build_mean_field(build_molecule(Structure(("Li",), np.zeros((1, 3)), 0, 2), method, MEMORY), method)
    set_grid(lone, 1)
    lone.kernel()
    assert states[0].energy == pytest.approx(2 * lone.e_tot, abs=1e-4)
    assert states[0].s_squared == pytest.approx(2.0, abs=1e-3)


def test_fragments_must_be_the_complex() -> None:
    method = level("b3lyp/sto-3g")
    with pytest.raises(BadInputError, match="each once"):
        search_states(FORMALDEHYDE, method, [Fragment(atoms=(0, 1, 2, 3), charge=0, multiplicity=1)], MEMORY)
    with pytest.raises(BadInputError, match="add up to 1"):
        search_states(FORMALDEHYDE, method, [PARTS[0], Fragment(atoms=(4,), charge=1, multiplicity=1)], MEMORY)


def test_a_hole_is_moved_as_an_electron_is() -> None:
    """Without fragments, the other hole of LiO2 is reached by moving an electron of spin down up into the first.

    Moving the unpaired one up leads to states so far above that they are not pursued.
    """
    method = level("b3lyp/6-31g", energy_threshold=1e-7, gradient_threshold=2e-4)
    whole = (Fragment(atoms=(0, 1, 2), charge=0, multiplicity=2),)
    states = search_states(SUPEROXIDE, method, whole, MEMORY, swaps=1)
    hole_in_plane = in_its_point_group(SUPEROXIDE, method, {"B1": (1, 1), "A2": (1, 1)})
    assert states[1].starts == ("HOMO to SOMO, spin down",)
    assert states[1].energy == pytest.approx(hole_in_plane, abs=1e-5)
    assert states[0].starts == ("default guess",)
    assert len(states) == 2


def test_near_states_are_put_in_order_at_the_level_itself(found: list[State]) -> None:
    """Of the two near ones, that which keeps the symmetry ends where PySCF's point group has it; the third stays.

    The other level has a finer grid only: in a larger basis nothing would hold the symmetric one at its saddle point.
    """
    cheap, better = level("b3lyp/sto-3g", grid=0), level("b3lyp/sto-3g", grid=2, scf_grid=1)
    misplaced = [replace(found[1], energy=found[0].energy - 1e-3), *found[::2]]  # as if the saddle point were lowest
    kept: list[list[str]] = []
    ordered = order_states(misplaced, FORMALDEHYDE, cheap, better, MEMORY, keep=lambda done: kept.append(list(done)))
    assert [each.described.label for each in ordered] == [state.label for state in found]
    assert kept == [[found[1].label], [found[1].label, found[0].label]]
    energies = [each.described.refined_hartree for each in ordered]
    assert energies[2] is None
    assert ordered[2].described.energy_hartree == found[2].energy
    lowest, second = energies[:2]
    assert lowest is not None
    assert second is not None
    on_lithium = in_its_point_group(FORMALDEHYDE, level("b3lyp/sto-3g"), {"A1": (7, 6), "B1": (2, 2), "B2": (1, 1)})
    assert second == pytest.approx(on_lithium, abs=1e-5)
    for each in ordered:
        assert {array.shape[-1] for name, array in each.orbitals.items() if name.endswith("alpha")} == {10}


def test_states_that_become_one_at_the_level_are_one(found: list[State]) -> None:
    ordered = order_states(found, FORMALDEHYDE, level("b3lyp/sto-3g", grid=0), level("b3lyp/3-21g"), MEMORY)
    assert len(ordered) == 2
    assert ordered[0].described.refined_hartree is not None
    symmetric = in_its_point_group(FORMALDEHYDE, level("b3lyp/3-21g"), {"A1": (7, 6), "B1": (2, 2), "B2": (1, 1)})
    assert ordered[0].described.refined_hartree < symmetric - 1e-3


def test_states_far_apart_are_not_computed_again(found: list[State]) -> None:
    cheap, better = level("b3lyp/sto-3g", grid=0), level("b3lyp/6-31g")
    ordered = order_states(found[1:], FORMALDEHYDE, cheap, better, MEMORY)
    assert [each.described.refined_hartree for each in ordered] == [None, None]


def test_a_high_spin_complex_begins_with_fragments_of_higher_spin() -> None:
    """A quartet of closed-shell water and a lithium atom: two more electrons of the water are unpaired at the start."""
    water = Structure(
        ("O", "H", "H", "Li"), np.array([[0, 0, 0], [0.76, 0, 0.59], [-0.76, 0, 0.59], [0, 0, -1.9]]), 0, 4
    )
    parts = (Fragment(atoms=(0, 1, 2), charge=0, multiplicity=1), Fragment(atoms=(3,), charge=0, multiplicity=2))
    states = search_states(water, level("b3lyp/sto-3g", grid=0), parts, MEMORY, swaps=0)
    starts = [start for state in states for start in state.starts]
    assert any(start.startswith("neutral fragments") for start in starts)
    assert any(start.startswith("electron on the host") for start in starts)


def test_an_order_that_is_cut_short_goes_on(found: list[State], tmp_path: Path) -> None:
    """What was converged at the level is taken from the checkpoint: here with an energy that no SCF has."""
    cheap, better = level("b3lyp/sto-3g", grid=0), level("b3lyp/sto-3g", grid=1)
    kept: dict[str, Ordered] = {}
    order_states(found, FORMALDEHYDE, cheap, better, MEMORY, keep=kept.update)
    assert list(kept) == [state.label for state in found[:2]]
    second = kept[found[1].label]
    planted = replace(second, described=second.described.model_copy(update={"refined_hartree": -200.0}))
    save(tmp_path, checkpoint_of_ordered({found[1].label: planted}, "it"), "order")
    left = load(tmp_path, "it", "order").checkpoint
    assert left is not None
    repeated: list[dict[str, Ordered]] = []
    ordered = order_states(found, FORMALDEHYDE, cheap, better, MEMORY, done=ordered_in(left), keep=repeated.append)
    assert len(repeated) == 1  # the other one
    assert ordered[0].described.refined_hartree == -200.0
    assert {name: array.tolist() for name, array in ordered[0].orbitals.items()} == {
        name: array.tolist() for name, array in second.orbitals.items()
    }
