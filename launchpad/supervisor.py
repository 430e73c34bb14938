"""The supervisor of one attempt: prepares its directory, watches the computing process, and names how it ended."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from alkaflow.calculations import CalculationInput
from alkaflow.errors import CalculationError, Outcome, ServiceError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad.advance import CHECKPOINTS
from alkaflow.launchpad.child import Child, Engine
from alkaflow.launchpad.drain import Drain
from alkaflow.launchpad.full_disk import FREE_DISK_MB, what_to_do
from alkaflow.launchpad.limits import TimeLimit, killed_for_memory, time_limit, usable_cores, usable_memory_mb
from alkaflow.launchpad.logs import LOG_FILE
from alkaflow.launchpad.outbox import DamagedError, Entry, attempts_root, read_entry
from alkaflow.launchpad.queue import Claim
from alkaflow.launchpad.retries import memory_to_plan_with
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.workflows.blas import process_environment
from alkaflow.workflows.checkpoint import last_geometry, saved
from alkaflow.workflows.progress import read_progress
from alkaflow.workflows.task import FAILURE_FILE, GUESS_FILE, INTERRUPTED, MANIFEST_FILE, TASK_FILE, Task

SCRATCH = "scratch"

_POLL_SECONDS = 0.2
_INTERRUPT_SECONDS = 40.0  # from the signal to the end of a cycle or a gradient; then the process is ended
_FULL_DISK_MB = 10  # a process that dies with less than this left died of it
_TOLD_TO_STOP = (INTERRUPTED, -signal.SIGUSR1, -signal.SIGTERM)  # by a signal: before it listened, or with its group
_REFUSED = ("out_of_memory", "disk_full")  # what a process was refused that then ended by itself


class ClaimLostError(Exception):
    """Another worker holds the calculation by now, or it was cancelled."""


class GivenBackError(Exception):
    """The calculation was interrupted; the text says why."""


class DiedError(CalculationError):
    """The computing process died, or was refused what it needs; another try may end better."""

    def __init__(self, outcome: str, message: str, peak_memory_mb: float) -> None:
        super().__init__(outcome, message)
        self.peak_memory_mb = peak_memory_mb


class Parents(Protocol):
    """Where the results are that others begin from: a database, or a job folder."""

    def record(self, calculation: str) -> Record | None:
        """Return the record of a calculation, or None."""

    def get_file(self, sha256: str) -> bytes:
        """Return the bytes of a file of a record."""


class Pulse(Protocol):
    """What a supervisor asks and tells while it waits: whether the claim is lost, and the progress."""

    progress: dict[str, Any] | None

    @property
    def lost(self) -> bool:
        """Whether to end at once."""


class Supervisor:
    """Lets a process of its own compute.

    Parameters
    ----------
    parents, settings
        Where orbitals to begin with are, and with what to compute.
    engine
        What computes.
    drain
        Set when the worker has to stop.
    """

    def __init__(self, parents: Parents, settings: Settings, engine: Engine, drain: Drain) -> None:
        self._parents = parents
        self._settings = settings
        self._engine = engine
        self._drain = drain
        self._notes: list[str] = []

    def compute(self, claim: Claim, directory: Path, heart: Pulse, watch: Callable[[Any, float], None]) -> Entry:
        """Compute a claimed calculation in a directory of its own; returns its result.

        Parameters
        ----------
        claim
            The calculation.
        directory
            Of the attempt; does not exist yet.
        heart
            Keeps the claim alive; is told the progress.
        watch
            Called with new progress, and the time since the beginning [s].

        Raises
        ------
        CalculationError
            It ended without a result; `DiedError` where the process died.
        ClaimLostError
            Another worker has it by now.
        GivenBackError
            The worker was told to stop.
        ServiceError
            The disk cannot be written.
        """
        scratch = self._prepare(claim, directory)
        threads = self._settings.threads or usable_cores()
        environment = process_environment(os.environ, threads, self._settings.blas_kernel)
        environment |= {"PYSCF_TMPDIR": str(scratch), "TMPDIR": str(scratch)}
        killed = killed_for_memory()
        try:
            child = Child(self._engine, directory, directory / LOG_FILE, environment)
        except OSError as error:
            raise ServiceError(
                f"cannot start a computing process in {directory}: {error.strerror}{what_to_do(error)}"
            ) from None
        try:
            self._watch_child(child, claim, directory, heart, watch)
        finally:
            child.end()
            free = _free_disk_mb(directory)
            shutil.rmtree(scratch, ignore_errors=True)
        return self._outcome(child, directory, killed, free)

    def _prepare(self, claim: Claim, directory: Path) -> Path:
        """Write what the child is told; returns its scratch directory."""
        scratch = directory / SCRATCH
        if self._settings.scratch_dir is not None:
            scratch = self._settings.scratch_dir / f"alkaflow-{claim.id}-{directory.name}"
        usable = self._settings.memory_mb or usable_memory_mb()
        self._notes = []
        try:
            private_directory(directory.parent)
            directory.mkdir(mode=0o700)
            private_directory(scratch)
            free = _free_disk_mb(directory)
            if free < FREE_DISK_MB:
                raise ServiceError(
                    f"{directory} has {free:.0f} MB of disk left; {FREE_DISK_MB} are needed to go on: free space "
                    "there, then start a worker again (nothing is held against the calculation)"
                )
            checkpoints = checkpoints_of(self._settings, claim.id)
            private_directory(checkpoints)
            parent = self._fetch_guess(claim, directory)
            task = Task(
                calculation=claim.calculation,
                positions=claim.positions,
                threads=self._settings.threads or usable_cores(),
                memory_mb=memory_to_plan_with(usable, claim.deaths),
                guess_level=parent.level_of_theory if parent else None,
                guess_energy=parent.energy_hartree if parent else None,
                checkpoints=checkpoints,
                device=self._settings.device,
                fast_kernels=self._settings.fast_kernels,
                notes=tuple(self._notes),
            )
            write_atomically(directory / TASK_FILE, task.model_dump_json().encode())
        except OSError as error:
            raise ServiceError(f"cannot write to {directory}: {error.strerror}{what_to_do(error)}") from None
        return scratch

    def _fetch_guess(self, claim: Claim, directory: Path) -> Record | None:
        """Write the orbitals of the parent beside the task; returns its record, or None where none serve."""
        given = claim.calculation
        parent = self._parents.record(given.parent) if given.parent else None
        if parent is None or parent.orbitals is None or not can_begin_from(parent, given):
            return None
        try:
            orbitals = self._parents.get_file(parent.orbitals.sha256)
        except ServiceError as error:  # missing or damaged: the calculation begins without them
            self._notes.append(f"it began without the orbitals of {given.parent}: {error}")
            return None
        write_atomically(directory / GUESS_FILE, orbitals)
        return parent

    def _watch_child(
        self, child: Child, claim: Claim, directory: Path, heart: Pulse, watch: Callable[[Any, float], None]
    ) -> None:
        begin = time.monotonic()
        limit = time_limit(self._settings.time_limit)
        stopping: tuple[float, str] | None = None
        while not child.ended(_POLL_SECONDS):
            if heart.lost:
                raise ClaimLostError
            now = time.monotonic()
            over = limit is not None and now - begin > limit.seconds
            if limit is not None and over and not limit.of_the_job:
                raise CalculationError("out_of_time", self._ran_out(claim, limit))
            if stopping is None and (over or self._drain.is_set()):
                child.interrupt()
                stopping = now, limit.reason if limit is not None and over else "the worker was told to stop"
            if stopping is not None and now - stopping[0] > _INTERRUPT_SECONDS:
                break
            progress = read_progress(directory)
            if progress != heart.progress:
                heart.progress = progress
                watch(progress, now - begin)
        if stopping is not None:
            child.end()
            if not (child.code == 0 and (directory / MANIFEST_FILE).exists()):
                raise GivenBackError(f"given back, as {stopping[1]}; {self._reached(claim)}")

    def _ran_out(self, claim: Claim, limit: TimeLimit) -> str:
        """What is left of a calculation that had too little time."""
        stopped = f"stopped after {max(limit.seconds, 0.0):.0f} s, as {limit.reason}"
        if not saved(checkpoints_of(self._settings, claim.id)):
            return f"{stopped}; it had saved nothing to continue from and needs more time"
        return f"{stopped}; {self._reached(claim)}; the same command continues from there"

    def _reached(self, claim: Claim) -> str:
        """How far a calculation is, and where that is kept."""
        checkpoints = checkpoints_of(self._settings, claim.id)
        if not saved(checkpoints):
            return "it had saved nothing yet"
        reached = last_geometry(checkpoints, claim.calculation)
        if reached is not None:
            return f"relaxation step {reached.step}, {reached.energy:.6f} Hartree, is in {checkpoints}"
        return f"its checkpoint is in {checkpoints}"

    def _outcome(self, child: Child, directory: Path, killed: int | None, free: float) -> Entry:
        """Turn what the child left into a result or an error.

        Parameters
        ----------
        child
            Ended.
        directory
            Where it ran.
        killed
            What `killed_for_memory` said before it began.
        free
            Disk left when it ended [MB].
        """
        log = f"its log: {directory / LOG_FILE}"
        if child.code == 0:
            try:
                entry = read_entry(directory)
            except DamagedError as error:
                raise DiedError("engine_crashed", f"{error}; {log}", child.peak_memory_mb) from None
            if entry is None:
                raise DiedError("engine_crashed", f"the computing process left no result; {log}", child.peak_memory_mb)
            return entry
        if child.code in _TOLD_TO_STOP:
            raise GivenBackError("given back, as somebody told the computing process to stop")
        with suppress(OSError, ValueError, KeyError):
            failure = json.loads((directory / FAILURE_FILE).read_text(encoding="utf-8"))
            raise _failure(str(failure["outcome"]), str(failure["message"]), log, child.peak_memory_mb)
        raise DiedError(*_cause_of_death(child, directory, killed, free, log), child.peak_memory_mb)


def can_begin_from(parent: Record, given: CalculationInput) -> bool:
    """Whether orbitals of a parent serve a calculation; not those of other atoms, another charge or multiplicity."""
    same = (tuple(parent.symbols), parent.charge, parent.multiplicity)
    return not given.ghosts and same == (given.symbols, given.charge, given.multiplicity)


def _failure(outcome: str, message: str, log: str, peak_memory_mb: float) -> CalculationError:
    """What a child wrote down of its end."""
    if outcome in _REFUSED:
        return DiedError(outcome, f"{message}; {log}", peak_memory_mb)
    return CalculationError(outcome, f"{message}; {log}" if outcome == "engine_crashed" else message)


def _cause_of_death(child: Child, directory: Path, killed: int | None, free: float, log: str) -> tuple[Outcome, str]:
    """Outcome and sentence for a child that wrote nothing down."""
    name = f"signal {-child.code} ({signal.strsignal(-child.code)})" if child.code < 0 else f"exit code {child.code}"
    ended = f"the computing process ended with {name} at {child.peak_memory_mb:.0f} MB"
    if free < _FULL_DISK_MB:
        return "disk_full", f"{ended} when {directory} had {free:.1f} MB of disk left; {log}"
    if child.code == -signal.SIGKILL:
        now = killed_for_memory()
        if now is None or killed is None:
            return "out_of_memory", f"{ended}, most likely for lack of memory; {log}"
        if now > killed:
            return "out_of_memory", f"{ended}: the kernel found no more memory for it; {log}"
    return "engine_crashed", f"{ended}; {log}"


def checkpoints_of(settings: Settings, calculation: str) -> Path:
    """Where the checkpoints of a calculation are on this host; they outlive its attempts, not its success."""
    return attempts_root(settings) / calculation / CHECKPOINTS


def _free_disk_mb(directory: Path) -> float:
    """Disk left where a directory is [MB]."""
    try:
        return shutil.disk_usage(directory).free / 1e6
    except OSError:  # another worker has tidied what this one had lost
        return float("inf")
