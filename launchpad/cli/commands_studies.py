"""reproduce, submit, worker, status, table."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import ADVICE, BadInputError, UnknownNameError
from alkaflow.launchpad.cli.output import duration, print_columns, print_json, say, study_name, write_text
from alkaflow.plans import Plan, SingleRun
from alkaflow.records import Record, Vibrations
from alkaflow.settings import Settings, load_settings

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a shipped study, or path of a YAML file.")]
ProtocolOption = Annotated[str | None, typer.Option("--protocol", help="Instead of the study's own.")]
SiteOption = Annotated[
    list[str] | None,
    typer.Option("--site", help="Only these sites (id, kind or label); also ones the study lacks."),
]
GuestOption = Annotated[list[str] | None, typer.Option("--guest", help="Only these guests.")]
TABLE_FORMATS = ("text", "markdown", "csv", "json", "latex")  # the analysis package is not imported for --help
FormatOption = Annotated[str, typer.Option("--format", help=f"One of: {', '.join(TABLE_FORMATS)}.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")]


def reproduce(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    style: FormatOption = "text",
    output: OutputOption = None,
) -> None:
    """Compute a study and print its table beside the published one: submit, work, table.

    Goes on from whatever is done already. Exit code 0 only when every row was computed.
    """
    from alkaflow.analysis import format_table
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.worker import check_device

    _check_output(style, output)
    settings = load_settings()
    check_device(settings)
    plan = _plan(study, protocol, site, guest)
    with open_database(settings) as database, campaign.study_lock(database, settings, plan) as keep_alive:
        submission = campaign.submit(database, settings, plan)
        expected = campaign.costs(plan, settings, campaign.past_records(database))
        left = {i: cost.seconds for i, cost in expected.items() if i not in submission.done}
        say(f"{plan.study.name}, protocol {plan.protocol}: {_describe(submission, left)}")
        with Display(left, len(plan.calculations)) as display:
            table = campaign.work_off(database, settings, plan, display, keep_alive)
    write_text(format_table(table, style), output)
    if not table.complete:
        say("not every row was computed; the same command tries the missing ones again")
        raise typer.Exit(1)


def submit(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Queue a study and return at once; `alkaflow worker` computes it."""
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    plan = _plan(study, protocol, site, guest)
    if dry_run:
        _print_plan(plan, settings, as_json)
        return
    with open_database(settings) as database:
        submission = campaign.submit(database, settings, plan)
        costs = campaign.costs(plan, settings, campaign.past_records(database))
    left = {i: costs[i].seconds for i in plan.calculations if i not in submission.done}
    if as_json:
        print_json(
            {
                "new": submission.new,
                "done": submission.done,
                "queued": submission.queued,
                "again": submission.again,
            }
        )
    else:
        print(f"{plan.study.name}, protocol {plan.protocol}: {_describe(submission, left)}")
        print("compute it with: alkaflow worker")


def worker() -> None:
    """Work off the queue until it is empty."""
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.limits import usable_cores
    from alkaflow.launchpad.results import status as status_of
    from alkaflow.launchpad.worker import Worker
    from alkaflow.workflows import calibrate, estimate

    settings = load_settings()
    with open_database(settings) as database:
        threads = settings.threads or usable_cores()
        factor = calibrate(campaign.past_records(database))
        waiting = campaign.waiting_inputs(database)
        expected = {given.id: estimate(given, threads, factor).seconds for given in waiting}
        with Display(expected, len(expected)) as display:
            computed = Worker(database, settings, display).run()
        failed = status_of(database).failed
        left = database.calculations.count_documents({"state": {"$nin": ["COMPLETED", "FIZZLED"]}})
    say(f"{computed} calculations were worked on; " + _left_over(left))
    if failed:
        say(f"{len(failed)} failed; alkaflow status says why")
        raise typer.Exit(1)


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Name or path; all by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is waiting, running, done and failed."""
    from dataclasses import asdict

    from alkaflow.launchpad import results
    from alkaflow.launchpad.database import open_database

    with open_database(load_settings()) as database:
        name = results.known_study(database, study_name(study)) if study is not None else None
        found = results.status(database, name)
    if as_json:
        print_json(asdict(found))
        return
    if not found.counts:
        print("nothing was submitted yet; try: alkaflow reproduce dicyanopyrazine")
    for state, number in found.counts.items():
        print(f"{state:<10} {number}")
    for entry in found.running:
        print(f"running    {entry['id']}  {entry['title']}: {_progress_text(entry)}")
    for entry in found.failed:
        print(f"failed     {entry['id']}  {entry['title']}: {entry.get('outcome')}: {entry.get('message')}")
        if entry.get("outcome") in ADVICE:
            print(f"           {ADVICE[entry['outcome']].replace(' ID', ' ' + entry['id'][:8])}")


def table(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="From the records in the package, computing nothing.")
    ] = False,
    style: FormatOption = "text",
    output: OutputOption = None,
) -> None:
    """Print the table of a study from what is computed so far; exit code 0 only when every row is there."""
    from alkaflow.analysis import format_table
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.database import open_database
    from alkaflow.workflows import shipped_table

    _check_output(style, output)
    if shipped:
        if site or guest:
            raise BadInputError("--shipped prints the shipped table as it is; leave out --site and --guest")
        result = shipped_table(study, protocol)
    else:
        settings = load_settings()
        plan = _plan(study, protocol, site, guest)
        with open_database(settings) as database:
            result = campaign.table_of(database, settings, plan)
    write_text(format_table(result, style), output)
    if not result.complete:
        say("not every row is computed")
        raise typer.Exit(1)


def calculate(
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="A file, a name or a SMILES string.")],
    level: Annotated[str | None, typer.Option("--level", help="Such as 'b3lyp-d3bj/6-31g(d)', or gfn2-xtb.")] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="Instead of a level: several steps.")] = None,
    relax: Annotated[bool, typer.Option("--relax", help="At that level, before the energy.")] = False,
    frequencies: Annotated[
        bool, typer.Option("--frequencies", help="Also vibrations, zero-point and thermal corrections.")
    ] = False,
    leave_saddle: Annotated[
        bool,
        typer.Option("--leave-saddle", help="The same, and relax on along imaginary modes until there are none."),
    ] = False,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the thermal corrections [K]; 298.15 without it.")
    ] = None,
    pressure: Annotated[
        float | None, typer.Option("--pressure", help="Of the thermal corrections [Pa]; 101325 without it.")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Atoms, from 0, that a relaxation leaves alone: 0,1,2.")
    ] = None,
    constrain: Annotated[
        list[str] | None,
        typer.Option("--constrain", help="What a relaxation holds: distance:0-5=2.1, angle:1-0-2, dihedral:2-0-1-3."),
    ] = None,
    charge: Annotated[int | None, typer.Option("--charge", help="Instead of what the source says.")] = None,
    multiplicity: Annotated[int | None, typer.Option("--multiplicity", min=1, help="2S+1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compute one structure and print its record, with --frequencies that of these.

    Exit code 1 where --leave-saddle has not led to a minimum.
    """
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.single import SADDLE_WITH_CONSTRAINTS, run_single
    from alkaflow.launchpad.worker import check_device
    from alkaflow.structures import load_host
    from alkaflow.workflows import estimate, plan_single
    from alkaflow.workflows.constraints import read_constraints
    from alkaflow.workflows.protocols import choose_protocol
    from alkaflow.workflows.vibrations import at_conditions

    conditions = _conditions(temperature, pressure, frequencies or leave_saddle)
    chosen = choose_protocol(level, protocol, relax, frequencies or leave_saddle)
    constraints = read_constraints(freeze or (), constrain or ())
    if constraints and leave_saddle:
        raise BadInputError(SADDLE_WITH_CONSTRAINTS)
    molecule = load_host(structure, charge, multiplicity)
    settings = load_settings()
    check_device(settings)
    cores = settings.threads or len(os.sched_getaffinity(0))

    def run(steps: SingleRun) -> list[Record]:
        left = {i: estimate(given, cores).seconds for i, given in steps.calculations.items()}
        with Display(left, len(left)) as display:
            return run_single(steps, settings, display)

    if leave_saddle:
        from alkaflow.workflows.saddles import to_minimum

        records = to_minimum(molecule, chosen, run)
    else:
        records = run(plan_single(molecule, level, protocol, relax, frequencies, constraints))
    if conditions:
        records[-1] = at_conditions(records[-1], **conditions)
    if as_json:
        print(records[-1].model_dump_json(indent=2))
    else:
        print_columns(("", ""), _rows(records))
    vibrations = records[-1].vibrations
    if vibrations is not None and vibrations.imaginary:
        say(_on_imaginary(records[-1].symbols, vibrations, leave_saddle))
        if leave_saddle:
            raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., Any]] = {
    "reproduce": reproduce,
    "submit": submit,
    "worker": worker,
    "status": status,
    "table": table,
    "calculate": calculate,
}


def _conditions(temperature: float | None, pressure: float | None, vibrates: bool) -> dict[str, float]:
    """What was asked for of the thermal corrections; refused where there are none, or where it is impossible."""
    given = {name: x for name, x in (("temperature", temperature), ("pressure", pressure)) if x is not None}
    for name, x in given.items():
        if not vibrates:
            raise BadInputError(f"--{name} is of thermal corrections; add --frequencies")
        if not 0 < x < math.inf:
            raise BadInputError(f"--{name} {x:g} is not above 0")
    return given


def _rows(records: list[Record]) -> list[tuple[str, Any]]:
    """What people want to see of the energy, and of the frequencies where they come last."""
    from alkaflow.analysis.states import heights_ev

    last = records[-1]
    record = next(r for r in reversed(records) if r.step == "energy")
    rows = [
        ("id", record.id),
        ("formula, charge, 2S+1", f"{record.formula}, {record.charge:+d}, {record.multiplicity}"),
        ("level", record.level),
        ("energy / Eh", f"{record.energy_hartree:.8f}"),
        ("<S2>", None if record.s_squared is None else f"{record.s_squared:.3f}"),
        ("dipole / D", None if record.dipole_debye is None else " ".join(f"{x:.3f}" for x in record.dipole_debye)),
    ]
    if searched := [state for r in records for state in r.states]:
        found = ", ".join(f"{height:.3f}" for height in heights_ev(searched))
        rows.append(("electronic states / eV", f"{found} (by a search; the first was carried on)"))
    if last.vibrations is not None:
        rows += _vibration_rows(last, last.vibrations, record.energy_hartree)
    said = dict.fromkeys(warning for r in (record, last) for warning in r.warnings)
    return [*rows, *(("warning", warning) for warning in said)]


def _vibration_rows(record: Record, vibrations: Vibrations, energy: float) -> list[tuple[str, Any]]:
    """Wavenumbers, eight in a row, and what they add to an energy [Hartree]."""
    thermal = vibrations.thermochemistry
    numbers = [f"{wavenumber:.1f}" for wavenumber in vibrations.wavenumbers]
    lines = [" ".join(numbers[first : first + 8]) for first in range(0, len(numbers), 8)]
    heads = ["wavenumbers / cm-1", *[""] * len(lines)]
    return [
        ("id of the frequencies", record.id),
        ("their level", record.level),
        *zip(heads, lines, strict=False),
        ("imaginary modes", vibrations.imaginary),
        ("zero-point energy / Eh", f"{vibrations.zero_point_energy:.6f}"),
        ("at", f"{thermal.temperature:.2f} K, {thermal.pressure:.0f} Pa, symmetry number {vibrations.symmetry_number}"),
        ("correction to H / Eh", f"{thermal.enthalpy:.6f}"),
        ("correction to G / Eh", f"{thermal.gibbs:.6f}"),
        ("H / Eh", f"{energy + thermal.enthalpy:.6f}"),
        ("G / Eh", f"{energy + thermal.gibbs:.6f}"),
    ]


def _on_imaginary(symbols: list[str], vibrations: Vibrations, leave_saddle: bool) -> str:
    """What imaginary modes mean, and what to do."""
    from alkaflow.workflows.vibrations import STATIONARY

    lengths = [sum(x * x for x in step) for step in vibrations.imaginary_modes[0]]
    moving = sorted(range(len(lengths)), key=lambda k: -lengths[k])[:3]
    where = ", ".join(f"{symbols[k]}{k}" for k in moving)
    found = (
        f"{vibrations.imaginary} imaginary: the energy falls along {'it' if vibrations.imaginary == 1 else 'them'}, so "
        f"this is no minimum; the lowest ({vibrations.wavenumbers[0]:.0f} cm-1) moves {where} most"
    )
    if vibrations.max_gradient is not None and vibrations.max_gradient > STATIONARY:
        return f"{found}. The geometry is not stationary at this level either: relax it first, with --relax"
    if not leave_saddle:
        return f"{found}. To relax on from there: the same command with --leave-saddle"
    return f"{found}. That is still so after the last round; below some 30 cm-1 it may be noise of the grid"


def _left_over(number: int) -> str:
    if not number:
        return "the queue is empty"
    return f"{number} more wait for one that failed, or are computed by another worker: alkaflow status"


def _plan(study: str, protocol: str | None, sites: list[str] | None, guests: list[str] | None) -> Plan:
    from alkaflow.workflows import load_study, make_plan

    source = load_study(study)
    return make_plan(source.study, protocol, source.folder, sites, guests)


def _check_output(style: str, output: Path | None) -> None:
    """Refuse a format or a file that would fail after the work is done."""
    if style not in TABLE_FORMATS:
        raise UnknownNameError("format", style, TABLE_FORMATS)
    if output is None:
        return
    folder = output.absolute().parent
    if not folder.is_dir():
        raise BadInputError(f"cannot write {output}: there is no directory {folder}")
    if output.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"cannot write {output}: {'it is a directory' if output.is_dir() else 'no permission'}")


def _describe(submission: Any, left: dict[str, float]) -> str:
    total = len(left) + len(submission.done)
    if not left:
        return f"all {total} calculations are done already"
    again = f", {len(submission.again)} failed before and are tried again" if submission.again else ""
    done = f"{len(submission.done)} done already{again}"
    return f"{total} calculations, {done}; about {duration(sum(left.values()))} to compute"


def _print_plan(plan: Plan, settings: Settings, as_json: bool) -> None:
    """Print every calculation of a plan with its estimated cost; asks the database only where it runs already."""
    from alkaflow.launchpad import campaign
    from alkaflow.workflows import get_protocol

    states, past = _known(plan, settings)
    costs = campaign.costs(plan, settings, past)
    rows = [
        {
            "id": i,
            "title": plan.titles[i],
            "level": str(given.level),
            "state": states.get(i, "new"),
            "basis_functions": costs[i].basis_functions,
            "memory_mb": round(costs[i].memory_mb),
            "disk_mb": round(costs[i].disk_mb),
            "seconds": round(costs[i].seconds, 1),
        }
        for i, given in plan.calculations.items()
    ]
    if as_json:
        print_json({"study": plan.study.name, "protocol": plan.protocol, "level": plan.level, "calculations": rows})
        return
    print(f"{plan.study.name}, protocol {plan.protocol}: {get_protocol(plan.protocol).summary}")
    print_columns(
        ("id", "calculation", "level", "state", "functions", "memory", "disk", "time"),
        [
            (
                r["id"],
                r["title"],
                r["level"],
                r["state"],
                r["basis_functions"] or "-",
                f"{r['memory_mb']} MB",
                f"{r['disk_mb']} MB",
                duration(costs[str(r["id"])].seconds),
            )
            for r in rows
        ],
    )
    left = sum(costs[str(r["id"])].seconds for r in rows if r["state"] != "COMPLETED")
    memory = max(cost.memory_mb for cost in costs.values())
    disk = max(cost.disk_mb for cost in costs.values())
    print(
        f"{len(rows)} calculations, about {duration(left)} to compute; at the most {memory:.0f} MB of memory and "
        f"{disk:.0f} MB of disk; nothing was written"
    )


def _known(plan: Plan, settings: Settings) -> tuple[dict[str, str], list[Any]]:
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.mongod import EmbeddedMongod

    if settings.mongodb_uri is None and not EmbeddedMongod(settings).is_running():
        return {}, []
    with open_database(settings, start=False) as database:
        found = database.calculations.find({"_id": {"$in": list(plan.calculations)}}, {"state": 1})
        return {d["_id"]: d["state"] for d in found}, campaign.past_records(database)


def _progress_text(entry: dict[str, Any]) -> str:
    progress = entry["progress"]
    if entry["alive"] is False:
        return f"process {entry['pid']} on {entry['host']} is gone; the next worker takes it over"
    where = f"on {entry['host']} (process {entry['pid']})"
    if not progress:
        return f"starting {where}"
    return (
        f"{progress['stage']} {progress['step']}, E = {progress['energy_hartree']:.6f} Eh, "
        f"{duration(progress['elapsed'])} {where}"
    )
