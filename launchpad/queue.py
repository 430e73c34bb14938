"""What is wanted, who works on it, and how it ended.

FireWorks decides what is ready next. The ``calculations`` collection is the truth about what is claimed, done and
failed: a calculation is claimed there, by one atomic update, before FireWorks hears of it; after that FireWorks'
state is a cache which `repair` rewrites from ours, never the reverse.
"""

import json
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fireworks import Firework, FWAction, FWorker, Workflow
from pymongo import ReturnDocument

from alkaflow.calculations import CalculationInput, Position
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.launchpad.firetask import firework_for
from alkaflow.launchpad.locks import lock
from alkaflow.launchpad.owner import Owner, owner_of
from alkaflow.plans import Plan
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
        self._worker = FWorker(name="alkaflow")

    # --- submitting -------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan) -> Submission:
        """Queue what a plan needs and is neither done nor queued; failed calculations are queued again."""
        ids = list(plan.calculations)
        with self._exclusively():
            states = self._states(ids)
            new = [i for i in ids if i not in states]
            again = [i for i in ids if states.get(i) == "FIZZLED"]
            for calculation in new:
                self._insert(plan.calculations[calculation], plan.titles[calculation])
            self._db.calculations.update_many({"_id": {"$in": ids}}, {"$addToSet": {"studies": plan.study.name}})
            for calculation in again:
                self._set_free(calculation)
            self._enqueue_missing(ids)
            for calculation in again:
                self._rerun_firework(calculation)
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
            "state": "WAITING" if given.parent and not self._has_record(given.parent) else "READY",
            "claim": None,
            "attempts": 0,
            "failure": None,
            "progress": None,
            "created": datetime.now(UTC),
        }
        self._db.calculations.update_one({"_id": given.id}, {"$setOnInsert": document}, upsert=True)

    def _enqueue_missing(self, ids: Iterable[str]) -> None:
        """Give every unfinished calculation its firework: parents and children in one small workflow."""
        order = list(ids)
        found = self._db.calculations.find({"_id": {"$in": order}, "state": {"$ne": "COMPLETED"}})
        documents = {d["_id"]: d for d in found}
        wanted = {i: documents[i] for i in order if i in documents}
        self._drop_orphans(list(wanted))
        known = {
            d["name"]: d["fw_id"]
            for d in self._fireworks.find({"name": {"$in": list(wanted)}}, {"name": 1, "fw_id": 1})
        }
        missing = {i: d for i, d in wanted.items() if i not in known}
        roots = [i for i, d in missing.items() if d["parent"] not in missing]
        for root in roots:
            chain = {root: firework_for(root)}
            self._add_children(root, missing, chain)
            workflow = Workflow(list(chain.values()), name=missing[root]["title"])
            parent = self._unfinished_firework(missing[root]["parent"])
            if parent is None:
                self._db.fireworks.add_wf(workflow)
            else:
                self._db.fireworks.append_wf(workflow, [parent])

    def _drop_orphans(self, names: list[str]) -> None:
        """Remove fireworks without a workflow: a submission was killed between FireWorks' two inserts."""
        numbers = [d["fw_id"] for d in self._fireworks.find({"name": {"$in": names}}, {"fw_id": 1})]
        workflows = self._db.fireworks.workflows.find({"nodes": {"$in": numbers}}, {"nodes": 1})
        housed = {node for workflow in workflows for node in workflow["nodes"]}
        orphans = [number for number in numbers if number not in housed]
        if orphans:
            self._fireworks.delete_many({"fw_id": {"$in": orphans}})

    def _add_children(self, parent: str, missing: dict[str, Document], chain: dict[str, Firework]) -> None:
        for child, document in missing.items():
            if document["parent"] == parent:
                chain[child] = firework_for(child, parents=[chain[parent]])
                self._add_children(child, missing, chain)

    def _unfinished_firework(self, parent: str | None) -> int | None:
        """The firework to wait for; none where there is no parent or it is done."""
        if parent is None or self._has_record(parent):
            return None
        found = self._fireworks.find_one({"name": parent}, {"fw_id": 1})
        return int(found["fw_id"]) if found else None

    # --- claiming ---------------------------------------------------------------------------------------------------

    def claim(self, only: Collection[str] | None = None) -> Claim | None:
        """Claim the next calculation that FireWorks says is ready; None when there is none.

        Parameters
        ----------
        only
            Ids to choose from; all by default.
        """
        query: Document = {"state": "READY"}
        if only is not None:
            query["name"] = {"$in": list(only)}
        for firework in self._fireworks.find(query, {"name": 1, "fw_id": 1}).sort("fw_id", 1):
            claim = self._take(firework["name"], int(firework["fw_id"]))
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
            positions = tuple(parent.positions_angstrom)
        launch = None
        if firework is not None:
            launched, launch = self._db.fireworks.checkout_fw(
                self._worker, "", fw_id=firework, host=Owner.this_process().host
            )
            if launched is None:
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
        self._end_launch(claim, "COMPLETED")
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
        self._end_launch(claim, "FIZZLED")
        return True

    def release(self, claim: Claim, reason: str) -> None:
        """Give a claim back: the calculation is ready again at once."""
        freed = self._db.calculations.update_one(self._mine(claim), {"$set": {"state": "READY", "claim": None}})
        if freed.matched_count:
            self._log_attempt(claim.id, claim.attempt, "released", reason)
            self._rerun_firework(claim.id)

    def _finish(self, query: Document) -> None:
        """Mark a calculation done, if the query still fits it, and its children ready."""
        done = {"state": "COMPLETED", "claim": None, "failure": None}
        if self._db.calculations.update_one(query, {"$set": done}).matched_count:
            children = {"parent": query["_id"], "state": "WAITING"}
            self._db.calculations.update_many(children, {"$set": {"state": "READY"}})

    def _end_launch(self, claim: Claim, state: str) -> None:
        if claim.launch is not None:
            self._db.fireworks.complete_launch(claim.launch, FWAction(), state)

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
            self._unlock_workflows()
            idle = [
                d["_id"] for d in self._db.calculations.find({"state": {"$nin": ["COMPLETED", "RUNNING"]}}, {"_id": 1})
            ]
            for document in self._db.records.find({"_id": {"$in": idle}}, {"_id": 1}):
                # its worker died between the record and the state
                self._finish({"_id": document["_id"], "claim": None})
            for document in self._db.calculations.find({"state": "WAITING", "claim": None}, {"parent": 1}):
                if self._has_record(document["parent"]):
                    self._db.calculations.update_one(
                        {"_id": document["_id"], "state": "WAITING"}, {"$set": {"state": "READY"}}
                    )
            self._enqueue_missing(idle)
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

    def _unlock_workflows(self) -> None:
        """Remove FireWorks' locks, which have no owner, from workflows that nobody works on."""
        for workflow in self._db.fireworks.workflows.find({"locked": True}, {"nodes": 1}):
            names = [d["name"] for d in self._fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"name": 1})]
            if not self._db.calculations.find_one({"_id": {"$in": names}, "state": "RUNNING"}, {"_id": 1}):
                self._db.fireworks.workflows.update_one({"_id": workflow["_id"]}, {"$unset": {"locked": True}})

    def _align_fireworks(self) -> None:
        """Bring every firework to the state of its calculation."""
        ours = {d["_id"]: d["state"] for d in self._db.calculations.find({"state": {"$ne": "RUNNING"}}, {"state": 1})}
        # COMPLETED on both sides is most of an old database, and settled.
        open_names = [name for name, state in ours.items() if state != "COMPLETED"]
        query = {"$or": [{"state": {"$ne": "COMPLETED"}}, {"name": {"$in": open_names}}]}
        for firework in self._fireworks.find(query, {"name": 1, "state": 1, "fw_id": 1}):
            if firework["name"] in ours and firework["state"] != ours[firework["name"]]:
                self._align(firework["name"], int(firework["fw_id"]))

    def _align(self, calculation: str, fw_id: int) -> None:
        """Bring one firework to the state of its calculation, held meanwhile so that nobody claims it."""
        token = uuid.uuid4().hex
        hold = {"token": token, "owner": {"$literal": Owner.this_process().model_dump()}, "expires": self._expiry()}
        free = {"_id": calculation, "claim": None, "state": {"$ne": "RUNNING"}}
        held = self._db.calculations.find_one_and_update(free, [{"$set": {"claim": hold}}])
        if held is None:
            return
        try:
            ours, theirs = held["state"], self._firework_state(fw_id)
            if theirs != ours and theirs not in ("READY", "WAITING"):
                self._db.fireworks.rerun_fw(fw_id)  # archives its launches
            if ours == "COMPLETED" and theirs != "COMPLETED":
                self._set_firework_state(fw_id, "READY")
                _, launch = self._db.fireworks.checkout_fw(self._worker, "", fw_id=fw_id)
                self._db.fireworks.complete_launch(launch, FWAction(), "COMPLETED")
            elif self._firework_state(fw_id) != ours:
                self._set_firework_state(fw_id, ours)
        finally:
            mine = {"_id": calculation, "claim.token": token}
            self._db.calculations.update_one(mine, {"$set": {"claim": None}})

    def _firework_state(self, fw_id: int) -> str:
        return str(self._fireworks.find_one({"fw_id": fw_id}, {"state": 1})["state"])

    def _set_firework_state(self, fw_id: int, state: str) -> None:
        self._fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": state}})
        self._db.fireworks.workflows.update_one({"nodes": fw_id}, {"$set": {f"fw_states.{fw_id}": state}})

    def _rerun_firework(self, calculation: str) -> None:
        firework = self._fireworks.find_one({"name": calculation}, {"fw_id": 1, "state": 1})
        if firework and firework["state"] not in ("READY", "WAITING"):
            self._db.fireworks.rerun_fw(int(firework["fw_id"]))

    # --- looking ----------------------------------------------------------------------------------------------------

    def unfinished(self, ids: Collection[str]) -> list[Document]:
        """Documents of the ids that are neither done nor failed."""
        return list(
            self._db.calculations.find({"_id": {"$in": list(ids)}, "state": {"$nin": ["COMPLETED", "FIZZLED"]}})
        )

    def claimable(self, only: Collection[str] | None = None) -> bool:
        """Whether any calculation, or any of the ids, could be claimed now."""
        query: Document = {"state": "READY"} | ({} if only is None else {"name": {"$in": list(only)}})
        names = [d["name"] for d in self._fireworks.find(query, {"name": 1})]
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
        waits = parent is not None and not self._has_record(parent)
        update = {"state": "WAITING" if waits else "READY", "claim": None, "failure": None}
        self._db.calculations.update_one({"_id": calculation}, {"$set": update})

    def _has_record(self, calculation: str) -> bool:
        return self._db.records.find_one({"_id": calculation}, {"_id": 1}) is not None

    @property
    def _fireworks(self) -> Any:
        return self._db.fireworks.fireworks

    def _mine(self, claim: Claim) -> Document:
        return {"_id": claim.id, "claim.token": claim.token}

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", int(self._lease * 1000)]}

    def _exclusively(self) -> Any:
        return lock(self._db, _LOCK, _LOCK_LEASE, _LOCK_WAIT)
