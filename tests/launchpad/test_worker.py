"""Real calculations through the real queue: computed, interrupted, killed, and gone on with."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fireworks import FWorker
from fireworks.core.rocket_launcher import launch_rocket

from alkaflow.analysis import build_table
from alkaflow.calculations import CalculationInput, rounded
from alkaflow.launchpad import campaign
from alkaflow.launchpad.cli import run as cli
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Engine, Event, Worker, checkpoints_of
from alkaflow.levels import parse_level
from alkaflow.plans import Plan, SingleRun
from alkaflow.settings import Settings
from alkaflow.structures import Structure, from_smiles, read_xyz
from alkaflow.workflows import load_study, make_plan, plan_single, read_bundle, read_orbital_file, write_bundle
from alkaflow.workflows.checkpoint import last_geometry, steps_so_far

pytestmark = pytest.mark.timeout(600)


def plan_of(path: Path, protocol: str | None = None) -> Plan:
    source = load_study(str(path))
    return make_plan(source.study, protocol, source.folder)


def finish(database: Database, settings: Settings, plan: Plan) -> list[Event]:
    events: list[Event] = []
    Worker(database, settings, events.append).run(list(plan.calculations))
    return events


def test_a_study_from_submission_to_table(
    database: Database, settings: Settings, small_study: Path, tmp_path: Path
) -> None:
    plan = plan_of(small_study)
    campaign.submit(database, settings, plan)
    events = finish(database, settings, plan)
    kinds = [event.kind for event in events]
    assert kinds.count("completed") == kinds.count("started") == 5
    assert any(event.kind == "progress" and event.progress for event in events)

    table = campaign.table_of(database, settings, plan)
    row = table.rows[0]
    assert table.complete
    assert (row.start_site, row.final_site) == ("face-1", "face-1")
    assert row.computed_ev is not None
    assert -1.5 < row.computed_ev < 0.5
    assert row.s_squared == pytest.approx(0.75, abs=0.05)

    complex_ = database.record(row.calculations["complex"])
    assert complex_ is not None
    assert complex_.basis_functions == 71  # 6-31G by hand: C, N and Li 9 each, H 2
    assert complex_.provenance.threads >= 1
    assert {"pyscf", "numpy", "alkaflow"} <= set(complex_.provenance.versions)
    assert any(pool["api"] == "openblas" for pool in complex_.provenance.blas)
    assert complex_.orbitals is not None
    data = database.get_file(complex_.orbitals.sha256)
    assert len(data) == complex_.orbitals.bytes
    assert not list((settings.data_dir / "attempts").glob(f"{complex_.id}/*"))

    # nothing is computed a second time
    assert campaign.submit(database, settings, plan).done == list(plan.calculations)
    assert finish(database, settings, plan) == []

    # and the exported bundle gives the same table without a database
    bundle = campaign.bundle_of(database, plan)
    orbitals = write_bundle(bundle, tmp_path / "screen.json", database.get_file)
    back = read_bundle(tmp_path / "screen.json")
    assert build_table(back.plan, back.by_id) == table
    assert read_orbital_file(orbitals, complex_.orbitals.sha256) == data


def test_a_result_left_on_disk_is_delivered_and_not_computed_again(
    database: Database, settings: Settings, small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies after its child finished and before the database took the record."""
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    atom = plan.rows[0].guest_leg.energy

    class DiedError(BaseException):
        pass

    def die(*_: object, **__: object) -> bool:
        raise DiedError

    worker = Worker(database, settings)
    claim = Queue(database).claim([atom])
    assert claim is not None
    monkeypatch.setattr(Queue, "complete", die)
    with pytest.raises(DiedError):
        worker.execute(claim)
    monkeypatch.undo()
    assert database.record(atom) is None
    monkeypatch.setattr(Worker, "_compute", die)
    claim = Queue(database).claim([atom])
    assert claim is not None
    assert worker.execute(claim)
    stored = database.record(atom)
    assert stored is not None
    assert stored.energy_hartree == pytest.approx(-7.4909, abs=1e-3)


def test_a_database_that_is_away_at_delivery_is_waited_for(
    database: Database, settings: Settings, small_study: Path
) -> None:
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    atom = plan.rows[0].guest_leg.energy
    claim = Queue(database).claim([atom])
    assert claim is not None
    server = EmbeddedMongod(settings)

    def restart_later() -> None:
        time.sleep(6)  # longer than the calculation takes
        server.start()

    server.stop()
    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(restart_later)
        assert Worker(database, settings).execute(claim)
        restarted.result()
    assert database.record(atom) is not None
    assert database.fireworks.fireworks.find_one({"name": atom})["state"] == "COMPLETED"
    assert database.calculations.find_one({"_id": atom})["state"] == "COMPLETED"


def test_a_crash_of_the_child_is_a_failure_with_its_cause(
    database: Database, settings: Settings, small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    atom = plan.rows[0].guest_leg.energy
    engine = Engine("alkaflow.workflows.fake_engine", ("--die", "segv"))
    for _ in range(3):
        claim = Queue(database).claim([atom])
        assert claim is not None
        assert not Worker(database, settings, engine=engine).execute(claim)
    assert Queue(database).claim([atom]) is None
    problem = Queue(database).problems([atom])[atom]
    assert problem.startswith(
        "engine_crashed: 3 tries died (engine_crashed, engine_crashed, engine_crashed), the last: "
        "the computing process ended with signal 11"
    )
    assert "output.log" in problem
    assert database.record(atom) is None
    # and the rest of the queue goes on
    rest = [i for i in plan.calculations if plan.calculations[i].step == "relax"]
    assert Worker(database, settings).run(rest) == 2


@pytest.mark.parametrize(("kills", "outcome"), [((0, 1), "out_of_memory"), ((0, 0), "engine_crashed")])
def test_a_killed_child_is_out_of_memory_where_the_kernel_says_so(
    kills: tuple[int, int], outcome: str, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan_single(from_smiles("O"), "gfn2-xtb", None)
    Queue(database).submit(run)
    (calculation,) = run.calculations
    counts = iter(kills)
    monkeypatch.setattr("alkaflow.launchpad.supervisor.killed_for_memory", lambda: next(counts))
    engine = Engine("alkaflow.workflows.fake_engine", ("--die", "kill"))
    claim = Queue(database).claim([calculation])
    assert claim is not None
    assert not Worker(database, settings, engine=engine).execute(claim)
    tried = database.attempts.find_one({"calculation": calculation})
    assert tried["outcome"] == outcome
    assert tried["message"].startswith("the computing process ended with signal 9")
    assert "output.log" in tried["message"]
    assert database.calculations.find_one({"_id": calculation})["deaths"] == [outcome]


PEROXIDE = Structure(
    ("O", "O", "H", "H"), np.array([[0.75, 0, 0], [-0.72, 0.05, 0], [0.9, 0.9, 0.4], [-0.85, -0.6, 0.9]])
)


class TimeUp:
    """A limit that is reached when a relaxation has saved so many steps."""

    reason = "the time was up"
    of_the_job = False

    def __init__(self, folder: Path, given: CalculationInput, step: int) -> None:
        self.folder, self.given, self.step = folder, given, step

    @property
    def seconds(self) -> float:
        last = last_geometry(self.folder, self.given)
        return 1e9 if last is None or last.step < self.step else 0.0


def test_out_of_time_and_continued(
    database: Database, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint stays, its geometry can be had, and the same calculation goes on from it."""
    settings = cli_environment.model_copy(update={"threads": 1})
    level = parse_level("b3lyp/sto-3g").model_copy(update={"grid": 0})
    content = {"step": "relax", "level": level, "charge": 0, "multiplicity": 1}
    content |= {"symbols": PEROXIDE.symbols, "positions": rounded(PEROXIDE.positions.tolist())}
    given = CalculationInput.model_validate(content)
    relax = given.id
    run = SingleRun(calculations={relax: given}, titles={relax: "peroxide"})
    folder = checkpoints_of(settings, relax)
    queue = Queue(database)
    queue.submit(run)

    limit = TimeUp(folder, given, 2)
    monkeypatch.setattr("alkaflow.launchpad.supervisor.time_limit", lambda setting: limit if given else setting)
    claim = queue.claim([relax])
    assert claim is not None
    assert not Worker(database, settings).execute(claim)
    monkeypatch.undo()
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ALKAFLOW_DATABASE", settings.database)
    problem = queue.problems([relax])[relax]
    assert problem.startswith("out_of_time: stopped after 0 s, as the time was up; relaxation step ")
    assert f"is in {folder}; the same command continues from there" in problem

    last = last_geometry(folder, given)
    assert last is not None
    before = {path: path.read_bytes() for path in folder.iterdir()}
    exported = tmp_path / "last.xyz"
    assert cli(["results", "geometry", relax[:12], "-o", str(exported)]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert f"relaxation step {last.step}" in exported.read_text()
    back = read_xyz(exported)
    assert (back.symbols, back.charge, back.multiplicity) == (PEROXIDE.symbols, 0, 1)
    assert back.positions == pytest.approx(last.positions, abs=1e-9)
    assert np.abs(back.positions - PEROXIDE.positions).max() > 0.01

    _check_steps_so_far(given, folder, last.step, tmp_path / "steps.svg")

    assert queue.submit(run).again == [relax]
    Worker(database, settings).run([relax])
    record = database.record(relax)
    assert record is not None
    assert record.energies_along_relaxation[last.step] == last.energy  # the answer of the first attempt, not another
    assert len(record.energies_along_relaxation) > last.step + 1
    assert not folder.exists()
    assert cli(["results", "geometry", relax, "-o", str(exported)]) == 0
    assert read_xyz(exported).positions == pytest.approx(np.array(record.positions_angstrom), abs=1e-9)
    assert " final" in exported.read_text()


def _check_steps_so_far(given: CalculationInput, folder: Path, last: int, picture: Path) -> None:
    steps = steps_so_far(folder, given)
    assert steps is not None
    assert len(steps.energies) == len(steps.max_forces) == last + 1
    assert all(0 < force < 50 for force in steps.max_forces)
    assert len(steps.scf_cycles) == last + 1
    assert all(1 <= cycles < 50 for cycles in steps.scf_cycles)
    assert cli(["results", "convergence", given.id, "--picture", str(picture)]) == 0
    assert "largest force" in picture.read_text(encoding="utf-8")


def test_too_little_time_for_anything(
    database: Database, cli_environment: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = plan_single(from_smiles("O"), "b3lyp/sto-3g", None)
    (calculation,) = run.calculations
    Queue(database).submit(run)
    Worker(database, cli_environment.model_copy(update={"time_limit": 0.2})).run([calculation])
    problem = Queue(database).problems([calculation])[calculation]
    assert problem.startswith("out_of_time: stopped after 0 s, as time_limit is 0 s; it had saved nothing to continue")
    assert cli(["results", "geometry", calculation, "-o", str(tmp_path / "none.xyz")]) == 2
    assert "is FIZZLED and has left no geometry in" in capsys.readouterr().err
    assert not (tmp_path / "none.xyz").exists()


def test_nothing_is_begun_when_the_job_ends(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan_single(from_smiles("O"), "gfn2-xtb", None)
    (calculation,) = run.calculations
    Queue(database).submit(run)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 30))
    assert Worker(database, settings).run([calculation]) == 0
    assert database.calculations.find_one({"_id": calculation})["state"] == "READY"
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3600))
    assert Worker(database, settings).run([calculation]) == 1


def test_orbitals_of_another_state_are_no_guess(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Of a parent's orbitals, only those of the same atoms, charge and multiplicity are handed on."""
    run = plan_single(from_smiles("O"), "b3lyp/sto-3g", None)
    (parent,) = run.calculations
    Queue(database).submit(run)
    Worker(database, settings).run([parent])
    level = run.calculations[parent].level
    common = {"step": "energy", "level": level, "charge": 0, "multiplicity": 1, "parent": parent}
    given = [
        {"symbols": ("O", "H", "H")},
        {"symbols": ("O", "H", "H"), "multiplicity": 3},
        {"symbols": ("O", "H", "H"), "charge": 1, "multiplicity": 2},
        {"symbols": ("H", "H"), "subset": (1, 2)},
        {"symbols": ("O", "H", "H"), "ghosts": (0,)},
    ]
    used, taken = [], []
    for number, changes in enumerate(given):
        calculation = CalculationInput.model_validate(common | changes)
        child = SingleRun(calculations={calculation.id: calculation}, titles={calculation.id: "child"})
        Queue(database).submit(child)
        claim = Queue(database).claim([calculation.id])
        assert claim is not None
        directory = tmp_path / str(number)
        directory.mkdir()
        used.append(Worker(database, settings)._supervisor._fetch_guess(claim, directory) is not None)
        taken.append(claim.positions)
        Queue(database).release(claim, "only looked at")
    assert used == [True, False, False, False, False]
    record = database.record(parent)
    assert record is not None
    assert taken[3] == tuple(record.positions_angstrom[1:])
    assert all(positions == tuple(record.positions_angstrom) for k, positions in enumerate(taken) if k != 3)


def test_damaged_orbitals_of_a_parent_are_begun_without(database: Database, settings: Settings) -> None:
    """They kill no worker: the calculation begins as one without a parent does, and its record says so."""
    run = plan_single(from_smiles("O"), "b3lyp/sto-3g", None)
    (parent,) = run.calculations
    Queue(database).submit(run)
    Worker(database, settings).run([parent])
    record = database.record(parent)
    assert record is not None
    assert record.orbitals is not None
    chunk = database.files.chunks.find_one({})
    data = bytearray(chunk["data"])
    data[len(data) // 2] ^= 1
    database.files.chunks.update_one({"_id": chunk["_id"]}, {"$set": {"data": bytes(data)}})
    level, atoms = parse_level("b3lyp/sto-3g").model_copy(update={"grid": 0}), ("O", "H", "H")
    given = CalculationInput(step="energy", level=level, charge=0, multiplicity=1, parent=parent, symbols=atoms)
    Queue(database).submit(SingleRun(calculations={given.id: given}, titles={given.id: "child"}))
    events: list[Event] = []
    assert Worker(database, settings, events.append).run([given.id]) == 1
    assert [event.kind for event in events if event.kind != "progress"] == ["started", "completed"]
    child = database.record(given.id)
    assert child is not None
    (warning,) = [text for text in child.warnings if parent in text]
    assert warning.startswith(f"it began without the orbitals of {parent}: ")
    assert record.orbitals.sha256 in warning
    assert {d["attempts"] for d in database.calculations.find()} == {1}


def test_an_unknown_state_of_affairs_is_a_failure_never_a_number(
    database: Database, settings: Settings, small_study: Path
) -> None:
    """Too few steps: the failure is recorded, the child calculation never starts, the table says why."""
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    relax = plan.rows[0].complex_leg.ids[0]
    database.calculations.update_one({"_id": relax}, {"$set": {"input.level.max_steps": 1}})
    only = plan.rows[0].complex_leg.ids
    Worker(database, settings).run(only)
    table = campaign.table_of(database, settings, plan)
    assert not table.complete
    assert table.rows[0].problem is not None
    assert "relaxation_not_converged" in table.rows[0].problem
    assert database.calculations.find_one({"_id": only[1]})["state"] == "WAITING"
    assert database.records.count_documents({}) == 0


def test_stock_rlaunch_runs_a_calculation(
    database: Database,
    cli_environment: Settings,
    small_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Firetask works in a worker that knows nothing of alkaflow."""
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    atom = plan.rows[0].guest_leg.energy
    monkeypatch.chdir(tmp_path)
    number = database.fireworks.fireworks.find_one({"name": atom})["fw_id"]
    assert launch_rocket(database.fireworks, FWorker(), fw_id=number, strm_lvl="CRITICAL")
    assert database.record(atom) is not None
    assert database.fireworks.fireworks.find_one({"name": atom})["state"] == "COMPLETED"
    assert database.calculations.find_one({"_id": atom})["state"] == "COMPLETED"
