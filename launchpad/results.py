"""Looking at what the database holds: the queue, one calculation, the rows of studies. For many see `query`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.owner import owner_of
from alkaflow.records import Record

_MOST_FAILED = 100


@dataclass(frozen=True)
class Status:
    """Counts by state, what runs, and what failed: the first hundred of them."""

    counts: dict[str, int]
    running: list[dict[str, Any]]
    failed: list[dict[str, Any]]


def known_study(database: Database, name: str) -> str:
    """Return the name of a study that was submitted; raise UnknownNameError for another."""
    known = [name for name in database.calculations.distinct("studies") if name]
    if name not in known:
        raise UnknownNameError("submitted study", name, known)
    return name


def status(database: Database, study: str | None = None) -> Status:
    """Summarise the queue, of one study or of all."""
    query: Document = {"studies": study} if study else {}
    grouped = database.calculations.aggregate([{"$match": query}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}])
    running = [_running(d) for d in database.calculations.find(query | {"state": "RUNNING"}, {"input": 0})]
    fizzled = database.calculations.find(query | {"state": "FIZZLED"}, {"input": 0}).limit(_MOST_FAILED)
    failed = [{"id": d["_id"], "title": d["title"], "attempt": d["attempts"], **(d["failure"] or {})} for d in fizzled]
    counts = {d["_id"]: int(d["n"]) for d in grouped}
    return Status(dict(sorted(counts.items())), running, failed)


def _running(document: Document) -> dict[str, Any]:
    claim = document["claim"]
    owner = owner_of(claim)
    return {
        "id": document["_id"],
        "title": document["title"],
        "attempt": document["attempts"],
        "progress": document["progress"],
        "seconds": (datetime.now(UTC) - claim["since"]).total_seconds() if claim else 0.0,
        "expected_seconds": (document["cost"] or {}).get("seconds"),
        "job": claim.get("job") if claim else None,
        "host": owner.host if owner else None,
        "pid": owner.pid if owner else None,
        "alive": owner.is_alive() if owner else False,
    }


def find_record(database: Database, calculation: str) -> Record:
    """Return a record by id or by the beginning of one.

    Raises
    ------
    UnknownNameError
        No calculation of that id.
    BadInputError
        The beginning fits several, or the calculation has no record; says its state.
    """
    found = find_calculation(database, calculation)
    record = database.record(found["_id"])
    if record is None:
        why = f": {found['failure']['outcome']}, {found['failure']['message']}" if found["failure"] else ""
        raise BadInputError(f"calculation {found['_id']} ({found['title']}) has no record; it is {found['state']}{why}")
    return record


def find_calculation(database: Database, calculation: str) -> Document:
    """Return the document of a calculation by id or by the beginning of one; see find_record for the errors."""
    exact = database.calculations.find_one({"_id": calculation})
    if exact is not None:
        return exact
    matches: list[Document] = []
    if calculation and set(calculation) <= set("0123456789abcdef"):
        matches = list(database.calculations.find({"_id": {"$gte": calculation, "$lt": calculation + "g"}}).limit(5))
    if len(matches) > 1:
        raise BadInputError(f"{calculation!r} fits several calculations: {', '.join(d['_id'] for d in matches)}")
    if not matches:
        known = (d["_id"] for d in database.calculations.find({}, {"_id": 1}).limit(1000))
        raise UnknownNameError("calculation", calculation, known, hint="(alkaflow results list shows all)")
    return matches[0]
