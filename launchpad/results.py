"""Looking at what the database holds: the queue, one calculation, the rows of studies. For many see `query`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.owner import folder_of, owner_of
from alkaflow.records import Record

_MOST_FAILED = 100
_MOST_NAMED = 5
_MOST_COMPARED = 1000
_ID = {"_id": 1}


class UnknownCalculationError(UnknownNameError):
    """An id that nobody knows; in a large database the known ones are too many to be listed."""

    def __init__(self, calculation: str, near: Sequence[str]) -> None:
        advice = f"did you mean {' or '.join(near)}? " if near else ""
        BadInputError.__init__(
            self, f"unknown calculation {calculation!r}; {advice}'alkaflow results list' shows all of them"
        )


@dataclass(frozen=True)
class Tally:
    """How many calculations have ended, and how many are still to do."""

    ended: int
    left: int


def tally(database: Database, ids: Collection[str] | None = None) -> Tally:
    """Count what has a result or failed, and what waits or runs: of some ids, or of all."""
    wanted: Document = {} if ids is None else {"_id": {"$in": list(ids)}}
    states = {"ended": ["COMPLETED"], "left": ["READY", "WAITING", "RUNNING"]}
    if ids is None:
        states["ended"].append("FIZZLED")
    counts = {
        key: database.calculations.count_documents(wanted | {"state": {"$in": some}}) for key, some in states.items()
    }
    return Tally(**counts)


@dataclass(frozen=True)
class Paused:
    """How many calculations are paused, and what resumes them: names of studies, else ids."""

    number: int
    names: list[str]

    @property
    def command(self) -> str:
        """The next step."""
        return "alkaflow resume " + " ".join(self.names)


def paused(database: Database, ids: Collection[str] | None = None) -> Paused:
    """What is paused, of some ids or of all."""
    query: Document = {"state": "PAUSED"} | ({} if ids is None else {"_id": {"$in": list(ids)}})
    number = database.calculations.count_documents(query)
    names = sorted(name for name in database.calculations.distinct("studies", query) if name) if number else []
    alone = database.calculations.find(query | {"studies": {"$in": [None, []]}}, {"_id": 1}).limit(_MOST_NAMED)
    return Paused(number, [*names, *(d["_id"][:8] for d in alone)] if number else [])


@dataclass(frozen=True)
class Left:
    """Why calculations are left when a worker ends: numbers of them."""

    running: int
    in_folders: int
    ready: int
    blocked: int
    waiting: int


def left_over(database: Database) -> Left:
    """Count what is neither done nor ended, by the reason.

    ``blocked`` waits for one that failed, was cancelled or is paused; ``waiting`` for one that is still to come.
    """
    folder = {"claim.job": {"$regex": "^folder:"}}
    states = ["READY", "WAITING", "RUNNING"]
    in_folders = database.calculations.count_documents({"state": {"$in": states}} | folder)
    running = database.calculations.count_documents({"state": "RUNNING", "claim.job": {"$not": {"$regex": "^folder:"}}})
    ready = database.calculations.count_documents({"state": "READY", "claim": None})
    stopped: set[str] = set()
    front = [d["_id"] for d in database.calculations.find({"state": {"$in": ["FIZZLED", "DEFUSED", "PAUSED"]}}, _ID)]
    while front:
        below = {"parent": {"$in": front}, "state": "WAITING", "claim": None}
        front = [d["_id"] for d in database.calculations.find(below, {"_id": 1}) if d["_id"] not in stopped]
        stopped.update(front)
    waiting = database.calculations.count_documents({"state": "WAITING", "claim": None}) - len(stopped)
    return Left(running, in_folders, ready, len(stopped), max(0, waiting))


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
        "folder": folder_of(claim),
        "until": claim["expires"].isoformat() if claim and folder_of(claim) else None,
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
        begins_so = {"_id": {"$gte": calculation, "$lt": calculation + "g"}}
        matches = list(database.calculations.find(begins_so).limit(_MOST_NAMED + 1))
    if len(matches) > 1:
        more = ", ..." if len(matches) > _MOST_NAMED else ""
        named = ", ".join(d["_id"][: len(calculation) + 6] for d in matches[:_MOST_NAMED])
        raise BadInputError(f"{calculation!r} fits several calculations: {named}{more}; give more digits of one")
    if not matches:
        known = [d["_id"] for d in database.calculations.find({}, {"_id": 1}).limit(_MOST_COMPARED)]
        raise UnknownCalculationError(calculation, get_close_matches(calculation, known, n=3, cutoff=0.8))
    return matches[0]
