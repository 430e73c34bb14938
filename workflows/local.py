"""One calculation at once and without a queue, in a process of its own: for quick questions, not for campaigns."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from alkaflow.calculations import CalculationInput
from alkaflow.errors import CalculationError
from alkaflow.records import Record
from alkaflow.workflows.blas import process_environment
from alkaflow.workflows.task import FAILURE_FILE, RECORD_FILE, TASK_FILE, Task

_POLL_SECONDS = 0.05
_LOG_FILE = "output.log"


class _Failure(BaseModel):
    """What a child leaves when it has no record."""

    model_config = ConfigDict(extra="ignore")

    outcome: str
    message: str


def compute(
    calculation: CalculationInput, threads: int = 1, memory_mb: int = 2000, stop: threading.Event | None = None
) -> Record:
    """Run a calculation whose geometry is given, and return its record; nothing is kept.

    Parameters
    ----------
    calculation
        With positions, not with a parent.
    threads
        For the calculation.
    memory_mb
        That it may plan with.
    stop
        Ends the calculation when set.

    Raises
    ------
    CalculationError
        It ended without a result, or was stopped; a crash of the engine takes the child process only.
    """
    if calculation.positions is None:
        raise ValueError("a calculation without a queue needs its geometry")
    task = Task(calculation=calculation, positions=calculation.positions, threads=threads, memory_mb=memory_mb)
    with tempfile.TemporaryDirectory(prefix="alkaflow-") as folder:
        environment = process_environment(os.environ, threads, "auto")
        environment |= {"PYSCF_TMPDIR": folder, "TMPDIR": folder}
        directory = Path(folder)
        (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
        with (directory / _LOG_FILE).open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "alkaflow.workflows.child", folder, str(os.getpid())],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        _wait(child, stop or threading.Event())
        record, failure = directory / RECORD_FILE, directory / FAILURE_FILE
        if child.returncode == 0 and record.exists():
            return Record.model_validate_json(record.read_bytes())
        if failure.exists():
            told = _Failure.model_validate_json(failure.read_bytes())
            raise CalculationError(told.outcome, told.message)
        said = (directory / _LOG_FILE).read_text(errors="replace").strip().splitlines()
    last = said[-1] if said else "it said nothing"
    raise CalculationError("engine_crashed", f"the engine ended with code {child.returncode}: {last}")


def _wait(child: "subprocess.Popen[bytes]", stop: threading.Event) -> None:
    """Wait for a child; end it when told to, or when this process is interrupted."""
    try:
        while child.poll() is None and not stop.wait(_POLL_SECONDS):
            pass
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
