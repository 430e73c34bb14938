"""A DFT relaxation killed with SIGKILL at random moments: does it find the same minimum, and what does a kill cost?

    python benchmarks/kill.py --kills 10 --seed 1

Hydrogen peroxide far from its minimum, at B3LYP-D3(BJ)/STO-3G on a coarse grid. Each process is the one that the worker
starts (``python -m alkaflow.workflows.child``), in a directory of its own, with one directory of checkpoints for all,
as attempts of one calculation have; it is told to note every gradient that it begins. A relaxation that ends before all
kills are spent begins again from nothing. Exit code 1 where energy (1e-5 Hartree), geometry (0.01 Angstrom after
superposition) or the cost of a kill (one gradient) is not as it should be.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alkaflow.calculations import CalculationInput
from alkaflow.levels import parse_level
from alkaflow.records import Record
from alkaflow.structures import FloatArray
from alkaflow.structures.symmetry import best_rotation
from alkaflow.workflows.blas import process_environment
from alkaflow.workflows.checkpoint import last_geometry
from alkaflow.workflows.task import RECORD_FILE, TASK_FILE, Task

ENERGY, DISTANCE = 1e-5, 0.01  # Hartree, Angstrom: what counts as the same minimum
LEVEL = "b3lyp-d3bj/sto-3g"
START = ((0.75, 0.0, 0.0), (-0.72, 0.05, 0.0), (0.9, 0.9, 0.4), (-0.85, -0.6, 0.9))  # Angstrom

NOTED = """
import runpy, sys, time
from alkaflow.workflows.surface import KohnShamGradient
log, evaluate = open(sys.argv[3], "a"), KohnShamGradient.__call__
def noted(self, positions, guess):
    print(time.monotonic(), file=log, flush=True)
    return evaluate(self, positions, guess)
KohnShamGradient.__call__ = noted
runpy.run_module("alkaflow.workflows.child", run_name="__main__", alter_sys=False)
"""
"""The child, with a note for every gradient that it begins."""


@dataclass
class Run:
    """One calculation and its attempts."""

    root: Path
    calculation: CalculationInput
    begun: int = 0
    kills: int = 0
    repeated: list[int] = field(default_factory=list)

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def saved(self) -> int:
        """Gradients in the checkpoint."""
        last = last_geometry(self.checkpoints, self.calculation)
        return 0 if last is None else last.step + 1

    def attempt(self, delay: float | None) -> Record | None:
        """Start a process, kill it so long [s] after its first gradient begins; its record if it ended before."""
        before = self.saved()
        directory = self.root / f"attempt-{len(self.repeated):03d}"
        self.checkpoints.mkdir(exist_ok=True)
        directory.mkdir()
        task = Task(
            calculation=self.calculation,
            positions=self.calculation.positions or (),
            threads=1,
            memory_mb=2000,
            checkpoints=self.checkpoints,
        )
        (directory / TASK_FILE).write_text(task.model_dump_json(), encoding="utf-8")
        notes = directory / "notes"
        notes.touch()
        command = [sys.executable, "-P", "-c", NOTED, str(directory), str(os.getpid()), str(notes)]
        with (directory / "log").open("wb") as log:
            child = subprocess.Popen(
                command, env=process_environment(os.environ, 1), cwd=directory, stdout=log, stderr=subprocess.STDOUT
            )
        while child.poll() is None and delay is not None:
            if notes.stat().st_size:
                time.sleep(delay)
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        child.wait()
        begun = len(notes.read_text().splitlines())
        self.begun += begun
        record = directory / RECORD_FILE
        found = Record.model_validate_json(record.read_bytes()) if record.exists() else None
        now = self.saved()
        if child.returncode == -signal.SIGKILL:
            self.kills += 1
        elif found is None:
            raise SystemExit((directory / "log").read_text() + (directory / "failure.json").read_text())
        self.repeated.append(begun - (now - before))
        return found


def calculation() -> CalculationInput:
    """The relaxation of every run."""
    level = parse_level(LEVEL).model_copy(update={"grid": 1, "energy_threshold": 1e-9})
    given = {"step": "relax", "level": level, "charge": 0, "multiplicity": 1}
    return CalculationInput.model_validate(given | {"symbols": ("O", "O", "H", "H"), "positions": START})


def deviation(one: Record, other: Record) -> float:
    """Largest distance of an atom from its counterpart after superposition [Angstrom]."""
    a, b = (centred(np.array(each.positions_angstrom)) for each in (one, other))
    return float(np.linalg.norm(a @ best_rotation(a, b).T - b, axis=1).max())


def centred(positions: FloatArray) -> FloatArray:
    moved: FloatArray = positions - positions.mean(axis=0)
    return moved


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="alkaflow-kill-") as folder:
        root = Path(folder)
        (root / "whole").mkdir()
        whole = Run(root / "whole", calculation())
        reference = whole.attempt(None)
        assert reference is not None
        gradients = len(reference.energies_along_relaxation)
        pace = reference.provenance.seconds["total"] / gradients
        moments: list[float] = []
        runs: list[tuple[Run, Record]] = []
        while (spent := sum(run.kills for run, _ in runs)) < options.kills:
            (root / f"killed-{len(runs)}").mkdir()
            run, record = Run(root / f"killed-{len(runs)}", calculation()), None
            while record is None:
                delay = None
                if spent + run.kills < options.kills:
                    moments.append(float(random.uniform(0, 2 * pace)))
                    delay = moments[-1]
                record = run.attempt(delay)
            runs.append((run, record))
    energies = [abs(record.energy_hartree - reference.energy_hartree) for _, record in runs]
    distances = [deviation(record, reference) for _, record in runs]
    repeated = [count for run, _ in runs for count in run.repeated]
    found = {
        "kills": spent,
        "seed": options.seed,
        "relaxations": len(runs),
        "gradients_uninterrupted": gradients,
        "gradients_begun": [run.begun for run, _ in runs],
        "repeated_by_attempt": repeated,
        "energy_difference_hartree": max(energies),
        "largest_displacement_angstrom": max(distances),
        "seconds_per_gradient": round(pace, 3),
        "moments_s": [round(moment, 3) for moment in moments],
    }
    print(json.dumps(found) if options.json else "\n".join(f"{key:<30} {value}" for key, value in found.items()))
    good = max(energies) < ENERGY and max(distances) < DISTANCE and max(repeated) <= 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
