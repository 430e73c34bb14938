"""Files that nothing refers to, and chunks that belong to no file."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, get_args

from bson import ObjectId
from pydantic import BaseModel

from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.filestore import chunks_of
from alkaflow.records import FileReference, Record

_DAY = 86400.0


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be: files, chunks (of those files and of none), and the bytes they take."""

    files: int
    chunks: int
    bytes: int


def collect_garbage(database: Database, dry_run: bool, older_than_seconds: float = _DAY) -> Garbage:
    """Remove files that no record refers to, and chunks without a file; nothing else.

    Parameters
    ----------
    database
        Where the files are.
    dry_run
        Count, and remove nothing.
    older_than_seconds
        What is younger stays, as somebody may be about to refer to it [s], by the server's clock.
    """
    before = database.server_time() - timedelta(seconds=older_than_seconds)
    files, removed, size = _collect_files(database, before, dry_run)
    chunks, loose = _collect_chunks(database, before, dry_run)
    return Garbage(files, removed + chunks, size + loose)


def referred_files(database: Database) -> set[str]:
    """SHA-256 of every file that a record refers to, wherever in the record that is."""
    found: set[str] = set()
    for document in database.records.find({}, without_references()):
        found |= set(_references(document))
    return found


@cache
def without_references() -> Document:
    """The projection that leaves out what cannot refer to a file: numbers, atoms, energies.

    Fields of records that this version does not know are read, as they may.
    """
    return {name: 0 for name, field in Record.model_fields.items() if not _may_refer(field.annotation)}


def _may_refer(kind: Any) -> bool:
    """Whether a value of a type may hold a reference to a file."""
    if kind in (Any, dict, FileReference):
        return True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return any(_may_refer(field.annotation) for field in kind.model_fields.values())
    return any(_may_refer(part) for part in get_args(kind))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("sha256"), str):
            yield value["sha256"]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _collect_files(database: Database, before: datetime, dry_run: bool) -> tuple[int, int, int]:
    store, files, chunks, size = database.files, 0, 0, 0
    old: Document = {"uploadDate": {"$lt": before}}
    candidates = list(store.files.find(old, {"length": 1, "metadata": 1}))
    needed = referred_files(database)
    for file in candidates:
        if file["_id"] in needed:
            continue
        # Whoever stores the file anew makes it young again, and then this finds nothing.
        if not dry_run and not store.files.delete_one({"_id": file["_id"]} | old).deleted_count:
            continue
        files, size = files + 1, size + int(file["length"])
        chunks += _remove_chunks(database, chunks_of(file), dry_run)
    return files, chunks, size


def _collect_chunks(database: Database, before: datetime, dry_run: bool) -> tuple[int, int]:
    """Chunks of no file. The order of the three looks matters: an upload notes itself, sends chunks, is published."""
    store = database.files
    groups = list(
        store.chunks.aggregate(
            [{"$group": {"_id": "$files_id", "bytes": {"$sum": {"$binarySize": "$data"}}, "last": {"$max": "$_id"}}}],
            allowDiskUse=True,
        )
    )
    notes = {note["_id"]: note["renewed"] for note in store.uploads.find()}
    taken = {chunks_of(file) for file in store.files.find({}, {"metadata.chunks": 1})}
    chunks, size = 0, 0
    for group in groups:
        upload = group["_id"]
        if upload in taken or notes.get(upload, _made(group["last"])) >= before:
            continue
        if upload in notes and not dry_run:
            old = {"_id": upload, "renewed": {"$lt": before}}
            if not store.uploads.delete_one(old).deleted_count:
                continue  # it goes on
        size += int(group["bytes"])
        chunks += _remove_chunks(database, upload, dry_run)
    if not dry_run:  # notes of uploads that were killed before their first chunk, or after their end
        sent = {group["_id"] for group in groups}
        idle = [upload for upload in notes if upload not in sent or upload in taken]
        store.uploads.delete_many({"_id": {"$in": idle}, "renewed": {"$lt": before}})
    return chunks, size


def _remove_chunks(database: Database, upload: str, dry_run: bool) -> int:
    query = {"files_id": upload}
    if dry_run:
        return database.files.chunks.count_documents(query)
    return database.files.chunks.delete_many(query).deleted_count


def _made(number: Any) -> datetime:
    """When a chunk without a note was made; such are of the first version."""
    return number.generation_time if isinstance(number, ObjectId) else datetime.max.replace(tzinfo=UTC)
