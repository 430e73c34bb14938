"""Results on disk that wait for the database: whole, verified, and delivered as often as need be.

The directory of an attempt is an entry of the outbox when its MANIFEST is there, which is written last, and every file
that it names has the hash that it says.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from alkaflow.errors import BadInputError, CalculationError, MismatchError, ServiceError
from alkaflow.files import sha256_of
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.owner import drop
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.workflows.task import MANIFEST_FILE, ORBITAL_FILE, RECORD_FILE

DAMAGED_FILE = "MANIFEST.damaged"
"""What the MANIFEST of a result is called that is not whole."""

_PARTS = frozenset({RECORD_FILE, ORBITAL_FILE})


class DamagedError(Exception):
    """A directory that says it holds a result, and does not; the text says why."""


@dataclass(frozen=True)
class Entry:
    """A result on disk, verified."""

    directory: Path
    record: Record

    def orbitals(self) -> bytes | None:
        """The orbital file that the record names; None where it names none."""
        if self.record.orbitals is None:
            return None
        return (self.directory / ORBITAL_FILE).read_bytes()


@dataclass
class Synced:
    """What a delivery did: ids delivered and known before, directories kept with the reason, damaged ones.

    Of job folders also the failures that were delivered, by id, and a sentence on each folder.
    """

    delivered: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)


def attempts_root(settings: Settings) -> Path:
    """Where the directories of attempts are on this host."""
    return settings.data_dir / "attempts"


def read_entry(directory: Path) -> Entry | None:
    """Read a result; None where there is none.

    Raises
    ------
    DamagedError
        A file is missing or is not what the MANIFEST says.
    """
    try:
        manifest = json.loads((directory / MANIFEST_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedError(f"{directory / MANIFEST_FILE} cannot be read: {error}") from None
    try:
        calculation, files = str(manifest["calculation"]), dict(manifest["files"])
        if not {RECORD_FILE} <= set(files) <= _PARTS:
            raise DamagedError(f"{directory / MANIFEST_FILE} names {', '.join(sorted(files))}")
        for name, expected in files.items():
            data = (directory / name).read_bytes()
            if len(data) != expected["bytes"] or sha256_of(data) != expected["sha256"]:
                raise DamagedError(f"{directory / name} is not what its MANIFEST says")
        record = Record.model_validate_json((directory / RECORD_FILE).read_bytes())
    except (OSError, KeyError, TypeError, ValidationError) as error:
        raise DamagedError(f"{directory} holds no whole result: {error}") from None
    if record.id != calculation:
        raise DamagedError(f"{directory / RECORD_FILE} belongs to {record.id}, not to {calculation}")
    if record.orbitals is not None and files.get(ORBITAL_FILE, {}).get("sha256") != record.orbitals.sha256:
        raise DamagedError(f"{directory / ORBITAL_FILE} is not the file of the record")
    return Entry(directory, record)


def entries(root: Path) -> Iterator[Path]:
    """Directories below a root, two levels down, that say they hold a result."""
    for manifest in sorted(root.glob(f"*/*/{MANIFEST_FILE}")):
        yield manifest.parent


def deliver(database: Database, queue: Queue, claim: Claim, entry: Entry, **details: object) -> bool:
    """Give the database the files of a result, then its record; False when the claim was lost."""
    orbitals = entry.orbitals()
    if orbitals is not None:
        database.put_file(orbitals)
    return queue.complete(claim, entry.record, directory=str(entry.directory), **details)


def discard(directory: Path) -> None:
    """Remove a result that the database holds."""
    for name in (MANIFEST_FILE, RECORD_FILE, ORBITAL_FILE):  # without its MANIFEST the rest is nothing
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def sync(
    database: Database, queue: Queue, roots: Sequence[Path], watch: Callable[[Path], None] = lambda _: None
) -> Synced:
    """Deliver what workers left that died or could not reach the database; a second time it changes nothing.

    A result is kept on disk, and said to be, where a living worker computes the same calculation, where the database
    holds another result for it, or where the database does not know the calculation.

    Parameters
    ----------
    database, queue
        Where to.
    roots
        Directories of attempts, ``<root>/<calculation>/<attempt>/``, and job folders.
    watch
        Called with every directory that is looked at.

    Raises
    ------
    BadInputError
        A root is no directory.
    """
    from alkaflow.launchpad.folder_sync import deliver_folder
    from alkaflow.launchpad.folders import JobFolder, is_job_folder

    for root in roots:
        if not root.is_dir():
            raise BadInputError(f"{root} is no directory; give one that holds attempts, or a job folder")
    synced = Synced()
    for root in roots:
        if is_job_folder(root):
            deliver_folder(database, queue, JobFolder(root), synced, watch)
            continue
        for directory in entries(root):
            watch(directory)
            _sync_one(database, queue, directory, synced)
    return synced


def _sync_one(database: Database, queue: Queue, directory: Path, synced: Synced) -> None:
    try:
        entry = read_entry(directory)
    except DamagedError as error:
        synced.damaged[str(directory)] = str(error)
        with suppress(FileNotFoundError):
            (directory / MANIFEST_FILE).replace(directory / DAMAGED_FILE)
        return
    if entry is None:
        return
    if offer(database, queue, entry, synced):
        discard(directory)


def offer(database: Database, queue: Queue, entry: Entry, synced: Synced) -> bool:
    """Deliver a result whose claim is gone; False where it is kept, as ``synced`` then says.

    It is taken where nobody computes its calculation and no other result is there.
    """
    name, directory = entry.record.id, entry.directory
    held = database.record(name)
    if held is not None:
        if held == entry.record:
            synced.known.append(name)
            return True
        apart = entry.record.energy_hartree - held.energy_hartree
        synced.kept[str(directory)] = f"the database holds another result of {name}, {apart:+.1e} Hartree away"
        return False
    claim = queue.adopt(name)
    if claim is None:
        known = database.calculations.find_one({"_id": name}, {"state": 1})
        why = f"{name} is {known['state']}: somebody computes it" if known else f"the database does not know {name}"
        synced.kept[str(directory)] = why
        return False
    try:
        delivered = deliver(database, queue, claim, entry)
    except (MismatchError, CalculationError, ServiceError) as error:
        synced.kept[str(directory)] = str(error)
        return False
    finally:
        drop(claim.token)
    if delivered:
        synced.delivered.append(name)
    else:
        synced.kept[str(directory)] = f"{name} was taken by somebody else meanwhile"
    return delivered
