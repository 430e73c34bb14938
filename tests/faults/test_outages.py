"""The database goes away, comes back, dies after it has said yes, and says yes where nobody hears it."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Server
from harness import LEASE, check_invariants, hydrogen_run, kill_group, ledger_of, proxied, start_worker, wait_for
from made_records import fake_record

from alkaflow.errors import ServiceError
from alkaflow.launchpad import outbox
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.owner import longest_silence
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings

pytestmark = pytest.mark.timeout(120)


def submitted(database: Database, number: int) -> set[str]:
    run = hydrogen_run(number)
    Queue(database, LEASE).submit(run)
    return set(run.calculations)


@pytest.mark.parametrize("outage", [0.5, pytest.param(3 * LEASE, marks=pytest.mark.faults)])
def test_mongod_is_killed_while_a_calculation_runs(
    server: Server, own: Database, tmp_path: Path, outage: float
) -> None:
    """Computing goes on; the same attempt delivers; signs of life are given again."""
    (name,) = submitted(own, 1)
    ledger = tmp_path / "ledger"
    worker = start_worker(server.settings, "--seconds", str(outage + 4), "--ledger", str(ledger))
    wait_for(lambda: ledger_of(ledger))
    server.kill()
    time.sleep(outage)
    server.start()
    before = own.calculations.find_one({"_id": name})["claim"]["expires"]
    wait_for(lambda: own.calculations.find_one({"_id": name, "claim.expires": {"$gt": before}}))
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert [line.split()[0] for line in out.splitlines()] == ["started", "completed"]
    assert own.calculations.find_one({"_id": name})["attempts"] == 1
    check_invariants(own, server.settings, {name}, ledger)


@pytest.mark.faults
def test_an_outage_longer_than_the_lease_of_workers_elsewhere(
    server: Server, own: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can look at them, and both were silent for longer than a lease: the living one has time for a word.

    Repair begins while the living worker cannot give one yet. The other was killed in the outage: it is the one lost.
    """
    lease = 5.0
    settings = server.settings.model_copy(update={"lease_seconds": lease})
    ids = submitted(own, 2)
    ledger = tmp_path / "ledger"
    living = start_worker(settings, "--seconds", "10", "--ledger", str(ledger))
    (begun,) = wait_for(lambda: ledger_of(ledger))
    dead = start_worker(settings, "--seconds", "10", "--ledger", str(ledger))
    wait_for(lambda: len(ledger_of(ledger)) == 2)
    renewed = {"claim.owner.host": "elsewhere", "claim.expires": {"$add": ["$$NOW", int(lease * 1000)]}}
    own.calculations.update_many({"state": "RUNNING"}, [{"$set": renewed}])
    server.kill()
    kill_group(dead)
    os.kill(living.pid, signal.SIGSTOP)
    time.sleep(lease + 0.5)
    server.start()
    expired = {"state": "RUNNING", "$expr": {"$lt": ["$claim.expires", "$$NOW"]}}
    assert own.calculations.count_documents(expired) == 2

    def waiting(lease_seconds: float) -> float:
        os.kill(living.pid, signal.SIGCONT)
        return longest_silence(lease_seconds)

    monkeypatch.setattr("alkaflow.launchpad.repair.longest_silence", waiting)
    freed = Queue(own, lease).repair()
    os.kill(living.pid, signal.SIGCONT)
    (lost,) = ids - {begun[1]}
    assert freed == [lost]
    third = start_worker(settings, "--ledger", str(ledger))
    said = []
    for worker in (third, living):
        out, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        said += [line.split()[0] for line in out.splitlines()]
    assert sorted(said) == ["completed", "completed", "started", "started"]
    tries = {d["_id"]: (d["attempts"], d["deaths"]) for d in own.calculations.find()}
    assert tries == {begun[1]: (1, []), lost: (2, ["worker_lost"])}
    check_invariants(own, settings, ids, ledger)


def test_mongod_is_down_when_a_result_is_there(server: Server, own: Database, tmp_path: Path) -> None:
    (name,) = submitted(own, 1)
    ledger = tmp_path / "ledger"
    worker = start_worker(server.settings, "--seconds", "1", "--ledger", str(ledger), "--orbital-bytes", "300000")
    wait_for(lambda: ledger_of(ledger))
    server.kill()
    wait_for(lambda: [line for line in ledger_of(ledger) if line[0] == "end"])
    time.sleep(3)
    server.start()
    out, errors = worker.communicate(timeout=60)
    assert "completed" in out, errors
    assert own.records.count_documents({}) == 1
    check_invariants(own, server.settings, {name}, ledger)


def test_the_worker_is_gone_too_and_sync_delivers(server: Server, own: Database, tmp_path: Path) -> None:
    """As often as it is called, and with no effect from the second time on."""
    ids = submitted(own, 2)
    ledger = tmp_path / "ledger"
    worker = start_worker(server.settings, "--seconds", "1", "--ledger", str(ledger), "--orbital-bytes", "300000")
    begun = wait_for(lambda: ledger_of(ledger))
    name = begun[0][1]
    server.kill()
    attempts = server.settings.data_dir / "attempts"
    wait_for(lambda: list(attempts.glob("*/*/MANIFEST.json")))
    kill_group(worker)
    server.start()
    queue = Queue(own, LEASE)
    queue.repair()
    first = outbox.sync(own, queue, [attempts])
    assert (first.delivered, first.kept, first.damaged) == ([name], {}, {})
    dumped = sorted(str(d) for d in own.records.find())
    second = outbox.sync(own, queue, [attempts])
    assert (second.delivered, second.known, second.kept) == ([], [], {})
    assert sorted(str(d) for d in own.records.find()) == dumped
    assert own.calculations.find_one({"_id": name})["state"] == "COMPLETED"
    check_invariants(own, server.settings, ids, ledger)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=[pytest.mark.faults, pytest.mark.timeout(900)])])
def test_what_was_acknowledged_survives(server: Server, rounds: int) -> None:
    """mongod is killed right after it has acknowledged a claim, and a result; both are there, time after time."""
    for k in range(rounds):
        run = hydrogen_run(1, first=k)
        (name,) = run.calculations
        with open_database(server.settings) as database:
            queue = Queue(database, LEASE)
            queue.submit(run)
            claim = queue.claim([name])
            assert claim is not None
            server.kill()
        server.start()
        with open_database(server.settings) as database:
            queue = Queue(database, LEASE)
            assert database.calculations.find_one({"_id": name})["claim"]["token"] == claim.token
            database.insert_record(fake_record(claim))
            server.kill()
        server.start()
        with open_database(server.settings) as database:
            assert database.record(name) is not None
            database.calculations.update_one({"_id": name}, {"$set": {"claim.owner.started": 1}})
            assert Queue(database, LEASE).repair() == [name]
            assert database.calculations.find_one({"_id": name})["state"] == "COMPLETED"


LOST_REPLIES = {
    "submit": b"hydrogen",
    "claim": b"findAndModify\x00\x0d\x00\x00\x00calculations",
    "record": b"insert\x00\x08\x00\x00\x00records",
    "file": b"files.files",
    "states": b"COMPLETED",
}


@pytest.mark.parametrize("write", LOST_REPLIES)
def test_a_reply_is_lost_after_the_write(
    database: Database, settings: Settings, quick: Settings, tmp_path: Path, write: str
) -> None:
    """mongod has done it, nobody has heard: doing it again changes nothing, and there is one of each."""
    run = hydrogen_run(2)
    ids = set(run.calculations)
    if write != "submit":
        Queue(database, LEASE).submit(run)
    socket = EmbeddedMongod(settings).socket
    with proxied(socket, tmp_path / "p.sock") as proxy:
        through = quick.model_copy(update={"mongodb_uri": type(quick.mongodb_uri)(proxy.uri)})
        if write == "submit":
            proxy.lose_reply_to(LOST_REPLIES[write])
            for _ in range(2):
                try:
                    with open_database(through) as own:
                        Queue(own, LEASE).submit(run)
                except ServiceError:
                    continue
        else:
            proxy.lose_reply_to(LOST_REPLIES[write])
            for _ in range(3):
                worker = start_worker(through, "--orbital-bytes", "1000", uri=proxy.uri)
                worker.communicate(timeout=60)
        assert proxy.lost == 1, "the command never came by"
    check_invariants(database, quick, ids)
    expected = {"READY"} if write == "submit" else {"COMPLETED"}
    assert {d["state"] for d in database.calculations.find()} == expected


def test_many_processes_claim(database: Database, quick: Settings, tmp_path: Path) -> None:
    """Eight workers, forty calculations: forty claims, forty results, and every one of them once."""
    ledger = tmp_path / "ledger"
    ids = submitted(database, 40)
    workers = [start_worker(quick, "--ledger", str(ledger)) for _ in range(8)]
    outs = [worker.communicate(timeout=100) for worker in workers]
    assert {worker.returncode for worker in workers} == {0}, outs
    begun = [line[1] for line in ledger_of(ledger) if line[0] == "begin"]
    assert sorted(begun) == sorted(ids)
    assert {d["attempts"] for d in database.calculations.find()} == {1}
    check_invariants(database, quick, ids, ledger)
    assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}


def test_the_same_is_submitted_by_several_at_once(database: Database, quick: Settings) -> None:
    run = hydrogen_run(5, children=True)

    def submit(_: int) -> tuple[int, int]:
        with open_database(quick) as own:
            submission = Queue(own, LEASE).submit(run)
            return len(submission.new), len(submission.queued)

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(submit, range(4)))
    assert found == [(0, 10), (0, 10), (0, 10), (10, 0)]
    check_invariants(database, quick, set(run.calculations))


@pytest.mark.parametrize("hours", [26, -26])
def test_a_worker_whose_clock_is_wrong(database: Database, quick: Settings, tmp_path: Path, hours: int) -> None:
    """Leases are counted by the server's clock: nothing is lost, nothing is computed twice."""
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is None:
        if os.environ.get("ALKAFLOW_CI") == "1":
            pytest.fail("libfaketime is missing in CI")
        pytest.skip("libfaketime is not installed")
    ledger = tmp_path / "ledger"
    ids = submitted(database, 2)
    wrapper = ["env", f"LD_PRELOAD={library}", f"FAKETIME={hours:+d}h", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
    worker = start_worker(quick, "--seconds", "3", "--ledger", str(ledger), wrapper=wrapper)
    wait_for(lambda: ledger_of(ledger))
    database.calculations.update_many({"state": "RUNNING"}, {"$set": {"claim.owner.host": "elsewhere"}})
    time.sleep(1.0)
    assert Queue(database, LEASE).repair() == [], "a living worker was called lost"
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    check_invariants(database, quick, ids, ledger)
    assert {d["attempts"] for d in database.calculations.find()} == {1}, out
