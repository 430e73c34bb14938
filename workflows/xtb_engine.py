"""GFN2-xTB by tblite: energies and relaxations. Imported only by the process that computes.

A relaxation keeps the symmetry of its start, as Gaussian's does: forces and steps are projected onto what the
start's symmetry operations leave unchanged. Without that, rounding errors decide where a guest above a ring ends:
at GFN2 the place above a pyrazine ring of HATCN is no minimum, and the metal slides into the bay sooner or later.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import EXACT, Operation, find_operations, symmetrise
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
from alkaflow.workflows import interrupt
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, load, save
from alkaflow.workflows.drift import drifted_apart
from alkaflow.workflows.progress import Progress

_LOOK_EVERY = 10  # steps
_SAVE_SECONDS = 20.0  # between checkpoints


@dataclass(frozen=True)
class XtbResult:
    """Final geometry [Angstrom], energies [Hartree], largest force [eV/Angstrom], symmetry operations kept.

    Of the steps ``resumed`` were taken by earlier attempts.
    """

    positions: FloatArray
    energy: float
    max_force: float
    steps: int
    operations: int
    energies: list[float] = field(default_factory=list)
    resumed: int = 0


def run_xtb(
    structure: Structure,
    level: Xtb,
    relax: bool,
    progress: Progress,
    frozen: Collection[int] = (),
    kept: "KeptGeometry | None" = None,
) -> XtbResult:
    """Compute an energy, or relax first with ASE's L-BFGS (or BFGS) within the symmetry of the start.

    Parameters
    ----------
    structure
        Where it starts.
    level
        Accuracy, and when a relaxation ends.
    relax
        Whether to relax.
    progress
        Told of every step.
    frozen
        Atoms (numbers from 0) that a relaxation leaves where they are; the largest force is that of the others.
    kept
        Where a relaxation that takes long saves its geometry, and goes on from what it finds there.

    Raises
    ------
    CalculationError
        ``scf_not_converged``, ``relaxation_not_converged``, ``dissociated``, or ``engine_crashed`` for a value that is
        not finite.
    """
    from ase.calculators.calculator import CalculationFailed, SCFError
    from ase.constraints import FixAtoms
    from ase.optimize import BFGS, LBFGS
    from tblite.ase import TBLite

    from alkaflow.structures import to_ase

    before = kept.load(len(structure)) if kept and relax else None
    atoms = to_ase(structure if before is None else structure.with_positions(before.positions))
    atoms.calc = TBLite(
        method="GFN2-xTB",
        charge=structure.charge,
        multiplicity=structure.multiplicity,
        accuracy=level.accuracy,
        verbosity=0,
    )
    energies: list[float] = list(before.energies) if before else []
    resumed = len(energies)
    operations = _keeping(find_operations(BondGraph(structure), EXACT), frozen) if relax else []

    def watch() -> None:
        energy = float(atoms.get_potential_energy()) / HARTREE_EV
        force = _max_force(atoms.get_forces())
        if not (np.isfinite(energy) and np.isfinite(force)):
            raise CalculationError("engine_crashed", f"energy or force is not finite at step {len(energies)}")
        energies.append(energy)
        if len(energies) % _LOOK_EVERY == 0 and (sentence := drifted_apart(atoms.positions)):
            raise CalculationError("dissociated", sentence)
        progress.report("relaxation step", len(energies) - 1, energy, max_force=force)
        if kept is not None and relax:
            kept.save(atoms.positions, energies, at_once=interrupt.requested())
        interrupt.check()

    try:
        if relax and len(structure) > 1:
            held = [FixAtoms(sorted(frozen))] if frozen else []
            atoms.set_constraint([_KeepSymmetry(operations), *held])
            optimiser = (BFGS if level.optimiser == "bfgs" else LBFGS)(atoms, logfile=None)
            optimiser.attach(watch)
            converged = optimiser.run(fmax=level.max_force, steps=max(level.max_steps - resumed, 1))
            if not converged:
                raise CalculationError(
                    "relaxation_not_converged",
                    f"forces above {level.max_force} eV/Angstrom after {level.max_steps} steps of {level}",
                )
        else:
            watch()
        max_force = _max_force(atoms.get_forces())
    except (CalculationFailed, SCFError) as error:
        raise CalculationError("scf_not_converged", f"{level}: {error}") from error
    steps = len(energies) - 1
    return XtbResult(np.array(atoms.positions), energies[-1], max_force, steps, len(operations), energies, resumed)


class _Geometry(NamedTuple):
    """Positions [Angstrom] with shape=(n_atoms, 3), and the energies of all steps so far [Hartree]."""

    positions: FloatArray
    energies: list[float]


class KeptGeometry:
    """The last geometry of a relaxation, in the checkpoints of its calculation.

    Parameters
    ----------
    directory
        That outlives the attempt.
    fingerprint
        Of the calculation.
    seconds
        Between two checkpoints.
    """

    def __init__(self, directory: Path, fingerprint: str, seconds: float = _SAVE_SECONDS) -> None:
        self._directory, self._fingerprint, self._seconds = directory, fingerprint, seconds
        self._saved = time.monotonic()

    def load(self, n_atoms: int) -> _Geometry | None:
        """What an earlier attempt has left; None where nothing serves."""
        found = load(self._directory, self._fingerprint, RELAXATION).checkpoint
        if found is None or found.arrays["positions"].shape[1:] != (n_atoms, 3):
            return None
        return _Geometry(found.arrays["positions"][-1] * BOHR_ANGSTROM, found.arrays["energies"].tolist())

    def save(self, positions: FloatArray, energies: Sequence[float], at_once: bool = False) -> None:
        """Keep a geometry [Angstrom] with the energies of all steps, if the last time is long ago."""
        if not at_once and time.monotonic() - self._saved < self._seconds:
            return
        arrays = {"positions": np.array(positions)[None] / BOHR_ANGSTROM, "energies": np.array(energies)}
        save(self._directory, Checkpoint(self._fingerprint, {}, arrays), RELAXATION)
        self._saved = time.monotonic()


def _keeping(operations: list[Operation], frozen: Collection[int]) -> list[Operation]:
    """The operations that send frozen atoms to frozen ones."""
    held = set(frozen)
    return [each for each in operations if {each.permutation[atom] for atom in held} == held]


class _KeepSymmetry:
    """A constraint in ASE's sense: no step and no force leaves the symmetry of the start."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations

    def adjust_positions(self, atoms: Any, new: FloatArray) -> None:
        """Take from a step what breaks the symmetry."""
        new[:] = atoms.positions + symmetrise(new - atoms.positions, self._operations)

    def adjust_forces(self, atoms: Any, forces: FloatArray) -> None:
        """Take from the forces what breaks the symmetry: rounding errors, by then."""
        del atoms
        forces[:] = symmetrise(forces, self._operations)


def _max_force(forces: FloatArray) -> float:
    """Largest force on an atom, forces with shape=(n_atoms, 3)."""
    return float(np.linalg.norm(forces, axis=1).max())
