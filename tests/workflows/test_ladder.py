"""Every rung reaches what PySCF's own solvers reach by another way, and leaves the object as it was."""

from typing import Any

import numpy as np
import pytest

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import RUNGS, Rung, converge, converge_second_order
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.smaller_basis import projected_density

MEMORY = 2000
SETTINGS = ("level_shift", "damp", "diis_start_cycle", "DIIS", "max_cycle", "conv_tol", "conv_tol_grad", "callback")


def pair(symbols: str, distance: float, charge: int, multiplicity: int) -> Structure:
    return Structure(tuple(symbols.split()), np.array([[0, 0, 0], [0, 0, distance]]), charge, multiplicity)


def mean_field(structure: Structure, text: str = "b3lyp/6-31g", **changes: Any) -> Any:
    tight = {"grid": 1, "energy_threshold": 1e-9, "gradient_threshold": 1e-5}
    level = KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)
    built = build_mean_field(build_molecule(structure, level, MEMORY), level)
    set_grid(built, level.grid)
    return built


def by_pyscf(built: Any) -> float:
    """Energy by PySCF's second-order solver from its own DIIS, thresholds tightened; nothing of the ladder."""
    built.kernel()
    solver = built.newton()
    solver.conv_tol, solver.conv_tol_grad = 1e-11, 1e-6
    return float(solver.kernel())


@pytest.fixture(scope="module")
def difluoride_energy() -> float:
    return by_pyscf(mean_field(pair("F F", 1.9, -1, 2)))


@pytest.mark.parametrize("rung", RUNGS, ids=[rung.name for rung in RUNGS])
def test_each_rung_converges_what_diis_was_not_given_the_cycles_for(rung: Rung, difluoride_energy: float) -> None:
    built = mean_field(pair("F F", 1.9, -1, 2), max_cycles=2)
    before = {name: getattr(built, name) for name in SETTINGS}
    corrections = converge(built, rungs=(rung,))
    assert built.converged
    assert built.e_tot == pytest.approx(difluoride_energy, abs=1e-7)
    assert {name: getattr(built, name) for name in SETTINGS} == before
    assert set(np.unique(built.mo_occ)) == {0.0, 1.0}
    assert [c["handler"] for c in corrections] == [rung.name]
    assert "not converged in 2 cycles" in corrections[0]["reason"]
    assert corrections[0]["errors"] == ["scf_not_converged"]
    assert corrections[0]["actions"]
    # what the object says of itself, evaluated anew
    assert np.linalg.norm(built.get_grad(built.mo_coeff, built.mo_occ)) < 1e-4
    assert built.energy_tot() == pytest.approx(built.e_tot, abs=1e-8)


@pytest.mark.parametrize("rung", [RUNGS[1], RUNGS[2]], ids=[RUNGS[1].name, RUNGS[2].name])
def test_without_fitting_and_restricted(rung: Rung) -> None:
    """CO with exact integrals, and with dispersion as one of its parts."""
    structure = pair("C O", 1.13, 0, 1)
    expected = by_pyscf(mean_field(structure, "b3lyp-d3bj/6-31g+nofit"))
    built = mean_field(structure, "b3lyp-d3bj/6-31g+nofit", max_cycles=1)
    converge(built, rungs=(rung,))
    assert built.e_tot == pytest.approx(expected, abs=1e-8)
    assert built.scf_summary["dispersion"] == pytest.approx(built.get_dispersion(), abs=1e-12)
    parts = sum(built.scf_summary[name] for name in ("nuc", "e1", "coul", "exc", "dispersion"))
    assert parts == pytest.approx(built.e_tot, abs=1e-9)


def test_an_easy_system_is_pyscf_own_run() -> None:
    """The same cycles and energy as PySCF without the ladder, and no correction."""
    structure = pair("C N", 1.17, 0, 2)
    plain = mean_field(structure)
    plain.kernel()
    energies: list[float] = []
    built = mean_field(structure)
    assert converge(built, watch=lambda state: energies.append(float(state["e_tot"]))) == []
    assert built.e_tot == pytest.approx(plain.e_tot, abs=1e-11)  # by orbitals of the guess, not its matrix
    assert len(energies) == plain.cycles
    again = mean_field(structure)
    again.callback = lambda state: energies.append(float(state["e_tot"]))
    converge(again, plain.make_rdm1())
    assert again.e_tot == pytest.approx(plain.e_tot, abs=1e-8)
    assert len(energies) > plain.cycles


def test_what_diis_does_not_converge() -> None:
    """NiO with PBE, in which several d states compete: which one is found depends on rounding, that it is one does not.

    Without the ladder 80 cycles end at energies up to 10 Hartree too high. PySCF's second-order solver, begun where the
    ladder ends, has nothing left to do.
    """
    built = mean_field(pair("Ni O", 1.63, 0, 3), "pbe/3-21g", grid=0, max_cycles=20)
    corrections = converge(built)
    assert built.converged
    assert np.linalg.norm(built.get_grad(built.mo_coeff, built.mo_occ)) < 1e-4
    solver = mean_field(pair("Ni O", 1.63, 0, 3), "pbe/3-21g", grid=0).newton()
    solver.kernel(built.mo_coeff, built.mo_occ)
    assert solver.e_tot == pytest.approx(built.e_tot, abs=1e-6)
    assert corrections[0]["handler"] == "damping and level shift"
    assert "orbital gradient" in corrections[0]["reason"]
    assert (built.level_shift, built.damp) == (0, 0)


def test_far_atoms_have_the_energy_of_atoms() -> None:
    """N2 at 8 Angstrom as a septet is two quartet atoms; the second-order solver alone gets there."""
    atom = mean_field(Structure(("N",), np.zeros((1, 3)), 0, 4), grid=2)
    atom.kernel()
    built = mean_field(pair("N N", 8.0, 0, 7), max_cycles=1, grid=2)
    converge(built, rungs=(RUNGS[2],))
    assert built.e_tot == pytest.approx(2 * atom.e_tot, abs=2e-5)


def test_the_second_order_solver_is_not_left_with_a_hole() -> None:
    """From two cycles of a poor start PySCF's solver ends 0.1 Hartree too high in ScO, with orbitals out of order."""
    structure = pair("Sc O", 1.67, 0, 2)
    good = mean_field(structure, "b3lyp/3-21g", grid=0)
    good.kernel()
    built = mean_field(structure, "b3lyp/3-21g", grid=0, max_cycles=2)
    converge(built, rungs=(RUNGS[2],))
    assert built.e_tot < good.e_tot + 1e-5
    for energies, occupations in zip(built.mo_energy, built.mo_occ, strict=True):
        assert energies[occupations > 0].max() < energies[occupations == 0].min()


def test_a_smaller_basis_where_there_is_none() -> None:
    structure = pair("C O", 1.13, 0, 1)
    built = mean_field(structure, "b3lyp/sto-3g", max_cycles=1)
    with pytest.raises(CalculationError, match="no element has a smaller basis"):
        converge(built, rungs=(RUNGS[-1],))


def test_an_element_with_a_core_potential_keeps_its_basis() -> None:
    """RbH: a basis of all electrons, which Rb has too, would not go with the potential."""
    from pyscf import dft, gto

    built = dft.RKS(
        gto.M(
            atom=[("Rb", (0, 0, 0)), ("H", (0, 0, 2.37))], basis="def2-svp", ecp={"Rb": "def2-svp"}, spin=0, verbose=0
        )
    ).density_fit(auxbasis="def2-universal-jkfit")
    built.xc, built.chkfile, built.grids.level, built.conv_tol = "b3lypg", None, 1, 1e-9
    expected = by_pyscf(built.copy())
    built.max_cycle = 1
    corrections = converge(built, rungs=(RUNGS[-1],))
    assert corrections[0]["actions"][0]["basis"] == {"H": "3-21g"}
    assert built.e_tot == pytest.approx(expected, abs=1e-7)


def test_all_in_vain_is_a_failure_that_says_what_was_tried() -> None:
    built = mean_field(pair("F F", 1.9, -1, 2), max_cycles=2)
    rungs = (
        Rung("shift", settings={"level_shift": 0.3}, cycles=2),
        Rung("second", cycles=1, finish=("second order",)),
    )
    with pytest.raises(CalculationError, match=r"did not converge in \d+ cycles") as caught:
        converge(built, rungs=rungs)
    assert caught.value.outcome == "scf_not_converged"
    for text in ("tried DIIS (not converged in 2 cycles", "shift (", "second (", "orbital gradient"):
        assert text in str(caught.value)
    assert (built.level_shift, built.max_cycle) == (0, 2)


def test_oscillation_is_named() -> None:
    """Without any mixing, Roothaan's steps swing between two densities for ever."""
    built = mean_field(pair("C N", 1.17, 0, 2), "pbe/6-31g", max_cycles=20)
    built.diis = None
    with pytest.raises(CalculationError, match="oscillating between"):
        converge(built, rungs=())


def test_energies_that_are_not_finite() -> None:
    built = mean_field(pair("C O", 1.13, 0, 1))
    density = np.full((built.mol.nao,) * 2, np.nan)
    with pytest.raises(CalculationError, match="not finite") as caught:
        converge(built, density)
    assert caught.value.outcome == "engine_crashed"
    built.energy_nuc = lambda: float("nan")
    with pytest.raises(CalculationError, match="energy is not finite") as caught:
        converge(built)
    assert caught.value.outcome == "engine_crashed"


def test_second_order_alone() -> None:
    built = mean_field(pair("C N", 1.17, 0, 2))
    expected = by_pyscf(mean_field(pair("C N", 1.17, 0, 2)))
    built.kernel()
    coefficients, occupations = built.mo_coeff, built.mo_occ
    # 0.2 rad between the highest occupied and the lowest empty orbital of spin up
    homo, lumo = np.flatnonzero(occupations[0] > 0)[-1], np.flatnonzero(occupations[0] == 0)[0]
    turned = np.array(coefficients)
    turned[0][:, homo] = np.cos(0.2) * coefficients[0][:, homo] + np.sin(0.2) * coefficients[0][:, lumo]
    turned[0][:, lumo] = np.cos(0.2) * coefficients[0][:, lumo] - np.sin(0.2) * coefficients[0][:, homo]
    converge_second_order(built, turned, occupations)
    assert built.e_tot == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("symbols", "multiplicity"), [("C O", 1), ("C N", 2), ("H H", 3)])
def test_projection_keeps_the_electrons(symbols: str, multiplicity: int) -> None:
    structure = pair(symbols, 1.15, 0, multiplicity)
    small, large = mean_field(structure, "b3lyp/sto-3g"), mean_field(structure, "b3lyp/6-31g(d,p)")
    small.kernel()
    density = projected_density(small.mo_coeff, small.mo_occ, small.mol, large.mol)
    overlap = large.mol.intor("int1e_ovlp")
    totals = [np.sum(d * overlap) for d in (density if np.ndim(density) == 3 else [density])]
    nelec = small.mol.nelec
    assert totals == pytest.approx(list(nelec) if len(totals) == 2 else [sum(nelec)], abs=1e-10)
    for d in density if np.ndim(density) == 3 else [density / 2]:
        assert np.asarray(d @ overlap @ d) == pytest.approx(np.asarray(d), abs=1e-9)
    tagged = large.get_veff(dm=density)
    assert np.asarray(tagged) == pytest.approx(np.asarray(large.get_veff(dm=np.array(density))), abs=1e-9)
