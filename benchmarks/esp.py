"""The electrostatic potential and its surface extrema for HATCN with Li, against PySCF's own cube of the potential.

    python benchmarks/esp.py [POINTS]

B3LYP-D3(BJ)/6-311G(d,p) from the shipped orbitals. ``pyscf.tools.cubegen.mep`` is timed on 600 points in the same box
and its time extrapolated to POINTS^3 (80). Ratios are of wall time in this run, and of processor time.
"""

import argparse
import io
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Measured, end, started

from alkaflow.analysis.cube import electrostatic_potential
from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box, OrbitalDensity
from alkaflow.analysis.potential import FittedPotential, exact_potential
from alkaflow.analysis.surface import SurfaceMesh, SurfaceStatistics, molecular_surface, surface_statistics
from alkaflow.levels import KohnSham
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL
from alkaflow.workflows.blas import loaded_blas
from alkaflow.workflows.bundle import orbital_path, read_orbital_file
from alkaflow.workflows.library import shipped_bundle, shipped_studies
from alkaflow.workflows.pyscf_engine import build_molecule

MARGIN = 3.0  # of PySCF's cubes by default [bohr]
SLICE = 300  # points for the baseline and for the error


def li_on_hatcn() -> Density:
    """The most strongly bound Li."""
    path = shipped_studies()["hatcn"] / "published-sp.json"
    complexes = [
        r for r in shipped_bundle("hatcn", "published-sp").records if r.orbitals and r.symbols.count("Li") == 1
    ]
    record = min((r for r in complexes if len(r.symbols) == 31), key=lambda r: r.energy_hartree)
    level = record.level_of_theory
    assert isinstance(level, KohnSham)
    assert record.orbitals is not None
    with np.load(io.BytesIO(read_orbital_file(orbital_path(path), record.orbitals.sha256))) as file:
        orbitals = {name: file[name] for name in file.files}
    structure = Structure(
        tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity
    )
    return Density.of(build_molecule(structure, level, 4000), orbitals)


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def read(self) -> np.ndarray:
        return np.array([time.perf_counter() - self._begin[0], time.process_time() - self._begin[1]])


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def baseline(density: Density, points: int) -> np.ndarray:
    """Seconds of cubegen.mep for so many points, from 600 in the same box, which are one of its blocks."""
    from pyscf.tools import cubegen

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        cubegen.mep(density.molecule, str(Path(folder) / "mep.cube"), density.total, 5, 10, 12, margin=MARGIN)
        return clock.read() * points / 600


def main() -> None:
    from pyscf import lib

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("points", type=int, nargs="?", default=80)
    asked = started(parser)
    count = asked.points
    print("; ".join(f"{b['library']} {b.get('version')} {b.get('kernel')} {b['threads']}" for b in loaded_blas()))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {lib.num_threads()} threads of PySCF,"
    )
    print(f"load {os.getloadavg()[0]:.1f}")
    density = li_on_hatcn()
    molecule = density.molecule
    print(f"{molecule.natm} atoms, {molecule.nao} functions, {count}^3 points; seconds: wall, processor")
    before = peak_mb()

    clock = Clock()
    potential = FittedPotential(density)
    fit = clock.read()
    print(f"fit, {potential.functions} functions, {potential.anchors} anchors{fit[0]:>12.1f}{fit[1]:>8.1f}")
    box = Box.of_counts(molecule.atom_coords(), MARGIN, count)
    clock = Clock()
    volume = electrostatic_potential(density, box, potential)
    cube = clock.read() + fit
    print(f"fit and cube{cube[0]:>40.1f}{cube[1]:>8.1f}   peak {peak_mb() - before:.0f} MB more", flush=True)

    clock = Clock()
    mesh = molecular_surface(density, potential=potential)
    statistics = surface_statistics(mesh, density, potential)
    surface = clock.read() + fit
    print(f"fit, surface ({len(mesh.vertices)} vertices) and extrema{surface[0]:>12.1f}{surface[1]:>8.1f}", flush=True)

    clock = Clock()
    plain = FittedPotential(density, anchored=False)
    quick = surface_statistics(molecular_surface(density, potential=plain), density, plain)
    without = clock.read()
    print(f"the same without anchors{without[0]:>28.1f}{without[1]:>8.1f}", flush=True)

    whole = baseline(density, box.size)
    print(f"cubegen.mep, extrapolated{whole[0]:>27.0f}{whole[1]:>8.0f}")
    on = f"HATCN + Li, {count}^3 points"
    measured = [
        Measured("cube of the potential / cubegen.mep", on, cube[0], whole[0], "s", 1 / 100),
        Measured("surface extrema / cubegen.mep", on, surface[0], whole[0], "s", 1 / 500),
        Measured("surface extrema, fit without anchors / cubegen.mep", on, without[0], whole[0], "s", 1 / 500),
    ]
    print(f"ratio of the cubes{whole[0] / cube[0]:>34.0f}{whole[1] / cube[1]:>8.0f}   (at least 100)")
    print(f"ratio for the extrema{whole[0] / surface[0]:>31.0f}{whole[1] / surface[1]:>8.0f}   (at least 500)")
    print(f"the same without anchors{whole[0] / without[0]:>28.0f}{whole[1] / without[1]:>8.0f}   (at least 500)")

    print_errors(density, potential, box, volume.values.ravel(), mesh)
    print_extrema(potential, statistics, quick)
    end(measured, asked)


def print_errors(density: Density, potential: FittedPotential, box: Box, cube: np.ndarray, mesh: SurfaceMesh) -> None:
    rng = np.random.default_rng(0)
    chosen = rng.permutation(box.size)
    points = box.points()[chosen[: 40 * SLICE]]
    outside = OrbitalDensity(density).values(points) < mesh.isovalue
    points, values = points[outside][:SLICE], cube[chosen[: 40 * SLICE]][outside][:SLICE]
    errors = values - exact_potential(density, points)
    print(f"cube outside the surface: largest deviation {np.abs(errors).max():.1e}, rms {np.std(errors):.1e} Hartree/e")
    error = potential.estimate_error(mesh.vertices[rng.permutation(len(mesh.vertices))[:SLICE]])
    print(f"on the surface: largest deviation {error.maximum:.1e}, rms {error.rms:.1e} Hartree/e   (at most 2e-4)")


def print_extrema(potential: FittedPotential, statistics: SurfaceStatistics, quick: SurfaceStatistics) -> None:
    for name in ("maxima", "minima"):
        found = getattr(statistics, name)
        places = np.array([point.position_angstrom for point in found]) / BOHR_ANGSTROM
        fitted = potential(places) * HARTREE_KCAL_MOL
        apart = max(abs(value - point.value_kcal_mol) for value, point in zip(fitted, found, strict=True))
        print(
            f"{len(found)} {name}, strongest {found[0].value_kcal_mol:.2f} kcal/mol; fitted off by at most {apart:.3f}"
        )
        pairs = list(zip(found, getattr(quick, name), strict=False))
        apart = max(abs(one.value_kcal_mol - other.value_kcal_mol) for one, other in pairs)
        print(f"  without anchors {len(getattr(quick, name))}, in order of strength off by at most {apart:.3f}")


if __name__ == "__main__":
    main()
