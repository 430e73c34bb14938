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

from alkaflow.errors import AlkaflowError, CalculationError
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
    except CalculationError as error:
        _write_failure(directory, error.outcome, str(error))
        return 1
    except AlkaflowError as error:
        _write_failure(directory, "bad_input", str(error))
        return 1
    except MemoryError:
        _write_failure(
            directory,
            "out_of_memory",
            f"the calculation needed more memory than there is; {peak_memory_mb():.0f} MB used",
        )
        return 1
    except OSError as error:
        traceback.print_exc()
        outcome = "disk_full" if error.errno == errno.ENOSPC else "engine_crashed"
        _write_failure(directory, outcome, f"{error.strerror}: {error.filename or directory}")
        return 1
    except Exception as error:  # noqa: BLE001  (the last line of defence: whatever it is, it is written down)
        traceback.print_exc()
        _write_failure(directory, "engine_crashed", f"{type(error).__name__}: {error}")
        return 1
    return 0


def _write_failure(directory: Path, outcome: str, message: str) -> None:
    content = {"outcome": outcome, "message": message}
    write_atomically(directory / FAILURE_FILE, json.dumps(content).encode())


def _die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its worker, so that a killed worker leaves nothing running."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
