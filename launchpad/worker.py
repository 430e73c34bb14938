"""The worker: claims calculations and supervises the process that computes each.

The computation is a child process, so that a crash takes the child and not the report. Its environment (threads,
BLAS kernel, scratch) is settled before it imports anything. Whatever it leaves is on disk, whole, before the database
is asked to take it.
"""

import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pymongo.errors import ConnectionFailure, PyMongoError

from alkaflow.errors import CalculationError, MismatchError, ServiceError
from alkaflow.launchpad.advance import CHECKPOINTS, Marks, enough_seconds, saved_marks
from alkaflow.launchpad.child import Engine
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.drain import Drain, in_words
from alkaflow.launchpad.heart import Heart
from alkaflow.launchpad.limits import TimeLimit, current_job, time_limit
from alkaflow.launchpad.locks import LockedError
from alkaflow.launchpad.logs import LOG_FILE
from alkaflow.launchpad.outbox import DamagedError, Entry, attempts_root, deliver, read_entry
from alkaflow.launchpad.owner import drop, folder_of
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.launchpad.retries import TOO_SLOW
from alkaflow.launchpad.supervisor import (
    SCRATCH,
    ClaimLostError,
    DiedError,
    GivenBackError,
    Supervisor,
    checkpoints_of,
)
from alkaflow.settings import Settings, load_settings
from alkaflow.workflows.progress import PROGRESS_FILE
from alkaflow.workflows.task import GUESS_FILE, MANIFEST_FILE, ORBITAL_FILE, RECORD_FILE, TASK_FILE

__all__ = ["Engine", "Event", "Watcher", "Worker", "check_device", "checkpoints_of", "run_one"]

_IDLE_SECONDS = 1.0
_FOLDER_SECONDS = 10.0  # between two looks where all that is left is in job folders
_DELIVERY_SECONDS = 6 * 3600.0
_LONGEST_PAUSE = 30.0
_MOST_DYING = 3  # calculations in a row, none of which ends in any other way
_OF_THE_HOST = ("engine_crashed", "disk_full")
_PART_OF_A_JOB = 0.5  # of its time left, in which also what needs longer is begun


@dataclass(frozen=True)
class Event:
    """Something to show: a calculation started, moved on, ended well, failed, was given back, or is waited for.

    One that is waited for has a message once for each job folder that holds any.
    """

    kind: Literal["started", "progress", "completed", "failed", "released", "waiting"]
    calculation: str
    title: str
    progress: dict[str, Any] | None = None
    message: str = ""
    seconds: float = 0.0


Watcher = Callable[[Event], None]


def _nobody(event: Event) -> None:
    del event


def check_device(settings: Settings) -> None:
    """Make sure that the device of the settings is there; raises ServiceError with what is missing."""
    if settings.device == "gpu":
        from alkaflow.workflows.device import require_gpu

        require_gpu()


class Worker:
    """Works off a queue, one calculation at a time.

    Parameters
    ----------
    database, settings
        Where, and with what.
    watch
        Called with every event.
    engine
        What computes.
    drain
        Set by a signal handler when the job is about to end: the calculation that runs is asked for a checkpoint and
        given back, and none is begun.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        watch: Watcher = _nobody,
        engine: Engine | None = None,
        drain: Drain | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._queue = Queue(database, settings.lease_seconds, attempts_in=attempts_root(settings))
        self._watch = watch
        self._drain = drain or Drain()
        self._dying: list[str] = []
        self._last_death = ""
        self._enough = enough_seconds(None)
        self._idle = _IDLE_SECONDS
        self._folders_said: set[str] = set()
        self._supervisor = Supervisor(database, settings, engine or Engine(), self._drain)

    def run(
        self,
        only: Collection[str] | None = None,
        keep_alive: Callable[[], None] | None = None,
        stay_seconds: float = 0.0,
    ) -> int:
        """Work until nothing is left to do; returns the number of calculations worked on here.

        Parameters
        ----------
        only
            Ids to work on; waits for those that another worker computes. All that is ready by default.
        keep_alive
            Called now and then, to renew what the caller holds.
        stay_seconds
            How long to wait for new work when there is none [s].
        """
        check_device(self._settings)
        self._repair()
        whole = time_limit(None)
        self._enough = enough_seconds(whole)
        worked_on = 0
        idle_since = time.monotonic()
        while not self._drain.is_set():
            if keep_alive is not None:
                keep_alive()
            limit = time_limit(None)
            if limit is not None and limit.seconds <= 0:
                return worked_on  # the job ends; what is claimed now would be lost
            seconds_left = _time_for_one(limit, whole)
            claim = self._patiently(partial(self._queue.claim, only, seconds_left))
            if claim is not None:
                self.execute(claim, keep_alive)
                self._stop_where_nothing_works()
                worked_on += 1
                idle_since = time.monotonic()
            elif not self._others_work_on(only) and time.monotonic() - idle_since >= stay_seconds:
                return worked_on
            else:
                self._drain.wait(self._idle)
        return worked_on

    def _repair(self) -> bool:
        """Free what the dead held; whether there was any. Somebody else who is at it does the same."""
        with suppress(LockedError):
            freed = self._queue.repair(wait_seconds=0.0)
            given_up = {"_id": {"$in": freed}, "state": "FIZZLED"}
            for document in self._database.calculations.find(given_up, {"title": 1, "failure": 1}) if freed else ():
                failure = document["failure"]
                message = _given_up(document["_id"], f"{failure['outcome']}: {failure['message']}")
                self._watch(Event("failed", document["_id"], document["title"], message=message))
            return bool(freed)
        return False

    def _others_work_on(self, only: Collection[str] | None) -> bool:
        """Whether to go on: something became free, or another worker has some of it."""
        self._idle = _IDLE_SECONDS
        self._repair()
        if self._queue.claimable(only):
            return True
        if only is None:
            return False
        held = [document for document in self._queue.unfinished(only) if document["claim"] is not None]
        folders = Counter(folder for document in held if (folder := folder_of(document["claim"])))
        for document in held:
            message = self._about_folder(document["claim"], folders)
            self._watch(Event("waiting", document["_id"], document["title"], document["progress"], message))
        if held and folders.total() == len(held):
            self._idle = _FOLDER_SECONDS
        return bool(held)

    def _about_folder(self, claim: dict[str, Any], numbers: Mapping[str, int]) -> str:
        """What to do about a job folder that is waited for; empty where there is none, or that was said before."""
        folder = folder_of(claim)
        if folder is None or folder in self._folders_said:
            return ""
        self._folders_said.add(folder)
        return (
            f"waiting for the job folder {folder}, which has {numbers[folder]} of the calculations until "
            f"{claim['expires']:%Y-%m-%d %H:%M} UTC; deliver what it comes to with: alkaflow sync {folder}; "
            f"or give it back with: alkaflow cluster unpack {folder}"
        )

    def _stop_where_nothing_works(self) -> None:
        """End a worker on whose host one calculation after the other dies; raises ServiceError."""
        if len(set(self._dying)) >= _MOST_DYING:
            raise ServiceError(
                f"{_MOST_DYING} calculations in a row died on {socket.gethostname()}; the last one: "
                f"{self._last_death}; this worker stops, so that the others wait for a better place"
            )

    def execute(self, claim: Claim, keep_alive: Callable[[], None] | None = None) -> bool:
        """Compute a claimed calculation and report how it ended; True when there is a record.

        Interrupted by Ctrl-C or SIGTERM, it ends the child and gives the claim back.
        """
        begin = time.monotonic()
        directory = self._directory(claim)
        try:
            self._watch(Event("started", claim.id, claim.title))
            with Heart(self._queue, claim, self._settings.lease_seconds, keep_alive) as heart:
                entry = self._finished_earlier(claim) or self._compute(claim, directory, heart)
                self._deliver(claim, entry)
        except DiedError as error:
            self._note_death(claim, error)
            reached = self._left(claim)
            died: dict[str, Any] = {"died": True, "peak_memory_mb": error.peak_memory_mb, "reached": reached}
            outcome, message = error.outcome, str(error)
            state = self._patiently(lambda: self._queue.fail(claim, outcome, message, str(directory), **died))
            said = f"{outcome}: {message}" + ("; it is tried again" if state in ("READY", "WAITING") else "")
            return self._report("failed", claim, _given_up(claim.id, said) if state == "FIZZLED" else said)
        except CalculationError as error:
            self._note_death(claim, error)
            outcome, message = error.outcome, str(error)
            self._patiently(lambda: self._queue.fail(claim, outcome, message, str(directory)))
            return self._report("failed", claim, f"{error.outcome}: {error}")
        except MismatchError as error:
            return self._report("failed", claim, f"{error}; its files are kept in {directory}")
        except ClaimLostError:
            return self._report(
                "failed", claim, f"lease lost: {self._why_lost(claim)}; its files are kept in {directory}"
            )
        except GivenBackError as error:
            return self._give_back(claim, str(error), had_time=time.monotonic() - begin > self._enough)
        except BaseException as error:
            with suppress(PyMongoError):  # without a database the claim is found dead later
                reached = self._left(claim)
                kept = "; its checkpoint is kept" if reached else ""
                self._queue.release(claim, in_words(error, current_job()) + kept, reached)
            raise
        finally:
            drop(claim.token)  # whatever became of it, this process does not work on it any more
        self._dying.clear()
        with suppress(OSError):  # what is left here is tidied by sync
            self._tidy(claim.id)
        energy, seconds = f"{entry.record.energy_hartree:.6f}", time.monotonic() - begin
        self._watch(Event("completed", claim.id, claim.title, message=energy, seconds=seconds))
        return True

    def _left(self, claim: Claim) -> Marks:
        """How far a calculation is by its checkpoints; empty where none can be read."""
        with suppress(OSError):
            return saved_marks(checkpoints_of(self._settings, claim.id), claim.calculation)
        return {}

    def _give_back(self, claim: Claim, reason: str, had_time: bool) -> bool:
        reached = saved_marks(checkpoints_of(self._settings, claim.id), claim.calculation)
        if self._queue.release(claim, reason, reached, had_time) == "FIZZLED":
            given_up = _given_up(claim.id, f"out_of_time: {reason}")
            return self._report("failed", claim, f"{given_up}; it got no further: {TOO_SLOW}")
        return self._report("released", claim, reason)

    def _note_death(self, claim: Claim, error: CalculationError) -> None:
        if error.outcome in _OF_THE_HOST:
            self._dying.append(claim.id)
            self._last_death = f"{claim.id}: {error}"
        else:
            self._dying.clear()

    def _patiently(self, act: Callable[[], Any]) -> Any:
        """Ask the database again and again while it does not answer, until the worker has to stop."""
        until = time.monotonic() + _DELIVERY_SECONDS
        pause = 0.5
        while True:
            try:
                return act()
            except ConnectionFailure:
                if time.monotonic() > until or self._drain.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _report(self, kind: Literal["failed", "released"], claim: Claim, message: str) -> bool:
        self._watch(Event(kind, claim.id, claim.title, message=message))
        return False

    def _why_lost(self, claim: Claim) -> str:
        with suppress(PyMongoError):
            document = self._database.calculations.find_one({"_id": claim.id}, {"state": 1})
            if document is not None and document["state"] == "DEFUSED":
                return "it was cancelled"
        return "another worker has it"

    # --- delivering -------------------------------------------------------------------------------------------------

    def _deliver(self, claim: Claim, entry: Entry) -> None:
        """Give the database a result; waits out an outage, as it is safe on disk."""
        try:
            delivered = self._patiently(lambda: deliver(self._database, self._queue, claim, entry))
            if not delivered:  # taken from this worker; where nobody has it now, the result counts nevertheless
                again = self._patiently(lambda: self._queue.adopt(claim.id))
                delivered = again is not None and deliver(self._database, self._queue, again, entry)
        except ConnectionFailure as error:
            raise ServiceError(
                f"the database does not answer ({type(error).__name__}); the result of {claim.id} is safe in "
                f"{entry.directory}; deliver it with: alkaflow sync"
            ) from None
        if not delivered:
            raise ClaimLostError

    def _finished_earlier(self, claim: Claim) -> Entry | None:
        """A result that an earlier attempt left on disk when its worker died before delivering it."""
        for path in sorted((attempts_root(self._settings) / claim.id).glob(f"*/{MANIFEST_FILE}")):
            with suppress(DamagedError):
                entry = read_entry(path.parent)
                if entry is not None and entry.record.id == claim.id:
                    return entry
        return None

    def _compute(self, claim: Claim, directory: Path, heart: Heart) -> Entry:
        def show(progress: dict[str, Any] | None, seconds: float) -> None:
            self._watch(Event("progress", claim.id, claim.title, progress, seconds=seconds))

        return self._supervisor.compute(claim, directory, heart, show)

    # --- directories ------------------------------------------------------------------------------------------------

    def _directory(self, claim: Claim) -> Path:
        """A fresh directory for each attempt."""
        return attempts_root(self._settings) / claim.id / f"{claim.attempt:03d}-{claim.token[:8]}"

    def _tidy(self, calculation: str) -> None:
        """Remove what the database holds now; logs that say something stay."""
        root = attempts_root(self._settings) / calculation
        shutil.rmtree(root / CHECKPOINTS, ignore_errors=True)
        for directory in root.glob("*"):
            for name in (MANIFEST_FILE, RECORD_FILE, ORBITAL_FILE, GUESS_FILE, TASK_FILE, PROGRESS_FILE):
                (directory / name).unlink(missing_ok=True)
            log = directory / LOG_FILE
            if log.exists() and log.stat().st_size == 0:
                log.unlink()
            shutil.rmtree(directory / SCRATCH, ignore_errors=True)
            with suppress(OSError):
                directory.rmdir()
        with suppress(OSError):
            root.rmdir()


def _given_up(calculation: str, said: str) -> str:
    """What to say of a calculation that gets no other try."""
    return f"{said}; it is not tried again: alkaflow why {calculation[:8]}"


def _time_for_one(limit: TimeLimit | None, whole: TimeLimit | None) -> float | None:
    """How long a calculation may take that is begun now [s]; None without a limit.

    In the first half of a job anything may begin: what is too long for any job goes on in the next one.
    """
    if limit is None or whole is None or limit.seconds > _PART_OF_A_JOB * whole.seconds:
        return None
    return limit.seconds


def run_one(calculation: str) -> None:
    """Run one calculation whose firework is launched already, as stock ``rlaunch`` does.

    Raises
    ------
    CalculationError
        It failed, or somebody else holds it.
    """
    settings = load_settings()
    with open_database(settings) as database:
        if database.record(calculation) is not None:
            return
        claim = Queue(database, settings.lease_seconds, attempts_in=attempts_root(settings)).claim_one(calculation)
        if claim is None:
            raise CalculationError("engine_crashed", f"calculation {calculation} is not free to be claimed")
        if not Worker(database, settings).execute(claim):
            raise CalculationError("engine_crashed", f"calculation {calculation} failed; alkaflow status says why")
