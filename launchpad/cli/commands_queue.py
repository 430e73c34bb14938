"""worker, status, why, logs, retry, cancel, pause, resume, priority, repair, sync, gc."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alkaflow.errors import ADVICE, BadInputError, ServiceError, UnknownNameError
from alkaflow.launchpad.cli.output import duration, number_of, print_json, say, study_name
from alkaflow.launchpad.drain import Drain
from alkaflow.settings import Settings, load_settings

if TYPE_CHECKING:
    from alkaflow.launchpad.control import Changed, Control
    from alkaflow.launchpad.database import Database, Document

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a calculation; its first digits are enough.")]
WhatArgument = Annotated[
    list[str], typer.Argument(metavar="ID|STUDY...", help="Calculations, or studies that were submitted.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def worker(
    pack: Annotated[int, typer.Option("--pack", min=1, help="So many at a time, cores and memory shared out.")] = 1,
    stay: Annotated[
        float, typer.Option("--stay", min=0, help="Wait so many seconds for new work when there is none.")
    ] = 0,
    part_of_pool: Annotated[int | None, typer.Option("--part-of-pool", hidden=True)] = None,
) -> None:
    """Work off the queue until it is empty.

    On SIGUSR1 what runs saves a checkpoint and is given back, and nothing more is begun.
    """
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import paused, tally

    settings = load_settings()
    drain = Drain()
    signal.signal(signal.SIGUSR1, lambda *_: drain.set())
    if pack > 1:
        from alkaflow.launchpad.pool import run_pool

        with open_database(settings) as database:
            before = tally(database).ended
        code = run_pool(settings, pack, stay, drain, before)
        if code:
            raise typer.Exit(code)
    with open_database(settings) as database:
        if pack > 1:
            computed = max(0, tally(database).ended - before)
        else:
            computed = _work(database, settings, drain, stay, part_of_pool)
        failed = database.calculations.count_documents({"state": "FIZZLED"})
        if part_of_pool is None:
            waiting = paused(database)
            left = _left_over(database, drain.is_set(), bool(waiting.number))
            say("; ".join([f"{number_of(computed, 'calculation was', 'calculations were')} worked on", *left]))
            if waiting.number:
                say(f"{waiting.number} {_is(waiting.number)} paused; go on with: {waiting.command}")
            if failed:
                say(f"{failed} failed; alkaflow status says why")
    if failed:
        raise typer.Exit(1)


def _work(database: "Database", settings: Settings, drain: Drain, stay: float, ended: int | None) -> int:
    from alkaflow.launchpad import campaign
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.results import tally
    from alkaflow.launchpad.worker import Worker

    expected = campaign.expected_seconds(database, settings)
    before = tally(database).ended if ended is None else ended

    def count() -> tuple[int, int]:
        now = tally(database)
        return now.ended - before, now.ended - before + now.left

    with Display(expected, len(expected), count, alone=ended is None) as display:
        return Worker(database, settings, display, drain=drain).run(stay_seconds=stay)


def _left_over(database: "Database", drained: bool, some_are_paused: bool) -> list[str]:
    """Say what is left in the queue, and why."""
    from alkaflow.launchpad.results import left_over

    left = left_over(database)
    said = []
    if left.running:
        said.append(f"{left.running} {_is(left.running)} computed by another worker")
    if left.in_folders:
        said.append(f"{left.in_folders} {_is(left.in_folders)} in job folders")
    if left.blocked:
        said.append(f"{number_of(left.blocked, 'waits', 'wait')} for one that failed, was cancelled or is paused")
    if free := left.ready + left.waiting:
        why = "as this one was told to stop" if drained else "as no time was left, or they came just now"
        said.append(f"{free} {_is(free)} left for another worker, {why}")
    if said:
        return [*said, "alkaflow status says more"]
    return [] if some_are_paused else ["the queue is empty"]


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Name or path; all by default.")] = None,
    as_json: JsonOption = False,
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
    hidden = found.counts.get("FIZZLED", 0) - len(found.failed)
    if hidden > 0:
        print(f"           and {hidden} more that failed: alkaflow results list --state FIZZLED")


def _progress_text(entry: dict[str, Any]) -> str:
    if entry["folder"]:
        return f"in the job folder {entry['folder']} until {datetime.fromisoformat(entry['until']):%Y-%m-%d %H:%M} UTC"
    where = f"{entry['host']}" + (f", {entry['job']}" if entry["job"] else "")
    if entry["alive"] is False:
        return f"on {where}, whose process {entry['pid']} is gone; alkaflow repair frees it"
    expected = ""
    if entry["expected_seconds"]:
        longer = entry["seconds"] > entry["expected_seconds"]
        about = duration(entry["expected_seconds"])
        expected = f", longer than the {about} expected," if longer else f" of about {about}"
    times = f"{duration(entry['seconds'])}{expected} on {where}"
    progress = entry["progress"]
    if not progress:
        return f"starting, {times}"
    return f"{progress['stage']} {progress['step']}, E = {progress['energy_hartree']:.6f} Eh, {times}"


def why(calculation: IdArgument, as_json: JsonOption = False) -> None:
    """Say why a calculation waits, or what ended it, and what to do next."""
    from alkaflow.launchpad.knowing import explain
    from alkaflow.launchpad.results import find_calculation

    with _database() as (database, _):
        found = explain(database, find_calculation(database, calculation))
    if as_json:
        print_json(found.as_dict())
        return
    print(f"{found.id}  {found.title}: {found.state}")
    for sentence in found.because:
        print(f"  {sentence}")
    for attempt in found.attempts:
        where = ", ".join(str(attempt[key]) for key in ("host", "job") if attempt.get(key))
        peak = f", peak {attempt['peak_memory_mb']:.0f} MB" if attempt.get("peak_memory_mb") else ""
        message = f": {attempt['message']}" if attempt["message"] else ""
        print(f"  attempt {attempt['attempt']} ({where}{peak}): {attempt['outcome']}{message}")
    if found.next:
        steps = [step for step in found.next if not any(step in other for other in found.next if other != step)]
        print(f"  next: {'; then: '.join(steps)}")


def logs(
    calculation: IdArgument,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="Number; the last by default.")] = None,
) -> None:
    """Print what the computing process said."""
    from alkaflow.launchpad.logs import find_log
    from alkaflow.launchpad.results import find_calculation

    with _database() as (database, settings):
        document = find_calculation(database, calculation)
        path = find_log(database, settings, document, attempt)
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text:
        so_far = " so far; it runs" if document["state"] == "RUNNING" else ""
        say(f"{path} is empty: the computing process has said nothing{so_far}")
        return
    say(f"{path}:")
    print(text, end="")


def retry(what: WhatArgument, as_json: JsonOption = False) -> None:
    """Queue what failed or was cancelled again."""
    _change(what, lambda control, query: control.retry(query), "queued again", "failed or was cancelled", as_json)


def cancel(what: WhatArgument, as_json: JsonOption = False) -> None:
    """Stop what runs or waits; nothing that is done is touched."""
    _change(what, lambda control, query: control.cancel(query), "cancelled", "runs or waits", as_json)


def pause(what: WhatArgument, as_json: JsonOption = False) -> None:
    """Let what has not begun wait until it is resumed."""
    _change(what, lambda control, query: control.pause(query), "paused", "waits", as_json)


def resume(what: WhatArgument, as_json: JsonOption = False) -> None:
    """Undo a pause."""
    _change(what, lambda control, query: control.resume(query), "waiting again", "is paused", as_json)


def priority(
    number: Annotated[
        int, typer.Argument(metavar="PRIORITY", min=-1000, max=1000, help="Higher comes first; 0 is usual.")
    ],
    what: WhatArgument,
    as_json: JsonOption = False,
) -> None:
    """Let calculations come before others, or after them."""
    done = (f"now has priority {number}", f"now have priority {number}")
    _change(what, lambda c, query: c.set_priority(query, number), done, "is unfinished", as_json)


def repair(
    everything: Annotated[bool, typer.Option("--all", help="Compare every calculation with its firework.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Free what dead workers and jobs held, and bring FireWorks' books to our states."""
    from dataclasses import asdict

    from alkaflow.launchpad.cluster.reconcile import reconcile
    from alkaflow.launchpad.cluster.scheduler import scheduler_of
    from alkaflow.launchpad.queue import Queue

    with _database() as (database, settings):
        scheduler = scheduler_of(settings)
        ended = []
        if scheduler is not None:
            try:
                ended = reconcile(database, settings, scheduler)
            except ServiceError as error:
                say(f"nothing of the scheduler's jobs was touched: {error}")
        freed = Queue(database, settings.lease_seconds).repair(everything)
    if as_json:
        print_json({"jobs": [asdict(job) for job in ended], "freed": freed})
        return
    for job in ended:
        print(f"{job.job} has ended: {job.outcome}, {job.reason}")
        freed += job.calculations
    for calculation in freed:
        print(f"freed: {calculation}")
    why_freed = "; alkaflow why ID says why" if freed else ""
    print(f"{number_of(len(freed), 'calculation was', 'calculations were')} freed{why_freed}")


def sync(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Of attempts; those of this host by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver results that workers left on disk; again and again, as often as you like."""
    from dataclasses import asdict

    from alkaflow.launchpad import outbox
    from alkaflow.launchpad.locks import LockedError
    from alkaflow.launchpad.queue import Queue

    with _database() as (database, settings):
        with suppress(LockedError):
            Queue(database, settings.lease_seconds).repair()  # what dead workers held may be delivered then
        own = outbox.attempts_root(settings)
        roots = folders or ([own] if own.is_dir() else [])
        synced = outbox.sync(database, Queue(database, settings.lease_seconds), roots)
    if as_json:
        print_json(asdict(synced))
    else:
        print(f"{len(synced.delivered)} delivered, {len(synced.known)} were there already")
        for directory, reason in (synced.kept | synced.damaged).items():
            print(f"kept: {directory}: {reason}")
        for name, reason in synced.failed.items():
            print(f"failed: {name}: {reason}")
        for folder, said in synced.folders.items():
            print(f"{folder}: {said}")
    if synced.damaged:
        raise typer.Exit(1)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove files in the database that no record refers to, and nothing else."""
    from dataclasses import asdict

    from alkaflow.launchpad.garbage import collect_garbage

    with _database() as (database, _):
        garbage = collect_garbage(database, dry_run)
    if as_json:
        print_json(asdict(garbage))
        return
    verb = "would be removed" if dry_run else "removed"
    print(f"{garbage.files} files and {garbage.chunks} pieces of uploads, {garbage.bytes / 1e6:.1f} MB: {verb}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "worker": worker,
    "status": status,
    "why": why,
    "logs": logs,
    "retry": retry,
    "cancel": cancel,
    "pause": pause,
    "resume": resume,
    "priority": priority,
    "repair": repair,
    "sync": sync,
    "gc": gc,
}


@contextmanager
def _database() -> "Iterator[tuple[Database, Settings]]":
    from alkaflow.launchpad.database import open_database

    settings = load_settings()
    with open_database(settings) as database:
        yield database, settings


def _change(
    what: list[str],
    act: "Callable[[Control, Document], Changed]",
    done: str | tuple[str, str],
    wanted: str,
    as_json: bool,
) -> None:
    """Apply something to calculations and studies; exit code 2 where nothing fits."""
    from dataclasses import asdict

    from alkaflow.launchpad.control import Control
    from alkaflow.launchpad.queue import Queue

    with _database() as (database, settings):
        query, studies = _query(database, what)
        changed = act(Control(database, Queue(database, settings.lease_seconds)), query)
    if as_json:
        print_json(asdict(changed))
    elif changed.ids:
        left = ", ".join(f"{number} {state}" for state, number in changed.left.items())
        one, many = (done, done) if isinstance(done, str) else done
        print(f"{number_of(len(changed.ids), one, many)}" + (f"; left as they are: {left}" if left else ""))
    if not changed.ids:
        there = ", ".join(f"{number} {_is(number)} {state}" for state, number in changed.left.items())
        ids = [name for name in what if study_name(name) not in studies]
        step = f"alkaflow why {ids[0]}" if ids else f"alkaflow status {what[0]}"
        raise BadInputError(f"nothing of {', '.join(what)} {wanted}: {there}; {step} says more")


def _query(database: "Database", what: list[str]) -> "tuple[Document, set[str]]":
    """What fits any of some ids or names of studies, and the names of all studies."""
    from alkaflow.launchpad.results import find_calculation

    studies = {name for name in database.calculations.distinct("studies") if name}
    names, ids = [], []
    for given in what:
        name = study_name(given)
        if name in studies:
            names.append(name)
            continue
        try:
            ids.append(find_calculation(database, given)["_id"])
        except UnknownNameError:
            raise UnknownNameError("calculation or submitted study", given, studies) from None
    return {"$or": [{"_id": {"$in": ids}}, {"studies": {"$in": names}}]}, studies
