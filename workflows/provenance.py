"""Versions, libraries, machine and time that a record keeps. Imported only by the process that computes."""

import resource
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from alkaflow.records import Provenance
from alkaflow.workflows.task import Task

if TYPE_CHECKING:
    from alkaflow.workflows.device import Cpu

_PACKAGES = ("alkaflow", "numpy", "scipy", "ase", "pyscf", "pyscf-dispersion", "geometric", "tblite")


def provenance_of(task: Task, seconds: dict[str, float], continued: dict[str, int], device: "Cpu | None") -> Provenance:
    """Where a record comes from.

    Parameters
    ----------
    task
        That was computed.
    seconds
        Of its parts.
    continued
        What came from checkpoints, counted.
    device
        None where there was no SCF.
    """
    from alkaflow.workflows.blas import cpu_model, loaded_blas

    return Provenance(
        versions={"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        blas=loaded_blas(),
        threads=task.threads,
        device=device.name if device else "cpu",
        fast_kernels=device.fast_kernels if device else None,
        sentinel=asdict(device.sentinel) if device and device.sentinel else None,
        cpu=cpu_model(),
        peak_memory_mb=round(peak_memory_mb(), 1),
        seconds={part: round(value, 3) for part, value in seconds.items()},
        continued=continued or None,
        finished=datetime.now(UTC),
    )


def peak_memory_mb() -> float:
    """Largest resident memory of this process [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
