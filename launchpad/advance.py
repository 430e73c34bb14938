"""How far a calculation has come, and whether a try that was cut short brought it any further.

A calculation whose next gradient takes longer than a job has saves something in every job, and converges the same SCF
again in every job: that is no progress, and would go on for ever.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of
from alkaflow.launchpad.limits import TimeLimit
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, fingerprint_of, load

Marks = dict[str, dict[str, Any]]
"""How far each part of a calculation is, by the name of its checkpoint; plain data."""

CHECKPOINTS = "checkpoints"
"""The directory of a calculation, beside those of its attempts, that holds its checkpoints."""

_ENOUGH_SECONDS = 600.0  # what brought nothing further after so long would not get anywhere in another job either
_PART_OF_A_JOB = 0.5
_SAME_ENERGY = 1e-8  # Hartree; so far apart is an SCF that only converges again
_PREVIOUS = ".previous"


def enough_seconds(job: TimeLimit | None) -> float:
    """After how long a try should have brought something [s]; half of a job that is shorter.

    Parameters
    ----------
    job
        What was left of the scheduler's job when its worker began, or of a limit that was set.
    """
    if job is None or not job.of_the_job:
        return _ENOUGH_SECONDS
    return min(_ENOUGH_SECONDS, _PART_OF_A_JOB * job.seconds)


def saved_marks(checkpoints: Path, calculation: CalculationInput) -> Marks:
    """How far a calculation is by its checkpoints, which are read and not changed.

    Parameters
    ----------
    checkpoints
        Their directory; need not exist.
    calculation
        That they belong to; those of another one do not count.
    """
    fingerprint = fingerprint_of(calculation)
    names = {path.name.removesuffix(".checkpoint").removesuffix(_PREVIOUS) for path in checkpoints.glob("*.checkpoint")}
    found = {name: load(checkpoints, fingerprint, name).checkpoint for name in sorted(names)}
    return {name: _mark(name, checkpoint) for name, checkpoint in found.items() if checkpoint is not None}


def left_marks(claim: dict[str, Any] | None, calculation: CalculationInput) -> Marks:
    """How far a calculation is by what a dead worker left on a disk that is seen from here; empty where it is not.

    Parameters
    ----------
    claim
        Of the worker; names where its attempts are.
    calculation
        That it computed.
    """
    root = (claim or {}).get("attempts_in")
    if not root:
        return {}
    with suppress(OSError):
        return saved_marks(Path(root) / calculation.id / CHECKPOINTS, calculation)
    return {}


def reported_marks(progress: dict[str, Any] | None) -> Marks:
    """How far a calculation is by its last report, where nobody looked at its checkpoints."""
    if not progress:
        return {}
    return {"report": {key: progress[key] for key in ("stage", "step", "energy_hartree")}}


def moved_on(before: Marks, after: Marks) -> bool:
    """Whether anything is further than it was: a relaxation step, or an SCF that is nearer to its end."""
    return any(name not in before or _is_further(before[name], mark) for name, mark in after.items())


def _mark(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    if name == RELAXATION:
        return {"step": len(checkpoint.arrays["energies"])}
    if "situation" in checkpoint.values:  # an SCF
        known = checkpoint.values["situation"]
        reached = [known["stage"], len(known["corrections"]), known["tested"]]
        return {"situation": reached, "energy_hartree": checkpoint.values["energy_hartree"]}
    content = [repr(checkpoint.values).encode(), *(array.tobytes() for array in checkpoint.arrays.values())]
    return {"sha256": sha256_of(b"".join(content))}


def _is_further(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if "energy_hartree" not in after:
        return after["step"] > before["step"] if "step" in after else after != before
    if after.get("situation") != before.get("situation") or after.get("stage") != before.get("stage"):
        return True
    if after.get("stage", "SCF cycle") != "SCF cycle" and after["step"] != before["step"]:
        return True
    return bool(abs(after["energy_hartree"] - before["energy_hartree"]) > _SAME_ENERGY)
