"""GFN2-xTB relaxations by geomeTRIC for what is large and soft. Imported only by the process that computes.

Where ligands swing and fold, L-BFGS in Cartesian coordinates creeps: of Ti6(HPAB), 174 atoms, it took 257 steps from a
start from which steps in internal coordinates get as low in three, and to the minimum in a hundred.
"""

from pathlib import Path
from typing import Any

from tblite.exceptions import TBLiteRuntimeError
from tblite.interface import Calculator

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import EXACT, find_operations
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
from alkaflow.workflows.drift import drifted_apart
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation import THRESHOLDS, Thresholds, relax
from alkaflow.workflows.surface import Evaluation
from alkaflow.workflows.xtb_engine import XtbResult

_EV_ANGSTROM = BOHR_ANGSTROM / HARTREE_EV  # 1 eV/Angstrom in Hartree/bohr


class XtbGradient:
    """Energies and gradients of one molecule at many geometries, each from the charges of the one before.

    Parameters
    ----------
    structure
        Elements, charge and multiplicity; where the first geometry is.
    level
        For its accuracy.
    """

    def __init__(self, structure: Structure, level: Xtb) -> None:
        self._level = level
        self._before: Any = None
        self._calculator = Calculator(
            "GFN2-xTB",
            structure.numbers,
            structure.positions / BOHR_ANGSTROM,
            charge=structure.charge,
            uhf=structure.multiplicity - 1,
        )
        self._calculator.set("accuracy", level.accuracy)
        self._calculator.set("verbosity", 0)

    def __call__(self, positions: FloatArray, guess: Guess | None) -> Evaluation:
        """Energy and gradient at positions [bohr]; there are no orbitals to begin with or to hand on.

        Raises
        ------
        CalculationError
            ``scf_not_converged``.
        """
        del guess
        self._calculator.update(positions)
        try:
            self._before = self._calculator.singlepoint(self._before)
        except TBLiteRuntimeError as error:
            raise CalculationError("scf_not_converged", f"{self._level}: {error}") from error
        return Evaluation(float(self._before.get("energy")), self._before.get("gradient"))


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
