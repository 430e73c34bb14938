"""Relaxations by geomeTRIC that survive being killed. Imported only by the process that computes.

geomeTRIC (L.-P. Wang, C. Song, J. Chem. Phys. 144, 214108 (2016), doi 10.1063/1.4952956) takes steps in internal
coordinates that treat every fragment's translation and rotation as coordinates of their own; it keeps no restart files.
All that its state depends on, though, are the energies and gradients it was given. So the checkpoint is their history,
written after every gradient: a relaxation that begins again gives geomeTRIC the old answers, at no cost but that of its
own algebra, and has its Hessian, trust radius and coordinate system back as they were, at the step where it was killed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import geometric.molecule
import numpy as np
from geometric.engine import Engine
from geometric.internal import DelocalizedInternalCoordinates
from geometric.optimize import OPT_STATE, Optimizer
from geometric.params import OptParams
from geometric.prepare import parse_constraints

from alkaflow.calculations import Constraint
from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.symmetry import Operation
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.constraints import agreeing, constraint_text
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.guess import Guess, unusable
from alkaflow.workflows.model_hessian import ModelHessian
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation_history import History, Judge, RelaxResult, largest
from alkaflow.workflows.scf_checkpoint import ScfKeeper
from alkaflow.workflows.stability import check_stability
from alkaflow.workflows.surface import Evaluate, KohnShamGradient

DEFAULT_MAX_STEPS = 200
_HELD = 1e-4  # bohr or radian; by so much a constraint may be missed at the end
_MAX_REBUILDS = 5  # of the coordinate system in a row, without a step between
_WATCHED = 10  # last energies that say whether a relaxation oscillates


@dataclass(frozen=True)
class Thresholds:
    """When a relaxation has converged: all five hold.

    Attributes
    ----------
    max_gradient, rms_gradient
        Largest and root-mean-square gradient on an atom [Hartree/bohr].
    max_step, rms_step
        The same of the last displacement [bohr].
    energy
        Last change of the energy [Hartree].
    """

    max_gradient: float
    rms_gradient: float
    max_step: float
    rms_step: float
    energy: float = 1e-6


THRESHOLDS = {
    "gau-loose": Thresholds(2.5e-3, 1.7e-3, 1.0e-2, 6.7e-3),
    "gau": Thresholds(4.5e-4, 3.0e-4, 1.8e-3, 1.2e-3),
    "gau-tight": Thresholds(1.5e-5, 1.0e-5, 6.0e-5, 4.0e-5),
}
"""Gaussian's (https://gaussian.com/opt), in its units, with geomeTRIC's on the energy. Gaussian takes components;
the norms on atoms here are up to sqrt(3) stricter. geomeTRIC's set GAU has the same numbers for steps, but in Angstrom.
"""


def relax(
    structure: Structure,
    evaluate: Evaluate,
    *,
    directory: Path,
    fingerprint: str,
    progress: Progress,
    thresholds: Thresholds = THRESHOLDS["gau"],
    max_steps: int = DEFAULT_MAX_STEPS,
    constraints: Sequence[Constraint] = (),
    operations: list[Operation] | None = None,
    judge: Judge | None = None,
    guess: Guess | None = None,
    model: ModelHessian | None = None,
) -> RelaxResult:
    """Relax a structure, from its checkpoint where there is one.

    Parameters
    ----------
    structure
        The start. A single atom is evaluated and returned.
    evaluate
        Energy and gradient at given positions.
    directory
        Scratch of this calculation, where its checkpoints are; exists.
    fingerprint
        Of the calculation; a checkpoint with another one, or from another start, is not used.
    progress
        Told after every gradient.
    thresholds
        When it has converged.
    max_steps
        After which it fails. The checkpoint stays: with more steps it continues.
    constraints
        What to hold.
    operations
        Symmetry of the start to keep, as `find_operations` returns it: gradients and steps are projected. Of it, what
        the constraints have too.
    judge
        Ends the relaxation when a geometry is no longer what was meant.
    guess
        For the first evaluation.
    model
        Hessian at the start to begin with, where nothing is constrained; geomeTRIC's own guess otherwise.

    Raises
    ------
    CalculationError
        ``relaxation_not_converged``, ``dissociated``, ``reacted``, ``engine_crashed`` for an energy or gradient that
        is not finite, or what `evaluate` raises.
    """
    group = agreeing(operations or [], constraints)
    history = History(structure, evaluate, directory, fingerprint, progress, group, judge)
    history.guess = guess if history.guess is None else history.guess
    start = structure.positions / BOHR_ANGSTROM
    if len(structure) == 1:
        found = history.answer(start)
        return history.result(start, found.gradient, 0, None)
    optimiser = _optimiser(structure, history, directory, thresholds, max_steps, constraints)
    optimiser.model = None if constraints else model
    _drive(optimiser)
    if optimiser.state != OPT_STATE.CONVERGED:
        raise CalculationError("relaxation_not_converged", _failure(optimiser, history, thresholds, max_steps))
    final = optimiser.X.reshape(-1, 3)
    history.judge(final, converged=True)
    hessian = None if constraints else optimiser.hessian_of_atoms()
    return history.result(final, optimiser.free_gradient(), int(optimiser.Iteration), hessian)


def _drive(optimiser: "_Optimiser") -> None:
    """Run geomeTRIC's own loop, with an end to rebuilding coordinates."""
    rebuilds = 0
    optimiser.calcEnergyForce()
    optimiser.prepareFirstStep()
    while optimiser.state not in (OPT_STATE.CONVERGED, OPT_STATE.FAILED) and rebuilds < _MAX_REBUILDS:
        optimiser.step()
        if optimiser.state == OPT_STATE.NEEDS_EVALUATION:
            optimiser.calcEnergyForce()
            optimiser.evaluateStep()
            rebuilds = 0
        else:
            rebuilds += 1


def _optimiser(
    structure: Structure,
    history: History,
    directory: Path,
    thresholds: Thresholds,
    max_steps: int,
    constraints: Sequence[Constraint],
) -> "_Optimiser":
    molecule = geometric.molecule.Molecule()
    molecule.elem = list(structure.symbols)
    molecule.xyzs = [np.array(structure.positions)]
    molecule.build_topology()
    targets, values = parse_constraints(molecule, constraint_text(constraints)) if constraints else (None, [None])
    # The older way to build coordinates (conmethod 0) lets frozen atoms take forces from free ones: it ends elsewhere.
    coordinates = DelocalizedInternalCoordinates(
        molecule,
        build=True,
        connect=False,
        addcart=False,
        constraints=targets,
        cvals=values[0],
        conmethod=1 if constraints else 0,
    )
    settings = OptParams(
        convergence_energy=thresholds.energy,
        convergence_grms=thresholds.rms_gradient,
        convergence_gmax=thresholds.max_gradient,
        convergence_drms=thresholds.rms_step * BOHR_ANGSTROM,
        convergence_dmax=thresholds.max_step * BOHR_ANGSTROM,
        maxiter=max_steps,
        # On a grid a molecule feels a small net force and torque; frozen atoms may hold real ones.
        subfrctor=0 if any(each.kind == "freeze" for each in constraints) else 2,
        convergence_cmax=_HELD,
    )
    start = structure.positions.ravel() / BOHR_ANGSTROM
    return _Optimiser(start, molecule, coordinates, _Answers(molecule, history), str(directory), settings, history)


class _Optimiser(Optimizer):  # type: ignore[misc]
    """geomeTRIC's optimiser, held to the symmetry of the start and to the path of the checkpoint."""

    def __init__(
        self,
        start: FloatArray,
        molecule: Any,
        coordinates: Any,
        engine: "_Answers",
        directory: str,
        settings: Any,
        history: History,
    ) -> None:
        super().__init__(start, molecule, coordinates, engine, directory, settings, print_info=False)
        self._history = history
        self.model: ModelHessian | None = None

    def prepareFirstStep(self) -> None:  # noqa: N802  (geomeTRIC's name)
        """Begin with the model's Hessian where there is one."""
        super().prepareFirstStep()
        if self.model is not None:
            self.H0: FloatArray = self.model.in_internals(self.IC, self.X)
            self.H: FloatArray = self.H0.copy()

    def free_gradient(self) -> FloatArray:
        """The gradient [Hartree/bohr], shape=(n_atoms, 3), without what constraints hold."""
        held = self.IC.haveConstraints()
        gradient: FloatArray = self.IC.calcGradProj(self.X, self.gradx) if held else self.gradx
        return gradient.reshape(-1, 3)

    def hessian_of_atoms(self) -> FloatArray:
        """What it has learned of the Hessian, B^T H B [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms)."""
        to_internals: FloatArray = self.IC.wilsonB(self.X)
        return to_internals.T @ self.H @ to_internals

    def newCartesian(self, dy: FloatArray) -> None:  # noqa: N802  (geomeTRIC's name)
        """Take a step in internal coordinates; all else in `step` follows from the positions it leads to."""
        before: FloatArray = self.X
        super().newCartesian(dy)
        step = (self.X - before).reshape(-1, 3)
        after = self._history.next_positions()
        self.X: FloatArray = before + self._history.symmetric(step).ravel() if after is None else after.ravel()


class _Answers(Engine):  # type: ignore[misc]
    """What geomeTRIC asks; it caches and stores nothing itself."""

    def __init__(self, molecule: Any, history: History) -> None:
        super().__init__(molecule)
        self._history = history

    def calc(
        self, coords: FloatArray, dirname: str, read_data: bool = False, copydir: str | None = None
    ) -> dict[str, Any]:
        """Energy [Hartree] and flat gradient [Hartree/bohr] at flat positions [bohr]."""
        del dirname, read_data, copydir
        found = self._history.answer(coords.reshape(-1, 3))
        return {"energy": found.energy, "gradient": found.gradient.ravel().copy()}


def run_relaxation(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    progress: Progress,
    directory: Path,
    fingerprint: str,
    *,
    thresholds: Thresholds = THRESHOLDS["gau"],
    max_steps: int = DEFAULT_MAX_STEPS,
    constraints: Sequence[Constraint] = (),
    operations: list[Operation] | None = None,
    judge: Judge | None = None,
    grid_response: bool = False,
    guess: Guess | None = None,
    model: ModelHessian | None = None,
    device: Cpu = CPU,
    keeper: ScfKeeper | None = None,
) -> RelaxResult:
    """Relax at a Kohn-Sham level, on the grid ``level.scf_grid`` or else ``level.grid``; see `relax`.

    Where the level asks for stability, the solution that the process begins with is left for a lower one where it is
    unstable, and that at the final positions is tested.

    Parameters
    ----------
    level
        Of energies and gradients; the final energy belongs to the grid that was relaxed on.
    max_memory_mb
        That PySCF may plan with [MB].
    grid_response
        See `KohnShamGradient`.
    guess
        Occupied orbitals in this level's basis to begin with.
    model
        As for `relax`.
    device
        Where SCF cycles and gradients are computed.
    keeper
        Saves the orbitals of every SCF on the way.

    Raises
    ------
    CalculationError
        As `relax`, and ``scf_not_converged``.
    """
    surface = KohnShamGradient(
        structure,
        level,
        max_memory_mb,
        progress,
        grid_response=grid_response,
        stabilised=bool(level.stability),
        device=device,
        keeper=keeper,
    )
    notes = unusable(guess, surface.mean_field.mol)
    result = relax(
        structure,
        surface,
        directory=directory,
        fingerprint=fingerprint,
        progress=progress,
        thresholds=thresholds,
        max_steps=max_steps,
        constraints=constraints,
        operations=operations,
        judge=judge,
        guess=None if notes else guess,
        model=model,
    )
    stability = None
    if level.stability:
        surface.converge(result.positions / BOHR_ANGSTROM, result.guess or None)
        stability = check_stability(surface.mean_field)
    notes += result.notes + surface.notes
    return replace(result, notes=notes, continued=surface.continued, stability=stability)


def _failure(optimiser: "_Optimiser", history: History, thresholds: Thresholds, max_steps: int) -> str:
    """Why a relaxation has not converged, for the user."""
    gradient = largest(optimiser.free_gradient())
    ended = f"no convergence in {max_steps} steps"
    if optimiser.state != OPT_STATE.FAILED:
        ended = f"no coordinate system served after {optimiser.Iteration} steps"
    swings = "; its energy oscillates" if oscillates(history.energies) else ""
    return (
        f"{ended}: last energy {history.energies[-1]:.8f} Hartree, largest gradient {gradient:.1e} Hartree/bohr "
        f"(threshold {thresholds.max_gradient:.1e}){swings}"
    )


def oscillates(energies: list[float]) -> bool:
    """Whether the last energies go up and down without getting lower.

    Parameters
    ----------
    energies
        In order [Hartree].
    """
    last = energies[-_WATCHED:]
    if len(last) < _WATCHED:
        return False
    changes = [b - a for a, b in pairwise(last)]
    turns = sum(1 for a, b in pairwise(changes) if a * b < 0)
    half = _WATCHED // 2
    return turns >= half - 1 and min(last[half:]) > min(last[:half]) - THRESHOLDS["gau"].energy
