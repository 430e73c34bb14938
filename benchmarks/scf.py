"""Cold single points at the published level against PySCF as it comes.

    python benchmarks/scf.py                            # whole SCFs of Li in a bay of 2,2'-bipyrimidine
    python benchmarks/scf.py --exact                    # also against PySCF without density fitting
    python benchmarks/scf.py --cycle --system hatcn     # one cycle: ours, and PySCF's with its own BLAS kernel
    python benchmarks/scf.py --cycle --exact            # the same beside a first cycle without density fitting

Every SCF is a process of its own. Ours has the environment that calculations have (BLAS kernel by the processor's
flags); PySCF's has the libraries' own choice and its own defaults: convergence to 1e-9 Hartree, one grid throughout.
Both use the pruned (99,590) grid, Gaussian's B3LYP, two-body D3(BJ) and, with fitting, def2-universal-jkfit.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from measure import Measured, Run, clocked, end, is_child, run_child, started
from systems import FITTING, SYSTEMS, published

from alkaflow.structures import Structure

GRID = 3  # of cycles


# --- whole SCFs ------------------------------------------------------------------------------------------------------


def ours(structure: Structure, memory_mb: int) -> dict[str, Any]:
    """Energy [Hartree] and cycles of ours at the published level."""
    from alkaflow.workflows.progress import Progress
    from alkaflow.workflows.pyscf_engine import run_scf

    with tempfile.TemporaryDirectory() as folder:
        found = run_scf(structure, published(), memory_mb, Progress(Path(folder)))
    return {"energy": found.energy, "cycles": found.convergence.cycles}


def stock_object(structure: Structure, memory_mb: int, fitted: bool) -> Any:
    """PySCF's, with nothing but functional, basis and dispersion chosen."""
    from pyscf import dft, gto

    atoms = [(symbol, tuple(place)) for symbol, place in zip(structure.symbols, structure.positions, strict=True)]
    molecule = gto.M(atom=atoms, basis="6-311g(d,p)", spin=structure.multiplicity - 1, verbose=0, max_memory=memory_mb)
    mean_field = dft.UKS(molecule, xc="b3lyp")
    if fitted:
        mean_field = mean_field.density_fit(auxbasis=FITTING)
    mean_field.disp = "d3bj"
    return mean_field


def stock(structure: Structure, memory_mb: int, fitted: bool) -> dict[str, Any]:
    """The same of PySCF with its defaults."""
    mean_field = stock_object(structure, memory_mb, fitted)
    mean_field.grids.atom_grid = (99, 590)
    energy = mean_field.kernel()
    assert mean_field.converged
    return {"energy": float(energy), "cycles": int(mean_field.cycles)}


# --- one cycle -------------------------------------------------------------------------------------------------------


def cycle(structure: Structure, memory_mb: int, fast: bool, fitted: bool = True, repeats: int = 3) -> dict[str, Any]:
    """Seconds of a Fock matrix from orbitals, grid level 3, a median; the guess's matrix sets everything up before."""
    from alkaflow.workflows.device import Cpu
    from alkaflow.workflows.orbital_tags import with_orbitals

    mean_field = stock_object(structure, memory_mb, fitted)
    molecule = mean_field.mol
    core, overlap = mean_field.get_hcore(), mean_field.get_ovlp()
    with Cpu(fast).kernels(mean_field):
        guess = with_orbitals(mean_field.get_init_guess())
        orbitals = mean_field.eig(mean_field.get_fock(core, overlap, dm=guess), overlap)
        density = mean_field.make_rdm1(orbitals[1], mean_field.get_occ(*orbitals))
        seconds = [clocked(lambda: mean_field.get_veff(molecule, density)) for _ in range(repeats)]
    return {"seconds": median(seconds), "functions": int(molecule.nao), "points": int(mean_field.grids.size)}


METHODS: dict[str, Callable[[Structure, int], dict[str, Any]]] = {
    "ours": ours,
    "fitted": lambda structure, memory: stock(structure, memory, fitted=True),
    "exact": lambda structure, memory: stock(structure, memory, fitted=False),
    "our cycle": lambda structure, memory: cycle(structure, memory, fast=True),
    "fitted cycle": lambda structure, memory: cycle(structure, memory, fast=False, repeats=2),
    "exact cycle": lambda structure, memory: cycle(structure, memory, fast=False, fitted=False, repeats=1),
}


def run(method: str, asked: argparse.Namespace) -> Run:
    """Time one method in a process of its own."""
    words = ["--system", asked.system, "--memory", str(asked.memory)]
    return run_child(__file__, method, words, asked.threads, method.startswith("our"))


def cycles(asked: argparse.Namespace) -> list[Measured]:
    """Compare one cycle."""
    baseline = "exact cycle" if asked.exact else "fitted cycle"
    mine, other = (run(method, asked).found for method in ("our cycle", baseline))
    more = {"functions": mine["functions"], "points": mine["points"]}
    more |= {"ours_blas": mine["blas"], "baseline_blas": other["blas"]}
    what, target = ("without density fitting", None) if asked.exact else ("density fitting", 0.4)
    on = f"{asked.system} + Li"
    return [Measured(f"one SCF cycle / stock {what}", on, mine["seconds"], other["seconds"], "s", target, more)]


def whole(asked: argparse.Namespace) -> list[Measured]:
    """Compare whole SCFs."""
    methods = ["ours", "fitted", *(["exact"] if asked.exact else [])]
    rounds: dict[str, list[Run]] = {method: [] for method in methods}
    for _ in range(asked.repeats):
        for method in methods:
            if method == "exact" and rounds[method]:
                continue  # once is long enough
            one = run(method, asked)
            rounds[method].append(one)
            print(
                f"{method:<8} {one.seconds:8.1f} s, processor {one.processor:8.1f} s, {one.found['cycles']} cycles, "
                f"{one.found['energy']:.7f} Hartree, load {one.load:.1f}, {', '.join(one.found['blas'])}",
                flush=True,
            )
    targets = {"fitted": ("stock density fitting", 0.4), "exact": ("stock without density fitting", 0.1)}
    return [
        Measured.of_runs(
            f"cold single point / {targets[method][0]}",
            f"{asked.system} + Li",
            {"ours": rounds["ours"], method: rounds[method]},
            targets[method][1],
            {"cycles": [rounds[each][-1].found["cycles"] for each in ("ours", method)]},
        )
        for method in methods[1:]
    ]


def main() -> None:
    """Compare and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="bipyrimidine")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--cycle", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    asked = started(parser)
    if is_child(asked):
        end(METHODS[asked.child](SYSTEMS[asked.system](), asked.memory))
        return
    end(cycles(asked) if asked.cycle else whole(asked), asked)


if __name__ == "__main__":
    main()
