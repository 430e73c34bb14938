"""How calculations end that do not end well: each by its name, in all books, and nothing begins that needed them."""

import errno
import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from harness import LEASE, check_invariants, hydrogen_run, start_worker
from test_real_engine import PEROXIDE, calculation, level, queued

from alkaflow.calculations import CalculationInput
from alkaflow.errors import ADVICE, Outcome, ServiceError
from alkaflow.launchpad.cli import run as cli
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.knowing import explain
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Engine, Worker
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings
from alkaflow.structures import Structure
from alkaflow.workflows.ladder import RUNGS

FAKE = "alkaflow.workflows.fake_engine"
TRIES = {"out_of_memory": 2, "disk_full": 3}  # of the others one is enough to know


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_what_needs_a_failed_one_never_begins(database: Database, quick: Settings, outcome: Outcome) -> None:
    """Until it is tried again and succeeds."""
    run = hydrogen_run(1, children=True)
    parent, child = run.calculations
    queue = Queue(database, LEASE)
    queue.submit(run)
    tries = TRIES.get(outcome, 1)
    assert Worker(database, quick, engine=Engine(FAKE, ("--fail", outcome))).run() == tries
    documents = {d["_id"]: d for d in database.calculations.find()}
    assert (documents[parent]["state"], documents[parent]["attempts"]) == ("FIZZLED", tries)
    assert documents[parent]["failure"]["outcome"] == outcome
    assert (documents[child]["state"], documents[child]["attempts"]) == ("WAITING", 0)
    assert ADVICE[outcome].replace(" ID", f" {parent[:8]}") in " ".join(explain(database, documents[parent]).next)
    check_invariants(database, quick, set(run.calculations))

    assert Control(database, queue).retry({"_id": parent}).ids == [parent]
    assert Worker(database, quick, engine=Engine(FAKE)).run() == 2
    assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}
    check_invariants(database, quick, set(run.calculations))


# --- real ones --------------------------------------------------------------------------------------------------------


def pair(symbols: str, distance: float, charge: int = 0, multiplicity: int = 1) -> Structure:
    first, second = symbols.split()
    return Structure((first, second), np.array([[0, 0, 0], [0, 0, distance]]), charge, multiplicity)


def chain(structure: Structure, at: Any, **more: Any) -> tuple[CalculationInput, CalculationInput]:
    """A relaxation, and an energy at its geometry."""
    relax = CalculationInput.model_validate(calculation("relax", structure, at).model_dump() | more)
    content = relax.model_dump(exclude={"positions", "fragments"}) | {"step": "energy", "parent": relax.id}
    return relax, CalculationInput.model_validate(content)


ION = {"charge": 1, "multiplicity": 1}
STO = level("b3lyp/sto-3g", grid=0)
CHAINS = {
    "scf_not_converged": chain(
        pair("Li H", 1.6), STO.model_copy(update={"energy_threshold": 1e-16, "gradient_threshold": 1e-16})
    ),
    "relaxation_not_converged": chain(PEROXIDE, STO.model_copy(update={"max_steps": 2})),
    "dissociated": chain(pair("Li Li", 2.5, charge=2), STO, fragments=[{"atoms": (0,), **ION}, {"atoms": (1,), **ION}]),
    "converged": chain(Structure(("Ne",), np.zeros((1, 3))), STO),  # a single atom has nothing to relax
}


def test_endings_of_real_calculations(database: Database, quick: Settings) -> None:
    """An SCF and a relaxation that do not converge, ions that fly apart, and a single atom, in one queue."""
    for relax, energy in CHAINS.values():
        run = SingleRun(
            calculations={relax.id: relax, energy.id: energy}, titles={relax.id: "relax", energy.id: "energy"}
        )
        Queue(database, LEASE).submit(run)
    assert Worker(database, quick).run() == len(CHAINS) + 1
    for outcome, (relax, energy) in CHAINS.items():
        first, second = (database.calculations.find_one({"_id": each.id}) for each in (relax, energy))
        assert first is not None
        assert second is not None
        if outcome == "converged":
            assert (first["state"], second["state"]) == ("COMPLETED", "COMPLETED")
            continue
        assert (first["state"], first["failure"]["outcome"]) == ("FIZZLED", outcome), first["failure"]
        assert (second["state"], second["attempts"]) == ("WAITING", 0)
        assert database.attempts.find_one({"calculation": relax.id})["outcome"] == outcome
    said = database.calculations.find_one({"_id": CHAINS["scf_not_converged"][0].id})["failure"]["message"]
    places = [said.index(name) for name in ("tried DIIS", *(rung.name for rung in RUNGS))]
    assert places == sorted(places), "the rungs were not tried in their order, once each"
    check_invariants(database, quick, {each.id for both in CHAINS.values() for each in both})


@pytest.mark.parametrize(
    ("structure", "text", "s_squared"),
    [
        (pair("N N", 2.5), "b3lyp/6-31g", 2.83),  # between 0 and the 3 of two quartets far apart
        (pair("Ti Ti", 2.0, multiplicity=3), "b3lyp/sto-3g", 2.02),
    ],
    ids=["stretched nitrogen", "a metal dimer"],
)
def test_three_cycles_are_not_enough(
    database: Database, quick: Settings, structure: Structure, text: str, s_squared: float
) -> None:
    """What helped is in the record, with the spin and whether the solution is stable."""
    given = calculation("energy", structure, level(text, grid=1, max_cycles=3, stability=True))
    ids = queued(database, given)
    assert Worker(database, quick).run() == 1
    record = database.record(given.id)
    assert record is not None, database.calculations.find_one({})["failure"]
    helped = [correction["handler"] for correction in record.convergence.corrections]
    names = [rung.name for rung in RUNGS]
    assert 1 <= len(helped) <= len(names)
    assert helped == sorted(set(helped), key=names.index)
    assert all(correction["errors"] for correction in record.convergence.corrections)
    assert record.convergence.stability is not None
    assert record.convergence.stability["tested"]
    assert record.s_squared == pytest.approx(s_squared, abs=0.02)
    check_invariants(database, quick, ids)


# --- bad input --------------------------------------------------------------------------------------------------------

CANARY = "touch_canary"
WRONG = {
    "code as a coordinate": (f"1\n\nH 0 0 __import__('os').system('{CANARY}')\n", ":3: "),
    "code as a symbol": (f"1\n\n__import__('os').system('{CANARY}') 0 0 0\n", ":3: "),
    "code as the number of atoms": (f"__import__('os').system('{CANARY}')\n\nH 0 0 0\n", ":1: "),
    "code as the charge": (f"1\ncharge=__import__('os').system('{CANARY}')\nH 0 0 0\n", ":2: "),
    "a path as an atom": ("1\n\n/etc/hostname 0 0 0\n", ":3: unknown element '/etc/hostname'"),
    "a million atoms": ("1000000\n\nH 0 0 0\n", ":1: 1000000 atoms"),
    "no electrons": ("2\ncharge=2\nH 0 0 0\nH 0 0 0.74\n", "charge +2 leaves"),
    "more charge than electrons": ("1\ncharge=9\nH 0 0 0\n", "charge +9 leaves"),
    "more spin than electrons": ("2\nmultiplicity=5\nH 0 0 0\nH 0 0 0.74\n", "cannot have multiplicity 5"),
    "an odd number of electrons": ("1\nmultiplicity=1\nH 0 0 0\n", "1 electrons cannot have multiplicity 1"),
    "atoms at one place": ("2\n\nO 0 0 0\nO 0 0 0\n", "atoms 0 (O) and 1 (O) overlap"),
    "atoms a thousandth of an Angstrom apart": ("2\n\nO 0 0 0\nO 0 0 0.001\n", "atoms 0 (O) and 1 (O) overlap"),
    "an unknown element": ("1\n\nXx 0 0 0\n", ":3: unknown element 'Xx'"),
    "a number too few": ("1\n\nH 0 0\n", ":3: expected 'symbol x y z'"),
    "not a number": ("1\n\nH 0 0 nan\n", ":3: z is not finite"),
    "an atom too many": ("1\n\nH 0 0 0\nH 0 0 1\n", ":4: line 1 promises 1 atoms, but there is more"),
    "not a text": ("\xff\xfe\x00", ""),
}
LEVELS = {
    "an unknown basis": ("b3lyp/6-31gg", "unknown basis '6-31gg'"),
    "an unknown functional": ("b3lpy/6-31g", "'b3lpy'"),
    "a path as a basis": ("b3lyp/../../etc/passwd", "is not the name of a basis set"),
    "code as a functional": (f"__import__('os').system('{CANARY}')/6-31g", "unknown functional"),
    "a basis that lacks an element": ("b3lyp/6-311g(d,p)", "U"),
}


@pytest.mark.parametrize("name", [*WRONG, *LEVELS])
def test_bad_input_reaches_nothing(
    database: Database, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], name: str,
) -> None:  # fmt: skip
    """One sentence that names the place; no document, no file, no code run."""
    del cli_environment
    path = tmp_path / "given.xyz"
    atom = "U" if name == "a basis that lacks an element" else "He"
    text, sentence = WRONG.get(name, (f"1\n\n{atom} 0 0 0\n", ""))
    path.write_text(text, encoding="latin-1")
    at, wrong = LEVELS.get(name, ("b3lyp/sto-3g", sentence))
    work = tmp_path / "work"
    work.mkdir()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / CANARY).write_text(f"#!/bin/sh\ntouch {work}/canary\n", encoding="utf-8")
    (bin_ / CANARY).chmod(0o700)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(work)
    assert cli(["calculate", str(path), "--level", at]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.strip().splitlines()) == 1
    assert wrong in said.err
    assert list(work.iterdir()) == []
    assert database.calculations.count_documents({}) == 0
    assert database.fireworks.fireworks.count_documents({}) == 0


def test_the_canary_sings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that was run would be noticed."""
    (tmp_path / CANARY).write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\n", encoding="utf-8")
    (tmp_path / CANARY).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    eval(f"__import__('os').system('{CANARY}')")  # noqa: S307  (what must not happen)
    assert (tmp_path / "canary").exists()


# --- a file system that loses its files -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["mkdir", "replace", "glob"])
def test_a_stale_file_handle_loses_nothing(
    database: Database, quick: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The server of the files was restarted under the worker: it says so and goes; another one computes."""
    run = hydrogen_run(2)
    Queue(database, LEASE).submit(run)
    real = getattr(Path, step)

    def stale(self: Path, *arguments: Any, **more: Any) -> Any:
        if "attempts" in self.parts:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, stale)
        with pytest.raises((ServiceError, OSError), match="Stale file handle"):
            Worker(database, quick, engine=Engine(FAKE)).run()
    assert {d["state"] for d in database.calculations.find()} == {"READY"}
    assert {tuple(d["deaths"]) for d in database.calculations.find()} == {()}
    assert database.calculations.count_documents({"attempts": {"$gt": 1}}) == 0
    worker = start_worker(quick)
    out, errors = worker.communicate(timeout=60)
    assert worker.returncode == 0, errors
    assert out.count("completed") == 2
    check_invariants(database, quick, set(run.calculations))
