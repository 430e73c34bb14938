"""cluster init, launch, status; those of job folders are in commands_folder."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError, ServiceError
from alkaflow.launchpad.cli import commands_folder
from alkaflow.launchpad.cli.output import print_columns, print_json, say
from alkaflow.settings import Settings, config_file, load_settings

app = typer.Typer(help="Workers on a cluster, by Slurm or PBS.", no_args_is_help=True, rich_markup_mode=None)

for _name, _function in commands_folder.COMMANDS.items():
    app.command(_name)(_function)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PartitionOption = Annotated[str | None, typer.Option("--partition", "--queue", help="Slurm's partition, PBS's queue.")]
AccountOption = Annotated[str | None, typer.Option(help="The account or project that pays.")]
QosOption = Annotated[str | None, typer.Option(help="Slurm's quality of service.")]
ConstraintOption = Annotated[str | None, typer.Option(help="Features that the node must have.")]
GresOption = Annotated[str | None, typer.Option(help="Generic resources, such as gpu:1.")]
CoresOption = Annotated[int | None, typer.Option(min=1, help="Cores of one job.")]
MemoryOption = Annotated[int | None, typer.Option(min=500, help="Memory of one job [MB].")]
WalltimeOption = Annotated[str | None, typer.Option(metavar="HH:MM:SS", help="Time of one job.")]
PackOption = Annotated[str | None, typer.Option(help="Calculations that share one job, or 'auto'.")]


def _whole_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise BadInputError(f"--pack is 'auto' or a number of calculations, not {text!r}") from None


@app.command()
def init(
    scheduler: Annotated[str, typer.Argument(metavar="slurm|pbs", help="Which scheduler takes the jobs.")],
    partition: PartitionOption = None,
    account: AccountOption = None,
    qos: QosOption = None,
    constraint: ConstraintOption = None,
    gres: GresOption = None,
    cores: CoresOption = None,
    memory_mb: MemoryOption = None,
    walltime: WalltimeOption = None,
    pack: PackOption = None,
    signal_seconds: Annotated[int | None, typer.Option(help="Stop this long before the walltime [s].")] = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", "-e", help="A shell line before the worker; may be repeated.")
    ] = None,
    scratch: Annotated[str | None, typer.Option(help="Folder on the node's own disk, such as '$SLURM_TMPDIR'.")] = None,
    completion_log: Annotated[Path | None, typer.Option(help="Slurm's job-completion log.")] = None,
) -> None:
    """Write the section 'cluster' of the configuration file, and the files of FireWorks."""
    from alkaflow.launchpad.cluster.files import write_fireworks, write_section
    from alkaflow.launchpad.cluster.launch import refuse_hidden_uri

    if scheduler not in ("slurm", "pbs"):
        raise BadInputError(f"there is no scheduler {scheduler!r} here; give slurm or pbs")
    given: dict[str, Any] = {
        "scheduler": scheduler, "partition": partition, "account": account, "qos": qos, "constraint": constraint,
        "gres": gres, "cores": cores, "memory_mb": memory_mb, "walltime": walltime,
        "pack": None if pack is None else _whole_or_auto(pack), "signal_seconds": signal_seconds,
        "environment": environment, "scratch": scratch,
        "completion_log": None if completion_log is None else str(completion_log),
    }  # fmt: skip
    settings = load_settings()
    refuse_hidden_uri(settings)
    if sys.stdin.isatty() and sys.stdout.isatty():
        _ask(given, settings)
    cluster = write_section(config_file(), {key: value for key, value in given.items() if value is not None})
    say(f"written: section 'cluster' of {config_file()}")
    for path in write_fireworks(load_settings(), cluster):
        say(f"written: {path}")
    say("see the script of a job with: alkaflow cluster launch --dry-run")


def _ask(given: dict[str, Any], settings: Settings) -> None:
    """Ask on the terminal for what no option gave; an empty answer keeps what there is."""
    questions: dict[str, tuple[str, Callable[[str], Any]]] = {
        "partition": ("partition (PBS: queue)", str),
        "account": ("account", str),
        "cores": ("cores of a job", _whole),
        "memory_mb": ("memory of a job [MB]; empty: from the estimates", _whole),
        "walltime": ("walltime of a job, HH:MM:SS; empty: from the estimates", str),
        "environment": ("shell lines before the worker, with ; between them", _lines),
        "scratch": ("folder on the node's own disk", str),
    }
    for name, (question, read) in questions.items():
        if given[name]:
            continue
        now = getattr(settings.cluster, name, None)
        shown = " [" + ("; ".join(now) if isinstance(now, tuple) else str(now)) + "]" if now else ""
        answer = input(f"{question}{shown}: ").strip()
        if answer:
            given[name] = read(answer)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a whole number") from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split(";") if line.strip()]


@app.command()
def launch(
    jobs: Annotated[int, typer.Option("--jobs", "-n", min=1, max=1000, help="How many jobs.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the script and submit nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even when nothing waits.")] = False,
    partition: PartitionOption = None,
    account: AccountOption = None,
    qos: QosOption = None,
    constraint: ConstraintOption = None,
    gres: GresOption = None,
    cores: CoresOption = None,
    memory_mb: MemoryOption = None,
    walltime: WalltimeOption = None,
    pack: PackOption = None,
    as_json: JsonOption = False,
) -> None:
    """Submit workers; options win over the section 'cluster'."""
    from alkaflow.launchpad.cluster.files import cluster_from
    from alkaflow.launchpad.cluster.launch import configured, request_from, script_of, submit, waiting_costs
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    given = {
        "partition": partition, "account": account, "qos": qos, "constraint": constraint, "gres": gres,
        "cores": cores, "memory_mb": memory_mb, "walltime": walltime,
        "pack": None if pack is None else _whole_or_auto(pack),
    }  # fmt: skip
    changes = {key: value for key, value in given.items() if value is not None}
    cluster = cluster_from(configured(settings).model_dump() | changes)
    settings = settings.model_copy(update={"cluster": cluster})
    with open_database(settings) as database:
        if not dry_run and not force and waiting_costs(database)[1] == 0:
            raise BadInputError("nothing waits to be computed; submit a study first, or use --force")
        request = request_from(database, cluster, jobs)
        if dry_run:
            sys.stdout.write(script_of(settings, request))
            return
        launched = submit(database, settings, request, jobs)
    if as_json:
        print_json([{"job": one.job, "directory": str(one.directory)} for one in launched])
        return
    for one in launched:
        print(f"submitted: {one.job}, {request.cores} cores, {request.memory_mb} MB, {request.walltime}, "
              f"{request.pack} at a time; {one.directory}")  # fmt: skip


def _computed(steps: dict[str, str], most: int = 4) -> str:
    """Short ids and steps of what a job computes."""
    more = f" and {len(steps) - most} more" if len(steps) > most else ""
    return ", ".join(f"{name[:8]} {step}" for name, step in list(steps.items())[:most]) + more


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show every job with what it computes and what the scheduler says of it."""
    from alkaflow.launchpad.cluster.launch import configured
    from alkaflow.launchpad.cluster.reconcile import dead_holders, overview
    from alkaflow.launchpad.cluster.scheduler import scheduler_for
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    scheduler = scheduler_for(configured(settings))
    with open_database(settings) as database:
        rows = overview(database, scheduler)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("there are no jobs; submit workers with: alkaflow cluster launch")
        return
    table = [[row["job"], row["state"], row["outcome"], row["node"], _computed(row["steps"]) or None,
              (row["resources"] or {}).get("walltime"), row["reason"] or None] for row in rows]  # fmt: skip
    print_columns(["job", "state", "outcome", "node", "computes", "walltime", "reason"], table)
    if dead := dead_holders(rows):
        raise ServiceError(f"{', '.join(dead)} ended and still held calculations; free them with: alkaflow repair")
