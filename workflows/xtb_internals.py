"""GFN2-xTB relaxations by geomeTRIC for what is large and soft. Imported only by the process that computes.

Where ligands swing and fold, L-BFGS in Cartesian coordinates creeps: of Ti6(HPAB), 174 atoms, it took 257 steps from a
start from which steps in internal coordinates get as low in three, and to the minimum in a hundred.
"""

from pathlib import Path

from alkaflow.levels import Xtb
from alkaflow.structures import Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import EXACT, find_operations
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
from alkaflow.workflows.drift import drifted_apart
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation import THRESHOLDS, Thresholds, relax
from alkaflow.workflows.xtb_engine import XtbResult
from alkaflow.workflows.xtb_surface import XtbGradient

_EV_ANGSTROM = BOHR_ANGSTROM / HARTREE_EV  # 1 eV/Angstrom in Hartree/bohr


def thresholds_of(level: Xtb) -> Thresholds:
    """Gradients as the level says, the rest by Gaussian's default set."""
    limit = level.max_force * _EV_ANGSTROM
    steps = THRESHOLDS["gau"]
    return Thresholds(limit, limit * 2 / 3, steps.max_step, steps.rms_step, steps.energy)


def relax_in_internals(
    structure: Structure,
    level: Xtb,
    progress: Progress,
    directory: Path,
    fingerprint: str,
) -> XtbResult:
    """Relax within the symmetry of the start; all of its path is in the checkpoint.

    Parameters
    ----------
    structure
        The start.
    level
        When it ends.
    progress
        Told of every gradient.
    directory, fingerprint
        Of the checkpoint.

    Raises
    ------
    CalculationError
        ``relaxation_not_converged``, ``dissociated``, ``scf_not_converged`` or ``engine_crashed``.
    """
    found = relax(
        structure,
        XtbGradient(structure, level),
        directory=directory,
        fingerprint=fingerprint,
        progress=progress,
        thresholds=thresholds_of(level),
        max_steps=level.max_steps,
        operations=find_operations(BondGraph(structure), EXACT),
        judge=lambda positions, _: drifted_apart(positions),
    )
    return XtbResult(
        positions=found.positions,
        energy=found.energy,
        max_force=found.max_gradient / _EV_ANGSTROM,
        steps=found.steps,
        operations=found.operations,
        energies=found.energies,
        resumed=found.resumed,
    )
