"""FireWorks' books: one firework per calculation, kept in step with ours.

The name of a firework is the id of its calculation. Everything here may be told to do the same thing twice.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fireworks import Firework, FWAction, FWorker, Workflow

from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.firetask import firework_for


class Books:
    """What FireWorks keeps about our calculations."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._pad = database.fireworks
        self._worker = FWorker(name="alkaflow")

    # --- entries ----------------------------------------------------------------------------------------------------

    def enqueue_missing(self, ids: Iterable[str]) -> None:
        """Give every unfinished calculation its firework: parents and children in one small workflow."""
        order = list(ids)
        found = self._db.calculations.find({"_id": {"$in": order}, "state": {"$ne": "COMPLETED"}})
        documents = {d["_id"]: d for d in found}
        wanted = {i: documents[i] for i in order if i in documents}
        self._drop_orphans(list(wanted))
        known = {d["name"] for d in self._pad.fireworks.find({"name": {"$in": list(wanted)}}, {"name": 1})}
        missing = {i: d for i, d in wanted.items() if i not in known}
        for root in (i for i, d in missing.items() if d["parent"] not in missing):
            chain = {root: firework_for(root)}
            _add_children(root, missing, chain)
            workflow = Workflow(list(chain.values()), name=missing[root]["title"])
            parent = self._unfinished(missing[root]["parent"])
            if parent is None:
                self._pad.add_wf(workflow)
            else:
                self._pad.append_wf(workflow, [parent])

    def _drop_orphans(self, names: list[str]) -> None:
        """Remove fireworks without a workflow: a submission was killed between FireWorks' two inserts."""
        numbers = [d["fw_id"] for d in self._pad.fireworks.find({"name": {"$in": names}}, {"fw_id": 1})]
        workflows = self._pad.workflows.find({"nodes": {"$in": numbers}}, {"nodes": 1})
        housed = {node for workflow in workflows for node in workflow["nodes"]}
        orphans = [number for number in numbers if number not in housed]
        if orphans:
            self._pad.fireworks.delete_many({"fw_id": {"$in": orphans}})

    def _unfinished(self, parent: str | None) -> int | None:
        """The firework to wait for; none where there is no parent or it is done."""
        if parent is None or self._db.has_record(parent):
            return None
        found = self._pad.fireworks.find_one({"name": parent}, {"fw_id": 1})
        return int(found["fw_id"]) if found else None

    # --- launches ---------------------------------------------------------------------------------------------------

    def ready(self, only: Collection[str] | None = None) -> Iterator[tuple[str, int]]:
        """Yield id and firework number of what FireWorks calls ready, in the order of submission."""
        query: Document = {"state": "READY"}
        if only is not None:
            query["name"] = {"$in": list(only)}
        for firework in self._pad.fireworks.find(query, {"name": 1, "fw_id": 1}).sort("fw_id", 1):
            yield firework["name"], int(firework["fw_id"])

    def check_out(self, number: int, host: str) -> int | None:
        """Launch a firework; returns the number of the launch, or None when it is not ready any more."""
        launched, launch = self._pad.checkout_fw(self._worker, "", fw_id=number, host=host)
        return None if launched is None else int(launch)

    def end(self, launch: int | None, state: str) -> None:
        """End a launch as COMPLETED or FIZZLED; without one there is nothing to end."""
        if launch is not None:
            self._pad.complete_launch(launch, FWAction(), state)

    def rerun(self, calculation: str) -> None:
        """Make the firework of a calculation ready again, unless it is or waits."""
        firework = self._pad.fireworks.find_one({"name": calculation}, {"fw_id": 1, "state": 1})
        if firework and firework["state"] not in ("READY", "WAITING"):
            self._pad.rerun_fw(int(firework["fw_id"]))

    # --- mending ----------------------------------------------------------------------------------------------------

    def unlock_idle_workflows(self) -> None:
        """Remove FireWorks' locks, which have no owner, from workflows that nobody works on."""
        for workflow in self._pad.workflows.find({"locked": True}, {"nodes": 1}):
            names = [d["name"] for d in self._pad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"name": 1})]
            if not self._db.calculations.find_one({"_id": {"$in": names}, "state": "RUNNING"}, {"_id": 1}):
                self._pad.workflows.update_one({"_id": workflow["_id"]}, {"$unset": {"locked": True}})

    def out_of_step(self, ours: Mapping[str, str]) -> Iterator[tuple[str, int]]:
        """Yield id and firework number where FireWorks' state is not ours (id -> state)."""
        # COMPLETED on both sides is most of an old database, and settled.
        open_names = [name for name, state in ours.items() if state != "COMPLETED"]
        query = {"$or": [{"state": {"$ne": "COMPLETED"}}, {"name": {"$in": open_names}}]}
        for firework in self._pad.fireworks.find(query, {"name": 1, "state": 1, "fw_id": 1}):
            if firework["name"] in ours and firework["state"] != ours[firework["name"]]:
                yield firework["name"], int(firework["fw_id"])

    def rewrite(self, number: int, ours: str) -> None:
        """Bring a firework to our state; nobody may claim its calculation meanwhile."""
        theirs = self._state(number)
        if theirs == ours:
            return
        if theirs not in ("READY", "WAITING"):
            self._pad.rerun_fw(number)  # archives its launches
        if ours == "COMPLETED":
            self._set_state(number, "READY")
            self.end(self.check_out(number, ""), "COMPLETED")
        elif self._state(number) != ours:
            self._set_state(number, ours)

    def _state(self, number: int) -> str:
        return str(self._pad.fireworks.find_one({"fw_id": number}, {"state": 1})["state"])

    def _set_state(self, number: int, state: str) -> None:
        self._pad.fireworks.update_one({"fw_id": number}, {"$set": {"state": state}})
        self._pad.workflows.update_one({"nodes": number}, {"$set": {f"fw_states.{number}": state}})


def _add_children(parent: str, missing: Mapping[str, Any], chain: dict[str, Firework]) -> None:
    for child, document in missing.items():
        if document["parent"] == parent:
            chain[child] = firework_for(child, parents=[chain[parent]])
            _add_children(child, missing, chain)
