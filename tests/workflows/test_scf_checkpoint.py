"""An SCF that was killed goes on where it was, with the same energy; orbitals of anything else are refused."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput
from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.records import Record
from alkaflow.structures import Structure
from alkaflow.workflows import checkpoint as checkpoints
from alkaflow.workflows import interrupt, scf_checkpoint
from alkaflow.workflows.checkpoint import Checkpoint, fingerprint_of, generations, load, save
from alkaflow.workflows.device import Cpu
from alkaflow.workflows.diis_history import continued_diis, history_of
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import RUNGS, Rung, converge
from alkaflow.workflows.progress import Progress, read_progress
from alkaflow.workflows.pyscf_engine import ScfResult, build_mean_field, build_molecule, run_scf
from alkaflow.workflows.scf_checkpoint import PAUSE, SCF, ScfKeeper
from alkaflow.workflows.stability import Stability
from alkaflow.workflows.surface import KohnShamGradient
from alkaflow.workflows.task import MANIFEST_FILE, ORBITAL_FILE, RECORD_FILE, TASK_FILE, Task

WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))
ION = Structure(("Li", "H"), np.array([[0, 0, 0], [0, 0, 2.2]]), 1, 2)
DOUBLET = Structure(("Li", "O", "H", "H"), np.array([[0, 0, 2.0], [0, 0, 0], [0, 0.76, -0.5], [0, -0.76, -0.5]]), 0, 2)
FAR = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 2.6]]))


def level(text: str = "b3lyp/6-31g", **changes: object) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump() | {"grid": 1} | changes)


class KilledError(Exception):
    """At a moment of our choosing."""


class Mortal(ScfKeeper):
    """Dies after so many cycles."""

    def __init__(self, directory: Path, cycles: int, **more: Any) -> None:
        super().__init__(directory, "mine", clock=lambda: 0.0, **more)  # saving takes no time: every cycle is saved
        self.left = cycles

    def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
        super().__call__(state, corrections)
        self.left -= 1
        if not self.left:
            raise KilledError


def scf(directory: Path, structure: Structure = WATER, keeper: ScfKeeper | None = None, **changes: object) -> ScfResult:
    asked = level(**changes)  # type: ignore[arg-type]
    return run_scf(structure, asked, 1000, Progress(directory), keeper=keeper)


# --- in one process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", [WATER, ION], ids=["restricted", "unrestricted"])
def test_a_second_attempt_needs_fewer_cycles_for_the_same_energy(structure: Structure, tmp_path: Path) -> None:
    fresh = scf(tmp_path, structure)
    cycles = fresh.convergence.cycles
    dies = cycles - 2
    with pytest.raises(KilledError):
        scf(tmp_path, structure, Mortal(tmp_path, dies))
    again = scf(tmp_path, structure, ScfKeeper(tmp_path, "mine"))
    assert again.continued == dies
    assert again.convergence.cycles < cycles
    assert again.energy == pytest.approx(fresh.energy, abs=1e-8)
    assert again.warnings == fresh.warnings == []
    assert set(again.orbitals) == set(fresh.orbitals)


class Traced(Mortal):
    """Notes the energies."""

    def __init__(self, directory: Path, cycles: int) -> None:
        super().__init__(directory, cycles)
        self.energies: list[float] = []

    def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
        self.energies.append(float(state["e_tot"]))
        super().__call__(state, corrections)


@pytest.mark.parametrize("structure", [WATER, DOUBLET], ids=["restricted", "unrestricted"])
def test_killed_in_its_first_cycles_it_makes_those_that_would_have_come(structure: Structure, tmp_path: Path) -> None:
    """With DIIS anew, these two need up to two cycles more than a fresh SCF, and rise by a hartree on the way."""
    whole = Traced(tmp_path, -1)
    fresh = scf(tmp_path, structure, whole)
    assert fresh.convergence.cycles > 5
    for dies in range(1, 6):
        whole.forget()
        with pytest.raises(KilledError):
            scf(tmp_path, structure, Mortal(tmp_path, dies))
        rest = Traced(tmp_path, -1)
        again = scf(tmp_path, structure, rest)
        assert again.continued == dies
        assert again.convergence.cycles == fresh.convergence.cycles - dies
        assert rest.energies == pytest.approx(whole.energies[dies:], abs=1e-9)
        assert again.energy == pytest.approx(fresh.energy, abs=1e-9)


def test_killed_again_and_again_it_makes_those_that_would_have_come(tmp_path: Path) -> None:
    """More often than DIIS has vectors, each time after one cycle."""
    tight = {"energy_threshold": 1e-12, "gradient_threshold": 1e-8}
    fresh = scf(tmp_path, DOUBLET, **tight)
    assert fresh.convergence.cycles > 9
    for attempt in range(fresh.convergence.cycles - 2):
        with pytest.raises(KilledError):
            scf(tmp_path, DOUBLET, Mortal(tmp_path, 1), **tight)
        found = load(tmp_path, "mine", SCF).checkpoint
        assert found is not None
        assert found.arrays["fock_beta"].shape == (min(attempt, 8), 22 * 23 // 2)
    again = scf(tmp_path, DOUBLET, ScfKeeper(tmp_path, "mine"), **tight)
    assert again.convergence.cycles == 2
    assert again.energy == pytest.approx(fresh.energy, abs=1e-9)


def states_of(structure: Structure, cycles: int) -> tuple[Any, dict[str, Any]]:
    """A mean field, and PySCF's state after so many cycles."""
    mean_field = build_mean_field(build_molecule(structure, level(), 1000), level())
    set_grid(mean_field, 1)
    seen: list[dict[str, Any]] = []
    mean_field.callback, mean_field.max_cycle = seen.append, cycles
    mean_field.kernel()
    return mean_field, seen[-1]


@pytest.mark.parametrize("structure", [WATER, DOUBLET], ids=["restricted", "unrestricted"])
def test_what_diis_remembers_does_not_depend_on_the_machine(structure: Structure) -> None:
    """Eigenvectors of the overlap have signs and, where degenerate, directions of their own on each."""
    mean_field, state = states_of(structure, 4)
    history = history_of(state)
    given = [mean_field.get_ovlp(), state["dm"], np.asarray(state["fock"]), mean_field, None, None]
    wanted = state["mf_diis"].update(*given)
    random = np.random.default_rng(1)
    for _ in range(3):
        turned, _ = np.linalg.qr(random.normal(size=(mean_field.mol.nao,) * 2))
        own = type(mean_field).check_linear_dependency(mean_field, given[0]) @ turned
        mean_field.check_linear_dependency = lambda *_, own=own: own
        assert np.abs(continued_diis(mean_field, history).update(*given) - wanted).max() < 1e-9


def test_of_a_large_molecule_only_the_newest_is_remembered() -> None:
    mean_field, state = states_of(WATER, 5)
    every = history_of(state)
    assert {len(array) for array in every.values()} == {4}
    mean_field.max_memory = 2.5 * 13**2 * 8 / 0.025 / 1e6
    some = history_of(state)
    assert {len(array) for array in some.values()} == {2}
    assert all(np.array_equal(some[name], every[name][2:]) for name in every)
    mean_field.max_memory = 0
    assert {len(array) for array in history_of(state).values()} == {0}


def test_what_diis_remembers_of_a_rung_is_not_kept(tmp_path: Path) -> None:
    """The first rung damps and shifts levels: a plain SCF begins from its orbitals, not from its Fock matrices."""
    for cycles, has in ((3, True), (5, False)):
        with pytest.raises(KilledError):
            scf(tmp_path, keeper=Mortal(tmp_path, cycles), max_cycles=3)
        found = load(tmp_path, "mine", SCF).checkpoint
        assert found is not None
        assert ("fock_restricted" in found.arrays) == has
        ScfKeeper(tmp_path, "mine").forget()


def test_orbitals_without_what_diis_remembers_serve(left: tuple[Checkpoint, ScfResult], tmp_path: Path) -> None:
    arrays = {name: a for name, a in left[0].arrays.items() if not name.startswith(("fock", "error"))}
    save(tmp_path, replace(left[0], arrays=arrays), SCF)
    again = scf(tmp_path, keeper=ScfKeeper(tmp_path, "mine"))
    assert (again.continued, again.warnings) == (4, [])
    assert again.convergence.cycles <= left[1].convergence.cycles
    assert again.energy == pytest.approx(left[1].energy, abs=1e-8)


def test_cycles_of_all_attempts_are_counted(tmp_path: Path) -> None:
    for attempt in range(3):
        with pytest.raises(KilledError):
            scf(tmp_path, keeper=Mortal(tmp_path, 1))
        found = load(tmp_path, "mine", SCF).checkpoint
        assert found is not None
        assert found.values["cycles"] == attempt + 1


def test_the_grid_that_was_reached_is_gone_on_with(tmp_path: Path) -> None:
    """The first grid is not visited again: its energy, far from that of the second, is never reported."""
    grids = {"scf_grid": 0, "grid": 3}
    fresh = scf(tmp_path, **grids)
    coarse = scf(tmp_path, grid=0)
    assert abs(coarse.energy - fresh.energy) > 1e-5
    with pytest.raises(KilledError):
        scf(tmp_path, keeper=Mortal(tmp_path, coarse.convergence.cycles + 1), **grids)
    seen: list[float] = []

    class Seen(ScfKeeper):
        def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
            seen.append(float(state["e_tot"]))
            super().__call__(state, corrections)

    again = scf(tmp_path, keeper=Seen(tmp_path, "mine"), **grids)
    assert again.energy == pytest.approx(fresh.energy, abs=1e-8)
    assert max(abs(energy - fresh.energy) for energy in seen) < 1e-5 / 2


def test_a_tested_solution_is_not_tested_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretched hydrogen leaves its restricted singlet; killed on the second grid, it stays unrestricted."""
    asked: dict[str, Any] = {"scf_grid": 1, "grid": 2, "stability": True}
    fresh = scf(tmp_path, FAR, **asked)
    assert fresh.stability is not None
    assert fresh.stability.broken_symmetry

    class SecondGrid(Mortal):
        def __call__(self, state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
            self.left = 1 if self.situation.stage == 1 else 2
            super().__call__(state, corrections)

    with pytest.raises(KilledError):
        scf(tmp_path, FAR, SecondGrid(tmp_path, 0), **asked)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("alkaflow.workflows.grids.stabilise", never)
    again = scf(tmp_path, FAR, ScfKeeper(tmp_path, "mine"), **asked)
    assert again.energy == pytest.approx(fresh.energy, abs=1e-8)
    assert isinstance(again.stability, Stability)
    assert again.stability.broken_symmetry
    assert again.convergence.stability is not None
    assert again.convergence.stability["rounds"] == fresh.stability.rounds
    assert "coefficients_alpha" in again.orbitals


def test_what_helped_before_is_in_the_record(tmp_path: Path) -> None:
    """With three cycles of DIIS allowed, a rung helps; killed on it, the record of the second attempt says so."""
    asked: dict[str, Any] = {"max_cycles": 3}
    fresh = scf(tmp_path, **asked)
    helped = [correction["handler"] for correction in fresh.convergence.corrections]
    assert helped
    with pytest.raises(KilledError):
        scf(tmp_path, keeper=Mortal(tmp_path, 8), **asked)
    again = scf(tmp_path, keeper=ScfKeeper(tmp_path, "mine"), **asked)
    assert again.convergence.corrections[0]["handler"] == helped[0]
    assert again.stability is not None  # tested, as every solution that took help
    assert again.energy == pytest.approx(fresh.energy, abs=1e-8)


class Impatient(Cpu):
    """Gives plain DIIS three cycles, and tries nothing else."""

    def converge(self, mean_field: Any, density: Any, watch: Any = None, keep: Any = None) -> list[dict[str, Any]]:
        mean_field.max_cycle = 3
        return converge(mean_field, density, watch, rungs=(), keep=keep)


def test_an_scf_that_fails_leaves_no_start_for_the_next(tmp_path: Path) -> None:
    keeper, moving = ScfKeeper(tmp_path, "mine"), ScfKeeper(tmp_path, "mine", moving=True)
    surface = KohnShamGradient(WATER, level(), 1000, Progress(tmp_path), keeper=moving, device=Impatient())
    for attempt in (
        lambda: run_scf(WATER, level(), 1000, Progress(tmp_path), device=Impatient(), keeper=keeper),
        lambda: surface.converge(WATER.positions / 0.529177210544, None),
    ):
        with pytest.raises(CalculationError, match="did not converge"):
            attempt()
        assert not checkpoints.saved(tmp_path)
    with pytest.raises(KilledError):
        run_scf(WATER, level(), 1000, Progress(tmp_path), device=Impatient(), keeper=Mortal(tmp_path, 2))
    assert checkpoints.saved(tmp_path)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_only_cycles_are_kept_that_an_scf_can_begin_with(rung: Rung) -> None:
    molecule = build_molecule(WATER, level(), 1000)
    mean_field = build_mean_field(molecule, level(max_cycles=2))
    set_grid(mean_field, 0)
    kept: list[dict[str, Any]] = []
    shown: list[float] = []

    def keep(state: dict[str, Any], corrections: list[dict[str, Any]]) -> None:
        kept.append({"coefficients": state["mo_coeff"], "occupations": state["mo_occ"]})
        assert [correction["handler"] for correction in corrections] == ([rung.name] if len(kept) > 2 else [])

    converge(mean_field, watch=lambda state: shown.append(state["e_tot"]), rungs=[rung], keep=keep)
    overlap = molecule.intor_symmetric("int1e_ovlp")
    assert len(kept) > 2
    for each in kept:
        c = each["coefficients"]
        assert np.allclose(c.T @ overlap @ c, np.eye(molecule.nao), atol=1e-8)
        assert sorted(set(each["occupations"])) == [0.0, 2.0]
    assert (len(kept) < len(shown)) == bool(rung.smearing)


def test_a_relaxation_goes_on_within_an_scf(tmp_path: Path) -> None:
    """The first geometry that is asked for again has its orbitals; any other begins with the guess that it is given."""
    here = WATER.positions / 0.529177210544

    def surface(keeper: ScfKeeper | None) -> KohnShamGradient:
        return KohnShamGradient(WATER, level(), 1000, Progress(tmp_path), keeper=keeper)

    fresh = surface(None)
    fresh.converge(here, None)
    with pytest.raises(KilledError):
        surface(Mortal(tmp_path, fresh.cycles - 1, moving=True)).converge(here, None)
    again = surface(ScfKeeper(tmp_path, "mine", moving=True))
    again.converge(here, None)
    assert again.continued == fresh.cycles - 1
    assert again.cycles < fresh.cycles
    assert again.mean_field.e_tot == pytest.approx(fresh.mean_field.e_tot, abs=1e-8)
    elsewhere = surface(ScfKeeper(tmp_path, "mine", moving=True))
    elsewhere.converge(here * 1.01, None)
    assert (elsewhere.continued, elsewhere.notes) == (0, [])  # nothing to warn of: it is that of the step before


# --- how often --------------------------------------------------------------------------------------------------------


def state_of(number: float, functions: int = 2) -> dict[str, Any]:
    return {"mo_coeff": np.full((functions, functions), number), "mo_occ": np.full(functions, 2.0), "e_tot": number}


@pytest.mark.parametrize("cost", [0.01, 0.3, 5.0])
def test_saving_takes_a_twentieth_of_the_time(cost: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saves = [0.0], [0]

    def slow(*_: Any) -> None:
        now[0] += cost
        saves[0] += 1

    monkeypatch.setattr(scf_checkpoint, "save", slow)
    keeper = ScfKeeper(tmp_path, "mine", clock=lambda: now[0])
    for cycle in range(2000):
        now[0] += 1.0  # a second of computing
        keeper(state_of(cycle), [])
    spent = saves[0] * cost / now[0]
    assert spent <= 1 / PAUSE + cost / now[0]
    assert spent > 0.9 / (PAUSE + 1) or saves[0] == 2000


def test_a_request_to_stop_saves_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [False]
    monkeypatch.setattr(interrupt, "requested", lambda: asked[0])
    keeper = ScfKeeper(tmp_path, "mine")
    keeper._due = float("inf")
    keeper(state_of(1.0), [])
    assert not checkpoints.saved(tmp_path)
    asked[0] = True
    keeper(state_of(2.0), [])
    found = load(tmp_path, "mine", SCF).checkpoint
    assert found is not None
    assert found.values["cycles"] == 2


# --- what is refused --------------------------------------------------------------------------------------------------


def changed(**arrays: Any) -> Callable[[Checkpoint], Checkpoint]:
    def change(found: Checkpoint) -> Checkpoint:
        done = dict(found.arrays)
        for name, how in arrays.items():
            done[name] = how(done[name])
        return replace(found, arrays=done)

    return change


def with_value(name: str, value: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: replace(found, values={**found.values, name: value})


def without(kind: str, name: str) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: replace(found, **{kind: {k: v for k, v in getattr(found, kind).items() if k != name}})


def poisoned(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[3] = np.nan
    return array


def of_spins(found: Checkpoint) -> Checkpoint:
    arrays = {k.replace("restricted", "alpha"): v for k, v in found.arrays.items()}
    return replace(found, arrays=arrays)


REFUSED = {
    "nan": (changed(coefficients_restricted=poisoned), "it holds a number that is not finite"),
    "infinite geometry": (changed(positions=lambda a: a + np.inf), "it holds a number that is not finite"),
    "fewer functions": (changed(coefficients_restricted=lambda a: a[:-1]), r"its orbitals have the shape \(12, 5\)"),
    "fewer orbitals": (
        changed(coefficients_restricted=lambda a: a[:, :-1], occupations_restricted=lambda a: a[:-1]),
        r"its orbitals have the shape \(13, 4\), not \(13, 5\)",
    ),
    "flat": (changed(coefficients_restricted=np.ravel), r"its orbitals have the shape \(65,\)"),
    "zeros": (changed(coefficients_restricted=np.zeros_like), "its orbitals are not orthonormal"),
    "smeared": (changed(occupations_restricted=lambda a: a * [1, 1, 1, 1, 0.9]), "its occupations are not whole"),
    "another geometry": (changed(positions=lambda a: a + 0.01), "it is of another geometry"),
    "another molecule": (changed(positions=lambda a: a[:2]), "it is of another geometry"),
    "another basis": (with_value("basis", "0" * 64), "it is of another basis"),
    "another charge": (with_value("charge", 2), "it is of another charge"),
    "another spin": (with_value("spin", 2), "it is of another spin"),
    "one spin": (of_spins, "it does not hold the orbitals of its spins"),
    "no occupations": (without("arrays", "occupations_restricted"), "it does not hold the orbitals of its spins"),
    "no geometry": (without("arrays", "positions"), "it is no checkpoint of an SCF"),
    "no cycles": (without("values", "cycles"), "it is no checkpoint of an SCF"),
    "newer situation": (with_value("situation", {"stage": 0, "mood": "good"}), "it is no checkpoint of an SCF"),
    "odd stage": (with_value("situation", {"stage": "first"}), "it is no checkpoint of an SCF"),
    "fewer errors": (changed(error_restricted=lambda a: a[1:]), "what DIIS remembers is not of its orbitals"),
    "no errors": (without("arrays", "error_restricted"), "what DIIS remembers is not of its orbitals"),
    "fewer of both": (
        changed(error_restricted=lambda a: a[:, 1:], fock_restricted=lambda a: a[:, 1:]),
        "what DIIS remembers is not of its orbitals",
    ),
    "no Fock matrices": (changed(fock_restricted=lambda a: a[0, 0]), "what DIIS remembers is not of its orbitals"),
    "infinite error": (changed(error_restricted=poisoned), "it holds a number that is not finite"),
    "foreign": (lambda found: replace(found, fingerprint="theirs"), "it belongs to another calculation"),
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, ScfResult]:
    """What an attempt left that died after four cycles, and the uninterrupted result."""
    directory = tmp_path_factory.mktemp("left")
    with pytest.raises(KilledError):
        scf(directory, keeper=Mortal(directory, 4))
    found = load(directory, "mine", SCF).checkpoint
    assert found is not None
    return found, scf(directory)


@pytest.mark.parametrize("name", REFUSED)
def test_orbitals_of_something_else_are_refused(name: str, left: tuple[Checkpoint, ScfResult], tmp_path: Path) -> None:
    change, reason = REFUSED[name]
    molecule = build_molecule(WATER, level(), 1000)
    save(tmp_path, change(left[0]), SCF)
    resumed = ScfKeeper(tmp_path, "mine").begin(molecule)
    assert resumed.orbitals is None
    assert (resumed.cycles, resumed.situation.stage) == (0, 0)
    assert len(resumed.notes) == 1
    assert re.search(reason, resumed.notes[0])
    assert str(generations(tmp_path, SCF)[0]) in resumed.notes[0]

    # the generation before serves
    save(tmp_path, left[0], SCF)
    save(tmp_path, change(left[0]), SCF)
    resumed = ScfKeeper(tmp_path, "mine").begin(molecule)
    assert resumed.orbitals is not None
    assert resumed.cycles == 4


def test_an_scf_with_a_refused_checkpoint_starts_as_usual(left: tuple[Checkpoint, ScfResult], tmp_path: Path) -> None:
    save(tmp_path, REFUSED["nan"][0](left[0]), SCF)
    generations(tmp_path, SCF)[1].write_bytes(b"alkaflow checkpoint 1\nbut damaged")
    done = scf(tmp_path, keeper=ScfKeeper(tmp_path, "mine"))
    assert done.energy == pytest.approx(left[1].energy, abs=1e-12)
    assert done.convergence.cycles == left[1].convergence.cycles
    assert done.continued == 0
    assert [note.split(" is not used: ")[1] for note in done.warnings] == [
        "it holds a number that is not finite",
        "it is damaged",
    ]


def test_another_basis_of_the_same_size_is_refused(tmp_path: Path) -> None:
    """6-31G and the 3-21G of these elements have as many functions."""
    with pytest.raises(KilledError):
        scf(tmp_path, keeper=Mortal(tmp_path, 4))
    small = level("b3lyp/3-21g")
    assert build_molecule(WATER, small, 1000).nao == build_molecule(WATER, level(), 1000).nao
    done = run_scf(WATER, small, 1000, Progress(tmp_path), keeper=ScfKeeper(tmp_path, "mine"))
    assert "it is of another basis" in done.warnings[0]
    assert done.continued == 0


# --- the process that computes ----------------------------------------------------------------------------------------


def prepare(directory: Path, kept: Path, **content: Any) -> CalculationInput:
    """Write a task as the worker does; its cycles take a quarter of a second."""
    slow = level("b3lyp/6-31g", grid=(150, 974))
    given = {"step": "energy", "level": slow, "charge": 0, "multiplicity": 1, "symbols": WATER.symbols}
    given |= {"positions": WATER.positions.tolist()} | content
    calculation = CalculationInput.model_validate(given)
    task = Task(
        calculation=calculation, positions=calculation.positions or (), threads=1, memory_mb=1000, checkpoints=kept
    )
    directory.mkdir()
    kept.mkdir(exist_ok=True)
    (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
    return calculation


def start(directory: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "alkaflow.workflows.child", str(directory), str(os.getpid())]
    return subprocess.Popen(command, cwd=directory, env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(directory: Path) -> Record:
    with start(directory) as child:
        assert child.wait() == 0
    return Record.model_validate_json((directory / RECORD_FILE).read_bytes())


def test_killed_at_the_fourth_cycle(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    given = prepare(tmp_path / "one", kept)
    with start(tmp_path / "one") as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (read_progress(tmp_path / "one") or {"step": 0})["step"] < 4:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    found = load(kept, fingerprint_of(given), SCF).checkpoint
    assert found is not None
    assert found.values["cycles"] in (3, 4)
    assert not (tmp_path / "one" / MANIFEST_FILE).exists()

    prepare(tmp_path / "two", kept)
    again = finish(tmp_path / "two")
    prepare(tmp_path / "whole", tmp_path / "nothing kept")
    fresh = finish(tmp_path / "whole")
    assert again.energy_hartree == pytest.approx(fresh.energy_hartree, abs=1e-8)
    assert again.convergence.cycles < fresh.convergence.cycles
    assert again.provenance.continued == {"scf_cycles": found.values["cycles"]}
    assert fresh.provenance.continued is None
    assert again.warnings == []

    # the MANIFEST has the hash of each file, and the orbitals are compressed
    manifest = json.loads((tmp_path / "two" / MANIFEST_FILE).read_bytes())
    assert (manifest["schema_version"], manifest["calculation"]) == (1, given.id)
    assert set(manifest["files"]) == {RECORD_FILE, ORBITAL_FILE}
    for name, said in manifest["files"].items():
        data = (tmp_path / "two" / name).read_bytes()
        assert said == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert again.orbitals is not None
    assert again.orbitals.sha256 == manifest["files"][ORBITAL_FILE]["sha256"]
    with np.load(tmp_path / "two" / ORBITAL_FILE) as stored:
        arrays = dict(stored)
    assert arrays["coefficients_restricted"].shape == (13, 5)
    plain = io.BytesIO()
    np.savez(plain, **arrays)
    assert again.orbitals.bytes < len(plain.getvalue())


NURSERY = """
import os, signal, sys
from pathlib import Path
import numpy as np
from alkaflow.workflows.scf_checkpoint import ScfKeeper

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    keeper, step = ScfKeeper(Path(sys.argv[1]), "mine", clock=lambda: 0.0), int(line)
    while True:
        step += 1
        stamped = {"mo_coeff": np.full((2, 400, 400), float(step)), "mo_occ": np.ones((2, 400)), "e_tot": float(step)}
        keeper._positions = np.full((50, 3), float(step))
        keeper._cycles = step - 1
        keeper(stamped, [])
"""


def test_a_hundred_kills_while_orbitals_are_saved(tmp_path: Path) -> None:
    """Two spins of 400 x 400: both generations are whole, of one iteration each, and the newest is never an older."""
    randomness, step = np.random.default_rng(5), 0
    newest = generations(tmp_path, SCF)[0]

    def written() -> int:
        try:
            return newest.stat().st_ino
        except FileNotFoundError:
            return 0

    def stamps() -> list[int]:
        found = []
        for path in generations(tmp_path, SCF):
            if path.exists():
                whole = checkpoints._decoded(path.read_bytes())  # raises where it is not
                stamp = whole.values["cycles"]
                assert whole.values["energy_hartree"] == stamp
                for name in ("positions", "coefficients_alpha", "coefficients_beta"):
                    assert (whole.arrays[name] == stamp).all()
                assert whole.arrays["coefficients_beta"].shape == (400, 400)
                found.append(stamp)
        return found

    command = [sys.executable, "-c", NURSERY, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        assert nursery.stdout.readline() == "ready\n"
        for _ in range(100):
            before, deadline = written(), time.monotonic() + 60
            print(step, file=nursery.stdin, flush=True)
            writer = int(nursery.stdout.readline())
            while written() in (0, before) and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(randomness.uniform(0, 0.04))
            os.kill(writer, signal.SIGKILL)
            while Path(f"/proc/{writer}").exists():
                time.sleep(0.0005)
            found = stamps()
            assert found == sorted(set(found), reverse=True)
            assert found[0] > step
            step = found[0]
        nursery.stdin.close()
