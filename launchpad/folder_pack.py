"""Making a job folder, and giving back what it holds; where the database is."""

import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from pymongo.errors import PyMongoError

from alkaflow import __version__
from alkaflow.errors import BadInputError, ServiceError, UnknownNameError
from alkaflow.files import private_directory, sha256_of, write_atomically
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.folder_files import Carried, Contents, FileNote, Item, Settled, write_contents
from alkaflow.launchpad.folder_sync import deliver_folder, note_unfinished
from alkaflow.launchpad.folders import JobFolder
from alkaflow.launchpad.holds import Held, Holds
from alkaflow.launchpad.locks import LockedError
from alkaflow.launchpad.outbox import Synced
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.results import find_calculation
from alkaflow.launchpad.supervisor import can_begin_from, checkpoints_of
from alkaflow.settings import Settings

DAY = 86400.0
_PARTS = ("inputs", "parents", "attempts", "tries")
_CHECKPOINTS = "*.checkpoint"


def selected(database: Database, names: Sequence[str]) -> list[str]:
    """Ids of what calculations and studies still need, what they wait for included.

    Raises
    ------
    UnknownNameError
        A name is neither an id, the beginning of one, nor a study that was submitted.
    """
    studies = {name for name in database.calculations.distinct("studies") if name}  # None where a list is empty
    wanted: dict[str, None] = {}
    for name in names:
        if name in studies:
            unfinished = {"studies": name, "state": {"$in": ["READY", "WAITING"]}}
            wanted |= dict.fromkeys(d["_id"] for d in database.calculations.find(unfinished, {"_id": 1}))
            continue
        try:
            wanted[find_calculation(database, name)["_id"]] = None
        except UnknownNameError:
            raise UnknownNameError("calculation or submitted study", name, studies) from None
    latest = list(wanted)
    while latest:
        above: list[str] = []
        for some in pieces(latest):
            found = database.calculations.find({"_id": {"$in": list(some)}, "state": "WAITING"}, {"parent": 1})
            above += [d["parent"] for d in found if d["parent"] and d["parent"] not in wanted]
        wanted |= dict.fromkeys(above)
        latest = above
    return list(wanted)


def pack(
    database: Database,
    settings: Settings,
    path: Path,
    only: Collection[str] | None = None,
    number: int | None = None,
    hold_seconds: float = 7 * DAY,
    watch: Callable[[int], None] = lambda _: None,
) -> JobFolder:
    """Make a job folder of what is ready, by priority and order, and of what waits for nothing else.

    Whatever it dies of, what it claimed is free again: at once, or after ten minutes where it was killed.

    Parameters
    ----------
    database, settings
        Where the calculations are, and which device, BLAS kernel and time limit go with them.
    path
        A folder that does not exist yet, or an empty one.
    only
        Ids to choose from; all by default.
    number
        So many calculations at most.
    hold_seconds
        For how long nobody else computes them [s].
    watch
        Called with the number of calculations that were taken so far.

    Raises
    ------
    BadInputError
        There is something at the path already, or nothing is ready.
    ServiceError
        The disk cannot be written.
    """
    with suppress(LockedError):
        Queue(database, settings.lease_seconds).repair(wait_seconds=0.0)
    _make(path)
    holds = Holds(database, uuid.uuid4().hex)
    try:
        held = holds.take(path.resolve(), None if only is None else list(only), number, watch)
        _refuse_nothing(held)
        files = _Writer(database, settings, path.resolve()).write(held)
        expires = database.server_time()
        contents = _contents(holds.folder, settings, held, files, expires, hold_seconds)
        write_contents(path.resolve(), contents)
        holds.keep_for(hold_seconds)
    except BaseException as error:
        with suppress(PyMongoError):  # without a database the claims expire
            holds.give_back("its job folder was not finished")
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise ServiceError(f"cannot write to {path}: {error.strerror}; nothing was packed") from None
        raise
    return JobFolder(path)


def unpack(database: Database, settings: Settings, folder: JobFolder) -> tuple[Synced, list[str]]:
    """Deliver what a folder has come to and give back the rest at once, checkpoints included.

    Parameters
    ----------
    database, settings
        Where to.
    folder
        That nobody computes now.

    Returns
    -------
    tuple
        What was delivered, and the ids that were given back.

    Raises
    ------
    ServiceError
        The folder is being computed.
    """
    synced = Synced()
    with folder.locked():
        deliver_folder(database, Queue(database, settings.lease_seconds), folder, synced)
        holds = Holds(database, folder.contents.id)
        for name in folder.items.keys() - folder.settled().keys():
            _bring_checkpoints(settings, folder, name)
            note_unfinished(folder, holds, name)
        freed = holds.give_back(f"given back from the job folder {folder.path}")
        left: dict[str, Settled] = {name: "given back" for name in folder.items if name not in folder.settled()}
        folder.settle(left)
    return synced, freed


def _refuse_nothing(held: Sequence[Held]) -> None:
    if not held:
        raise BadInputError("nothing is ready to be computed that nobody has; alkaflow status says what there is")


def _make(path: Path) -> None:
    """Make an empty directory that only its user can enter."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BadInputError(f"{path} is there already and is no folder; choose another name")
    if path.is_dir() and any(path.iterdir()):
        raise BadInputError(f"{path} is not empty; choose another name")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        for part in _PARTS:
            private_directory(path / part)
    except OSError as error:
        raise BadInputError(f"cannot make {path}: {error.strerror}") from None


class _Writer:
    """Writes what a node needs, each file once."""

    def __init__(self, database: Database, settings: Settings, path: Path) -> None:
        self._database = database
        self._settings = settings
        self._path = path
        self._files: dict[str, FileNote] = {}

    def write(self, held: Sequence[Held]) -> dict[str, FileNote]:
        """Write the inputs, the parents that are done, and the checkpoints; returns every file but those, with hash."""
        inside = {one.id for one in held}
        for one in held:
            self._put(f"inputs/{one.id}.json", one.calculation.model_dump_json().encode())
            if one.calculation.parent is not None and one.calculation.parent not in inside:
                self._put_parent(one)
            _copy_checkpoints(checkpoints_of(self._settings, one.id), self._path / "attempts" / one.id / "checkpoints")
        return self._files

    def _put_parent(self, one: Held) -> None:
        parent = self._database.record(str(one.calculation.parent))
        if parent is None:
            raise ServiceError(f"{one.id} is ready and its parent {one.calculation.parent} has no record; "
                               "run: alkaflow repair --all")  # fmt: skip
        if f"parents/{parent.id}.json" not in self._files:
            self._put(f"parents/{parent.id}.json", parent.model_dump_json().encode())
        name = f"parents/{parent.id}.npz"
        if parent.orbitals is not None and name not in self._files and can_begin_from(parent, one.calculation):
            with suppress(ServiceError):  # missing or damaged: it begins without them
                self._put(name, self._database.get_file(parent.orbitals.sha256))

    def _put(self, name: str, data: bytes) -> None:
        write_atomically(self._path / name, data)
        self._files[name] = FileNote(sha256=sha256_of(data), bytes=len(data))


def _contents(
    folder: str, settings: Settings, held: Sequence[Held], files: dict[str, FileNote], now: datetime, seconds: float
) -> Contents:
    return Contents(
        id=folder,
        made=now,
        host=socket.gethostname(),
        expires=now + timedelta(seconds=seconds),
        alkaflow=__version__,
        settings=Carried(
            device=settings.device,
            blas_kernel=settings.blas_kernel,
            fast_kernels=settings.fast_kernels,
            time_limit=settings.time_limit,
        ),
        calculations=tuple(
            Item(
                id=one.id,
                title=one.title,
                parent=one.calculation.parent,
                attempt=one.attempt,
                deaths=one.deaths,
                launch=one.launch,
                seconds=one.seconds,
            )
            for one in held
        ),
        files=files,
    )


def _copy_checkpoints(source: Path, target: Path) -> None:
    """Take along how far earlier tries came; a checkpoint has its own hash inside."""
    if source.is_symlink() or not source.is_dir():
        return
    for path in sorted(source.glob(_CHECKPOINTS)):
        if path.is_symlink() or not path.is_file():
            continue
        private_directory(target)
        write_atomically(target / path.name, path.read_bytes())


def _bring_checkpoints(settings: Settings, folder: JobFolder, calculation: str) -> None:
    root = folder.path / "attempts" / calculation
    if not root.is_symlink():
        _copy_checkpoints(root / "checkpoints", checkpoints_of(settings, calculation))
