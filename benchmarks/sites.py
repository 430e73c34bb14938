"""How the time of site detection, symmetry removal included, grows with the host.

    python benchmarks/sites.py

Hosts: hexagonal graphene flakes (D6h, 24 operations, aromatic rings everywhere), the same with atoms
displaced at random by 0.02 Angstrom, cubes of MgO (Oh or Td, every metal a candidate), a chain of ether oxygens, and
the Ti6-oxo clusters. Each figure is the median of five runs; the baseline of the ratios is the 174-atom Ti6(HPAB).
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

from alkaflow.structures import Structure, find_sites, load_host
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations


def flake(n: int) -> Structure:
    """A hexagonal flake, coronene for n = 2, its rim closed with H."""
    a = 1.42 * np.sqrt(3)
    cells = range(-2 * n, 2 * n + 1)
    carbons = [
        i * np.array([a, 0.0]) + j * np.array([a / 2, 1.5 * 1.42]) + np.array([0.0, y])
        for i in cells
        for j in cells
        for y in (1.42, -1.42)
    ]
    points = np.unique(np.round(carbons, 6), axis=0)
    angles = np.radians(np.arange(6) * 60.0)
    inside = (points @ np.array([np.cos(angles), np.sin(angles)])).max(axis=1) < a * (n - 0.5) + 0.1
    points = points[inside]
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    hydrogens = []
    for i, row in enumerate(apart):
        near = np.flatnonzero((row < 1.6) & (row > 0.1))
        if len(near) == 2:
            out = 2 * points[i] - points[near].sum(axis=0)
            hydrogens.append(points[i] + 1.09 * out / np.linalg.norm(out))
    flat = np.vstack([points, hydrogens])
    symbols = ("C",) * len(points) + ("H",) * len(hydrogens)
    return Structure(symbols, np.column_stack([flat, np.zeros(len(flat))]), name=f"flake {n}")


def magnesia(n: int) -> Structure:
    """A cube of n x n x n atoms of MgO, 2.10 Angstrom apart."""
    grid = np.indices((n, n, n)).reshape(3, -1).T
    symbols = tuple("Mg" if total % 2 == 0 else "O" for total in grid.sum(axis=1))
    return Structure(symbols, 2.10 * grid, name=f"MgO {n}^3")


def hosts() -> Iterator[tuple[str, Structure]]:
    yield "ti6-hpab", load_host("ti6-hpab")
    yield "ti6-formate-methoxide", load_host("ti6-formate-methoxide")
    for n in (2, 3, 5, 8, 12):
        yield f"flake, n = {n}", flake(n)
    for n in (5, 12):
        exact = flake(n)
        noise = np.random.default_rng(1).normal(0.0, 0.02, exact.positions.shape)
        yield f"flake, n = {n}, noise", exact.with_positions(exact.positions + noise)
    for n in (4, 6, 10):
        yield f"MgO cube, {n}^3", magnesia(n)
    for units in (20, 60):
        yield f"ether chain, {units}", load_host("CO" + "CCO" * units + "C", conformer="lowest")


def main() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("alkaflow", "numpy", "scipy", "rdkit"))
    print(f"python {sys.version.split()[0]}, {packages}")
    print(f"{platform.processor() or platform.machine()}, threads {os.environ.get('OMP_NUM_THREADS', 'default')}")
    print(f"{'host':<24}{'atoms':>6}{'operations':>12}{'sites':>7}{'seconds':>9}{'ratio':>8}")
    baseline = None
    for name, host in hosts():
        operations = len(find_operations(BondGraph(host)))
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            sites = find_sites(host)
            times.append(time.perf_counter() - begin)
        median = statistics.median(times)
        baseline = baseline or median
        print(f"{name:<24}{len(host):>6}{operations:>12}{len(sites):>7}{median:>9.3f}{median / baseline:>8.1f}")


if __name__ == "__main__":
    main()
