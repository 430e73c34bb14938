"""How a calculation comes to another state: ours first, FireWorks' books after it.

Between the two writes a document says that FireWorks is ``behind``; whoever finds it so brings the books to our state.
While a firework is rewritten its calculation is held by a claim, so that nobody begins to compute it, and the books of
one that is being computed are never touched.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import WriteConcern

from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.retries import counts_as_death, failure_outcome, may_try_again

_HOLD_SECONDS = 60.0
_IDLE = frozenset({"WAITING", "READY", "PAUSED", "DEFUSED"})


class Settling:
    """Changes of state, each safe to be repeated."""

    def __init__(self, database: Database, books: Books) -> None:
        self._db = database
        self._books = books
        self._attempts = database.attempts.with_options(write_concern=WriteConcern(w=1))  # logs, not the truth

    def settle(self, query: Document, state: str, **fields: Any) -> bool:
        """Give the one calculation that fits a query a state and no claim; False when none fits."""
        token = uuid.uuid4().hex
        update = {"state": state, "progress": None, "behind": True, **fields}
        held = {key: {"$literal": value} for key, value in update.items()} | {"claim": self._hold(token)}
        found = self._db.calculations.find_one_and_update(query, [{"$set": held}], projection={"firework": 1})
        if found is None:
            return False
        self._rewrite(found["_id"], found["firework"], state, token)
        return True

    def _hold(self, token: str) -> Document:
        """A claim on a calculation whose books are rewritten: nobody takes it meanwhile."""
        expires = {"$add": ["$$NOW", int(_HOLD_SECONDS * 1000)]}
        owner = {"$literal": Owner.this_process().model_dump()}
        return {"token": token, "owner": owner, "since": "$$NOW", "expires": expires}

    def _rewrite(self, calculation: str, firework: int, state: str, token: str) -> None:
        """Bring FireWorks to the state of a calculation that this process holds, and let go of it."""
        mine = {"_id": calculation, "claim.token": token}
        done: Document = {"claim": None}
        try:
            self._books.rewrite(firework, state)
            done["behind"] = False
        finally:
            self._db.calculations.update_one(mine, {"$set": done})

    def finish(self, query: Document, behind: bool) -> bool:
        """Mark a calculation that has a record as done and its children ready; False when the query fits none."""
        children = {"parent": query["_id"], "state": "WAITING"}
        ready = {"state": "READY"} | ({"behind": True} if behind else {})
        self._db.calculations.update_many(children, {"$set": ready})  # their parent has its record
        done = {"state": "COMPLETED", "claim": None, "failure": None, "progress": None, "behind": behind}
        return self._db.calculations.update_one(query, {"$set": done}).matched_count == 1

    def end_try(self, query: Document, document: Document, outcome: str, message: str, **details: Any) -> str | None:
        """End a try without a result; returns the state that follows, or None when the query fits no more.

        Parameters
        ----------
        query
            Of the one calculation, with what must still hold.
        document
            The calculation as it is, with ``claim``, ``attempts``, ``deaths`` and ``progress``.
        outcome, message
            Of the try.
        **details
            For its log.
        """
        deaths = list(document["deaths"])
        died = counts_as_death(outcome, moved_on=bool(document["progress"]))
        if died:
            deaths.append(outcome)
        fields: Document = {"deaths": deaths}
        state = self.idle_state(document["_id"])
        if died and not may_try_again(deaths):
            state = "FIZZLED"
            tries = f"{len(deaths)} tries died ({', '.join(deaths)}), the last: " if len(deaths) > 1 else ""
            fields["failure"] = failure_of(
                failure_outcome(outcome), tries + message, document["attempts"], details.get("directory")
            )
        if not self.settle(query, state, **fields):
            return None
        self.log(document, outcome, message, **details)
        return state

    def idle_state(self, calculation: str) -> str:
        """READY, or WAITING where the parent has no record."""
        document = self._db.calculations.find_one({"_id": calculation}, {"parent": 1})
        parent = document["parent"] if document else None
        return "WAITING" if parent is not None and not self._db.has_record(parent) else "READY"

    def catch_up(self, documents: Sequence[Document]) -> None:
        """Bring FireWorks to our states of calculations (``_id``, ``state``), of those that nobody holds."""
        for some in pieces(documents):
            theirs = self._books.states(d["_id"] for d in some)
            plain: dict[str, list[int]] = {}
            unnoted: dict[str, list[int]] = {}
            agreed: dict[str, list[str]] = {}
            for document in some:
                ours, firework = document["state"], theirs.get(document["_id"])
                if firework is None:
                    continue
                if firework.state != ours and not (ours in _IDLE and firework.state in _IDLE):
                    self._catch_up_one(document["_id"], firework.number, ours)
                    continue
                agreed.setdefault(ours, []).append(document["_id"])
                if firework.state != ours:
                    plain.setdefault(ours, []).append(firework.number)
                elif firework.noted != ours:
                    unnoted.setdefault(ours, []).append(firework.number)
            for state, numbers in plain.items():
                self._books.set_states(numbers, state)
            for state, numbers in unnoted.items():
                self._books.note(numbers, state)
            for state, names in agreed.items():
                settled = {"_id": {"$in": names}, "state": state, "claim": None, "behind": True}
                self._db.calculations.update_many(settled, {"$set": {"behind": False}})

    def _catch_up_one(self, calculation: str, firework: int, state: str) -> None:
        """Rewrite the books of a calculation, held so that nobody claims it, and claims are never rewritten."""
        token = uuid.uuid4().hex
        free = {"_id": calculation, "state": state, "claim": None}
        held = {"claim": self._hold(token), "behind": True}
        if self._db.calculations.update_one(free, [{"$set": held}]).matched_count:
            self._rewrite(calculation, firework, state, token)

    def log(self, document: Document, outcome: str, message: str, **details: Any) -> None:
        """Keep what became of a try."""
        claim = document["claim"] or {}
        entry = {
            "schema_version": SCHEMA_VERSION,
            "calculation": document["_id"],
            "attempt": document["attempts"],
            "outcome": outcome,
            "message": message,
            "directory": details.get("directory"),
            "host": (claim.get("owner") or {}).get("host"),
            "job": claim.get("job"),
            "peak_memory_mb": details.get("peak_memory_mb"),
            "ended": datetime.now(UTC),
        }
        key = f"{document['_id']}-{document['attempts']:03d}"
        self._attempts.update_one({"_id": key}, {"$setOnInsert": entry}, upsert=True)


def failure_of(outcome: str, message: str, attempt: int, directory: str | None) -> Document:
    """What a calculation says of its failure."""
    return {"outcome": outcome, "message": message, "attempt": attempt, "directory": directory or ""}
