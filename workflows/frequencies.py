"""Hessians by PySCF at a stationary point, for harmonic frequencies.

The analytic Hessian where PySCF has one, else central differences of gradients, which continue where they were
killed; an analytic one that was killed begins anew. Imported only by the process that computes.

Grids. Stiff modes hardly depend on the grid; soft ones between molecules do: for two argon atoms at 3.85 Angstrom
(B3LYP-D3(BJ)/3-21G) the analytic curvature is -3.4e-3 Hartree/bohr^2 on the grid (50,194), where that of the energy is
+2.3e-4, and 6.8e-5 on (99,590), where it is 6.2e-5. So protocols take (99,590) for frequencies, whatever grid the
relaxation had. Differences with ``grid_response`` agree with the energy on either grid.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.levels import Grid, KohnSham
from alkaflow.records import Vibrations
from alkaflow.structures import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows import interrupt
from alkaflow.workflows.checkpoint import Checkpoint, load, save
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import ScfResult, run_scf
from alkaflow.workflows.scf_checkpoint import ScfKeeper
from alkaflow.workflows.surface import Evaluate, KohnShamGradient
from alkaflow.workflows.vibrations import Frequencies, Method, harmonic_analysis

STEP = 0.005
"""Displacement of the finite differences [bohr]."""

_CHECKPOINT = "frequencies"
_GUESS = "guess:"  # before the names of its arrays in the checkpoint
_TIGHT_ENERGY, _TIGHT_GRADIENT = 1e-10, 1e-6  # of the SCF: differences divide its noise by 0.01 bohr


def find_vibrations(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    progress: Progress,
    directory: Path,
    fingerprint: str,
    guess: Guess | None = None,
    device: Cpu = CPU,
) -> tuple[ScfResult, Vibrations, list[str]]:
    """What the step ``frequencies`` does: an SCF as any other, the Hessian from its orbitals, and their vibrations.

    Parameters
    ----------
    structure, level, max_memory_mb, progress, directory, fingerprint
        As in `run_frequencies`.
    guess
        Occupied orbitals of the relaxation in this level's basis.
    device
        Where SCF cycles and gradients are computed.

    Returns
    -------
    tuple
        The SCF, with the Hessian [Hartree/bohr^2] beside its orbitals; the vibrations; what the record should warn of.

    Raises
    ------
    CalculationError
        As `run_frequencies`.
    """
    tight = _tightened(level)
    keeper = ScfKeeper(directory, fingerprint)
    scf = run_scf(structure, tight, max_memory_mb, progress, guess, device=device, keeper=keeper)
    found = run_frequencies(
        structure, tight, max_memory_mb, progress, directory, fingerprint, orbitals=scf.orbitals, device=device
    )
    return replace(scf, orbitals=scf.orbitals | {"hessian": found.hessian}), found.as_part(), found.notes


def run_frequencies(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    progress: Progress,
    directory: Path,
    fingerprint: str,
    *,
    orbitals: Guess | None = None,
    method: Method | None = None,
    grid: Grid | None = None,
    grid_response: bool = False,
    device: Cpu = CPU,
) -> Frequencies:
    """Harmonic frequencies at a Kohn-Sham level, dispersion included; the SCF is tighter than the level says.

    Parameters
    ----------
    structure
        Relaxed at this level.
    level
        Its own grid is used, unlike in a relaxation, which may use ``level.scf_grid``.
    max_memory_mb
        That PySCF may plan with [MB].
    progress
        Told after every SCF cycle and every displaced gradient.
    directory
        Scratch of this calculation, where its checkpoints are; exists.
    fingerprint
        Of the calculation.
    orbitals
        To start the SCF from, as `guess.occupied_orbitals` gives them.
    method
        Analytic where PySCF has it, by default. Its dispersion is differentiated numerically, and its grid does not
        move with the atoms.
    grid
        Instead of ``level.grid``.
    grid_response
        For differences: whether their gradients contain the derivatives of the grid's weights.
    device
        Where SCF cycles and gradients are computed.

    Raises
    ------
    CalculationError
        ``scf_not_converged``, or ``engine_crashed`` for a Hessian that is not finite.
    """
    if len(structure) == 1:
        return harmonic_analysis(structure, np.zeros((3, 3)))
    chosen = level.grid if grid is None else grid
    surface = KohnShamGradient(
        structure,
        _tightened(level),
        max_memory_mb,
        progress,
        grid=chosen,
        grid_response=grid_response,
        device=device,
    )
    if method != "differences":
        try:
            hessian, gradient = analytic_hessian(structure, surface, orbitals)
        except NotImplementedError:
            if method == "analytic":
                raise
        else:
            return harmonic_analysis(structure, hessian, gradient=gradient)
    hessian, gradient, notes = hessian_by_differences(
        structure, surface, directory=directory, fingerprint=fingerprint, progress=progress, guess=orbitals
    )
    return harmonic_analysis(structure, hessian, gradient=gradient, method="differences", notes=notes)


def _tightened(level: KohnSham) -> KohnSham:
    """The level with an SCF that is converged well enough to be differentiated."""
    return level.model_copy(
        update={
            "energy_threshold": min(level.energy_threshold, _TIGHT_ENERGY),
            "gradient_threshold": min(level.gradient_threshold, _TIGHT_GRADIENT),
        }
    )


def analytic_hessian(
    structure: Structure, surface: KohnShamGradient, orbitals: Guess | None
) -> tuple[FloatArray, FloatArray]:
    """Hessian by coupled-perturbed Kohn-Sham equations, and the gradient.

    Parameters
    ----------
    structure
        The geometry.
    surface
        Of this molecule.
    orbitals
        To start the SCF from.

    Returns
    -------
    tuple
        Hessian [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms); gradient [Hartree/bohr], shape=(n_atoms, 3).

    Raises
    ------
    NotImplementedError
        PySCF has no analytic Hessian for this kind of calculation.
    """
    found = surface(structure.positions / BOHR_ANGSTROM, orbitals)
    if not hasattr(surface.mean_field, "Hessian"):
        raise NotImplementedError(type(surface.mean_field).__name__)
    with interrupt.at_once():
        blocks = np.asarray(surface.mean_field.Hessian().kernel(), dtype=float)
    size = 3 * len(structure)
    return blocks.transpose(0, 2, 1, 3).reshape(size, size), found.gradient


def hessian_by_differences(
    structure: Structure,
    evaluate: Evaluate,
    *,
    directory: Path,
    fingerprint: str,
    progress: Progress,
    guess: Guess | None = None,
    step: float = STEP,
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Hessian by central differences of gradients, from its checkpoint where there is one.

    Parameters
    ----------
    structure
        The geometry.
    evaluate
        Energy and gradient at given positions; every displaced one starts from the guess of the geometry itself.
    directory, fingerprint
        As in `run_frequencies`; a checkpoint of another geometry or step is not used.
    progress
        Told after every gradient.
    guess
        Of the geometry itself.
    step
        Displacement [bohr].

    Returns
    -------
    tuple
        Hessian [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms), symmetric; gradient of the geometry [Hartree/bohr];
        notes about checkpoints that could not be used.

    Raises
    ------
    CalculationError
        ``engine_crashed`` for a gradient that is not finite, or what `evaluate` raises.
    """
    done = _Displaced(structure, directory, fingerprint, step)
    guess = done.guess or guess
    for number in range(len(done.gradients), len(done.displacements)):
        found = evaluate(done.origin + done.displacements[number], guess)
        if not np.isfinite(found.gradient).all():
            raise CalculationError("engine_crashed", f"the gradient of displacement {number} is not finite")
        guess = guess if number else found.guess
        done.add(found.gradient, guess or {})
        interrupt.check()
        progress.report("displaced gradient", number, found.energy, of=len(done.displacements) - 1)
    flat = np.array(done.gradients).reshape(len(done.gradients), -1)
    hessian = (flat[1::2] - flat[2::2]) / (2 * step)
    return (hessian + hessian.T) / 2, done.gradients[0], done.notes


class _Displaced:
    """Gradients of a geometry and of those beside it, kept in a checkpoint.

    ``displacements`` [bohr] has shape=(1 + 6 n_atoms, n_atoms, 3): none, then every coordinate forth and back.
    """

    def __init__(self, structure: Structure, directory: Path, fingerprint: str, step: float) -> None:
        self._directory, self._fingerprint, self._step = directory, fingerprint, step
        self.origin = structure.positions / BOHR_ANGSTROM
        size = self.origin.size
        forth_and_back = step * np.stack([np.eye(size), -np.eye(size)], axis=1).reshape(2 * size, -1, 3)
        self.displacements = np.concatenate([np.zeros((1, *self.origin.shape)), forth_and_back])
        self.gradients: list[FloatArray] = []
        self.guess: Guess = {}
        checkpoint, self.notes = load(directory, fingerprint, _CHECKPOINT)
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        arrays = dict(checkpoint.arrays)
        origin, gradients = arrays.pop("positions"), arrays.pop("gradients")
        if checkpoint.values["step"] != self._step or not np.array_equal(origin, self.origin):
            self.notes.append(f"the checkpoint in {self._directory} is not used: it has another geometry or step")
            return
        self.gradients = list(gradients)
        self.guess = {name.removeprefix(_GUESS): array for name, array in arrays.items()}

    def add(self, gradient: FloatArray, guess: Guess) -> None:
        """Save the next gradient [Hartree/bohr], and the guess of the geometry itself."""
        self.gradients.append(gradient)
        arrays = {
            "positions": self.origin,
            "gradients": np.array(self.gradients),
            **{_GUESS + name: array for name, array in guess.items()},
        }
        save(self._directory, Checkpoint(self._fingerprint, {"step": self._step}, arrays), _CHECKPOINT)
