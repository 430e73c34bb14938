"""A mongod on a loopback port, with or without access control, for tests that need a configured server."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from alkaflow.errors import ServiceError
from alkaflow.launchpad.mongod import find_mongod
from alkaflow.settings import Settings

USER = "worker"
PASSWORD = "Canary/7@canary:%"  # noqa: S105
"""With characters that have to be escaped in a connection string."""
_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A mongod that runs; its user may read and write every database where it has access control."""

    port: int
    pid: int
    log: Path

    @property
    def uri(self) -> str:
        """Connection string with user and password."""
        return f"mongodb://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/?authSource=admin"

    @property
    def anonymous_uri(self) -> str:
        """Connection string without them."""
        return f"mongodb://127.0.0.1:{self.port}/"


@contextmanager
def running(directory: Path, auth: bool) -> Iterator[Server]:
    """Start a mongod on a free port of the loopback interface, and end it by its pid.

    Raises
    ------
    ServiceError
        There is no mongod, or it does not come up.
    """
    binary = find_mongod(Settings(data_dir=directory))
    (directory / "data").mkdir(mode=0o700)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = directory / "mongod.log"
    command = [str(binary), "--dbpath", str(directory / "data"), "--bind_ip", "127.0.0.1", "--port", str(port)]
    command += ["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(log)]
    process = subprocess.Popen(
        [*command, *(["--auth"] if auth else [])], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        server = Server(port, process.pid, log)
        _wait(server, process)
        if auth:
            _create_user(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Server, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(PyMongoError), MongoClient(server.anonymous_uri, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
            return
    raise ServiceError(f"mongod does not come up on port {server.port}; its log: {server.log}")


def _create_user(server: Server) -> None:
    """The first user, whom mongod lets anybody on this machine create."""
    with MongoClient(server.anonymous_uri) as client:
        roles = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]
        client.admin.command("createUser", USER, pwd=PASSWORD, roles=roles)


@pytest.fixture(scope="module")
def auth_server(served: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A mongod that asks for user and password; skipped, or failed, where ``served`` is."""
    with running(tmp_path_factory.mktemp("auth"), auth=True) as server:
        yield server


@pytest.fixture(scope="module")
def open_server(served: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A mongod that lets everybody in."""
    with running(tmp_path_factory.mktemp("open"), auth=False) as server:
        yield server
