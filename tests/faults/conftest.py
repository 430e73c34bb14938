"""A mongod of its own, that a test may kill."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import LEASE

from alkaflow.errors import ServiceError
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.settings import Settings


class Server:
    """An embedded mongod that dies and comes back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._mongod = EmbeddedMongod(settings)

    @property
    def socket(self) -> Path:
        return self._mongod.socket

    def start(self) -> None:
        self._mongod.start()

    def kill(self) -> None:
        """SIGKILL: what it had not written is gone."""
        pid = self._mongod.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        psutil.Process(pid).wait(10)

    def stop(self) -> None:
        self._mongod.stop()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("own", numbered=True)
    server = Server(Settings(data_dir=folder, threads=1, lease_seconds=LEASE, database="test"))
    try:
        server.start()
    except ServiceError as error:
        if os.environ.get("ALKAFLOW_CI") == "1":
            pytest.fail(f"a service is missing in CI: {error}")
        pytest.skip(str(error))
    yield server
    server.stop()
    if not server.socket.is_relative_to(folder):
        for left in server.socket.parent.glob("*"):
            left.unlink()
        server.socket.parent.rmdir()


@pytest.fixture
def quick(settings: Settings, tmp_path: Path, database: Database) -> Settings:
    """The session's mongod, an empty database, short leases, and a directory for attempts of the test's own."""
    del database
    uri = f"mongodb://{str(EmbeddedMongod(settings).socket).replace('/', '%2F')}/"
    return Settings(data_dir=tmp_path / "data", mongodb_uri=uri, database="test", threads=1, lease_seconds=LEASE)


@pytest.fixture
def own(server: Server) -> Iterator[Database]:
    """The database of the test's own mongod."""
    with open_database(server.settings) as database:
        yield database
