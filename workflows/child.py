"""The process that computes: reads a task from its directory, leaves a record or a failure there.

Run as ``python -m alkaflow.workflows.child DIRECTORY PID_OF_WORKER``. It knows no database. Everything it leaves is
whole: a file is written under another name and renamed; the MANIFEST, by which a result counts as one, comes last.

SIGUSR1 asks it to stop: it saves what it has reached and ends within one cycle of an SCF or one gradient.
"""

import errno
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from alkaflow.errors import AlkaflowError, CalculationError, Outcome
from alkaflow.files import write_atomically
from alkaflow.workflows import interrupt
from alkaflow.workflows.directory import (
    FAILURE_FILE,
    INTERRUPTED,
    ORBITAL_FILE,
    RECORD_FILE,
    TASK_FILE,
    write_manifest,
)


def main() -> int:
    """Run the task of a directory; exit code 0 with a record, 1 with a failure that is written down, 75 stopped."""
    directory, parent = Path(sys.argv[1]), int(sys.argv[2])
    interrupt.install()
    interrupt.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the worker, which ends its child
    try:
        _compute(directory)
    except interrupt.Interrupted:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  (the last line of defence: whatever it is, it is written down)
        if not isinstance(error, (AlkaflowError, MemoryError)):
            traceback.print_exc()
        outcome, message = failure_of(error, directory)
        write_atomically(directory / FAILURE_FILE, json.dumps({"outcome": outcome, "message": message}).encode())
        return 1
    return 0


def _compute(directory: Path) -> None:
    """Leave the result of a task beside it."""
    from alkaflow.workflows.steps import run_task  # takes seconds, in which a signal is heard already
    from alkaflow.workflows.task import Task

    task = Task.model_validate_json((directory / TASK_FILE).read_bytes())
    record = run_task(task, directory)
    write_atomically(directory / RECORD_FILE, record.model_dump_json().encode())
    names = [RECORD_FILE] if record.orbitals is None else [ORBITAL_FILE, RECORD_FILE]
    write_manifest(directory, record.id, names)


def failure_of(error: Exception, directory: Path) -> tuple[Outcome, str]:
    """Name the outcome of an exception, with the sentence for the user.

    Parameters
    ----------
    error
        What ended the calculation.
    directory
        Where it ran.
    """
    if isinstance(error, CalculationError):
        return error.outcome, str(error)
    if isinstance(error, AlkaflowError):
        return "bad_input", str(error)
    if isinstance(error, MemoryError):
        from alkaflow.workflows.provenance import peak_memory_mb

        used = f"{peak_memory_mb():.0f} MB used"
        return "out_of_memory", f"the calculation needed more memory than there is; {used}"
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)  # HDF5 says it in words only
        where = error.filename or directory
        return ("disk_full" if full else "engine_crashed"), f"{error.strerror or error}: {where}"
    return "engine_crashed", f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
