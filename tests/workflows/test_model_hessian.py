"""The Hessian that a relaxation begins with: against GFN2-xTB's energies, and in what it saves."""

from pathlib import Path

import numpy as np
import pytest

from alkaflow.levels import Xtb, parse_level
from alkaflow.structures import FloatArray, Structure, from_smiles
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.model_hessian import MOST_ATOMS, model_hessian
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation import RelaxResult, relax
from alkaflow.workflows.surface import Evaluation, KohnShamGradient
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
    """From the GFN2-xTB minimum of glycolaldehyde, with its internal hydrogen bond."""
    start = _relaxed("OCC=O", tmp_path)
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


def _relaxed(smiles: str, folder: Path) -> Structure:
    start = from_smiles(smiles)
    return start.with_positions(run_xtb(start, Xtb(), True, Progress(folder)).positions)
