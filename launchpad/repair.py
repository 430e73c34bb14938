"""Mending the queue after whatever died: claims of the dead are freed, FireWorks is brought to our states."""

from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.locks import Refresh
from alkaflow.launchpad.owner import owner_of
from alkaflow.launchpad.settling import Settling

_BATCH = 1000
_FIELDS = {"state": 1, "firework": 1, "parent": 1, "priority": 1, "title": 1}


class Repair:
    """The parts of a repair; its caller holds the queue's lock."""

    def __init__(self, database: Database, books: Books, settling: Settling, refresh: Refresh) -> None:
        self._db = database
        self._books = books
        self._settling = settling
        self._refresh = refresh

    def free_dead_claims(self) -> list[str]:
        """Free what dead processes held; a result that had arrived counts. Returns the ids."""
        freed = []
        for document in self._db.calculations.find({"claim.expires": {"$exists": True}}, {"input": 0}):
            claim = document["claim"]
            owner = owner_of(claim)
            alive = owner.is_alive() if owner else False
            if alive:
                continue
            query: Document = {"_id": document["_id"], "claim.token": claim["token"]}
            if alive is None:
                query["$expr"] = {"$lt": ["$claim.expires", "$$NOW"]}
            if document["state"] != "RUNNING":  # its books were being rewritten
                self._db.calculations.update_one(query, {"$set": {"claim": None, "behind": True}})
            elif self._db.has_record(document["_id"]):
                # its worker died between the record and the state
                if self._settling.finish(query, behind=True):
                    freed.append(document["_id"])
            elif self._settling.end_try(query, document, "worker_lost", f"{owner} is gone") is not None:
                freed.append(document["_id"])
        return freed

    def catch_up(self) -> None:
        """Finish what says that FireWorks was not told."""
        self._settling.catch_up(list(self._db.calculations.find({"behind": True, "claim": None}, _FIELDS)))

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
