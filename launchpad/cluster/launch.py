"""Submitting workers."""

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from alkaflow.cluster import ClusterSettings
from alkaflow.errors import BadInputError, ServiceError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad.cluster.nodes import why_too_large
from alkaflow.launchpad.cluster.packing import Cost, Request, request_for
from alkaflow.launchpad.cluster.scheduler import Scheduler, scheduler_for, user_name
from alkaflow.launchpad.cluster.script import adapter_for, render, submit_environment, worker_command
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, Document
from alkaflow.settings import Settings, config_file, uri_in_file

SCRIPT_NAME = "FW_submit.script"  # FireWorks' name for it


@dataclass(frozen=True)
class Launched:
    """A job that the scheduler took."""

    job: str
    directory: Path
    request: Request


def configured(settings: Settings) -> ClusterSettings:
    """Return the cluster of the settings.

    Raises
    ------
    BadInputError
        None is configured.
    """
    if settings.cluster is None:
        raise BadInputError(f"{config_file()} has no section 'cluster'; write one with: alkaflow cluster init slurm")
    return settings.cluster


def request_from(database: Database, cluster: ClusterSettings, jobs: int = 1) -> Request:
    """What each of some jobs asks for, from the settings and the estimates of what waits."""
    costs, waiting = waiting_costs(database)
    return request_for(cluster, costs, waiting, jobs)


def waiting_costs(database: Database) -> tuple[list[Cost], int]:
    """Estimates of the calculations that wait and have one, and how many wait."""
    costs, waiting = [], 0
    query = {"state": {"$in": ["READY", "WAITING"]}, "claim": None}  # not what a job folder holds
    for document in database.calculations.find(query, {"cost": 1}):
        waiting += 1
        cost = document.get("cost") or {}
        if cost.get("seconds") and cost.get("memory_mb"):
            costs.append(Cost(float(cost["seconds"]), float(cost["memory_mb"])))
    return costs, waiting


def script_of(
    settings: Settings, request: Request, directory: Path | None = None, command: Sequence[str] | None = None
) -> str:
    """Return the job script, for people to look at.

    Parameters
    ----------
    settings
        With a cluster.
    request
        What the job asks for.
    directory
        Where it will run; default: a folder that is named when it is submitted.
    command
        What the job becomes; default: a worker.

    Raises
    ------
    BadInputError
        No cluster is configured, or a path cannot be carried.
    """
    adapter = adapter_for(settings, configured(settings), request, command or worker_command(request.pack))
    return render(adapter, directory or settings.data_dir / "jobs" / "TIME")


def submit(
    database: Database, settings: Settings, request: Request, jobs: int = 1, command: Sequence[str] | None = None
) -> list[Launched]:
    """Submit equal jobs; each gets a folder of its own with its script and what it prints, and a document.

    Parameters
    ----------
    database
        Gets a document of the collection ``jobs`` for each.
    settings
        With a cluster.
    request
        What each job asks for.
    jobs
        How many.
    command
        What a job becomes; default: a worker.

    Raises
    ------
    BadInputError
        No cluster is configured, or something of the settings cannot be carried by a script.
    ServiceError
        The database cannot be reached from where the jobs would run, or the scheduler did not take a job.
    """
    cluster = configured(settings)
    scheduler = scheduler_for(cluster)
    refuse_hidden_uri(settings)
    refuse_embedded(settings, cluster, scheduler)
    refuse_too_large(request, cluster, scheduler)
    adapter = adapter_for(settings, cluster, request, command or worker_command(request.pack))
    name = scheduler.cluster()
    environment = submit_environment(os.environ, cluster)
    launched = []
    for _ in range(jobs):
        directory = _new_directory(settings.data_dir / "jobs")
        script = directory / SCRIPT_NAME
        write_atomically(script, render(adapter, directory).encode(), mode=0o700)
        number = adapter.submit(script, environment)
        launched.append(Launched(f"{scheduler.name}:{number}", directory, request))
        document = _document(launched[-1], cluster, name)
        database.jobs.replace_one({"_id": document["_id"]}, document, upsert=True)
    return launched


def refuse_hidden_uri(settings: Settings) -> None:
    """Refuse a connection string that a job could not read: it is never written into a script.

    Raises
    ------
    ServiceError
        The connection string is not the one of the configuration file.
    """
    if settings.mongodb_uri is not None and settings.mongodb_uri.get_secret_value() != uri_in_file():
        raise ServiceError(
            "mongodb_uri comes from the environment, which jobs do not get: put it into "
            f"{config_file()} as 'mongodb_uri: ...', with chmod 600, and unset ALKAFLOW_MONGODB_URI"
        )


def refuse_embedded(settings: Settings, cluster: ClusterSettings, scheduler: Scheduler) -> None:
    """Refuse workers on other hosts when the database is the embedded one, which only this host reaches.

    Raises
    ------
    ServiceError
        A job may land on another host, or the scheduler does not answer.
    """
    if settings.mongodb_uri is not None:
        return
    elsewhere = scheduler.other_hosts(cluster.partition)
    if elsewhere:
        raise ServiceError(
            f"jobs may run on {', '.join(elsewhere[:3])}{', ...' if len(elsewhere) > 3 else ''}, and the embedded "
            f"database is for {socket.gethostname()} alone: set mongodb_uri to a MongoDB server with authentication "
            "that the nodes reach, or send a job folder instead: alkaflow cluster pack"
        )


def refuse_too_large(request: Request, cluster: ClusterSettings, scheduler: Scheduler) -> None:
    """Refuse a job that asks for more than any node has, where the scheduler says what they have.

    Raises
    ------
    BadInputError
        It would wait for ever, or not be taken.
    """
    where = f"partition {cluster.partition}" if cluster.partition else "the default partition"
    nodes = scheduler.sizes(cluster.partition)
    problem = why_too_large(nodes, request.cores, request.memory_mib, cluster.gres, where)
    if problem is not None:
        raise BadInputError(problem)


def _new_directory(parent: Path) -> Path:
    """Make an empty folder that only its user can enter, named by the time."""
    private_directory(parent)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    directory = parent / name
    directory.mkdir(mode=0o700)
    return directory


def _document(launched: Launched, cluster: ClusterSettings, cluster_name: str) -> Document:
    scheduler, _, number = launched.job.partition(":")
    asked = cluster.model_dump(include={"partition", "account", "qos", "constraint", "gres"})
    resources = asdict(launched.request) | {"walltime": launched.request.walltime}
    return {
        "_id": launched.job,
        "schema_version": SCHEMA_VERSION,
        "scheduler": scheduler,
        "id": number,
        "cluster": cluster_name,
        "user": user_name(),
        "host": socket.gethostname(),
        "state": "PENDING",
        "outcome": None,
        "reason": "",
        "submitted": datetime.now(UTC),
        "ended": None,
        "script": str(launched.directory / SCRIPT_NAME),
        "resources": resources | {key: value for key, value in asked.items() if value is not None},
    }
