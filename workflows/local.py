"""One calculation at once and without a queue, in a process of its own: for quick questions, not for campaigns."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from alkaflow.calculations import CalculationInput
from alkaflow.errors import CalculationError
from alkaflow.records import Record
from alkaflow.workflows.blas import process_environment
from alkaflow.workflows.child import FAILURE_FILE, RECORD_FILE, TASK_FILE, Task


class _Failure(BaseModel):
    """What a child leaves when it has no record."""

    model_config = ConfigDict(extra="ignore")

    outcome: str
    message: str


def compute(calculation: CalculationInput, threads: int = 1, memory_mb: int = 2000) -> Record:
    """Run a calculation whose geometry is given, and return its record; nothing is kept.

    Parameters
    ----------
    calculation
        With positions, not with a parent.
    threads
        For the calculation.
    memory_mb
        That it may plan with.

    Raises
    ------
    CalculationError
        It ended without a result; a crash of the engine takes the child process only.
    """
    if calculation.positions is None:
        raise ValueError("a calculation without a queue needs its geometry")
    task = Task(calculation=calculation, positions=calculation.positions, threads=threads, memory_mb=memory_mb)
    environment = process_environment(os.environ, threads, "auto")
    with tempfile.TemporaryDirectory(prefix="alkaflow-") as folder:
        directory = Path(folder)
        (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "alkaflow.workflows.child", folder, str(os.getpid())],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        record, failure = directory / RECORD_FILE, directory / FAILURE_FILE
        if done.returncode == 0 and record.exists():
            return Record.model_validate_json(record.read_bytes())
        if failure.exists():
            told = _Failure.model_validate_json(failure.read_bytes())
            raise CalculationError(told.outcome, told.message)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    raise CalculationError("engine_crashed", f"the engine ended with code {done.returncode}: {last}")
