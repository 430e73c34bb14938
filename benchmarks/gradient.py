"""Gradients with density fitting against PySCF's: the two-electron part, the quadrature, and all of it.

    python benchmarks/gradient.py
    python benchmarks/gradient.py --system hatcn --repeats 1

Doublets at B3LYP-D3(BJ)/6-311G(d,p), unrestricted: Li in a bay of 2,2'-bipyrimidine, converged here, or the most
strongly bound Li on HATCN with its shipped orbitals. Ours and PySCF's take turns, both with the BLAS kernel that suits
the processor; wall and processor seconds, medians.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Measured, end, started
from systems import SYSTEMS as STRUCTURES

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.workflows.blas import loaded_blas, process_environment
from alkaflow.workflows.bundle import orbital_path, read_orbital_file
from alkaflow.workflows.fitted_gradient import Orbitals, fitted_gradient, fitted_repulsion_gradient
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.library import shipped_bundle, shipped_studies
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.quadrature_gradient import quadrature_gradient

LEVEL = "b3lyp-d3bj/6-311g(d,p)"
GRID = 3
MEMORY = 6000  # MB


def mean_field_of(structure: Structure) -> Any:
    """Object at the level and grid of the comparison, not converged yet."""
    level = parse_level(LEVEL)
    assert isinstance(level, KohnSham)
    mean_field = build_mean_field(build_molecule(structure, level, MEMORY), level)
    set_grid(mean_field, GRID)
    return mean_field


def li_in_bipyrimidine() -> Any:
    """Li in a bay of 2,2'-bipyrimidine."""
    mean_field = mean_field_of(STRUCTURES["bipyrimidine"]())
    converge(mean_field)
    return mean_field


def li_on_hatcn() -> Any:
    """Li in a bay of HATCN."""
    path = shipped_studies()["hatcn"] / "published-sp.json"
    complexes = [
        r for r in shipped_bundle("hatcn", "published-sp").records if r.orbitals and r.symbols.count("Li") == 1
    ]
    record = min((r for r in complexes if len(r.symbols) == 31), key=lambda r: r.energy_hartree)
    assert record.orbitals is not None
    mean_field = mean_field_of(
        Structure(tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity)
    )
    with np.load(io.BytesIO(read_orbital_file(orbital_path(path), record.orbitals.sha256))) as file:
        missing = file["occupations_alpha"].size - file["occupations_beta"].size
        for name, ours in (("mo_coeff", "coefficients"), ("mo_occ", "occupations"), ("mo_energy", "energies")):
            down = file[f"{ours}_beta"]
            filled = np.pad(down, [(0, 0)] * (down.ndim - 1) + [(0, missing)])
            setattr(mean_field, name, np.array([file[f"{ours}_alpha"], filled]))
    mean_field.converged = True
    return mean_field


SYSTEMS = {"bipyrimidine": li_in_bipyrimidine, "hatcn": li_on_hatcn}


class Baseline:
    """PySCF's gradient and its two dear parts."""

    def __init__(self, mean_field: Any) -> None:
        from pyscf import lib

        self._gradients = mean_field.nuc_grad_method()
        self._molecule, self._grids = mean_field.mol, mean_field.grids
        self._functional, self._quadrature = mean_field.xc, mean_field._numint  # noqa: SLF001
        self._density = lib.tag_array(mean_field.make_rdm1(), mo_coeff=mean_field.mo_coeff, mo_occ=mean_field.mo_occ)

    def repulsion(self) -> None:
        self._gradients.get_jk(self._molecule, self._density)

    def quadrature(self) -> None:
        from pyscf.grad import uks

        uks.get_vxc(self._quadrature, self._molecule, self._grids, self._functional, self._density, max_memory=MEMORY)

    def whole(self) -> np.ndarray:
        return np.asarray(self._gradients.kernel())


def clocked(call: Callable[[], Any]) -> tuple[np.ndarray, Any]:
    """Wall and processor seconds, and what was computed."""
    begin = time.perf_counter(), time.process_time()
    found = call()
    return np.array([time.perf_counter() - begin[0], time.process_time() - begin[1]]), found


def main() -> None:
    """Compare gradients and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="bipyrimidine")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="without the parts")
    if os.environ.get("ALKAFLOW_BENCHMARK") != "gradient":
        threads = len(os.sched_getaffinity(0))
        environment = process_environment(os.environ, threads) | {"ALKAFLOW_BENCHMARK": "gradient"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606
    arguments = started(parser)
    mean_field = SYSTEMS[arguments.system]()
    mean_field.with_df.build()
    mean_field.grids.build(with_non0tab=True)
    orbitals = Orbitals.of(mean_field)
    occupied = " + ".join(str(c.shape[1]) for c in orbitals.by_spin)
    print(
        f"{arguments.system} with Li, {LEVEL}, grid level {GRID}: {mean_field.mol.nao} functions, "
        f"{mean_field.with_df.get_naoaux()} fitting functions, {occupied} occupied, {mean_field.grids.size} points"
    )
    baseline = Baseline(mean_field)
    blas = ", ".join(f"{b['library']} {b.get('kernel')}" for b in loaded_blas())  # PySCF's too, by now
    print(blas)
    parts: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "Coulomb and exchange": (lambda: fitted_repulsion_gradient(mean_field, orbitals), baseline.repulsion),
        "quadrature": (lambda: quadrature_gradient(mean_field, orbitals.by_spin), baseline.quadrature),
        "whole gradient": (lambda: fitted_gradient(mean_field), baseline.whole),
    }
    if arguments.whole:
        parts = {name: both for name, both in parts.items() if name.startswith("whole")}
    print(f"{'':<22}{'ours/s':>16}{'PySCF/s':>16}{'ratio':>14}   (wall, processor)")
    measured = []
    for name, (ours, theirs) in parts.items():
        rounds = [(clocked(ours), clocked(theirs)) for _ in range(arguments.repeats)]
        seconds = np.median([[mine[0], other[0]] for mine, other in rounds], axis=0)
        ratio = np.median([mine[0] / other[0] for mine, other in rounds], axis=0)
        load = os.getloadavg()[0]
        more = {"ours_processor": seconds[0][1], "baseline_processor": seconds[1][1], "load": load}
        target = 1 / 3 if name == "whole gradient" else None
        on = f"{arguments.system} + Li"
        measured.append(Measured(f"gradient, {name} / PySCF", on, seconds[0][0], seconds[1][0], "s", target, more))
        print(
            f"{name:<22}"
            + "".join(f"{pair[0]:>9.2f}{pair[1]:>7.2f}" for pair in seconds)
            + f"{ratio[0]:>8.3f}{ratio[1]:>6.3f}   load {load:.1f}",
            flush=True,
        )
    (_, mine), (_, other) = rounds[-1]
    print(
        f"largest difference {np.abs(mine - other).max():.1e} Hartree/bohr; forces add up to "
        f"{np.abs(mine.sum(axis=0)).max():.1e}, PySCF's to {np.abs(other.sum(axis=0)).max():.1e}"
    )
    end(measured, arguments)


if __name__ == "__main__":
    main()
