"""Faults at a server that asks for user and password; the password is written nowhere, whatever breaks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from auth_mongod import PASSWORD, Server, running
from harness import (
    LEASE,
    check_invariants,
    environment_of,
    hydrogen_run,
    ledger_of,
    start_worker,
    wait_for,
)
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from alkaflow.errors import ServiceError
from alkaflow.launchpad import outbox
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.mongod import find_mongod
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

SECRETS = (PASSWORD, quote(PASSWORD, safe=""))  # as it is, and as the connection string has it


class Guarded:
    """A server with access control that can be killed and comes back on its port, with its users and its data."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.settings = settings
        self._server = server
        self._again: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """SIGKILL, for the one that the fixture started."""
        os.kill(self._server.pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(self._server.pid)], timeout=10)

    def start(self) -> None:
        """Start it again."""
        command = [str(find_mongod(self.settings)), "--dbpath", str(self._server.log.parent / "data"), "--auth"]
        command += ["--bind_ip", "127.0.0.1", "--port", str(self._server.port), "--nounixsocket"]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--logpath", str(self._server.log), "--logappend"]
        self._again = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(self._answers, 30)

    def _answers(self) -> bool:
        with suppress(PyMongoError), MongoClient(self._server.anonymous_uri, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
            return True
        return False

    def stop(self) -> None:
        """End the one that `start` started."""
        if self._again is not None:
            self._again.terminate()
            self._again.wait(30)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    folder = tmp_path / "server"
    folder.mkdir()
    try:
        with running(folder, auth=True) as server:
            uri = SecretStr(server.uri)
            settings = Settings(
                data_dir=tmp_path / "data", mongodb_uri=uri, database="test", threads=1, lease_seconds=LEASE
            )
            guarded = Guarded(server, settings)
            yield guarded
            guarded.stop()
    except ServiceError as error:
        if os.environ.get("ALKAFLOW_CI") == "1":
            pytest.fail(f"a service is missing in CI: {error}")
        pytest.skip(str(error))


@pytest.fixture
def inside(guarded: Guarded) -> Iterator[Database]:
    """Its database."""
    with open_database(guarded.settings) as database:
        yield database


def submitted(database: Database, number: int) -> set[str]:
    run = hydrogen_run(number)
    Queue(database, LEASE).submit(run)
    return set(run.calculations)


def check(database: Database, guarded: Guarded, ids: set[str], ledger: Path, *said: str) -> None:
    """All invariants, and the password neither in files and documents nor in what processes said."""
    for secret in SECRETS:
        check_invariants(database, guarded.settings, ids, ledger, secret)
        for text in said:
            assert secret not in text


def test_the_check_sees_a_password(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    """Else the others would prove nothing."""
    ids = submitted(inside, 1)
    log = guarded.settings.data_dir / "attempts" / "x" / "output.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"cannot connect to mongodb://worker:{PASSWORD}@127.0.0.1/")
    with pytest.raises(AssertionError, match=r"output\.log"):
        check(inside, guarded, ids, tmp_path / "ledger")
    log.unlink()
    check(inside, guarded, ids, tmp_path / "ledger")
    inside.calculations.update_one({}, {"$set": {"title": PASSWORD}})
    with pytest.raises(AssertionError, match="calculations"):
        check(inside, guarded, ids, tmp_path / "ledger")


def test_a_worker_killed_with_its_child(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    """Another one finishes."""
    ledger = tmp_path / "ledger"
    ids = submitted(inside, 2)
    first = start_worker(guarded.settings, "--seconds", "30", "--ledger", str(ledger))
    begun = wait_for(lambda: ledger_of(ledger))
    os.killpg(first.pid, signal.SIGKILL)
    said = first.communicate()
    wait_for(lambda: not psutil.pid_exists(int(begun[0][3])))
    second = start_worker(guarded.settings, "--ledger", str(ledger))
    out, errors = second.communicate(timeout=30)
    assert second.returncode == 0, errors
    assert inside.attempts.find_one({"outcome": "worker_lost"})["calculation"] == begun[0][1]
    assert {d["state"] for d in inside.calculations.find()} == {"COMPLETED"}
    check(inside, guarded, ids, ledger, *said, out, errors)


def test_mongod_is_killed_while_a_calculation_runs(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    """And is back after three leases: the same try delivers."""
    ledger = tmp_path / "ledger"
    ids = submitted(inside, 1)
    worker = start_worker(guarded.settings, "--seconds", str(3 * LEASE + 3), "--ledger", str(ledger))
    wait_for(lambda: ledger_of(ledger))
    guarded.kill()
    time.sleep(3 * LEASE)
    guarded.start()
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert [line.split()[0] for line in out.splitlines()] == ["started", "completed"]
    assert inside.calculations.find_one({})["attempts"] == 1
    check(inside, guarded, ids, ledger, out, errors)


def test_mongod_is_down_at_delivery_and_sync_delivers(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    """The worker is told to go meanwhile: it says where the result is; what it says names no password."""
    ledger = tmp_path / "ledger"
    ids = submitted(inside, 1)
    worker = start_worker(guarded.settings, "--seconds", "1", "--ledger", str(ledger), "--orbital-bytes", "300000")
    wait_for(lambda: ledger_of(ledger))
    guarded.kill()
    attempts = guarded.settings.data_dir / "attempts"
    wait_for(lambda: list(attempts.glob("*/*/MANIFEST.json")))
    os.kill(worker.pid, signal.SIGUSR1)
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == 3, out + errors
    assert "deliver it with: alkaflow sync" in errors

    guarded.start()
    first = command(guarded, "sync")
    assert first.returncode == 0, first.stderr
    assert "1 delivered" in first.stdout
    assert inside.calculations.find_one({})["state"] == "COMPLETED"
    again = command(guarded, "sync")
    assert "0 delivered" in again.stdout
    synced = outbox.sync(inside, Queue(inside, LEASE), [attempts])
    assert (synced.delivered, synced.kept, synced.damaged) == ([], {}, {})
    talk = [text for done in (first, again) for text in (done.stdout, done.stderr)]
    check(inside, guarded, ids, ledger, out, errors, *talk)


def command(guarded: Guarded, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command line as a user does."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "alkaflow.launchpad.cli", *arguments],
        env=environment_of(guarded.settings), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_four_workers_share_twenty(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ids = submitted(inside, 20)
    workers = [start_worker(guarded.settings, "--ledger", str(ledger)) for _ in range(4)]
    said = [worker.communicate(timeout=100) for worker in workers]
    assert {worker.returncode for worker in workers} == {0}, said
    assert sorted(line[1] for line in ledger_of(ledger) if line[0] == "begin") == sorted(ids)
    assert {(d["state"], d["attempts"]) for d in inside.calculations.find()} == {("COMPLETED", 1)}
    check(inside, guarded, ids, ledger, *(text for pair in said for text in pair))


def test_a_wrong_password(guarded: Guarded, inside: Database, tmp_path: Path) -> None:
    """It was changed while workers run: they say so without naming it, and nothing is claimed."""
    ids = submitted(inside, 1)
    wrong = SecretStr(guarded.settings.mongodb_uri.get_secret_value().replace(SECRETS[1], SECRETS[1] + "x"))  # type: ignore[union-attr]
    worker = start_worker(guarded.settings.model_copy(update={"mongodb_uri": wrong}))
    out, errors = worker.communicate(timeout=30)
    assert worker.returncode == 3
    assert "check user, password and authSource in mongodb_uri" in errors
    assert inside.calculations.find_one({})["attempts"] == 0
    check(inside, guarded, ids, tmp_path / "ledger", out, errors)
