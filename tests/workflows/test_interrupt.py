"""SIGUSR1 asks the process that computes to stop: it does so soon, says so, and what it had reached is gone on with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput, Fragment
from alkaflow.levels import KohnSham, Xtb, parse_level
from alkaflow.records import Record
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows import interrupt
from alkaflow.workflows.checkpoint import load
from alkaflow.workflows.frequencies import analytic_hessian, hessian_by_differences
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.progress import Progress, read_progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.relaxation import relax
from alkaflow.workflows.scf_checkpoint import SCF
from alkaflow.workflows.stability import check_stability
from alkaflow.workflows.states import Found, search_states
from alkaflow.workflows.surface import Evaluation, KohnShamGradient
from alkaflow.workflows.task import FAILURE_FILE, INTERRUPTED, MANIFEST_FILE, RECORD_FILE, TASK_FILE, Task
from alkaflow.workflows.xtb_engine import run_xtb

SOON = 5.0  # seconds; a cycle here takes a quarter of one
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))


@pytest.fixture
def listening() -> Iterator[None]:
    """This process hears SIGUSR1 as the child does; afterwards nothing is asked for any more."""
    before = signal.getsignal(signal.SIGUSR1)
    interrupt.install()
    yield
    interrupt.install()
    signal.signal(signal.SIGUSR1, before)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


class AsksAt(Progress):
    """Asks this process to stop at a report."""

    def __init__(self, directory: Path, number: int) -> None:
        super().__init__(directory)
        self.left = number

    def report(self, stage: str, step: int, energy_hartree: float, **details: float) -> None:
        super().report(stage, step, energy_hartree, **details)
        self.left -= 1
        if not self.left:
            ask()


def level(text: str = "b3lyp/6-31g", **changes: object) -> KohnSham:
    return KohnSham.model_validate(parse_level(text).model_dump() | {"grid": 1} | changes)


# --- the signal -------------------------------------------------------------------------------------------------------


def test_a_request_is_remembered_until_a_safe_point(listening: None) -> None:
    interrupt.check()
    assert not interrupt.requested()
    ask()
    assert interrupt.requested()
    with pytest.raises(interrupt.Interrupted):
        interrupt.check()
    with pytest.raises(interrupt.Interrupted):  # still asked for
        interrupt.check()
    interrupt.install()
    interrupt.check()


def test_nothing_that_handles_errors_takes_it() -> None:
    assert not issubclass(interrupt.Interrupted, Exception)


def test_one_that_was_blocked_until_now_counts(listening: None) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    signal.raise_signal(signal.SIGUSR1)  # to this thread: another one may not block it
    assert not interrupt.requested()
    interrupt.install()
    assert interrupt.requested()


def test_long_work_of_which_nothing_can_be_saved_ends_at_once(listening: None) -> None:
    begin = time.monotonic()
    asking = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -USR1 {os.getpid()}"])
    with pytest.raises(interrupt.Interrupted), interrupt.at_once():
        time.sleep(20)
    assert time.monotonic() - begin < SOON
    asking.wait()
    with pytest.raises(interrupt.Interrupted), interrupt.at_once():
        raise AssertionError("asked for before, it does not begin")


def test_after_such_work_a_request_waits_again(listening: None) -> None:
    with interrupt.at_once():
        pass
    ask()
    assert interrupt.requested()


# --- each kind of work ------------------------------------------------------------------------------------------------


def spring(positions: FloatArray, guess: Guess | None) -> Evaluation:
    """Two atoms on a Morse curve with its minimum at 1.4 bohr."""
    arrow = positions[1] - positions[0]
    length = float(np.linalg.norm(arrow))
    decay = np.exp(1.4 - length)
    force = 0.4 * (1 - decay) * decay * arrow / length
    return Evaluation(0.2 * float(1 - decay) ** 2, np.array([-force, force]))


def test_a_relaxation_stops_after_a_gradient_and_goes_on(tmp_path: Path, listening: None) -> None:
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.1]]))
    asked: dict[str, Any] = {"directory": tmp_path, "fingerprint": "mine"}
    with pytest.raises(interrupt.Interrupted):
        relax(pair, spring, progress=AsksAt(tmp_path, 2), **asked)
    interrupt.install()
    again = relax(pair, spring, progress=Progress(tmp_path), **asked)
    assert again.resumed == 2
    (tmp_path / "whole").mkdir()
    whole = relax(pair, spring, progress=Progress(tmp_path), directory=tmp_path / "whole", fingerprint="mine")
    assert again.energies == pytest.approx(whole.energies, abs=1e-12)


def test_differences_stop_between_displacements_and_go_on(tmp_path: Path, listening: None) -> None:
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.74]]))
    calls = [0]

    def counted(positions: FloatArray, guess: Guess | None) -> Evaluation:
        calls[0] += 1
        if calls[0] == 5:
            ask()
        return spring(positions, guess)

    asked: dict[str, Any] = {"directory": tmp_path, "fingerprint": "mine", "progress": Progress(tmp_path)}
    with pytest.raises(interrupt.Interrupted):
        hessian_by_differences(pair, counted, **asked)
    assert calls[0] == 5
    interrupt.install()
    hessian_by_differences(pair, counted, **asked)
    assert calls[0] == 13  # one for the geometry itself, two for each of six coordinates: none twice


def test_an_analytic_hessian_stops_at_once(tmp_path: Path, listening: None, monkeypatch: pytest.MonkeyPatch) -> None:
    surface = KohnShamGradient(WATER, level("b3lyp/sto-3g", grid=0), 1000, Progress(tmp_path))
    solved = surface.mean_field.Hessian

    def asked_meanwhile() -> Any:
        ask()
        return solved()

    monkeypatch.setattr(surface.mean_field, "Hessian", asked_meanwhile, raising=False)
    with pytest.raises(interrupt.Interrupted):
        analytic_hessian(WATER, surface, None)


def test_a_gradient_is_not_begun_after_the_request(tmp_path: Path, listening: None) -> None:
    surface = KohnShamGradient(WATER, level("b3lyp/sto-3g", grid=0), 1000, AsksAt(tmp_path, 3))
    with pytest.raises(interrupt.Interrupted):
        surface(WATER.positions / 0.529177210544, None)
    assert surface.cycles == 3  # within the SCF, even


def test_a_search_of_states_stops_and_goes_on(tmp_path: Path, listening: None) -> None:
    structure = Structure(("He", "H", "H"), np.array([[0, 4.0, 0], [-2.0, 0, 0], [2.0, 0, 0]]))
    parts = [Fragment(atoms=(k,), charge=0, multiplicity=1 + bool(k)) for k in range(3)]
    cheap, kept = level("b3lyp/sto-3g", grid=0), {}

    def report(stage: str, number: int, energy: float) -> None:
        if number == 2:
            ask()

    def keep(found: Found) -> None:
        kept.clear()
        kept.update(found)

    with pytest.raises(interrupt.Interrupted):
        search_states(structure, cheap, parts, 1000, report, keep=keep)
    assert sum(map(len, kept.values())) >= 1
    interrupt.install()
    seen: list[str] = []
    again = search_states(structure, cheap, parts, 1000, found=kept, keep=lambda found: seen.append(list(found)[-1]))
    assert not set(kept) & set(seen)
    whole = search_states(structure, cheap, parts, 1000)
    assert [state.energy for state in again] == pytest.approx([state.energy for state in whole], abs=1e-6)


def test_a_test_of_stability_stops(listening: None) -> None:
    mean_field = build_mean_field(build_molecule(WATER, level("b3lyp/sto-3g"), 1000), level("b3lyp/sto-3g"))
    set_grid(mean_field, 0)
    mean_field.kernel()
    assert check_stability(mean_field).stable
    ask()
    with pytest.raises(interrupt.Interrupted):
        check_stability(mean_field)


def test_an_xtb_relaxation_stops_between_steps(tmp_path: Path, listening: None) -> None:
    progress = AsksAt(tmp_path, 3)
    with pytest.raises(interrupt.Interrupted):
        run_xtb(WATER, Xtb(), True, progress)
    told = read_progress(tmp_path)
    assert told is not None
    assert told["step"] == 2


# --- the process that computes ----------------------------------------------------------------------------------------


class Attempt:
    """A child at work in a directory of its own; all attempts share their checkpoints."""

    def __init__(self, root: Path, name: str, **content: Any) -> None:
        slow = level("b3lyp/6-31g", grid=(150, 974))
        given = {"step": "energy", "level": slow, "charge": 0, "multiplicity": 1, "symbols": WATER.symbols}
        given |= {"positions": WATER.positions.tolist()} | content
        self.kept, self.directory = root / "kept", root / name
        self.kept.mkdir(exist_ok=True)
        self.directory.mkdir()
        calculation = CalculationInput.model_validate(given)
        task = Task(
            calculation=calculation,
            positions=calculation.positions or (),
            threads=1,
            memory_mb=1000,
            checkpoints=self.kept,
        )
        (self.directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "alkaflow.workflows.child", str(self.directory), str(os.getpid())]
        return subprocess.Popen(command, cwd=self.directory, env=os.environ | {"OMP_NUM_THREADS": "1"})

    def interrupted(self, when: Callable[[int], bool]) -> float:
        """Run, ask to stop when a condition on its process holds; the seconds from there to its end."""
        with self.start() as child:
            deadline = time.monotonic() + 60
            while not when(child.pid):
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.002)
            child.send_signal(signal.SIGUSR1)
            asked = time.monotonic()
            child.wait()
        assert child.returncode == INTERRUPTED == 75
        for name in (RECORD_FILE, FAILURE_FILE, MANIFEST_FILE):
            assert not (self.directory / name).exists()
        return time.monotonic() - asked

    def finished(self) -> Record:
        with self.start() as child:
            assert child.wait() == 0
        return Record.model_validate_json((self.directory / RECORD_FILE).read_bytes())

    def reports(self, stage: str, step: int) -> Callable[[int], bool]:
        def reached(_: int) -> bool:
            told = read_progress(self.directory)
            return told is not None and told["stage"] == stage and told["step"] >= step

        return reached


def hears(pid: int) -> bool:
    """Whether a process has a handler for SIGUSR1."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGUSR1 - 1) & 1)


def test_asked_within_an_scf(tmp_path: Path) -> None:
    first = Attempt(tmp_path, "one")
    assert first.interrupted(first.reports("SCF cycle", 4)) < SOON
    assert (tmp_path / "kept" / f"{SCF}.checkpoint").exists()
    again = Attempt(tmp_path, "two").finished()
    assert again.provenance.continued is not None
    assert again.provenance.continued["scf_cycles"] >= 4
    whole_root = tmp_path / "whole"
    whole_root.mkdir()
    whole = Attempt(whole_root, "one").finished()
    assert again.convergence.cycles < whole.convergence.cycles
    assert again.energy_hartree == pytest.approx(whole.energy_hartree, abs=1e-8)


def test_asked_within_a_relaxation(tmp_path: Path) -> None:
    quick = {"step": "relax", "level": level("b3lyp/sto-3g", grid=(75, 434))}
    first = Attempt(tmp_path, "one", **quick)
    assert first.interrupted(first.reports("relaxation step", 1)) < SOON
    second = Attempt(tmp_path, "two", **quick)
    assert second.interrupted(second.reports("SCF cycle", 2)) < SOON
    again = Attempt(tmp_path, "three", **quick).finished()
    assert again.provenance.continued is not None
    assert again.provenance.continued["gradients"] >= 2
    assert again.provenance.continued["scf_cycles"] >= 2
    whole_root = tmp_path / "whole"
    whole_root.mkdir()
    whole = Attempt(whole_root, "one", **quick).finished()
    assert whole.provenance.continued is None
    assert len(again.energies_along_relaxation) == len(whole.energies_along_relaxation)
    assert again.energies_along_relaxation == pytest.approx(whole.energies_along_relaxation, abs=1e-7)
    assert again.warnings == whole.warnings == []


def test_asked_before_it_has_begun(tmp_path: Path) -> None:
    """While libraries are loaded: the calculation is not begun."""
    first = Attempt(tmp_path, "one")
    assert first.interrupted(hears) < SOON
    assert list((tmp_path / "kept").iterdir()) == []
    assert read_progress(first.directory) is None


def test_frequencies_that_were_stopped(tmp_path: Path) -> None:
    asked = {"step": "frequencies", "level": level("b3lyp/sto-3g", grid=(75, 434))}
    first = Attempt(tmp_path, "one", **asked)
    assert first.interrupted(first.reports("SCF cycle", 4)) < SOON
    again = Attempt(tmp_path, "two", **asked).finished()
    whole_root = tmp_path / "whole"
    whole_root.mkdir()
    whole = Attempt(whole_root, "one", **asked).finished()
    assert again.provenance.continued is not None
    assert again.convergence.cycles < whole.convergence.cycles
    assert again.vibrations is not None
    assert whole.vibrations is not None
    assert again.vibrations.wavenumbers == pytest.approx(whole.vibrations.wavenumbers, abs=0.1)


def test_only_its_own_checkpoint_is_there_after_a_stop(tmp_path: Path) -> None:
    first = Attempt(tmp_path, "one")
    first.interrupted(first.reports("SCF cycle", 1))
    found, notes = load(tmp_path / "kept", "somebody else", SCF)
    assert found is None
    assert "another calculation" in notes[0]
