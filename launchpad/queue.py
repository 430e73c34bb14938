"""What is wanted, who works on it, and how it ended.

FireWorks decides what is ready next. The ``calculations`` collection is the truth about what is claimed, done and
failed: a calculation is claimed there, by one atomic update, before FireWorks hears of it; after that FireWorks'
state is a cache which `repair` rewrites from ours, never the reverse.
"""

import uuid
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pymongo import ReturnDocument

from alkaflow.calculations import CalculationInput, Position
from alkaflow.errors import MismatchError
from alkaflow.launchpad.advance import Marks, moved_on
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.books import Books, Entry
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.limits import current_job
from alkaflow.launchpad.locks import Refresh, lock
from alkaflow.launchpad.owner import Owner, drop, keep
from alkaflow.launchpad.plan_store import keep_plan
from alkaflow.launchpad.settling import Settling, failure_of
from alkaflow.launchpad.submissions import Costs, Submissions
from alkaflow.plans import Plan, SingleRun
from alkaflow.records import Record

_LOCK = "the queue"
_LOCK_LEASE = 60.0
_LOCK_WAIT = 60.0
_WAITING = ("READY", "WAITING")


@dataclass(frozen=True)
class Claim:
    """The right to compute one calculation, good while ``token`` stands in its document.

    ``deaths`` are the outcomes of tries before this one that died; ``launch`` is FireWorks' number of this one.
    """

    id: str
    token: str
    attempt: int
    calculation: CalculationInput
    positions: tuple[Position, ...]
    title: str
    launch: int | None
    deaths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """What a submission changed: ids that are new, done already, queued already, and ended ones to be tried again.

    Of those that are tried again, ``cancelled`` were cancelled, and the others failed; of those that were queued,
    ``paused`` begin only when they are resumed.
    """

    new: list[str]
    done: list[str]
    queued: list[str]
    again: list[str]
    cancelled: list[str] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Holder:
    """Who claims: the token of the claim, its document as an owner, its job, and where its attempts are on disk."""

    token: str
    owner: Document
    job: str | None
    attempts_in: Path | None = None

    def claim(self, expires: Document) -> Document:
        """The claim on a calculation, for an update pipeline."""
        place = {} if self.attempts_in is None else {"attempts_in": {"$literal": str(self.attempts_in)}}
        return place | {
            "token": self.token,
            "owner": {"$literal": self.owner},
            "job": {"$literal": self.job},
            "attempt": {"$add": ["$attempts", 1]},
            "since": "$$NOW",
            "expires": expires,
        }


class Queue:
    """The operations on the queue of a database.

    Parameters
    ----------
    database
        Where it is.
    lease_seconds
        For how long a claim is good unless it is renewed [s].
    holder
        Whose claims are made; this process's by default.
    attempts_in
        Where this process computes what it claims, for whoever finds it dead.
    """

    def __init__(
        self,
        database: Database,
        lease_seconds: float = 120.0,
        holder: Holder | None = None,
        attempts_in: Path | None = None,
    ) -> None:
        self._db = database
        self._lease = lease_seconds
        self._holder = holder
        self._attempts_in = attempts_in
        self._books = Books(database)
        self._settling = Settling(database, self._books)
        self._submissions = Submissions(database, self._books, self._settling)

    # --- submitting -------------------------------------------------------------------------------------------------

    def submit(self, plan: Plan | SingleRun, costs: Costs | None = None, priority: int = 0) -> Submission:
        """Queue what a plan needs and is neither done nor queued; failed and cancelled ones are queued again.

        Killed half way, it leaves the whole plan or nothing of it.

        Parameters
        ----------
        plan
            The calculations.
        costs
            What they will take, for workers whose time or memory is limited.
        priority
            Of the new ones; higher ones are computed first.
        """
        ids = list(plan.calculations)
        with self.exclusively() as refresh:
            self._submissions.settle(refresh)
            states = self._states(ids)
            new = [i for i in ids if i not in states]
            again = [i for i in ids if states.get(i) in ("FIZZLED", "DEFUSED")]
            if plan.study is not None:
                for some in pieces([i for i in ids if i in states]):
                    known = {"_id": {"$in": list(some)}, "studies": {"$ne": plan.study.name}}
                    self._db.calculations.update_many(known, {"$addToSet": {"studies": plan.study.name}})
                keep_plan(self._db, plan, refresh)
            self._submissions.add(plan, new, costs or {}, priority, refresh)
            for calculation in again:
                refresh()
                self.free(calculation)
        done = [i for i in ids if states.get(i) == "COMPLETED"]
        queued = [i for i in ids if i in states and i not in again and i not in done]
        cancelled = [i for i in again if states[i] == "DEFUSED"]
        paused = [i for i in queued if states[i] == "PAUSED"]
        return Submission(new, done, queued, again, cancelled, paused)

    # --- claiming ---------------------------------------------------------------------------------------------------

    def claim(self, only: Collection[str] | None = None, seconds_left: float | None = None) -> Claim | None:
        """Claim the next calculation that FireWorks says is ready; None when there is none.

        Parameters
        ----------
        only
            Ids to choose from; all by default.
        seconds_left
            None is taken that is known to need longer [s].
        """
        for batch in self._books.ready(only):
            entries = {entry.calculation: entry for entry in batch}
            while (document := self._hold(list(entries), seconds_left)) is not None:
                claim = self._launch(document, entries.pop(document["_id"]))
                if claim is not None:
                    return claim
        return None

    def claim_one(self, calculation: str) -> Claim | None:
        """Claim a calculation whose firework somebody else has launched already."""
        document = self._hold([calculation], None)
        if document is None:
            return None
        claim = self._claim_of(document)
        if claim is None:
            self._give_back(document)
        return claim

    def adopt(self, calculation: str) -> Claim | None:
        """Claim a calculation whose result is there already; None when somebody has it, or it is done."""
        document = self._hold([calculation], None, ("READY", "WAITING", "PAUSED", "DEFUSED", "FIZZLED"))
        return None if document is None else self._claim_of(document, with_positions=False)

    def _launch(self, document: Document, entry: Entry) -> Claim | None:
        """Launch the firework of a held calculation; None, and given back, where it turns out not to be ready."""
        if self._db.has_record(document["_id"]):  # only the news of it was cut short
            self._give_back(document)
            return None
        if not entry.sound:
            self._books.restore_spec(entry, document["priority"])
        claim = self._claim_of(document)
        launch = self._books.check_out(entry.number, Owner.this_process().host) if claim else None
        if claim is None or launch is None:
            self._give_back(document)
            return None
        return replace(claim, launch=launch)

    def _give_back(self, document: Document) -> None:
        mine = {"_id": document["_id"], "claim.token": document["claim"]["token"]}
        drop(document["claim"]["token"])
        if self._db.has_record(document["_id"]):
            self._settling.finish(mine, behind=True)
        else:
            self._settling.settle(mine, self._settling.idle_state(document["_id"]))

    def _hold(
        self, ids: Sequence[str], seconds_left: float | None, states: Sequence[str] = _WAITING
    ) -> Document | None:
        """Claim the first of some calculations that is free, by one atomic update."""
        query: Document = {
            "_id": {"$in": list(ids)}, "claim": None, "state": {"$in": list(states)},
        }  # fmt: skip
        if seconds_left is not None:
            query["$or"] = [{"cost": None}, {"cost.seconds": {"$lte": seconds_left}}]
        token = uuid.uuid4().hex
        this = Holder(token, Owner.this_process().model_dump(), current_job(), self._attempts_in)
        claim = (self._holder or this).claim(self._expiry())
        fields = {"state": "RUNNING", "claim": claim, "progress": None, "attempts": {"$add": ["$attempts", 1]}}
        keep(token)
        held = None
        try:
            held = self._db.calculations.find_one_and_update(
                query,
                [{"$set": fields}],
                sort=[("priority", -1), ("firework", 1)],
                return_document=ReturnDocument.AFTER,
            )
        finally:
            if held is None:  # also where the reply was lost: then repair frees it
                drop(token)
        return held

    def _claim_of(self, document: Document, with_positions: bool = True) -> Claim | None:
        """The claim that a document holds; None where the parent has no record."""
        given = CalculationInput.model_validate(document["input"])
        positions = given.positions
        if positions is None and with_positions:
            parent = self._db.record(str(given.parent))
            if parent is None:
                return None
            positions = given.taken_from(parent.positions_angstrom)
        return Claim(
            id=document["_id"],
            token=document["claim"]["token"],
            attempt=int(document["attempts"]),
            calculation=given,
            positions=positions or (),
            title=document["title"],
            launch=None,
            deaths=tuple(document["deaths"]),
        )

    def heartbeat(self, claim: Claim, progress: dict[str, Any] | None) -> bool:
        """Renew a claim and pass on progress; False when the claim is lost."""
        fields: Document = {"claim.expires": self._expiry()}
        if progress is not None:
            fields["progress"] = {"$literal": progress}
        return self._db.calculations.update_one(_mine(claim), [{"$set": fields}]).matched_count == 1

    # --- ending -----------------------------------------------------------------------------------------------------

    def complete(self, claim: Claim, record: Record, **details: Any) -> bool:
        """Store a record and end its claim; False when the claim was lost, and then nothing is stored.

        Parameters
        ----------
        claim, record
            The calculation and its result.
        **details
            For the log of the attempt: directory, peak_memory_mb.

        Raises
        ------
        MismatchError
            The calculation has another record, which stays; the claim is ended.
        """
        document = self._db.calculations.find_one_and_update(
            _mine(claim), [{"$set": {"claim.expires": self._expiry()}}], projection={"input": 0}
        )
        if document is None:
            return False
        mismatch = None
        try:
            self._db.insert_record(record)
        except MismatchError as error:  # the calculation is done nevertheless
            mismatch = error
        told = claim.launch is not None and self._books.end(claim.launch, "COMPLETED")
        if not self._settling.finish(_mine(claim), behind=not told):  # cancelled or taken since; the record is there
            self._settling.finish({"_id": claim.id}, behind=True)
        self._settling.log(document, "mismatch" if mismatch else "converged", str(mismatch or ""), **details)
        if mismatch is not None:
            raise mismatch
        return True

    def fail(
        self,
        claim: Claim,
        outcome: str,
        message: str,
        directory: str,
        died: bool = False,
        reached: Marks | None = None,
        **details: Any,
    ) -> str | None:
        """End a claim without a record; returns the state that follows, or None when the claim was lost.

        Parameters
        ----------
        claim
            The calculation.
        outcome, message
            How it ended; kept with the calculation and its attempts.
        directory
            Of the attempt.
        died
            Whether the process died; then it is tried again, though not for ever. One that ended by itself would end
            so again.
        reached
            How far it is now, of one that died.
        **details
            For the log of the attempt: peak_memory_mb.
        """
        document = self._db.calculations.find_one(_mine(claim), {"input": 0})
        if document is None:
            return None
        if died:
            details |= {"directory": directory}
            return self._settling.end_try(_mine(claim), document, outcome, message, reached, **details)
        failure = failure_of(outcome, message, claim.attempt, directory)
        if not self._settling.settle(_mine(claim), "FIZZLED", failure=failure):
            return None
        self._settling.log(document, outcome, message, directory=directory, **details)
        return "FIZZLED"

    def release(self, claim: Claim, reason: str, reached: Marks | None = None, had_time: bool = False) -> str | None:
        """Give a claim back: the calculation is ready again at once; returns the state that follows.

        None when the claim was lost. The state is FIZZLED after several in a row that had time and got no further.

        Parameters
        ----------
        claim
            The calculation.
        reason
            Of the try.
        reached
            How far it is now; None where nobody has looked.
        had_time
            Whether the try should have got further.
        """
        document = self._db.calculations.find_one(_mine(claim), {"input": 0})
        if document is None:
            return None
        outcome = "released"
        if reached is not None:
            stuck = had_time and not moved_on(document.get("reached") or {}, reached)
            outcome = "out_of_time" if stuck else "interrupted"
        return self._settling.end_try(_mine(claim), document, outcome, reason, reached)

    def release_job(self, job: str, outcome: str, reason: str) -> list[str]:
        """Free whatever a dead job of the scheduler held; returns the ids.

        Parameters
        ----------
        job
            As claims name it: ``slurm:123``.
        outcome, reason
            What the scheduler says of it.
        """
        freed = []
        for document in self._db.calculations.find({"claim.job": job}, {"input": 0}):
            query = {"_id": document["_id"], "claim.token": document["claim"]["token"]}
            reached = self._settling.left_by(document, outcome)
            if self._settling.end_try(query, document, outcome, reason, reached) is None:
                continue
            freed.append(document["_id"])
        return freed

    # --- repairing --------------------------------------------------------------------------------------------------

    def repair(self, everything: bool = False, wait_seconds: float = _LOCK_WAIT) -> list[str]:
        """Free what dead workers held and make FireWorks agree; returns the ids that were freed.

        A worker on this host is dead when its process is gone; one that cannot be looked at, when its lease expired.

        Parameters
        ----------
        everything
            Compare every document, not just those that say that something was left undone.
        wait_seconds
            How long to wait for somebody who submits or repairs [s].

        Raises
        ------
        LockedError
            Somebody submits or repairs for longer.
        """
        from alkaflow.launchpad.repair import Repair

        with self.exclusively(wait_seconds) as refresh:
            self._books.unlock_idle_workflows()
            self._submissions.settle(refresh)
            mender = Repair(self._db, self._books, self._settling, refresh, self._lease)
            freed = mender.free_dead_claims()
            self._books.unlock_idle_workflows()
            mender.catch_up()
            if everything:
                mender.compare_everything()
        return freed

    def exclusively(self, wait_seconds: float = _LOCK_WAIT) -> AbstractContextManager[Refresh]:
        """Hold the queue's lock: nobody else submits or repairs."""
        return lock(self._db, _LOCK, _LOCK_LEASE, wait_seconds)

    # --- looking ----------------------------------------------------------------------------------------------------

    def unfinished(self, ids: Collection[str]) -> list[Document]:
        """Documents of the ids that are neither done nor failed."""
        return list(
            self._db.calculations.find(
                {"_id": {"$in": list(ids)}, "state": {"$in": ["READY", "WAITING", "RUNNING"]}}, {"input": 0}
            )
        )

    def claimable(self, only: Collection[str] | None = None) -> bool:
        """Whether any calculation, or any of the ids, could be claimed now."""
        for batch in self._books.ready(only):
            free = {"_id": {"$in": [entry.calculation for entry in batch]}, "claim": None, "state": {"$in": _WAITING}}
            if self._db.calculations.find_one(free, {"_id": 1}) is not None:
                return True
        return False

    def problems(self, ids: Collection[str]) -> dict[str, str]:
        """Sentences on the ids that failed or were cancelled."""
        wanted = {"_id": {"$in": list(ids)}, "state": {"$in": ["FIZZLED", "DEFUSED", "PAUSED"]}}
        problems = {}
        for document in self._db.calculations.find(wanted, {"failure": 1, "state": 1}):
            failure = document["failure"]
            if document["state"] == "FIZZLED" and failure:
                problems[document["_id"]] = f"{failure['outcome']}: {failure['message']}"
            elif document["state"] != "FIZZLED":
                problems[document["_id"]] = "cancelled" if document["state"] == "DEFUSED" else "paused"
        return problems

    def free(self, calculation: str) -> bool:
        """Ready for another try, past ones forgiven; False for one that runs or is done."""
        query = {"_id": calculation, "claim": None, "state": {"$nin": ["COMPLETED", "RUNNING"]}}
        return self._settling.settle(query, self._settling.idle_state(calculation), failure=None, deaths=[])

    def _states(self, ids: Sequence[str]) -> dict[str, str]:
        states: dict[str, str] = {}
        for some in pieces(ids):
            states |= {
                d["_id"]: d["state"] for d in self._db.calculations.find({"_id": {"$in": list(some)}}, {"state": 1})
            }
        return states

    def _expiry(self) -> Document:
        return {"$add": ["$$NOW", int(self._lease * 1000)]}


def _mine(claim: Claim) -> Document:
    return {"_id": claim.id, "claim.token": claim.token}
