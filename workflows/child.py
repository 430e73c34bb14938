"""The process that computes: reads a task from its directory, leaves a record or a failure there.

Run as ``python -m alkaflow.workflows.child DIRECTORY PID_OF_WORKER``. It knows no database.
Everything it leaves is whole: a file is written under another name and renamed.
"""

import ctypes
import errno
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from alkaflow.errors import AlkaflowError, CalculationError, Outcome
from alkaflow.files import write_atomically
from alkaflow.workflows.steps import peak_memory_mb, run_task
from alkaflow.workflows.task import FAILURE_FILE, RECORD_FILE, TASK_FILE, Task


def main() -> int:
    """Run the task of a directory; exit code 0 with a record, 1 with a failure that is written down."""
    directory, parent = Path(sys.argv[1]), int(sys.argv[2])
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the worker, which ends its child
    try:
        task = Task.model_validate_json((directory / TASK_FILE).read_bytes())
        record = run_task(task, directory)
        write_atomically(directory / RECORD_FILE, record.model_dump_json().encode())
    except Exception as error:  # noqa: BLE001  (the last line of defence: whatever it is, it is written down)
        if not isinstance(error, (AlkaflowError, MemoryError)):
            traceback.print_exc()
        outcome, message = failure_of(error, directory)
        write_atomically(directory / FAILURE_FILE, json.dumps({"outcome": outcome, "message": message}).encode())
        return 1
    return 0


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
        used = f"{peak_memory_mb():.0f} MB used"
        return "out_of_memory", f"the calculation needed more memory than there is; {used}"
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)  # HDF5 says it in words only
        where = error.filename or directory
        return ("disk_full" if full else "engine_crashed"), f"{error.strerror or error}: {where}"
    return "engine_crashed", f"{type(error).__name__}: {error}"


def _die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its worker, so that a killed worker leaves nothing running."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
