"""Open servers are refused, passwords are shown nowhere, and files are for their owner."""

import io
import json
import logging
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from auth_mongod import PASSWORD, USER, Server, auth_server, open_server  # noqa: F401
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from alkaflow.errors import ServiceError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad import redaction
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.redaction import RedactingFilter, protect_logs, redact, remember_secrets
from alkaflow.launchpad.security import answers_without_authentication, exposed, is_loopback
from alkaflow.settings import Settings

CANARY = "c4n4ry-Pa55"


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> Iterator[None]:
    redaction._secrets.clear()
    yield
    redaction._secrets.clear()


def settings_of(server: Server, tmp_path: Path, uri: str, **more: object) -> Settings:
    return Settings.model_validate(
        {"data_dir": tmp_path / "d", "mongodb_uri": uri, "database": "security-test", "threads": 1, **more}
    )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers on the loopback interface count as if they were on another host."""
    monkeypatch.setattr("alkaflow.launchpad.database.is_loopback", lambda _: False)


# --- servers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "here"),
    [
        ("mongodb://%2Ftmp%2Fx%2Fmongodb.sock/", True),
        ("mongodb://localhost/", True),
        ("mongodb://u:p@LOCALHOST:27018/x?authSource=admin", True),
        ("mongodb://127.0.0.1:27017", True),
        ("mongodb://127.8.9.1/", True),
        ("mongodb://[::1]:27017/", True),
        ("mongodb://127.0.0.1,127.0.0.1:27018/", False),
        ("mongodb://localhost,db.example.org/", False),
        ("mongodb://localhost/?replicaSet=rs0", False),
        ("mongodb+srv://localhost/", False),
        ("mongodb+srv://cluster.example.org/", False),
        ("mongodb://192.0.2.7/", False),
        ("mongodb://0.0.0.0/", False),
        ("mongodb://[::]/", False),
        ("mongodb://localhost.example.org/", False),
        ("mongodb://127.0.0.1.example.org/", False),
        ("mongodb://db/", False),
        ("mongodb://127.0.0.1@db/", False),
        ("http://localhost/", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(uri: str, here: bool) -> None:
    assert is_loopback(uri) is here


def test_an_open_server_on_this_machine_serves(open_server: Server, tmp_path: Path) -> None:  # noqa: F811
    with open_database(settings_of(open_server, tmp_path, open_server.anonymous_uri)) as database:
        assert database.meta.find_one() is not None


@pytest.mark.usefixtures("elsewhere")
def test_an_open_server_elsewhere_is_refused(open_server: Server, tmp_path: Path) -> None:  # noqa: F811
    settings = settings_of(open_server, tmp_path, open_server.anonymous_uri, database="refused-test")
    with (
        pytest.raises(ServiceError, match=r"asks for no user and password, .* allow_unauthenticated_server: true$"),
        open_database(settings),
    ):
        pass
    with MongoClient(open_server.anonymous_uri) as client:
        assert "refused-test" not in client.list_database_names()
    with open_database(settings.model_copy(update={"allow_unauthenticated_server": True})) as database:
        assert database.meta.find_one() is not None


@pytest.mark.usefixtures("elsewhere")
def test_a_server_that_asks_is_used(auth_server: Server, tmp_path: Path) -> None:  # noqa: F811
    with open_database(settings_of(auth_server, tmp_path, auth_server.uri)) as database:
        assert database.get_file(database.put_file(b"bytes")) == b"bytes"
        assert database.fireworks.get_new_fw_id() >= 1


@pytest.mark.parametrize("here", [True, False])
def test_a_server_that_asks_tells_nobody_else(
    auth_server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: bool,
) -> None:
    monkeypatch.setattr("alkaflow.launchpad.database.is_loopback", lambda _: here)
    wrong = auth_server.uri.replace(quote(PASSWORD, safe=""), CANARY)
    for uri in (wrong, auth_server.anonymous_uri):
        settings = settings_of(auth_server, tmp_path, uri)
        message = r"does not let us in: .*check user, password and authSource"
        with pytest.raises(ServiceError, match=message) as caught, open_database(settings):
            pass
        assert CANARY not in str(caught.value)
        assert isinstance(caught.value.__cause__, OperationFailure)  # at once, not after a time out


def test_an_open_server_is_told_from_one_that_asks(open_server: Server, auth_server: Server) -> None:  # noqa: F811
    assert answers_without_authentication(open_server.anonymous_uri, "x")
    assert not answers_without_authentication(auth_server.anonymous_uri, "x")
    assert not answers_without_authentication(auth_server.uri, "x")
    # One that lets everybody in, and us by name: the name opens nothing.
    with MongoClient(open_server.anonymous_uri) as client:
        client.admin.command("createUser", USER, pwd=PASSWORD, roles=["readWriteAnyDatabase"])
    try:
        with_name = f"mongodb://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{open_server.port}/x?authSource=admin"
        assert answers_without_authentication(with_name, "x")
    finally:
        with MongoClient(open_server.anonymous_uri) as client:
            client.admin.command("dropUser", USER)


# --- passwords ------------------------------------------------------------------------------------------------------


def test_connection_strings_lose_their_credentials() -> None:
    for text in (
        f"mongodb://user:{CANARY}@host:27017/db?x=1 is down",
        f"cannot reach 'mongodb+srv://user:{CANARY}@host/'",
        f'{{"uri": "MONGODB://user:{CANARY}@a,b/"}}',
        f"mongodb://user:{CANARY}/slash@host/",
        f"mongodb://host/?tlsCertificateKeyFilePassword={CANARY}&x=1",
        f"mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:{CANARY}",
    ):
        assert CANARY in text
        assert CANARY not in redact(text)
    assert redact("mongodb://u:p@host:27017/db?x=1 is down") == "mongodb://***@host:27017/db?x=1 is down"
    assert (
        redact("mongodb://host/ is down, write to me@example.org") == "mongodb://host/ is down, write to me@example.org"
    )


def test_the_configured_password_is_hidden_in_any_form() -> None:
    remember_secrets(f"mongodb://{USER}:{quote(PASSWORD, safe='')}@host/?authSource=admin")
    for form in (PASSWORD, quote(PASSWORD, safe=""), quote_plus(PASSWORD)):
        assert redact(f"password {form!s} is wrong") == "password *** is wrong"
    remember_secrets("mongodb://u:db@host/")  # a short one is hidden as a word
    assert redact("db: alkaflow db dump, mydbase") == "***: alkaflow *** dump, mydbase"


BROKEN = [
    f"mongodb://user:{CANARY}@host:port/",
    f"mongodb://user:x/{CANARY}@host:27017/",
    f"mongodb://user:{CANARY} h/",
    f"mongodb://user:{CANARY}%zz@host/",
    f"mongodb://user:a@{CANARY}:b@host/",
    f"mongodb://user:{CANARY}@/",
    f"mongodb://user:{CANARY}@host/a b",
    f"mongodb://user:{CANARY}@host/?maxPoolSize=-1",
    f"mongodb://user:x@host/?unheard={CANARY}",
    f"mongodb://user:x@host/?tls=true&tlsCertificateKeyFile=/nowhere&tlsCertificateKeyFilePassword={CANARY}",
    f"http://user:{CANARY}@host/",
    f"user:{CANARY}@host",
    CANARY,
]


@pytest.mark.parametrize("uri", BROKEN, ids=range(len(BROKEN)))
def test_what_cannot_be_used_is_not_quoted(uri: str, tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "mongodb_uri": uri})
    with pytest.raises(ServiceError, match=r"mongodb_uri cannot be used: \S") as caught, open_database(settings):
        pass
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_logs_are_without_passwords() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("some.library")
    handler = logging.StreamHandler(stream)
    made = logging.getLogRecordFactory()
    logger.addHandler(handler)
    try:
        protect_logs()
        protect_logs()
        logger.warning("connecting to %s", f"mongodb://user:{CANARY}@host/")
        try:
            MongoClient(f"mongodb://user:{CANARY}@host:port/")
        except ValueError as error:
            error.add_note(f"mongodb://user:{CANARY}@host/")
            logger.exception("it failed")
        logger.warning("%d of %s", f"mongodb://user:{CANARY}@host/")  # noqa: PLE1206  (harms nobody)
    finally:
        logging.setLogRecordFactory(made)
        logger.removeHandler(handler)
    shown = stream.getvalue()
    assert CANARY not in shown
    assert "connecting to mongodb://***@host/" in shown
    assert "ValueError: " in shown
    assert shown.count("mongodb://***@host/") == 3
    record = logging.LogRecord("x", logging.INFO, "", 1, "see %s", (f"mongodb://u:{CANARY}@h/",), None)
    assert RedactingFilter().filter(record)
    assert record.getMessage() == "see mongodb://***@h/"


def test_fireworks_does_not_know_the_password(auth_server: Server) -> None:  # noqa: F811
    remember_secrets(auth_server.uri)
    database = Database(auth_server.uri, "security-test")
    try:
        for shown in (repr(database.fireworks), str(database.fireworks.to_dict()), repr(vars(database.fireworks))):
            assert PASSWORD not in shown
            assert quote(PASSWORD, safe="") not in shown
    finally:
        database.close()


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (["doctor", "--mend"], True),
        (["doctor", "--json"], False),
        (["db", "status"], True),
        (["db", "status", "--json"], False),
        (["db", "dump", "all.zip"], True),
        (["db", "migrate"], True),
        (["status"], True),
        (["--debug", "results", "show", "0000"], True),
        (["--debug", "status"], False),
    ],
)
def test_no_command_shows_the_password(
    auth_server: Server,  # noqa: F811
    tmp_path: Path,
    arguments: list[str],
    right: bool,
) -> None:
    password = quote(PASSWORD, safe="") if right else CANARY
    uri = auth_server.uri.replace(quote(PASSWORD, safe=""), password)
    environment = os.environ | {
        "ALKAFLOW_MONGODB_URI": uri,
        "ALKAFLOW_DATA_DIR": str(tmp_path / "d"),
        "ALKAFLOW_DATABASE": "security-test",
    }
    code = (
        "import sys, logging; logging.basicConfig(level=logging.DEBUG); "
        f"sys.argv[1:] = {arguments!r}; from alkaflow.launchpad.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    shown = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2, 3), shown
    for form in (CANARY, PASSWORD, quote(PASSWORD, safe="")):
        assert form not in shown
    if "Traceback" in shown:
        assert "--debug" in arguments
    for path in tmp_path.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                assert CANARY.encode() not in archive.read(name)
                assert quote(PASSWORD, safe="").encode() not in archive.read(name)
            assert json.loads(archive.read("manifest.json"))["schema_version"] == 2


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = private_directory(tmp_path / "a" / "b" / "c")
        write_atomically(made / "file", b"secret")
        private_directory(made)
    finally:
        os.umask(before)
    for path in (made, made.parent, made.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((made / "file").stat().st_mode) == 0o600
    (tmp_path / "shared").mkdir(mode=0o755)
    private_directory(tmp_path / "shared")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    with pytest.raises(NotADirectoryError):
        private_directory(made / "file")


def test_the_umask_takes_from_files_that_are_shown(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "table.md", b"table", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "table.md").stat().st_mode) == 0o640


def test_what_others_can_read_is_found(tmp_path: Path) -> None:
    data = tmp_path / "d"
    data.mkdir(mode=0o755)
    (data / "attempts").mkdir(mode=0o755)
    (data / "db").mkdir(mode=0o700)
    (data / "db" / "mongod.log").touch(mode=0o644)  # behind a closed door
    (data / "my_launchpad.yaml").touch(mode=0o640)
    (data / "closed.yaml").touch(mode=0o600)
    secret, plain, closed = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    for path, text, mode in (
        (secret, f"mongodb_uri: mongodb://u:{CANARY}@h/\n", 0o644),
        (plain, "threads: 2\npassword: null\n", 0o644),
        (closed, f"password: {CANARY}\n", 0o600),
    ):
        path.write_text(text, encoding="ascii")
        path.chmod(mode)
    assert exposed(data, [secret, plain, closed, tmp_path / "none"]) == [
        secret,
        data / "attempts",
        data / "my_launchpad.yaml",
    ]
    data.chmod(0o700)
    assert exposed(data) == []
