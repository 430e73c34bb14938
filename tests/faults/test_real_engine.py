"""Real calculations by the real command: killed, told to go, starved of disk and of memory, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from harness import LEASE, check_invariants, environment_of, kill_group, wait_for

from alkaflow.calculations import CalculationInput, rounded
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Event, Worker, checkpoints_of
from alkaflow.levels import KohnSham, parse_level
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.structures import Structure, from_smiles, read_xyz
from alkaflow.workflows.checkpoint import fingerprint_of, last_geometry, load
from alkaflow.workflows.progress import read_progress
from alkaflow.workflows.scf_checkpoint import SCF
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.task import TASK_FILE, Task

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))
PEROXIDE = Structure(
    ("O", "O", "H", "H"), np.array([[0.75, 0, 0], [-0.72, 0.05, 0], [0.9, 0.9, 0.4], [-0.85, -0.6, 0.9]])
)
SLOW: dict[str, Any] = {"grid": (150, 974)}  # a cycle of water takes a tenth of a second; fast disks save it


def level(text: str, **changes: Any) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump() | changes)


def calculation(step: str, structure: Structure, at: KohnSham) -> CalculationInput:
    content = {"step": step, "level": at, "charge": structure.charge, "multiplicity": structure.multiplicity}
    content |= {"symbols": structure.symbols, "positions": rounded(structure.positions.tolist())}
    return CalculationInput.model_validate(content)


def queued(database: Database, *given: CalculationInput) -> set[str]:
    """Queue calculations, the first one first."""
    for priority, each in enumerate(reversed(given)):
        run = SingleRun(calculations={each.id: each}, titles={each.id: each.step})
        Queue(database, LEASE).submit(run, priority=priority)
    return {each.id for each in given}


class Work:
    """A worker, ``alkaflow worker``, at work on one calculation."""

    def __init__(
        self, settings: Settings, given: CalculationInput, wrapper: Sequence[str] = (), **environment: str
    ) -> None:
        self.settings, self.given = settings, given
        command = [*wrapper, sys.executable, "-P", "-m", "alkaflow.launchpad.cli", "worker"]
        self.process = subprocess.Popen(
            command,
            env=environment_of(settings) | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def attempt(self, number: int = 1) -> Path:
        """Where an attempt runs."""
        root = self.settings.data_dir / "attempts" / self.given.id
        return wait_for(lambda: next(root.glob(f"{number:03d}-*"), None), 60)

    def reaches(self, stage: str, step: int) -> None:
        """Wait until the first attempt reports a step."""
        directory = self.attempt()

        def reached() -> bool:
            told = read_progress(directory)
            assert self.process.poll() is None, self.process.communicate()[0]
            return told is not None and told["stage"] == stage and told["step"] >= step

        wait_for(reached, 60)

    @property
    def child(self) -> psutil.Process:
        """The process that computes."""
        (found,) = [p for p in psutil.Process(self.process.pid).children() if "alkaflow.workflows.child" in p.cmdline()]
        return found

    def ends(self, seconds: float = 60) -> tuple[int, str]:
        """Wait for its end; exit code and output."""
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            kill_group(self.process)
            raise AssertionError(f"the worker did not end in {seconds} s") from None
        assert "Traceback" not in out, out
        return self.process.returncode, out


@pytest.fixture
def at_work(quick: Settings) -> Iterator[Callable[..., Work]]:
    """Starts workers, and leaves none behind."""
    started: list[Work] = []

    def start(given: CalculationInput, settings: Settings = quick, **more: Any) -> Work:
        started.append(Work(settings, given, **more))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            kill_group(each.process)


def uninterrupted(given: CalculationInput, directory: Path) -> Record:
    """The same input computed by this process, with no queue."""
    directory.mkdir()
    assert given.positions is not None
    return run_task(Task(calculation=given, positions=given.positions, threads=1, memory_mb=1000), directory)


def record_of(database: Database, given: CalculationInput) -> Record:
    record = database.record(given.id)
    assert record is not None
    return record


def document_of(database: Database, given: CalculationInput) -> dict[str, Any]:
    document = database.calculations.find_one({"_id": given.id})
    assert document is not None
    return document


# --- killed and told to go --------------------------------------------------------------------------------------------


def test_killed_at_the_fourth_cycle(
    database: Database, quick: Settings, tmp_path: Path, at_work: Callable[..., Work]
) -> None:
    """The supervisor says so at once, and the second attempt goes on with the orbitals of the first."""
    given = calculation("energy", WATER, level("b3lyp/6-31g", **SLOW))
    ids = queued(database, given)
    work = at_work(given)
    work.reaches("SCF cycle", 4)
    work.child.kill()
    killed = time.monotonic()
    said = wait_for(lambda: database.attempts.find_one({"calculation": given.id}), 5)
    assert time.monotonic() - killed < 5
    assert "signal 9" in said["message"]
    assert said["peak_memory_mb"] > 50
    kept = load(checkpoints_of(quick, given.id), fingerprint_of(given), SCF)
    code, out = work.ends()
    assert code == 0, out
    assert "it is tried again" in out

    fresh = uninterrupted(given, tmp_path / "fresh")
    record = record_of(database, given)
    assert kept.checkpoint is not None
    assert kept.notes == []
    assert document_of(database, given)["attempts"] == 2
    assert record.provenance.continued is not None
    assert record.provenance.continued["scf_cycles"] == kept.checkpoint.values["cycles"]
    assert record.convergence.cycles < fresh.convergence.cycles
    assert record.energy_hartree == pytest.approx(fresh.energy_hartree, abs=1e-8)
    assert fresh.provenance.continued is None
    check_invariants(database, quick, ids)


def test_told_in_a_relaxation_that_time_is_short(
    database: Database, quick: Settings, tmp_path: Path, at_work: Callable[..., Work]
) -> None:
    """SIGUSR1, as Slurm sends it before the walltime: the last geometry is saved, nothing else is begun."""
    given = calculation("relax", PEROXIDE, level("b3lyp/sto-3g", grid=(75, 302)))
    other = calculation("energy", WATER, level("b3lyp/sto-3g", grid=0))
    ids = queued(database, given, other)
    work = at_work(given)
    work.reaches("relaxation step", 2)
    told = time.monotonic()
    work.process.send_signal(signal.SIGUSR1)
    code, out = work.ends(20)
    assert time.monotonic() - told < 20
    assert code == 0, out
    assert "2 are left for another worker, as this one was told to stop" in out
    document = document_of(database, given)
    assert (document["state"], document["claim"], document["deaths"]) == ("READY", None, [])
    assert document_of(database, other)["attempts"] == 0
    assert database.attempts.find_one({})["outcome"] == "interrupted"

    last = last_geometry(checkpoints_of(quick, given.id), given)
    assert last is not None
    assert last.step >= 2
    exported = tmp_path / "last.xyz"
    subprocess.run(
        [sys.executable, "-m", "alkaflow.launchpad.cli", "results", "geometry", given.id, "-o", str(exported)],
        env=environment_of(quick), check=True, timeout=60,
    )  # fmt: skip
    assert f"relaxation step {last.step}" in exported.read_text()
    assert read_xyz(exported).positions == pytest.approx(last.positions, abs=1e-9)

    code, out = at_work(given).ends(120)
    assert code == 0, out
    record = record_of(database, given)
    assert record.energies_along_relaxation[last.step] == last.energy  # the answer of the first attempt, not another
    assert len(record.energies_along_relaxation) > last.step + 1
    assert record.provenance.continued is not None
    assert record.provenance.continued["gradients"] == last.step + 1
    assert record_of(database, other).provenance.continued is None
    check_invariants(database, quick, ids)


@pytest.mark.parametrize("who", ["the worker", "all of the job"])
def test_terminated_and_ten_seconds_later_killed(
    database: Database, quick: Settings, at_work: Callable[..., Work], who: str
) -> None:
    """As Slurm ends a job; it is over before the second signal."""
    given = calculation("energy", WATER, level("b3lyp/6-31g", **SLOW))
    ids = queued(database, given)
    work = at_work(given)
    work.reaches("SCF cycle", 3)
    if who == "all of the job":
        os.killpg(work.process.pid, signal.SIGTERM)
    else:
        work.process.send_signal(signal.SIGTERM)
    try:
        work.process.wait(10)
    except subprocess.TimeoutExpired:
        kill_group(work.process)
    code, out = work.ends()
    assert code == 143, out
    document = document_of(database, given)
    assert (document["state"], document["claim"], document["deaths"]) == ("READY", None, [])
    kept = load(checkpoints_of(quick, given.id), fingerprint_of(given), SCF)
    assert kept.checkpoint is not None
    assert kept.notes == []
    assert kept.checkpoint.values["cycles"] >= (3 if who == "the worker" else 1)  # told, it saves; killed, it has
    check_invariants(database, quick, ids)
    code, out = at_work(given).ends()
    assert code == 0, out
    assert record_of(database, given).provenance.continued == {"scf_cycles": kept.checkpoint.values["cycles"]}
    check_invariants(database, quick, ids)


# --- a disk that is full ----------------------------------------------------------------------------------------------


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Take all that is left."""
        with self._filler.open("ab", buffering=0) as stream:
            for size in (2**20, 4096, 1):
                try:
                    while True:
                        stream.write(b"x" * size)
                except OSError:
                    continue

    def make_space(self) -> None:
        """Give it back."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A file system of so many MB as the parameter says; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={request.param}m,mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if os.environ.get("ALKAFLOW_CI") == "1" and os.geteuid() == 0:
            pytest.fail(f"no file system can be mounted in CI: {done.stderr}")
        pytest.skip(f"mounting a small file system needs root: {done.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("disk", [230], indirect=True)
def test_the_disk_of_the_checkpoints_is_full(
    database: Database, quick: Settings, at_work: Callable[..., Work], disk: Disk
) -> None:
    """In the middle of an SCF: the try ends, the worker waits for nothing, and what was saved before is whole."""
    settings = quick.model_copy(update={"data_dir": disk.folder})
    given = calculation("energy", WATER, level("b3lyp/6-31g", **SLOW))
    ids = queued(database, given)
    work = at_work(given, settings)
    work.reaches("SCF cycle", 3)
    disk.fill()
    code, out = work.ends()
    assert code == 3, out
    assert "MB of disk left; 200 are needed to go on" in out
    document = document_of(database, given)
    assert (document["state"], document["deaths"]) == ("READY", [])  # it had got further, and that does not count
    tried = database.attempts.find_one({"calculation": given.id, "attempt": 1})
    assert tried["outcome"] == "disk_full", tried
    kept = load(checkpoints_of(settings, given.id), fingerprint_of(given), SCF)
    assert kept.checkpoint is not None
    assert kept.notes == []

    disk.make_space()
    code, out = at_work(given, settings).ends()
    assert code == 0, out
    record = record_of(database, given)
    assert record.provenance.continued == {"scf_cycles": kept.checkpoint.values["cycles"]}
    assert record.warnings == []
    check_invariants(database, settings, ids)


@pytest.mark.parametrize("disk", [230], indirect=True)
def test_the_disk_for_scratch_is_full(database: Database, quick: Settings, disk: Disk) -> None:
    """PySCF's own gradient writes there; the SCF before it need not be done again."""
    settings = quick.model_copy(update={"scratch_dir": disk.folder, "fast_kernels": False})
    given = calculation("relax", PEROXIDE, level("b3lyp/sto-3g", grid=(75, 302)))
    ids = queued(database, given)
    claim = Queue(database, LEASE).claim()
    assert claim is not None
    events: list[Event] = []
    worker = Worker(database, settings, events.append)
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(worker.execute, claim)
        wait_for(lambda: [e for e in events if e.progress and e.progress["step"] >= 2], 60)
        disk.fill()
        assert trying.result() is False
    tried = database.attempts.find_one({"calculation": given.id})
    assert tried["outcome"] == "disk_full", tried
    assert str(disk.folder) in tried["message"]
    document = document_of(database, given)
    assert (document["state"], document["deaths"]) == ("READY", [])  # it had got further, and that does not count
    assert {path.name for path in disk.folder.iterdir()} == {"filler"}, "scratch was left behind"
    kept = load(checkpoints_of(settings, given.id), fingerprint_of(given), SCF)
    assert kept.checkpoint is not None

    disk.make_space()
    assert worker.run() == 1
    assert record_of(database, given).provenance.continued == {"scf_cycles": kept.checkpoint.values["cycles"]}
    check_invariants(database, settings, ids)


# --- memory that is refused -------------------------------------------------------------------------------------------


def test_too_little_memory_for_any_try(database: Database, quick: Settings, at_work: Callable[..., Work]) -> None:
    """Exact integrals of 180 functions take 1.06 GB: refused, tried once more with a smaller plan, and given up."""
    given = calculation("energy", from_smiles("c1ccc2ccccc2c1"), level("b3lyp/6-31g(d,p)+nofit", grid=0))
    ids = queued(database, given)
    work = at_work(given, wrapper=["prlimit", "--as=1200000000"], ALKAFLOW_MEMORY_MB="4000")
    code, out = work.ends()
    assert code == 1, out
    document = document_of(database, given)
    assert (document["state"], document["deaths"]) == ("FIZZLED", ["out_of_memory"] * 2), out
    assert document["failure"]["outcome"] == "out_of_memory"
    tries = list(database.attempts.find({"calculation": given.id}).sort("attempt"))
    assert [each["outcome"] for each in tries] == ["out_of_memory"] * 2  # one reduced try only
    planned = [json.loads((Path(each["directory"]) / TASK_FILE).read_text())["memory_mb"] for each in tries]
    assert planned == [4000, 2400]
    for each in tries:
        assert "MB used" in each["message"]
        assert 100 < each["peak_memory_mb"] < 1200
    check_invariants(database, quick, ids)


def test_the_reduced_try_has_memory_enough(database: Database, quick: Settings, at_work: Callable[..., Work]) -> None:
    """Fitted integrals of 270 functions, 163 MB, go to the disk in the second try. Ours have enough in the first."""
    given = calculation("energy", from_smiles("c1ccccc1"), level("b3lyp/def2-tzvpp", grid=0))
    ids = queued(database, given)
    work = at_work(given, wrapper=["prlimit", "--as=1000000000"], ALKAFLOW_MEMORY_MB="600",
                   ALKAFLOW_FAST_KERNELS="false")  # fmt: skip
    code, out = work.ends()
    assert code == 0, out
    tries = list(database.attempts.find({"calculation": given.id}).sort("attempt"))
    assert [each["outcome"] for each in tries] == ["out_of_memory", "converged"], out
    assert record_of(database, given).basis_functions == 6 * 31 + 6 * 14
    check_invariants(database, quick, ids)
