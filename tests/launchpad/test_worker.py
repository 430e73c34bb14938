"""Real calculations through the real queue: computed, interrupted, killed, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fireworks import FWorker
from fireworks.core.rocket_launcher import launch_rocket

from alkaflow.analysis import build_table
from alkaflow.launchpad import campaign
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Event, Worker
from alkaflow.plans import Plan
from alkaflow.settings import Settings
from alkaflow.workflows import load_study, make_plan, read_bundle, read_orbital_file, write_bundle

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


def environment_for(settings: Settings) -> dict[str, str]:
    return os.environ | {"ALKAFLOW_DATA_DIR": str(settings.data_dir), "ALKAFLOW_DATABASE": settings.database}


def start_reproduce(settings: Settings, study: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("alkaflow")), "reproduce", str(study), "--format", "json"],
        env=environment_for(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_running_energy(database: Database, process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait until an SCF of a molecule is under way."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        found = database.calculations.find_one({"state": "RUNNING", "step": "energy", "formula": {"$ne": "Li"}})
        if found is not None:
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("no energy calculation started")


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.parametrize("how", ["kill -9 of the group", "kill -9 of the worker alone", "Ctrl-C", "SIGTERM"])
def test_stopped_in_the_middle_and_gone_on_with(
    how: str, database: Database, settings: Settings, small_study: Path
) -> None:
    process = start_reproduce(settings, small_study)
    running = wait_for_running_energy(database, process)
    time.sleep(0.5)
    computing = children_of(process)
    before = {d["_id"]: d["provenance"]["finished"] for d in database.records.find()}
    assert before
    if how == "kill -9 of the group":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "kill -9 of the worker alone":
        process.kill()
    else:
        process.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
    _, talk = process.communicate(timeout=60)
    if not how.startswith("kill"):
        assert process.returncode == (130 if how == "Ctrl-C" else 143)
        assert "the same command goes on from there" in talk
        assert "Traceback" not in talk
        # given back at once, in both books
        assert database.calculations.find_one({"_id": running["_id"]})["state"] == "READY"
        assert database.fireworks.fireworks.find_one({"name": running["_id"]})["state"] == "READY"
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in computing) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in computing if Path(f"/proc/{pid}").exists()], "the computation outlived its worker"

    again = start_reproduce(settings, small_study)
    first = time.monotonic()
    while database.calculations.find_one({"_id": running["_id"], "attempts": 2}) is None:
        assert time.monotonic() - first < 20, "the next run waited"
        assert again.poll() is None
        time.sleep(0.05)
    out, talk = again.communicate(timeout=300)
    assert again.returncode == 0, talk
    assert json.loads(out)["rows"][0]["computed_ev"] is not None
    after = {d["_id"]: d["provenance"]["finished"] for d in database.records.find()}
    assert before.items() <= after.items(), "something was computed twice"
    assert len(after) == 5
    assert {d["state"] for d in database.fireworks.fireworks.find()} == {"COMPLETED"}
    assert database.locks.count_documents({}) == 0


def test_a_second_reproduce_of_the_same_study_is_refused(
    database: Database, settings: Settings, small_study: Path
) -> None:
    first = start_reproduce(settings, small_study)
    wait_for_running_energy(database, first)
    second = start_reproduce(settings, small_study)
    out, talk = second.communicate(timeout=60)
    assert second.returncode == 3
    assert out == ""
    assert f"study 'small' is being worked on by process {first.pid}" in talk
    out, talk = first.communicate(timeout=300)
    assert first.returncode == 0, talk


def test_a_result_left_on_disk_is_delivered_and_not_computed_again(
    database: Database, settings: Settings, small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies after its child finished and before the database took the record."""
    plan = plan_of(small_study)
    Queue(database).submit(plan)
    atom = plan.rows[0].guest_leg.energy

    class DiedError(BaseException):
        pass

    def die(*_: object) -> bool:
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
    original = subprocess.Popen

    def crashing(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        return original([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"], **options)

    monkeypatch.setattr("alkaflow.launchpad.worker.subprocess.Popen", crashing)
    claim = Queue(database).claim([atom])
    assert claim is not None
    assert not Worker(database, settings).execute(claim)
    monkeypatch.undo()
    problem = Queue(database).problems([atom])[atom]
    assert problem.startswith("engine_crashed: the computing process ended with signal 11")
    assert "output.log" in problem
    assert database.record(atom) is None
    # and the rest of the queue goes on
    rest = [i for i in plan.calculations if plan.calculations[i].step == "relax"]
    assert Worker(database, settings).run(rest) == 2


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
