"""How a calculation comes to another state: ours first, FireWorks' books after it.

Between the two writes a document says that FireWorks is ``behind``; whoever finds it so brings the books to our state.
While a firework is rewritten its calculation is held by a claim, so that nobody begins to compute it, and the books of
one that is being computed are never touched.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.advance import Marks, left_marks, moved_on, reported_marks
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.launchpad.owner import Owner, drop, keep
from alkaflow.launchpad.retries import TOO_SLOW, deaths_after, failure_outcome, may_try_again, trusts_reports

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
        update = {"state": state, "progress": None, "behind": True, **fields}
        with self._hold() as (token, claim):
            held = {key: {"$literal": value} for key, value in update.items()} | {"claim": claim}
            found = self._db.calculations.find_one_and_update(query, [{"$set": held}], projection={"_id": 1})
            if found is None:
                return False
            self._rewrite(found["_id"], state, token)
        return True

    @contextmanager
    def _hold(self) -> Iterator[tuple[str, Document]]:
        """A claim, and its token, on a calculation whose books are rewritten: nobody takes it meanwhile."""
        token = keep(uuid.uuid4().hex)
        expires = {"$add": ["$$NOW", int(_HOLD_SECONDS * 1000)]}
        owner = {"$literal": Owner.this_process().model_dump()}
        try:
            yield token, {"token": token, "owner": owner, "since": "$$NOW", "expires": expires}
        finally:
            drop(token)

    def _rewrite(self, calculation: str, state: str, token: str) -> None:
        """Bring FireWorks to the state of a calculation that this process holds, and let go of it."""
        told = False
        try:
            told = self._books.rewrite(calculation, state)
        except PyMongoError:
            raise
        except Exception:  # noqa: BLE001  (FireWorks raises what it likes; the calculation stays marked)
            told = False
        finally:
            mine = {"_id": calculation, "claim.token": token}
            done = {"claim": None, "behind": not told}
            if not self._db.calculations.update_one(mine, {"$set": done}).matched_count:
                # somebody has changed it meanwhile, and FireWorks may have heard of both in any order
                self._db.calculations.update_one({"_id": calculation}, {"$set": {"behind": True}})

    def finish(self, query: Document, behind: bool) -> bool:
        """Mark a calculation that has a record as done and its children ready; False when the query fits none."""
        children = {"parent": query["_id"], "state": "WAITING"}
        ready = {"state": "READY"} | ({"behind": True} if behind else {})
        self._db.calculations.update_many(children, {"$set": ready})  # their parent has its record
        done = {"state": "COMPLETED", "claim": None, "failure": None, "progress": None, "behind": behind}
        return self._db.calculations.update_one(query, {"$set": done}).matched_count == 1

    def end_try(
        self,
        query: Document,
        document: Document,
        outcome: str,
        message: str,
        reached: Marks | None = None,
        **details: Any,
    ) -> str | None:
        """End a try without a result; returns the state that follows, or None when the query fits no more.

        Parameters
        ----------
        query
            Of the one calculation, with what must still hold.
        document
            The calculation as it is, with ``claim``, ``attempts``, ``deaths`` and ``reached``.
        outcome, message
            Of the try.
        reached
            How far the calculation is now: further than ever, and the death does not count, see `deaths_after`.
            None where nobody has looked.
        **details
            For its log.
        """
        if self._db.has_record(document["_id"]):  # it ended well, and only the news of it was cut short
            return "COMPLETED" if self.finish(query, behind=True) else None
        before, deaths = document.get("reached") or {}, list(document["deaths"])
        further = moved_on(before, reached or {})
        deaths_now = deaths_after(deaths, outcome, further)
        fields: Document = {"deaths": deaths_now}
        if further:
            fields["reached"] = before | (reached or {})
        state = self.idle_state(document["_id"])
        died, deaths = len(deaths_now) > len(deaths), deaths_now
        if died and not may_try_again(deaths):
            state = "FIZZLED"
            fields["failure"] = _failure_after(deaths, message, document["attempts"], details.get("directory"))
        if not self.settle(query, state, **fields):
            return None
        self.log(document, outcome, message, **details)
        return state

    def left_by(self, document: Document, outcome: str) -> Marks:
        """How far a calculation is that a worker had which is dead: by its checkpoints, else by its last report."""
        found = self._db.calculations.find_one({"_id": document["_id"]}, {"input": 1})
        seen = left_marks(document["claim"], CalculationInput.model_validate(found["input"])) if found else {}
        return seen or (reported_marks(document["progress"]) if trusts_reports(outcome) else {})

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
                    self._catch_up_one(document["_id"], ours)
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
                self._look_again(names, state)

    def _look_again(self, names: Sequence[str], state: str) -> None:
        """Mark what has changed while FireWorks was told an older state, or the older state of a parent."""
        changed = {"_id": {"$in": names}, "state": {"$ne": state}}
        self._db.calculations.update_many(changed, {"$set": {"behind": True}})
        if state != "WAITING":
            return
        waiting = list(self._db.calculations.find({"_id": {"$in": names}, "state": "WAITING"}, {"parent": 1}))
        parents = {"_id": {"$in": [d["parent"] for d in waiting]}}
        done = {d["_id"] for d in self._db.records.find(parents, {"_id": 1})}
        ready = {"_id": {"$in": [d["_id"] for d in waiting if d["parent"] in done]}, "state": "WAITING"}
        self._db.calculations.update_many(ready, {"$set": {"state": "READY", "behind": True}})

    def _catch_up_one(self, calculation: str, state: str) -> None:
        """Rewrite the books of a calculation, held so that nobody claims it, and claims are never rewritten."""
        free = {"_id": calculation, "state": state, "claim": None}
        with self._hold() as (token, claim):
            held = {"claim": claim, "behind": True}
            if self._db.calculations.update_one(free, [{"$set": held}]).matched_count:
                self._rewrite(calculation, state, token)

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
            "host": details.get("host", (claim.get("owner") or {}).get("host")),
            "job": details.get("job", claim.get("job")),
            "peak_memory_mb": details.get("peak_memory_mb"),
            "ended": datetime.now(UTC),
        }
        key = f"{document['_id']}-{document['attempts']:03d}"
        self._attempts.update_one({"_id": key}, {"$setOnInsert": entry}, upsert=True)


def _failure_after(deaths: Sequence[str], message: str, attempt: int, directory: str | None) -> Document:
    """What a calculation says that gets no other try, as too many died."""
    tries = f"{len(deaths)} tries died ({', '.join(deaths)}), the last: " if len(deaths) > 1 else ""
    outcome = failure_outcome(deaths[-1])
    slow = f"; it got no further in that time: {TOO_SLOW}" if outcome == "out_of_time" else ""
    return failure_of(outcome, f"{tries}{message}{slow}", attempt, directory)


def failure_of(outcome: str, message: str, attempt: int, directory: str | None) -> Document:
    """What a calculation says of its failure."""
    return {"outcome": outcome, "message": message, "attempt": attempt, "directory": directory or ""}
