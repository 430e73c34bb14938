"""Job folders: packed where the database is, computed where none is, delivered, given back."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError, ServiceError
from alkaflow.files import sha256_of
from alkaflow.launchpad import folder_pack, outbox
from alkaflow.launchpad.advance import saved_marks
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.drain import Drain
from alkaflow.launchpad.folder_attempt import Attempts
from alkaflow.launchpad.folder_compute import FolderWorker, Outcome
from alkaflow.launchpad.folder_files import Try
from alkaflow.launchpad.folders import JobFolder
from alkaflow.launchpad.holds import Holds
from alkaflow.launchpad.knowing import explain
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Engine, Event, Worker, checkpoints_of
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings
from alkaflow.structures import from_smiles
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, fingerprint_of, save
from alkaflow.workflows.fake_engine import fake_energy
from alkaflow.workflows.task import MANIFEST_FILE, RECORD_FILE

pytestmark = pytest.mark.timeout(120)

FAKE = "alkaflow.workflows.fake_engine"
EXECUTABLE = Path(sys.executable).with_name("alkaflow")


def chains(number: int, grandchildren: bool = False) -> SingleRun:
    """So many relaxations of hydrogen, each with an energy that needs it, and one more that needs that."""
    common: dict[str, Any] = {"charge": 0, "multiplicity": 1, "symbols": ("H", "H")}
    xtb, dft = parse_level("gfn2-xtb"), parse_level("b3lyp/sto-3g")
    calculations, titles = {}, {}
    for k in range(number):
        positions = ((0, 0, 0), (0, 0, round(0.7 + 1e-3 * k, 6)))
        line = [CalculationInput(step="relax", level=xtb, positions=positions, **common)]
        line.append(CalculationInput(step="relax", level=dft, parent=line[0].id, **common))
        if grandchildren:
            line.append(CalculationInput(step="energy", level=dft, parent=line[1].id, **common))
        for depth, given in enumerate(line):
            calculations[given.id], titles[given.id] = given, f"hydrogen {k}, {depth}"
    return SingleRun(calculations=calculations, titles=titles)


def compute(folder: JobFolder, settings: Settings, *engine: str, parts: int = 1) -> Outcome:
    with folder.locked():
        return FolderWorker(folder, settings, engine=Engine(FAKE, engine)).run(parts)


def sync(database: Database, *folders: JobFolder | Path) -> outbox.Synced:
    paths = [one.path if isinstance(one, JobFolder) else one for one in folders]
    return outbox.sync(database, Queue(database), paths)


def repair(database: Database, everything: bool = False) -> list[str]:
    """With a short lease, as a repair waits for signs of life of what has expired."""
    return Queue(database, lease_seconds=2.0).repair(everything)


def states(database: Database) -> dict[str, str]:
    return {d["_id"]: d["state"] for d in database.calculations.find({}, {"state": 1})}


def books(database: Database) -> dict[str, str]:
    return {d["name"]: d["state"] for d in database.fireworks.fireworks.find({}, {"name": 1, "state": 1})}


def everything(database: Database) -> list[Any]:
    """All that the database holds of calculations, records and attempts."""
    return [list(database.db[name].find().sort("_id", 1)) for name in ("calculations", "records", "attempts")]


@pytest.fixture
def two(database: Database) -> list[str]:
    """A relaxation and an energy that needs it, queued."""
    run = chains(1)
    Queue(database).submit(run)
    return list(run.calculations)


@pytest.fixture
def refused() -> Iterator[tuple[str, Callable[[], int]]]:
    """A connection string that nobody should use, and how many have tried."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    count = [0]

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            count[0] += 1
            connection.close()

    threading.Thread(target=accept, daemon=True).start()
    yield f"mongodb://127.0.0.1:{listener.getsockname()[1]}/?serverSelectionTimeoutMS=500", lambda: count[0]
    listener.close()


# --- packing -------------------------------------------------------------------------------------------------------


def test_a_folder_holds_what_is_ready_and_what_waits_for_it(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    run = chains(2, grandchildren=True)
    Queue(database).submit(run)
    ids = list(run.calculations)
    Control(database, Queue(database)).set_priority({"_id": ids[3]}, 5)
    folder = folder_pack.pack(database, settings, tmp_path / "job", number=4)
    assert list(folder.items) == [*ids[3:], ids[0]]  # by priority, each with its line behind it
    assert [item.parent for item in folder.items.values()] == [None, ids[3], ids[4], None]
    assert states(database) == dict(zip(ids, ["RUNNING", "WAITING", "WAITING"] * 2, strict=True))
    held = {d["_id"]: d["claim"] for d in database.calculations.find({"claim": {"$ne": None}})}
    assert held.keys() == folder.items.keys()
    assert {claim["job"] for claim in held.values()} == {f"folder:{folder.contents.id}"}
    assert {round((claim["expires"] - claim["since"]).total_seconds() / 86400, 2) for claim in held.values()} == {7}
    # nobody else takes any of it, and a repair does not free it
    queue = Queue(database)
    assert queue.claim() is None
    assert repair(database, everything=True) == []
    assert {d["_id"] for d in database.calculations.find({"claim": {"$ne": None}})} == folder.items.keys()
    with pytest.raises(BadInputError, match="nothing is ready"):
        folder_pack.pack(database, settings, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_is_private_and_all_of_it_is_in_its_manifest(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    assert [item.title for item in folder.items.values()] == ["hydrogen 0, 0", "hydrogen 0, 1"]
    for path in [folder.path, *folder.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or b"mongodb" not in path.read_bytes()
    content = json.loads((folder.path / "folder.json").read_bytes())["contents"]
    on_disk = {p.relative_to(folder.path).as_posix() for p in folder.path.rglob("*") if p.is_file()} - {"folder.json"}
    assert set(content["files"]) == on_disk
    for name, note in content["files"].items():
        data = (folder.path / name).read_bytes()
        assert (len(data), sha256_of(data)) == (note["bytes"], note["sha256"])
    with pytest.raises(BadInputError, match="not empty"):
        folder_pack.pack(database, settings, folder.path)


def test_names_choose_what_is_packed(database: Database, settings: Settings, tmp_path: Path) -> None:
    run = chains(3)
    Queue(database).submit(run)
    ids = list(run.calculations)
    database.calculations.update_many({"_id": {"$in": ids[:2]}}, {"$set": {"studies": ["first"]}})
    chosen = folder_pack.selected(database, ["first", ids[5][:10]])
    assert set(chosen) == {*ids[:2], ids[5], ids[4]}  # what the last one waits for comes along
    folder = folder_pack.pack(database, settings, tmp_path / "job", chosen)
    assert set(folder.items) == set(chosen)
    with pytest.raises(BadInputError, match="unknown calculation or submitted study 'secnd'"):
        folder_pack.selected(database, ["secnd"])


def test_packing_that_fails_holds_nothing(
    database: Database, settings: Settings, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_pack, "write_contents", full)
    with pytest.raises(ServiceError, match="No space left on device; nothing was packed"):
        folder_pack.pack(database, settings, tmp_path / "job")
    assert states(database) == {two[0]: "READY", two[1]: "WAITING"}
    assert database.calculations.count_documents({"claim": {"$ne": None}}) == 0
    assert not (tmp_path / "job").exists()
    assert Queue(database).claim() is not None  # FireWorks agrees


def test_packing_that_is_killed_holds_for_minutes_only(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    taken = Holds(database, "0" * 32).take(tmp_path / "job")  # and no folder was written
    assert [one.id for one in taken] == two
    claims = [d["claim"] for d in database.calculations.find()]
    assert max((claim["expires"] - claim["since"]).total_seconds() for claim in claims) <= 600
    over = {"$set": {"claim.expires": claims[0]["since"]}}
    database.calculations.update_many({}, over)
    repair(database)
    assert list(folder_pack.pack(database, settings, tmp_path / "job").items) == two


def test_why_names_the_folder(database: Database, settings: Settings, two: list[str], tmp_path: Path) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    for name in two:
        found = explain(database, database.calculations.find_one({"_id": name}))
        assert f"the job folder {folder.path}, made on {socket.gethostname()}, has it since" in found.because[0]
        assert f"alkaflow cluster unpack {folder.path}, to give it back" in found.next


@pytest.mark.parametrize("how", ["sync", "unpack"])
def test_reproduce_says_what_it_waits_for(
    database: Database, settings: Settings, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Once, with the commands that end the waiting; it looks now and then, and goes on when one of them was given."""
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    other = chains(2).calculations.keys() - set(two)
    Queue(database).submit(chains(2))
    monkeypatch.setattr("alkaflow.launchpad.worker._IDLE_SECONDS", 0.0)
    monkeypatch.setattr("alkaflow.launchpad.worker._FOLDER_SECONDS", 0.5)
    events: list[Event] = []
    looks: list[float] = []

    def watch(event: Event) -> None:
        events.append(event)
        if event.kind == "waiting" and event.calculation == two[0]:
            looks.append(time.monotonic())
        if event.kind != "waiting" or len(looks) != 3 or event.calculation != two[0]:
            return
        if how == "sync":
            compute(folder, settings)
            sync(database, folder)
        else:
            folder_pack.unpack(database, settings, folder)

    Worker(database, settings, watch, Engine(FAKE)).run([*two, *other])
    assert set(states(database).values()) == {"COMPLETED"}
    (said,) = [event.message for event in events if event.kind == "waiting" and event.message]
    assert said.startswith(f"waiting for the job folder {folder.path}, which has 2 of the calculations until ")
    assert f"alkaflow sync {folder.path}; " in said
    assert said.endswith(f"alkaflow cluster unpack {folder.path}")
    waited = [event for event in events if event.kind == "waiting"]
    assert {event.calculation for event in waited} == set(two)
    assert len(looks) == 3
    assert looks[-1] - looks[0] > 0.9, "it looked without a pause"
    started = {event.calculation for event in events if event.kind == "started"}
    assert started == (set(other) if how == "sync" else {*two, *other})


def test_it_waits_also_for_a_child_whose_parent_was_delivered(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    drain = Drain()

    def stop(event: Event) -> None:
        if event.kind == "completed":
            drain.set()

    with folder.locked():
        FolderWorker(folder, settings, stop, Engine(FAKE), drain).run()
    assert sync(database, folder).delivered == two[:1]
    until = Drain()
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        until.set()

    Worker(database, settings, watch, Engine(FAKE), until).run(two)
    assert [(event.kind, event.calculation) for event in events] == [("waiting", two[1])]


# --- the whole way, with real chemistry ------------------------------------------------------------------------------


def water() -> SingleRun:
    """A relaxation by xTB and an energy at its geometry."""
    start = from_smiles("O")
    common: dict[str, Any] = {"charge": 0, "multiplicity": 1, "symbols": start.symbols}
    positions = tuple((round(float(x), 6), round(float(y), 6), round(float(z), 6)) for x, y, z in start.positions)
    relax = CalculationInput(step="relax", level=parse_level("gfn2-xtb"), positions=positions, **common)
    energy = CalculationInput(step="energy", level=parse_level("b3lyp/sto-3g"), parent=relax.id, **common)
    return SingleRun(
        calculations={relax.id: relax, energy.id: energy}, titles={relax.id: "water, relaxed", energy.id: "water"}
    )


def start_compute(folder: Path, uri: str, home: Path, *options: str) -> "subprocess.Popen[str]":
    """The command on a node: an address of a database that refuses, no configuration, a home of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ALKAFLOW_")}
    environment |= {"HOME": str(home), "ALKAFLOW_MONGODB_URI": uri, "ALKAFLOW_THREADS": "1"}
    return subprocess.Popen(
        [str(EXECUTABLE), "cluster", "compute", str(folder), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_computed_without_a_database_killed_resumed_and_delivered_twice(
    database: Database, settings: Settings, tmp_path: Path, refused: tuple[str, Callable[[], int]]
) -> None:
    uri, connections = refused
    run = water()
    relax, energy = run.calculations
    Queue(database).submit(run)
    packed = folder_pack.pack(database, settings, tmp_path / "packed")
    node = tmp_path / "node"
    shutil.copytree(packed.path, node)  # another place, as after a copy
    home = tmp_path / "home"
    home.mkdir()

    killed = start_compute(node, uri, home)
    until = time.monotonic() + 60
    while not list(node.glob(f"attempts/{energy}/*/task.json")):  # the relaxation is done, the energy begins
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert JobFolder(node).result(relax) is not None
    assert JobFolder(node).result(energy) is None

    again = start_compute(node, uri, home, "--json")
    out, talk = again.communicate(timeout=100)
    assert again.returncode == 0, talk
    assert sorted(json.loads(out)["done"]) == sorted([relax, energy])
    assert connections() == 0
    assert not list(home.rglob("mongod*")), "a database was started"
    assert [one.outcome for one in JobFolder(node).tries(energy)] == ["worker_lost", "converged"]

    synced = sync(database, node)
    assert synced.delivered == [relax, energy]  # parents first
    assert synced.kept == synced.damaged == {}
    assert set(states(database).values()) == {"COMPLETED"}
    logged = [(d["calculation"], d["attempt"], d["outcome"]) for d in database.attempts.find().sort("_id", 1)]
    assert sorted(logged) == sorted([(relax, 1, "converged"), (energy, 1, "worker_lost"), (energy, 2, "converged")])
    before = everything(database)
    twice = sync(database, node)
    assert twice.known == [relax, energy]
    assert twice.delivered == []
    assert everything(database) == before
    assert "everything is settled (2 delivered)" in twice.folders[str(node)]
    Queue(database).repair()
    assert set(books(database).values()) == {"COMPLETED"}
    record = database.record(energy)
    assert record is not None
    assert record.orbitals is not None
    assert len(database.get_file(record.orbitals.sha256)) == record.orbitals.bytes

    done = start_compute(node, uri, home)
    out, talk = done.communicate(timeout=60)
    assert done.returncode == 0, talk
    assert "everything is settled (2 delivered); the folder can be removed" in out

    check_against_a_worker(database, settings, run)


def check_against_a_worker(database: Database, settings: Settings, run: SingleRun) -> None:
    """A worker with a database finds the same."""
    relax, energy = run.calculations
    from_folder = [database.record(name) for name in (relax, energy)]
    for collection in (
        database.calculations,
        database.records,
        database.fireworks.fireworks,
        database.fireworks.workflows,
    ):
        collection.delete_many({})
    Queue(database).submit(run)
    assert Worker(database, settings).run() == 2
    for found, name in zip(from_folder, (relax, energy), strict=True):
        usual = database.record(name)
        assert usual is not None
        assert found is not None
        assert found.energy_hartree == pytest.approx(usual.energy_hartree, abs=1e-8)
        assert np.allclose(found.positions_angstrom, usual.positions_angstrom, atol=1e-6)


def test_the_orbitals_of_a_parent_that_was_done_go_along(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    run = chains(1, grandchildren=True)
    first, second, third = run.calculations
    Queue(database).submit(run)
    engine = Engine(FAKE, ("--orbital-bytes", "5000"))
    Worker(database, settings, engine=engine).run([first])
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    assert list(folder.items) == [second, third]
    parent = database.record(first)
    assert parent is not None
    assert folder.given_record(first) == parent
    assert parent.orbitals is not None
    assert sha256_of(folder.read(f"parents/{first}.npz")) == parent.orbitals.sha256
    levels = {}

    def look(event: Event) -> None:
        if event.kind == "progress":
            task = next((folder.path / "attempts" / event.calculation).glob("*/task.json"))
            levels[event.calculation] = (
                json.loads(task.read_bytes())["guess_level"],
                (task.parent / "guess.npz").exists(),
            )

    slow = Engine(FAKE, ("--orbital-bytes", "5000", "--seconds", "0.6"))
    with folder.locked():
        FolderWorker(folder, settings, look, slow).run()
    assert levels[second] == (parent.level_of_theory.model_dump(mode="json"), True)
    assert levels[third][0]["functional"] == "b3lyp"  # of the one that was computed in the folder
    assert levels[third][1]


def test_delivered_half_way_and_gone_on_with(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    """On a disk that node and database share, a sync may come between a parent and its child."""
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    drain = Drain()

    def stop(event: Event) -> None:
        if event.kind == "completed":
            drain.set()

    with folder.locked():
        FolderWorker(folder, settings, stop, Engine(FAKE), drain).run()
    synced = sync(database, folder)
    assert synced.delivered == [two[0]]
    assert "1 of 2 calculations are left" in synced.folders[str(folder.path)]
    assert states(database) == {two[0]: "COMPLETED", two[1]: "READY"}
    repair(database, everything=True)
    assert books(database)[two[1]] == "READY"
    assert Queue(database).claim() is None  # the folder has it
    assert compute(folder, settings).done == [two[1]]
    assert sync(database, folder).delivered == [two[1]]
    repair(database)
    assert set(books(database).values()) == {"COMPLETED"}


def test_settings_go_along_and_those_of_the_node_win(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    here = settings.model_copy(update={"blas_kernel": "keep", "time_limit": 12.0})
    folder = folder_pack.pack(database, here, tmp_path / "job")
    with folder.locked():
        assert FolderWorker(folder, Settings())._settings.time_limit == 12.0
        assert FolderWorker(folder, Settings())._settings.blas_kernel == "keep"
        assert FolderWorker(folder, Settings(time_limit=5.0))._settings.time_limit == 5.0


def test_what_another_version_means_otherwise_is_not_computed(
    database: Database, settings: Settings, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    monkeypatch.setattr("alkaflow.launchpad.folders.RECIPE_VERSION", 1000)
    outcome = compute(folder, settings)
    assert "this alkaflow computes recipe 1000; install the one that made the folder" in outcome.damaged[two[0]]


# --- deaths and failures -------------------------------------------------------------------------------------------


def test_a_calculation_that_dies_three_times_is_a_failure(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    run = chains(2)
    ids = list(run.calculations)
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    outcome = compute(folder, settings, "--die", "exit3", "--die-only", ids[0])
    assert outcome.failed.keys() == {ids[0]}
    assert sorted(outcome.done) == sorted(ids[2:])
    assert outcome.left == [ids[1]]  # it waits for the one that failed
    assert [(one.attempt, one.kind, one.outcome) for one in folder.tries(ids[0])] == [
        (k, "died", "engine_crashed") for k in (1, 2, 3)
    ]
    assert compute(folder, settings).done  # and is not tried again
    assert len(folder.tries(ids[0])) == 3

    synced = sync(database, folder)
    assert synced.delivered == ids[2:]
    assert synced.failed.keys() == {ids[0]}
    document = database.calculations.find_one({"_id": ids[0]})
    assert (document["state"], document["attempts"]) == ("FIZZLED", 3)
    assert document["deaths"] == ["engine_crashed"] * 3
    assert document["failure"]["outcome"] == "engine_crashed"
    assert "3 tries died" in document["failure"]["message"]
    tried = list(database.attempts.find({"calculation": ids[0]}).sort("_id", 1))
    assert [d["outcome"] for d in tried] == ["engine_crashed"] * 3
    assert {d["host"] for d in tried} == {socket.gethostname()}
    assert database.fireworks.fireworks.find_one({"name": ids[0]})["state"] == "FIZZLED"
    before = everything(database)
    assert sync(database, folder).failed == {}
    assert everything(database) == before


@pytest.mark.parametrize(("steps", "deaths"), [((1, 2, 3, 4), 0), ((1, 1, 1), 2), ((1, 1, 1, 1), 3), ((), 3)])
def test_killed_after_progress_is_not_held_against_a_calculation(
    database: Database, settings: Settings, tmp_path: Path, steps: tuple[int, ...], deaths: int
) -> None:
    """Killed with its supervisor each time, further on or at the same step."""
    run = chains(1)
    name = next(iter(run.calculations))
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    here = settings.model_copy(update={"data_dir": folder.path})
    fingerprint = fingerprint_of(run.calculations[name])
    checkpoints = checkpoints_of(here, name)
    for number in steps or (0, 0, 0):
        attempts = Attempts(folder, here, Drain(), lambda _: None)
        _, directory = attempts._claim(folder.items[name])
        attempts._note_reached(name, saved_marks(checkpoints, run.calculations[name]))
        directory.mkdir()
        checkpoints.mkdir(exist_ok=True)
        if number:
            arrays = {"energies": np.zeros(number), "positions": np.zeros((number, 2, 3))}
            save(checkpoints, Checkpoint(fingerprint, {}, arrays), RELAXATION)
        attempts.note_lost(name)
    assert folder.deaths(name, folder.tries(name)) == ("worker_lost",) * deaths
    assert len(folder.tries(name)) == len(steps or (0, 0, 0))
    assert (attempts.failure(name) is not None) == (deaths == 3)


def test_a_failure_of_its_own_is_delivered_with_its_outcome(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    outcome = compute(folder, settings, "--fail", "scf_not_converged")
    assert outcome.failed[two[0]].startswith("scf_not_converged: the fake engine was told")
    assert len(folder.tries(two[0])) == 1
    sync(database, folder)
    failure = database.calculations.find_one({"_id": two[0]})["failure"]
    assert failure["outcome"] == "scf_not_converged"
    assert Path(failure["directory"]).is_relative_to(folder.path)
    # what waits for it is held no more
    assert database.calculations.count_documents({"claim": {"$ne": None}}) == 0
    assert folder.settled() == {two[0]: "failed", two[1]: "given back"}
    assert folder_pack.unpack(database, settings, folder)[1] == []
    assert Queue(database).problems(two) == {two[0]: f"scf_not_converged: {failure['message']}"}


def test_stopped_by_sigusr1_it_goes_on(database: Database, settings: Settings, two: list[str], tmp_path: Path) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    drain = Drain()

    def stop(event: Event) -> None:
        if event.kind == "progress":
            drain.set()

    with folder.locked():
        outcome = FolderWorker(folder, settings, stop, Engine(FAKE, ("--seconds", "30")), drain).run()
    assert sorted(outcome.left) == sorted(two)
    assert [(one.kind, one.outcome) for one in folder.tries(two[0])] == [("stopped", "interrupted")]
    assert sorted(compute(folder, settings).done) == sorted(two)
    assert sync(database, folder).delivered == two
    assert database.calculations.find_one({"_id": two[0]})["attempts"] == 2
    assert database.attempts.find_one({"calculation": two[0], "attempt": 1})["outcome"] == "interrupted"


def test_the_end_of_the_job_is_seen(
    database: Database, settings: Settings, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 61.0))  # less a minute for the end itself
    outcome = compute(folder, settings, "--seconds", "30")
    assert sorted(outcome.left) == sorted(two)
    (stopped,) = folder.tries(two[0])
    assert (stopped.kind, stopped.outcome, stopped.job) == ("died", "out_of_time", "slurm:77")  # nothing was saved
    assert "the Slurm job ends" in stopped.message
    assert compute(folder, settings).done == []  # there is no time to begin anything
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    assert sorted(compute(folder, settings).done) == sorted(two)
    sync(database, folder)
    assert database.attempts.find_one({"calculation": two[0], "attempt": 1})["job"] == "slurm:77"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_to_the_command(
    how: signal.Signals, database: Database, settings: Settings, tmp_path: Path, refused: tuple[str, Callable[[], int]]
) -> None:
    run = water()
    relax, energy = run.calculations
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    process = start_compute(folder.path, refused[0], tmp_path)
    until = time.monotonic() + 60
    while not list(folder.path.glob(f"attempts/{energy}/*/task.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(how)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 0}[how], talk
    assert "Traceback" not in talk
    assert [one.outcome for one in folder.tries(energy)] in (["interrupted"], ["converged"])
    with folder.locked():
        FolderWorker(folder, settings).run()
    assert sync(database, folder).delivered == [relax, energy]


def test_several_at_a_time(database: Database, settings: Settings, tmp_path: Path) -> None:
    run = chains(4)
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    ledger = tmp_path / "ledger"
    parts = min(2, len(os.sched_getaffinity(0)))
    outcome = compute(folder, settings, "--ledger", str(ledger), "--seconds", "0.1", parts=parts)
    assert sorted(outcome.done) == sorted(run.calculations)
    begun = [line.split()[1] for line in ledger.read_text().splitlines() if line.startswith("begin")]
    assert sorted(begun) == sorted(run.calculations)
    assert set(sync(database, folder).delivered) == set(run.calculations)
    with pytest.raises(BadInputError, match="do not fit"):
        compute(folder, settings, parts=1000)


def test_two_computes_at_once_are_refused(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    with folder.locked():
        environment = os.environ | {"ALKAFLOW_DATA_DIR": str(tmp_path / "none")}
        second = subprocess.run(
            [str(EXECUTABLE), "cluster", "compute", str(folder.path)],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 3
        assert f"is being computed by process {os.getpid()} on {socket.gethostname()}" in second.stderr
        with pytest.raises(ServiceError, match="is being computed"):
            folder_pack.unpack(database, settings, folder)
    assert sorted(compute(folder, settings).done) == sorted(two)


# --- expiry, zombies, giving back ----------------------------------------------------------------------------------


def test_after_its_time_a_folder_holds_nothing_and_no_death_is_counted(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job", hold_seconds=1.0)
    assert repair(database) == []
    time.sleep(1.1)
    assert repair(database) == [two[0]]
    assert states(database) == {two[0]: "READY", two[1]: "WAITING"}
    assert database.calculations.count_documents({"claim": {"$ne": None}}) == 0
    assert database.calculations.find_one({"_id": two[0]})["deaths"] == []
    assert database.attempts.find_one({"calculation": two[0]})["message"] == (
        f"the time of the job folder {folder.path} was over"
    )
    # it comes late, and nobody has begun: what it has is taken
    compute(folder, settings)
    assert sync(database, folder).delivered == two
    assert set(states(database).values()) == {"COMPLETED"}


def test_a_zombie_changes_nothing(database: Database, settings: Settings, two: list[str], tmp_path: Path) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job", hold_seconds=0.5)
    compute(folder, settings)
    time.sleep(0.6)
    repair(database)
    claim = Queue(database).claim()
    assert claim is not None
    assert claim.id == two[0]
    before = everything(database)
    synced = sync(database, folder)
    assert synced.delivered == []
    reasons = list(synced.kept.values())
    assert reasons[0] == f"{two[0]} is RUNNING: somebody computes it"
    assert reasons[1] == f"the result of {two[0]}, its parent, is not there yet"
    assert everything(database) == before
    Worker(database, settings, engine=Engine(FAKE, ("--seconds", "0.1"))).execute(claim)
    mine = everything(database)[1]
    synced = sync(database, folder)
    (reason,) = synced.kept.values()
    assert reason.startswith(f"the database holds another result of {two[0]}")
    assert synced.delivered == [two[1]]  # nobody else had that one, and it begins from the same geometry
    assert mine[0] in everything(database)[1]
    assert folder.settled() == {two[0]: "superseded", two[1]: "delivered"}
    assert folder.result(two[0]) is not None, "its files were kept"


def test_a_result_of_another_geometry_of_the_parent_is_kept(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    compute(folder, settings)
    database.calculations.update_one({"_id": two[0]}, {"$set": {"claim": None, "state": "READY"}})
    entry = folder.result(two[0])
    assert entry is not None
    moved = entry.record.model_copy(update={"positions_angstrom": [(0.0, 0.0, 0.0), (0.0, 0.0, 0.9)]})
    database.insert_record(moved)
    synced = sync(database, folder)
    assert f"it is no result of {two[1]}: its geometry is another one" in synced.kept.values()
    assert database.record(two[1]) is None


def test_unpack_gives_back_at_once(database: Database, settings: Settings, tmp_path: Path) -> None:
    run = chains(2)
    ids = list(run.calculations)
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    with folder.locked():
        drain = Drain()

        def stop(event: Event) -> None:
            if event.kind == "completed":
                drain.set()

        FolderWorker(folder, settings, stop, Engine(FAKE), drain).run()
    done = [name for name in ids if folder.result(name) is not None]
    assert done == [ids[0]]
    kept = folder.path / "attempts" / ids[2] / "checkpoints"
    kept.mkdir(parents=True)
    (kept / "state.checkpoint").write_bytes(b"how far it came")
    synced, freed = folder_pack.unpack(database, settings, folder)
    assert synced.delivered == [ids[0]]
    assert set(freed) == set(ids[1:])
    assert states(database) == {ids[0]: "COMPLETED", ids[1]: "READY", ids[2]: "READY", ids[3]: "WAITING"}
    assert database.calculations.count_documents({"claim": {"$ne": None}}) == 0
    brought = settings.data_dir / "attempts" / ids[2] / "checkpoints" / "state.checkpoint"
    assert brought.read_bytes() == b"how far it came"
    assert compute(folder, settings).settled == 4  # and nothing of it is computed any more
    assert len(list(folder.path.glob("attempts/*/*/record.json"))) == 1
    again = folder_pack.unpack(database, settings, folder)
    assert again[1] == []
    # the checkpoint goes along with the next folder
    other = folder_pack.pack(database, settings, tmp_path / "other", [ids[2]])
    assert (other.path / "attempts" / ids[2] / "checkpoints" / "state.checkpoint").exists()
    folder_pack.unpack(database, settings, other)
    assert Worker(database, settings, engine=Engine(FAKE)).run() == 3
    assert set(states(database).values()) == {"COMPLETED"}
    assert set(books(database).values()) == {"COMPLETED"}


# --- torn, tampered ------------------------------------------------------------------------------------------------


def test_a_changed_input_is_refused_and_the_rest_computed(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    run = chains(2)
    ids = list(run.calculations)
    Queue(database).submit(run)
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    path = folder.path / "inputs" / f"{ids[0]}.json"
    path.write_bytes(path.read_bytes().replace(b'"charge":0', b'"charge":2'))
    outcome = compute(folder, settings)
    assert outcome.damaged == {ids[0]: f"{path} is not what folder.json says; copy it again"}
    assert sorted(outcome.done) == sorted(ids[2:])
    synced = sync(database, folder)
    assert synced.delivered == ids[2:]
    assert list(synced.damaged.values()) == [f"{path} is not what folder.json says; copy it again"]


@pytest.mark.parametrize("what", ["record", "foreign", "link", "short", "level"])
def test_a_changed_result_is_refused(
    what: str, database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    compute(folder, settings)
    entry = folder.result(two[0])
    assert entry is not None
    path = entry.directory / RECORD_FILE
    content = json.loads(path.read_bytes())
    if what == "record":
        path.write_bytes(path.read_bytes().replace(b'"charge": 0', b'"charge": 1'))
    elif what == "short":
        path.write_bytes(path.read_bytes()[:-20])
    elif what == "link":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    else:  # all hashes as they should be
        content |= {"id": "0" * 20} if what == "foreign" else {"charge": 2}
        path.write_text(json.dumps(content))
        manifest = json.loads((entry.directory / MANIFEST_FILE).read_bytes())
        manifest["calculation"] = content["id"]
        data = path.read_bytes()
        manifest["files"][RECORD_FILE] = {"sha256": sha256_of(data), "bytes": len(data)}
        (entry.directory / MANIFEST_FILE).write_text(json.dumps(manifest))
    synced = sync(database, folder)
    assert synced.delivered == []
    assert database.records.count_documents({}) == 0
    reason = (synced.damaged | synced.kept)[str(entry.directory if what == "level" else entry.directory.parent)]
    assert {"record": "is not what its MANIFEST says", "short": "is not what its MANIFEST says",
            "link": "it is a link, which is not followed", "foreign": "belongs to 0000",
            "level": "its charge is another one"}[what] in reason  # fmt: skip
    if what != "level":
        assert (entry.directory / "MANIFEST.damaged").exists()
        # and it is computed again
        assert two[0] in compute(folder, settings).done
        assert sync(database, folder).delivered == two


def test_a_torn_folder_is_no_folder(database: Database, settings: Settings, two: list[str], tmp_path: Path) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    manifest = folder.path / "folder.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"folder\.json cannot be read"):
        sync(database, folder)
    manifest.write_bytes(whole.replace(b'"hydrogen 0, 0"', b'"hydrogen 0, 9"'))
    with pytest.raises(BadInputError, match="is torn, or was changed"):
        JobFolder(folder.path)
    manifest.unlink()
    with pytest.raises(BadInputError, match="is no job folder"):
        JobFolder(folder.path)


@pytest.mark.parametrize("name", ["../outside.json", "inputs/../../outside.json", "/etc/passwd", "inputs/x.json"])
def test_names_that_lead_out_are_refused(
    name: str, database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    (tmp_path / "outside.json").write_text("{}")
    content = json.loads((folder.path / "folder.json").read_bytes())["contents"]
    content["files"][name] = {"sha256": sha256_of(b"{}"), "bytes": 2}
    body = json.dumps(content, sort_keys=True)
    made = json.dumps({"sha256": sha256_of(body.encode()), "contents": content})
    (folder.path / "folder.json").write_text(made)
    with pytest.raises(BadInputError, match=r"folder\.json cannot be read: files"):
        JobFolder(folder.path)


def test_a_linked_part_is_not_followed(database: Database, settings: Settings, two: list[str], tmp_path: Path) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    (folder.path / "inputs").rename(tmp_path / "inputs")
    (folder.path / "inputs").symlink_to(tmp_path / "inputs")
    outcome = compute(folder, settings)
    assert outcome.done == []
    assert outcome.damaged[two[0]].endswith("leads out of the folder; it is not followed")


def test_a_changed_note_of_a_try_is_refused(
    database: Database, settings: Settings, two: list[str], tmp_path: Path
) -> None:
    folder = folder_pack.pack(database, settings, tmp_path / "job")
    compute(folder, settings, "--fail", "reacted")
    note = folder.path / "tries" / f"{two[0]}-001.json"
    good = Try.model_validate_json(note.read_bytes())
    note.write_text(good.model_copy(update={"attempt": 2}).model_dump_json())
    synced = sync(database, folder)
    assert "is of attempt 2" in synced.damaged[str(folder.path / "attempts" / two[0])]
    assert states(database)[two[0]] == "RUNNING"
    note.write_text(good.model_dump_json())
    assert sync(database, folder).failed.keys() == {two[0]}


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_commands(
    database: Database, cli_environment: Settings, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from alkaflow.launchpad.cli import run as cli

    place = tmp_path / "job"
    assert cli(["cluster", "pack", str(place), two[0][:8], "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert set(packed["calculations"]) == set(two)
    assert cli(["why", two[0]]) == 0
    assert f"the job folder {place}" in capsys.readouterr().out
    compute(JobFolder(place), cli_environment)
    assert cli(["sync", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["delivered"] == two
    assert database.record(two[1]).energy_hartree == fake_energy(two[1])  # type: ignore[union-attr]
    assert cli(["cluster", "unpack", str(place)]) == 0
    assert "0 given back" in capsys.readouterr().out
    assert cli(["cluster", "compute", str(tmp_path)]) == 2
    assert "is no job folder; make one with: alkaflow cluster pack" in capsys.readouterr().err
