"""What can be out of order in a database, and how it is put right.

Nothing here is needed for results to be right: it is what processes left behind that were killed at a bad moment.
Each look has its mending; both may be repeated.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.findings import Finding, shortened
from alkaflow.launchpad.owner import owner_of
from alkaflow.launchpad.schema import SCHEMA_VERSION, migrate, newer_documents, unfinished_migration, version_of

_STALE = timedelta(minutes=10)
_LOCKED_SECONDS = 1.0  # a living process holds a lock of FireWorks for less
_CLOCK_SECONDS = 30.0
_BATCH = 1000
_OUR_NAME = {"$regex": "^[0-9a-f]{20}$"}


def look_at_database(database: Database) -> Iterator[Finding]:
    """Look at everything that lies in a database, one finding at a time."""
    schema = look_at_schema(database)
    yield from schema
    yield _clock(database)
    if any(finding.verdict == "problem" for finding in schema):
        return  # nothing else is touched in a database of another version
    found = [
        *_orphaned_reservations(database),
        *_ownerless_locks(database),
        *_homeless_fireworks(database),
        *_empty_workflows(database),
        *_late_counters(database),
        *_dead_locks(database),
    ]
    yield from found or [Finding("FireWorks", "ok", "its books are in order")]


def look_at_schema(database: Database) -> list[Finding]:
    """Versions of the database and of its documents."""
    found = []
    version = version_of(database)
    if unfinished_migration(database):
        detail = f"a migration to schema {SCHEMA_VERSION} was begun and not ended"
        found.append(Finding("schema", "problem", detail, "run: alkaflow db migrate", lambda: _finish(database)))
    elif version is not None and version < SCHEMA_VERSION:
        detail = f"schema {version}; this alkaflow writes {SCHEMA_VERSION}"
        found.append(Finding("schema", "problem", detail, "run: alkaflow db dump FILE, then: alkaflow db migrate"))
    elif version is not None and version > SCHEMA_VERSION:
        found.append(Finding("schema", "problem", f"schema {version}, of a newer alkaflow", "upgrade alkaflow"))
    newer = newer_documents(database)
    if newer:
        detail = f"documents of a newer alkaflow: {shortened(newer)}"
        found.append(Finding("schema", "problem", detail, "upgrade alkaflow, or restore a dump from before they came"))
    return found or [Finding("schema", "ok", f"{version or SCHEMA_VERSION}")]


def _finish(database: Database) -> str:
    changed = migrate(database)
    _make_missing(database)
    return "migrated " + (", ".join(f"{number} {name}" for name, number in changed.items()) or "nothing more")


def _clock(database: Database) -> Finding:
    begin = datetime.now(UTC)
    server = database.server_time()
    middle = begin + (datetime.now(UTC) - begin) / 2
    difference = (middle - server).total_seconds()
    if abs(difference) > _CLOCK_SECONDS:
        detail = f"this host is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the server"
        return Finding("clock", "warning", detail, "claims go by the server's clock; set this host's (NTP)")
    return Finding("clock", "ok", f"{abs(difference):.1f} s from the server's")


def _is_stale(document: Document, field: str, now: datetime) -> bool:
    """Whether FireWorks wrote a document long ago; it writes dates as text and as dates."""
    value = document.get(field)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return False
    if not isinstance(value, datetime):
        return False
    return now - (value if value.tzinfo else value.replace(tzinfo=UTC)) > _STALE


# --- FireWorks ------------------------------------------------------------------------------------------------------


def _orphaned_reservations(database: Database) -> Iterator[Finding]:
    """Fireworks that somebody reserved who was killed before it told so: no launch names them, nobody runs them."""
    now = database.server_time()
    reserved: Document = {"state": "RESERVED", "launches": []}
    numbers = [
        int(d["fw_id"])
        for d in database.fireworks.fireworks.find(reserved, {"fw_id": 1, "updated_on": 1})
        if _is_stale(d, "updated_on", now)
    ]
    if not numbers:
        return

    def mend() -> str:
        count = 0
        for number in numbers:
            ready = {"state": "READY", "updated_on": datetime.now(UTC).isoformat()}
            firework = database.fireworks.fireworks.find_one_and_update({"fw_id": number} | reserved, {"$set": ready})
            if firework is None:
                continue
            database.fireworks.workflows.update_one({"nodes": number}, {"$set": {f"fw_states.{number}": "READY"}})
            other = {"_id": firework["name"], "state": {"$ne": "READY"}, "claim": None}
            database.calculations.update_one(other, {"$set": {"behind": True}})
            count += 1
        return f"{count} ready again"

    detail = f"{len(numbers)} fireworks are reserved and never launched: {shortened([str(n) for n in numbers])}"
    yield Finding("FireWorks", "problem", detail, "run: alkaflow doctor --mend", mend)


def _ownerless_locks(database: Database) -> Iterator[Finding]:
    """Workflows that stay locked while nobody works on them."""
    before = {d["_id"] for d in database.fireworks.workflows.find({"locked": True}, {"_id": 1})}
    if not before:
        return
    time.sleep(_LOCKED_SECONDS)
    left = [d for d in _locked_and_idle(database) if d["_id"] in before]
    if not left:
        return

    def mend() -> str:
        idle = {d["_id"] for d in _locked_and_idle(database)} & {d["_id"] for d in left}
        query = {"_id": {"$in": list(idle)}, "locked": True}
        return (
            f"{database.fireworks.workflows.update_many(query, {'$unset': {'locked': True}}).modified_count} unlocked"
        )

    detail = f"{len(left)} workflows are locked by nobody: {shortened([str(d.get('name')) for d in left])}"
    yield Finding("FireWorks", "problem", detail, "run: alkaflow doctor --mend", mend)


def _locked_and_idle(database: Database) -> list[Document]:
    found = []
    for workflow in database.fireworks.workflows.find({"locked": True}, {"nodes": 1, "name": 1}):
        fireworks = database.fireworks.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"name": 1})
        names = [d["name"] for d in fireworks]
        if database.calculations.find_one({"_id": {"$in": names}, "state": "RUNNING"}, {"_id": 1}) is None:
            found.append(workflow)
    return found


def _homeless_fireworks(database: Database) -> Iterator[Finding]:
    """Fireworks of ours without a workflow, of a submission that was killed: they can neither run nor wait."""
    now = database.server_time()
    fields = {"fw_id": 1, "name": 1, "created_on": 1}
    stale = [
        d for d in database.fireworks.fireworks.find({"name": _OUR_NAME}, fields) if _is_stale(d, "created_on", now)
    ]
    lost: dict[int, str] = {}
    for begin in range(0, len(stale), _BATCH):
        lost |= _without_workflow(database, stale[begin : begin + _BATCH])
    if not lost:
        return

    def mend() -> str:
        again = _without_workflow(database, [{"fw_id": number, "name": name} for number, name in lost.items()])
        removed = database.fireworks.fireworks.delete_many({"fw_id": {"$in": list(again)}}).deleted_count
        _make_missing(database)
        return f"{removed} made anew"

    detail = f"{len(lost)} fireworks belong to no workflow: {shortened(sorted(lost.values()))}"
    yield Finding("FireWorks", "problem", detail, "run: alkaflow doctor --mend", mend)


def _without_workflow(database: Database, fireworks: list[Document]) -> dict[int, str]:
    numbers = {int(d["fw_id"]): str(d["name"]) for d in fireworks}
    for workflow in database.fireworks.workflows.find({"nodes": {"$in": list(numbers)}}, {"nodes": 1}):
        for node in workflow["nodes"]:
            numbers.pop(node, None)
    return numbers


def _empty_workflows(database: Database) -> Iterator[Finding]:
    """Workflows none of whose fireworks is there, of a submission that was killed between the two."""
    now = database.server_time()
    joined: list[Document] = [
        {"$project": {"nodes": 1, "name": 1, "created_on": 1}},
        {"$lookup": {"from": "fireworks", "localField": "nodes", "foreignField": "fw_id", "as": "made",
                     "pipeline": [{"$limit": 1}, {"$project": {"_id": 1}}]}},
        {"$match": {"made": []}},
    ]  # fmt: skip
    found = [d for d in database.fireworks.workflows.aggregate(joined) if _is_stale(d, "created_on", now)]
    if not found:
        return

    def mend() -> str:
        gone = [d["_id"] for d in found if not _has_firework(database, d["nodes"])]
        removed = database.fireworks.workflows.delete_many({"_id": {"$in": gone}}).deleted_count
        _make_missing(database)
        return f"{removed} made anew"

    detail = f"{len(found)} workflows have no fireworks: {shortened([str(d.get('name')) for d in found])}"
    yield Finding("FireWorks", "problem", detail, "run: alkaflow doctor --mend", mend)


def _make_missing(database: Database) -> None:
    """Give calculations their fireworks that have none."""
    from alkaflow.launchpad.queue import Queue

    Queue(database).repair(everything=True)


def _has_firework(database: Database, numbers: list[int]) -> bool:
    return database.fireworks.fireworks.find_one({"fw_id": {"$in": numbers}}, {"_id": 1}) is not None


def _late_counters(database: Database) -> Iterator[Finding]:
    """Counters that would give out a number for the second time, as after a restore by other tools."""
    counters = database.fireworks.fw_id_assigner.find_one({}) or {}
    late: dict[str, int] = {}
    for collection, field, counter in (
        (database.fireworks.fireworks, "fw_id", "next_fw_id"),
        (database.fireworks.launches, "launch_id", "next_launch_id"),
    ):
        last = collection.find_one({}, {field: 1}, sort=[(field, -1)])
        if last is not None and int(counters.get(counter, 0)) <= int(last[field]):
            late[counter] = int(last[field]) + 1
    if not late:
        return

    def mend() -> str:
        database.fireworks.fw_id_assigner.update_one({"_id": counters.get("_id", -1)}, {"$max": late}, upsert=True)
        return "raised to " + ", ".join(f"{name} {number}" for name, number in late.items())

    detail = f"the counters of FireWorks are behind its documents ({', '.join(late)})"
    yield Finding("FireWorks", "problem", detail, "run: alkaflow doctor --mend", mend)


# --- locks ----------------------------------------------------------------------------------------------------------


def _dead_locks(database: Database) -> Iterator[Finding]:
    """Locks whose owner is gone. Whoever wants one takes it anyway; they are only in the way of the eye."""
    now = database.server_time()
    dead = [d for d in database.locks.find() if _is_dead(d, now)]
    if not dead:
        return

    def mend() -> str:
        removed = sum(database.locks.delete_one(_same(d)).deleted_count for d in dead)
        return f"{removed} removed"

    names = shortened([str(d["_id"]) for d in dead])
    yield Finding("locks", "warning", f"of processes that are gone: {names}", "run: alkaflow doctor --mend", mend)


def _is_dead(lock: Document, now: datetime) -> bool:
    owner = owner_of(lock) if "owner" in lock else None
    alive = owner.is_alive() if owner else False
    return bool(lock["expires"] < now) if alive is None else not alive


def _same(lock: Document) -> dict[str, Any]:
    return {"_id": lock["_id"], "token": lock.get("token"), "expires": lock.get("expires")}
