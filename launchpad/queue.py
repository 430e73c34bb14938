"""What is wanted, who works on it, and how it ended.

FireWorks decides what is ready next. The ``calculations`` collection is the truth about what is claimed, done and
failed: a calculation is claimed there, by one atomic update, before FireWorks hears of it; after that FireWorks'
state is a cache which `repair` rewrites from ours, never the reverse.
"""

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import ReturnDocument

from alkaflow.calculations import CalculationInput, Position
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.launchpad.locks import lock
from alkaflow.launchpad.owner import Owner, owner_of
from alkaflow.plans import Plan, SingleRun
from alkaflow.records import Record, formula_of

_LOCK = "the queue"
_LOCK_LEASE = 60.0
_LOCK_WAIT = 60.0


@dataclass(frozen=True)
class Claim:
    """The right to compute one calculation, good while ``token`` stands in its document."""

    id: str
    token: str
    attempt: int
    calculation: CalculationInput
    positions: tuple[Position, ...]
    title: str
    launch: int | None


@dataclass(frozen=True)
class Submission:
    """What a submission changed: ids that are new, done already, queued already, and failed ones to be tried again."""

    new: list[str]
    done: list[str]
    queued: list[str]
    again: list[str]


class Queue:
    """The operations on the queue of a database."""

    def __init__(self, database: Database, lease_seconds: float = 120.0) -> None:
        self._db = database
        self._lease = lease_seconds
        self._books = Books(database)

    # --- submitting -------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan | SingleRun) -> Submission:
        """Queue what a plan needs and is neither done nor queued; failed calculations are queued again."""
        ids = list(plan.calculations)
        with self._exclusively():
            states = self._states(ids)
            new = [i for i in ids if i not in states]
            again = [i for i in ids if states.get(i) == "FIZZLED"]
            for calculation in new:
                self._insert(plan.calculations[calculation], plan.titles[calculation])
            if plan.study is not None:
                self._db.calculations.update_many({"_id": {"$in": ids}}, {"$addToSet": {"studies": plan.study.name}})
            for calculation in again:
                self._set_free(calculation)
            self._books.enqueue_missing(ids)
            for calculation in again:
                self._books.rerun(calculation)
        done = [i for i in ids if states.get(i) == "COMPLETED"]
        queued = [i for i in ids if i not in new and i not in again and i not in done]
        return Submission(new, done, queued, again)

    def _insert(self, given: CalculationInput, title: str) -> None:
        document = {
            "_id": given.id,
            "schema_version": SCHEMA_VERSION,
            "input": json.loads(given.model_dump_json()),
            "title": title,
            "studies": [],
            "step": given.step,
            "level": str(given.level),
            "formula": formula_of(given.symbols),
            "parent": given.parent,
            "state": "WAITING" if given.parent and not self._db.has_record(given.parent) else "READY",
            "claim": None,
            "attempts": 0,
            "failure": None,
            "progress": None,
            "created": datetime.now(UTC),
        }
        self._db.calculations.update_one({"_id": given.id}, {"$setOnInsert": document}, upsert=True)

    # --- claiming ---------------------------------------------------------------------------------------------------

    def claim(self, only: Collection[str] | None = None) -> Claim | None:
        """Claim the next calculation that FireWorks says is ready; None when there is none.

        Parameters
        ----------
        only
            Ids to choose from; all by default.
        """
        for calculation, firework in self._books.ready(only):
            claim = self._take(calculation, firework)
            if claim is not None:
                return claim
        return None

    def claim_one(self, calculation: str) -> Claim | None:
        """Claim a calculation whose firework somebody else has launched already."""
        return self._take(calculation, None)

    def _take(self, calculation: str, firework: int | None) -> Claim | None:
        token = uuid.uuid4().hex
        claim = {
            "token": token,
            "owner": {"$literal": Owner.this_process().model_dump()},
            "since": "$$NOW",
            "expires": self._expiry(),
        }
        document = self._db.calculations.find_one_and_update(
            {"_id": calculation, "claim": None, "state": {"$in": ["READY", "WAITING"]}},
            [
                {
                    "$set": {
                        "state": "RUNNING",
                        "claim": claim,
                        "progress": None,
                        "attempts": {"$add": ["$attempts", 1]},
                    }
                }
            ],
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return None
        given = CalculationInput.model_validate(document["input"])
        positions = given.positions
        if positions is None:
            parent = self._db.record(str(given.parent))
            if parent is None:
                self._set_free(calculation)
                return None
            positions = given.taken_from(parent.positions_angstrom)
        launch = None
        if firework is not None:
            launch = self._books.check_out(firework, Owner.this_process().host)
            if launch is None:
                self._set_free(calculation)
                return None
        return Claim(calculation, token, int(document["attempts"]), given, positions, document["title"], launch)

    def heartbeat(self, claim: Claim, progress: dict[str, Any] | None) -> bool:
        """Renew a claim and pass on progress; False when the claim is lost."""
        fields: Document = {"claim.expires": self._expiry()}
        if progress is not None:
            fields["progress"] = {"$literal": progress}
        return self._db.calculations.update_one(self._mine(claim), [{"$set": fields}]).matched_count == 1

    # --- ending -----------------------------------------------------------------------------------------------------

    def complete(self, claim: Claim, record: Record) -> bool:
        """Store a record and end its claim; False when the claim was lost, and then nothing is stored."""
        if self._db.calculations.find_one(self._mine(claim), {"_id": 1}) is None:
            return False
        self._db.insert_record(record)
        self._books.end(claim.launch, "COMPLETED")
        self._finish(self._mine(claim))
        return True

    def fail(self, claim: Claim, outcome: str, message: str, directory: str) -> bool:
        """End a claim without a record; the failure is kept with the calculation and its attempts."""
        failure = {"outcome": outcome, "message": message, "attempt": claim.attempt, "directory": directory}
        ended = self._db.calculations.update_one(
            self._mine(claim), {"$set": {"state": "FIZZLED", "claim": None, "failure": failure}}
        )
        if ended.matched_count == 0:
            return False
        self._log_attempt(claim.id, claim.attempt, outcome, message)
        self._books.end(claim.launch, "FIZZLED")
        return True

    def release(self, claim: Claim, reason: str) -> None:
        """Give a claim back: the calculation is ready again at once."""
        freed = self._db.calculations.update_one(self._mine(claim), {"$set": {"state": "READY", "claim": None}})
        if freed.matched_count:
            self._log_attempt(claim.id, claim.attempt, "released", reason)
            self._books.rerun(claim.id)

    def _finish(self, query: Document) -> None:
        """Mark a calculation done, if the query still fits it, and its children ready."""
        done = {"state": "COMPLETED", "claim": None, "failure": None}
        if self._db.calculations.update_one(query, {"$set": done}).matched_count:
            children = {"parent": query["_id"], "state": "WAITING"}
            self._db.calculations.update_many(children, {"$set": {"state": "READY"}})

    def _log_attempt(self, calculation: str, attempt: int, outcome: str, message: str) -> None:
        document = {"calculation": calculation, "attempt": attempt, "outcome": outcome, "message": message,
                    "ended": datetime.now(UTC)}  # fmt: skip
        self._db.attempts.update_one({"_id": f"{calculation}-{attempt:03d}"}, {"$set": document}, upsert=True)

    # --- repairing --------------------------------------------------------------------------------------------------

    def repair(self) -> list[str]:
        """Free what dead workers held and make FireWorks agree; returns the ids that were freed.

        A worker on this host is dead when its process is gone; one that cannot be looked at, when its lease expired.
        """
        with self._exclusively():
            freed = self._free_dead_claims()
            self._books.unlock_idle_workflows()
            idle = [
                d["_id"] for d in self._db.calculations.find({"state": {"$nin": ["COMPLETED", "RUNNING"]}}, {"_id": 1})
            ]
            for document in self._db.records.find({"_id": {"$in": idle}}, {"_id": 1}):
                # its worker died between the record and the state
                self._finish({"_id": document["_id"], "claim": None})
            for document in self._db.calculations.find({"state": "WAITING", "claim": None}, {"parent": 1}):
                if self._db.has_record(document["parent"]):
                    self._db.calculations.update_one(
                        {"_id": document["_id"], "state": "WAITING"}, {"$set": {"state": "READY"}}
                    )
            self._books.enqueue_missing(idle)
            self._align_fireworks()
        return freed

    def _free_dead_claims(self) -> list[str]:
        freed = []
        for document in self._db.calculations.find({"claim": {"$ne": None}}):
            claim = document["claim"]
            owner = owner_of(claim)
            alive = owner.is_alive() if owner else False
            if alive:
                continue
            query: Document = {"_id": document["_id"], "claim.token": claim["token"]}
            if alive is None:
                query["$expr"] = {"$lt": ["$claim.expires", "$$NOW"]}
            state = "READY" if document["state"] == "RUNNING" else document["state"]
            update = {"$set": {"state": state, "claim": None, "progress": None}}
            if self._db.calculations.update_one(query, update).modified_count:
                self._log_attempt(document["_id"], document["attempts"], "lost", f"{owner} is gone")
                freed.append(document["_id"])
        return freed

    def _align_fireworks(self) -> None:
        """Bring every firework to the state of its calculation."""
        ours = {d["_id"]: d["state"] for d in self._db.calculations.find({"state": {"$ne": "RUNNING"}}, {"state": 1})}
        for calculation, firework in self._books.out_of_step(ours):
            self._align(calculation, firework)

    def _align(self, calculation: str, firework: int) -> None:
        """Bring one firework to the state of its calculation, held meanwhile so that nobody claims it."""
        token = uuid.uuid4().hex
        hold = {"token": token, "owner": {"$literal": Owner.this_process().model_dump()}, "expires": self._expiry()}
        free = {"_id": calculation, "claim": None, "state": {"$ne": "RUNNING"}}
        held = self._db.calculations.find_one_and_update(free, [{"$set": {"claim": hold}}])
        if held is None:
            return
        try:
            self._books.rewrite(firework, held["state"])
        finally:
            mine = {"_id": calculation, "claim.token": token}
            self._db.calculations.update_one(mine, {"$set": {"claim": None}})

    # --- looking ----------------------------------------------------------------------------------------------------

    def unfinished(self, ids: Collection[str]) -> list[Document]:
        """Documents of the ids that are neither done nor failed."""
        return list(
            self._db.calculations.find({"_id": {"$in": list(ids)}, "state": {"$nin": ["COMPLETED", "FIZZLED"]}})
        )

    def claimable(self, only: Collection[str] | None = None) -> bool:
        """Whether any calculation, or any of the ids, could be claimed now."""
        names = [calculation for calculation, _ in self._books.ready(only)]
        free = {"_id": {"$in": names}, "claim": None, "state": {"$in": ["READY", "WAITING"]}}
        return self._db.calculations.find_one(free, {"_id": 1}) is not None

    def problems(self, ids: Collection[str]) -> dict[str, str]:
        """Sentences on the ids that failed."""
        failed = self._db.calculations.find({"_id": {"$in": list(ids)}, "state": "FIZZLED"}, {"failure": 1})
        return {d["_id"]: f"{d['failure']['outcome']}: {d['failure']['message']}" for d in failed if d["failure"]}

    def _states(self, ids: list[str]) -> dict[str, str]:
        return {d["_id"]: d["state"] for d in self._db.calculations.find({"_id": {"$in": ids}}, {"state": 1})}

    def _set_free(self, calculation: str) -> None:
        """Ready again, or waiting where the parent has no record yet."""
        document = self._db.calculations.find_one({"_id": calculation}, {"parent": 1})
        parent = document["parent"] if document else None
        waits = parent is not None and not self._db.has_record(parent)
        update = {"state": "WAITING" if waits else "READY", "claim": None, "failure": None}
        self._db.calculations.update_one({"_id": calculation}, {"$set": update})

    def _mine(self, claim: Claim) -> Document:
        return {"_id": claim.id, "claim.token": claim.token}

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", int(self._lease * 1000)]}

    def _exclusively(self) -> Any:
        return lock(self._db, _LOCK, _LOCK_LEASE, _LOCK_WAIT)
