"""Files by hash: whole or not there, whatever is killed, and what nothing refers to is collected and no more."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gridfs import GridFSBucket
from made_records import fake_record

from alkaflow.errors import CalculationError, ServiceError
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.filestore import FileStore, checked_size
from alkaflow.launchpad.garbage import Garbage, collect_garbage, referred_files, without_references
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings
from alkaflow.structures import Structure
from alkaflow.workflows import plan_single

RANDOM = random.Random(7).randbytes(40_000_000)  # noqa: S311  (cannot be compressed)
SHA = hashlib.sha256(RANDOM).hexdigest()
TEXT = b"0.123456 " * 500_000


def stored(database: Database) -> tuple[int, int, int]:
    """How many files, chunks and notes of uploads there are."""
    files = database.files
    return (files.files.count_documents({}), files.chunks.count_documents({}), files.uploads.count_documents({}))


def age(database: Database, days: float = 2.0) -> None:
    """Let all that is there look older, by the server's clock."""
    then = database.server_time() - timedelta(days=days)
    database.files.files.update_many({}, {"$set": {"uploadDate": then}})
    database.files.uploads.update_many({}, {"$set": {"renewed": then}})


@pytest.mark.parametrize(
    ("data", "encoding"),
    [(b"", "plain"), (b"x", "plain"), (TEXT, "zlib"), (RANDOM[:3_000_001], "plain"), (TEXT[: 1 << 20], "zlib")],
    ids=["empty", "one", "text", "random", "a chunk of text"],
)
def test_bytes_come_back(database: Database, data: bytes, encoding: str) -> None:
    sha = database.put_file(data)
    assert sha == hashlib.sha256(data).hexdigest()
    assert database.get_file(sha) == data
    held = database.files.files.find_one({"_id": sha})
    assert held is not None
    about = held["metadata"]
    assert (about["encoding"], about["sha256"], about["bytes"], about["schema_version"]) == (
        encoding,
        sha,
        len(data),
        1,
    )
    assert held["length"] == sum(len(c["data"]) for c in database.files.chunks.find())
    assert (held["length"] < 0.9 * len(data)) == (encoding == "zlib")
    before = stored(database)
    assert database.put_file(data) == sha
    assert stored(database) == before
    assert before[2] == 0


def test_files_of_the_first_version_stay_readable(database: Database) -> None:
    data = RANDOM[:700_000]
    sha = hashlib.sha256(data).hexdigest()
    GridFSBucket(database.db, bucket_name="files").upload_from_stream_with_id(sha, sha, data)
    assert database.get_file(sha) == data
    before = stored(database)
    assert database.put_file(data) == sha
    assert stored(database) == before


def test_damage_is_noticed(database: Database) -> None:
    plain, packed = database.put_file(RANDOM[:2_500_000]), database.put_file(TEXT)
    with pytest.raises(ServiceError, match=f"holds no file {'0' * 64}"):
        database.get_file("0" * 64)
    chunks = database.files.chunks
    for sha in (plain, packed):
        chunk = chunks.find_one({"files_id": {"$regex": f"^{sha}"}, "n": 0})
        assert chunk is not None
        for wrong in (bytes(reversed(chunk["data"])), chunk["data"][:-1], chunk["data"] + b"x"):
            chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": wrong}})
            with pytest.raises(ServiceError, match=f"{sha} in the database is damaged; restore it"):
                database.get_file(sha)
        chunks.delete_one({"_id": chunk["_id"]})
        with pytest.raises(ServiceError, match="damaged"):
            database.get_file(sha)
    database.files.files.update_one({"_id": packed}, {"$set": {"metadata.encoding": "zstd"}})
    chunks.delete_many({})
    database.files.files.update_one({"_id": packed}, {"$set": {"length": 0}})
    with pytest.raises(ServiceError, match="stored as 'zstd', which this alkaflow cannot read; upgrade"):
        database.get_file(packed)


# --- kills and races ------------------------------------------------------------------------------------------------

UPLOADING = """
import os, random, signal, sys
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.filestore import FileStore
from alkaflow.settings import load_settings
where = sys.argv[1]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
send, publish = FileStore._send, FileStore._publish
sent = []
def sending(self, upload, stored, first):
    send(self, upload, stored, first)
    sent.append(first)
    if where == str(len(sent)):
        die()
def publishing(self, *given):
    if where == "before":
        die()
    done = publish(self, *given)
    if where == "after":
        die()
    return done
FileStore._send, FileStore._publish = sending, publishing
with open_database(load_settings()) as database:
    database.put_file(random.Random(7).randbytes(40_000_000))
"""


def environment_of(settings: Settings) -> dict[str, str]:
    return os.environ | {"ALKAFLOW_DATA_DIR": str(settings.data_dir), "ALKAFLOW_DATABASE": settings.database}


@pytest.mark.parametrize("where", ["1", "5", "before"])
def test_a_killed_upload_is_no_file_and_completes_afterwards(
    database: Database, settings: Settings, where: str
) -> None:
    done = subprocess.run([sys.executable, "-c", UPLOADING, where], env=environment_of(settings), check=False)
    assert done.returncode == -signal.SIGKILL
    files, chunks, uploads = stored(database)
    assert (files, uploads) == (0, 1)
    assert chunks == {"1": 4, "5": 20, "before": 39}[where]
    assert not database.files.has(SHA)
    with pytest.raises(ServiceError, match="holds no file"):
        database.get_file(SHA)
    assert collect_garbage(database, dry_run=False) == Garbage(0, 0, 0)  # too young: it might be at work
    assert database.put_file(RANDOM) == SHA
    assert database.get_file(SHA) == RANDOM
    age(database)
    database.records.insert_one({"_id": "a" * 20, "orbitals": {"sha256": SHA, "bytes": 1, "format": "npz"}})
    assert collect_garbage(database, dry_run=False).chunks == chunks
    assert stored(database) == (1, 39, 0)
    assert database.get_file(SHA) == RANDOM


def test_killed_right_after_it_was_published(database: Database, settings: Settings) -> None:
    done = subprocess.run([sys.executable, "-c", UPLOADING, "after"], env=environment_of(settings), check=False)
    assert done.returncode == -signal.SIGKILL
    assert stored(database) == (1, 39, 1)
    assert database.get_file(SHA) == RANDOM
    assert database.put_file(RANDOM) == SHA
    age(database)
    database.records.insert_one({"_id": "a" * 20, "orbitals": {"sha256": SHA}})
    assert collect_garbage(database, dry_run=False) == Garbage(0, 0, 0)
    assert stored(database) == (1, 39, 0)


STORING = """
import sys, time
from pathlib import Path
from alkaflow.launchpad.database import open_database
from alkaflow.settings import load_settings
data = Path(sys.argv[1]).read_bytes()
with open_database(load_settings()) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    print(database.put_file(data))
"""


def test_many_processes_store_the_same_bytes_at_once(database: Database, settings: Settings, tmp_path: Path) -> None:
    data = TEXT + RANDOM[:6_000_000]
    (tmp_path / "data").write_bytes(data)
    command = [sys.executable, "-c", STORING, str(tmp_path / "data")]
    environment = environment_of(settings)
    several = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in several:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in several:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sha = hashlib.sha256(data).hexdigest()
    assert [process.communicate(timeout=60)[0] for process in several] == [sha + "\n"] * 4
    assert database.get_file(sha) == data
    files, chunks, uploads = stored(database)
    assert (files, uploads) == (1, 0)
    assert chunks == -(-int(database.files.files.find_one({})["length"]) // (1 << 20))


@contextmanager
def interrupted(name: str, act: Callable[[], object]) -> Iterator[None]:
    """Let something happen once, right before a step of an upload."""
    original, done = getattr(FileStore, name), []

    def step(self: FileStore, *given: Any) -> Any:
        if not done:
            done.append(True)
            act()
        return original(self, *given)

    setattr(FileStore, name, step)
    try:
        yield
    finally:
        setattr(FileStore, name, original)


@pytest.mark.parametrize("step", ["_send", "_owns", "_publish"])
def test_another_upload_is_first(database: Database, step: str) -> None:
    with interrupted(step, lambda: database.put_file(TEXT)):
        sha = database.put_file(TEXT)
    assert database.get_file(sha) == TEXT
    assert stored(database)[0::2] == (1, 0)
    length = database.files.files.find_one({})["length"]
    assert sum(len(c["data"]) for c in database.files.chunks.find()) == length


@pytest.mark.parametrize("step", ["_send", "_owns", "_publish"])
def test_garbage_is_collected_during_an_upload(database: Database, step: str) -> None:
    """A young one is left alone; one that slept past its time begins again."""
    with interrupted(step, lambda: collect_garbage(database, dry_run=False)):
        sha = database.put_file(TEXT)
    assert database.get_file(sha) == TEXT
    database.files.files.delete_many({})

    def collect_all() -> None:
        age(database)
        collect_garbage(database, dry_run=False)

    with interrupted(step, collect_all):
        sha = database.put_file(TEXT)
    assert database.get_file(sha) == TEXT
    assert stored(database)[0::2] == (1, 0)


# --- garbage --------------------------------------------------------------------------------------------------------


def test_garbage_is_what_nothing_refers_to(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_single(Structure(("He",), np.zeros((1, 3))), "pbe/sto-3g", None))
    claim = queue.claim()
    assert claim is not None
    kept = database.put_file(RANDOM[:1_500_000])
    record = fake_record(claim).model_dump() | {"orbitals": {"sha256": kept, "bytes": 1_500_000, "format": "npz"}}
    assert queue.complete(claim, type(fake_record(claim)).model_validate(record))
    assert referred_files(database) == {kept}
    old, young = database.put_file(b"old" * 10), database.put_file(b"young")
    first_version = hashlib.sha256(b"v1").hexdigest()
    GridFSBucket(database.db, bucket_name="files").upload_from_stream_with_id(first_version, first_version, b"v1")
    then = database.server_time() - timedelta(days=2)
    database.files.files.update_many({"_id": {"$ne": young}}, {"$set": {"uploadDate": then}})
    before = stored(database)
    would = collect_garbage(database, dry_run=True)
    assert stored(database) == before
    length = database.files.files.find_one({"_id": old})["length"]
    assert would == Garbage(2, 2, length + 2)
    assert collect_garbage(database, dry_run=False) == would
    assert {d["_id"] for d in database.files.files.find()} == {kept, young}
    assert database.get_file(kept) == RANDOM[:1_500_000]
    assert database.get_file(young) == b"young"
    assert collect_garbage(database, dry_run=False) == Garbage(0, 0, 0)


def test_of_records_only_what_may_refer_to_a_file_is_read(database: Database) -> None:
    """Wherever a reference is, in fields of a later version as well; not the thousands of numbers beside it."""
    one, two, three = ("a" * 64, "b" * 64, "c" * 64)
    numbers = [0.125] * 10_000
    record = {"_id": "r", "orbitals": {"sha256": one, "bytes": 1, "format": "npz"}, "basis_sha256": "d" * 64}
    record |= {"energies_along_relaxation": numbers, "positions_angstrom": [[0.0, 0.0, 0.0]] * 300}
    record |= {"later": {"maps": [{"file": {"sha256": two}}, {"sha256": three}]}}
    database.records.insert_one(record)
    assert referred_files(database) == {one, two, three}
    (read,) = database.records.find({}, without_references())
    assert {"orbitals", "later"} <= set(read)
    assert not set(read) & {"energies_along_relaxation", "positions_angstrom", "symbols", "basis_sha256"}


def test_an_orphan_that_is_stored_again_is_young_again(database: Database) -> None:
    sha = database.put_file(b"again")
    age(database)
    assert collect_garbage(database, dry_run=True).files == 1
    database.put_file(b"again")
    assert collect_garbage(database, dry_run=False) == Garbage(0, 0, 0)
    assert database.get_file(sha) == b"again"


def test_one_that_is_stored_again_while_garbage_is_collected_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = database.put_file(b"again")
    age(database)
    original = referred_files

    def slowly(opened: Database) -> set[str]:
        found = original(opened)
        opened.put_file(b"again")
        opened.records.insert_one({"_id": "b" * 20, "orbitals": {"sha256": sha}})
        return found

    monkeypatch.setattr("alkaflow.launchpad.garbage.referred_files", slowly)
    assert collect_garbage(database, dry_run=False) == Garbage(0, 0, 0)
    assert database.get_file(sha) == b"again"


def test_chunks_without_a_file_go_when_they_are_old(database: Database) -> None:
    """As a killed upload of the first version left them: without a note, under the hash itself."""
    from bson import Binary, ObjectId

    now = database.server_time()
    for days in (0, 2):
        number = ObjectId.from_datetime(now - timedelta(days=days))
        database.files.chunks.insert_one({"_id": number, "files_id": f"{days}" * 64, "n": 0, "data": Binary(b"12345")})
    assert collect_garbage(database, dry_run=True) == Garbage(0, 1, 5)
    assert collect_garbage(database, dry_run=False) == Garbage(0, 1, 5)
    assert [c["files_id"] for c in database.files.chunks.find()] == ["0" * 64]


# --- documents ------------------------------------------------------------------------------------------------------


def test_no_large_document_is_sent(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_single(Structure(("He",), np.zeros((1, 3))), "pbe/sto-3g", None))
    claim = queue.claim()
    assert claim is not None
    large = fake_record(claim).model_copy(update={"energies_along_relaxation": [0.125] * 800_000})
    with pytest.raises(
        CalculationError, match=rf"the record of calculation {claim.id} has 1\d\.\d MB, more than the 12"
    ):
        database.insert_record(large)
    assert not database.has_record(claim.id)
    fits = {"_id": 1, "data": b"x" * 11_999_000}
    assert checked_size(fits, "it") is fits
    with pytest.raises(CalculationError, match=r"it has 12\.0 MB"):
        checked_size({"_id": 1, "data": b"x" * 12_000_000}, "it")
