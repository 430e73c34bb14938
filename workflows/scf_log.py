"""What the cycles of an SCF showed, and what its failure looked like. Imported only by the process that computes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.workflows import interrupt

Watch = Callable[[dict[str, Any]], None]
"""Called after every cycle with PySCF's state: e_tot, last_hf_e, norm_gorb, mo_coeff, mo_occ."""

Keep = Callable[[dict[str, Any], list[dict[str, Any]]], None]
"""Called after every cycle whose orbitals an SCF could begin with, with PySCF's state and the corrections so far."""

_RECENT = 8  # cycles that a diagnosis looks at


class Log:
    """What the cycles of all attempts showed."""

    def __init__(
        self, watch: Watch | None, keep: Keep | None = None, corrections: list[dict[str, Any]] | None = None
    ) -> None:
        self._watch, self._keep = watch, keep
        self._corrections = [] if corrections is None else corrections
        self.cycles = 0
        self.change = float("nan")
        self.energies: list[float] = []
        self.gradients: list[float] = []
        self._best: tuple[float, Any, Any] | None = None

    def begin(self) -> None:
        """Begin another SCF; the orbitals of lowest energy are kept."""
        self.energies, self.gradients = [], []

    def __call__(self, state: dict[str, Any], whole: bool = True, shown: bool = True) -> None:
        """Note a cycle; stop where that was asked for.

        Parameters
        ----------
        state
            As PySCF gives it.
        whole
            Whether the occupations are those of the object, and the orbitals of its basis.
        shown
            Whether to pass it on.
        """
        energy = float(state["e_tot"])
        if not np.isfinite(energy):
            raise CalculationError("engine_crashed", "the SCF energy is not finite")
        self.cycles += 1
        self.change = energy - float(state["last_hf_e"])
        self.energies.append(energy)
        self.gradients.append(float(state["norm_gorb"]))
        if whole and (self._best is None or energy < self._best[0]):
            self._best = (energy, state["mo_coeff"], state["mo_occ"])
        if shown and self._watch is not None:
            self._watch(state)
        if whole and self._keep is not None:
            self._keep(state, self._corrections)
        interrupt.check()

    def orbitals(self, mean_field: Any) -> tuple[Any, Any]:
        """Coefficients and occupations of lowest energy among all cycles."""
        if self._best is None:
            return mean_field.mo_coeff, mean_field.mo_occ
        return self._best[1], self._best[2]

    def diagnose(self, cycles: int) -> str:
        """Say why an SCF of at most so many cycles has not converged."""
        energies, gradients = np.array(self.energies[-_RECENT:]), np.array(self.gradients[-_RECENT:])
        state = f"last change {self.change:.1e} Hartree, orbital gradient {gradients[-1]:.1e}"
        if len(self.energies) < cycles:
            return f"the last diagonalisation left the solution after {len(self.energies)} cycles: {state}"
        if len(energies) == _RECENT:
            changes = np.diff(energies)
            flips = int((changes[1:] * changes[:-1] < 0).sum())
            if flips >= len(changes) - 3 and abs(changes[-3:]).max() > 0.5 * abs(changes[:3]).max():
                return f"oscillating between {energies.min():.6f} and {energies.max():.6f} Hartree: {state}"
            if gradients[-3:].min() > 0.5 * gradients[:3].min():
                return f"orbital gradient stuck at {gradients.min():.1e}: {state}"
        return f"not converged in {cycles} cycles: {state}"
