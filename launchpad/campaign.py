"""A study from submission to table."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from alkaflow.analysis import Table, build_table
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


def study_lock(database: Database, settings: Settings, plan: Plan) -> AbstractContextManager[Refresh]:
    """Hold a study, so that it is reproduced once at a time; raises LockedError."""
    return lock(database, f"study {plan.study.name!r}", settings.lease_seconds)


def submit(database: Database, settings: Settings, plan: Plan) -> Submission:
    """Queue what a plan needs."""
    queue = Queue(database, settings.lease_seconds)
    queue.repair()
    return queue.submit(plan)


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


def waiting_inputs(database: Database) -> list[CalculationInput]:
    """Inputs of all calculations that are neither done nor failed."""
    open_ones = database.calculations.find({"state": {"$nin": ["COMPLETED", "FIZZLED"]}}, {"input": 1})
    return [CalculationInput.model_validate(d["input"]) for d in open_ones]


def bundle_of(database: Database, plan: Plan) -> Bundle:
    """Collect the records of a plan, in the plan's order."""
    records = database.records_of(list(plan.calculations))
    return Bundle(plan=plan, records=[records[i] for i in plan.calculations if i in records])
