"""Energies and gradients of one molecule at many geometries. Imported only by the process that computes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pyscf import lib

from alkaflow.errors import CalculationError
from alkaflow.levels import Grid, KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows import interrupt
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.guess import Guess, density_of, occupied_orbitals
from alkaflow.workflows.orbital_tags import with_orbitals
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.recycled_diis import Pair, learned
from alkaflow.workflows.scf_checkpoint import ScfKeeper, Situation
from alkaflow.workflows.stability import stabilise


@dataclass(frozen=True)
class Evaluation:
    """Energy [Hartree], gradient [Hartree/bohr] with shape=(n_atoms, 3), and what the next one may start from.

    ``corrections`` is what had to be tried, in custodian's shape; ``cycles`` the number of SCF cycles.
    """

    energy: float
    gradient: FloatArray
    guess: Guess = field(default_factory=dict)
    corrections: list[dict[str, Any]] = field(default_factory=list)
    cycles: int = 0


Evaluate = Callable[[FloatArray, Guess | None], Evaluation]
"""Of positions [bohr], shape=(n_atoms, 3), and the guess of the evaluation before it or None."""


class KohnShamGradient:
    """Energies and gradients of one molecule at many geometries, each SCF from the orbitals of the one before.

    The guess holds what a record does: ``coefficients_S``, ``energies_S`` [Hartree] and ``occupations_S`` of the
    occupied orbitals, for S ``restricted``, or ``alpha`` and ``beta``. At a new geometry they are orthonormalised
    (Loewdin) and handed to PySCF with the density, so that density fitting builds exchange from them; its DIIS begins
    with what those before have learned. A singlet whose
    guess has ``alpha`` and ``beta`` is unrestricted: its spins keep the broken symmetry that they begin with.

    Parameters
    ----------
    structure
        Elements, charge and multiplicity; its positions do not matter.
    level
        With its density fitting and dispersion, both of which the gradients contain.
    max_memory_mb
        That PySCF may plan with [MB].
    progress
        Told after every SCF cycle.
    grid
        Instead of ``level.scf_grid``, or ``level.grid`` where that is none.
    grid_response
        Whether gradients contain the derivatives of the grid's weights, as those of an energy on a small grid should;
        PySCF's default is no. It has none for meta-GGAs.
    stabilised
        Whether the first solution is tested and left for a lower one where it is unstable.
    device
        Where SCF cycles and gradients are computed.
    keeper
        Saves the orbitals of every SCF on the way. What an earlier attempt saved is gone on with where it belongs to
        the first geometry that is asked for, instead of the guess.

    Attributes
    ----------
    mean_field
        PySCF's, at the last geometry.
    cycles
        Of the last SCF.
    continued
        Cycles of an earlier attempt that the first SCF went on from.
    notes
        About checkpoints that could not be used.
    """

    def __init__(
        self,
        structure: Structure,
        level: KohnSham,
        max_memory_mb: int,
        progress: Progress,
        *,
        grid: Grid | None = None,
        grid_response: bool = False,
        stabilised: bool = False,
        device: Cpu = CPU,
        keeper: ScfKeeper | None = None,
    ) -> None:
        self._device, self._keeper, self._begun = device, keeper, False
        self.continued = 0
        self.notes: list[str] = []
        self._structure, self._level, self._max_memory_mb = structure, level, max_memory_mb
        self._progress, self._grid_response, self._unstabilised = progress, grid_response, stabilised
        self._grid = next(g for g in (grid, level.scf_grid, level.grid) if g is not None)
        self.cycles = 0
        self._build(unrestricted=structure.multiplicity > 1)

    def _build(self, unrestricted: bool) -> None:
        self._unrestricted = unrestricted
        self._pairs: list[Pair] = []
        molecule = build_molecule(self._structure, self._level, self._max_memory_mb)
        self.mean_field = build_mean_field(molecule, self._level, unrestricted)
        set_grid(self.mean_field, self._grid)

    def __call__(self, positions: FloatArray, guess: Guess | None) -> Evaluation:
        """Converge the SCF at positions [bohr] and differentiate its energy."""
        corrections = self.converge(positions, guess)
        if self._keeper is not None:
            self._keeper.know(replace(self._keeper.situation, corrections=corrections))
        if self._unstabilised:
            self._unstabilised = False
            self.mean_field, found = stabilise(self.mean_field, break_symmetry=True)
            if self._unrestricted != (np.ndim(self.mean_field.mo_occ) == 2):
                self._unrestricted, self._pairs = not self._unrestricted, []  # those of other spins do not fit
            if self._keeper is not None:
                self._keeper.know(Situation(corrections=corrections, stability=found))
                self._keeper.save(self.mean_field)
        if self._keeper is not None and interrupt.requested():
            self._keeper.save(self.mean_field)
        interrupt.check()
        gradient = self._device.gradient(self.mean_field, self._grid_response)
        guess = occupied_orbitals(self.mean_field)
        return Evaluation(float(self.mean_field.e_tot), gradient, guess, corrections, self.cycles)

    def converge(self, positions: FloatArray, guess: Guess | None) -> list[dict[str, Any]]:
        """Converge the SCF at positions [bohr]; returns what had to be tried."""
        molecule = self.mean_field.mol
        molecule.set_geom_(positions, unit="Bohr")
        guess, before = self._resumed(molecule, guess)
        unrestricted = self._structure.multiplicity > 1 or (guess is not None and "coefficients_alpha" in guess)
        if unrestricted != self._unrestricted:
            self._build(unrestricted)
            self.mean_field.mol.set_geom_(positions, unit="Bohr")
        mean_field = self.mean_field
        mean_field.reset(mean_field.mol)
        self.cycles = 0
        density = density_of(mean_field, guess) if guess else with_orbitals(mean_field.get_init_guess())
        if getattr(density, "history", None) is None:
            density = lib.tag_array(density, pairs=self._pairs)
        try:
            return before + self._device.converge(mean_field, density, self._watch, self._keeper)
        except CalculationError as error:
            if self._keeper is not None:
                self._keeper.forget()
            raise CalculationError(error.outcome, f"{self._level}: {error}") from error

    def _resumed(self, molecule: Any, guess: Guess | None) -> tuple[Guess | None, list[dict[str, Any]]]:
        """What to begin with, and what an earlier attempt had to try at this geometry."""
        if self._keeper is None:
            return guess, []
        if self._begun:
            self._keeper.enter(molecule)
            return guess, []
        self._begun = True
        found = self._keeper.begin(molecule)
        self.notes = found.notes
        if found.orbitals is None:
            return guess, []
        self.continued = found.cycles
        self._unstabilised = self._unstabilised and found.situation.stability is None
        return found.orbitals, found.situation.corrections

    def _watch(self, state: dict[str, Any]) -> None:
        self.cycles += 1
        self._pairs = learned(state) or self._pairs
        self._progress.report("SCF cycle", self.cycles, float(state["e_tot"]))
