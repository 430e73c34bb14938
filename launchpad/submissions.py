"""Many calculations at once, all of them or none, whatever dies in the middle.

A submission says in a document of its own how far it has come: ``begun`` while calculations are inserted, ``told``
while FireWorks gets their fireworks; without a document it is over. Whoever finds one that is not over, and holds the
queue's lock, takes back what has begun and finishes what FireWorks was being told.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.batches import in_parallel, pieces
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.launchpad.locks import LockedError, Refresh
from alkaflow.launchpad.settling import Settling
from alkaflow.plans import Plan, SingleRun
from alkaflow.records import formula_of

Costs = Mapping[str, tuple[float, float]]
"""Estimated wall time [s] and memory [MB] by id."""


class Submissions:
    """What brings calculations into a database; its caller holds the queue's lock."""

    def __init__(self, database: Database, books: Books, settling: Settling) -> None:
        self._db = database
        self._submissions = database.db["submissions"]
        self._books = books
        self._settling = settling

    def add(self, plan: Plan | SingleRun, new: Sequence[str], costs: Costs, priority: int, refresh: Refresh) -> None:
        """Insert calculations of a plan that the database does not know, and tell FireWorks.

        Parameters
        ----------
        plan
            Their inputs and titles.
        new
            Their ids, parents before children.
        costs
            What is known of their cost.
        priority
            Of all of them.
        refresh
            Called after every batch, to keep the lock.
        """
        if not new:
            return
        mark = uuid.uuid4().hex
        begun = {"_id": mark, "schema_version": SCHEMA_VERSION, "state": "begun", "created": datetime.now(UTC)}
        self._submissions.insert_one(begun)
        recorded = self._recorded({plan.calculations[i].parent for i in new} - {None})
        first = self._books.reserve_numbers(len(new))
        common = {
            "schema_version": SCHEMA_VERSION,
            "submission": mark,
            "studies": [plan.study.name] if plan.study is not None else [],
            "priority": priority,
            "created": datetime.now(UTC),
        }

        def document(place: int) -> Document:
            calculation = new[place]
            given = plan.calculations[calculation]
            waits = given.parent is not None and given.parent not in recorded
            return common | {
                "_id": calculation,
                "title": plan.titles[calculation],
                "state": "WAITING" if waits else "READY",
                "cost": _cost(costs.get(calculation)),
                "firework": first + place,
                **_described(given),
            }

        def insert(places: Sequence[int]) -> None:
            self._db.calculations.insert_many([document(place) for place in places], ordered=False)

        in_parallel(insert, range(len(new)), refresh)
        if not self._submissions.update_one({"_id": mark}, {"$set": {"state": "told"}}).matched_count:
            raise LockedError("the submission was taken back by another process, as this one had stalled; submit again")
        wanted = [
            {"_id": i, "title": plan.titles[i], "parent": plan.calculations[i].parent, "priority": priority,
             "firework": first + place} for place, i in enumerate(new)
        ]  # fmt: skip
        self._books.enqueue(wanted, refresh)
        inside = {None, *new}
        below = [i for i in new if plan.calculations[i].parent not in inside]
        for some in pieces(below):  # whose parents may have ended meanwhile
            self._settling.catch_up(list(self._db.calculations.find({"_id": {"$in": list(some)}}, {"state": 1})))
        self._submissions.delete_one({"_id": mark})

    def settle(self, refresh: Refresh) -> None:
        """Undo or finish what killed submissions left.

        Parameters
        ----------
        refresh
            Called now and then, to keep the lock.
        """
        for submission in self._submissions.find({}):
            mine = {"submission": submission["_id"]}
            if submission["state"] == "begun":
                self._db.calculations.delete_many(mine)
            else:
                fields = {"title": 1, "parent": 1, "priority": 1, "firework": 1, "state": 1}
                found = list(self._db.calculations.find(mine, fields).sort("firework", 1))
                self._books.enqueue_missing(found, refresh)
                for some in pieces(found):
                    refresh()
                    self._settling.catch_up(some)
            self._submissions.delete_one({"_id": submission["_id"]})

    def _recorded(self, ids: "set[str | None]") -> set[str]:
        """Those that have a record."""
        names = [i for i in ids if i is not None]
        found: set[str] = set()
        for some in pieces(names):
            found |= {d["_id"] for d in self._db.records.find({"_id": {"$in": list(some)}}, {"_id": 1})}
        return found


def _cost(cost: tuple[float, float] | None) -> Document | None:
    return {"seconds": cost[0], "memory_mb": cost[1]} if cost else None


_formula = lru_cache(maxsize=1000)(formula_of)


def _described(given: CalculationInput) -> Document:
    """What a calculation is before anybody has worked on it."""
    return {
        "input": given.model_dump(mode="json"),
        "step": given.step,
        "level": str(given.level),
        "formula": _formula(given.symbols),
        "parent": given.parent,
        "claim": None,
        "attempts": 0,
        "deaths": [],
        "failure": None,
        "progress": None,
        "behind": False,
    }
