"""What the process that computes is told, and the names of the files that it reads and leaves."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from alkaflow.calculations import CalculationInput, Position
from alkaflow.levels import Level
from alkaflow.workflows.directory import (
    FAILURE_FILE,
    GUESS_FILE,
    INTERRUPTED,
    MANIFEST_FILE,
    ORBITAL_FILE,
    RECORD_FILE,
    TASK_FILE,
)

__all__ = [
    "FAILURE_FILE",
    "GUESS_FILE",
    "INTERRUPTED",
    "MANIFEST_FILE",
    "ORBITAL_FILE",
    "RECORD_FILE",
    "TASK_FILE",
    "Task",
]


class Task(BaseModel):
    """What a child is told: the input, the geometry it stands for [Angstrom], and what it may use.

    ``guess_level`` is the level of the orbitals in the file ``guess.npz``, where there is one, and ``guess_energy``
    [Hartree] what their calculation found; ``checkpoints`` is the directory that outlives the attempt.
    ``notes`` are for the warnings of its record.
    """

    model_config = ConfigDict(extra="forbid")

    calculation: CalculationInput
    positions: tuple[Position, ...]
    threads: int
    memory_mb: int
    guess_level: Level | None = None
    guess_energy: float | None = None
    checkpoints: Path | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    fast_kernels: bool = True
    notes: tuple[str, ...] = ()
