"""cluster pack, compute, unpack: job folders for nodes that cannot reach the database."""

import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alkaflow.launchpad.cli.output import duration, number_of, print_json, say, study_name
from alkaflow.launchpad.drain import Drain
from alkaflow.settings import load_settings

if TYPE_CHECKING:
    from alkaflow.launchpad.folder_compute import Outcome
    from alkaflow.launchpad.folders import JobFolder

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="A job folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def pack(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To be made; it must not exist, or be empty.")],
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY|ID]...", help="What to take; all that is ready by default.")
    ] = None,
    number: Annotated[int | None, typer.Option("--number", min=1, help="So many calculations at most.")] = None,
    hold_days: Annotated[
        float, typer.Option("--hold-days", min=0.01, max=365, help="So long nobody else computes them.")
    ] = 7.0,
    as_json: JsonOption = False,
) -> None:
    """Make a folder of calculations for nodes that cannot reach the database.

    What waits for nothing but a calculation of the folder comes along.
    """
    from alkaflow.launchpad import folder_pack
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    with open_database(settings) as database:
        only = folder_pack.selected(database, [study_name(name) for name in what]) if what else None
        made = folder_pack.pack(database, settings, folder, only, number, hold_days * folder_pack.DAY, _count)
    if as_json:
        print_json(_summary(made))
        return
    seconds = sum(item.seconds or 0.0 for item in made.items.values())
    packed = number_of(len(made.items), "calculation is", "calculations are")
    print(
        f"{packed} in {made.path}, about {duration(seconds)}; "
        f"nobody else computes what is in it until {made.contents.expires:%Y-%m-%d %H:%M} UTC"
    )
    say(f"on a node: alkaflow cluster compute {made.path.name}; then, back here: alkaflow sync {made.path}")


def _count(number: int) -> None:
    if number % 100 == 0:
        say(f"{number} calculations so far")


def _summary(folder: "JobFolder") -> dict[str, Any]:
    return {
        "folder": str(folder.path),
        "id": folder.contents.id,
        "expires": folder.contents.expires.isoformat(),
        "calculations": {name: item.title for name, item in folder.items.items()},
    }


def compute(
    folder: FolderArgument,
    parts: Annotated[int, typer.Option("--pack", min=1, help="So many at a time, cores and memory shared out.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Compute what is in a job folder; no database is asked.

    It may be stopped and run again. On SIGUSR1 what runs saves a checkpoint, and nothing more is begun.
    """
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.folder_compute import FolderWorker, expected_seconds
    from alkaflow.launchpad.folder_sync import state_of
    from alkaflow.launchpad.folders import JobFolder

    drain = Drain()
    signal.signal(signal.SIGUSR1, lambda *_: drain.set())
    settings, job = load_settings(), JobFolder(folder)
    expected = expected_seconds(job)
    with job.locked(), Display(expected, len(job.items)) if expected else nullcontext(lambda _: None) as display:
        outcome = FolderWorker(job, settings, display, drain=drain).run(parts)
    if as_json:
        print_json(asdict(outcome))
    elif outcome.settled == len(job.items):
        print(f"{job.path}: {state_of(job)}")
    else:
        _print_outcome(job, outcome, drain.is_set())
    if outcome.failed or outcome.damaged:
        raise typer.Exit(1)


def _print_outcome(job: "JobFolder", outcome: "Outcome", drained: bool) -> None:
    settled = f", {outcome.settled} are settled" if outcome.settled else ""
    print(f"{len(outcome.done)} of {len(job.items)} calculations have a result{settled}")
    for name, reason in (outcome.failed | outcome.damaged).items():
        print(f"failed: {name}  {job.items[name].title}: {reason}")
    left = f"{number_of(len(outcome.left), 'is', 'are')} left"
    if outcome.left and drained:
        print(f"{left}, as this process was told to stop; the same command goes on")
    elif outcome.left:
        print(f"{left}: no time was left, or waiting for one that failed")
    say(f"where the database is: alkaflow sync {job.path.name}")


def unpack(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Give back at once what a job folder has not computed; what it has is delivered."""
    from alkaflow.launchpad import folder_pack
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.folders import JobFolder

    settings, job = load_settings(), JobFolder(folder)
    with open_database(settings) as database:
        synced, freed = folder_pack.unpack(database, settings, job)
    if as_json:
        print_json(asdict(synced) | {"freed": freed})
    else:
        for name in freed:
            print(f"given back: {name}  {job.items[name].title}")
        for directory, reason in (synced.kept | synced.damaged).items():
            print(f"kept: {directory}: {reason}")
        print(f"{len(synced.delivered)} delivered, {len(synced.failed)} failed, {len(freed)} given back")
    if synced.damaged:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., Any]] = {"pack": pack, "compute": compute, "unpack": unpack}
