"""Shared fixtures: a clean environment, a real mongod, and a database of its own for each test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and PySCF are loaded: tests run on all cores already

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from alkaflow.errors import ServiceError
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.settings import Settings

hypothesis.settings.register_profile("alkaflow", deadline=None)  # a busy machine is no fault in the code
hypothesis.settings.load_profile("alkaflow")

IN_CI = os.environ.get("ALKAFLOW_CI") == "1"


def require_service(error: ServiceError) -> None:
    """Skip a test whose service is absent on a user's machine; fail in CI, where it must be there."""
    if IN_CI:
        pytest.fail(f"a service is missing in CI: {error}")
    pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings of the user's reach a test, nor does a shell's that has background jobs ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for variable in list(os.environ):
            if variable.startswith("ALKAFLOW_") and variable != "ALKAFLOW_CI":
                patch.delenv(variable)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("XDG_DATA_HOME", raising=False)
        yield


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a data directory whose mongod runs for the whole session."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), threads=1)
    server = EmbeddedMongod(settings)
    try:
        server.start()
    except ServiceError as error:
        require_service(error)
    yield settings
    server.stop()
    if not server.socket.is_relative_to(settings.data_dir):
        for left in server.socket.parent.glob("*"):
            left.unlink()
        server.socket.parent.rmdir()


@pytest.fixture
def settings(served: Settings) -> Settings:
    """The session's mongod and a database of the tests."""
    return served.model_copy(update={"database": "test"})


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """An empty database on the real mongod; indexes stay from test to test."""
    with open_database(settings) as opened:
        _empty(opened)
        yield opened
        _empty(opened)
        shutil.rmtree(settings.data_dir / "attempts", ignore_errors=True)


def _empty(database: Database) -> None:
    for name in database.db.list_collection_names():
        if name not in ("fw_id_assigner", "meta"):
            database.db[name].delete_many({})


@pytest.fixture
def cli_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Environment variables that point the command line at the test's database."""
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ALKAFLOW_DATABASE", settings.database)
    monkeypatch.setenv("ALKAFLOW_THREADS", "1")
    return settings


SMALL_STUDY = """
name: small
title: Li above pyrazine
hosts:
  - name: pyrazine
    builtin: pyrazine
guests: [Li]
sites: [face]
protocol: screen
published:
  - {label: X1, host: pyrazine, guest: Li, site: face, value_ev: -0.5, tolerance_ev: 5.0}
"""


@pytest.fixture
def small_study(tmp_path: Path) -> Path:
    """A study that takes seconds."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL_STUDY, encoding="utf-8")
    return path
