"""SCFs on one grid after the other: the finest decides, whatever came before it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyscf import dft, lib
from pyscf.dft import numint

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure, build_complex, find_sites, load_host
from alkaflow.workflows import grids
from alkaflow.workflows.device import CPU
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import RUNGS, converge, second_order_gain
from alkaflow.workflows.orbital_tags import occupied
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import ScfResult, build_mean_field, build_molecule, run_scf
from alkaflow.workflows.quadrature import electrons_on
from alkaflow.workflows.scf_checkpoint import ScfKeeper

MEMORY = 2000
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))
DOUBLET = Structure(("Li", "O", "H", "H"), np.array([[0, 0, 2.0], [0, 0, 0], [0, 0.76, -0.5], [0, -0.76, -0.5]]), 0, 2)
FINE = (50, 194)


def level(text: str = "b3lyp/6-31g", **changes: object) -> KohnSham:
    tight = {"grid": FINE, "scf_grid": 2, "energy_threshold": 1e-8, "gradient_threshold": 1e-5}
    return KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)


def scf(directory: Path, structure: Structure, **more: Any) -> ScfResult:
    changes = {name: more.pop(name) for name in ("max_cycles", "scf_grid") if name in more}
    return run_scf(structure, level(**changes), MEMORY, Progress(directory), **more)


def by_pyscf(structure: Structure) -> float:
    """Energy on the fine grid alone."""
    mean_field = build_mean_field(build_molecule(structure, level(), MEMORY), level())
    set_grid(mean_field, FINE)
    mean_field.conv_tol = 1e-11
    return float(mean_field.kernel())


@pytest.fixture
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small molecules begin on the coarse grid too."""
    monkeypatch.setattr(grids, "_WORTH_IT", 0)


# --- from one grid to the next ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", [WATER, DOUBLET], ids=["restricted", "unrestricted"])
def test_what_a_finer_grid_confirms_is_evaluated_there_once(structure: Structure) -> None:
    """The energy of the finer grid to the square of the error of the orbitals, at the price of one potential."""
    mean_field = build_mean_field(build_molecule(structure, level(), MEMORY), level())
    set_grid(mean_field, 5)
    converge(mean_field)
    set_grid(mean_field, 6)
    built: Counter[str] = Counter()
    seen: list[dict[str, Any]] = []
    of_object = mean_field.get_veff

    def counted(*args: Any, **kwargs: Any) -> Any:
        built["potentials"] += 1
        return of_object(*args, **kwargs)

    mean_field.get_veff = counted
    density = lib.tag_array(mean_field.make_rdm1(), settled=True)
    mean_field.mo_coeff = mean_field.mo_occ = mean_field.e_tot = None
    mean_field.converged = False
    assert converge(mean_field, density, watch=seen.append) == []
    assert built["potentials"] == len(seen) == 1
    assert mean_field.converged
    assert seen[0]["norm_gorb"] < level().gradient_threshold
    assert 0 <= seen[0]["last_hf_e"] - seen[0]["e_tot"] < level().energy_threshold
    del mean_field.get_veff
    assert np.linalg.norm(mean_field.get_grad(mean_field.mo_coeff, mean_field.mo_occ)) < level().gradient_threshold
    confirmed = float(mean_field.e_tot)
    mean_field.conv_tol = 1e-11
    assert confirmed == pytest.approx(mean_field.kernel(mean_field.make_rdm1()), abs=1e-9)


def test_what_it_does_not_confirm_goes_on_without_building_that_potential_again() -> None:
    mean_field = build_mean_field(build_molecule(DOUBLET, level(), MEMORY), level())
    set_grid(mean_field, 0)
    converge(mean_field)
    set_grid(mean_field, FINE)
    built: Counter[str] = Counter()
    of_object = mean_field.get_veff

    def counted(*args: Any, **kwargs: Any) -> Any:
        built["potentials"] += 1
        return of_object(*args, **kwargs)

    mean_field.get_veff = counted
    density, found = mean_field.make_rdm1(), []
    for tags in ({}, {"settled": True}):
        built.clear()
        cycles: list[dict[str, Any]] = []
        converge(mean_field, lib.tag_array(density, **tags), watch=cycles.append)
        found.append((built["potentials"], len(cycles)))
        assert mean_field.e_tot == pytest.approx(by_pyscf(DOUBLET), abs=1e-8)
    assert found[0] == found[1]
    assert found[0][1] > 1


def test_the_gain_of_a_diagonalisation() -> None:
    """Electrons that do not repel each other: the exact gain is that of the lowest eigenvalues, to second order."""
    random = np.random.default_rng(1)
    energies, small = np.arange(6.0), 1e-3
    coupling = random.normal(size=(2, 6, 6)) * small
    matrices = np.diag(energies) + coupling + coupling.transpose(0, 2, 1)
    basis = np.linalg.qr(random.normal(size=(6, 6)))[0]
    focks = basis @ matrices @ basis.T
    occupations = np.array([[1.0, 1, 1, 0, 0, 0], [1.0, 1, 0, 0, 0, 0]])
    before = sum(matrix.diagonal()[n > 0].sum() for matrix, n in zip(matrices, occupations, strict=True))
    after = sum(np.linalg.eigvalsh(f)[: int(n.sum())].sum() for f, n in zip(focks, occupations, strict=True))
    found = second_order_gain(np.array([basis, basis]), occupations, focks)
    assert found == pytest.approx(before - after, rel=20 * small)
    restricted = second_order_gain(basis, occupations[0] * 2, focks[0])
    exact = 2 * (matrices[0].diagonal()[:3].sum() - np.linalg.eigvalsh(focks[0])[:3].sum())
    assert restricted == pytest.approx(exact, rel=20 * small)
    hole = np.array([1.0, 0, 1, 0, 0, 0])
    assert second_order_gain(basis, hole, focks[0]) == float("inf")
    assert second_order_gain(basis, np.ones(6), focks[0]) == 0.0


# --- from a coarse one -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("worth_it")
@pytest.mark.parametrize("scf_grid", [2, None])
@pytest.mark.parametrize("structure", [WATER, DOUBLET], ids=["restricted", "unrestricted"])
def test_the_way_does_not_change_the_end(structure: Structure, scf_grid: int | None, tmp_path: Path) -> None:
    found = scf(tmp_path, structure, scf_grid=scf_grid)
    assert found.energy == pytest.approx(by_pyscf(structure), abs=2e-8)
    assert found.convergence.orbital_gradient < level().gradient_threshold
    assert abs(found.convergence.energy_change) < level().energy_threshold
    assert found.convergence.corrections == []
    from_orbitals = Mortal(tmp_path, -1)
    again = scf(tmp_path, structure, scf_grid=scf_grid, guess=found.orbitals, keeper=from_orbitals)
    assert -1 not in from_orbitals.stages
    assert again.energy == pytest.approx(found.energy, abs=2e-8)


class KilledError(Exception):
    """At a moment of our choosing."""


class Mortal(ScfKeeper):
    """Dies after so many cycles, and knows which grids there were."""

    def __init__(self, directory: Path, cycles: int) -> None:
        super().__init__(directory, "mine", clock=lambda: 0.0)  # saving takes no time: every cycle is saved
        self.left = cycles
        self.stages: list[int] = []

    def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
        super().__call__(state, corrections)
        self.stages.append(self.situation.stage)
        self.left -= 1
        if not self.left:
            raise KilledError


@pytest.mark.usefixtures("worth_it")
def test_killed_on_the_coarse_grid_it_goes_on_with_these_orbitals_on_the_next(tmp_path: Path) -> None:
    whole = Mortal(tmp_path, -1)
    fresh = scf(tmp_path, DOUBLET, keeper=whole)
    assert sorted(set(whole.stages)) == [-1, 0, 1]
    assert whole.stages == sorted(whole.stages)
    coarse = whole.stages.count(-1)
    for dies in (1, coarse):
        whole.forget()
        with pytest.raises(KilledError):
            scf(tmp_path, DOUBLET, keeper=Mortal(tmp_path, dies))
        rest = Mortal(tmp_path, -1)
        again = scf(tmp_path, DOUBLET, keeper=rest)
        assert again.continued == dies
        assert set(rest.stages) == {0, 1}
        assert again.energy == pytest.approx(fresh.energy, abs=2e-8)


@pytest.mark.usefixtures("worth_it")
def test_what_helped_on_the_coarse_grid_is_recorded_and_its_solution_tested_on_the_next(tmp_path: Path) -> None:
    far = Structure(("F", "F"), np.array([[0, 0, 0], [0, 0, 1.9]]), -1, 2)
    found = scf(tmp_path, far, max_cycles=3)
    assert found.convergence.corrections[0]["handler"] == RUNGS[0].name
    assert found.stability is not None
    assert found.energy == pytest.approx(by_pyscf(far), abs=2e-8)


@pytest.mark.usefixtures("worth_it")
def test_one_that_fails_on_the_coarse_grid_leaves_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise CalculationError("scf_not_converged", "the SCF did not converge")

    keeper = Mortal(tmp_path, -1)
    monkeypatch.setattr("alkaflow.workflows.device.converge", never)
    with pytest.raises(CalculationError, match=r"b3lyp/6-31g.*did not converge"):
        scf(tmp_path, WATER, keeper=keeper)
    assert not list(tmp_path.glob("scf*"))


def test_what_is_worth_a_coarse_grid(tmp_path: Path) -> None:
    """A complex of more than a hundred functions, and no small molecule."""
    host = load_host("pyrazine")
    structure = build_complex(host, "Li", find_sites(host, "Li")[0]).structure
    asked = parse_level("b3lyp-d3bj/6-31g(d)")
    assert isinstance(asked, KohnSham)
    stages = Mortal(tmp_path, -1)
    found = run_scf(structure, asked, MEMORY, Progress(tmp_path), keeper=stages)
    assert stages.stages.count(-1) > stages.stages.count(0) > 0
    assert found.basis_functions > 100
    small = Mortal(tmp_path, -1)
    small.forget()
    scf(tmp_path, WATER, keeper=small)
    assert set(small.stages) == {0, 1}


# --- electrons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spin", [0, 1])
def test_electrons_on_a_grid_are_those_of_pyscf(spin: int) -> None:
    structure = DOUBLET if spin else WATER
    mean_field = build_mean_field(build_molecule(structure, level(), MEMORY), level())
    set_grid(mean_field, 1)
    CPU.converge(mean_field, None, None)
    density = mean_field.make_rdm1()
    integrate = numint.NumInt().nr_uks if spin else numint.NumInt().nr_rks
    expected = np.sum(integrate(mean_field.mol, mean_field.grids, "lda", np.asarray(density))[0])
    assert isinstance(mean_field, dft.uks.UKS if spin else dft.rks.RKS)
    orbitals = occupied(density)
    assert orbitals is not None
    assert electrons_on(mean_field.mol, mean_field.grids, orbitals) == pytest.approx(expected, abs=1e-9)
