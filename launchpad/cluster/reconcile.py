"""Freeing at once what the scheduler says is dead, and saying what became of every job."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from alkaflow.launchpad.cluster.fates import UNKNOWN, Fate
from alkaflow.launchpad.cluster.nodes import short
from alkaflow.launchpad.cluster.scheduler import Scheduler, is_job, user_name
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings


@dataclass(frozen=True)
class Ended:
    """A job that is dead, and the calculations that it held."""

    job: str
    outcome: str
    reason: str
    calculations: list[str] = field(default_factory=list)


def reconcile(database: Database, settings: Settings, scheduler: Scheduler) -> list[Ended]:
    """Ask the scheduler about every job that is said to be alive, and free what the dead ones held.

    A job of another cluster or scheduler is left alone, and so is one that the scheduler does not know while it may
    hide jobs of that user: those claims end with their lease.

    Parameters
    ----------
    database
        Its claims and its collection ``jobs``.
    settings
        For the length of a lease.
    scheduler
        Who is asked.

    Returns
    -------
    list of Ended
        The jobs that were found dead now.

    Raises
    ------
    ServiceError
        The scheduler does not answer; then nothing was changed.
    """
    documents, claims = _alive(database, scheduler.name)
    if not documents and not claims:
        return []
    jobs = _ours(documents, claims, scheduler)
    fates = scheduler.fates(sorted(jobs))
    hidden = _hidden(fates, documents, scheduler)
    queue = Queue(database, settings.lease_seconds)
    ended = []
    for job, fate in fates.items():
        if job in hidden:
            continue
        if fate.outcome is not None:
            freed = queue.release_job(job, fate.outcome, fate.reason)
            ended.append(Ended(job, fate.outcome, fate.reason, freed))
        elif fate.waiting and job in claims:
            # it was sent back to wait: what it held before is not being computed
            reason = f"job {job}: it was put back into the queue"
            ended.append(Ended(job, "preempted", reason, queue.release_job(job, "preempted", reason)))
        _write(database, fate)
    return ended


def _alive(database: Database, name: str) -> tuple[dict[str, Document], dict[str, set[str]]]:
    """Documents of jobs that have not ended, and hosts by job of what is claimed."""
    documents = {d["_id"]: d for d in database.jobs.find({"scheduler": name, "ended": None}) if is_job(d["_id"])}
    claims: dict[str, set[str]] = {}
    claimed = {"claim.job": {"$regex": f"^{name}:"}}
    for document in database.calculations.find(claimed, {"claim": 1}):
        job = document["claim"]["job"]
        if is_job(job):
            host = (document["claim"].get("owner") or {}).get("host", "")
            claims.setdefault(job, set()).add(short(host))
    return documents, claims


def _ours(documents: dict[str, Document], claims: dict[str, set[str]], scheduler: Scheduler) -> set[str]:
    """Jobs that this scheduler answers for: by the cluster of their document, else by the host of their claims."""
    cluster = scheduler.cluster()
    ours = {job for job, document in documents.items() if document.get("cluster") in (None, cluster)}
    strays = claims.keys() - documents.keys()
    if strays:
        hosts = scheduler.hosts()
        ours |= {job for job in strays if claims[job] <= hosts}
    return ours


def _hidden(fates: dict[str, Fate], documents: dict[str, Document], scheduler: Scheduler) -> set[str]:
    """Unknown jobs that may only be kept from this user."""
    missing = {job for job, fate in fates.items() if fate.outcome == UNKNOWN}
    if not missing or not scheduler.hides_others():
        return set()
    me = user_name()
    return {job for job in missing if documents.get(job, {}).get("user") != me}


def _write(database: Database, fate: Fate) -> None:
    changes: dict[str, Any] = {"state": fate.state or "UNKNOWN", "outcome": fate.outcome, "reason": fate.reason}
    if fate.node is not None:
        changes["node"] = fate.node
    if fate.dead:
        changes["ended"] = datetime.now(UTC)
    database.jobs.update_one({"_id": fate.job, "ended": None}, {"$set": changes})


def overview(database: Database, scheduler: Scheduler, recent: int = 20) -> list[dict[str, Any]]:
    """Join what the scheduler says with what its jobs compute; nothing is changed.

    Parameters
    ----------
    database
        Claims and the collection ``jobs``.
    scheduler
        Who is asked.
    recent
        How many of the jobs that ended are shown.

    Returns
    -------
    list of dict
        ``job``, ``state``, ``outcome``, ``reason``, ``node``, ``submitted``, ``resources``, ``script``, ``running``
        (titles by id) and ``steps`` (of the same, by id); jobs that wait or run first, the newest of the others after
        them.

    Raises
    ------
    ServiceError
        The scheduler does not answer.
    """
    documents, claims = _alive(database, scheduler.name)
    fates = scheduler.fates(sorted(_ours(documents, claims, scheduler)))
    held: dict[str, list[Document]] = {}
    fields = {"claim.job": 1, "title": 1, "step": 1}
    for one in database.calculations.find({"claim.job": {"$in": list(claims)}}, fields).sort("_id", 1):
        held.setdefault(one["claim"]["job"], []).append(one)
    rows = [_row(job, documents.get(job, {}), fates.get(job), held.get(job, [])) for job in documents | claims]
    ended = database.jobs.find({"scheduler": scheduler.name, "ended": {"$ne": None}})
    return rows + [_row(d["_id"], d, None, []) for d in ended.sort("ended", -1).limit(recent)]


def _row(job: str, document: Document, fate: Fate | None, held: list[Document]) -> dict[str, Any]:
    submitted = document.get("submitted")
    return {
        "job": job,
        "state": fate.state or "UNKNOWN" if fate else document.get("state"),
        "outcome": fate.outcome if fate else document.get("outcome"),
        "reason": fate.reason if fate else document.get("reason", ""),
        "node": fate.node if fate else document.get("node"),
        "submitted": submitted.isoformat() if submitted else None,
        "resources": document.get("resources"),
        "script": document.get("script"),
        "running": {d["_id"]: d["title"] for d in held},
        "steps": {d["_id"]: d["step"] for d in held},
    }


def dead_holders(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Jobs of an overview that are dead and still hold calculations."""
    return [row["job"] for row in rows if row["outcome"] and row["running"]]
