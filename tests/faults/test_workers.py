"""Workers and what they start are killed, stopped, starved and told to go; fake engine, real mongod, real processes."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from harness import LEASE, check_invariants, hydrogen_run, kill_group, ledger_of, start_worker, wait_for

from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Engine, Event, Worker
from alkaflow.settings import Settings
from alkaflow.workflows.fake_engine import fake_energy


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def submitted(database: Database, number: int, children: bool = False) -> set[str]:
    run = hydrogen_run(number, children)
    Queue(database, LEASE).submit(run)
    return set(run.calculations)


def running(database: Database) -> dict[str, object] | None:
    return database.calculations.find_one({"state": "RUNNING"})


def elsewhere(database: Database) -> None:
    """Let the owners of all claims look like processes of another host, of which only the lease tells."""
    fields = {"claim.owner.host": "elsewhere", "claim.expires": {"$add": ["$$NOW", int(LEASE * 1000)]}}
    database.calculations.update_many({"state": "RUNNING"}, [{"$set": fields}])


def test_a_killed_child_is_reported_and_tried_again(database: Database, quick: Settings, ledger: Path) -> None:
    ids = submitted(database, 1)
    worker = start_worker(quick, "--seconds", "1.5", "--ledger", str(ledger))
    begun = wait_for(lambda: ledger_of(ledger))
    os.kill(int(begun[0][3]), signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: database.attempts.find_one({}))
    assert time.monotonic() - killed < 5
    attempt = database.attempts.find_one({})
    assert "signal 9" in attempt["message"]
    out, _ = worker.communicate(timeout=20)
    assert worker.returncode == 0, out
    assert "it is tried again" in out
    assert len([line for line in ledger_of(ledger) if line[0] == "begin"]) == 2
    check_invariants(database, quick, ids, ledger)
    assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}


@pytest.mark.parametrize("lost", ["on this host", "on another host"])
def test_a_worker_killed_with_its_child(database: Database, quick: Settings, ledger: Path, lost: str) -> None:
    ids = submitted(database, 2)
    first = start_worker(quick, "--seconds", "30", "--ledger", str(ledger))
    begun = wait_for(lambda: ledger_of(ledger))
    kill_group(first)
    wait_for(lambda: not psutil.pid_exists(int(begun[0][3])))
    if lost == "on another host":
        elsewhere(database)
        assert Queue(database, LEASE).repair() == []  # its lease still counts
        time.sleep(LEASE + 0.2)
    second = start_worker(quick, "--ledger", str(ledger))
    out, errors = second.communicate(timeout=30)
    assert second.returncode == 0, errors
    assert Counter(line.split()[0] for line in out.splitlines()) == {"started": 2, "completed": 2}
    check_invariants(database, quick, ids, ledger)
    tried = database.attempts.find_one({"outcome": "worker_lost"})
    assert tried["calculation"] == begun[0][1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_worker_told_to_go_gives_back_what_it_has(
    database: Database, quick: Settings, ledger: Path, number: signal.Signals
) -> None:
    """As Slurm does it: a signal, and ten seconds later the end."""
    ids = submitted(database, 3)
    worker = start_worker(quick, "--seconds", "60", "--ledger", str(ledger), options=["--stay", "60"])
    wait_for(lambda: ledger_of(ledger))
    told = time.monotonic()
    os.kill(worker.pid, number)
    _, errors = worker.communicate(timeout=10)
    assert time.monotonic() - told < 10
    assert worker.returncode == (0 if number == signal.SIGUSR1 else -number if number == signal.SIGINT else 143), errors
    assert {d["state"] for d in database.calculations.find()} == {"READY"}
    assert len(ledger_of(ledger)) == 1, "something was begun after the signal"
    assert database.attempts.find_one({})["outcome"] in ("released", "interrupted")
    check_invariants(database, quick, ids, ledger)


def test_a_stopped_worker_comes_back_as_a_zombie(database: Database, quick: Settings, ledger: Path) -> None:
    """Stopped past its lease, while another computes the same; its late result is refused, and its files are kept."""
    (name,) = submitted(database, 1)
    zombie = start_worker(quick, "--seconds", "1.5", "--ledger", str(ledger))
    wait_for(lambda: ledger_of(ledger))
    os.kill(zombie.pid, signal.SIGSTOP)  # its child computes on
    elsewhere(database)
    time.sleep(LEASE + 0.2)
    other = start_worker(quick.model_copy(update={"data_dir": quick.data_dir / "other"}), "--ledger", str(ledger))
    out, errors = other.communicate(timeout=20)
    assert "completed" in out, errors
    os.kill(zombie.pid, signal.SIGCONT)
    out, errors = zombie.communicate(timeout=20)
    assert "lease lost" in out, errors
    assert "completed" not in out
    assert list((quick.data_dir / "attempts" / name).glob("*/MANIFEST.json")), "the files of the zombie are gone"
    assert database.records.count_documents({}) == 1
    assert database.record(name).energy_hartree == fake_energy(name)  # type: ignore[union-attr]
    check_invariants(database, quick, {name}, ledger)


def test_poison_stops_after_three_tries(database: Database, quick: Settings, ledger: Path) -> None:
    ids = submitted(database, 4)
    poison = min(ids)
    worker = start_worker(quick, "--die", "segv", "--die-only", poison, "--ledger", str(ledger))
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert len([line for line in ledger_of(ledger) if line[1] == poison and line[0] == "begin"]) == 3
    states = {d["_id"]: d["state"] for d in database.calculations.find()}
    assert states == {i: "FIZZLED" if i == poison else "COMPLETED" for i in ids}
    failure = database.calculations.find_one({"_id": poison})["failure"]
    assert failure["outcome"] == "engine_crashed"
    assert "3 tries died" in failure["message"]
    assert "signal 11" in failure["message"]
    check_invariants(database, quick, ids, ledger)


def test_a_calculation_that_takes_its_worker_along(database: Database, quick: Settings) -> None:
    """Three workers are lost with it; then it is left alone, and `retry` forgives."""
    (name,) = submitted(database, 1)
    for _ in range(3):
        queue = Queue(database, LEASE)
        claim = queue.claim()
        assert claim is not None
        gone = Owner.this_process().model_dump() | {"pid": 2**22 + 1, "started": 1}
        database.calculations.update_one({"_id": name}, {"$set": {"claim.owner": gone}})
        assert queue.repair() == [name]
    assert queue.claim() is None
    assert queue.problems([name])[name].startswith("worker_lost: 3 tries died")
    check_invariants(database, quick, {name})
    assert Control(database, queue).retry({"_id": name}).ids == [name]
    assert queue.claim() is not None


@pytest.mark.parametrize("last", ["the job", "its process"])
def test_three_deaths_of_different_kinds(database: Database, quick: Settings, ledger: Path, last: str) -> None:
    """The process that computes, its worker, and the job that it is part of: they count together."""
    (name,) = submitted(database, 1)
    engine = ("--seconds", "60", "--ledger", str(ledger))
    first = start_worker(quick, *engine, options=["--stay", "60"])
    begun = wait_for(lambda: ledger_of(ledger))
    os.kill(int(begun[0][3]), signal.SIGSEGV)
    begun = wait_for(lambda: len(ledger_of(ledger)) == 2 and ledger_of(ledger))
    kill_group(first)
    wait_for(lambda: not psutil.pid_exists(int(begun[1][3])))
    queue = Queue(database, LEASE)
    assert queue.repair() == [name]
    assert database.calculations.find_one({"_id": name})["deaths"] == ["engine_crashed", "worker_lost"]
    if last == "the job":
        assert queue.claim() is not None
        database.calculations.update_one({"_id": name}, {"$set": {"claim.job": "slurm:7"}})
        assert queue.release_job("slurm:7", "unknown to the scheduler", "Slurm does not know the job") == [name]
    else:
        third = start_worker(quick, "--die", "exit3")
        _, errors = third.communicate(timeout=30)
        assert third.returncode == 0, errors
    deaths = ["engine_crashed", "worker_lost", "unknown to the scheduler" if last == "the job" else "engine_crashed"]
    document = database.calculations.find_one({"_id": name})
    assert (document["state"], document["attempts"], document["deaths"]) == ("FIZZLED", 3, deaths)
    failure = document["failure"]
    assert failure["outcome"] == ("worker_lost" if last == "the job" else "engine_crashed")
    assert failure["message"].startswith(f"3 tries died ({', '.join(deaths)}), the last: ")
    assert queue.claim() is None
    check_invariants(database, quick, {name})
    assert Control(database, queue).retry({"_id": name}).ids == [name]
    assert database.calculations.find_one({"_id": name})["deaths"] == []


@pytest.mark.parametrize("how", ["oom", "enospc"])
def test_refused_memory_or_disk(database: Database, quick: Settings, how: str) -> None:
    """Under a limit of the kernel, and a device that is full: named, tried again with less, and not for ever."""
    (name,) = submitted(database, 1)
    limit = ["prlimit", f"--as={2_000_000_000}"] if how == "oom" else []
    worker = start_worker(quick, "--die", how, "--oom-mb", "4000", wrapper=limit)
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    failure = database.calculations.find_one({"_id": name})["failure"]
    tries = list(database.attempts.find({"calculation": name}))
    if how == "oom":
        assert (failure["outcome"], len(tries)) == ("out_of_memory", 2)  # one reduced try only
        assert tries[0]["peak_memory_mb"] > 20
    else:
        assert (failure["outcome"], len(tries)) == ("disk_full", 3)
    check_invariants(database, quick, {name})


def test_after_too_little_memory_less_is_planned_with(database: Database, quick: Settings) -> None:
    submitted(database, 1)
    planned = []
    for _ in range(2):
        claim = Queue(database, LEASE).claim()
        assert claim is not None
        worker = Worker(database, quick.model_copy(update={"memory_mb": 1000}), engine=Engine("no.such.module"))
        directory = worker._directory(claim)
        worker._supervisor._prepare(claim, directory)
        planned.append((directory / "task.json").read_text().split('"memory_mb":')[1].split(",")[0])
        Queue(database, LEASE).fail(claim, "out_of_memory", "no more", "", died=True)
    assert planned == ["1000", "600"]


def test_a_full_disk_stops_the_worker_and_not_the_queue(
    database: Database, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is tried before there is space again; then everything goes on."""
    ids = submitted(database, 2)
    monkeypatch.setattr("alkaflow.launchpad.supervisor.FREE_DISK_MB", 1e12)
    with pytest.raises(Exception, match=r"MB of disk left; .* are needed to go on"):
        Worker(database, quick, engine=Engine("alkaflow.workflows.fake_engine")).run()
    assert {d["state"] for d in database.calculations.find()} == {"READY"}
    assert {tuple(d["deaths"]) for d in database.calculations.find()} == {()}
    monkeypatch.undo()
    assert Worker(database, quick, engine=Engine("alkaflow.workflows.fake_engine")).run() == 2
    check_invariants(database, quick, ids)


def test_cancelled_while_it_runs(database: Database, quick: Settings, ledger: Path) -> None:
    (name,) = submitted(database, 1)
    worker = start_worker(quick, "--seconds", "60", "--ledger", str(ledger))
    begun = wait_for(lambda: ledger_of(ledger))
    changed = Control(database, Queue(database, LEASE)).cancel({"_id": name})
    assert changed.ids == [name]
    out, errors = worker.communicate(timeout=15)
    assert "it was cancelled" in out, errors
    assert not psutil.pid_exists(int(begun[0][3]))
    check_invariants(database, quick, {name}, ledger)


def test_a_job_that_ends_begins_nothing_that_cannot_finish(
    database: Database, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second half of its time only what is known to be short enough, or of unknown length, is claimed."""
    run = hydrogen_run(3)
    long, short, unknown = run.calculations
    Queue(database, LEASE).submit(run, {long: (500.0, 100.0), short: (5.0, 100.0)})
    events: list[Event] = []
    ends = time.time() + 200
    worker = Worker(database, quick, events.append, Engine("alkaflow.workflows.fake_engine"))
    queue = Queue(database, LEASE)
    taken = []
    while (claim := queue.claim(seconds_left=40.0)) is not None:
        taken.append(claim.id)
    assert taken == [short, unknown]
    for calculation in taken:
        database.calculations.update_one({"_id": calculation}, {"$set": {"claim.owner.started": 1}})
    queue.repair()
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(ends))
    assert worker.run() == 3  # a fresh job takes everything
    assert {e.calculation for e in events if e.kind == "completed"} == set(run.calculations)
