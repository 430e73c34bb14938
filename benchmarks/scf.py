"""Cold single points at the published level against PySCF as it comes, and what a Fock matrix is made of.

    python benchmarks/scf.py                            # whole SCFs of Li in a bay of 2,2'-bipyrimidine
    python benchmarks/scf.py --exact                    # also against PySCF without density fitting
    python benchmarks/scf.py --parts --system hatcn     # potential, Coulomb, exchange, fitting: ours and PySCF's

Every SCF is a process of its own. Ours has the environment that calculations have (BLAS kernel by the processor's
flags); PySCF's has the libraries' own choice and its own defaults: convergence to 1e-9 Hartree, one grid throughout.
Both use the pruned (99,590) grid, Gaussian's B3LYP, two-body D3(BJ) and, with fitting, def2-universal-jkfit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from difficult import bipyrimidine

from alkaflow.levels import KohnSham
from alkaflow.structures import Structure, build_complex, find_sites, hatcn
from alkaflow.workflows.blas import cpu_model, loaded_blas, process_environment
from alkaflow.workflows.protocols import get_protocol

FITTING = "def2-universal-jkfit"


def li_in_bipyrimidine() -> Structure:
    both = bipyrimidine().structure
    return Structure(both.symbols[:-1], both.positions[:-1], 0, 2)


def li_on_hatcn() -> Structure:
    host = hatcn()
    return build_complex(host, "Li", next(site for site in find_sites(host, "Li") if site.kind == "bay")).structure


SYSTEMS = {"bipyrimidine": li_in_bipyrimidine, "hatcn": li_on_hatcn}


def published() -> KohnSham:
    level = get_protocol("published-sp").energy
    assert isinstance(level, KohnSham)
    return level


# --- whole SCFs ------------------------------------------------------------------------------------------------------


def ours(structure: Structure, memory_mb: int) -> dict[str, Any]:
    from alkaflow.workflows.progress import Progress
    from alkaflow.workflows.pyscf_engine import run_scf

    with tempfile.TemporaryDirectory() as folder:
        found = run_scf(structure, published(), memory_mb, Progress(Path(folder)))
    return {"energy": found.energy, "cycles": found.convergence.cycles}


def stock(structure: Structure, memory_mb: int, fitted: bool) -> dict[str, Any]:
    from pyscf import dft, gto

    atoms = [(symbol, tuple(place)) for symbol, place in zip(structure.symbols, structure.positions, strict=True)]
    molecule = gto.M(atom=atoms, basis="6-311g(d,p)", spin=structure.multiplicity - 1, verbose=0, max_memory=memory_mb)
    mean_field = dft.UKS(molecule, xc="b3lyp")
    if fitted:
        mean_field = mean_field.density_fit(auxbasis=FITTING)
    mean_field.disp = "d3bj"
    mean_field.grids.atom_grid = (99, 590)
    energy = mean_field.kernel()
    assert mean_field.converged
    return {"energy": float(energy), "cycles": int(mean_field.cycles)}


METHODS: dict[str, Callable[[Structure, int], dict[str, Any]]] = {
    "ours": ours,
    "fitted": lambda structure, memory: stock(structure, memory, fitted=True),
    "exact": lambda structure, memory: stock(structure, memory, fitted=False),
}


def child(method: str, system: str, memory_mb: int) -> None:
    begin = time.perf_counter()
    found = METHODS[method](SYSTEMS[system](), memory_mb)
    found |= {"seconds": time.perf_counter() - begin, "processor": time.process_time()}
    blas = [f"{each['library'].partition('-')[0]} {each.get('kernel') or ''}".strip() for each in loaded_blas()]
    print(json.dumps(found | {"blas": blas}))


def run(method: str, system: str, threads: int, memory_mb: int) -> dict[str, Any]:
    environment = dict(os.environ)
    environment.pop("OPENBLAS_CORETYPE", None)
    environment = process_environment(environment, threads, "auto" if method == "ours" else "keep")
    words = [sys.executable, __file__, "--child", method, "--system", system, "--memory", str(memory_mb)]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def whole(system: str, methods: list[str], repeats: int, threads: int, memory_mb: int) -> None:
    rounds: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for _ in range(repeats):
        for method in methods:
            if method == "exact" and rounds[method]:
                continue  # once is long enough
            rounds[method].append(run(method, system, threads, memory_mb))
            last = rounds[method][-1]
            print(
                f"{method:<8} {last['seconds']:8.1f} s, processor {last['processor']:8.1f} s, {last['cycles']} cycles, "
                f"{last['energy']:.7f} Hartree, load {os.getloadavg()[0]:.1f}, {', '.join(last['blas'])}",
                flush=True,
            )
    for method in methods[1:]:
        for what in ("seconds", "processor"):
            ratio = median(found[what] for found in rounds["ours"]) / median(found[what] for found in rounds[method])
            print(f"ours / {method}, {what}: {ratio:.3f}")


# --- parts -----------------------------------------------------------------------------------------------------------


def gemm_rate(size: int = 2000) -> float:
    """Operations per second of NumPy's product of matrices, the best of five."""
    a = np.random.default_rng(0).random((size, size))
    rates = []
    for _ in range(5):
        begin = time.perf_counter()
        a @ a
        rates.append(2 * size**3 / (time.perf_counter() - begin))
    return max(rates)


def clocked(call: Callable[[], Any]) -> tuple[float, float]:
    begin = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def parts(system: str, repeats: int, memory_mb: int) -> None:
    from pyscf import lib
    from pyscf.dft import numint

    from alkaflow.workflows.fitted_repulsion import coulomb_and_exchange
    from alkaflow.workflows.orbital_tags import occupied
    from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule, set_grid
    from alkaflow.workflows.quadrature import Quadrature

    level = published()
    mean_field = build_mean_field(build_molecule(SYSTEMS[system](), level, memory_mb), level)
    set_grid(mean_field, 3)
    mean_field.max_cycle = 1
    mean_field.kernel()
    density = mean_field.make_rdm1()
    molecule, grids = mean_field.mol, mean_field.grids
    orbitals = occupied(density)
    assert orbitals is not None
    vectors = mean_field.with_df._cderi  # noqa: SLF001  (where PySCF keeps them)
    rate = gemm_rate()
    rows, columns = len(vectors), molecule.nao
    limit = sum(4 * rows * columns**2 * c.shape[1] for c in orbitals) / rate
    print(
        f"{system} with Li, {level}, grid level 3: {columns} functions, {rows} fitting functions, {grids.size} points; "
        f"{lib.num_threads()} threads, {rate / 1e9:.0f} GF/s; exchange at that rate {limit:.2f} s"
    )
    mine, theirs = Quadrature(), numint.NumInt()
    calls = {
        "potential": (
            lambda: mine.nr_uks(molecule, grids, mean_field.xc, density, max_memory=memory_mb / 2),
            lambda: theirs.nr_uks(molecule, grids, mean_field.xc, density, max_memory=memory_mb / 2),
        ),
        "Coulomb and exchange": (
            lambda: coulomb_and_exchange(vectors, np.asarray(density), orbitals),
            lambda: mean_field.with_df.get_jk(density),
        ),
    }
    for name, (own, pyscf) in calls.items():
        own(), own()  # the second pass keeps values of functions
        rounds = [(clocked(own), clocked(pyscf)) for _ in range(repeats)]
        wall, processor = ([median(pair[side][clock] for pair in rounds) for side in (0, 1)] for clock in (0, 1))
        more = f", {wall[0] / limit:.2f} and {wall[1] / limit:.2f} of the limit" if "exchange" in name else ""
        print(
            f"{name:<22} {wall[0]:7.2f} s, PySCF {wall[1]:7.2f} s: {wall[0] / wall[1]:.3f}; processor "
            f"{processor[0]:.2f}, {processor[1]:.2f} s: {processor[0] / processor[1]:.3f}{more}, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"fitting {clocked(lambda: mean_field.with_df.reset().build())[0]:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="bipyrimidine")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", type=int, default=12000)
    parser.add_argument("--child", choices=METHODS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.system, asked.memory)
        return
    if asked.parts and os.environ.get("ALKAFLOW_BENCHMARK") != "parts":
        environment = process_environment(os.environ, asked.threads) | {"ALKAFLOW_BENCHMARK": "parts"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606
    packages = ", ".join(f"{name} {version(name)}" for name in ("alkaflow", "numpy", "scipy", "pyscf"))
    print(f"python {sys.version.split()[0]}, {packages}; {cpu_model()}, {asked.threads} threads")
    if asked.parts:
        parts(asked.system, asked.repeats, asked.memory)
    else:
        methods = ["ours", "fitted", *(["exact"] if asked.exact else [])]
        whole(asked.system, methods, asked.repeats, asked.threads, asked.memory)


if __name__ == "__main__":
    main()
