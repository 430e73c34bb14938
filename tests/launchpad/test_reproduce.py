"""`alkaflow reproduce` in a process of its own: stopped, killed, begun twice, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from alkaflow.launchpad.database import Database
from alkaflow.settings import Settings

pytestmark = pytest.mark.timeout(600)


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


@pytest.mark.parametrize(
    "how",
    [
        "kill -9 of the group",
        pytest.param("SIGTERM", marks=pytest.mark.faults),
        pytest.param("kill -9 of the worker alone", marks=pytest.mark.faults),
        pytest.param("Ctrl-C", marks=pytest.mark.faults),
    ],
)
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
    assert first.poll() is None
    first.terminate()
    _, talk = first.communicate(timeout=60)
    assert first.returncode == 143, talk
    assert "the same command goes on from there" in talk
    assert {d["state"] for d in database.calculations.find()} <= {"READY", "COMPLETED", "WAITING"}
