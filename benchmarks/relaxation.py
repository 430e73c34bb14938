"""Whole relaxations at the published level against PySCF with density fitting and geomeTRIC, both as they come.

    python benchmarks/relaxation.py                             # dicyanopyrazine and bipyrimidine, Li on each
    python benchmarks/relaxation.py --system bipyrimidine
    python benchmarks/relaxation.py --limit 900                 # PySCF's is given up after that many seconds
    python benchmarks/relaxation.py --system hatcn              # hours

Both begin with the geometry of the structure builder. Ours are the relaxations of the protocol ``published`` (GFN2-xTB,
6-31G(d), 6-311G(d,p)) with its search of electronic states; PySCF's is ``.density_fit()`` with its own thresholds and
choice of BLAS kernel, and ``pyscf.geomopt.geometric_solver``. Both end on grid level 3, at Gaussian's B3LYP-D3(BJ).
Every relaxation is a process of its own, whose start counts. Where PySCF's is given up, its time and its gradients are
less than it needs, and the ratios upper bounds.
"""

import argparse
import math
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, Run, end, is_child, run_child, started
from systems import FITTING, SYSTEMS

from alkaflow.calculations import CalculationInput, Fragment
from alkaflow.levels import KohnSham
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.directory import GUESS_FILE, ORBITAL_FILE
from alkaflow.workflows.protocols import get_protocol
from alkaflow.workflows.task import Task

SMALL = ("dicyanopyrazine", "bipyrimidine")


def ours(structure: Structure, memory_mb: int, threads: int) -> dict[str, Any]:
    """The relaxations of the protocol, one after the other, as the queue hands them on."""
    from alkaflow.workflows.steps import run_task

    host = len(structure) - 1
    fragments = (
        Fragment(atoms=tuple(range(host)), charge=0, multiplicity=1),
        Fragment(atoms=(host,), charge=0, multiplicity=2),
    )
    positions = tuple(tuple(float(x) for x in place) for place in structure.positions)
    before: CalculationInput | None = None
    steps = []
    for level in get_protocol("published").relaxations:
        with_states = isinstance(level, KohnSham) and level.states
        calculation = CalculationInput(
            step="relax",
            level=level,
            charge=structure.charge,
            multiplicity=structure.multiplicity,
            symbols=structure.symbols,
            positions=positions,
            fragments=fragments if with_states else None,
        )
        task = Task(
            calculation=calculation,
            positions=positions,
            threads=threads,
            memory_mb=memory_mb,
            guess_level=before.level if before else None,
        )
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder)
            if steps and (orbitals := steps[-1].pop("orbitals", None)) is not None:
                (directory / GUESS_FILE).write_bytes(orbitals)
            record = run_task(task, directory)
            written = directory / ORBITAL_FILE
            steps.append(
                {
                    "level": str(level),
                    "energy": record.energy_hartree,
                    "positions": record.positions_angstrom,
                    "gradients": len(record.energies_along_relaxation),
                    "cycles": record.convergence.scf_cycles,
                    "seconds": record.provenance.seconds,
                    "orbitals": written.read_bytes() if written.exists() else None,
                }
            )
        positions = tuple(tuple(place) for place in record.positions_angstrom)
        before = calculation
    steps[-1].pop("orbitals", None)
    return {"steps": steps} | {name: steps[-1][name] for name in ("energy", "positions", "gradients", "cycles")}


class OutOfTimeError(Exception):
    """The baseline is given up."""


def stock(structure: Structure, memory_mb: int, limit: float) -> dict[str, Any]:
    """PySCF's density fitting and geomeTRIC with their defaults."""
    from pyscf import dft, gto
    from pyscf.geomopt import geometric_solver

    atoms = [(symbol, tuple(place)) for symbol, place in zip(structure.symbols, structure.positions, strict=True)]
    molecule = gto.M(atom=atoms, basis="6-311g(d,p)", spin=structure.multiplicity - 1, verbose=0, max_memory=memory_mb)
    mean_field = dft.UKS(molecule, xc="b3lyp").density_fit(auxbasis=FITTING)
    mean_field.disp = "d3bj"
    seen: list[float] = []
    cycles: list[int] = []
    energies: list[float] = []
    last: dict[str, Any] = {}
    begin = time.perf_counter()

    def after_gradient(state: dict[str, Any]) -> None:
        cycles.append(len(seen) - sum(cycles))
        energies.append(float(state["energy"]))
        last["positions"] = state["coords"] * BOHR_ANGSTROM
        if time.perf_counter() - begin > limit:
            raise OutOfTimeError

    mean_field.callback = lambda state: seen.append(state["e_tot"])
    converged = False
    with suppress(OutOfTimeError):
        converged, _ = geometric_solver.kernel(mean_field, callback=after_gradient)
        assert converged
    return {
        "converged": converged,
        "energy": energies[-1],
        "positions": last["positions"].tolist(),
        "gradients": len(energies),
        "cycles": cycles,
    }


def child(asked: argparse.Namespace) -> None:
    """One relaxation, in a process that is timed."""
    structure = SYSTEMS[asked.system[0]]()
    if asked.child == "ours":
        end(ours(structure, asked.memory, asked.threads))
    else:
        end(stock(structure, asked.memory, asked.limit))


def rmsd(one: Any, other: Any) -> float:
    """Root-mean-square distance of atoms after the best rotation [Angstrom] (W. Kabsch, Acta Cryst. A32, 922)."""
    a, b = (np.array(places) - np.mean(places, axis=0) for places in (one, other))
    left, _, right = np.linalg.svd(a.T @ b)
    turned = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    return float(np.sqrt(((a @ left @ turned @ right - b) ** 2).sum() / len(a)))


def tell(method: str, run: Run) -> None:
    """Print what a relaxation took."""
    found = run.found
    later = found["cycles"][1:]
    ended = "" if found.get("converged", True) else ", NOT converged: given up"
    print(
        f"{method:<6} {run.seconds:8.1f} s, processor {run.processor:8.1f} s, peak {run.peak_mb:.0f} MB, load "
        f"{run.load:.1f}: {found['gradients']} gradients, {sum(found['cycles'])} cycles, {np.mean(later):.1f} a step "
        f"after the first, {found['energy']:.6f} Hartree{ended}",
        flush=True,
    )
    for step in found.get("steps", []):
        seconds = ", ".join(f"{name} {value:.1f} s" for name, value in step["seconds"].items())
        print(f"       {step['level']}: {step['gradients']} gradients, cycles {step['cycles']}, {seconds}")
    if method == "PySCF":
        print(f"       cycles {found['cycles']}")


def compare(system: str, asked: argparse.Namespace) -> list[Measured]:
    """Relax a system both ways, and compare seconds, gradients, cycles and minima."""
    rounds: dict[str, list[Run]] = {"ours": [], "PySCF": []}
    words = ["--system", system, "--memory", str(asked.memory), "--limit", str(asked.limit)]
    for _ in range(asked.repeats):
        for method, runs in rounds.items():
            runs.append(run_child(__file__, method, words, asked.threads, method == "ours"))
            tell(method, runs[-1])
    mine, other = rounds["ours"][-1].found, rounds["PySCF"][-1].found
    apart = rmsd(mine["positions"], other["positions"])
    print(f"minima: ours {mine['energy'] - other['energy']:+.1e} Hartree, RMSD {apart:.4f} Angstrom")
    same = {"energy_difference_hartree": mine["energy"] - other["energy"], "rmsd_angstrom": apart}
    same["baseline_converged"] = other["converged"]
    bound = not other["converged"]
    on = f"{system} + Li" + (f" (baseline given up after {asked.limit:.0f} s)" if bound else "")
    count = [sum(found["cycles"][1:]) / len(found["cycles"][1:]) for found in (mine, other)]
    gradients = mine["gradients"], other["gradients"]
    whole = Measured.of_runs("whole relaxation / stock density fitting + geomeTRIC", on, rounds, 0.2, same)
    return [
        replace(whole, bound=bound),
        Measured("gradients at the published level to the minimum", on, *gradients, "", 0.5, bound=bound),
        Measured("SCF cycles per relaxation step after the first", on, *count, "", 0.7),
    ]


def main() -> None:
    """Compare all systems and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, action="append")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds for the baseline")
    asked = started(parser)
    if is_child(asked):
        child(asked)
        return
    rows = [row for system in asked.system or SMALL for row in compare(system, asked)]
    end(rows, asked)


if __name__ == "__main__":
    main()
