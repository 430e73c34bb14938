"""A study through a real Slurm whose jobs are too short for it: nothing but launching is done by hand."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import check_invariants, environment_of
from slurm_service import SlurmService, slurm, slurm_daemons, wait_for
from test_real_engine import SLOW, WATER, calculation, level, queued

from alkaflow.launchpad.database import Database
from alkaflow.launchpad.worker import checkpoints_of
from alkaflow.settings import Settings
from alkaflow.structures import Structure
from alkaflow.workflows.checkpoint import saved
from alkaflow.workflows.task import TASK_FILE

__all__ = ["slurm", "slurm_daemons"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

STUDY = """
name: campaign
title: Two guests at bipyrimidine
hosts:
  - {name: bipyrimidine, builtin: bipyrimidine}
guests: [Li, Na]
sites: [bay]
protocol: published-sp
published:
  - {label: X1, host: bipyrimidine, guest: Li, site: bay, value_ev: -2.5, tolerance_ev: 1.0}
"""  # long enough for signals to meet an SCF that has saved something
MOST_JOBS = 25  # a busy machine gets less done in each


class Site:
    """A user's account on a cluster: a configuration file, a study, and the command line."""

    def __init__(self, settings: Settings, folder: Path, slurm: SlurmService) -> None:
        self.settings, self.slurm = settings, slurm
        self.study = folder / "campaign.yaml"
        self.study.write_text(STUDY, encoding="utf-8")
        self._config = folder / "config.yaml"
        self._environment = environment_of(settings) | {"ALKAFLOW_CONFIG_FILE": str(self._config)}
        self.jobs: list[str] = []

    def configure(self, **cluster: Any) -> None:
        """Say how jobs are asked for."""
        section = {"scheduler": "slurm", "cores": 1, "memory_mb": 2000} | cluster
        self._config.write_text(json.dumps({"cluster": section}), encoding="utf-8")

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run an ``alkaflow`` command; its output."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "alkaflow.launchpad.cli", *arguments],
            env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def launch(self, *options: str) -> str:
        """Launch one worker; the number of its job."""
        [launched] = json.loads(self.run("cluster", "launch", "--json", *options))
        self.jobs.append(launched["job"])
        return str(launched["job"]).partition(":")[2]

    def rows(self) -> dict[str, dict[str, Any]]:
        """What ``alkaflow cluster status`` says of each job."""
        return {row["job"]: row for row in json.loads(self.run("cluster", "status", "--json"))}

    def ended(self, number: str, seconds: float = 600) -> dict[str, Any]:
        """Wait for the end of a job; what ``alkaflow repair`` says of it."""
        self.slurm.wait(number, "COMPLETED", "FAILED", "TIMEOUT", seconds=seconds)
        assert self.rows()[f"slurm:{number}"]["outcome"] is not None
        [job] = [j for j in json.loads(self.run("repair", "--json"))["jobs"] if j["job"] == f"slurm:{number}"]
        return dict(job)


@pytest.fixture
def site(slurm: SlurmService, settings: Settings, tmp_path: Path) -> Site:
    return Site(settings, tmp_path, slurm)


def finished(site: Site, database: Database, *options: str) -> None:
    """Launch until nothing is left, and look at the table, of which every row is there."""
    while database.calculations.count_documents({"state": {"$ne": "COMPLETED"}}):
        assert len(site.jobs) < MOST_JOBS
        job = site.ended(site.launch())
        assert job["outcome"] == "completed", job
    table = json.loads(site.run("table", str(site.study), "--format", "json", *options))
    energies = {row["guest"]: row["computed_ev"] for row in table["rows"]}
    assert energies["Li"] == pytest.approx(-2.48, abs=0.02)  # computed without any interruption
    assert energies["Li"] <= min(energies.values())


def running_scf(site: Site, database: Database, number: str, cycles: int) -> dict[str, Any]:
    """Wait until a job's worker is some cycles into an SCF that has saved something."""
    query = {"state": "RUNNING", "claim.job": f"slurm:{number}", "progress.stage": "SCF cycle"}

    def found() -> dict[str, Any] | None:
        document = database.calculations.find_one(query | {"progress.step": {"$gte": cycles}})
        return document if document and saved(checkpoints_of(site.settings, document["_id"])) else None

    document = wait_for(found, 90, f"cycle {cycles} of an SCF")
    assert document is not None
    return document


def test_every_job_is_too_short(site: Site, database: Database, settings: Settings) -> None:
    """Slurm's signal comes a minute or so before the walltime of two: each job saves what it has and ends well."""
    site.configure(walltime="00:02:00", signal_seconds=70)
    site.run("submit", str(site.study))
    ids = {d["_id"] for d in database.calculations.find()}
    number = site.launch()
    running_scf(site, database, number, 2)
    held = {"state": "RUNNING", "claim.job": f"slurm:{number}"}

    def shown() -> dict[str, Any] | None:
        before = {d["_id"] for d in database.calculations.find(held)}
        row = site.rows()[f"slurm:{number}"]
        same = before and before == {d["_id"] for d in database.calculations.find(held)}  # it may have taken the next
        return {"row": row, "held": before} if same else None

    status = wait_for(shown, 45, "a status that no change of calculation fell into")
    assert status is not None
    row = status["row"]
    assert (row["state"], row["outcome"]) == ("RUNNING", None)
    assert set(row["running"]) == status["held"]
    assert row["resources"]["walltime"] == "00:02:00"
    job = site.ended(number)
    assert job["outcome"] == "completed"
    assert job["calculations"] == []  # its worker had given back what it held
    finished(site, database)

    assert len(site.jobs) > 1, "the first job was long enough for everything"
    interrupted = list(database.attempts.find({"outcome": "interrupted"}))
    goes_on = {d["calculation"] for d in interrupted if "its checkpoint is in" in d["message"]}
    assert goes_on, [d["message"] for d in interrupted]
    for name in goes_on:
        record = database.record(name)
        assert record is not None
        assert record.provenance.continued, "it began anew"
    assert {tuple(d["deaths"]) for d in database.calculations.find()} == {()}
    assert {d["job"] for d in database.attempts.find()} <= set(site.jobs)
    assert all(row["outcome"] == "completed" for row in site.rows().values())
    check_invariants(database, settings, ids)


@pytest.fixture
def hang() -> Iterator[Callable[[int], None]]:
    """Keeps a process and its children from doing anything, as a file system does that is gone, until they are gone."""
    over = threading.Event()
    threads = []

    def hold(processes: list[psutil.Process]) -> None:
        while not over.wait(0.005):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def begin(pid: int) -> None:
        worker = psutil.Process(pid)
        threads.append(threading.Thread(target=hold, args=([worker, *worker.children(recursive=True)],)))
        threads[-1].start()

    yield begin
    over.set()
    for thread in threads:
        thread.join()


def test_a_worker_that_hangs_is_killed_at_the_walltime(
    site: Site, database: Database, settings: Settings, hang: Callable[[int], None]
) -> None:
    """It hears no signal; `repair` learns from Slurm why it is gone, and the next job goes on with its orbitals."""
    site.configure(walltime="00:02:00", signal_seconds=10)
    site.run("submit", str(site.study), "--guest", "Li")
    ids = {d["_id"] for d in database.calculations.find()}
    number = site.launch()
    running = running_scf(site, database, number, 3)
    hang(running["claim"]["owner"]["pid"])
    site.slurm.run("scontrol", "update", f"jobid={number}", "timelimit=1")  # or the test waits a minute longer
    site.slurm.wait(number, "TIMEOUT", "FAILED", "COMPLETED", seconds=200)
    held = site.run("cluster", "status", code=3)  # it says so, and what to do
    assert "walltime" in held
    job = site.ended(number)
    assert (job["outcome"], job["calculations"]) == ("walltime", [running["_id"]])
    assert "reached its walltime" in job["reason"]
    document = database.calculations.find_one({"_id": running["_id"]})
    assert document is not None
    assert (document["state"], document["claim"], document["deaths"]) == ("READY", None, [])
    assert "reached its walltime" in site.run("why", running["_id"])

    site.configure(walltime="00:10:00", signal_seconds=60)
    finished(site, database, "--guest", "Li")
    record = database.record(running["_id"])
    assert record is not None
    assert record.provenance.continued is not None
    assert record.provenance.continued["scf_cycles"] >= 2
    check_invariants(database, settings, ids)


def test_two_at_a_time_share_an_allocation(site: Site, database: Database, settings: Settings) -> None:
    """Each has a core and half of the memory; one signal drains both."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core cannot be shared")
    far = Structure(WATER.symbols, WATER.positions * 1.02)
    slow = level("b3lyp/6-31g", **SLOW | {"grid": (200, 1454)})
    given = [calculation("relax", each, slow) for each in (WATER, far)]
    ids = queued(database, *given)
    site.configure(walltime="00:10:00", signal_seconds=60, cores=2)
    number = site.launch("--pack", "2")
    at_work = {"state": "RUNNING", "claim.job": f"slurm:{number}", "progress": {"$ne": None}}
    wait_for(lambda: database.calculations.count_documents(at_work) == 2, 60, "two at a time")
    documents = list(database.calculations.find(at_work))
    workers = [document["claim"]["owner"]["pid"] for document in documents]
    assert len(set(workers)) == 2
    seen, planned = [], []
    for worker in workers:
        [child] = psutil.Process(worker).children()
        assert child.cpu_affinity() == psutil.Process(worker).cpu_affinity()
        seen.append(set(child.cpu_affinity()))
        task = json.loads((Path(child.cwd()) / TASK_FILE).read_text(encoding="utf-8"))
        planned.append((task["threads"], task["memory_mb"]))
    assert seen[0].isdisjoint(seen[1])
    assert seen[0] | seen[1] == set(cores)
    [(threads, memory)] = set(planned)
    assert threads == len(cores) // 2
    assert memory == pytest.approx(0.8 * 2000 / 2, abs=5)

    site.slurm.run("scancel", "--batch", "--signal=USR1", number)
    told = time.monotonic()
    job = site.ended(number, 60)
    assert time.monotonic() - told < 60
    assert (job["outcome"], job["calculations"]) == ("completed", [])
    states = {d["_id"]: (d["state"], d["claim"], d["deaths"]) for d in database.calculations.find()}
    assert states == {name: ("READY", None, []) for name in ids}
    assert {d["outcome"] for d in database.attempts.find()} == {"interrupted"}
    check_invariants(database, settings, ids)
