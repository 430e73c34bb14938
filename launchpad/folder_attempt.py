"""One try at a calculation of a job folder, and the word that it leaves."""

import json
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from alkaflow.calculations import Position
from alkaflow.errors import CalculationError, ServiceError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad.advance import CHECKPOINTS, Marks, enough_seconds, moved_on, saved_marks
from alkaflow.launchpad.drain import Drain, in_words
from alkaflow.launchpad.folder_files import Item, Try, read_plain
from alkaflow.launchpad.folder_sync import has_failed
from alkaflow.launchpad.folders import JobFolder, attempt_of
from alkaflow.launchpad.full_disk import what_to_do
from alkaflow.launchpad.limits import current_job, time_limit
from alkaflow.launchpad.outbox import DamagedError, Entry
from alkaflow.launchpad.queue import Claim
from alkaflow.launchpad.supervisor import (
    SCRATCH,
    ClaimLostError,
    DiedError,
    GivenBackError,
    Supervisor,
    checkpoints_of,
)
from alkaflow.launchpad.worker import Event
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE

REACHED_FILE = "reached.json"
Kind = Literal["done", "failed", "died", "stopped"]


class FolderParents:
    """Results that others begin from, in a folder."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._places: dict[str, Path] = {}

    def record(self, calculation: str) -> Record | None:
        """Return the record of a calculation, of the folder or done before it was made; None where there is none."""
        if calculation not in self._folder.items:
            return self._folder.given_record(calculation)
        entry = self._folder.result(calculation)
        if entry is None:
            return None
        if entry.record.orbitals is not None:
            self._places[entry.record.orbitals.sha256] = entry.directory
        return entry.record

    def get_file(self, sha256: str) -> bytes:
        """Return the bytes of a file of a record that was asked for; ServiceError where it is not here."""
        for name, note in self._folder.contents.files.items():
            if note.sha256 == sha256:
                return self._folder.read(name)
        if sha256 not in self._places:
            raise ServiceError(f"the file {sha256} is not in {self._folder.path}")
        return (self._places[sha256] / ORBITAL_FILE).read_bytes()  # its hash was checked with its record


class Pulse:
    """Nobody takes a calculation of a folder away; it is lost when this process has to go."""

    def __init__(self, gone: Drain) -> None:
        self.progress: dict[str, Any] | None = None
        self._gone = gone

    @property
    def lost(self) -> bool:
        """Whether to end at once."""
        return self._gone.is_set()


class Attempts:
    """Tries of calculations of a folder.

    Parameters
    ----------
    folder, settings
        Which, and with what; attempts are where the settings say.
    gone
        Set when this process has to go.
    tell
        Called with every event.
    """

    def __init__(self, folder: JobFolder, settings: Settings, gone: Drain, tell: Callable[[Event], None]) -> None:
        self.parents = FolderParents(folder)
        self._folder = folder
        self._settings = settings
        self._gone = gone
        self._tell = tell
        self._enough = enough_seconds(time_limit(None))

    def note_lost(self, name: str) -> None:
        """Write down of tries that left no word that they were killed with their supervisor."""
        known = {one.directory for one in self._folder.tries(name)}
        for directory in self._folder.attempt_directories(name):
            if directory.name not in known:
                killed = "the process that supervised it was killed, or its node"
                lost = self._try(name, directory, "died", "worker_lost", killed)
                self._folder.note(lost.model_copy(update={"further": self._moved_since(name)}))

    def _moved_since(self, name: str) -> bool:
        """Whether a calculation is further than when its last try began."""
        with suppress(DamagedError, ValueError):
            self._refuse_links(name)
            before = json.loads(read_plain(self._folder.path, f"attempts/{name}/{REACHED_FILE}"))
            now = saved_marks(checkpoints_of(self._settings, name), self._folder.input(name))
            return isinstance(before, dict) and moved_on(before, now)
        return False

    def failure(self, name: str) -> str | None:
        """How a calculation failed for good; None for one that may be tried again."""
        tries = self._folder.tries(name)
        if not has_failed(tries, self._folder.deaths(name, tries)):
            return None
        return f"{tries[-1].outcome}: {tries[-1].message}"

    def execute(self, item: Item, supervisor: Supervisor) -> bool:
        """Compute a calculation and write down how the try ended; True when there is a result.

        Raises
        ------
        DamagedError
            What it needs is not whole; nothing was begun.
        ServiceError
            The disk cannot be written.
        """
        begin = time.monotonic()
        claim, directory = self._claim(item)
        checkpoints = checkpoints_of(self._settings, item.id)
        before = saved_marks(checkpoints, claim.calculation)
        self._note_reached(item.id, before)
        self._tell(Event("started", item.id, item.title))

        def show(progress: dict[str, Any] | None, seconds: float) -> None:
            self._tell(Event("progress", item.id, item.title, progress, seconds=seconds))

        try:
            entry = supervisor.compute(claim, directory, Pulse(self._gone), show)
        except DiedError as error:
            further = moved_on(before, saved_marks(checkpoints, claim.calculation))
            return self._ended(item, directory, "died", error.outcome, str(error), error.peak_memory_mb, further)
        except CalculationError as error:
            return self._ended(item, directory, "failed", error.outcome, str(error))
        except GivenBackError as error:
            further = moved_on(before, saved_marks(checkpoints, claim.calculation))
            if not further and time.monotonic() - begin > self._enough:
                return self._ended(item, directory, "died", "out_of_time", f"{error}; it got no further")
            return self._ended(item, directory, "stopped", "interrupted", str(error), further=further)
        except ClaimLostError:
            return self._ended(item, directory, "stopped", "interrupted", "the process that supervised it had to go")
        except BaseException as error:
            with suppress(OSError):
                self._ended(item, directory, "stopped", "interrupted", in_words(error, current_job()))
            raise
        self._finish(item, entry, time.monotonic() - begin)
        return True

    def _claim(self, item: Item) -> tuple[Claim, Path]:
        """What the supervisor is told, and the directory of the try."""
        given = self._folder.input(item.id)
        self._folder.check_inputs(item.id)
        positions: tuple[Position, ...] | None = given.positions
        if positions is None:
            parent = self.parents.record(str(given.parent))
            if parent is None:
                raise DamagedError(f"{self._folder.path} holds no result of {given.parent}, which {item.id} needs")
            positions = given.taken_from(parent.positions_angstrom)
        tries = self._folder.tries(item.id)
        attempt = self._folder.next_attempt(item.id, tries)
        token = self._folder.contents.id
        claim = Claim(item.id, token, attempt, given, positions, item.title, None, self._folder.deaths(item.id, tries))
        return claim, self._refuse_links(item.id) / f"{attempt:03d}-{token[:8]}"

    def _refuse_links(self, name: str) -> Path:
        """Return where the attempts at a calculation are; DamagedError where a link leads elsewhere."""
        root = self._folder.path / "attempts" / name
        if root.is_symlink() or (root / CHECKPOINTS).is_symlink():
            raise DamagedError(f"{root} is a link, which is not followed")
        return root

    def _note_reached(self, name: str, marks: Marks) -> None:
        """Write down how far a calculation is, for whoever finds that its try was killed."""
        root = self._folder.path / "attempts" / name
        try:
            private_directory(root)
            write_atomically(root / REACHED_FILE, json.dumps(marks).encode())
        except OSError as error:
            raise ServiceError(f"cannot write to {root}: {error.strerror}{what_to_do(error)}") from None

    def _ended(
        self,
        item: Item,
        directory: Path,
        kind: Kind,
        outcome: str,
        message: str,
        peak_memory_mb: float | None = None,
        further: bool = False,
    ) -> bool:
        """Write down how a try ended that left no result."""
        ended = self._try(item.id, directory, kind, outcome, message, peak_memory_mb)
        self._folder.note(ended.model_copy(update={"further": further}))
        _tidy(directory)
        said = f"{outcome}: {message}" if kind != "stopped" else message
        again = "; it is tried again" if kind == "died" and self.failure(item.id) is None else ""
        self._tell(Event("released" if kind == "stopped" else "failed", item.id, item.title, message=said + again))
        return False

    def _finish(self, item: Item, entry: Entry, seconds: float) -> None:
        record = entry.record
        peak = record.provenance.peak_memory_mb
        self._folder.note(self._try(item.id, entry.directory, "done", "converged", "", peak))
        _tidy(entry.directory)
        shutil.rmtree(checkpoints_of(self._settings, item.id), ignore_errors=True)
        energy = f"{record.energy_hartree:.6f}"
        self._tell(Event("completed", item.id, item.title, message=energy, seconds=seconds))

    def _try(
        self,
        name: str,
        directory: Path,
        kind: Kind,
        outcome: str,
        message: str,
        peak_memory_mb: float | None = None,
    ) -> Try:
        private_directory(self._folder.path / "tries")
        return Try(
            calculation=name,
            attempt=attempt_of(directory),
            kind=kind,
            outcome=outcome,
            message=message[:20_000],
            directory=directory.name,
            host=socket.gethostname(),
            job=current_job(),
            peak_memory_mb=peak_memory_mb,
            ended=datetime.now(UTC),
        )


def _tidy(directory: Path) -> None:
    """Remove what only the process that computed needed."""
    (directory / GUESS_FILE).unlink(missing_ok=True)
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)
