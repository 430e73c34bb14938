"""Versions of the database: frozen samples of old ones become present ones, and nothing is changed by surprise."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import json_util

from alkaflow.errors import BadInputError, ServiceError
from alkaflow.launchpad import schema
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import SCHEMA_VERSION, Database, open_database
from alkaflow.launchpad.dump import dump, restore
from alkaflow.launchpad.indexes import create_indexes
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.specs import check_spec
from alkaflow.settings import Settings

SAMPLES = sorted((Path(__file__).parents[1] / "data" / "schema").glob("v*.json"))
FIELDS = {
    "_id", "schema_version", "input", "title", "studies", "step", "level", "formula", "parent", "state", "priority",
    "claim", "attempts", "deaths", "failure", "progress", "cost", "submission", "firework", "behind", "created",
}  # fmt: skip
Documents = dict[str, list[dict[str, Any]]]


def load(database: Database, path: Path) -> Documents:
    """Fill a database that nothing prepared with a frozen sample."""
    sample: Documents = json_util.loads(
        path.read_text(encoding="utf-8"), json_options=json_util.JSONOptions(tz_aware=True)
    )
    for name, documents in sample.items():
        database.db[name].delete_many({})
        if documents:
            database.db[name].insert_many(documents)
    return sample


def everything(database: Database) -> Documents:
    names = sorted(n for n in database.db.list_collection_names() if not n.startswith("system."))
    return {name: list(database.db[name].find().sort("_id", 1)) for name in names}


@pytest.fixture
def apart(served: Settings) -> Iterator[Settings]:
    """Settings of a database that does not exist yet."""
    settings = served.model_copy(update={"database": "schema-test"})
    with open_database(settings, any_version=True) as database:
        database.client.drop_database(database.db.name)
        yield settings
        database.client.drop_database(database.db.name)


@pytest.fixture
def raw(apart: Settings) -> Iterator[Database]:
    """An empty database, opened whatever its version."""
    with open_database(apart, any_version=True) as database:
        yield database


def test_there_are_samples_of_every_version_before_this() -> None:
    assert [int(path.stem[1:]) for path in SAMPLES][: SCHEMA_VERSION - 1] == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_becomes_present_and_loses_nothing(apart: Settings, raw: Database, path: Path) -> None:
    sample = load(raw, path)
    schema.migrate(raw)
    with open_database(apart) as database:
        held = everything(database)
        for name in ("calculations", "attempts", "records", "launches", "files.files", "files.chunks"):
            assert [d["_id"] for d in held[name]] == [d["_id"] for d in sample[name]]
        assert held["records"] == sample["records"]
        for document, before in zip(held["calculations"], sample["calculations"], strict=True):
            assert set(document) == FIELDS
            kept = before.keys() - {"schema_version", "claim"}
            assert {key: document[key] for key in kept} == {key: before[key] for key in kept}
            firework = database.fireworks.fireworks.find_one({"name": document["_id"]})
            assert firework is not None
            assert document["firework"] == firework["fw_id"]
            assert check_spec(firework["spec"]) == document["_id"]
            assert firework["spec"]["_priority"] == 0
        for document in held["records"]:
            found = database.record(document["_id"])
            assert found is not None
            if found.orbitals is not None:
                assert len(database.get_file(found.orbitals.sha256)) == found.orbitals.bytes
        assert {d["schema_version"] for name in ("calculations", "attempts") for d in held[name]} == {SCHEMA_VERSION}


def test_the_first_version_holds_every_state(raw: Database) -> None:
    sample = load(raw, SAMPLES[0])
    states = {d["state"] for d in sample["calculations"]}
    assert states == {"READY", "WAITING", "RUNNING", "COMPLETED", "FIZZLED"}
    schema.migrate(raw)
    running = raw.calculations.find_one({"state": "RUNNING"})
    assert running is not None
    old = next(d for d in sample["calculations"] if d["state"] == "RUNNING")["claim"]
    assert running["claim"] == old | {"attempt": running["attempts"], "job": None}
    assert all(d["claim"] is None for d in raw.calculations.find({"state": {"$ne": "RUNNING"}}))
    assert not raw.calculations.count_documents({"behind": True})


def test_a_migrated_queue_goes_on(apart: Settings, raw: Database) -> None:
    load(raw, SAMPLES[0])
    schema.migrate(raw)
    with open_database(apart) as database:
        queue = Queue(database, 2)
        assert len(queue.repair()) == 1  # the claim of a host that is gone had expired
        claims = []
        while (claim := queue.claim()) is not None:
            claims.append(claim)
        assert {c.title for c in claims} == {
            "Li atom, energy",
            "Na atom, energy",
            "Na at pyrazine face of pyrazine, relax",
        }


def test_a_submission_that_was_killed_is_finished(apart: Settings, raw: Database) -> None:
    """Calculations of the first version that FireWorks was never told of."""
    load(raw, SAMPLES[0])
    gone = {"cef75fd27d2a6c885a4c", "4fff51fce9c603df1ff8"}
    numbers = [d["fw_id"] for d in raw.fireworks.fireworks.find({"name": {"$in": list(gone)}})]
    raw.fireworks.fireworks.delete_many({"fw_id": {"$in": numbers}})
    raw.fireworks.workflows.delete_many({"nodes": {"$in": numbers}})
    schema.migrate(raw)
    assert {d["firework"] for d in raw.calculations.find({"_id": {"$in": list(gone)}})} == {9, 10}
    with open_database(apart) as database:
        Queue(database).repair(everything=True)
        made = {d["name"]: d["state"] for d in database.fireworks.fireworks.find({"name": {"$in": list(gone)}})}
        assert made == {d["_id"]: d["state"] for d in database.calculations.find({"_id": {"$in": list(gone)}})}


def test_an_old_database_is_refused_unchanged_and_can_be_dumped(
    apart: Settings, raw: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load(raw, SAMPLES[0])
    before = everything(raw)
    with (
        pytest.raises(ServiceError, match=r"older alkaflow .*run: alkaflow db dump FILE, then: alkaflow db migrate"),
        open_database(apart),
    ):
        pass
    assert everything(raw) == before
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(apart.data_dir))
    monkeypatch.setenv("ALKAFLOW_DATABASE", apart.database)
    assert run(["status"]) == 3
    assert "alkaflow db migrate" in capsys.readouterr().err
    path = tmp_path / "old.zip"
    assert run(["db", "dump", str(path)]) == 0
    assert everything(raw) == before
    assert run(["db", "migrate"]) == 0
    assert "schema 2: 4 attempts, 8 calculations, 8 fireworks changed" in capsys.readouterr().out
    after = everything(raw)
    assert run(["db", "migrate"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert everything(raw) == after
    # The dump brings the old database back, which then needs the migration again.
    raw.client.drop_database(raw.db.name)
    with open_database(apart) as fresh:
        restore(fresh, path)
        assert everything(fresh)["calculations"] == before["calculations"]
    with pytest.raises(ServiceError, match="alkaflow db migrate"), open_database(apart):
        pass
    assert run(["db", "migrate"]) == 0
    assert everything(raw)["calculations"] == after["calculations"]


KILLED = """
import os, signal, sys
from alkaflow.launchpad import schema
from alkaflow.launchpad.database import open_database
from alkaflow.settings import load_settings
schema._BATCH = 1
seen = []
def watch(name, changed):
    seen.append(name)
    if len(seen) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
with open_database(load_settings(), any_version=True) as database:
    schema.migrate(database, watch)
"""


@pytest.mark.parametrize("changes", [1, 3, 6, 11])
def test_a_killed_migration_goes_on(apart: Settings, raw: Database, changes: int) -> None:
    load(raw, SAMPLES[0])
    schema.migrate(raw)
    whole = everything(raw)
    raw.client.drop_database(raw.db.name)
    load(raw, SAMPLES[0])
    environment = os.environ | {"ALKAFLOW_DATA_DIR": str(apart.data_dir), "ALKAFLOW_DATABASE": apart.database}
    done = subprocess.run([sys.executable, "-c", KILLED, str(changes)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert schema.unfinished_migration(raw)
    assert schema.version_of(raw) == 1
    half = [d.get("schema_version") for name in ("attempts", "calculations") for d in raw.db[name].find()]
    assert half.count(2) == changes
    with pytest.raises(ServiceError, match="alkaflow db migrate"), open_database(apart):
        pass
    schema.migrate(raw)
    assert everything(raw) == whole
    assert not schema.unfinished_migration(raw)


def test_nothing_is_migrated_while_something_computes(raw: Database) -> None:
    from alkaflow.launchpad.owner import Owner

    load(raw, SAMPLES[0])
    raw.calculations.update_one({"state": "RUNNING"}, {"$set": {"claim.owner": Owner.this_process().model_dump()}})
    before = everything(raw)
    with pytest.raises(ServiceError, match=rf"process {os.getpid()} on .* computes Li atom, energy; stop all workers"):
        schema.migrate(raw)
    assert everything(raw) == before


def test_a_newer_database_is_refused_unchanged(apart: Settings, raw: Database, tmp_path: Path) -> None:
    raw.meta.insert_one({"_id": "schema", "version": 3, "indexes": 99})
    raw.calculations.insert_one({"_id": "a" * 20, "schema_version": 3, "state": "DREAMING"})
    before, indexes = everything(raw), raw.calculations.index_information()
    message = r"newer alkaflow \(schema 3, this one knows 2\); upgrade alkaflow; nothing was changed"
    with pytest.raises(ServiceError, match=message), open_database(apart):
        pass
    with pytest.raises(ServiceError, match=message):
        schema.migrate(raw)
    assert (everything(raw), raw.calculations.index_information()) == (before, indexes)
    dump(raw, tmp_path / "newer.zip")  # reading is allowed
    raw.client.drop_database(raw.db.name)
    with open_database(apart) as fresh, pytest.raises(BadInputError, match="newer alkaflow"):
        restore(fresh, tmp_path / "newer.zip")


def test_a_newer_document_stops_a_migration(raw: Database) -> None:
    load(raw, SAMPLES[0])
    raw.calculations.insert_one({"_id": "a" * 20, "schema_version": 3})
    before = everything(raw)
    with pytest.raises(ServiceError, match=f"calculations {'a' * 20} was written by a newer alkaflow"):
        schema.migrate(raw)
    assert everything(raw) == before


def test_two_processes_may_migrate_at_once(apart: Settings, raw: Database) -> None:
    load(raw, SAMPLES[0])
    environment = os.environ | {"ALKAFLOW_DATA_DIR": str(apart.data_dir), "ALKAFLOW_DATABASE": apart.database}
    both = [subprocess.Popen([sys.executable, "-c", KILLED, "0"], env=environment) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert schema.version_of(raw) == SCHEMA_VERSION
    assert {d["schema_version"] for d in raw.calculations.find()} == {SCHEMA_VERSION}


def test_a_fresh_database_is_furnished_once(apart: Settings) -> None:
    from pymongo import monitoring

    class Counter(monitoring.CommandListener):
        def __init__(self) -> None:
            self.commands: list[str] = []

        def started(self, event: monitoring.CommandStartedEvent) -> None:
            self.commands.append(event.command_name)

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
            pass

        def failed(self, event: monitoring.CommandFailedEvent) -> None:
            pass

    counter = Counter()
    monitoring.register(counter)
    try:
        with open_database(apart) as database:
            assert database.meta.find_one() == {"_id": "schema", "version": 2, "indexes": schema.INDEXES_VERSION}
            assert database.fireworks.get_new_fw_id() == 1
        assert "createIndexes" in counter.commands
        counter.commands.clear()
        with open_database(apart):
            pass
        assert [c for c in counter.commands if c != "endSessions"] == ["ping", "find"]  # ping: is mongod up
    finally:
        monitoring._LISTENERS.command_listeners.remove(counter)


# --- indexes --------------------------------------------------------------------------------------------------------


def test_of_fireworks_own_indexes_those_are_there_that_its_queries_use(raw: Database) -> None:
    """Left out: by category, by date of change, by where a launch ran, and what begins like another index."""

    def keys(name: str) -> set[tuple[Any, bool]]:
        found = raw.db[name].index_information().values()
        return {(tuple(i["key"]), bool(i.get("unique"))) for i in found}

    raw.fireworks.tuneup(bkground=False)
    theirs = {name: keys(name) for name in ("fireworks", "launches", "workflows", "fw_gridfs.files")}
    raw.client.drop_database(raw.db.name)
    create_indexes(raw.db)
    missing = {key[0][0] for name in theirs for key, _ in theirs[name] - keys(name)}
    by_prefix = {"state"}
    assert missing <= by_prefix | {
        "spec._category", "updated_on", "time_start", "time_end", "host", "ip", "fworker.name",
    }  # fmt: skip
    assert {"fw_id", "name", "launches", "launch_id", "nodes"}.isdisjoint(missing)


QUERIES: list[tuple[str, dict[str, Any], list[tuple[str, int]], int]] = [
    ("calculations", {"behind": True}, [], 10),
    ("calculations", {"claim.expires": {"$exists": True}}, [], 10),
    ("calculations", {"claim.job": "slurm:1"}, [], 1),
    ("calculations", {"firework": None}, [], 10),
    ("calculations", {"state": "READY"}, [("priority", -1), ("firework", 1)], 50),
    ("calculations", {"studies": "x", "state": "FIZZLED"}, [], 10),
    ("calculations", {"parent": "0" * 20}, [], 10),
    ("calculations", {}, [("firework", 1)], 50),
    ("attempts", {"calculation": "1" * 20}, [], 1),
    ("records", {"step": "energy"}, [("provenance.finished", -1)], 50),
    ("fireworks", {"state": "READY"}, [("spec._priority", -1), ("fw_id", 1)], 50),
    ("fireworks", {"name": "1" * 20}, [], 1),
    ("workflows", {"locked": True}, [], 10),
    ("workflows", {"nodes": 7}, [], 1),
    ("files.chunks", {"files_id": "x.1"}, [("n", 1)], 10),
]


@pytest.fixture(scope="module")
def filled(served: Settings) -> Iterator[Database]:
    """A thousand documents of each kind, of which ten fit."""
    settings = served.model_copy(update={"database": "indexes-test"})
    with open_database(settings) as database:
        rare = range(10)
        database.calculations.insert_many(
            {"_id": f"{i:020x}", "schema_version": 2, "state": "READY" if i % 2 else "FIZZLED", "priority": i % 3,
             "firework": None if i in rare else i, "behind": i in rare, "parent": "0" * 20 if i in rare else None,
             "studies": ["x"] if i < 20 else ["y"], "created": i,
             "claim": {"expires": i, "job": f"slurm:{i}" if i else None} if i in rare else None}
            for i in range(1000)
        )  # fmt: skip
        database.attempts.insert_many({"_id": i, "calculation": f"{i:020d}"} for i in range(1000))
        database.attempts.insert_one({"_id": "one", "calculation": "1" * 20})
        database.records.insert_many(
            {"_id": i, "step": "energy" if i % 2 else "relax", "provenance": {"finished": str(i)}} for i in range(1000)
        )
        pad = database.fireworks
        pad.fireworks.insert_many(
            {"fw_id": i, "name": "1" * 20 if i == 1 else f"{i:020d}", "state": "READY" if i % 2 else "WAITING",
             "spec": {"_priority": i % 3}, "created_on": str(i), "updated_on": str(i), "launches": []}
            for i in range(1000)
        )  # fmt: skip
        locked = [{"locked": True} if i in rare else {} for i in range(1000)]
        pad.workflows.insert_many({"nodes": [i], "name": "w", "state": "READY"} | locked[i] for i in range(1000))
        database.files.chunks.insert_many({"files_id": f"x.{i // 10}", "n": i % 10, "data": b""} for i in range(1000))
        yield database
        database.client.drop_database(database.db.name)


@pytest.mark.parametrize(("name", "query", "order", "most"), QUERIES, ids=lambda value: str(value)[:40])
def test_no_query_scans(
    filled: Database, name: str, query: dict[str, Any], order: list[tuple[str, int]], most: int
) -> None:
    cursor = filled.db[name].find(query).limit(50)
    plan = (cursor.sort(order) if order else cursor).explain()
    stages = str(plan["queryPlanner"]["winningPlan"])
    assert "COLLSCAN" not in stages
    assert "'SORT'" not in stages
    assert plan["executionStats"]["nReturned"] == most
    assert plan["executionStats"]["totalDocsExamined"] <= most
