"""What processes do that are killed in the middle of it."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

from fireworks.core.launchpad import WFLock
from made_records import fake_record
from pymongo import monitoring

from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.locks import lock
from alkaflow.launchpad.queue import Queue
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings

LEASE = 2.0  # s
_LONGEST = 30.0  # s

Act = Callable[[Database], None]


def compute(ids: list[str] | None, database: Database) -> None:
    """Claim, give a sign of life, deliver a result."""
    queue = Queue(database, LEASE)
    claim = queue.claim(ids)
    assert claim is not None
    assert queue.heartbeat(claim, {"stage": "fake", "step": 1, "energy_hartree": -1.0, "elapsed": 0.1})
    assert queue.complete(claim, fake_record(claim))


def fail(calculation: str, database: Database) -> None:
    queue = Queue(database, LEASE)
    claim = queue.claim([calculation])
    assert claim is not None
    queue.fail(claim, "scf_not_converged", "it swings", "/nowhere")


def submit(run: SingleRun, database: Database) -> None:
    Queue(database, LEASE).submit(run)


def say(what: str, database: Database) -> None:
    queue = Queue(database, LEASE)
    if what == "repair":
        queue.repair(everything=True)
    elif what == "release_job":
        queue.release_job("slurm:7", "walltime", "it ran out of time")
    else:
        getattr(Control(database, queue), what)({})


def hold_a_lock(database: Database) -> None:
    with lock(database, "a name", LEASE):
        database.locks.find_one({})


def hold_a_workflow(number: int, database: Database) -> None:
    """Hold FireWorks' lock of the workflow of a firework."""
    with WFLock(database.fireworks, number):
        database.locks.find_one({})


class _KillAt(monitoring.CommandListener):
    """Kills this process at the n-th command that it sends to a database."""

    def __init__(self, number: int, before: bool) -> None:
        self._left, self._before, self._marked = number, before, -1

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._left -= 1
        if self._left == 0:
            self._marked = event.request_id
            if self._before:
                os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent) -> None:
        if event.request_id == self._marked:
            os.kill(os.getpid(), signal.SIGKILL)

    failed = succeeded


class _Counted(_KillAt):
    """The same, from the moment on that a database is open."""

    counting = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if _Counted.counting:
            super().started(event)


def _act(settings: Settings, number: int, before: bool, act: Act) -> None:
    monitoring.register(_Counted(number, before))
    with open_database(settings, start=False) as database:
        _Counted.counting = True
        act(database)
        _Counted.counting = False


def dies_at_command(settings: Settings, number: int, before: bool, act: Act) -> bool:
    """Do something in a process of its own that is killed at its n-th database command; whether it came to that."""
    context = multiprocessing.get_context("forkserver")  # a process without threads, imports done
    context.set_forkserver_preload(["acts"])
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # where that process looks for this module
    process = context.Process(target=_act, args=(settings, number, before, act))
    process.start()
    process.join(_LONGEST)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the process did not end in {_LONGEST} s")
    if process.exitcode == -signal.SIGKILL:
        return True
    assert process.exitcode == 0, "the process failed before it came to the command"
    return False
