"""What a person says to the queue: try again, stop, wait, go on, first this."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.settling import Settling

_BATCH = 1000


@dataclass
class Changed:
    """Ids that were changed, and why others were not."""

    ids: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)


class Control:
    """Changes to the calculations that fit a query."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._db = database
        self._queue = queue
        self._books = Books(database)
        self._settling = Settling(database, self._books)

    def retry(self, query: Document) -> Changed:
        """Queue what failed or was cancelled again; its failed tries so far do not count."""
        return self._move(query, ("FIZZLED", "DEFUSED"), None, failure=None, deaths=[])

    def cancel(self, query: Document) -> Changed:
        """Stop what runs, waits or is paused; a worker notices within its next sign of life."""
        return self._move(query, ("READY", "WAITING", "PAUSED", "FIZZLED", "RUNNING"), "DEFUSED")

    def pause(self, query: Document) -> Changed:
        """Let what has not begun wait until it is resumed."""
        return self._move(query, ("READY", "WAITING"), "PAUSED")

    def resume(self, query: Document) -> Changed:
        """Undo a pause."""
        return self._move(query, ("PAUSED",), None)

    def set_priority(self, query: Document, priority: int) -> Changed:
        """Let calculations come before others (higher), or after."""
        changed = Changed(left=self._left(query, ("READY", "WAITING", "PAUSED", "FIZZLED", "DEFUSED", "RUNNING")))
        found = self._db.calculations.find(query | {"state": {"$ne": "COMPLETED"}}, {"firework": 1})
        documents = list(found)
        for begin in range(0, len(documents), _BATCH):
            some = documents[begin : begin + _BATCH]
            ids = [d["_id"] for d in some]
            self._db.calculations.update_many({"_id": {"$in": ids}}, {"$set": {"priority": priority}})
            self._books.set_priority(ids, priority)
            changed.ids += ids
        return changed

    def _move(self, query: Document, states: Sequence[str], to: str | None, **fields: object) -> Changed:
        """Move from some states to another one, or to READY and WAITING as parents have it."""
        changed = Changed(left=self._left(query, states))
        wanted = query | {"state": {"$in": list(states)}}
        documents = list(self._db.calculations.find(wanted, {"state": 1, "parent": 1, "claim": 1}))
        for begin in range(0, len(documents), _BATCH):
            some = documents[begin : begin + _BATCH]
            parents = [d["parent"] for d in some if d["parent"]]
            done = {d["_id"] for d in self._db.records.find({"_id": {"$in": parents}}, {"_id": 1})}
            groups: dict[str, list[str]] = {}
            for document in some:
                ready = document["parent"] is None or document["parent"] in done
                groups.setdefault(to or ("READY" if ready else "WAITING"), []).append(document["_id"])
            for state, ids in groups.items():
                # not those whose books are being rewritten; a job folder holds also what waits
                free = [{"claim": None}, {"state": "RUNNING"}, {"claim.job": {"$regex": "^folder:"}}]
                still = {"_id": {"$in": ids}, "state": {"$in": list(states)}, "$or": free}
                update = {"state": state, "claim": None, "progress": None, "behind": True, **fields}
                self._db.calculations.update_many(still, {"$set": update})
                moved = self._db.calculations.find({"_id": {"$in": ids}, "state": state, "behind": True}, {"state": 1})
                settled = list(moved)
                changed.ids += [d["_id"] for d in settled]
                self._settling.catch_up(settled)
        return changed

    def _left(self, query: Document, states: Sequence[str]) -> dict[str, int]:
        other = self._db.calculations.aggregate(
            [{"$match": query | {"state": {"$nin": list(states)}}}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        )
        return {d["_id"]: int(d["n"]) for d in other}
