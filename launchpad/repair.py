"""Mending the queue after whatever died: claims of the dead are freed, FireWorks is brought to our states."""

import time

from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.locks import Refresh
from alkaflow.launchpad.owner import folder_of, holder_is_alive, longest_silence, owner_of
from alkaflow.launchpad.settling import Settling

_BATCH = 1000
_FIELDS = {"state": 1, "firework": 1, "parent": 1, "priority": 1, "title": 1}


class Repair:
    """The parts of a repair; its caller holds the queue's lock."""

    def __init__(
        self, database: Database, books: Books, settling: Settling, refresh: Refresh, lease_seconds: float
    ) -> None:
        self._db = database
        self._lease = lease_seconds
        self._books = books
        self._settling = settling
        self._refresh = refresh

    def free_dead_claims(self) -> list[str]:
        """Free what dead processes held; a result that had arrived counts. Returns the ids."""
        freed = []
        for document in self._claimed_by_the_dead():
            self._refresh()
            query: Document = {"_id": document["_id"], "claim.token": document["claim"]["token"]}
            query["claim.expires"] = document["claim"]["expires"]  # no sign of life since it was looked at
            if document["state"] != "RUNNING":  # its books were being rewritten
                self._db.calculations.update_one(query, {"$set": {"claim": None, "behind": True}})
            else:
                outcome, message = _how_lost(document)
                reached = self._settling.left_by(document, outcome)
                if self._settling.end_try(query, document, outcome, message, reached) is not None:
                    freed.append(document["_id"])
        return freed

    def _claimed_by_the_dead(self) -> list[Document]:
        """Calculations claimed by processes that are gone, or that nobody can look at and that are silent for a lease.

        After an outage of the database all the living are silent, too: these have time for a sign of life first.
        """
        dead, silent = [], []
        for document in self._db.calculations.find({"claim.expires": {"$exists": True}}, {"input": 0}):
            alive = holder_is_alive(document["claim"])
            if alive is False:
                dead.append(document)
            elif alive is None:
                silent.append(document["_id"])
        expired: Document = {"_id": {"$in": silent}, "claim.expires": {"$exists": True}}  # not ended meanwhile
        expired["$expr"] = {"$lt": ["$claim.expires", "$$NOW"]}
        if self._db.calculations.find_one(expired, {"_id": 1}) is not None:
            time.sleep(longest_silence(self._lease))
            dead += self._db.calculations.find(expired, {"input": 0})
        return dead

    def catch_up(self) -> None:
        """Finish what says that FireWorks was not told."""
        for some in pieces(list(self._db.calculations.find({"behind": True, "claim": None}, _FIELDS))):
            self._refresh()
            self._settling.catch_up(some)

    def compare_everything(self) -> None:
        """Hold every calculation against its record, its parent and its firework."""
        batch: list[Document] = []
        for document in self._db.calculations.find({"claim": None}, _FIELDS).sort("firework", 1):
            batch.append(document)
            if len(batch) == _BATCH:
                self._compare(batch)
                batch = []
        self._compare(batch)

    def _compare(self, documents: list[Document]) -> None:
        self._refresh()
        ids = [d["_id"] for d in documents] + [d["parent"] for d in documents if d["parent"]]
        done = {d["_id"] for d in self._db.records.find({"_id": {"$in": ids}}, {"_id": 1})}
        for document in documents:
            query = {"_id": document["_id"], "claim": None, "state": document["state"]}
            if document["_id"] in done and document["state"] != "COMPLETED":
                self._settling.finish(query, behind=True)
                document["state"] = "COMPLETED"
            elif document["state"] in ("WAITING", "READY"):
                waits = document["parent"] is not None and document["parent"] not in done
                state = "WAITING" if waits else "READY"
                if state != document["state"]:
                    self._db.calculations.update_one(query, {"$set": {"state": state}})
                    document["state"] = state
        self._books.enqueue_missing([d for d in documents if d["state"] != "COMPLETED"])
        self._settling.catch_up(documents)


def _how_lost(document: Document) -> tuple[str, str]:
    """Outcome and sentence for a try whose claim is free now; that a job folder came too late is no death."""
    folder = folder_of(document["claim"])
    if folder:
        return "released", f"the time of the job folder {folder} was over"
    return "worker_lost", f"{owner_of(document['claim'])} is gone"
