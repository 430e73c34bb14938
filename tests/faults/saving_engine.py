"""An engine that saves something in every job, and ends only where it is told to.

``again`` is the SCF that it saved before, ``cycle`` one that is nearer to its end, ``step`` a step of a relaxation.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from alkaflow.workflows import interrupt
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, fingerprint_of, load, save
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.task import INTERRUPTED, TASK_FILE, Task

SCF = "scf"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("parent", type=int)
    parser.add_argument("what", choices=["again", "cycle", "step", "nothing"])
    options = parser.parse_args()
    interrupt.install()
    interrupt.die_with_parent(options.parent)
    task = Task.model_validate_json((options.directory / TASK_FILE).read_bytes())
    assert task.checkpoints is not None
    fingerprint = fingerprint_of(task.calculation)
    if options.what == "step":
        save_step(task.checkpoints, fingerprint)
    elif options.what != "nothing":
        save_cycle(task.checkpoints, fingerprint, lower=options.what == "cycle")
    progress = Progress(options.directory)
    try:
        while True:
            progress.report("SCF cycle", 1, -1.0)
            interrupt.check()
            time.sleep(0.05)
    except interrupt.Interrupted:
        return INTERRUPTED


def save_step(checkpoints: Path, fingerprint: str) -> None:
    """A further step of a relaxation."""
    before = load(checkpoints, fingerprint, RELAXATION).checkpoint
    energies = [*(before.arrays["energies"] if before else []), -1.0]
    arrays = {"energies": np.array(energies), "positions": np.zeros((len(energies), 2, 3))}
    save(checkpoints, Checkpoint(fingerprint, {}, arrays), RELAXATION)


def save_cycle(checkpoints: Path, fingerprint: str, lower: bool) -> None:
    """One more cycle of an SCF, at a lower energy or where it was but for the last digits."""
    before = load(checkpoints, fingerprint, SCF).checkpoint
    cycles = before.values["cycles"] if before else 7
    energy = before.values["energy_hartree"] if before else -1.0
    situation = {"stage": 0, "corrections": [], "tested": 0, "stability": None}
    values = {"cycles": cycles + 1, "energy_hartree": energy - (0.1 if lower else 1e-11), "situation": situation}
    save(checkpoints, Checkpoint(fingerprint, values, {}), SCF)


if __name__ == "__main__":
    sys.exit(main())
