"""db start, stop, status, dump, restore, migrate; and doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alkaflow.errors import ServiceError
from alkaflow.launchpad.cli.output import print_json, say
from alkaflow.settings import Settings, load_settings

if TYPE_CHECKING:
    from alkaflow.launchpad.findings import Finding

app = typer.Typer(help="The database.", no_args_is_help=True, rich_markup_mode=None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def start() -> None:
    """Start the embedded mongod."""
    from alkaflow.launchpad.mongod import EmbeddedMongod

    settings = load_settings()
    if settings.mongodb_uri is not None:
        say("a MongoDB server is configured; there is nothing to start")
        return
    server = EmbeddedMongod(settings)
    started = server.start()
    print(f"mongod {'started' if started else 'runs already'}: process {server.pid()}, socket {server.socket}")


@app.command()
def stop(force: Annotated[bool, typer.Option("--force", help="Even while something computes.")] = False) -> None:
    """Stop the embedded mongod; data stays. Refused while a calculation runs."""
    from alkaflow.launchpad.mongod import EmbeddedMongod

    settings = load_settings()
    server = EmbeddedMongod(settings)
    if not force and settings.mongodb_uri is None and server.is_running():
        _refuse_while_computing(settings)
    stopped = server.stop()
    print("mongod stopped" if stopped else "mongod was not running")


def _refuse_while_computing(settings: Settings) -> None:
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import status as status_of

    with open_database(settings, start=False) as database:
        alive = [entry for entry in status_of(database).running if entry["alive"]]
    if alive:
        raise ServiceError(
            f"process {alive[0]['pid']} is computing {alive[0]['title']}; stop it first (Ctrl-C), or use --force"
        )


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say whether the database runs, and where; exit code 0 only when it does."""
    found = _status(load_settings())
    if as_json:
        print_json(found)
    elif found["running"]:
        print(f"running: {found['uri']}" + (f" (process {found['pid']})" if found["pid"] else ""))
    elif found["problem"]:
        print(f"{found['uri']} cannot be used: {found['problem']}")
    else:
        print("not running; start it with: alkaflow db start")
    if not found["running"]:
        raise typer.Exit(1)


def _status(settings: Settings) -> dict[str, Any]:
    from alkaflow.launchpad.mongod import EmbeddedMongod

    if settings.mongodb_uri is None:
        server = EmbeddedMongod(settings)
        return {
            "running": server.is_running(),
            "pid": server.pid(),
            "socket": str(server.socket),
            "uri": server.uri,
            "problem": None,
        }
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, PyMongoError
    from pymongo.uri_parser import parse_uri

    from alkaflow.launchpad.database import database_uri
    from alkaflow.launchpad.redaction import cause_of, uri_fault

    uri = database_uri(settings)
    problem = None
    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5000) as client:
            client.admin.command("ping")
    except (ConfigurationError, ValueError) as error:
        raise ServiceError(f"mongodb_uri cannot be used: {uri_fault(error, uri)}") from None
    except PyMongoError as error:
        problem = "; ".join(cause_of(error))
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in parse_uri(uri, validate=False)["nodelist"])
    uri = f"mongodb://{hosts}/"
    return {"running": problem is None, "pid": None, "socket": None, "uri": uri, "problem": problem}


@app.command()
def dump(path: Annotated[Path, typer.Argument(metavar="FILE", help="A new zip file.")]) -> None:
    """Write the whole database to one file."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.dump import dump as write

    with open_database(load_settings(), any_version=True) as database:
        counts = write(database, path)
    print(f"written: {path} ({counts.get('records', 0)} records, {counts.get('calculations', 0)} calculations)")


@app.command()
def restore(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file that 'db dump' wrote.")],
) -> None:
    """Fill an empty database from a dump."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.dump import restore as fill

    with open_database(load_settings()) as database:
        counts = fill(database, path)
    print(f"restored: {counts.get('records', 0)} records, {counts.get('calculations', 0)} calculations")


@app.command()
def migrate() -> None:
    """Bring a database that an older alkaflow wrote to the present version; safe to be run again. Dump it first."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.queue import Queue
    from alkaflow.launchpad.schema import SCHEMA_VERSION
    from alkaflow.launchpad.schema import migrate as bring_up

    with open_database(load_settings(), any_version=True) as database:
        counts = bring_up(database, lambda name, changed: say(f"{name}: {changed} changed"))
        if counts:
            Queue(database).repair(everything=True)
    changed = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    print(f"schema {SCHEMA_VERSION}: {changed or 'nothing'} changed")


def doctor(
    as_json: JsonOption = False,
    mend: Annotated[bool, typer.Option("--mend", help="Put right what can be put right safely.")] = False,
) -> None:
    """Check Python, packages, BLAS, memory, disk and the database; say what to do. Exit code 1 on a problem."""
    from alkaflow.launchpad.doctor import examine
    from alkaflow.launchpad.exposure import look_at_config_file

    findings = []
    first = look_at_config_file()  # one that others can read is not used
    if first is not None:
        findings.append(first.mended() if mend else first)
        if not as_json:
            _show(findings[-1])
    for finding in examine(load_settings(), mend):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    shown = finding.as_dict()
    print(f"{shown['verdict']:<8} {shown['what']}: {shown['detail']}")
    if shown["advice"]:
        print(f"{'':<8} -> {shown['advice']}")
