"""Solutions that are no minimum are found out and repaired; those that are, are left alone."""

from typing import Any

import numpy as np
import pytest

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge, converge_second_order
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.stability import check_stability, clean_copy, stabilise

FITTING = ["b3lyp/6-31g", "b3lyp/6-31g+nofit"]


def atom(symbol: str, multiplicity: int) -> Structure:
    return Structure((symbol,), np.zeros((1, 3)), 0, multiplicity)


def pair(symbols: str, distance: float, multiplicity: int) -> Structure:
    return Structure(tuple(symbols.split()), np.array([[0, 0, 0], [0, 0, distance]]), 0, multiplicity)


def mean_field(structure: Structure, text: str = FITTING[0], unrestricted: bool = False, grid: int = 2) -> Any:
    tight = {"energy_threshold": 1e-9, "gradient_threshold": 1e-5}
    level = KohnSham.model_validate(parse_level(text).model_dump() | tight)
    built = build_mean_field(build_molecule(structure, level, 2000), level, unrestricted)
    set_grid(built, grid)
    return built


def parts(built: Any) -> float:
    """Sum of the parts of the energy that PySCF noted [Hartree]."""
    names = ("nuc", "e1", "coul", "exc", "dispersion")
    return float(sum(built.scf_summary[name] for name in names if name in built.scf_summary))


@pytest.mark.parametrize("text", FITTING)
def test_stretched_hydrogen_wants_different_spins(text: str) -> None:
    restricted = mean_field(pair("H H", 4.0, 1), text, grid=4)
    converge(restricted)
    found = check_stability(restricted)
    assert (found.tested, found.stable, found.external_stable) == (True, True, False)
    assert found.external_eigenvalue is not None
    assert found.external_eigenvalue < -0.1
    lone = mean_field(atom("H", 2), text, grid=4)
    lone.kernel()
    broken = mean_field(pair("H H", 4.0, 1), text, unrestricted=True, grid=4)
    left = np.diag([1.0, 1.0, 0.0, 0.0])
    converge(broken, np.array([left, np.eye(4) - left]) / 2)
    assert broken.e_tot == pytest.approx(2 * lone.e_tot, abs=2e-4)
    assert broken.e_tot < restricted.e_tot - 0.05
    repaired = check_stability(broken)
    assert (repaired.stable, repaired.external_stable) == (True, None)


@pytest.mark.parametrize("text", ["b3lyp-d3bj/6-31g", "b3lyp/6-31g+nofit"])
def test_a_restricted_singlet_is_left_for_the_atoms_where_asked(text: str) -> None:
    """With the settings of the restricted object, dispersion and grid among them."""
    lone = mean_field(atom("H", 2), text)
    lone.kernel()
    kept = mean_field(pair("H H", 4.0, 1), text)
    converge(kept)
    same, found = stabilise(kept)
    assert same is kept
    assert (found.stable, found.external_stable, found.broken_symmetry, found.rounds) == (True, False, False, 0)
    built, found = stabilise(kept, break_symmetry=True)
    assert (found.stable, found.external_stable, found.broken_symmetry) == (True, None, True)
    assert built.converged
    dispersion = kept.get_dispersion() if "d3bj" in text else 0.0
    assert built.e_tot == pytest.approx(2 * lone.e_tot + dispersion, abs=5e-4)
    assert parts(built) == pytest.approx(built.e_tot, abs=1e-9)
    assert found.lowering == pytest.approx(kept.e_tot - built.e_tot, abs=1e-12)
    assert built.spin_square()[0] == pytest.approx(1.0, abs=0.02)
    names = ("xc", "conv_tol", "conv_tol_grad", "max_cycle", "chkfile", "grids", "level_shift")
    assert [getattr(built, name) for name in names] == [getattr(kept, name) for name in names]


def test_a_restricted_singlet_that_nothing_leads_out_of_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    restricted = mean_field(pair("H H", 4.0, 1))
    converge(restricted)
    energy, start = restricted.e_tot, np.array([restricted.make_rdm1() / 2] * 2)

    def stays(built: Any, *_: Any) -> None:
        converge(built, start)

    monkeypatch.setattr("alkaflow.workflows.stability.converge_second_order", stays)
    built, found = stabilise(restricted, stays, break_symmetry=True)
    assert built is restricted
    assert built.converged
    assert built.e_tot == pytest.approx(energy, abs=1e-10)
    assert parts(built) == pytest.approx(energy, abs=1e-9)
    assert (found.external_stable, found.broken_symmetry) == (False, False)
    assert found.lowering < 1e-9


def test_hydrogen_at_its_bond_length_is_stable_both_ways() -> None:
    built = mean_field(pair("H H", 0.74, 1))
    converge(built)
    found = check_stability(built)
    assert (found.tested, found.stable, found.external_stable, found.rounds) == (True, True, True, 0)
    # the lowest triplet excitation in a two-orbital picture: positive, and far below the singlet's
    assert found.eigenvalue is not None
    assert found.external_eigenvalue is not None
    assert 0 < found.external_eigenvalue < found.eigenvalue


@pytest.mark.parametrize("text", FITTING)
def test_a_restricted_solution_put_in_unrestricted_form_is_repaired(text: str) -> None:
    """The same orbitals for both spins solve stretched H2's unrestricted equations, at a saddle point."""
    restricted = mean_field(pair("H H", 4.0, 1), text)
    restricted.kernel()
    saddle = mean_field(pair("H H", 4.0, 1), text, unrestricted=True)
    converge(saddle, np.array([restricted.make_rdm1() / 2] * 2))
    assert saddle.e_tot == pytest.approx(restricted.e_tot, abs=1e-7)
    built, found = stabilise(saddle)
    lone = mean_field(atom("H", 2), text)
    lone.kernel()
    assert built is saddle
    assert built.converged
    assert found.stable
    assert found.rounds >= 1
    assert built.e_tot == pytest.approx(2 * lone.e_tot, abs=5e-4)
    assert found.lowering == pytest.approx(restricted.e_tot - built.e_tot, abs=1e-6)
    assert built.spin_square()[0] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("symbols", "distance", "multiplicity"), [("O O", 1.21, 3), ("C N", 1.17, 2)])
def test_an_excited_start_is_repaired(symbols: str, distance: float, multiplicity: int) -> None:
    """The highest orbital of spin down exchanged for the lowest empty one, by the second-order solver."""
    structure = pair(symbols, distance, multiplicity)
    ground = mean_field(structure, grid=0)
    ground.kernel()
    built = mean_field(structure, grid=0)
    occupations = np.array(ground.mo_occ)
    homo, lumo = np.flatnonzero(occupations[1] > 0)[-1], np.flatnonzero(occupations[1] == 0)[0]
    occupations[1][[homo, lumo]] = occupations[1][[lumo, homo]]
    converge_second_order(built, ground.mo_coeff, occupations)
    assert built.e_tot > ground.e_tot + 0.01
    before = built.e_tot
    excited = check_stability(built)
    assert not excited.stable
    assert excited.tested
    assert built.e_tot == before
    _, found = stabilise(built)
    assert found.stable
    assert built.e_tot == pytest.approx(ground.e_tot, abs=1e-7)
    assert found.lowering == pytest.approx(before - ground.e_tot, abs=1e-7)
    assert parts(built) == pytest.approx(built.e_tot, abs=1e-9)


@pytest.mark.parametrize(("symbol", "multiplicity"), [("B", 2), ("C", 3), ("N", 4), ("Li", 2)])
def test_atoms_are_stable_though_their_shells_turn_freely(symbol: str, multiplicity: int) -> None:
    built = mean_field(atom(symbol, multiplicity))
    converge(built)
    found = check_stability(built)
    assert (found.tested, found.stable) == (True, True)


def test_nothing_to_rotate() -> None:
    built = mean_field(Structure(("He",), np.zeros((1, 3))), "b3lyp/sto-3g")
    built.kernel()
    assert check_stability(built).stable
    assert check_stability(built).eigenvalue is None


def test_the_lowest_eigenvalue_is_that_of_the_whole_matrix() -> None:
    """Every column of the Hessian by finite differences of the orbital gradient, then LAPACK."""
    from scipy.linalg import expm

    built = mean_field(pair("Li H", 1.6, 1), "b3lyp/sto-3g+nofit")
    built.kernel()
    found = check_stability(built)
    filled = built.mo_occ > 0
    rows, columns = np.flatnonzero(~filled), np.flatnonzero(filled)
    step, count = 1e-3, len(rows) * len(columns)
    hessian = np.zeros((count, count))
    for k in range(count):
        gradients = []
        for sign in (1, -1):
            turn = np.zeros((len(filled),) * 2)
            turn[rows[k // len(columns)], columns[k % len(columns)]] = sign * step
            gradients.append(built.get_grad(built.mo_coeff @ expm(turn - turn.T), built.mo_occ))
        hessian[:, k] = (gradients[0] - gradients[1]) / (2 * step)
    # PySCF's gradient of a restricted object is half the derivative of the energy
    assert found.eigenvalue == pytest.approx(2 * np.linalg.eigvalsh((hessian + hessian.T) / 2)[0], rel=2e-3)


def test_what_a_dynamic_level_shift_leaves_does_not_matter() -> None:
    from pyscf.scf import addons

    plain = mean_field(pair("O O", 1.21, 3), grid=0)
    plain.kernel()
    shifted = addons.dynamic_level_shift(mean_field(pair("O O", 1.21, 3), grid=0), factor=0.5)
    shifted.kernel()
    shifted.level_shift = 0.3
    found = check_stability(shifted)
    assert found.stable
    assert found.eigenvalue == pytest.approx(check_stability(plain).eigenvalue, abs=1e-4)
    assert "get_fock" not in clean_copy(shifted).__dict__


def test_an_scf_that_finds_nothing_lower_leaves_the_solution_and_says_so() -> None:
    restricted = mean_field(pair("H H", 4.0, 1))
    restricted.kernel()
    saddle = mean_field(pair("H H", 4.0, 1), unrestricted=True)
    converge(saddle, np.array([restricted.make_rdm1() / 2] * 2))

    def fails(*_: Any) -> None:
        raise CalculationError("scf_not_converged", "on purpose")

    _, none = stabilise(saddle, fails, rounds=0)
    assert (none.stable, none.rounds, none.lowering) == (False, 0, 0.0)
    _, found = stabilise(saddle, fails)  # the second-order solver is left to do it
    assert found.stable
    assert saddle.e_tot < restricted.e_tot - 0.05
