"""report, import."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli.output import print_json, say
from alkaflow.settings import load_settings

if TYPE_CHECKING:
    from alkaflow.analysis.report import ReportSource
    from alkaflow.analysis.table import Table

ProtocolOption = Annotated[str | None, typer.Option("--protocol", help="Instead of the study's own.")]


def report(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name of a shipped study, path of a YAML file, or an archive.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A directory; created where it is missing.")],
    protocol: ProtocolOption = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="From the records in the package.")] = False,
    with_orbitals: Annotated[
        bool, typer.Option("--with-orbitals", help="Orbitals and surfaces go into the archive, too.")
    ] = False,
) -> None:
    """Write a report on a study from what is computed so far, computing nothing.

    A page that needs no network, Markdown, tables, charges, references, geometries, pictures and an archive.
    """
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.database import open_database
    from alkaflow.workflows import load_study, make_plan
    from alkaflow.workflows.archive import is_archive, open_archive

    check_directory(output)
    if is_archive(study):
        if shipped or protocol:
            raise BadInputError(f"{study} is an archive, which has its own records; leave out --shipped and --protocol")
        archive = open_archive(Path(study))
        _write(_source(archive, f"From the archive {archive.path.name}."), output, with_orbitals)
    elif shipped:
        _write(_source(open_archive(shipped_path(study, protocol)), "From the records shipped with alkaflow."), output,
               with_orbitals)  # fmt: skip
    else:
        source = load_study(study)
        plans = [make_plan(source.study, protocol, source.folder, properties=wanted) for wanted in (True, False)]
        settings = load_settings()
        with open_database(settings) as database:
            plan = next((plan for plan in plans if campaign.has_properties(database, plan)), plans[-1])
            _write(
                campaign.report_source(database, settings, plan, _command(study, plan.protocol)), output, with_orbitals
            )


def import_(
    archive: Annotated[
        Path | None,
        typer.Argument(metavar="[ARCHIVE]", help="An archive.zip, a report, or a bundle of records with its orbitals."),
    ] = None,
    shipped: Annotated[
        str | None, typer.Option("--shipped", metavar="STUDY", help="The records in the package instead.")
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="Of the shipped records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the results of an archive into the database, as completed calculations; nothing there is overwritten."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.importing import import_archive
    from alkaflow.workflows.archive import open_archive

    if (archive is None) == (shipped is None):
        raise BadInputError("give either an archive or --shipped STUDY")
    if protocol is not None and shipped is None:
        raise BadInputError("--protocol goes with --shipped; an archive has its own")
    path = shipped_path(shipped, protocol) if shipped is not None else archive
    opened = open_archive(Path(str(path)))
    settings = load_settings()
    with open_database(settings) as database:
        done = import_archive(database, settings, opened, _count)
    plan = opened.bundle.plan
    if as_json:
        print_json({"study": plan.study.name, "protocol": plan.protocol, **asdict(done)})
    else:
        print(
            f"{plan.study.name}, protocol {plan.protocol}: {len(done.new)} records are new, {len(done.known)} were "
            f"there already, {len(done.kept)} were left out; {done.files} files"
        )
        for calculation, why in done.kept.items():
            say(f"left out: {calculation} ({plan.titles[calculation]}): {why}")
        if done.missing:
            say(f"{len(done.missing)} calculations of the plan have no record; alkaflow submit computes them")
    if done.kept:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., Any]] = {"report": report, "import": import_}


def archive_table(study: str) -> "Table":
    """The table of an archive, from its records alone."""
    from alkaflow.analysis import build_table
    from alkaflow.workflows.archive import open_archive

    bundle = open_archive(Path(study)).bundle
    return build_table(bundle.plan, bundle.by_id)


def shipped_path(study: str, protocol: str | None) -> Path:
    """Where the shipped records of a study lie; raises where there are none."""
    from alkaflow.workflows import shipped_bundle, shipped_studies

    chosen = shipped_bundle(study, protocol).plan.protocol
    return shipped_studies()[study] / f"{chosen}.json"


def check_directory(path: Path) -> None:
    """Refuse a directory that cannot take a report, before any work is done.

    Raises
    ------
    BadInputError
        It is a file, cannot be made or written to, or holds something else than a report.
    """
    if path.exists():
        if not path.is_dir():
            raise BadInputError(f"{path} is a file; give a directory")
        if not os.access(path, os.W_OK | os.X_OK):
            raise BadInputError(f"cannot write to {path}: no permission")
        if any(path.iterdir()) and not (path / "report.md").is_file():
            raise BadInputError(f"{path} is not empty and holds no report; give a new directory, or that of a report")
        return
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise BadInputError(f"cannot create {path}: {above} is {'no directory' if above.is_file() else 'not writable'}")


def _command(study: str, protocol: str) -> str:
    return f"{study} --protocol {protocol}"


def _source(archive: Any, origin: str) -> "ReportSource":
    from alkaflow.analysis.report import ReportSource

    plan = archive.bundle.plan
    return ReportSource(
        plan, archive.bundle.by_id, read_file=archive.read_file, origin=origin,
        command=_command(plan.study.name, plan.protocol),
    )  # fmt: skip


def _write(source: "ReportSource", output: Path, with_orbitals: bool) -> None:
    """Make a report and its archive, then write them."""
    from alkaflow.analysis.report import PAGE, make_report, report_files
    from alkaflow.files import write_atomically
    from alkaflow.workflows import Bundle
    from alkaflow.workflows.archive import NAME, make_archive

    say("drawing")
    made = make_report(source)
    files = report_files(made, [(NAME, "plan and records, to be cited, and read by: alkaflow import")])
    records = [source.records[i] for i in source.plan.calculations if i in source.records]
    kept = ("table.", "charges.", "references.", "geometries/")
    files[NAME] = make_archive(
        Bundle(plan=source.plan, records=records),
        {name: data for name, data in files.items() if name.startswith(kept)},
        source.read_file if with_orbitals else None,
    )
    try:
        for name, data in files.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data, mode=0o644)
    except OSError as error:
        raise BadInputError(f"cannot write the report to {output}: {error.strerror}") from None
    print(f"written: {output / PAGE}, {len(files) - 1} files beside it")
    if made.failures or made.missing:
        say(f"{len(made.failures)} calculations failed, {len(made.missing)} are not computed; the report says which")


def _count(number: int) -> None:
    if number and number % 1000 == 0:
        say(f"{number} records so far")
