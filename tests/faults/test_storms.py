"""Deaths without end: of a process that saves orbitals, and of everything that a queue consists of."""

import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import Server
from harness import LEASE, check_invariants, hydrogen_run, kill_group, start_worker

from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.queue import Queue
from alkaflow.workflows.checkpoint import load

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

KILLS = 100
FUNCTIONS = 1200
WRITER = """
import sys, numpy as np
from pathlib import Path
from alkaflow.workflows.checkpoint import Checkpoint, save
step, n = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
while True:
    step += 1
    orbitals = {"coefficients_restricted": np.full((n, n), float(step)), "occupations_restricted": np.full(n, step)}
    save(Path(sys.argv[1]), Checkpoint("mine", {"cycles": step}, orbitals), "scf")
"""


def test_orbitals_under_a_hundred_kills(tmp_path: Path) -> None:
    """At any time, of a writer of 12 MB that saves without pause: never a mixture, never damage, never a step back."""
    moments, step, whole = np.random.default_rng(7), 0, 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(step), str(FUNCTIONS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moments.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
        found, notes = load(tmp_path, "mine", "scf")
        assert notes == []
        if found is None:
            assert step == 0
            continue
        reached = found.values["cycles"]
        for array in found.arrays.values():
            assert np.array_equal(array, np.full(array.shape, reached)), "two cycles are mixed"
        assert reached >= step
        whole += reached > step
        step = reached
    assert whole > KILLS / 4, "most were killed before they had saved anything"


SECONDS = 60.0
CALCULATIONS = 200
WORKERS = 3


def kill_a_child(workers: "list[subprocess.Popen[str]]") -> None:
    """Kill the process that computes for one of some workers, where one does."""
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(worker.pid).children():
                child.kill()
                return


def test_a_queue_under_random_kills(server: Server, own: Database, tmp_path: Path) -> None:
    """Workers, what they compute and mongod are killed for a minute; then everything is there, once."""
    chance = np.random.default_rng(11)
    ledger = tmp_path / "ledger"
    run = hydrogen_run(CALCULATIONS // 2, children=True)
    ids = set(run.calculations)
    Queue(own, LEASE).submit(run)
    engine = ("--seconds", "0.8", "--ledger", str(ledger), "--orbital-bytes", "100000")

    def start() -> "subprocess.Popen[str]":
        return start_worker(server.settings, *engine, options=["--stay", "600"], output=subprocess.DEVNULL)

    workers = [start() for _ in range(WORKERS)]
    begun, kills = time.monotonic(), Counter[str]()
    while time.monotonic() - begun < SECONDS:
        time.sleep(chance.uniform(0.5, 3.0))
        what = str(chance.choice(["worker", "worker", "child", "mongod"]))
        kills[what] += 1
        if what == "mongod":
            server.kill()
            time.sleep(chance.uniform(0, 1.5 * LEASE))
            server.start()
        elif what == "child":
            kill_a_child(workers)
        else:
            kill_group(workers.pop(int(chance.integers(len(workers)))))
        workers = [worker for worker in workers if worker.poll() is None]
        workers += [start() for _ in range(WORKERS - len(workers))]
    for worker in workers:
        kill_group(worker)

    assert own.calculations.count_documents({"state": {"$ne": "COMPLETED"}}) > 0, "it was over before the kills were"

    last = start_worker(server.settings, "--ledger", str(ledger))
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    with open_database(server.settings) as database:
        queue = Queue(database, LEASE)
        failed = {d["_id"]: d["deaths"] for d in database.calculations.find({"state": "FIZZLED"})}
        for name, deaths in failed.items():  # chance may hit one three times
            assert len(deaths) == 3, deaths
            queue.free(name)
    if failed:
        again = start_worker(server.settings, "--ledger", str(ledger))
        _, errors = again.communicate(timeout=300)
        assert again.returncode == 0, errors
    states = Counter(d["state"] for d in own.calculations.find())
    assert states == {"COMPLETED": CALCULATIONS}, (states, kills)
    assert sum(kills.values()) > 10
    check_invariants(own, server.settings, ids, ledger)
