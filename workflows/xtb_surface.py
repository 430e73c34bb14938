"""Energies and gradients of GFN2-xTB at many geometries. Imported only by the process that computes."""

from typing import Any

from tblite.exceptions import TBLiteRuntimeError
from tblite.interface import Calculator

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.surface import Evaluation


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
