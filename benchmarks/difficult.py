"""Systems whose SCF is known to go wrong, three ways: does any way find a lower state than what a record would hold?

    python benchmarks/difficult.py --only N2,NiO,bipyrimidine

For every system and multiplicity: the default guess with the ladder and the repair of what is unstable (a record of a
level that asks for stability), the search of states from fragments, and PySCF's second-order solver from other guesses
with PySCF's own stability analysis, which shares no code with the others. Energies in eV above the lowest of all for
the multiplicity; in the last column, what a reader of the record is told.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from alkaflow.calculations import Fragment
from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.structures.flakes import metal_flake
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.blas import loaded_blas
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.stability import stabilise
from alkaflow.workflows.states import search_states

MEMORY = 4000
SAME = 1e-3  # eV

# 2,2'-bipyrimidine with Li in both bays, GFN2-xTB relaxed as D2h: one of four equivalent atoms, or of two [Angstrom]
_BIPYRIMIDINE = (
    ("C", 0.6782, 0.0),
    ("N", 1.3821, 1.2329),
    ("C", 2.6875, 1.1824),
    ("C", 3.4258, 0.0),
    ("H", 3.1985, 2.1401),
    ("H", 4.5011, 0.0),
)
_LITHIUM = 2.4257


@dataclass(frozen=True)
class System:
    """What to compute: a structure with its charge, and its fragments (the host first) for every multiplicity."""

    name: str
    level: str
    structure: Structure
    fragments: dict[int, tuple[Fragment, ...]]


def diatomic(
    symbols: tuple[str, str], distance: float, level: str, ions: tuple[int, int], *spins: tuple[int, ...]
) -> System:
    """Two atoms [Angstrom] with the charges of the fragments; every entry of ``spins``: total, first, second."""
    structure = Structure(symbols, np.array([[0, 0, 0], [0, 0, distance]]), sum(ions))
    fragments = {
        total: tuple(
            Fragment(atoms=(k,), charge=charge, multiplicity=spin)
            for k, (charge, spin) in enumerate(zip(ions, each, strict=True))
        )
        for total, *each in spins
    }
    return System(f"{''.join(symbols)} {distance} A", level, structure, fragments)


def bipyrimidine() -> System:
    """Two Li, one in each bay."""
    quarter = {(symbol, sx * x, sy * y) for symbol, x, y in _BIPYRIMIDINE for sx in (1, -1) for sy in (1, -1)}
    atoms = [*sorted(quarter), ("Li", 0.0, _LITHIUM), ("Li", 0.0, -_LITHIUM)]
    structure = Structure(tuple(a[0] for a in atoms), np.array([[x, y, 0.0] for _, x, y in atoms]))
    host = len(quarter)
    parts = (
        Fragment(atoms=tuple(range(host)), charge=0, multiplicity=1),
        *(Fragment(atoms=(host + k,), charge=0, multiplicity=2) for k in range(2)),
    )
    return System("Li2 bipyrimidine", "b3lyp/6-31g", structure, {1: parts, 3: parts})


def formate() -> System:
    """An anion in a basis with diffuse functions on every atom."""
    positions = np.array([[0, 0, 0], [0, 1.13, 0.54], [0, -1.13, 0.54], [0, 0, -1.13]])
    structure = Structure(("C", "O", "O", "H"), positions, -1)
    whole = (Fragment(atoms=(0, 1, 2, 3), charge=-1, multiplicity=1),)
    return System("formate", "b3lyp/6-311++g(d,p)", structure, {1: whole})


def flake(metal: str, multiplicities: tuple[int, ...]) -> System:
    """A divalent metal in the smallest flake; the metal's ion has the spin, the ligand is a closed-shell dianion."""
    structure = metal_flake(metal, "n4", "pyrene")
    ligand = Fragment(atoms=tuple(range(1, len(structure))), charge=-2, multiplicity=1)
    fragments = {m: (ligand, Fragment(atoms=(0,), charge=2, multiplicity=m)) for m in multiplicities}
    return System(f"{metal}-N4 flake", "b3lyp/3-21g", structure, fragments)


def systems() -> Iterator[System]:
    for distance in (1.1, 2.0, 4.0):
        yield diatomic(("N", "N"), distance, "b3lyp/6-31g(d)", (0, 0), (1, 4, 4))
    yield diatomic(("O", "Ni"), 1.63, "b3lyp/6-31g", (-2, 2), (3, 1, 3))
    yield diatomic(("O", "Mn"), 1.65, "b3lyp/6-31g", (-2, 2), (6, 1, 6))
    yield formate()
    yield bipyrimidine()
    yield flake("Cu", (2, 4))
    yield flake("Fe", (3, 1, 5))


def level_of(text: str) -> KohnSham:
    level = parse_level(text)
    assert isinstance(level, KohnSham)
    return level.model_copy(update={"grid": 1, "energy_threshold": 1e-7})


def fresh(structure: Structure, level: KohnSham, unrestricted: bool = False) -> Any:
    built = build_mean_field(build_molecule(structure, level, MEMORY), level, unrestricted)
    set_grid(built, level.grid)
    return built


def by_record(structure: Structure, level: KohnSham) -> tuple[Any, str]:
    """What a record would hold, and what it would tell."""
    try:
        built = fresh(structure, level)
        rungs = [correction["handler"] for correction in converge(built)]
    except CalculationError as error:
        return None, f"{error.outcome}: {error}"
    built, found = stabilise(built, break_symmetry=True)
    said = [f"after {', '.join(rungs)}"] if rungs else ["DIIS"]
    if found.rounds:
        said.append(f"left an unstable solution {found.lowering * HARTREE_EV:.3f} eV higher")
    if found.broken_symmetry:
        said.append("broken symmetry")
    said.append("stable" if found.stable else "UNSTABLE" if found.tested else "stability not known")
    return built, ", ".join(said)


def by_pyscf(structure: Structure, level: KohnSham, guesses: str) -> float:
    """The lowest energy of PySCF's second-order solver from some guesses, each followed to stability [Hartree]."""
    energies = []
    for guess in filter(None, guesses.split(",")):
        first = fresh(structure, level, unrestricted=True)
        first.init_guess, first.max_cycle = guess, 15
        first.kernel()
        solver = first.newton()
        solver.max_cycle = 80
        solver.kernel(first.mo_coeff, first.mo_occ)
        for _ in range(4):
            rotated, _, stable, _ = solver.stability(return_status=True)
            if stable:
                break
            solver.kernel(rotated, solver.mo_occ)
        if solver.converged:
            energies.append(float(solver.e_tot))
    return min(energies, default=float("inf"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts of names, separated by commas")
    parser.add_argument("--level", help="for all systems, instead of their own")
    parser.add_argument("--multiplicity", type=int, nargs="*", help="only these")
    parser.add_argument("--swaps", type=int, default=2)
    parser.add_argument(
        "--guesses", default="atom,huckel,1e", help="that PySCF's own solver begins with; '': leave it out"
    )
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("alkaflow", "numpy", "scipy", "pyscf"))
    blas = ", ".join(f"{b['library']} {b.get('kernel')}" for b in loaded_blas())
    print(f"python {sys.version.split()[0]}, {packages}; {blas}")
    print(f"{platform.processor() or platform.machine()}, threads {os.environ.get('OMP_NUM_THREADS', 'default')}")
    print(
        f"{'system':<18}{'level':<22}{'2S+1':>5}{'lowest/Eh':>16}{'record':>9}{'search':>9}{'PySCF':>9}"
        f"{'states':>8}{'<S2>':>7}{'s':>7}  told"
    )
    for system in systems():
        if not any(part.strip().lower() in system.name.lower() for part in arguments.only.split(",")):
            continue
        level = level_of(arguments.level or system.level)
        for multiplicity, fragments in system.fragments.items():
            if arguments.multiplicity and multiplicity not in arguments.multiplicity:
                continue
            begin = time.perf_counter()
            structure = Structure(
                system.structure.symbols, system.structure.positions, system.structure.charge, multiplicity
            )
            built, said = by_record(structure, level)
            states = search_states(structure, level, fragments, MEMORY, swaps=arguments.swaps)
            energies = [
                float(built.e_tot) if built is not None else float("inf"),
                states[0].energy,
                by_pyscf(structure, level, arguments.guesses),
            ]
            above = [(energy - min(energies)) * HARTREE_EV for energy in energies]
            if above[0] > SAME:
                said += f"; a lower state is known to {'the search' if above[1] < SAME else 'PySCF alone'}"
            spin = built.spin_square()[0] if built is not None else float("nan")
            print(
                f"{system.name:<18}{level!s:<22}{multiplicity:>5}{min(energies):>16.6f}"
                f"{above[0]:>9.3f}{above[1]:>9.3f}{above[2]:>9.3f}{len(states):>8}{spin:>7.3f}"
                f"{time.perf_counter() - begin:>7.0f}  {said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
