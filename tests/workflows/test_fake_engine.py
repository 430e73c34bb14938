"""The fake engine is an engine to whoever runs it: same task, same files, same ways to end; and it starts fast."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from alkaflow.calculations import CalculationInput, Constraint, Fragment
from alkaflow.errors import Outcome
from alkaflow.levels import KohnSham, Xtb, parse_level
from alkaflow.records import Record, formula_of
from alkaflow.workflows.fake_engine import DEATHS, fake_energy, id_of
from alkaflow.workflows.progress import read_progress
from alkaflow.workflows.task import (
    FAILURE_FILE,
    INTERRUPTED,
    MANIFEST_FILE,
    ORBITAL_FILE,
    RECORD_FILE,
    TASK_FILE,
    Task,
)

PARENT = "0123456789abcdef0123"
POSITIONS = ((0.0, 0.0, 0.12), (0.0, 0.76, -0.47), (0.0, -0.76, -0.47))


def calculation(**changes: Any) -> CalculationInput:
    content = {"step": "energy", "level": parse_level("b3lyp-d3bj/6-31g(d,p)"), "charge": 0, "multiplicity": 1}
    content |= {"symbols": ("O", "H", "H")}
    if "parent" not in changes:
        content["positions"] = POSITIONS
    return CalculationInput.model_validate(content | changes)


COMPUTED = [
    calculation(),
    calculation(step="relax", level=Xtb()),
    calculation(parent=PARENT),
    calculation(parent=PARENT, subset=(0, 2, 5)),
    calculation(ghosts=(1,), multiplicity=2),
    calculation(step="relax", constraints=(Constraint(kind="distance", atoms=(0, 1), value=1.05),)),
    calculation(
        fragments=(Fragment(atoms=(0, 1), charge=0, multiplicity=2), Fragment(atoms=(2,), charge=0, multiplicity=2))
    ),
    calculation(level=KohnSham.model_validate(parse_level("b3lyp/6-31g").model_dump() | {"grid": (75, 302)})),
    calculation(positions=((1e-7, -4e-7, 1234.5678915), (0.1 + 0.2, 1 / 3, 5e-7), (1.5e-6, 2.5e-6, -1e-6))),
    calculation(symbols=("Na", "Cl", "Cl"), charge=-1),
    calculation(symbols=("H", "C", "N"), step="frequencies"),
]


def prepare(directory: Path, given: CalculationInput) -> Path:
    directory.mkdir(parents=True)
    positions = given.positions or POSITIONS
    task = Task(calculation=given, positions=positions, threads=2, memory_mb=100)
    (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
    return directory


def command(directory: Path, *options: object, parent: int | None = None) -> list[str]:
    module = ["-P", "-m", "alkaflow.workflows.fake_engine"]
    return [sys.executable, *module, str(directory), str(parent or os.getpid()), *map(str, options)]


def run(directory: Path, *options: object) -> int:
    return subprocess.run(command(directory, *options), cwd=directory, check=False).returncode


def failure(directory: Path) -> dict[str, str]:
    assert not (directory / RECORD_FILE).exists()
    assert not (directory / MANIFEST_FILE).exists()
    found: dict[str, str] = json.loads((directory / FAILURE_FILE).read_bytes())
    return found


@pytest.mark.parametrize("given", COMPUTED, ids=range(len(COMPUTED)))
def test_its_record_is_a_record(given: CalculationInput, tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", given)
    assert run(directory) == 0
    record = Record.model_validate_json((directory / RECORD_FILE).read_bytes())
    assert record.id == given.id == id_of(json.loads(given.model_dump_json()))
    assert record.level_of_theory == given.level
    assert record.formula == formula_of(given.real_symbols)
    assert record.energy_hartree == fake_energy(given.id)
    assert [tuple(xyz) for xyz in record.positions_angstrom] == list(given.positions or POSITIONS)
    assert (record.step, record.charge, record.multiplicity) == (given.step, given.charge, given.multiplicity)
    assert (record.parent, record.recipe) == (given.parent, given.recipe)
    assert record.orbitals is None
    assert "fake engine" in record.warnings[0]
    manifest = json.loads((directory / MANIFEST_FILE).read_bytes())
    data = (directory / RECORD_FILE).read_bytes()
    assert manifest == {
        "schema_version": 1,
        "calculation": given.id,
        "files": {RECORD_FILE: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}},
    }


def test_its_energy_can_be_computed_by_anybody() -> None:
    digits = hashlib.sha256(PARENT.encode()).hexdigest()[:12]
    assert fake_energy(PARENT) == -1 - 100 * int(digits, 16) / 16**12
    energies = {fake_energy(str(number)) for number in range(1000)}
    assert len(energies) == 1000
    assert -101 < min(energies) < max(energies) < -1


def test_orbitals_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        directory = prepare(tmp_path / name, calculation())
        assert run(directory, "--orbital-bytes", 100_000) == 0
        data = (directory / ORBITAL_FILE).read_bytes()
        record = Record.model_validate_json((directory / RECORD_FILE).read_bytes())
        assert record.orbitals is not None
        assert (record.orbitals.sha256, record.orbitals.bytes) == (hashlib.sha256(data).hexdigest(), 100_000)
        manifest = json.loads((directory / MANIFEST_FILE).read_bytes())
        assert manifest["files"][ORBITAL_FILE] == {"sha256": record.orbitals.sha256, "bytes": 100_000}
        found.append(data)
    assert found[0] == found[1]


def test_the_ledger_has_a_line_at_begin_and_end_whoever_writes_beside(tmp_path: Path) -> None:
    ledger, given = tmp_path / "ledger", calculation()
    began = time.time()
    running = [
        subprocess.Popen(command(prepare(tmp_path / f"{k:03d}-ab", given), "--ledger", ledger, "--seconds", 0.1))
        for k in range(8)
    ]
    assert [one.wait() for one in running] == [0] * 8
    lines = [line.split(" ") for line in ledger.read_text().splitlines()]
    assert len(lines) == 16
    for child, k in zip(running, range(8), strict=True):
        begin, end = (line for line in lines if line[3] == str(child.pid))
        assert (begin[0], end[0]) == ("begin", "end")
        assert begin[1] == end[1] == given.id
        assert begin[2] == end[2] == f"{k:03d}-ab"
        assert began - 1 < float(begin[4]) < float(end[4]) < time.time() + 1
        assert float(end[4]) - float(begin[4]) >= 0.1


def test_it_reports_progress_and_stops_when_asked(tmp_path: Path) -> None:
    directory, ledger = prepare(tmp_path / "one", calculation()), tmp_path / "ledger"
    with subprocess.Popen(command(directory, "--seconds", 60, "--ledger", ledger)) as child:
        while (told := read_progress(directory)) is None or told["step"] < 3:
            assert child.poll() is None
            time.sleep(0.01)
        assert told["stage"] == "fake"
        child.send_signal(signal.SIGUSR1)
        begin = time.monotonic()
        assert child.wait() == INTERRUPTED
    assert time.monotonic() - begin < 2
    assert {path.name for path in directory.iterdir()} == {TASK_FILE, "progress.json"}
    assert [line.split()[0] for line in ledger.read_text().splitlines()] == ["begin"]


@pytest.mark.parametrize(
    ("how", "code"), [("segv", -signal.SIGSEGV), ("kill", -signal.SIGKILL), ("abort", -signal.SIGABRT), ("exit3", 3)]
)
def test_it_dies_as_told(how: str, code: int, tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    assert run(directory, "--die", how) == code
    assert {path.name for path in directory.iterdir()} == {TASK_FILE}


@pytest.mark.parametrize(("how", "outcome"), [("oom", "out_of_memory"), ("enospc", "disk_full")])
def test_what_is_used_up_is_a_failure(how: str, outcome: str, tmp_path: Path) -> None:
    assert how in DEATHS
    directory = prepare(tmp_path / "one", calculation())
    assert run(directory, "--die", how, "--oom-mb", 64) == 1
    assert failure(directory)["outcome"] == outcome


def test_a_limit_of_memory_ends_it_too(tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    limited = ["/bin/sh", "-c", 'ulimit -v 300000; exec "$@"', "sh"]
    # the shell becomes the engine, whose parent is this process
    done = subprocess.run([*limited, *command(directory, "--die", "oom", "--oom-mb", 100_000)], check=False)
    assert done.returncode == 1
    assert failure(directory)["outcome"] == "out_of_memory"


def test_only_one_calculation_dies(tmp_path: Path) -> None:
    one, other = calculation(), calculation(charge=2)
    for given, code in ((one, 3), (other, 0)):
        directory = prepare(tmp_path / given.id, given)
        assert run(directory, "--die", "exit3", "--die-only", one.id) == code
        assert (directory / MANIFEST_FILE).exists() == (code == 0)


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_it_fails_as_told(outcome: str, tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    assert run(directory, "--fail", outcome) == 1
    assert failure(directory)["outcome"] == outcome


def test_an_outcome_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    done = subprocess.run(command(directory, "--fail", "lost"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "lost" in done.stderr
    assert not (directory / FAILURE_FILE).exists()


def test_it_does_not_outlive_its_worker(tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    worker = f"""
import subprocess, os, sys, time
child = subprocess.Popen({command(directory, "--seconds", 60)!r}[:5] + [str(os.getpid()), "--seconds", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        while read_progress(directory) is None:
            time.sleep(0.01)
        parent.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_that_is_gone_already(tmp_path: Path) -> None:
    directory = prepare(tmp_path / "one", calculation())
    assert subprocess.run(command(directory, parent=1), check=False).returncode == 1
    assert {path.name for path in directory.iterdir()} == {TASK_FILE}


def test_it_loads_little() -> None:
    code = "import sys, alkaflow.workflows.fake_engine; print([m for m in {} if m in sys.modules])"
    heavy = ("numpy", "pydantic", "pymongo", "ase", "alkaflow.records", "alkaflow.calculations", "alkaflow.structures")
    done = subprocess.run([sys.executable, "-c", code.format(heavy)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
