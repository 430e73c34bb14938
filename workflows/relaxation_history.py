"""All geometries of a relaxation, saved after every gradient and answered from there by one that begins again.

Imported only by the process that computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.symmetry import Operation, symmetrise
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows import interrupt
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, load, save
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.stability import Stability
from alkaflow.workflows.surface import Evaluate, Evaluation

Judge = Callable[[FloatArray, bool], str | None]
"""Given the positions [Angstrom] of each step and whether the relaxation has converged there, None, or a sentence that
begins with ``dissociated`` or ``reacted``."""

_GUESS = "guess:"  # before the names of its arrays in the checkpoint
_SAME = 1e-6  # bohr; a checkpoint that began elsewhere belongs to another relaxation


@dataclass(frozen=True)
class RelaxResult:
    """A converged relaxation.

    Attributes
    ----------
    positions
        Final ones [Angstrom], shape=(n_atoms, 3).
    energy
        At the final positions [Hartree].
    gradient
        There [Hartree/bohr], shape=(n_atoms, 3), within the symmetry that was kept, without net force and torque and
        without what constraints hold.
    max_gradient
        Its largest norm on an atom [Hartree/bohr].
    steps
        Taken by the optimiser; rejected ones count.
    energies
        Of every geometry evaluated [Hartree], in order.
    cycles
        Of the SCF at every geometry evaluated; 0 where there was none, or an older checkpoint does not say.
    operations
        Number of symmetry operations kept, identity included.
    guess
        Of the final geometry; the orbitals, from `run_relaxation`.
    hessian
        What the steps have taught the optimiser [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms): an approximation,
        for another relaxation to begin with; along translations and rotations geomeTRIC's own constants. None where
        something was held.
    corrections
        What evaluations had to try.
    resumed
        Number of gradients that came from the checkpoint.
    notes
        About checkpoints that could not be used.
    stability
        Of the SCF solution at the final positions, where the level asks for it.
    continued
        SCF cycles of an earlier attempt, at the geometry after the resumed ones.
    """

    positions: FloatArray
    energy: float
    gradient: FloatArray
    max_gradient: float
    steps: int
    energies: list[float]
    cycles: list[int]
    operations: int
    guess: Guess
    hessian: FloatArray | None
    corrections: list[dict[str, Any]]
    resumed: int
    notes: list[str]
    stability: Stability | None = None
    continued: int = 0


class History:
    """All geometries evaluated, first those of the checkpoint and then new ones."""

    def __init__(
        self,
        structure: Structure,
        evaluate: Evaluate,
        directory: Path,
        fingerprint: str,
        progress: Progress,
        operations: list[Operation],
        judge: Judge | None,
    ) -> None:
        self._evaluate, self._directory, self._fingerprint = evaluate, directory, fingerprint
        self._progress, self._operations, self._judge = progress, operations, judge
        self._positions: list[FloatArray] = []
        self._gradients: list[FloatArray] = []
        self._answered = 0
        self.energies: list[float] = []
        self.cycles: list[int] = []
        self.guess: Guess | None = None
        self.corrections: list[dict[str, Any]] = []
        checkpoint, self.notes = load(directory, fingerprint, RELAXATION)
        if checkpoint is not None:
            self._restore(checkpoint, structure.positions / BOHR_ANGSTROM)
        self.resumed = len(self.energies)

    def _restore(self, checkpoint: Checkpoint, start: FloatArray) -> None:
        arrays = dict(checkpoint.arrays)
        positions, gradients, energies = (arrays.pop(name) for name in ("positions", "gradients", "energies"))
        cycles = arrays.pop("cycles", np.zeros(len(energies), dtype=int))
        if positions.shape[1:] != start.shape or np.abs(positions[0] - start).max() > _SAME:
            self.notes.append(f"the checkpoint in {self._directory} is not used: it began at another geometry")
            return
        self._positions, self._gradients, self.energies = list(positions), list(gradients), energies.tolist()
        self.cycles = cycles.tolist()
        self.guess = {name.removeprefix(_GUESS): array for name, array in arrays.items()}
        self.corrections = checkpoint.values["corrections"]

    def symmetric(self, vectors: FloatArray) -> FloatArray:
        """Take from vectors on atoms what breaks the symmetry of the start."""
        return symmetrise(vectors, self._operations) if self._operations else vectors

    def next_positions(self) -> FloatArray | None:
        """Positions [bohr] of the next evaluation in the checkpoint, or None past its end."""
        return self._positions[self._answered] if self._answered < len(self.energies) else None

    def answer(self, positions: FloatArray) -> Evaluation:
        """Energy and gradient at positions [bohr]: from the checkpoint, or computed and then saved."""
        number = self._answered
        if number == len(self.energies):
            self._compute(positions)
            self._save()
            interrupt.check()
        self._answered = number + 1
        if number > 0:
            self.judge(positions, converged=False)
        return Evaluation(self.energies[number], self._gradients[number])

    def judge(self, positions: FloatArray, converged: bool) -> None:
        """Let the judge see positions [bohr]."""
        if self._judge is not None and (verdict := self._judge(positions * BOHR_ANGSTROM, converged)):
            outcome = "dissociated" if verdict.startswith("dissociated") else "reacted"
            raise CalculationError(outcome, f"after {self._answered - 1} relaxation steps: {verdict}")

    def _compute(self, positions: FloatArray) -> None:
        found = self._evaluate(positions, self.guess)
        if not (np.isfinite(found.energy) and np.isfinite(found.gradient).all()):
            last = f"; the last energy was {self.energies[-1]:.6f} Hartree" if self.energies else ""
            raise CalculationError(
                "engine_crashed", f"energy or gradient is not finite at relaxation step {len(self.energies)}{last}"
            )
        gradient = self.symmetric(found.gradient)
        self._positions.append(np.array(positions))
        self._gradients.append(gradient)
        self.energies.append(float(found.energy))
        self.cycles.append(found.cycles)
        self.guess = found.guess
        self.corrections += found.corrections
        self._progress.report(
            "relaxation step", len(self.energies) - 1, self.energies[-1], max_gradient=largest(gradient)
        )

    def _save(self) -> None:
        arrays = {
            "positions": np.array(self._positions),
            "gradients": np.array(self._gradients),
            "energies": np.array(self.energies),
            "cycles": np.array(self.cycles, dtype=np.int64),
            **{_GUESS + name: array for name, array in (self.guess or {}).items()},
        }
        save(self._directory, Checkpoint(self._fingerprint, {"corrections": self.corrections}, arrays), RELAXATION)

    def result(
        self, positions: FloatArray, gradient: FloatArray, steps: int, hessian: FloatArray | None
    ) -> RelaxResult:
        """The end, at positions [bohr] with a gradient [Hartree/bohr]."""
        return RelaxResult(
            positions=positions * BOHR_ANGSTROM,
            energy=self.energies[self._answered - 1],
            gradient=gradient,
            max_gradient=largest(gradient),
            steps=steps,
            energies=self.energies[: self._answered],
            cycles=self.cycles[: self._answered],
            operations=max(1, len(self._operations)),
            guess=(self.guess or {}) if self._answered == len(self.energies) else {},
            hessian=hessian,
            corrections=self.corrections,
            resumed=min(self.resumed, self._answered),
            notes=self.notes,
        )


def largest(gradient: FloatArray) -> float:
    """Largest norm on an atom of a gradient with shape=(n_atoms, 3)."""
    return float(np.linalg.norm(gradient, axis=1).max())
