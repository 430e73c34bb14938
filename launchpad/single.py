"""One structure at a time, through the same queue as everything else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from alkaflow.calculations import Constraint
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.limits import time_limit
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Event, Worker
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.settings import Settings, load_settings
from alkaflow.structures import Structure, from_ase, from_pymatgen
from alkaflow.workflows import plan_single
from alkaflow.workflows.protocols import choose_protocol

SADDLE_WITH_CONSTRAINTS = "what leaves a saddle point relaxes freely; leave out the constraints, or leave_saddle"


def calculate(
    structure: Any,
    level: str | None = None,
    protocol: str | None = None,
    relax: bool = False,
    settings: Settings | None = None,
    *,
    frequencies: bool = False,
    leave_saddle: bool = False,
    constraints: tuple[Constraint, ...] | None = None,
    charge: int | None = None,
    multiplicity: int | None = None,
) -> Record:
    """Compute one structure and return its record; what is in the database already is not computed again.

    Parameters
    ----------
    structure
        A `Structure`, an ``ase.Atoms`` without periodic boundaries, or a pymatgen ``Molecule``. The charge of an
        ``ase.Atoms`` is ``info["charge"]``, else the sum of its initial charges; its multiplicity, 2S+1, is
        ``info["multiplicity"]``, ``info["spin_multiplicity"]`` or ``info["spin"]``, else one more than the sum of its
        initial magnetic moments. Where nothing is said it is neutral, in the lowest multiplicity.
    level, protocol
        One of the two: ``b3lyp-d3bj/6-31g(d)``, ``composite``.
    relax
        At that level, before the energy.
    settings
        Those of the configuration file by default.
    frequencies
        Also harmonic frequencies at the last geometry; the record is then theirs, with ``vibrations``. That of the
        energy is what the same call returns without them, at no cost.
    leave_saddle
        The same, and while there are imaginary modes, at most three times: displace along the lowest, relax again.
    constraints
        What the relaxation holds; not with frequencies.
    charge, multiplicity
        Override what the structure says. Another charge alone goes with the lowest multiplicity, unless the atoms are
        ASE's and say one.

    Raises
    ------
    BadInputError
        Structure, level or protocol cannot be used, or frequencies are asked for of an atom.
    CalculationError
        A step ended without a result.
    """
    molecule = as_structure(structure, charge, multiplicity)
    if len(molecule) == 1 and (frequencies or leave_saddle):
        raise BadInputError(f"an atom has no vibrations; leave out {'leave_saddle' if leave_saddle else 'frequencies'}")
    where = settings or load_settings()

    def run(steps: SingleRun) -> list[Record]:
        return run_single(steps, where)

    if not leave_saddle:
        return run(plan_single(molecule, level, protocol, relax, frequencies, constraints))[-1]
    if constraints:
        raise BadInputError(SADDLE_WITH_CONSTRAINTS)
    from alkaflow.workflows.saddles import to_minimum

    return to_minimum(molecule, choose_protocol(level, protocol, relax, frequencies=True), run)[-1]


def run_single(run: SingleRun, settings: Settings, watch: Callable[[Event], None] = lambda _: None) -> list[Record]:
    """Queue the steps of a run, work them off, and return their records in its order.

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
        records = database.records_of(ids)
        if len(records) == len(ids):
            return [records[i] for i in ids]
        problems = queue.problems(ids)
    limit = time_limit(None)
    if not problems and limit is not None and limit.seconds <= 0:
        raise CalculationError(
            "out_of_time", f"not everything was computed: {limit.reason}; run the same command again"
        )
    failed = next(iter(problems), ids[-1])
    outcome, said, message = problems.get(failed, "engine_crashed: it did not run").partition(": ")
    if not said:  # by a person
        step = "resume" if outcome == "paused" else "retry"
        raise CalculationError(
            "engine_crashed",
            f"{run.titles[failed]} ({failed}) was not computed: it is {outcome}; run: alkaflow {step} {failed[:8]}",
        )
    raise CalculationError(outcome, f"{run.titles[failed]} ({failed}): {message or outcome}")


def as_structure(given: Any, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """A structure from what users have: ours, ASE's or pymatgen's, with another charge or multiplicity where given.

    Raises
    ------
    BadInputError
        It is none of these, or cannot be used; see `from_ase` and `from_pymatgen`.
    """
    if isinstance(given, Structure):
        charge = given.charge if charge is None else charge
        if multiplicity is None:
            multiplicity = given.multiplicity if charge == given.charge else 0
        return replace(given, charge=charge, multiplicity=multiplicity)
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(given).__mro__}
    if ("ase", "Atoms") in kinds:
        return from_ase(given, charge, multiplicity)
    if ("pymatgen", "IMolecule") in kinds:
        return from_pymatgen(given, charge, multiplicity)
    raise BadInputError(
        f"a {type(given).__name__} is not read here; give an alkaflow.Structure, an ase.Atoms or a pymatgen Molecule "
        "(a crystal, as pymatgen's Structure is, is refused)"
    )
