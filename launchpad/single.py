"""One structure at a time, through the same queue as everything else."""

from collections.abc import Callable
from typing import Any

from alkaflow.errors import BadInputError, CalculationError
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Event, Worker
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.settings import Settings, load_settings
from alkaflow.structures import Structure, from_ase, from_pymatgen
from alkaflow.workflows import plan_single


def calculate(
    structure: Any,
    level: str | None = None,
    protocol: str | None = None,
    relax: bool = False,
    settings: Settings | None = None,
) -> Record:
    """Compute one structure and return its record; what is in the database already is not computed again.

    Parameters
    ----------
    structure
        A `Structure`, an ``ase.Atoms`` (charge and multiplicity in its ``info``) or a pymatgen ``Molecule``.
    level, protocol
        One of the two: ``b3lyp-d3bj/6-31g(d)``, ``composite``.
    relax
        At that level, before the energy.
    settings
        Those of the configuration file by default.

    Raises
    ------
    BadInputError
        Structure, level or protocol cannot be used.
    CalculationError
        A step ended without a result.
    """
    return run_single(plan_single(as_structure(structure), level, protocol, relax), settings or load_settings())


def run_single(run: SingleRun, settings: Settings, watch: Callable[[Event], None] = lambda _: None) -> Record:
    """Queue the steps of a run, work them off, and return the record of the last.

    Raises
    ------
    CalculationError
        A step ended without a result.
    """
    ids = list(run.calculations)
    with open_database(settings) as database:
        queue = Queue(database, settings.lease_seconds)
        queue.repair()
        queue.submit(run)
        Worker(database, settings, watch).run(ids)
        record = database.record(ids[-1])
        if record is not None:
            return record
        problems = queue.problems(ids)
    failed = next(iter(problems), ids[-1])
    outcome, _, message = problems.get(failed, "engine_crashed: it did not run").partition(": ")
    raise CalculationError(outcome, f"{run.titles[failed]} ({failed}): {message or outcome}")


def as_structure(given: Any) -> Structure:
    """A structure from what users have: ours, ASE's or pymatgen's; raises BadInputError for anything else."""
    if isinstance(given, Structure):
        return given
    kind = type(given).__name__
    if kind == "Atoms":
        return from_ase(given)
    if kind in ("Molecule", "IMolecule"):
        return from_pymatgen(given)
    raise BadInputError(f"a {kind} is no structure; give a Structure, an ase.Atoms or a pymatgen Molecule")
