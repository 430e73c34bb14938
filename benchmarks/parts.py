"""What one SCF cycle is made of, part by part, ours beside PySCF's with the BLAS kernel that suits the processor.

    python benchmarks/parts.py                                          # Li on HATCN, two methods
    python benchmarks/parts.py --system bipyrimidine --repeats 3
    python benchmarks/parts.py --level pbe-d3bj/def2-svp

The potential is divided into values of functions, density, kernel and matrix. Ours keeps values from the first cycle on
where memory allows, and works on blocks in threads: seconds of its steps are those of all threads divided by their
number. PySCF's are of its own steps, each on all threads. Parts of a gradient: ``gradient.py``.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from measure import Measured, clocked, end, started
from systems import SYSTEMS

from alkaflow.levels import KohnSham, parse_level
from alkaflow.workflows import quadrature
from alkaflow.workflows.blas import process_environment

LEVELS = ("b3lyp-d3bj/6-311g(d,p)", "pbe-d3bj/def2-svp")
GRID = 3
VALUES, DENSITY, KERNEL, MATRIX = "values of functions", "density", "kernel", "matrix of the potential"


def gemm_rate(size: int = 2000) -> float:
    """Operations per second of NumPy's product of matrices, the best of five."""
    a = np.random.default_rng(0).random((size, size))
    return max(2 * size**3 / clocked(partial(np.matmul, a, a)) for _ in range(5))


def timed(function: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    """The function, adding its seconds under a name."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - begin

    return wrapped


@contextmanager
def our_steps(mine: quadrature.Quadrature, spent: Counter[str]) -> Iterator[None]:
    """Time the steps of our potential, of which a block's whole is called its matrix until the others are taken off."""
    with (
        patch.object(quadrature, "values_of", timed(quadrature.values_of, VALUES, spent)),
        patch.object(quadrature, "_density", timed(quadrature._density, DENSITY, spent)),  # noqa: SLF001
        patch.object(mine, "eval_xc_eff", timed(mine.eval_xc_eff, KERNEL, spent)),
        patch.object(mine, "_add", timed(mine._add, MATRIX, spent)),  # noqa: SLF001
    ):
        yield


@contextmanager
def pyscf_steps(theirs: Any, spent: Counter[str]) -> Iterator[None]:
    """Time the steps of PySCF's potential; what is left of its time is the matrix."""
    with (
        patch.object(theirs, "eval_ao", timed(theirs.eval_ao, VALUES, spent)),
        patch.object(theirs, "eval_rho2", timed(theirs.eval_rho2, DENSITY, spent)),
        patch.object(theirs, "eval_xc_eff", timed(theirs.eval_xc_eff, KERNEL, spent)),
    ):
        yield


class Cycle:
    """The first density of a system at a level, and what a Fock matrix of it needs."""

    def __init__(self, asked: argparse.Namespace, text: str) -> None:
        from alkaflow.workflows.grids import set_grid
        from alkaflow.workflows.orbital_tags import occupied
        from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

        level = parse_level(text)
        assert isinstance(level, KohnSham)
        mean_field = build_mean_field(build_molecule(SYSTEMS[asked.system](), level, asked.memory), level)
        set_grid(mean_field, GRID)
        mean_field.max_cycle = 1
        self.fitting_seconds = clocked(mean_field.with_df.build)
        mean_field.kernel()
        self.mean_field, self.repeats, self.memory = mean_field, asked.repeats, asked.memory / 2
        self.density = mean_field.make_rdm1()
        orbitals = occupied(self.density)
        assert orbitals is not None
        self.orbitals = orbitals
        self.vectors = mean_field.with_df._cderi  # noqa: SLF001  (where PySCF keeps them)
        self.hybrid = bool(mean_field._numint.hybrid_coeff(mean_field.xc, spin=1))  # noqa: SLF001
        self.on = f"{asked.system} + Li, {level}"

    def potential(self) -> dict[str, tuple[float, float]]:
        """Seconds of ours and PySCF's: the whole of a later cycle, and the steps of a first one."""
        from pyscf import lib
        from pyscf.dft import numint

        mean_field = self.mean_field
        mine, theirs = quadrature.Quadrature(), numint.NumInt()
        given = (mean_field.mol, mean_field.grids, mean_field.xc, self.density)
        own, pyscf = (partial(each.nr_uks, *given, max_memory=self.memory) for each in (mine, theirs))
        ours, others = Counter[str](), Counter[str]()
        with our_steps(mine, ours):
            own()
        with pyscf_steps(theirs, others):
            others[MATRIX] = clocked(pyscf)
        for spent in (ours, others):
            spent[MATRIX] -= sum(spent[name] for name in (DENSITY, KERNEL))
        others[MATRIX] -= others[VALUES]
        workers = lib.num_threads()
        steps = {name: (ours[name] / workers, others[name]) for name in (VALUES, DENSITY, KERNEL, MATRIX)}
        rounds = [(clocked(own), clocked(pyscf)) for _ in range(self.repeats)]
        whole = median(mine for mine, _ in rounds), median(other for _, other in rounds)
        return steps | {"potential, functions kept": whole}

    def coulomb(self) -> float:
        """Seconds of a Coulomb matrix from vectors that are there, PySCF's for ours as well where nothing else is."""
        call = partial(self.mean_field.with_df.get_jk, self.density, with_k=False)
        call()
        return median(clocked(call) for _ in range(self.repeats))

    def repulsion(self) -> dict[str, tuple[float, float]]:
        """Seconds of ours and PySCF's for Coulomb and exchange; nothing where a functional has none of that."""
        from alkaflow.workflows.fitted_repulsion import coulomb_and_exchange

        if not self.hybrid:
            return {}
        own = partial(coulomb_and_exchange, self.vectors, np.asarray(self.density), self.orbitals)
        pyscf = partial(self.mean_field.with_df.get_jk, self.density)
        own(), pyscf()
        rounds = [(clocked(own), clocked(pyscf)) for _ in range(self.repeats)]
        return {"Coulomb and exchange": (median(mine for mine, _ in rounds), median(other for _, other in rounds))}


def compare(asked: argparse.Namespace, text: str) -> list[Measured]:
    """All parts at a level."""
    from pyscf import lib

    cycle = Cycle(asked, text)
    rate, rows, columns = gemm_rate(), len(cycle.vectors), cycle.mean_field.mol.nao
    limit = sum(4 * rows * columns**2 * c.shape[1] for c in cycle.orbitals) / rate
    print(
        f"{cycle.on}, grid level {GRID}: {columns} functions, {rows} fitting functions, {cycle.mean_field.grids.size} "
        f"points; {lib.num_threads()} threads, {rate / 1e9:.0f} GF/s; fitting {cycle.fitting_seconds:.2f} s, "
        f"Coulomb alone {cycle.coulomb():.2f} s"
    )
    found = cycle.potential() | cycle.repulsion()
    measured = [Measured(f"{name} / PySCF with our BLAS kernel", cycle.on, *pair, "s") for name, pair in found.items()]
    if cycle.hybrid:
        what = "Coulomb and exchange / operations of exchange at the DGEMM rate"
        more = {"gflops": rate / 1e9}
        measured.append(Measured(what, cycle.on, found["Coulomb and exchange"][0], limit, "s", 1.5, more))
    return measured


def main() -> None:
    """Compare the parts at all levels and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="hatcn")
    parser.add_argument("--level", action="append", help=f"by default {' and '.join(LEVELS)}")
    parser.add_argument("--repeats", type=int, default=1)
    asked = started(parser)
    if os.environ.get("ALKAFLOW_BENCHMARK") != "parts":  # the environment that calculations have
        environment = process_environment(os.environ, asked.threads) | {"ALKAFLOW_BENCHMARK": "parts"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606
    end([row for level in asked.level or LEVELS for row in compare(asked, level)], asked)


if __name__ == "__main__":
    main()
