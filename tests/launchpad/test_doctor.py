"""What `doctor` finds is what was put there, `--mend` puts it right, and without it nothing changes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from auth_mongod import Server, auth_server, open_server  # noqa: F401
from bson import json_util
from fireworks import FWorker
from made_records import fake_record

from alkaflow.launchpad import doctor, schema
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.exposure import look_at_access, look_at_secrets
from alkaflow.launchpad.findings import Finding
from alkaflow.launchpad.mending import look_at_database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings
from alkaflow.studies import Study
from alkaflow.workflows import make_plan

Capture = pytest.CaptureFixture[str]


STUDY = Study.model_validate(
    {"name": "small", "hosts": [{"name": "pyrazine", "builtin": "pyrazine"}], "guests": ["Li"], "sites": ["face"],
     "protocol": "screen"}
)  # fmt: skip


@pytest.fixture
def queue(database: Database) -> Queue:
    """A queue with a small study, nothing of it computed."""
    made = Queue(database, 60)
    made.submit(make_plan(STUDY))
    return made


def everything(database: Database) -> dict[str, list[dict[str, Any]]]:
    names = sorted(database.db.list_collection_names())
    return {name: list(database.db[name].find().sort("_id", 1)) for name in names}


def wrong(database: Database) -> list[Finding]:
    return [finding for finding in look_at_database(database) if finding.verdict != "ok"]


def work_off(queue: Queue) -> int:
    done = 0
    while (claim := queue.claim()) is not None:
        assert queue.complete(claim, fake_record(claim))
        done += 1
    return done


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


# --- what may be found ----------------------------------------------------------------------------------------------


def reserve_and_die(database: Database) -> None:
    """Killed between the reservation and the launch."""
    pad = database.fireworks
    for firework in list(pad.fireworks.find({"state": "READY"})):
        assert pad.fireworks.find_one_and_update(
            {"fw_id": firework["fw_id"]}, {"$set": {"state": "RESERVED", "updated_on": an_hour_ago()}}
        )


def lock_and_die(database: Database) -> None:
    """Killed inside FireWorks' WFLock."""
    database.fireworks.workflows.update_many({}, {"$set": {"locked": True}})


def insert_fireworks_and_die(database: Database) -> None:
    """Killed before the workflows of the fireworks were there."""
    pad = database.fireworks
    pad.workflows.delete_many({})
    pad.fireworks.update_many({}, {"$set": {"created_on": an_hour_ago().isoformat()}})


def insert_workflows_and_die(database: Database) -> None:
    """Killed before the fireworks of the workflows were there."""
    pad = database.fireworks
    pad.fireworks.delete_many({})
    pad.workflows.update_many({}, {"$set": {"created_on": an_hour_ago()}})


def forget_numbers(database: Database) -> None:
    """Restored by other tools from two backups."""
    database.fireworks.fw_id_assigner.update_one({}, {"$set": {"next_fw_id": 2, "next_launch_id": 0}})
    claim = Queue(database).claim()
    assert claim is not None
    Queue(database).release(claim, "test")
    database.fireworks.fw_id_assigner.update_one({}, {"$set": {"next_fw_id": 2, "next_launch_id": 0}})


BROKEN: list[tuple[Callable[[Database], None], str]] = [
    (reserve_and_die, "fireworks are reserved and never launched"),
    (lock_and_die, "workflows are locked by nobody"),
    (insert_fireworks_and_die, "5 fireworks belong to no workflow"),
    (insert_workflows_and_die, "workflows have no fireworks"),
    (forget_numbers, r"counters of FireWorks are behind its documents \(next_fw_id, next_launch_id\)"),
]


@pytest.mark.parametrize(("breaks", "says"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_queue_is_found_and_mended(
    database: Database, queue: Queue, breaks: Callable[[Database], None], says: str
) -> None:
    breaks(database)
    before = everything(database)
    (found,) = wrong(database)
    assert everything(database) == before
    assert (found.verdict, found.what) == ("problem", "FireWorks")
    assert re.search(says, found.detail)
    assert found.mended().verdict == "mended"
    assert found.mended().verdict == "mended"  # again, with nothing left to do
    assert wrong(database) == []
    queue.repair()
    queue.submit(make_plan(STUDY))
    assert work_off(queue) == 5
    assert {d["state"] for d in database.fireworks.fireworks.find()} == {"COMPLETED"}


def test_what_lives_is_left_alone(database: Database, queue: Queue) -> None:
    """Young reservations, launched ones, locks of what runs, and drafts of a submission that goes on."""
    pad = database.fireworks
    claim = queue.claim()
    assert claim is not None
    running = pad.fireworks.find_one({"name": claim.id})
    assert running is not None
    pad.workflows.update_one({"nodes": running["fw_id"]}, {"$set": {"locked": True}})
    assert pad.reserve_fw(FWorker(), "/nowhere")
    pad.fireworks.update_many({"state": "RESERVED"}, {"$set": {"updated_on": an_hour_ago()}})
    young = pad.fireworks.find_one_and_update(
        {"state": "READY"}, {"$set": {"state": "RESERVED", "updated_on": datetime.now(UTC)}}
    )
    assert young is not None
    now = datetime.now(UTC).isoformat()
    pad.fireworks.insert_one({"fw_id": 9000, "name": "f" * 20, "created_on": now, "state": "WAITING", "launches": []})
    pad.workflows.insert_one({"nodes": [9001], "name": "draft", "created_on": datetime.now(UTC)})
    pad.fireworks.insert_one(
        {"fw_id": 8000, "name": "somebody else's", "created_on": an_hour_ago().isoformat(), "state": "READY"}
    )
    pad.fw_id_assigner.update_one({}, {"$set": {"next_fw_id": 10_000}})
    assert wrong(database) == []


def test_locks_of_the_dead_are_removed(database: Database) -> None:
    me = Owner.this_process().model_dump()
    later, earlier = (database.server_time() + timedelta(seconds=s) for s in (600, -600))
    database.locks.insert_many(
        [
            {"_id": "alive", "token": "1", "owner": me, "expires": earlier},
            {"_id": "dead", "token": "2", "owner": me | {"started": 1}, "expires": later},
            {"_id": "elsewhere", "token": "3", "owner": me | {"host": "node-07"}, "expires": later},
            {"_id": "elsewhere, gone", "token": "4", "owner": me | {"host": "node-07"}, "expires": earlier},
        ]
    )
    (found,) = wrong(database)
    assert (found.what, found.verdict) == ("locks", "warning")
    assert "dead, elsewhere, gone" in found.detail
    database.locks.update_one({"_id": "dead"}, {"$set": {"token": "5"}})  # taken by somebody meanwhile
    assert "1 removed" in found.mended().detail
    assert {d["_id"] for d in database.locks.find()} == {"alive", "dead", "elsewhere"}


def test_newer_documents_are_a_problem_that_stays(database: Database, queue: Queue) -> None:
    database.calculations.update_one({}, {"$set": {"schema_version": 3}})
    database.records.insert_one({"_id": "b" * 20, "schema_version": 2})
    (found,) = wrong(database)
    assert (found.what, found.verdict, found.mend) == ("schema", "problem", None)
    assert "documents of a newer alkaflow: calculations " in found.detail
    assert f"records {'b' * 20}" in found.detail


def test_an_unfinished_migration_is_ended(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = served.model_copy(update={"database": "unfinished-test"})
    sample = Path(__file__).parents[1] / "data" / "schema" / "v1.json"

    def stop(name: str, changed: int) -> None:
        raise KeyboardInterrupt

    with open_database(settings, any_version=True) as database:
        for name, documents in json_util.loads(sample.read_text(encoding="utf-8")).items():
            if documents:
                database.db[name].insert_many(documents)
        (found,) = wrong(database)
        assert "schema 1; this alkaflow writes 2" in found.detail
        assert found.mend is None  # it was not asked for
        monkeypatch.setattr(schema, "_BATCH", 1)
        with pytest.raises(KeyboardInterrupt):
            schema.migrate(database, stop)
        (found,) = wrong(database)
        assert "was begun and not ended" in found.detail
        assert "migrated 3 attempts, 8 calculations" in found.mended().detail
        assert [f.what for f in wrong(database)] == []
        database.client.drop_database(database.db.name)


# --- access and secrets ---------------------------------------------------------------------------------------------


def _settings(tmp_path: Path, uri: str) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "mongodb_uri": uri, "database": "doctor-test"})


def test_an_open_server_is_found(
    open_server: Server,  # noqa: F811
    auth_server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert look_at_access(_settings(tmp_path, auth_server.uri)).verdict == "ok"
    assert look_at_access(_settings(tmp_path, open_server.anonymous_uri)).verdict == "warning"
    monkeypatch.setattr("alkaflow.launchpad.exposure.is_loopback", lambda _: False)
    found = look_at_access(_settings(tmp_path, open_server.anonymous_uri))
    assert (found.verdict, found.detail) == ("problem", "the server lets everybody in who reaches it")
    assert look_at_access(_settings(tmp_path, auth_server.uri)).verdict == "ok"


def test_a_port_of_the_embedded_mongod_is_found(served: Settings, open_server: Server) -> None:  # noqa: F811
    assert look_at_access(served).verdict == "ok"

    class Listening(EmbeddedMongod):
        """The one of the session, as if it had been started otherwise."""

        def pid(self) -> int | None:
            return open_server.pid

    from alkaflow.launchpad.exposure import _embedded

    found = _embedded(Listening(served))
    assert found.verdict == "problem"
    assert f"(process {open_server.pid}) listens on TCP port {open_server.port}" in found.detail
    assert psutil.pid_exists(open_server.pid)


def test_secrets_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tmp_path / "d"
    data.mkdir(mode=0o755)
    for name in ("my_launchpad.yaml", "fw/my_launchpad.yaml"):
        (data / name).parent.mkdir(exist_ok=True, mode=0o700)
        (data / name).write_text("host: mongodb://u:secret@h/\n", encoding="ascii")
        (data / name).chmod(0o644)
    settings = Settings(data_dir=data)
    found = look_at_secrets(settings)
    assert found.verdict == "problem"
    assert found.mended().verdict == "mended"
    assert {p.stat().st_mode & 0o777 for p in data.rglob("*.yaml")} == {0o600}
    assert look_at_secrets(settings).verdict == "ok"


def test_the_clock_is_compared_with_the_server(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real = database.server_time()
    monkeypatch.setattr(database, "server_time", lambda: real - timedelta(hours=26))
    (found,) = wrong(database)
    assert (found.what, found.verdict) == ("clock", "warning")
    assert "s ahead of the server" in found.detail


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_mends(cli_environment: Settings, database: Database, queue: Queue, capsys: Capture) -> None:
    lock_and_die(database)
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "problem  FireWorks: 3 workflows are locked by nobody" in shown
    assert "-> run: alkaflow doctor --mend" in shown
    assert database.fireworks.workflows.count_documents({"locked": True}) > 0
    assert run(["doctor", "--mend"]) == 0
    assert "mended   FireWorks: " in capsys.readouterr().out
    assert database.fireworks.workflows.count_documents({"locked": True}) == 0


def test_the_command_closes_a_config_file(cli_environment: Settings, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    uri = "mongodb://user:c4n4ry-Pa55@localhost:1/?serverSelectionTimeoutMS=1"
    path.write_text(f"mongodb_uri: {uri}\n", encoding="ascii")
    path.chmod(0o644)
    environment = os.environ | {"ALKAFLOW_CONFIG_FILE": str(path)}
    command = [sys.executable, "-m", "alkaflow.launchpad.cli", "doctor"]
    plain = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert f"others can read {path}" in plain.stdout
    assert f"chmod 600 {path}" in plain.stderr
    assert path.stat().st_mode & 0o777 == 0o644
    mended = subprocess.run([*command, "--mend"], env=environment, capture_output=True, text=True, check=False)
    assert "mended   secrets" in mended.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert "c4n4ry" not in plain.stdout + plain.stderr + mended.stdout + mended.stderr


class Usage(NamedTuple):
    """What is left of a disk [bytes]."""

    free: int


@pytest.mark.parametrize(("free_mb", "verdict"), [(3, "problem"), (199, "problem"), (500, "warning"), (5000, "ok")])
def test_less_disk_than_computing_needs_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free_mb: int, verdict: str
) -> None:
    monkeypatch.setattr("alkaflow.launchpad.doctor.shutil.disk_usage", lambda _: Usage(free_mb * 1_000_000))
    finding = doctor._disk(settings)
    assert finding.verdict == verdict
    assert f"{free_mb} MB free" in finding.detail
    assert bool(finding.advice) == (verdict != "ok")


def test_doctor_says_where_the_threads_come_from(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    said = doctor._threads(settings.model_copy(update={"threads": 1})).detail
    assert said.startswith("1 per calculation, as the setting threads says; OMP_NUM_THREADS=7 is not looked at; ")
    monkeypatch.delenv("OMP_NUM_THREADS")
    said = doctor._threads(settings.model_copy(update={"threads": None})).detail
    assert "per calculation, all usable cores, as the setting threads is not given; " in said
    assert "OMP_NUM_THREADS" not in said
