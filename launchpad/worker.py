"""The worker: claims calculations and supervises the process that computes each.

The computation is a child process, so that a crash takes the child and not the report. Its environment (threads,
BLAS kernel, scratch) is settled before it imports anything. Whatever it leaves is on disk, whole, before the database
is asked to take it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pymongo.errors import PyMongoError

from alkaflow.errors import CalculationError, ServiceError
from alkaflow.files import sha256_of, write_atomically
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.limits import TimeLimit, killed_for_memory, time_limit, usable_cores, usable_memory_mb
from alkaflow.launchpad.locks import LockedError
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.levels import Level
from alkaflow.records import Record
from alkaflow.settings import Settings, load_settings
from alkaflow.workflows.blas import process_environment
from alkaflow.workflows.checkpoint import last_geometry, saved
from alkaflow.workflows.progress import PROGRESS_FILE, read_progress
from alkaflow.workflows.task import FAILURE_FILE, GUESS_FILE, ORBITAL_FILE, RECORD_FILE, TASK_FILE, Task

__all__ = ["Event", "Watcher", "Worker", "check_device", "checkpoints_of", "run_one"]

_POLL_SECONDS = 0.1
_HEARTBEAT_SECONDS = 5.0
_IDLE_SECONDS = 1.0
_GRACE_SECONDS = 5.0
_FREE_DISK_MB = 200
_FULL_DISK_MB = 10  # a process that dies with less than this left died of it
_LOG_FILE = "output.log"
_SCRATCH = "scratch"
_CHECKPOINTS = "checkpoints"
_DELIVERY_SECONDS = 3600.0


class _ClaimLostError(Exception):
    """Another worker holds the calculation by now."""


@dataclass(frozen=True)
class Event:
    """Something to show: a calculation started, moved on, ended well, failed, or is waited for."""

    kind: Literal["started", "progress", "completed", "failed", "waiting"]
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
    """Works off a queue, one calculation at a time."""

    def __init__(self, database: Database, settings: Settings, watch: Watcher = _nobody) -> None:
        self._database = database
        self._settings = settings
        self._queue = Queue(database, settings.lease_seconds)
        self._watch = watch

    def run(self, only: Collection[str] | None = None, keep_alive: Callable[[], None] | None = None) -> int:
        """Work until nothing is left to do; returns the number of calculations computed here.

        Parameters
        ----------
        only
            Ids to work on; waits for those that another worker computes. All that is ready by default.
        keep_alive
            Called now and then, to renew what the caller holds.
        """
        check_device(self._settings)
        self._queue.repair()
        computed = 0
        while True:
            if keep_alive is not None:
                keep_alive()
            limit = time_limit(None)
            if limit is not None and limit.seconds <= 0:
                return computed  # the job ends; what is claimed now would be lost
            claim = self._queue.claim(only)
            if claim is not None:
                self.execute(claim, keep_alive)
                computed += 1
            elif not self._others_work_on(only):
                return computed
            else:
                time.sleep(_IDLE_SECONDS)

    def _others_work_on(self, only: Collection[str] | None) -> bool:
        """Whether to go on: something became free, or another worker has some of it."""
        with suppress(LockedError):  # somebody else is repairing
            if self._queue.repair():
                return True
        if self._queue.claimable(only):
            return True
        if only is None:
            return False
        running = [d for d in self._queue.unfinished(only) if d["state"] == "RUNNING"]
        for document in running:
            self._watch(Event("waiting", document["_id"], document["title"], document["progress"]))
        return bool(running)

    def execute(self, claim: Claim, keep_alive: Callable[[], None] | None = None) -> bool:
        """Compute a claimed calculation and report how it ended; True when there is a record.

        Interrupted by Ctrl-C or SIGTERM, it ends the child and gives the claim back.
        """
        begin = time.monotonic()
        self._watch(Event("started", claim.id, claim.title))
        directory = self._directory(claim)
        try:
            record = self._finished_earlier(claim) or self._compute(claim, directory, keep_alive)
            self._deliver(claim, record)
        except CalculationError as error:
            self._queue.fail(claim, error.outcome, str(error), str(directory))
            self._watch(Event("failed", claim.id, claim.title, message=f"{error.outcome}: {error}"))
            return False
        except _ClaimLostError:
            self._watch(Event("failed", claim.id, claim.title, message="another worker has taken it over"))
            return False
        except BaseException as error:
            with suppress(PyMongoError):  # without a database the claim is found dead later
                self._queue.release(claim, type(error).__name__)
            raise
        self._tidy(claim.id)
        energy, seconds = f"{record.energy_hartree:.6f}", time.monotonic() - begin
        self._watch(Event("completed", claim.id, claim.title, message=energy, seconds=seconds))
        return True

    def _deliver(self, claim: Claim, record: Record) -> None:
        """Give the database the orbitals and the record; waits out an outage, as both are safe on disk."""
        until = time.monotonic() + _DELIVERY_SECONDS
        pause = 0.5
        while True:
            try:
                if record.orbitals is not None:
                    self._database.put_file(self._orbitals_of(claim.id, record.orbitals.sha256))
                delivered = self._queue.complete(claim, record)
            except PyMongoError:
                if time.monotonic() > until:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 30.0)
            else:
                break
        if not delivered:
            raise _ClaimLostError

    def _orbitals_of(self, calculation: str, sha256: str) -> bytes:
        """The orbital file that an attempt left."""
        for path in (self._settings.data_dir / "attempts" / calculation).glob(f"*/{ORBITAL_FILE}"):
            data = path.read_bytes()
            if sha256_of(data) == sha256:
                return data
        raise CalculationError("engine_crashed", f"the orbitals {sha256} of {calculation} are gone")

    # --- the child --------------------------------------------------------------------------------------------------

    def _compute(self, claim: Claim, directory: Path, keep_alive: Callable[[], None] | None) -> Record:
        self._prepare(claim, directory)
        threads = self._settings.threads or usable_cores()
        environment = process_environment(os.environ, threads, self._settings.blas_kernel)
        killed = killed_for_memory()
        environment |= {"PYSCF_TMPDIR": str(directory / _SCRATCH), "TMPDIR": str(directory / _SCRATCH)}
        with (directory / _LOG_FILE).open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "alkaflow.workflows.child", str(directory), str(os.getpid())],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._watch_child(child, claim, directory, keep_alive)
        finally:
            _end(child)
            free = _free_disk_mb(directory)
            shutil.rmtree(directory / _SCRATCH, ignore_errors=True)
        return self._outcome(child.returncode, claim, directory, killed, free)

    def _prepare(self, claim: Claim, directory: Path) -> None:
        try:
            (directory / _SCRATCH).mkdir(mode=0o700, parents=True)
            free = _free_disk_mb(directory)
            if free < _FREE_DISK_MB:
                raise ServiceError(f"{directory} has {free:.0f} MB of disk left; {_FREE_DISK_MB} are needed to go on")
            checkpoints = checkpoints_of(self._settings, claim.id)
            checkpoints.mkdir(mode=0o700, exist_ok=True)
            task = Task(
                calculation=claim.calculation,
                positions=claim.positions,
                threads=self._settings.threads or usable_cores(),
                memory_mb=self._settings.memory_mb or usable_memory_mb(),
                guess_level=self._fetch_guess(claim, directory),
                checkpoints=checkpoints,
                device=self._settings.device,
            )
            write_atomically(directory / TASK_FILE, task.model_dump_json().encode())
        except OSError as error:
            raise ServiceError(f"cannot write to {directory}: {error.strerror}") from None

    def _fetch_guess(self, claim: Claim, directory: Path) -> Level | None:
        """Write the orbitals of the parent beside the task; returns their level, or None where none serve.

        Those of other atoms, another charge or another multiplicity do not.
        """
        given = claim.calculation
        parent = self._database.record(given.parent) if given.parent else None
        if parent is None or parent.orbitals is None or given.ghosts:
            return None
        if (tuple(parent.symbols), parent.charge, parent.multiplicity) != (
            given.symbols,
            given.charge,
            given.multiplicity,
        ):
            return None
        write_atomically(directory / GUESS_FILE, self._database.get_file(parent.orbitals.sha256))
        return parent.level_of_theory

    def _watch_child(
        self,
        child: "subprocess.Popen[bytes]",
        claim: Claim,
        directory: Path,
        keep_alive: Callable[[], None] | None,
    ) -> None:
        begin = last_beat = time.monotonic()
        limit = time_limit(self._settings.time_limit)
        shown: dict[str, Any] | None = None
        while child.poll() is None:
            time.sleep(_POLL_SECONDS)
            if limit is not None and time.monotonic() - begin > limit.seconds:
                raise CalculationError("out_of_time", self._ran_out(claim, limit))
            progress = read_progress(directory)
            if progress != shown:
                shown = progress
                self._watch(Event("progress", claim.id, claim.title, progress, seconds=time.monotonic() - begin))
            if time.monotonic() - last_beat > _HEARTBEAT_SECONDS:
                last_beat = time.monotonic()
                with suppress(PyMongoError):  # an outage of the database stops no computation
                    if not self._queue.heartbeat(claim, progress):
                        raise _ClaimLostError
                    if keep_alive is not None:
                        keep_alive()

    def _ran_out(self, claim: Claim, limit: TimeLimit) -> str:
        """What is left of a calculation that had too little time."""
        checkpoints = checkpoints_of(self._settings, claim.id)
        stopped = f"stopped after {max(limit.seconds, 0.0):.0f} s, as {limit.reason}"
        if not saved(checkpoints):
            return f"{stopped}; it had saved nothing to continue from and needs more time"
        where = f"its checkpoint is in {checkpoints}"
        reached = last_geometry(checkpoints, claim.calculation)
        if reached is not None:
            where = f"relaxation step {reached.step}, {reached.energy:.6f} Hartree, is in {checkpoints}"
        return f"{stopped}; {where}; the same command continues from there"

    def _outcome(self, code: int, claim: Claim, directory: Path, killed: int | None, free: float) -> Record:
        """Turn what the child left into a record or a CalculationError.

        Parameters
        ----------
        code
            Its exit code.
        claim, directory
            What it computed, and where.
        killed
            What `killed_for_memory` said before it began.
        free
            Disk left when it ended [MB].
        """
        if code == 0:
            return self._read_record(directory, claim.id)
        with suppress(OSError, ValueError, KeyError):
            failure = json.loads((directory / FAILURE_FILE).read_text(encoding="utf-8"))
            outcome, message = str(failure["outcome"]), str(failure["message"])
            if outcome == "engine_crashed":
                message += f"; its log: {directory / _LOG_FILE}"
            raise CalculationError(outcome, message)
        log = f"its log: {directory / _LOG_FILE}"
        what = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        ended = f"the computing process ended with {what}"
        if free < _FULL_DISK_MB:
            raise CalculationError("disk_full", f"{ended} when {directory} had {free:.1f} MB of disk left; {log}")
        if code == -signal.SIGKILL:
            now = killed_for_memory()
            if now is None or killed is None:
                raise CalculationError("out_of_memory", f"{ended}, most likely for lack of memory; {log}")
            if now > killed:
                raise CalculationError("out_of_memory", f"{ended}: the kernel found no more memory for it; {log}")
        raise CalculationError("engine_crashed", f"{ended}; {log}")

    def _read_record(self, directory: Path, calculation: str) -> Record:
        """Read a whole record, its orbital file checked."""
        try:
            record = Record.model_validate_json((directory / RECORD_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise CalculationError("engine_crashed", f"{directory / RECORD_FILE} is not a record: {error}") from None
        if record.id != calculation:
            raise CalculationError("engine_crashed", f"{directory / RECORD_FILE} belongs to {record.id}")
        if record.orbitals is not None and not _holds(directory / ORBITAL_FILE, record.orbitals.sha256):
            raise CalculationError("engine_crashed", f"{directory / ORBITAL_FILE} is damaged")
        return record

    # --- directories ------------------------------------------------------------------------------------------------

    def _directory(self, claim: Claim) -> Path:
        """A fresh directory for each attempt."""
        return self._settings.data_dir / "attempts" / claim.id / f"{claim.attempt:03d}-{claim.token[:8]}"

    def _finished_earlier(self, claim: Claim) -> Record | None:
        """A result that an earlier attempt left on disk when its worker died before delivering it."""
        for path in sorted((self._settings.data_dir / "attempts" / claim.id).glob(f"*/{RECORD_FILE}")):
            with suppress(CalculationError, OSError):
                return self._read_record(path.parent, claim.id)
        return None

    def _tidy(self, calculation: str) -> None:
        """Remove what the database holds now; logs that say something stay."""
        root = self._settings.data_dir / "attempts" / calculation
        shutil.rmtree(root / _CHECKPOINTS, ignore_errors=True)
        for directory in root.glob("*"):
            for name in (RECORD_FILE, ORBITAL_FILE, GUESS_FILE, TASK_FILE, PROGRESS_FILE):
                (directory / name).unlink(missing_ok=True)
            log = directory / _LOG_FILE
            if log.exists() and log.stat().st_size == 0:
                log.unlink()
            shutil.rmtree(directory / _SCRATCH, ignore_errors=True)
            with suppress(OSError):
                directory.rmdir()
        with suppress(OSError):
            root.rmdir()


def checkpoints_of(settings: Settings, calculation: str) -> Path:
    """Where the checkpoints of a calculation are on this host; they outlive its attempts, not its success."""
    return settings.data_dir / "attempts" / calculation / _CHECKPOINTS


def _free_disk_mb(directory: Path) -> float:
    """Disk left where a directory is [MB]."""
    return shutil.disk_usage(directory).free / 1e6


def _holds(path: Path, sha256: str) -> bool:
    """Whether a file is there with that hash."""
    try:
        return sha256_of(path.read_bytes()) == sha256
    except OSError:
        return False


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
        claim = Queue(database, settings.lease_seconds).claim_one(calculation)
        if claim is None:
            raise CalculationError("engine_crashed", f"calculation {calculation} is not free to be claimed")
        if not Worker(database, settings).execute(claim):
            raise CalculationError("engine_crashed", f"calculation {calculation} failed; alkaflow status says why")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Make sure a child is gone."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
