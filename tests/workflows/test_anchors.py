"""Density fitting against exact integrals, in what a user reads off: binding energies of five small complexes."""

from functools import cache

import numpy as np
import pytest

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

LEVEL = "b3lyp/6-311g(d,p)"

Atoms = tuple[tuple[str, tuple[float, float, float]], ...]  # [Angstrom]

WATER: Atoms = (("O", (0, 0, 0)), ("H", (0, 0.7572, 0.5865)), ("H", (0, -0.7572, 0.5865)))
CYANIDE: Atoms = (("N", (0, 0, 0)), ("C", (0, 0, 1.156)), ("H", (0, 0, 2.222)))
FORMALDEHYDE: Atoms = (("O", (0, 0, 0)), ("C", (0, 0, 1.21)), ("H", (0, 0.94, 1.79)), ("H", (0, -0.94, 1.79)))
FLUORIDE: Atoms = (("F", (0, 0, 0)),)

# Host and its charge; guest, its charge and its distance from the donor, which is at the origin.
COMPLEXES: dict[str, tuple[Atoms, int, str, int, float]] = {
    "Li on water": (WATER, 0, "Li", 0, 1.88),
    "Li on hydrogen cyanide": (CYANIDE, 0, "Li", 0, 1.94),
    "Na on hydrogen cyanide": (CYANIDE, 0, "Na", 0, 2.35),
    "Li+ on formaldehyde": (FORMALDEHYDE, 0, "Li", 1, 1.78),
    "Na+ on fluoride": (FLUORIDE, -1, "Na", 1, 1.93),
}


@cache
def energy(atoms: Atoms, charge: int, multiplicity: int, text: str) -> float:
    tight = {"grid": 1, "energy_threshold": 1e-9, "gradient_threshold": 1e-5}
    level = KohnSham.model_validate(parse_level(text).model_dump() | tight)
    symbols, positions = zip(*atoms, strict=True)
    built = build_mean_field(
        build_molecule(Structure(symbols, np.array(positions, dtype=float), charge, multiplicity), level, 2000), level
    )
    set_grid(built, level.grid)
    converge(built)
    return float(built.e_tot)


@pytest.mark.parametrize("name", COMPLEXES)
def test_fitted_integrals_bind_as_exact_ones_do(name: str) -> None:
    host, charge, metal, metal_charge, distance = COMPLEXES[name]
    guest: Atoms = ((metal, (0.0, 0.0, -distance)),)
    multiplicity = 1 if metal_charge else 2
    parts = (
        (host + guest, charge + metal_charge, multiplicity),
        (host, charge, 1),
        (((metal, (0.0, 0.0, 0.0)),), metal_charge, multiplicity),
    )
    fitted, exact = (np.array([energy(*part, text) for part in parts]) for text in (LEVEL, LEVEL + "+nofit"))
    assert (abs(fitted - exact) > 1e-8).all(), "the two runs took the same integrals"
    binding = [(e[0] - e[1] - e[2]) * HARTREE_EV for e in (fitted, exact)]
    assert binding[0] == pytest.approx(binding[1], abs=1e-3)
    assert binding[1] < -0.05
