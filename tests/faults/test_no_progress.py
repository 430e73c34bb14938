"""Calculations that save something in every job and get no further: they end, and those that get further do not."""

from pathlib import Path
from typing import Any

import pytest
from harness import LEASE, check_invariants, hydrogen_run

from alkaflow.launchpad import folder_pack, outbox
from alkaflow.launchpad.advance import enough_seconds, moved_on, saved_marks
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.drain import Drain
from alkaflow.launchpad.folder_compute import FolderWorker
from alkaflow.launchpad.knowing import explain
from alkaflow.launchpad.limits import TimeLimit
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.retries import TOO_SLOW
from alkaflow.launchpad.worker import Engine, Event, Worker
from alkaflow.levels import parse_level
from alkaflow.settings import Settings
from alkaflow.structures import from_smiles
from alkaflow.workflows.checkpoint import fingerprint_of
from alkaflow.workflows.plan import plan_single
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.scf_checkpoint import ScfKeeper
from alkaflow.workflows.surface import KohnShamGradient

SAVING = "saving_engine"


@pytest.fixture(autouse=True)
def _short_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are so short that whatever a try does takes more than half of one."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr("alkaflow.launchpad.worker.enough_seconds", lambda _: 0.0)
    monkeypatch.setattr("alkaflow.launchpad.folder_attempt.enough_seconds", lambda _: 0.0)


@pytest.fixture
def name(database: Database) -> str:
    run = hydrogen_run(1)
    Queue(database, LEASE).submit(run)
    return next(iter(run.calculations))


def job(database: Database, settings: Settings, what: str) -> list[Event]:
    """A job that ends as soon as its calculation has saved what it saves; what its worker says."""
    events: list[Event] = []
    drain = Drain()

    def watch(event: Event) -> None:
        events.append(event)
        if event.kind == "progress" and event.progress:
            drain.set()

    Worker(database, settings, watch, Engine(SAVING, (what,)), drain).run()
    return [event for event in events if event.kind != "progress"]


def document_of(database: Database, name: str) -> dict[str, Any]:
    document = database.calculations.find_one({"_id": name})
    assert document is not None
    return document


@pytest.mark.parametrize("where", ["on one host", "on another host each time"])
def test_three_in_a_row_without_progress_end_it(
    database: Database, quick: Settings, name: str, tmp_path: Path, where: str
) -> None:
    """The first job saves an SCF, the three after it converge the same once more."""
    for number in range(4):
        home = tmp_path / (str(number) if where != "on one host" else "data")
        assert document_of(database, name)["deaths"] == ["out_of_time"] * max(0, number - 1)
        last = job(database, quick.model_copy(update={"data_dir": home}), "again")
    assert [event.kind for event in last] == ["started", "failed"]
    assert last[-1].message.endswith(TOO_SLOW)
    document = document_of(database, name)
    assert (document["state"], document["attempts"]) == ("FIZZLED", 4)
    failure = document["failure"]
    assert failure["outcome"] == "out_of_time"
    assert failure["message"].startswith("3 tries died (out_of_time, out_of_time, out_of_time), the last: given back")
    assert failure["message"].endswith(f"it got no further in that time: {TOO_SLOW}")
    assert TOO_SLOW in explain(database, document).next
    assert job(database, quick, "again") == []
    tries = [d["outcome"] for d in database.attempts.find().sort("_id", 1)]
    assert tries == ["interrupted", *["out_of_time"] * 3]
    check_invariants(database, quick, {name})
    assert Control(database, Queue(database, LEASE)).retry({"_id": name}).ids == [name]
    job(database, quick, "again")
    assert document_of(database, name)["state"] == "READY"


@pytest.mark.parametrize("what", ["cycle", "step"])
def test_progress_forgives(database: Database, quick: Settings, name: str, what: str) -> None:
    for each in ("again", "again", "again"):
        job(database, quick, each)
    assert document_of(database, name)["deaths"] == ["out_of_time"] * 2
    assert [event.kind for event in job(database, quick, what)] == ["started", "released"]
    assert document_of(database, name)["deaths"] == []
    for each in ("nothing", what, "nothing"):
        job(database, quick, each)
    document = document_of(database, name)
    assert (document["state"], document["deaths"]) == ("READY", ["out_of_time"])
    check_invariants(database, quick, {name})


def test_a_death_of_another_kind_is_not_forgiven(database: Database, quick: Settings, name: str) -> None:
    queue = Queue(database, LEASE)
    claim = queue.claim()
    assert claim is not None
    queue.fail(claim, "engine_crashed", "it crashed", "", died=True)
    for what in ("again", "again", "cycle"):
        job(database, quick, what)
    assert document_of(database, name)["deaths"] == ["engine_crashed"]
    for _ in range(2):
        job(database, quick, "again")
    assert document_of(database, name)["failure"]["outcome"] == "out_of_time"
    check_invariants(database, quick, {name})


def test_who_had_no_time_is_not_blamed(
    database: Database, quick: Settings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alkaflow.launchpad.worker.enough_seconds", enough_seconds)
    for _ in range(4):
        assert [event.kind for event in job(database, quick, "again")] == ["started", "released"]
    assert document_of(database, name)["deaths"] == []
    assert enough_seconds(None) == enough_seconds(TimeLimit(60.0, "time_limit is 60 s")) == 600.0
    assert enough_seconds(TimeLimit(300.0, "the Slurm job ends", of_the_job=True)) == 150.0
    assert enough_seconds(TimeLimit(86400.0, "the Slurm job ends", of_the_job=True)) == 600.0


@pytest.mark.parametrize(("energies", "deaths"), [((-1.0, -1.0, -1.0), 2), ((-1.0, -1.1, -1.2), 0)])
def test_jobs_killed_at_the_walltime(
    database: Database, quick: Settings, name: str, energies: tuple[float, ...], deaths: int
) -> None:
    """Nobody looks at checkpoints then; the last report says how far it was."""
    queue = Queue(database, LEASE)
    for number, energy in enumerate(energies):
        claim = queue.claim()
        assert claim is not None
        assert queue.heartbeat(
            claim, {"stage": "SCF cycle", "step": 9 + number, "energy_hartree": energy, "elapsed": 1}
        )
        database.calculations.update_one({"_id": name}, {"$set": {"claim.job": f"slurm:{number}"}})
        assert queue.release_job(f"slurm:{number}", "walltime", "it ran out of time") == [name]
    assert document_of(database, name)["deaths"] == ["walltime"] * deaths
    check_invariants(database, quick, {name})


def test_in_a_job_folder(database: Database, quick: Settings, name: str, tmp_path: Path) -> None:
    folder = folder_pack.pack(database, quick, tmp_path / "job")

    def compute(what: str) -> None:
        drain = Drain()

        def watch(event: Event) -> None:
            if event.kind == "progress" and event.progress:
                drain.set()

        with folder.locked():
            FolderWorker(folder, quick, watch, Engine(SAVING, (what,)), drain).run()

    for what in ("again", "again", "again", "cycle", "again", "again"):
        compute(what)
    assert folder.deaths(name, folder.tries(name)) == ("out_of_time",) * 2
    compute("again")
    synced = outbox.sync(database, Queue(database, LEASE), [folder.path])
    assert synced.failed.keys() == {name}
    document = document_of(database, name)
    assert (document["state"], document["failure"]["outcome"]) == ("FIZZLED", "out_of_time")
    assert document["failure"]["message"].endswith(TOO_SLOW)
    check_invariants(database, quick, {name})


def saved_at(folder: Path) -> int:
    """When the newest checkpoint was written [ns]."""
    return max(path.stat().st_mtime_ns for path in folder.glob("*.checkpoint"))


def test_an_scf_that_converges_again_is_no_progress(tmp_path: Path) -> None:
    """A real one: its cycles are counted on, and the energy is the same; at the next geometry it is another one."""
    level = parse_level("b3lyp/sto-3g")
    water = from_smiles("O")
    (given,) = plan_single(water, "b3lyp/sto-3g", None).calculations.values()
    positions = water.positions * 1.8897

    def job(shift: float = 0.0) -> None:
        keeper = ScfKeeper(tmp_path, fingerprint_of(given), moving=True)
        surface = KohnShamGradient(water, level, 1000, Progress(tmp_path), keeper=keeper)
        surface.converge(positions + shift * positions, None)
        keeper.save(surface.mean_field)

    job()
    once, files = saved_marks(tmp_path, given), saved_at(tmp_path)
    assert list(once) == ["scf"]
    job()
    again = saved_marks(tmp_path, given)
    assert saved_at(tmp_path) > files, "nothing was saved"
    assert not moved_on(once, again)
    job(shift=0.01)
    assert moved_on(again, saved_marks(tmp_path, given))
    assert not moved_on(once, {})
    assert moved_on({}, once)
