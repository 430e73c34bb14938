"""Job folders: calculations that travel to where no database is, and their results back.

What a folder holds, all of it named by ids and nothing else::

    folder.json                         id, calculations, and the hash of every input and parent; written last
    inputs/ID.json                      input of a calculation
    parents/ID.json, parents/ID.npz     record and orbitals of a calculation that others here begin from
    attempts/ID/NNN-XXXXXXXX/           of one try, as workers leave it: record.json, orbitals.npz, MANIFEST.json
    attempts/ID/checkpoints/            outlives the tries
    tries/ID-NNN.json                   how a try ended
    settled.json                        what the database has taken, or was given back

Nothing that was read is used before its hash or its own consistency was checked, no link is followed, and no name that
stands in a file is used as a path. Nothing here asks the database.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from alkaflow.calculations import RECIPE_VERSION, CalculationInput
from alkaflow.errors import BadInputError, ServiceError
from alkaflow.files import sha256_of, write_atomically
from alkaflow.launchpad.folder_files import (
    ATTEMPT_NAME,
    FOLDER_FILE,
    SETTLED_FILE,
    Settled,
    SettledNote,
    Try,
    contents_from,
    first_line,
    read_plain,
)
from alkaflow.launchpad.outbox import DAMAGED_FILE, DamagedError, Entry, read_entry
from alkaflow.launchpad.retries import deaths_after
from alkaflow.records import Record
from alkaflow.workflows.task import MANIFEST_FILE, ORBITAL_FILE, RECORD_FILE

JOB_PREFIX = "folder:"
"""With the id of a folder behind it, the job in the claims of what it holds."""

_LOCK_FILE = ".lock"


class JobFolder:
    """A job folder that is there and says what it holds.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    BadInputError
        It is none, or its ``folder.json`` is not whole.
    """

    def __init__(self, path: Path) -> None:
        if not is_job_folder(path):
            raise BadInputError(f"{path} is no job folder; make one with: alkaflow cluster pack {path}")
        self.path = path.resolve()
        try:
            self.contents = contents_from(read_plain(self.path, FOLDER_FILE))
        except (DamagedError, OSError) as error:
            raise BadInputError(f"{error}; copy the folder again") from None
        self.items = {item.id: item for item in self.contents.calculations}

    # --- what it was given ------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """Return a file that ``folder.json`` names; DamagedError where it is not what is said there."""
        note = self.contents.files.get(name)
        if note is None:
            raise DamagedError(f"{self.path / FOLDER_FILE} names no {name}")
        data = read_plain(self.path, name, note.bytes)
        if sha256_of(data) != note.sha256:
            raise DamagedError(f"{self.path / name} is not what {FOLDER_FILE} says; copy it again")
        return data

    def input(self, calculation: str) -> CalculationInput:
        """Return the input of a calculation; DamagedError where it is not the one of that id."""
        name = f"inputs/{calculation}.json"
        try:
            given = CalculationInput.model_validate_json(self.read(name))
        except (ValidationError, BadInputError) as error:
            raise DamagedError(f"{self.path / name} is no input: {first_line(error)}") from None
        if given.id != calculation or given.parent != self.items[calculation].parent:
            raise DamagedError(f"{self.path / name} is the input of {given.id}, not of {calculation}")
        if given.recipe != RECIPE_VERSION:
            raise DamagedError(
                f"{self.path / name} is of recipe {given.recipe}, and this alkaflow computes recipe {RECIPE_VERSION}; "
                f"install the one that made the folder, {self.contents.alkaflow}"
            )
        return given

    def given_record(self, calculation: str) -> Record | None:
        """Return the record of a parent that was done before the folder was made; None where it is not here."""
        name = f"parents/{calculation}.json"
        if name not in self.contents.files:
            return None
        try:
            return Record.model_validate_json(self.read(name))
        except ValidationError as error:
            raise DamagedError(f"{self.path / name} is no record: {first_line(error)}") from None

    def check_inputs(self, calculation: str) -> None:
        """Make sure that all that was written for a calculation is whole; DamagedError where it is not."""
        self.input(calculation)
        parent = self.items[calculation].parent
        for name in (f"parents/{parent}.json", f"parents/{parent}.npz"):
            if name in self.contents.files:
                self.read(name)

    # --- what came of it --------------------------------------------------------------------------------------------

    def attempt_directories(self, calculation: str) -> list[Path]:
        """Directories of its tries, oldest first."""
        root = self.path / "attempts" / calculation
        if root.is_symlink() or (self.path / "attempts").is_symlink() or not root.is_dir():
            return []
        return sorted(d for d in root.iterdir() if ATTEMPT_NAME.fullmatch(d.name) and d.is_dir() and not d.is_symlink())

    def result(self, calculation: str) -> Entry | None:
        """Return its result; None while there is none.

        Raises
        ------
        DamagedError
            What says that it is one is not whole, or belongs to another calculation.
        """
        damaged = None
        for directory in self.attempt_directories(calculation):
            try:
                entry = self._result_in(directory, calculation)
            except DamagedError as error:
                damaged = error
                continue
            if entry is not None:
                return entry
        if damaged is not None:
            raise damaged
        return None

    def _result_in(self, directory: Path, calculation: str) -> Entry | None:
        if not os.path.lexists(directory / MANIFEST_FILE):
            return None
        for name in (MANIFEST_FILE, RECORD_FILE, ORBITAL_FILE):
            if os.path.lexists(directory / name):
                read_plain(self.path, f"attempts/{calculation}/{directory.name}/{name}")
        entry = read_entry(directory)
        if entry is not None and entry.record.id != calculation:
            raise DamagedError(f"{directory / RECORD_FILE} belongs to {entry.record.id}, not to {calculation}")
        return entry

    def quarantine(self, calculation: str) -> None:
        """Set aside what says that it is a result of a calculation, and is none."""
        for directory in self.attempt_directories(calculation):
            try:
                self._result_in(directory, calculation)
            except DamagedError:
                with suppress(OSError):
                    (directory / MANIFEST_FILE).rename(directory / DAMAGED_FILE)

    def tries(self, calculation: str) -> list[Try]:
        """How its tries ended, oldest first; DamagedError where one cannot be read."""
        found = []
        for path in sorted((self.path / "tries").glob(f"{calculation}-*.json")):
            try:
                one = Try.model_validate_json(read_plain(self.path, f"tries/{path.name}"))
            except ValidationError as error:
                raise DamagedError(f"{path} cannot be read: {first_line(error)}") from None
            if one.calculation != calculation or path.name != f"{calculation}-{one.attempt:03d}.json":
                raise DamagedError(f"{path} is of attempt {one.attempt} of {one.calculation}")
            found.append(one)
        return sorted(found, key=lambda one: one.attempt)

    def note(self, one: Try) -> None:
        """Write down how a try ended."""
        content = one.model_dump_json(indent=1, exclude_defaults=True).encode()
        write_atomically(self.path / "tries" / f"{one.calculation}-{one.attempt:03d}.json", content)

    def next_attempt(self, calculation: str, tries: list[Try]) -> int:
        """The number of the next try."""
        numbers = [attempt_of(d) for d in self.attempt_directories(calculation)]
        numbers += [one.attempt for one in tries]
        return max([self.items[calculation].attempt - 1, *numbers]) + 1

    def deaths(self, calculation: str, tries: list[Try]) -> tuple[str, ...]:
        """Outcomes of its tries that died and count, here and before; see `deaths_after`."""
        deaths = list(self.items[calculation].deaths)
        for one in tries:
            if one.kind in ("died", "stopped"):
                deaths = deaths_after(deaths, one.outcome, one.further)
        return tuple(deaths)

    # --- what was settled -------------------------------------------------------------------------------------------

    def settled(self) -> dict[str, Settled]:
        """What the database has taken, or was given back, by id."""
        if not os.path.lexists(self.path / SETTLED_FILE):
            return {}
        try:
            found = SettledNote.model_validate_json(read_plain(self.path, SETTLED_FILE))
        except (ValidationError, DamagedError):
            return {}  # a note; the database knows better
        return {name: how for name, how in found.calculations.items() if name in self.items}

    def settle(self, how: dict[str, Settled]) -> None:
        """Note what the database has taken."""
        before = self.settled()
        if before | how != before:
            noted = SettledNote(calculations=before | how)
            write_atomically(self.path / SETTLED_FILE, noted.model_dump_json(indent=1).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder: it is computed by one process at a time, and not given back meanwhile.

        Raises
        ------
        ServiceError
            Another process holds it, or the file system has no locks.
        """
        path = self.path / _LOCK_FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ServiceError(f"cannot write to {self.path}: {error.strerror}") from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.read(descriptor, 300).decode("utf-8", "replace") or "another process"
                raise ServiceError(f"{self.path} is being computed by {who}; wait for it, or stop it") from None
            except OSError as error:
                raise ServiceError(
                    f"{self.path} cannot be locked ({error.strerror}); copy it to a disk that has locks"
                ) from None
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
            yield
        finally:
            os.close(descriptor)


def attempt_of(directory: Path) -> int:
    """The number of the try that a directory belongs to."""
    return int(directory.name.partition("-")[0])


def is_job_folder(path: Path) -> bool:
    """Whether a directory says that it is a job folder."""
    return path.is_dir() and os.path.lexists(path / FOLDER_FILE)
