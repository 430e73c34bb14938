"""reproduce, submit, table."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.cli.output import duration, number_of, print_columns, print_json, say, write_text
from alkaflow.plans import Plan
from alkaflow.settings import Settings, load_settings

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a shipped study, or path of a YAML file.")]
ProtocolOption = Annotated[str | None, typer.Option("--protocol", help="Instead of the study's own.")]
SiteOption = Annotated[
    list[str] | None,
    typer.Option("--site", help="Only these sites (id, kind or label); also ones the study lacks."),
]
GuestOption = Annotated[list[str] | None, typer.Option("--guest", help="Only these guests.")]
PropertiesOption = Annotated[
    bool, typer.Option("--properties", help="Also charges by all schemes, and the electrostatic potential.")
]
TABLE_FORMATS = ("text", "markdown", "csv", "json", "latex")  # the analysis package is not imported for --help
FormatOption = Annotated[str, typer.Option("--format", help=f"One of: {', '.join(TABLE_FORMATS)}.")]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", min=1.0, max=10000.0, help="Of the weights of places [K].")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the screen.")]


def reproduce(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    properties: PropertiesOption = False,
    style: FormatOption = "text",
    temperature: TemperatureOption = 298.15,
    output: OutputOption = None,
) -> None:
    """Compute a study and print its table beside the published one: submit, work, table.

    Goes on from whatever is done already. Exit code 0 only when every row was computed.
    """
    _check_output(style, output)
    _check_names(study, protocol)
    from alkaflow.analysis import format_table
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import paused, tally
    from alkaflow.launchpad.worker import check_device

    settings = load_settings()
    check_device(settings)
    plan = _plan(study, protocol, site, guest, properties)
    with open_database(settings) as database, campaign.study_lock(database, settings, plan) as keep_alive:
        expected = campaign.costs(plan, settings, campaign.past_records(database))
        submission = campaign.submit(database, settings, plan, expected)
        left = {i: cost.seconds for i, cost in expected.items() if i not in submission.done}
        say(f"{plan.study.name}, protocol {plan.protocol}: {_describe(submission, left)}")
        ids = list(plan.calculations)
        with Display(left, len(ids), lambda: (tally(database, ids).ended, len(ids))) as display:
            table = campaign.work_off(database, settings, plan, display, keep_alive)
        waiting = paused(database, ids)
    write_text(format_table(table, style, temperature), output)
    if not table.complete:
        again = "the same command tries the missing ones again"
        if waiting.number:
            are = f"{number_of(waiting.number, 'calculation is', 'calculations are')} paused"
            again = f"{are}; run: {waiting.command}; then the same command goes on"
        say(f"not every row was computed; {again}")
        raise typer.Exit(1)


def submit(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    properties: PropertiesOption = False,
    priority: Annotated[int, typer.Option("--priority", min=-1000, max=1000, help="Higher comes first.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Queue a study and return at once; `alkaflow worker` computes it."""
    _check_names(study, protocol)
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    plan = _plan(study, protocol, site, guest, properties)
    if dry_run:
        _print_plan(plan, settings, as_json)
        return
    with open_database(settings) as database:
        costs = campaign.costs(plan, settings, campaign.past_records(database))
        submission = campaign.submit(database, settings, plan, costs, priority)
    left = {i: costs[i].seconds for i in plan.calculations if i not in submission.done}
    if as_json:
        print_json(
            {
                "new": submission.new,
                "done": submission.done,
                "queued": submission.queued,
                "again": submission.again,
                "cancelled": submission.cancelled,
                "paused": submission.paused,
            }
        )
    else:
        print(f"{plan.study.name}, protocol {plan.protocol}: {_describe(submission, left)}")
        if submission.paused:
            print(f"what is paused begins after: alkaflow resume {plan.study.name}")
        if len(left) > len(submission.paused):
            on_cluster = ", or on the cluster: alkaflow cluster launch" if settings.cluster is not None else ""
            print(f"compute it with: alkaflow worker{on_cluster}")


def table(
    study: StudyArgument,
    protocol: ProtocolOption = None,
    site: SiteOption = None,
    guest: GuestOption = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="From the records in the package, computing nothing.")
    ] = False,
    style: FormatOption = "text",
    temperature: TemperatureOption = 298.15,
    output: OutputOption = None,
) -> None:
    """Print the table of a study, or of an archive, from what is there; exit code 0 only when every row is."""
    from alkaflow.analysis import format_table
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.cli.commands_report import archive_table
    from alkaflow.launchpad.database import open_database
    from alkaflow.workflows import shipped_table
    from alkaflow.workflows.archive import is_archive

    _check_output(style, output)
    if is_archive(study):
        if shipped or protocol or site or guest:
            raise BadInputError(f"{study} is an archive, whose table is printed as it is; leave out all other options")
        result = archive_table(study)
    elif shipped:
        if site or guest:
            raise BadInputError("--shipped prints the shipped table as it is; leave out --site and --guest")
        result = shipped_table(study, protocol)
    else:
        _check_names(study, protocol)
        settings = load_settings()
        plan = _plan(study, protocol, site, guest)
        with open_database(settings) as database:
            result = campaign.table_of(database, settings, plan)
    write_text(format_table(result, style, temperature), output)
    if not result.complete:
        say("not every row is computed")
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., Any]] = {
    "reproduce": reproduce,
    "submit": submit,
    "table": table,
}


def _check_names(study: str, protocol: str | None) -> None:
    """Refuse what is no study or no protocol, before anything that takes long to import."""
    from importlib.resources import files

    from alkaflow.workflows.protocols import get_protocol

    shipped = {p.parent.name for p in (Path(str(files("alkaflow.workflows"))) / "studies").glob("*/study.yaml")}
    path = Path(study)
    if study not in shipped and os.path.isdir(path):  # noqa: PTH112  (False for a name that is too long)
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".yaml", ".yml"))[:3]
        there = f", such as {path / inside[0]}" if inside else ""
        raise BadInputError(f"{study} is a directory; give the YAML file of a study{there}")
    if study not in shipped and path.suffix not in (".yaml", ".yml") and not os.path.isfile(path):  # noqa: PTH113
        raise UnknownNameError("study", study, shipped, hint="(or give the path of a YAML file)")
    if protocol is not None:
        get_protocol(protocol)


def _plan(
    study: str, protocol: str | None, sites: list[str] | None, guests: list[str] | None, properties: bool = False
) -> Plan:
    from alkaflow.workflows import load_study, make_plan

    source = load_study(study)
    return make_plan(source.study, protocol, source.folder, sites, guests, properties)


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
    failed, cancelled = len(submission.again) - len(submission.cancelled), len(submission.cancelled)
    parts = [number_of(total, "calculation"), f"{len(submission.done)} done already"]
    if failed:
        parts.append(f"{failed} failed before and {'is' if failed == 1 else 'are'} tried again")
    if cancelled:
        parts.append(number_of(cancelled, "was cancelled and is queued again", "were cancelled and are queued again"))
    if submission.paused:
        parts.append(number_of(len(submission.paused), "is paused", "are paused"))
    return f"{', '.join(parts)}; about {duration(sum(left.values()))} to compute"


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
