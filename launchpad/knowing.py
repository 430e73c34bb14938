"""Why a calculation is where it is, and what to do next."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from alkaflow.errors import ADVICE
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.owner import folder_of, owner_of
from alkaflow.launchpad.retries import TOO_SLOW

_FORGOTTEN = {"_id", "schema_version", "calculation"}


@dataclass(frozen=True)
class Explanation:
    """What is known about the state of a calculation.

    Attributes
    ----------
    id, title, state
        Of the calculation.
    because
        Sentences.
    next
        Commands, or what to do.
    attempts
        Tries that ended, oldest first.
    """

    id: str
    title: str
    state: str
    because: list[str]
    next: list[str]
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def explain(database: Database, document: Document) -> Explanation:
    """Say why a calculation waits or what ended it.

    Parameters
    ----------
    database
        Where its parents and attempts are.
    document
        Of the calculation.
    """
    say = {
        "READY": _ready, "WAITING": _waiting, "RUNNING": _running, "FIZZLED": _fizzled,
        "COMPLETED": _completed, "PAUSED": _paused, "DEFUSED": _cancelled,
    }  # fmt: skip
    because, next_steps = _in_a_folder(document) or say[document["state"]](database, document)
    if document["behind"]:
        because.append("FireWorks was not told yet")
        next_steps.append("alkaflow repair")
    attempts = [
        {key: value.isoformat() if isinstance(value, datetime) else value for key, value in attempt.items()}
        for attempt in database.attempts.find({"calculation": document["_id"]}).sort("_id", 1)
    ]
    tries = [{key: value for key, value in attempt.items() if key not in _FORGOTTEN} for attempt in attempts]
    return Explanation(document["_id"], document["title"], document["state"], because, next_steps, tries)


Sentences = tuple[list[str], list[str]]


def _in_a_folder(document: Document) -> Sentences | None:
    """What a job folder holds; None for what none does."""
    claim = document["claim"]
    folder = folder_of(claim)
    if folder is None:
        return None
    now = datetime.now(UTC)
    since, until = (f"{claim[key]:%Y-%m-%d %H:%M} UTC" for key in ("since", "expires"))
    made = f"the job folder {folder}, made on {claim['owner'].get('made_on')}, has it since {since}"
    if claim["expires"] < now:
        return [f"{made}; its time was over at {until}"], [f"alkaflow sync {folder}", "alkaflow repair"]
    because = [f"{made}, until {until}"]
    if document["state"] != "RUNNING":
        because.append(f"it begins there when {document['parent']} is done")
    return because, [
        f"alkaflow cluster compute {folder}, on a node, then: alkaflow sync {folder}",
        f"alkaflow cluster unpack {folder}, to give it back",
    ]


def _ready(database: Database, document: Document) -> Sentences:
    before = database.calculations.count_documents(
        {
            "state": "READY",
            "$or": [
                {"priority": {"$gt": document["priority"]}},
                {"priority": document["priority"], "firework": {"$lt": document["firework"]}},
            ],
        }
    )
    running = database.calculations.count_documents({"state": "RUNNING"})
    because = [f"it can begin; {before} others come before it, {running} are running"]
    if document["firework"] is None:
        because.append("FireWorks does not know it yet: its submission was cut short")
        return because, ["alkaflow repair"]
    if document["deaths"]:
        because.append(f"tries that died so far: {', '.join(document['deaths'])}")
    return because, ["alkaflow worker, or alkaflow cluster launch"] if not running else []


def _waiting(database: Database, document: Document) -> Sentences:
    seen = {document["_id"]}
    parent = database.calculations.find_one({"_id": document["parent"]})
    while parent is not None and parent["state"] == "WAITING" and parent["_id"] not in seen:
        seen.add(parent["_id"])
        parent = database.calculations.find_one({"_id": parent["parent"]})
    if parent is None:
        return ["it needs a result that the database does not know"], ["submit the study again"]
    name = f"{parent['_id']} ({parent['title']})"
    if parent["state"] == "FIZZLED":
        failure = parent["failure"] or {"outcome": "unknown", "message": ""}
        return (
            [f"it needs the result of {name}, which failed: {failure['outcome']}: {failure['message']}"],
            [f"alkaflow why {parent['_id'][:8]}"],
        )
    if parent["state"] == "DEFUSED":
        return [f"it needs the result of {name}, which was cancelled"], [f"alkaflow retry {parent['_id'][:8]}"]
    if parent["state"] == "PAUSED":
        return [f"it needs the result of {name}, which is paused"], [f"alkaflow resume {parent['_id'][:8]}"]
    if parent["state"] == "COMPLETED":
        return [f"the result of {name} is there, and it was not told"], ["alkaflow repair --all"]
    return [f"it needs the result of {name}, which is {parent['state']}"], [f"alkaflow why {parent['_id'][:8]}"]


def _running(database: Database, document: Document) -> Sentences:
    del database
    claim = document["claim"]
    owner = owner_of(claim)
    job = f", job {claim['job']}" if claim.get("job") else ""
    since = (datetime.now(UTC) - claim["since"]).total_seconds()
    because = [f"attempt {document['attempts']}: {owner}{job} has it since {since:.0f} s"]
    progress = document["progress"]
    if progress:
        because.append(f"{progress['stage']} {progress['step']}, {progress['energy_hartree']:.6f} Hartree")
    left = (claim["expires"] - datetime.now(UTC)).total_seconds()
    alive = owner.is_alive() if owner else False
    if alive is False:
        return [*because, "that process is gone"], ["alkaflow repair"]
    if alive is None and left < 0:
        return [*because, f"it gave no sign of life for a lease and {-left:.0f} s"], ["alkaflow repair"]
    return because, [f"alkaflow logs {document['_id'][:8]}"]


def _fizzled(database: Database, document: Document) -> Sentences:
    failure = document["failure"]
    short = document["_id"][:8]
    if not failure:
        return ["it failed, and nobody wrote down why"], [f"alkaflow retry {short}"]
    because = [f"it failed: {failure['outcome']}"]
    logged = {"calculation": document["_id"], "attempt": failure["attempt"], "outcome": failure["outcome"]}
    if database.attempts.find_one(logged, {"_id": 1}) is None:  # else it is among the attempts
        because = [f"it failed: {failure['outcome']}: {failure['message']}"]
    elif len(document["deaths"]) > 1:
        because[0] += f", as {len(document['deaths'])} tries died: {', '.join(document['deaths'])}"
    slow = failure["outcome"] == "out_of_time" and len(document["deaths"]) > 1
    advice = TOO_SLOW if slow else ADVICE[failure["outcome"]].replace(" ID", f" {short}")
    return because, [advice, f"alkaflow retry {short}"]


def _completed(database: Database, document: Document) -> Sentences:
    record = database.record(document["_id"])
    if record is None:
        return ["it is marked as done, and its record is not there"], ["alkaflow repair"]
    done = f"{record.energy_hartree:.6f} Hartree, {record.provenance.finished:%Y-%m-%d %H:%M} UTC"
    return [done], [f"alkaflow results show {document['_id'][:8]}"]


def _paused(database: Database, document: Document) -> Sentences:
    del database
    return ["it was paused"], [f"alkaflow resume {document['_id'][:8]}"]


def _cancelled(database: Database, document: Document) -> Sentences:
    del database
    return ["it was cancelled"], [f"alkaflow retry {document['_id'][:8]}"]
