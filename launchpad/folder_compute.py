"""Computing a job folder, where no database is: what is in it is all that is needed."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from alkaflow.errors import BadInputError
from alkaflow.launchpad.child import Engine
from alkaflow.launchpad.drain import Drain
from alkaflow.launchpad.folder_attempt import Attempts
from alkaflow.launchpad.folder_files import Item
from alkaflow.launchpad.folders import JobFolder
from alkaflow.launchpad.limits import TimeLimit, time_limit, usable_memory_mb
from alkaflow.launchpad.outbox import DamagedError
from alkaflow.launchpad.pool import share_out
from alkaflow.launchpad.supervisor import Supervisor
from alkaflow.launchpad.worker import Event, check_device
from alkaflow.settings import Settings

_POLL_SECONDS = 0.1
_WAIT_SECONDS = 1.0
_PART_OF_A_JOB = 0.5
_LEAST_MEMORY_MB = 500

State = Literal["open", "running", "done", "failed", "damaged", "settled"]


@dataclass
class Outcome:
    """What is in a folder after computing: ids with a result, failed, damaged with the reason, and the others."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    settled: int = 0


class FolderWorker:
    """Computes what a job folder holds, several calculations side by side where asked.

    Parameters
    ----------
    folder
        That this process has locked.
    settings
        Of this machine; those that the folder carries count where nothing is said here.
    watch
        Called with every event, from one thread at a time.
    engine
        What computes.
    drain
        Set by a signal handler when the job is about to end.
    """

    def __init__(
        self,
        folder: JobFolder,
        settings: Settings,
        watch: Callable[[Event], None] = lambda _: None,
        engine: Engine | None = None,
        drain: Drain | None = None,
    ) -> None:
        self._folder = folder
        carried = folder.contents.settings.model_dump()
        here = {name: value for name, value in carried.items() if name not in settings.model_fields_set}
        self._settings = settings.model_copy(update=here | {"data_dir": folder.path})
        self._show = watch
        self._engine = engine or Engine()
        self._drain = drain or Drain()
        self._gone = Drain()
        self._attempts = Attempts(folder, self._settings, self._gone, self._tell)
        self._whole = time_limit(None)
        self._turn = threading.Condition(threading.RLock())
        self._states: dict[str, State] = {}
        self._outcome = Outcome()
        self._errors: list[BaseException] = []
        self._working = 0

    def run(self, parts: int = 1) -> Outcome:
        """Compute until nothing is left that can be, or the time is up.

        Parameters
        ----------
        parts
            So many calculations at a time; cores and memory are shared out.

        Raises
        ------
        BadInputError
            There are not cores or memory enough.
        ServiceError
            The device is not there, or the disk cannot be written.
        """
        check_device(self._settings)
        with self._turn:
            self._look()
        shares = self._shares(parts)
        self._working = len(shares)
        for share in shares:
            threading.Thread(target=self._work, args=share, daemon=True).start()
        try:
            self._wait()
        except BaseException:  # a signal: children save what they can within seconds
            self._gone.set()
            self._drain.set()
            self._wait()
            raise
        if self._errors:
            raise self._errors[0]
        with self._turn:
            self._outcome.left = [name for name, state in self._states.items() if state in ("open", "running")]
        return self._outcome

    def _wait(self) -> None:
        """Wait for all threads; `Thread.join` takes one for ended when a signal comes."""
        while self._working:
            time.sleep(_POLL_SECONDS)

    def _shares(self, parts: int) -> list[tuple[list[int], Settings]]:
        """Cores of each part, and its settings."""
        cores = share_out(sorted(os.sched_getaffinity(0)), parts)
        if parts == 1:
            return [(cores[0], self._settings)]
        memory = (self._settings.memory_mb or usable_memory_mb()) // parts
        if memory < _LEAST_MEMORY_MB:
            raise BadInputError(f"{parts} calculations would have {memory} MB each; give a smaller --pack")
        shared = [self._settings.model_copy(update={"threads": len(c), "memory_mb": memory}) for c in cores]
        return list(zip(cores, shared, strict=True))

    # --- what there is ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Find out where every calculation is; a try that left no word was killed with its supervisor."""
        settled = self._folder.settled()
        self._outcome.settled = len(settled)
        for name in self._folder.items:
            if name in settled:
                self._states[name] = "settled"
                continue
            try:
                self._states[name] = self._state(name)
            except DamagedError as error:
                self._set_aside(name, error)

    def _state(self, name: str) -> State:
        try:
            entry = self._folder.result(name)
        except DamagedError as error:
            self._folder.quarantine(name)  # it is computed anew
            self._show(Event("failed", name, self._folder.items[name].title, message=f"{error}; it is computed again"))
            entry = self._folder.result(name)
        if entry is not None:
            self._outcome.done.append(name)
            return "done"
        self._attempts.note_lost(name)
        return self._open_or_failed(name)

    def _open_or_failed(self, name: str) -> State:
        failure = self._attempts.failure(name)
        if failure is None:
            return "open"
        with self._turn:
            self._outcome.failed[name] = failure
        return "failed"

    def _set_aside(self, name: str, error: DamagedError) -> None:
        with self._turn:
            self._states[name] = "damaged"
            self._outcome.damaged[name] = str(error)
        self._tell(Event("failed", name, self._folder.items[name].title, message=str(error)))

    def _next(self) -> Item | None:
        """The next calculation that can begin; None when there is none, and none will be."""
        with self._turn:
            while not self._drain.is_set() and not self._errors:
                limit = time_limit(None)
                if limit is not None and limit.seconds <= 0:
                    return None
                for item in self._folder.items.values():
                    if self._states[item.id] == "open" and self._can_begin(item, limit):
                        self._states[item.id] = "running"
                        return item
                if "running" not in self._states.values():
                    return None
                self._turn.wait(_WAIT_SECONDS)
        return None

    def _can_begin(self, item: Item, limit: TimeLimit | None) -> bool:
        parent = item.parent
        if parent in self._states and self._folder_has_no_result(parent):
            return False
        if limit is None or self._whole is None or item.seconds is None:
            return True
        return limit.seconds > _PART_OF_A_JOB * self._whole.seconds or item.seconds <= limit.seconds

    def _folder_has_no_result(self, name: str) -> bool:
        if self._states[name] == "settled":  # delivered; its files stay
            with suppress(DamagedError):
                return self._folder.result(name) is None
            return True
        return self._states[name] != "done"

    # --- one after another ------------------------------------------------------------------------------------------

    def _work(self, cores: Sequence[int], settings: Settings) -> None:
        """Compute one calculation after another, on some cores; runs as a thread."""
        try:
            os.sched_setaffinity(0, cores)  # of this thread, and of the processes that it starts
            supervisor = Supervisor(self._attempts.parents, settings, self._engine, self._drain)
            while (item := self._next()) is not None:
                state: State = "open"
                try:
                    state = self._execute(item, supervisor)
                finally:
                    with self._turn:
                        self._states[item.id] = state
                        self._turn.notify_all()
        except BaseException as error:  # noqa: BLE001  (the main thread raises it)
            with self._turn:
                self._errors.append(error)
            self._drain.set()
        finally:
            with self._turn:
                self._working -= 1
                self._turn.notify_all()

    def _execute(self, item: Item, supervisor: Supervisor) -> State:
        try:
            if not self._attempts.execute(item, supervisor):
                return self._open_or_failed(item.id)
        except DamagedError as error:
            self._set_aside(item.id, error)
            return "damaged"
        with self._turn:
            self._outcome.done.append(item.id)
        return "done"

    def _tell(self, event: Event) -> None:
        with self._turn:
            self._show(event)


def expected_seconds(folder: JobFolder) -> dict[str, float]:
    """What the calculations of a folder are expected to take [s], of those not settled yet."""
    settled = folder.settled()
    return {item.id: item.seconds or 0.0 for item in folder.items.values() if item.id not in settled}
