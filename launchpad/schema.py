"""What version a database is of, and how an older one becomes a present one.

Every document carries its own version, and ``meta`` that of the whole. A migration is asked for, never done in
passing; it changes one document at a time, each only if it is still of the old version, and raises the version of the
whole last. So it can be killed anywhere and run again.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from alkaflow.errors import ServiceError
from alkaflow.launchpad.indexes import INDEXES_VERSION, create_indexes
from alkaflow.launchpad.owner import owner_of

if TYPE_CHECKING:
    from alkaflow.launchpad.database import Database

Document = dict[str, Any]
Watch = Callable[[str, int], None]

SCHEMA_VERSION = 2
"""Of calculations, attempts and jobs. Records have a version of their own, as they never change."""

RECORD_VERSION = 1
FILE_VERSION = 1
_META = "schema"
_BATCH = 500
_VERSIONED = ("attempts", "calculations", "jobs")  # in the order in which they are migrated


def version_of(database: "Database") -> int | None:
    """Return the version of a database; None for one that holds nothing of ours yet."""
    held = database.meta.find_one({"_id": _META}, {"version": 1})
    if held is not None:
        return int(held["version"])
    return _version_without_meta(database)


def _version_without_meta(database: "Database") -> int | None:
    """Version 1 wrote no ``meta``."""
    old: Document = {"schema_version": {"$not": {"$gte": 2}}}
    if any(database.db[name].find_one(old, {"_id": 1}) for name in ("calculations", "attempts")):
        return 1
    held = any(database.db[name].find_one({}, {"_id": 1}) for name in _VERSIONED)
    return SCHEMA_VERSION if held else None  # what is newer keeps its meta


def prepare(database: "Database") -> None:
    """Make sure that a database is of the present version, and create what a fresh one needs.

    One round trip where there is nothing to do.

    Raises
    ------
    ServiceError
        It is of another version; nothing was changed.
    """
    held = database.meta.find_one({"_id": _META})
    version = int(held["version"]) if held is not None else _version_without_meta(database)
    if version is not None:
        _refuse_other(version)
    if held is None or held.get("indexes", 0) < INDEXES_VERSION:
        _furnish(database)


def _refuse_other(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise ServiceError(
            f"the database was written by a newer alkaflow (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade alkaflow; nothing was changed"
        )
    if version < SCHEMA_VERSION:
        raise ServiceError(
            f"the database was written by an older alkaflow (schema {version}, this one writes {SCHEMA_VERSION}); "
            "run: alkaflow db dump FILE, then: alkaflow db migrate; nothing was changed"
        )


def _furnish(database: "Database") -> None:
    """Create indexes and counters, then say so, so that a killed start is done again."""
    create_indexes(database.db)
    counters = {"next_fw_id": 1, "next_launch_id": 1}
    said = {"$max": {"indexes": INDEXES_VERSION}, "$setOnInsert": {"version": SCHEMA_VERSION}}
    with suppress(DuplicateKeyError):  # another process did so at the same moment
        database.fireworks.fw_id_assigner.update_one({"_id": -1}, {"$setOnInsert": counters}, upsert=True)
    with suppress(DuplicateKeyError):
        database.meta.update_one({"_id": _META}, said, upsert=True)


def set_version(database: "Database", version: int) -> None:
    """Note the version of documents that are about to come from a dump."""
    database.meta.update_one({"_id": _META}, {"$set": {"version": version}, "$unset": {"target": True}}, upsert=True)


# --- migration ------------------------------------------------------------------------------------------------------


def migrate(database: "Database", watch: Watch | None = None) -> dict[str, int]:
    """Bring a database to the present version; returns how many documents changed, by collection.

    Parameters
    ----------
    database
        Opened whatever its version.
    watch
        Called with a collection and the number of its documents that were changed so far.

    Raises
    ------
    ServiceError
        It is newer than this alkaflow, or something computes; nothing was changed.
    """
    version = version_of(database)
    counts: dict[str, int] = {}
    if version is None:
        prepare(database)
        return counts
    newer = newer_documents(database)
    if version > SCHEMA_VERSION or newer:
        _refuse_other(max(version, SCHEMA_VERSION))
        raise ServiceError(f"{newer[0]} was written by a newer alkaflow; upgrade alkaflow; nothing was changed")
    if version < SCHEMA_VERSION:
        _refuse_while_computing(database)
        started = {"$setOnInsert": {"version": version}, "$set": {"target": SCHEMA_VERSION}}
        database.meta.update_one({"_id": _META}, started, upsert=True)
        create_indexes(database.db)
    for old in range(version, SCHEMA_VERSION):
        for name, number in _STEPS[old](database, watch or _nobody):
            counts[name] = counts.get(name, 0) + number
        database.meta.update_one({"_id": _META, "version": old}, {"$set": {"version": old + 1}})
    if version < SCHEMA_VERSION:
        database.meta.update_one({"_id": _META}, {"$unset": {"target": True}})
    prepare(database)
    return counts


def unfinished_migration(database: "Database") -> bool:
    """Whether a migration was begun and not ended."""
    return database.meta.find_one({"_id": _META, "target": {"$exists": True}}, {"_id": 1}) is not None


def newer_documents(database: "Database", limit: int = 5) -> list[str]:
    """Name documents that a newer alkaflow wrote, at most ``limit`` of each kind."""
    known = dict.fromkeys(_VERSIONED, ("schema_version", SCHEMA_VERSION)) | {
        "records": ("schema_version", RECORD_VERSION),
        "files.files": ("metadata.schema_version", FILE_VERSION),
    }
    found = []
    for name, (field, version) in known.items():
        newer = database.db[name].find({field: {"$gt": version}}, {"_id": 1}).limit(limit)
        found += [f"{name} {document['_id']}" for document in newer]
    return found


def _refuse_while_computing(database: "Database") -> None:
    for document in database.calculations.find({"claim.owner": {"$exists": True}}, {"claim": 1, "title": 1}):
        owner = owner_of(document["claim"])
        alive = owner.is_alive() if owner else False
        if alive is None:  # on another host
            unexpired = {"_id": document["_id"], "$expr": {"$gt": ["$claim.expires", "$$NOW"]}}
            alive = database.calculations.find_one(unexpired, {"_id": 1}) is not None
        if alive:
            raise ServiceError(f"{owner} computes {document.get('title') or document['_id']}; stop all workers first")


def _nobody(name: str, changed: int) -> None:
    del name, changed


def _from_1(database: "Database", watch: Watch) -> Iterator[tuple[str, int]]:
    """Calculations with priority, deaths, cost, firework and behind; claims with attempt and job; fuller attempts."""
    old: Document = {"schema_version": {"$not": {"$gte": 2}}}
    changed = 0
    for some in _batches(database, "attempts", old):
        fields = {"schema_version": 2, "directory": None, "host": None, "job": None, "peak_memory_mb": None}
        updates = [UpdateOne({"_id": d["_id"]} | old, {"$set": fields}) for d in some]
        changed += database.attempts.bulk_write(updates, ordered=False).modified_count
        watch("attempts", changed)
    yield "attempts", changed
    changed = 0
    for some in _batches(database, "calculations", old):
        names = [d["_id"] for d in some]
        found = database.fireworks.fireworks.find({"name": {"$in": names}}, {"name": 1, "fw_id": 1, "state": 1})
        fireworks: dict[str, tuple[int, str | None]] = {d["name"]: (int(d["fw_id"]), d["state"]) for d in found}
        for name in names:
            if name not in fireworks:  # a submission was killed; the number is kept for the firework to be made
                fireworks[name] = (int(database.fireworks.get_new_fw_id()), None)
        updates = [UpdateOne({"_id": d["_id"]} | old, _calculation_from_1(d, *fireworks[d["_id"]])) for d in some]
        changed += database.calculations.bulk_write(updates, ordered=False).modified_count
        watch("calculations", changed)
    yield "calculations", changed
    ours = {"name": {"$regex": "^[0-9a-f]{20}$"}, "spec._priority": {"$exists": False}}
    yield "fireworks", database.fireworks.fireworks.update_many(ours, {"$set": {"spec._priority": 0}}).modified_count


def _calculation_from_1(document: Document, number: int, state: str | None) -> list[Document]:
    behind = document["state"] != "RUNNING" and state is not None and state != document["state"]
    claim: Document = {"since": None, "attempt": "$attempts", "job": None}
    return [
        {
            "$set": {
                "schema_version": 2,
                "priority": 0,
                "deaths": [],
                "cost": None,
                "submission": None,
                "firework": number,
                "behind": behind,
                "claim": {"$cond": [{"$gt": ["$claim", None]}, {"$mergeObjects": [claim, "$claim"]}, None]},
            }
        }
    ]


def _batches(database: "Database", name: str, query: Document) -> Iterator[list[Document]]:
    """Documents that fit a query, some at a time; each batch has to be changed so that it fits no more."""
    while some := list(database.db[name].find(query, {"state": 1}).limit(_BATCH)):
        yield some


_STEPS: dict[int, Callable[["Database", Watch], Iterator[tuple[str, int]]]] = {1: _from_1}
