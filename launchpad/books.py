"""FireWorks' books: one firework per calculation, kept in step with ours.

The name of a firework is the id of its calculation. Everything here may be told to do the same thing twice.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from fireworks import Firework, FWAction, FWorker, Workflow
from fireworks.core.launchpad import WFLock
from pymongo import UpdateMany
from pymongo.errors import PyMongoError

from alkaflow.errors import BadInputError
from alkaflow.launchpad.batches import in_parallel, pieces
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.firetask import firework_for
from alkaflow.launchpad.locks import Refresh
from alkaflow.launchpad.specs import check_spec

_MOST_NAMES = 1000  # that a query names
_BATCH = 100  # fireworks that are looked at together for one to claim
_LOCKED_SECONDS = 5  # FireWorks waits so long for a lock, and takes it; a living holder has it for milliseconds
_WITHOUT_LAUNCH = ("WAITING", "READY", "PAUSED", "DEFUSED")


# FireWorks' lock on a workflow has no owner and is waited for for minutes; its settings would have to be in a file.
WFLock.__init__.__defaults__ = (_LOCKED_SECONDS, True)


class Entry(NamedTuple):
    """A firework as far as a claim needs it: the id of its calculation, its number, and whether its spec is ours."""

    calculation: str
    number: int
    sound: bool


class State(NamedTuple):
    """What FireWorks says of a firework: in its own document, and in that of its workflow."""

    number: int
    state: str
    noted: str


class Books:
    """What FireWorks keeps about our calculations."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._pad = database.fireworks
        self._worker = FWorker(name="alkaflow")

    # --- entries ----------------------------------------------------------------------------------------------------

    def reserve_numbers(self, quantity: int) -> int:
        """Keep so many numbers of fireworks for us; returns the first."""
        return int(self._pad.get_new_fw_id(quantity=quantity))

    def enqueue(self, documents: Sequence[Document], refresh: Refresh = lambda: None) -> None:
        """Give calculations that FireWorks does not know their fireworks, parents and children in one small workflow.

        Parameters
        ----------
        documents
            Calculations with ``_id``, ``title``, ``parent``, ``priority`` and ``firework``, the number kept for it.
        refresh
            Called now and then.
        """
        wanted = {d["_id"]: d for d in documents}
        outside = {d["parent"] for d in documents} - wanted.keys() - {None}
        parents = self._numbers(self._unfinished(outside)) if outside else {}
        alone: list[list[str]] = []
        below: list[list[str]] = []
        for tree in _trees(wanted):
            (below if wanted[tree[0]]["parent"] in parents else alone).append(tree)
        templates: dict[tuple[int | None, ...], tuple[Document, list[Document]]] = {}

        def send(trees: Sequence[Sequence[str]]) -> None:
            workflows, fireworks = [], []
            for tree in trees:
                places = {name: place for place, name in enumerate(tree)}
                shape = tuple(places.get(wanted[name]["parent"]) for name in tree)
                if shape not in templates:
                    templates[shape] = _template(shape)
                workflow, entries = templates[shape]
                numbers = [wanted[name]["firework"] for name in tree]
                workflows.append(_numbered(workflow, numbers, f"{tree[0]}: {wanted[tree[0]]['title']}"))
                for name, entry in zip(tree, entries, strict=True):
                    number, spec = wanted[name]["firework"], _spec(name, wanted[name]["priority"])
                    fireworks.append(entry | {"fw_id": number, "name": name, "spec": spec})
            self._pad.workflows.insert_many(workflows, ordered=False)  # first, so that no firework is without one
            self._pad.fireworks.insert_many(fireworks, ordered=False)

        in_parallel(send, alone, refresh)
        for tree in below:
            self._append(tree, wanted, parents[wanted[tree[0]]["parent"]])
            refresh()

    def enqueue_missing(self, documents: Sequence[Document], refresh: Refresh = lambda: None) -> None:
        """Give those of some calculations their fireworks that have none; see `enqueue`."""
        self._drop_orphans([d["_id"] for d in documents])
        known = self._numbers(d["_id"] for d in documents)
        missing = [d for d in documents if d["_id"] not in known]
        torn = self._remove_torn([d["firework"] for d in missing])
        self.enqueue([d for d in documents if d["_id"] not in known or d["_id"] in torn], refresh)

    def _remove_torn(self, numbers: Sequence[int]) -> set[str]:
        """Remove workflows that lack some of these fireworks, where nothing of them was launched; names that went."""
        gone: set[str] = set()
        for some in pieces(list(numbers)):
            for workflow in self._pad.workflows.find({"nodes": {"$in": list(some)}}, {"nodes": 1}):
                there = list(
                    self._pad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"name": 1, "launches": 1})
                )
                if any(firework["launches"] for firework in there):
                    continue
                self._pad.workflows.delete_one({"_id": workflow["_id"]})
                self._pad.fireworks.delete_many({"fw_id": {"$in": workflow["nodes"]}})
                gone |= {firework["name"] for firework in there}
        return gone

    def _append(self, tree: Sequence[str], documents: Mapping[str, Document], parent: int) -> None:
        """Let a tree wait for a firework that is queued already."""
        made: dict[str, Firework] = {}
        for name in tree:
            above = made.get(documents[name]["parent"])
            made[name] = firework_for(name, [above] if above else None, documents[name]["priority"])
        self._pad.append_wf(Workflow(list(made.values())), [parent])
        for name, number in self._numbers(tree).items():  # FireWorks gives it another one
            self._db.calculations.update_one({"_id": name}, {"$set": {"firework": number}})

    def _drop_orphans(self, names: list[str]) -> None:
        """Remove fireworks without a workflow: they can neither run nor wait."""
        numbers = self._numbers(names).values()
        housed: set[int] = set()
        for some in pieces(list(numbers)):
            found = self._pad.workflows.find({"nodes": {"$in": list(some)}}, {"nodes": 1})
            housed |= {node for workflow in found for node in workflow["nodes"]}
        orphans = [number for number in numbers if number not in housed]
        if orphans:
            self._pad.fireworks.delete_many({"fw_id": {"$in": orphans}})

    def _numbers(self, names: Iterable[str]) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for some in pieces(list(names)):
            found = self._pad.fireworks.find({"name": {"$in": list(some)}}, {"name": 1, "fw_id": 1})
            numbers |= {d["name"]: int(d["fw_id"]) for d in found}
        return numbers

    def _unfinished(self, names: Collection[str]) -> list[str]:
        """Those that have no record."""
        done: set[str] = set()
        for some in pieces(list(names)):
            done |= {d["_id"] for d in self._db.records.find({"_id": {"$in": list(some)}}, {"_id": 1})}
        return [name for name in names if name not in done]

    # --- launches ---------------------------------------------------------------------------------------------------

    def ready(self, only: Collection[str] | None = None) -> Iterator[list[Entry]]:
        """Yield what FireWorks calls ready, in the order to be taken: by priority, then by submission."""
        query: Document = {"state": "READY"}
        wanted = frozenset(only) if only is not None else None
        if wanted is not None and len(wanted) <= _MOST_NAMES:
            query["name"] = {"$in": list(wanted)}
        found = self._pad.fireworks.find(query, {"name": 1, "fw_id": 1, "spec": 1, "_id": 0})
        batch: list[Entry] = []
        for firework in found.sort([("spec._priority", -1), ("fw_id", 1)]).batch_size(_BATCH):
            if wanted is not None and firework["name"] not in wanted:
                continue
            batch.append(Entry(firework["name"], int(firework["fw_id"]), _is_sound(firework)))
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def entry(self, calculation: str) -> Entry | None:
        """The firework of a calculation."""
        found = self._pad.fireworks.find_one({"name": calculation}, {"name": 1, "fw_id": 1, "spec": 1})
        return None if found is None else Entry(calculation, int(found["fw_id"]), _is_sound(found))

    def check_out(self, number: int, host: str) -> int | None:
        """Launch a firework; returns the number of the launch, or None when it is not ready any more."""
        launched, launch = self._pad.checkout_fw(self._worker, "", fw_id=number, host=host)
        self._pad.backup_launch_data.clear()  # copies of every launch, which nobody reads
        self._pad.backup_fw_data.clear()
        return None if launched is None else int(launch)

    def end(self, launch: int, state: str) -> bool:
        """End a launch as COMPLETED or FIZZLED; whether FireWorks has understood."""
        try:
            self._pad.complete_launch(launch, FWAction(), state)
        except PyMongoError:
            raise
        except Exception:  # noqa: BLE001  (FireWorks raises what it likes where its books are not as it expects)
            return False
        return self._pad.fireworks.find_one({"launches": launch, "state": state}, {"_id": 1}) is not None

    # --- mending ----------------------------------------------------------------------------------------------------

    def restore_spec(self, entry: Entry, priority: int) -> None:
        """Write a spec anew that holds anything but our data; what it held is not read any further."""
        self._pad.fireworks.update_one({"fw_id": entry.number}, {"$set": {"spec": _spec(entry.calculation, priority)}})

    def set_priority(self, names: Collection[str], priority: int) -> None:
        """Let the fireworks of calculations come before others, or after."""
        for some in pieces(list(names)):
            self._pad.fireworks.update_many({"name": {"$in": list(some)}}, {"$set": {"spec._priority": priority}})

    def unlock_idle_workflows(self, number: int | None = None) -> None:
        """Remove FireWorks' locks, which have no owner, from workflows that nobody works on.

        Parameters
        ----------
        number
            Of a firework: only that of its workflow.
        """
        query: Document = {"locked": True}
        if number is not None:
            query["nodes"] = number
        for workflow in self._pad.workflows.find(query, {"nodes": 1}):
            names = [d["name"] for d in self._pad.fireworks.find({"fw_id": {"$in": workflow["nodes"]}}, {"name": 1})]
            if not self._db.calculations.find_one({"_id": {"$in": names}, "state": "RUNNING"}, {"_id": 1}):
                self._pad.workflows.update_one({"_id": workflow["_id"]}, {"$unset": {"locked": True}})

    def states(self, names: Iterable[str]) -> dict[str, State]:
        """Number and states of the fireworks of calculations."""
        states: dict[str, State] = {}
        for some in pieces(list(names)):
            found = list(self._pad.fireworks.find({"name": {"$in": list(some)}}, {"name": 1, "state": 1, "fw_id": 1}))
            workflows = self._pad.workflows.find({"nodes": {"$in": [d["fw_id"] for d in found]}}, {"fw_states": 1})
            noted = {int(node): state for workflow in workflows for node, state in workflow["fw_states"].items()}
            states |= {d["name"]: State(int(d["fw_id"]), d["state"], noted.get(d["fw_id"], "")) for d in found}
        return states

    def rewrite(self, calculation: str, ours: str) -> bool:
        """Bring the firework of a calculation to our state; whether that was done. Nobody may claim it meanwhile."""
        found = self._pad.fireworks.find_one({"name": calculation}, {"state": 1, "fw_id": 1})
        if found is None:
            return False
        number = int(found["fw_id"])
        if found["state"] == ours:
            self.note([number], ours)
            return True
        self.unlock_idle_workflows(number)
        if found["state"] not in _WITHOUT_LAUNCH:
            self._pad.rerun_fw(number)  # archives its launches
        if ours != "COMPLETED":
            self.set_states([number], ours)
            return True
        self.set_states([number], "READY")
        launch = self.check_out(number, "")
        return launch is not None and self.end(launch, "COMPLETED")

    def set_states(self, numbers: Collection[int], state: str) -> None:
        """Write a state that no launch stands behind, where none runs."""
        now = datetime.now(UTC).isoformat()
        for some in pieces(list(numbers)):
            idle = {"fw_id": {"$in": list(some)}, "state": {"$in": _WITHOUT_LAUNCH}}
            self._pad.fireworks.update_many(idle, {"$set": {"state": state, "updated_on": now}})
        self.note(numbers, state)

    def note(self, numbers: Collection[int], state: str) -> None:
        """Write the state of fireworks to their workflows, where children look for it."""
        for some in pieces(list(numbers)):
            noted = [UpdateMany({"nodes": n}, {"$set": {f"fw_states.{n}": state}}) for n in some]
            self._pad.workflows.bulk_write(noted, ordered=False)


def _spec(calculation: str, priority: int) -> Document:
    """The spec of a firework: data, never code."""
    (task,) = _example()["_tasks"]
    return {"_tasks": [task | {"calculation": calculation}], "_priority": priority}


@cache
def _example() -> Document:
    spec: Document = firework_for("").to_db_dict()["spec"]
    return spec


def _is_sound(firework: Document) -> bool:
    """Whether a spec holds the id of its calculation and nothing else; nothing of it is loaded or runs."""
    try:
        return bool(check_spec(firework["spec"]) == firework["name"])
    except BadInputError:
        return False


def _trees(documents: Mapping[str, Document]) -> list[list[str]]:
    """Calculations with all that descends from them, parents first; one list for each that has no parent here."""
    children: dict[str, list[str]] = {}
    for name, document in documents.items():
        if document["parent"] in documents:
            children.setdefault(document["parent"], []).append(name)
    trees = []
    for root in (name for name, document in documents.items() if document["parent"] not in documents):
        tree = [root]
        for name in tree:  # grows while it is gone through
            tree += children.get(name, [])
        trees.append(tree)
    return trees


def _template(shape: Sequence[int | None]) -> tuple[Document, list[Document]]:
    """Documents of a workflow of a shape (the place of each parent), as FireWorks writes them, numbered from 0."""
    fireworks: list[Firework] = []
    for place, parent in enumerate(shape):
        above = [fireworks[parent]] if parent is not None else None
        fireworks.append(Firework([], name="", parents=above, fw_id=place, state="WAITING" if above else "READY"))
    workflow = Workflow(fireworks)
    return workflow.to_db_dict(), [firework.to_db_dict() for firework in fireworks]


def _numbered(workflow: Document, numbers: Sequence[int], name: str) -> Document:
    """A workflow document, numbered from 0, with other numbers."""

    def renamed(links: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        return {str(numbers[int(node)]): [numbers[other] for other in others] for node, others in links.items()}

    return workflow | {
        "name": name,
        "nodes": [numbers[node] for node in workflow["nodes"]],
        "links": renamed(workflow["links"]),
        "parent_links": renamed(workflow["parent_links"]),
        "fw_states": {str(numbers[int(node)]): state for node, state in workflow["fw_states"].items()},
    }
