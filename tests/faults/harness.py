"""What the fault tests share: processes that die at a chosen point, a proxy that loses replies, and the invariants.

The invariants, checked after every fault: (A) nothing is lost, (B) nothing is done twice, (C) what failed says why and
what to do, (D) files in the database are whole and referred to, (E) no secret is written anywhere.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.filestore import chunks_of
from alkaflow.launchpad.garbage import collect_garbage
from alkaflow.launchpad.knowing import explain
from alkaflow.launchpad.queue import Queue
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings

WORKER = Path(__file__).with_name("fault_worker.py")
LEASE = 2.0  # s
STATES = {"WAITING", "READY", "RUNNING", "COMPLETED", "FIZZLED", "PAUSED", "DEFUSED"}


def hydrogen_run(number: int, children: bool = False, first: int = 0) -> SingleRun:
    """So many different inputs for the fake engine; with children, each has one that needs its result."""
    level = parse_level("gfn2-xtb")
    calculations, titles = {}, {}
    common: dict[str, Any] = {"level": level, "charge": 0, "multiplicity": 1, "symbols": ("H", "H")}
    for k in range(first, first + number):
        distance = round(0.7 + 1e-4 * k, 6)
        parent = CalculationInput(step="relax", positions=((0, 0, 0), (0, 0, distance)), **common)
        calculations[parent.id], titles[parent.id] = parent, f"hydrogen {k}"
        if children:
            child = CalculationInput(step="energy", parent=parent.id, **common)
            calculations[child.id], titles[child.id] = child, f"energy of hydrogen {k}"
    return SingleRun(calculations=calculations, titles=titles)


# --- processes ---


def environment_of(settings: Settings, uri: str | None = None) -> dict[str, str]:
    """Environment of a process that uses these settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ALKAFLOW_")}
    environment |= {
        "ALKAFLOW_DATA_DIR": str(settings.data_dir),
        "ALKAFLOW_DATABASE": settings.database,
        "ALKAFLOW_THREADS": "1",
        "ALKAFLOW_LEASE_SECONDS": str(settings.lease_seconds),
    }
    if uri is None and settings.mongodb_uri is not None:
        uri = settings.mongodb_uri.get_secret_value()
    if uri is not None:
        environment["ALKAFLOW_MONGODB_URI"] = uri
    return environment


def start_worker(
    settings: Settings,
    *engine: str,
    options: Sequence[str] = (),
    uri: str | None = None,
    wrapper: Sequence[str] = (),
    output: int = subprocess.PIPE,
) -> "subprocess.Popen[str]":
    """A worker process with the fake engine, in a process group of its own; its events are lines of its output."""
    return subprocess.Popen(
        [*wrapper, sys.executable, str(WORKER), *options, "--", *engine],
        env=environment_of(settings, uri),
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,
    )


def kill_group(process: "subprocess.Popen[Any]") -> None:
    """SIGKILL a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true answer; AssertionError after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):
            if answer := what():
                return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true in {seconds} s")


def ledger_of(path: Path) -> list[list[str]]:
    """Lines of the ledger that the fake engine appends to: begin or end, calculation, attempt, pid, time."""
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


# --- the network ---


class Proxy:
    """A Unix socket before mongod's, which can lose the reply to a command after mongod has carried it out."""

    def __init__(self, target: Path, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._target = target
        self._lose: bytes | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        from urllib.parse import quote

        return f"mongodb://{quote(str(self.path), safe='')}/"

    def lose_reply_to(self, marker: bytes) -> None:
        """Cut the connection of the next request that holds these bytes, once mongod has answered it."""
        self._lose = marker

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """One request, one answer: whole messages, whose first four bytes are their length."""
        with suppress(OSError), client, server:
            while (request := _message(client)) is not None:
                marker = self._lose
                losing = marker is not None and marker in request
                if losing:
                    self._lose = None
                server.sendall(request)
                reply = _message(server)
                if reply is None:
                    return
                if losing:
                    self.lost += 1
                    return
                client.sendall(reply)


def _message(stream: socket.socket) -> bytes | None:
    head = _exactly(stream, 4)
    if head is None:
        return None
    rest = _exactly(stream, int.from_bytes(head, "little") - 4)
    return None if rest is None else head + rest


def _exactly(stream: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            return None
        data += part
    return data


@contextmanager
def proxied(target: Path, path: Path) -> Iterator[Proxy]:
    proxy = Proxy(target, path)
    try:
        yield proxy
    finally:
        proxy.close()


# --- invariants ---


def check_invariants(
    database: Database, settings: Settings, submitted: set[str], ledger: Path | None = None, canary: str | None = None
) -> None:
    """All five invariants of a database whose workers have ended."""
    Queue(database, settings.lease_seconds).repair()
    documents = {d["_id"]: d for d in database.calculations.find()}
    check_nothing_lost(database, documents, submitted)
    check_nothing_twice(database, documents, ledger)
    check_failures_are_clear(database, documents)
    check_files(database)
    if canary is not None:
        check_no_secret(database, settings, canary)


def check_nothing_lost(database: Database, documents: dict[str, Any], submitted: set[str]) -> None:
    assert set(documents) == submitted
    assert {d["state"] for d in documents.values()} <= STATES - {"RUNNING"}
    assert not [i for i, d in documents.items() if d["claim"] is not None], "a claim without a worker"
    pad = database.fireworks
    theirs = {d["name"]: d["state"] for d in pad.fireworks.find()}
    assert pad.fireworks.count_documents({}) == len(theirs) == len(submitted), "a firework too few or too many"
    apart = {i: (d["state"], theirs[i], d["behind"]) for i, d in documents.items() if theirs[i] != d["state"]}
    assert not apart, "ours, FireWorks', and whether it is known to be behind"
    assert pad.workflows.count_documents({"locked": True}) == 0
    assert database.db["submissions"].count_documents({}) == 0
    assert database.locks.count_documents({}) == 0
    housed = [n for d in pad.workflows.find() for n in d["nodes"]]
    assert sorted(housed) == sorted(d["fw_id"] for d in pad.fireworks.find())


def check_nothing_twice(database: Database, documents: dict[str, Any], ledger: Path | None) -> None:
    done = {i for i, d in documents.items() if d["state"] == "COMPLETED"}
    assert {d["_id"] for d in database.records.find({}, {"_id": 1})} == done
    tries = Counter(d["calculation"] for d in database.attempts.find({"outcome": "converged"}))
    assert set(tries.values()) <= {1}, "two tries delivered the same calculation"
    for calculation, document in documents.items():
        assert database.attempts.count_documents({"calculation": calculation}) <= document["attempts"]
    if ledger is not None:
        begun = Counter((line[1], line[2]) for line in ledger_of(ledger) if line[0] == "begin")
        assert set(begun.values()) <= {1}, "one attempt was computed twice"


def check_failures_are_clear(database: Database, documents: dict[str, Any]) -> None:
    for document in documents.values():
        said = explain(database, document)
        assert said.because
        if document["state"] == "FIZZLED":
            failure = document["failure"]
            assert failure["outcome"] in said.because[0]
            assert failure["message"]
            assert "Traceback" not in failure["message"]
            assert any(step.startswith("alkaflow ") for step in said.next)


def check_files(database: Database) -> None:
    for record in database.records.find({"orbitals": {"$ne": None}}):
        data = database.get_file(record["orbitals"]["sha256"])
        assert sha256_of(data) == record["orbitals"]["sha256"]
        assert len(data) == record["orbitals"]["bytes"]
    collect_garbage(database, dry_run=False, older_than_seconds=0)
    wanted = {d["orbitals"]["sha256"] for d in database.records.find({"orbitals": {"$ne": None}})}
    assert database.db["files.files"].count_documents({}) == len(wanted)
    kept = [chunks_of(d) for d in database.db["files.files"].find()]
    assert database.db["files.chunks"].count_documents({"files_id": {"$nin": kept}}) == 0


def check_no_secret(database: Database, settings: Settings, canary: str) -> None:
    for path in settings.data_dir.rglob("*"):
        if path.is_file() and "db" not in path.relative_to(settings.data_dir).parts[:1]:
            assert canary.encode() not in path.read_bytes(), path
    for name in database.db.list_collection_names():
        for document in database.db[name].find():
            assert canary not in json.dumps(document, default=str), name
