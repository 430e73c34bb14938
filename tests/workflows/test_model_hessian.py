"""The Hessian that a relaxation begins with: against GFN2-xTB's energies, and in what it saves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput, Position
from alkaflow.levels import Xtb, parse_level
from alkaflow.records import Record
from alkaflow.structures import FloatArray, Structure, from_smiles
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.model_hessian import MOST_ATOMS, learned_hessian, model_hessian
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation import relax
from alkaflow.workflows.relaxation_history import RelaxResult
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.surface import Evaluation, KohnShamGradient
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE, Task
from alkaflow.workflows.xtb_engine import run_xtb
from alkaflow.workflows.xtb_surface import XtbGradient

WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.8, -0.5], [0, -0.75, -0.55]]))


def test_it_is_the_second_derivative_of_the_energy() -> None:
    found = model_hessian(WATER)
    assert found is not None
    surface = XtbGradient(WATER, Xtb(accuracy=0.01))
    start = WATER.positions / BOHR_ANGSTROM

    def energy(step: FloatArray) -> float:
        return surface(start + step.reshape(-1, 3), None).energy

    rng = np.random.default_rng(1)
    for _ in range(3):
        direction = rng.normal(size=9)
        direction /= np.linalg.norm(direction)
        h = 0.02
        ahead, here, behind = (energy(h * n * direction) for n in (1, 0, -1))
        assert direction @ found.gradient == pytest.approx((ahead - behind) / (2 * h), abs=2e-4)
        assert direction @ found.hessian @ direction == pytest.approx((ahead - 2 * here + behind) / h**2, abs=2e-3)


def test_translations_cost_nothing() -> None:
    found = model_hessian(WATER)
    assert found is not None
    shift = np.tile([1.0, 0.0, 0.0], 3)
    np.testing.assert_allclose(found.hessian @ shift, 0, atol=2e-4)
    np.testing.assert_allclose(found.hessian, found.hessian.T)


def test_it_is_the_same_every_time() -> None:
    first, second = (model_hessian(WATER) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.hessian, second.hessian)
    np.testing.assert_array_equal(first.gradient, second.gradient)


def test_atoms_and_large_structures_have_none() -> None:
    assert model_hessian(Structure(("Li",), np.zeros((1, 3)), multiplicity=2)) is None
    many = MOST_ATOMS + 1
    places = np.arange(3 * many, dtype=float).reshape(-1, 3)
    assert model_hessian(Structure(("He",) * many, places)) is None


class Counted:
    """A Kohn-Sham surface that counts its gradients."""

    def __init__(self, structure: Structure, folder: Path) -> None:
        level = parse_level("b3lyp/3-21g")
        self._surface = KohnShamGradient(structure, level, 1000, Progress(folder), grid=2)
        self.gradients = 0

    def __call__(self, positions: FloatArray, guess: Guess | None) -> Evaluation:
        self.gradients += 1
        return self._surface(positions, guess)


def test_a_relaxation_takes_fewer_gradients_to_the_same_minimum(tmp_path: Path) -> None:
    """From the GFN2-xTB minimum of formaldehyde."""
    start = _relaxed("C=O", tmp_path)
    found: list[RelaxResult] = []
    counts = []
    for name, model in (("none", None), ("model", model_hessian(start))):
        folder = tmp_path / name
        folder.mkdir()
        surface = Counted(start, folder)
        found.append(relax(start, surface, directory=folder, fingerprint=name, progress=Progress(folder), model=model))
        counts.append(surface.gradients)
    assert found[1].energy == pytest.approx(found[0].energy, abs=1e-5)
    assert counts[1] < counts[0]


def test_what_a_relaxation_has_learned_is_a_hessian(tmp_path: Path) -> None:
    """Its stiffest coordinates, two stretches and a bend, against second derivatives at the same level."""
    start = Structure(WATER.symbols, WATER.positions * 1.05)
    surface = XtbGradient(start, Xtb(accuracy=0.01))
    found = relax(start, surface, directory=tmp_path, fingerprint="x", progress=Progress(tmp_path))
    assert found.hessian is not None
    np.testing.assert_allclose(found.hessian, found.hessian.T, atol=1e-10)
    exact = model_hessian(start.with_positions(found.positions))
    assert exact is not None
    stiffest = [np.sort(np.linalg.eigvalsh(hessian))[-3:] for hessian in (found.hessian, exact.hessian)]
    np.testing.assert_allclose(*stiffest, rtol=0.15)


def test_the_next_level_begins_with_what_was_learned(tmp_path: Path) -> None:
    """From B3LYP/STO-3G to 3-21G: no more gradients than with a Hessian of GFN2-xTB, and the same minimum."""
    start = _relaxed("C=O", tmp_path)
    folder = tmp_path / "first"
    folder.mkdir()
    surface = KohnShamGradient(start, parse_level("b3lyp/sto-3g"), 1000, Progress(folder), grid=2)
    first = relax(
        start, surface, directory=folder, fingerprint="f", progress=Progress(folder), model=model_hessian(start)
    )
    there = start.with_positions(first.positions)
    found, counts = [], []
    for name, model in (("xtb", model_hessian(there)), ("learned", learned_hessian(first.hessian, there))):
        assert model is not None
        folder = tmp_path / name
        folder.mkdir()
        counted = Counted(there, folder)
        found.append(relax(there, counted, directory=folder, fingerprint=name, progress=Progress(folder), model=model))
        counts.append(counted.gradients)
    assert found[1].energy == pytest.approx(found[0].energy, abs=1e-5)
    assert counts[1] <= counts[0]


def test_a_step_leaves_it_beside_its_orbitals(tmp_path: Path) -> None:
    """And the next begins with both."""

    def step(
        level: str, positions: tuple[Position, ...], before: CalculationInput | None = None
    ) -> tuple[Record, Path, Any]:
        given = CalculationInput(
            step="relax", level=parse_level(level), charge=0, multiplicity=1, symbols=WATER.symbols, positions=positions
        )
        folder = tmp_path / level.replace("/", "-")
        folder.mkdir(exist_ok=True)
        guess = before.level if before else None
        task = Task(calculation=given, positions=positions, threads=1, memory_mb=1000, guess_level=guess)
        return run_task(task, folder), folder, given

    first, left, given = step("b3lyp/sto-3g", tuple(map(tuple, WATER.positions.tolist())))
    with np.load(left / ORBITAL_FILE) as stored:
        assert stored["learned_hessian"].shape == (9, 9)
    assert first.orbitals is not None
    assert "learned_hessian" in first.orbitals.format
    (tmp_path / "b3lyp-3-21g").mkdir()
    (tmp_path / "b3lyp-3-21g" / GUESS_FILE).write_bytes((left / ORBITAL_FILE).read_bytes())
    second = step("b3lyp/3-21g", tuple(map(tuple, first.positions_angstrom)), given)[0]
    assert second.warnings == []
    assert len(second.energies_along_relaxation) < len(first.energies_along_relaxation)


def test_a_hessian_of_other_atoms_is_not_used() -> None:
    assert learned_hessian(None, WATER) is None
    assert learned_hessian(np.eye(6), WATER) is None
    assert learned_hessian(np.full((9, 9), np.nan), WATER) is None


def _relaxed(smiles: str, folder: Path) -> Structure:
    start = from_smiles(smiles)
    return start.with_positions(run_xtb(start, Xtb(), True, Progress(folder)).positions)
