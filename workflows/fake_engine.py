"""The fake engine: an engine that sleeps and then gives a fixed answer, for tests of the queue and its benchmarks only.

Run like the process that computes, ``python -m alkaflow.workflows.fake_engine DIRECTORY PID_OF_WORKER [OPTIONS]``: it
reads the task, dies with its parent, reports progress, obeys SIGUSR1, and leaves a record and a MANIFEST, or dies in
the way that it is told to. It imports as little as possible, so that a queue of thousands is limited by the queue. A
record that it leaves says ``fake engine`` where others name a processor; its energy means nothing.
"""

import argparse
import errno
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from alkaflow import __version__
from alkaflow.files import sha256_of, write_atomically
from alkaflow.workflows import interrupt
from alkaflow.workflows.directory import (
    FAILURE_FILE,
    INTERRUPTED,
    ORBITAL_FILE,
    RECORD_FILE,
    TASK_FILE,
    write_manifest,
)
from alkaflow.workflows.progress import Progress

DEATHS = ("segv", "kill", "exit3", "abort", "oom", "enospc")
"""Ways to die: by a signal, with exit code 3, of memory, of a full disk."""

_STEP_SECONDS = 0.05
_SIGNALS = {"segv": signal.SIGSEGV, "kill": signal.SIGKILL, "abort": signal.SIGABRT}
_ID_LENGTH = 20
_GRID = 1e-6  # Angstrom
_BLOCK_MB = 16


def fake_energy(calculation: str) -> float:
    """Energy that this engine finds for an id [Hartree], between -101 and -1: the first 48 bits of the id's SHA-256."""
    return -1.0 - 100.0 * int(sha256_of(calculation.encode())[:12], 16) / 2**48


def main() -> int:
    """Run; exit code 0 with a record, 1 with a failure that is written down, 75 interrupted, or death."""
    options = _options()
    interrupt.install()
    interrupt.die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = json.loads((options.directory / TASK_FILE).read_bytes())
    name = id_of(task["calculation"])
    _note(options, "begin", name)
    try:
        steps = _sleep(options, name)
        if options.die and options.die_only in (None, name):
            _die(options.die, options.oom_mb)
        if options.fail:
            return _fail(options.directory, options.fail, f"the fake engine was told to end as {options.fail}")
        _note(options, "end", name)
        _leave(options, task, name, steps)
    except interrupt.Interrupted:
        return INTERRUPTED
    except MemoryError:
        return _fail(options.directory, "out_of_memory", "the calculation needed more memory than there is")
    except OSError as error:
        outcome = "disk_full" if error.errno == errno.ENOSPC else "engine_crashed"
        return _fail(options.directory, outcome, f"{error.strerror}: {error.filename or options.directory}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fake_engine", description="An engine for tests of the queue.")
    parser.add_argument("directory", type=Path, help="of the attempt, with its task")
    parser.add_argument("parent", type=int, help="process id of the worker")
    parser.add_argument("--seconds", type=float, default=0.0, help="to sleep")
    parser.add_argument("--ledger", type=Path, help="file that gets a line at begin and at end")
    parser.add_argument("--orbital-bytes", type=int, help="size of the file of orbitals; without it there is none")
    parser.add_argument("--die", choices=DEATHS, help="instead of leaving a record, after the sleep")
    parser.add_argument("--die-only", metavar="ID", help="only of this calculation")
    parser.add_argument("--oom-mb", type=int, default=512, help="memory that dying of memory takes at most")
    parser.add_argument("--fail", metavar="OUTCOME", help="leave a failure")
    options = parser.parse_args()
    if options.fail is not None:
        from alkaflow.errors import known_outcome  # only where it is needed: every import counts

        try:
            known_outcome(options.fail)
        except ValueError as error:
            parser.error(str(error))
    return options


def id_of(calculation: dict[str, Any]) -> str:
    """The id of a calculation from its JSON, as `CalculationInput.id` has it, with no schema loaded."""
    content = _without_none({key: value for key, value in calculation.items() if key not in {"symbols", "positions"}})
    if calculation.get("positions") is not None:
        pairs = zip(calculation["symbols"], calculation["positions"], strict=True)
        content["atoms"] = [[symbol, *(round(x / _GRID) for x in xyz)] for symbol, xyz in pairs]
    return sha256_of(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())[:_ID_LENGTH]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list) else value


def _note(options: argparse.Namespace, what: str, name: str) -> None:
    """Append a line to the ledger, whole: one write to a file opened for appending."""
    if options.ledger is None:
        return
    line = f"{what} {name} {options.directory.name} {os.getpid()} {time.time():.6f}\n"
    descriptor = os.open(options.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _sleep(options: argparse.Namespace, name: str) -> int:
    """Sleep in small steps, each reported; returns how many."""
    progress = Progress(options.directory)
    until, step = time.monotonic() + options.seconds, 0
    interrupt.check()
    while (left := until - time.monotonic()) > 0:
        step += 1
        progress.report("fake", step, fake_energy(name))
        time.sleep(min(left, _STEP_SECONDS))
        interrupt.check()
    return step


def _die(how: str, megabytes: int) -> None:
    """End, or raise what a real calculation would."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if how == "exit3":
        os._exit(3)
    if how in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[how])
    if how == "enospc":
        with open("/dev/full", "wb", buffering=0) as stream:  # noqa: PTH123  (a device, not a file of ours)
            stream.write(b"1")
    # a limit of the kernel or of this process ends this, or the size that was asked for
    _ = [b"1" * (_BLOCK_MB * 2**20) for _ in range(0, megabytes, _BLOCK_MB)]
    raise MemoryError


def _fail(directory: Path, outcome: str, message: str) -> int:
    write_atomically(directory / FAILURE_FILE, json.dumps({"outcome": outcome, "message": message}).encode())
    return 1


def _leave(options: argparse.Namespace, task: dict[str, Any], name: str, steps: int) -> None:
    """Leave the files of a result, its MANIFEST last."""
    record, names = _record(task, name, steps, options.seconds), [RECORD_FILE]
    if options.orbital_bytes is not None:
        import random

        data = random.Random(0).randbytes(options.orbital_bytes)  # noqa: S311  (bytes that no compression shortens)
        write_atomically(options.directory / ORBITAL_FILE, data)
        record["orbitals"] = {"sha256": sha256_of(data), "bytes": len(data), "format": "noise of the fake engine"}
        names = [ORBITAL_FILE, RECORD_FILE]
    write_atomically(options.directory / RECORD_FILE, json.dumps(record).encode())
    write_manifest(options.directory, name, names)


def _record(task: dict[str, Any], name: str, steps: int, seconds: float) -> dict[str, Any]:
    """What `Record` accepts."""
    given = task["calculation"]
    ghosts = set(given.get("ghosts") or ())
    return {
        "schema_version": 1,
        "id": name,
        "recipe": given["recipe"],
        "step": given["step"],
        "level": "fake engine",
        "level_of_theory": given["level"],
        "parent": given.get("parent"),
        "formula": _formula([symbol for k, symbol in enumerate(given["symbols"]) if k not in ghosts]),
        "symbols": given["symbols"],
        "ghosts": given.get("ghosts"),
        "charge": given["charge"],
        "multiplicity": given["multiplicity"],
        "start_positions_angstrom": task["positions"] if given["step"] == "relax" else None,
        "positions_angstrom": task["positions"],
        "energy_hartree": fake_energy(name),
        "convergence": {"cycles": steps},
        "warnings": ["this is a record of the fake engine; its energy means nothing"],
        "provenance": {
            "versions": {"alkaflow": __version__, "python": sys.version.split()[0]},
            "blas": [],
            "threads": task["threads"],
            "cpu": "fake engine",
            "peak_memory_mb": 0.0,
            "seconds": {"total": seconds},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    }


def _formula(symbols: list[str]) -> str:
    """Hill's order, as `formula_of` has it."""
    first = [symbol for symbol in ("C", "H") if "C" in symbols and symbol in symbols]
    order = first + sorted(set(symbols) - set(first))
    return "".join(f"{symbol}{symbols.count(symbol) if symbols.count(symbol) > 1 else ''}" for symbol in order)


if __name__ == "__main__":
    sys.exit(main())
