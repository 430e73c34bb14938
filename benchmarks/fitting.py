"""What density fitting changes in binding energies, and how much time it saves, against exact integrals.

    python benchmarks/fitting.py

Adsorption energies of frozen fragments at B3LYP-D3(BJ)/6-311G(d,p); binding and its change by fitting in eV, seconds of
the complex's SCF with fitted and exact integrals in the same run.
"""

import os
import platform
import sys
import time
from importlib.metadata import version

import numpy as np

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure, from_smiles
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.blas import loaded_blas
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

LEVEL = "b3lyp-d3bj/6-311g(d,p)"

# SMILES of the host, the guest, its charge, its distance from the donor [Angstrom]
COMPLEXES = (
    ("O", "Li", 0, 1.88),
    ("C#N", "Na", 0, 2.35),
    ("C=O", "Li", 1, 1.78),
    ("c1cnccn1", "Li", 0, 1.95),
    ("COCCOC", "Li", 1, 1.85),
)


def place(host: Structure, guest: str, charge: int, distance: float) -> tuple[Structure, Structure]:
    """The guest at a distance from the host's first N or O, away from the atoms bonded to it; alone, and with it."""
    donor = next(k for k, symbol in enumerate(host.symbols) if symbol in ("N", "O"))
    offsets = host.positions - host.positions[donor]
    near = [k for k, d in enumerate(np.linalg.norm(offsets, axis=1)) if 0.1 < d < 1.6]
    outward = -sum(offsets[k] / np.linalg.norm(offsets[k]) for k in near)
    outward = outward / np.linalg.norm(outward)
    multiplicity = 1 if charge else 2
    alone = Structure((guest,), (host.positions[donor] + distance * outward)[None], charge, multiplicity)
    together = Structure(
        host.symbols + alone.symbols, np.vstack([host.positions, alone.positions]), charge, multiplicity
    )
    return alone, together


def energy(structure: Structure, text: str) -> tuple[float, float]:
    """Energy [Hartree] and seconds of the SCF."""
    tight = {"grid": 2, "energy_threshold": 1e-9, "gradient_threshold": 1e-5}
    level = KohnSham.model_validate(parse_level(text).model_dump() | tight)
    mean_field = build_mean_field(build_molecule(structure, level, 4000), level)
    set_grid(mean_field, level.grid)
    begin = time.perf_counter()
    converge(mean_field)
    return float(mean_field.e_tot), time.perf_counter() - begin


def main() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("alkaflow", "numpy", "pyscf"))
    blas = ", ".join(f"{b['library']} {b.get('kernel')}" for b in loaded_blas())
    print(f"python {sys.version.split()[0]}, {packages}; {blas}")
    print(f"{platform.processor() or platform.machine()}, threads {os.environ.get('OMP_NUM_THREADS', 'default')}")
    print(LEVEL)
    print(f"{'complex':<18}{'functions':>10}{'eV':>9}{'change/meV':>12}{'fitted/s':>10}{'exact/s':>9}{'ratio':>7}")
    for smiles, guest, charge, distance in COMPLEXES:
        host = from_smiles(smiles)
        alone, together = place(host, guest, charge, distance)
        runs = [[energy(each, text) for each in (together, host, alone)] for text in (LEVEL, LEVEL + "+nofit")]
        binding = [(run[0][0] - run[1][0] - run[2][0]) * HARTREE_EV for run in runs]
        level = parse_level(LEVEL)
        assert isinstance(level, KohnSham)
        functions = build_molecule(together, level, 4000).nao
        seconds = [run[0][1] for run in runs]
        print(
            f"{smiles + ' ' + guest + '+' * charge:<18}{functions:>10}{binding[1]:>9.3f}"
            f"{(binding[0] - binding[1]) * 1000:>12.3f}{seconds[0]:>10.1f}{seconds[1]:>9.1f}"
            f"{seconds[0] / seconds[1]:>7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
