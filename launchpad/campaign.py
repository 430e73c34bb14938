"""A study from submission to table."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from alkaflow.analysis import Table, build_table
from alkaflow.analysis.report import ReportSource
from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.limits import usable_cores, usable_memory_mb
from alkaflow.launchpad.locks import Refresh, lock
from alkaflow.launchpad.queue import Queue, Submission
from alkaflow.launchpad.worker import Event, Worker
from alkaflow.plans import Plan
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.workflows import Bundle, Cost, calibrate, estimate

_LONGEST_ESTIMATE = 1000


def study_lock(database: Database, settings: Settings, plan: Plan) -> AbstractContextManager[Refresh]:
    """Hold a study, so that it is reproduced once at a time; raises LockedError."""
    return lock(database, f"study {plan.study.name!r}", settings.lease_seconds)


def submit(
    database: Database, settings: Settings, plan: Plan, expected: Mapping[str, Cost] | None = None, priority: int = 0
) -> Submission:
    """Queue what a plan needs, with its expected cost."""
    queue = Queue(database, settings.lease_seconds)
    queue.repair()
    known = {i: (cost.seconds, cost.memory_mb) for i, cost in (expected or {}).items()}
    return queue.submit(plan, known, priority)


def work_off(
    database: Database, settings: Settings, plan: Plan, watch: Callable[[Event], None], keep_alive: Refresh
) -> Table:
    """Compute what a plan still needs, or wait for others who do; returns its table."""
    Worker(database, settings, watch).run(list(plan.calculations), keep_alive)
    return table_of(database, settings, plan)


def table_of(database: Database, settings: Settings, plan: Plan) -> Table:
    """Make the table of a plan from what the database holds now."""
    ids = list(plan.calculations)
    return build_table(plan, database.records_of(ids), Queue(database, settings.lease_seconds).problems(ids))


def has_properties(database: Database, plan: Plan) -> bool:
    """Whether any charges and potentials that a plan asks for are there."""
    wanted = [i for i, given in plan.calculations.items() if given.step == "properties"]
    return bool(wanted) and database.records.find_one({"_id": {"$in": wanted}}, {"_id": 1}) is not None


def report_source(database: Database, settings: Settings, plan: Plan, command: str) -> ReportSource:
    """What a report on a plan is made from, as the database is now; good while it is open."""
    ids = list(plan.calculations)
    return ReportSource(
        plan,
        database.records_of(ids),
        Queue(database, settings.lease_seconds).problems(ids),
        database.get_file,
        command=command,
    )


def costs(plan: Plan, settings: Settings, past: list[Record]) -> dict[str, Cost]:
    """Estimate every calculation of a plan on this machine, calibrated by past records."""
    threads = settings.threads or usable_cores()
    factor = calibrate(past)
    available = settings.memory_mb or usable_memory_mb()
    return {
        calculation: estimate(given, threads, factor, available) for calculation, given in plan.calculations.items()
    }


def past_records(database: Database, limit: int = 30) -> list[Record]:
    """The latest energies in the database, to calibrate estimates with."""
    found = database.records.find({"step": "energy"}, {"_id": 1}).sort("provenance.finished", -1).limit(limit)
    return list(database.records_of([d["_id"] for d in found]).values())


def expected_seconds(database: Database, settings: Settings) -> dict[str, float]:
    """Estimated time of what waits or runs [s], by id; of a long queue, of its beginning."""
    factor = calibrate(past_records(database))
    threads = settings.threads or usable_cores()
    waiting = {"state": {"$in": ["READY", "WAITING", "RUNNING"]}}
    found = database.calculations.find(waiting, {"input": 1}).limit(_LONGEST_ESTIMATE)
    inputs = [CalculationInput.model_validate(d["input"]) for d in found]
    return {given.id: estimate(given, threads, factor).seconds for given in inputs}


def bundle_of(database: Database, plan: Plan) -> Bundle:
    """Collect the records of a plan, in the plan's order."""
    records = database.records_of(list(plan.calculations))
    return Bundle(plan=plan, records=[records[i] for i in plan.calculations if i in records])
