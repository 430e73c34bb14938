"""Orbitals of an SCF on the way, saved after its cycles, so that one that was killed goes on where it was.

Only cycles are saved whose orbitals are in the object's own basis with whole occupations: an SCF can begin with them,
whatever helped to find them. What DIIS remembers is saved with them, so that the next cycle is the one that would have
come. Saving takes at most about a twentieth of the time. Imported only by the process that computes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from alkaflow.files import sha256_of
from alkaflow.structures import FloatArray
from alkaflow.workflows import interrupt
from alkaflow.workflows.basis import basis_hash
from alkaflow.workflows.checkpoint import Checkpoint, generations, load, save
from alkaflow.workflows.diis_history import history_of, names_for, no_history
from alkaflow.workflows.guess import filled_orbitals
from alkaflow.workflows.stability import Stability

SCF = "scf"
"""Name of the checkpoint: ``coefficients_S`` and ``occupations_S`` as records hold them, ``positions`` [bohr], and
where plain DIIS was on its way ``fock_S`` and ``error_S``, its history."""

PAUSE = 20.0
"""So many times as long as the last save took is waited until the next."""

_SAME = 1e-6  # bohr; orbitals of another geometry belong to another SCF
_ORTHONORMAL = 1e-5
_ELSEWHERE = "it is of another geometry"


@dataclass(frozen=True)
class Situation:
    """What an SCF on the way knows beside its orbitals.

    Attributes
    ----------
    stage
        Which of the grids of its level it is on, from 0; -1 on the coarse one before them.
    corrections
        What it had to try so far.
    tested
        How many of these there were when its stability was tested.
    stability
        What that test found; None where there was none.
    """

    stage: int = 0
    corrections: list[dict[str, Any]] = field(default_factory=list)
    tested: int = 0
    stability: Stability | None = None


@dataclass(frozen=True)
class Resumed:
    """Where an SCF goes on: nothing at all, or occupied orbitals after so many cycles; notes on files of no use.

    With the orbitals is the history of DIIS, which may be empty.
    """

    orbitals: dict[str, FloatArray] | None = None
    cycles: int = 0
    situation: Situation = field(default_factory=Situation)
    notes: list[str] = field(default_factory=list)


class ScfKeeper:
    """Saves the orbitals of a calculation's SCF, and finds those that an earlier attempt saved.

    Parameters
    ----------
    directory
        Where the checkpoints of the calculation are; exists.
    fingerprint
        Of the calculation.
    moving
        Whether it has many geometries, of which the one that was saved need not be the one asked for.
    clock
        Seconds.

    Attributes
    ----------
    situation
        What is saved with the orbitals.
    """

    def __init__(
        self, directory: Path, fingerprint: str, moving: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._fingerprint, self._moving, self._clock = directory, fingerprint, moving, clock
        self._due = float("-inf")
        self._cycles = 0
        self.situation = Situation()
        self._belongs: dict[str, Any] = {}
        self._positions: FloatArray = np.zeros((0, 3))

    def begin(self, molecule: Any) -> Resumed:
        """Begin the SCF of a PySCF molecule: what an earlier attempt left of it."""
        found, notes = load(self._directory, self._fingerprint, SCF, lambda checkpoint: _unfit(checkpoint, molecule))
        if self._moving:
            notes = [note for note in notes if not note.endswith(_ELSEWHERE)]
        self.enter(molecule)
        if found is None:
            return Resumed(notes=notes)
        values, orbitals = found.values, {name: a for name, a in found.arrays.items() if name != "positions"}
        orbitals = no_history(molecule, "coefficients_restricted" in orbitals) | orbitals
        self._cycles, self.situation = int(values["cycles"]), _situation(values["situation"])
        return Resumed(orbitals, self._cycles, self.situation, notes)

    def enter(self, molecule: Any) -> None:
        """Begin the SCF of a molecule, or of the same one elsewhere, with no look at what was left."""
        self._cycles, self.situation = 0, Situation()
        self._belongs = _identity(molecule)
        self._positions = np.array(molecule.atom_coords())

    def know(self, situation: Situation) -> None:
        """Save this with the cycles that follow."""
        self.situation = situation

    def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
        """Note a cycle, and save it when it is time or this process was asked to stop; a `ladder.Keep`."""
        self._cycles += 1
        if self._clock() >= self._due or interrupt.requested():
            self._save(state["mo_coeff"], state["mo_occ"], float(state["e_tot"]), corrections, state)

    def save(self, mean_field: Any) -> None:
        """Save a converged object, whatever the time."""
        self._save(mean_field.mo_coeff, mean_field.mo_occ, float(mean_field.e_tot), [])

    def forget(self) -> None:
        """Remove what was saved: an SCF that ended without a solution is no start for the next attempt."""
        for path in generations(self._directory, SCF):
            path.unlink(missing_ok=True)

    def _save(
        self,
        coefficients: Any,
        occupations: Any,
        energy: float,
        corrections: list[dict[str, Any]],
        state: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        begin = self._clock()
        known = asdict(self.situation)
        known["corrections"] = known["corrections"] + corrections
        values = {"cycles": self._cycles, "energy_hartree": energy, "situation": known, **self._belongs}
        arrays = {"positions": self._positions, **filled_orbitals(_plain(coefficients), _plain(occupations))}
        arrays |= history_of(state)
        save(self._directory, Checkpoint(self._fingerprint, values, arrays), SCF)
        end = self._clock()
        self._due = end + PAUSE * (end - begin)


def _plain(array: Any) -> FloatArray:
    """An array, of a GPU as well, in the memory of the CPU."""
    return np.asarray(array.get() if hasattr(array, "get") else array, dtype=float)


def _situation(values: dict[str, Any]) -> Situation:
    """A situation from what JSON holds of it; TypeError where that is something else."""
    found = Situation(**values)
    if not (type(found.stage) is type(found.tested) is int and isinstance(found.corrections, list)):
        raise TypeError("stage, tested or corrections")
    return found if found.stability is None else replace(found, stability=Stability(**values["stability"]))


def _identity(molecule: Any) -> dict[str, Any]:
    """What orbitals belong to beside a geometry: basis, charge, spin and ghosts."""
    basis = basis_hash(molecule._basis, molecule._ecp)  # noqa: SLF001  (no other way to the data it used)
    labels = " ".join(molecule.atom_symbol(k) for k in range(molecule.natm))
    return {
        "basis": sha256_of(f"{basis} {bool(molecule.cart)} {labels}".encode()),
        "charge": int(molecule.charge),
        "spin": int(molecule.spin),
    }


def _unfit(checkpoint: Checkpoint, molecule: Any) -> str | None:
    """Why an SCF of a molecule cannot go on from a checkpoint, or None."""
    try:
        _situation(checkpoint.values["situation"])
        belongs = {name: checkpoint.values[name] for name in ("basis", "charge", "spin")}
        positions, cycles = checkpoint.arrays["positions"], int(checkpoint.values["cycles"])
        orbitals = {name: array for name, array in checkpoint.arrays.items() if name != "positions"}
    except (KeyError, TypeError, ValueError) as error:
        return f"it is no checkpoint of an SCF ({type(error).__name__}: {error})"
    for name, own in _identity(molecule).items():
        if belongs[name] != own:
            return f"it is of another {name}"
    if cycles < 0 or not all(np.isfinite(array).all() for array in checkpoint.arrays.values()):
        return "it holds a number that is not finite"
    origin = molecule.atom_coords()
    if positions.shape != origin.shape or np.abs(positions - origin).max() > _SAME:
        return _ELSEWHERE
    names = names_for("coefficients_restricted" in orbitals)
    history = {name: orbitals.pop(name) for name in names if name in orbitals}
    return _unfit_orbitals(orbitals, molecule) or _unfit_history(history, names, molecule.nao)


def _unfit_history(history: dict[str, FloatArray], names: tuple[str, ...], functions: int) -> str | None:
    """Why a history of DIIS is not one of so many functions, or None; there need not be any."""
    if not history:
        return None
    vectors = min(len(np.atleast_1d(array)) for array in history.values())
    shape = (vectors, functions * (functions + 1) // 2)
    if set(history) != set(names) or any(array.shape != shape for array in history.values()):
        return "what DIIS remembers is not of its orbitals"
    return None


def _unfit_orbitals(orbitals: dict[str, FloatArray], molecule: Any) -> str | None:
    """Why occupied orbitals are not those of a molecule, or None; a singlet may have them by spin."""
    restricted = "coefficients_restricted" in orbitals
    alpha, beta = (int(count) for count in molecule.nelec)
    wanted = {"restricted": alpha + beta} if restricted else {"alpha": alpha, "beta": beta}
    names = {f"{kind}_{spin}" for kind in ("coefficients", "occupations") for spin in wanted}
    if set(orbitals) != names or (restricted and molecule.spin):
        return "it does not hold the orbitals of its spins"
    overlap = molecule.intor_symmetric("int1e_ovlp")
    for spin, electrons in wanted.items():
        coefficients, occupations = orbitals[f"coefficients_{spin}"], orbitals[f"occupations_{spin}"]
        each = 2.0 if restricted else 1.0
        if coefficients.shape != (molecule.nao, electrons / each) or occupations.shape != coefficients.shape[1:]:
            return f"its orbitals have the shape {coefficients.shape}, not ({molecule.nao}, {electrons / each:g})"
        if not np.array_equal(occupations, np.full(occupations.shape, each)):
            return "its occupations are not whole"
        product = coefficients.T @ overlap @ coefficients
        if product.size and np.abs(product - np.eye(len(product))).max() > _ORTHONORMAL:
            return "its orbitals are not orthonormal"
    return None
