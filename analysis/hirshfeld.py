"""Hirshfeld charges: every point of the density is shared out as free atoms in its place would share it.

F. L. Hirshfeld, Theor. Chim. Acta 44, 129 (1977), doi 10.1007/BF00549096.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from alkaflow.analysis.density import Density
from alkaflow.analysis.free_atoms import Radial, free_atoms
from alkaflow.analysis.orbital_populations import Populations, real_atoms
from alkaflow.levels import Grid
from alkaflow.structures import FloatArray

FREE_ATOMS = "b3lypg"
"""Functional of the free atoms: that of the published levels; PBE or LDA move a charge by some 0.005 e."""

_BLOCK_MB = 200  # of basis functions at a time


@dataclass(frozen=True)
class Hirshfeld(Populations):
    """Charges and spins with what the grid missed: the sum of the charges less the charge of the molecule [e]."""

    grid_error: float


def hirshfeld(density: Density, grid: Grid = 3, atoms: Mapping[str, Radial] | None = None) -> Hirshfeld:
    """Charges q_A = - integral of w_A (rho - rho_0), where w_A = rho_A / rho_0 and rho_0 is the sum of all rho_A.

    As the integral of w_A rho_0 is the number of electrons of the free atom A, this is Z_A - integral of w_A rho, with
    less error of the grid. Spins are integrals of w_A (rho_alpha - rho_beta). Ghosts have no free atom and no share.

    Parameters
    ----------
    density
        Its electrons.
    grid
        PySCF's level or the numbers of radial and angular points of every atom.
    atoms
        Densities of the free atoms by atom label; by default those of `free_atoms`.
    """
    from pyscf import dft

    molecule = density.molecule
    atoms = free_atoms(molecule, FREE_ATOMS) if atoms is None else atoms
    real = real_atoms(molecule)
    positions = molecule.atom_coords()[real]
    labels = [molecule.atom_symbol(k) for k in real]
    points = dft.gen_grid.Grids(molecule)
    if isinstance(grid, int):
        points.level = grid
    else:
        points.atom_grid = tuple(grid)
    points.build(with_non0tab=True)
    charges, spins = np.zeros(molecule.natm), np.zeros(molecule.natm)
    blocks = dft.numint.NumInt().block_loop(molecule, points, molecule.nao, 0, _BLOCK_MB)
    for functions, mask, weights, where in blocks:
        alpha, beta = _at_points(density, functions, mask)
        shares = np.array([atoms[label](far) for label, far in zip(labels, cdist(positions, where), strict=True)])
        together = shares.sum(axis=0)
        shares /= together
        charges[real] -= shares @ (weights * (alpha + beta - together))
        spins[real] += shares @ (weights * (alpha - beta))
    return Hirshfeld(charges, spins, float(charges.sum()) - molecule.charge)


def _at_points(density: Density, functions: FloatArray, mask: Any) -> tuple[FloatArray, FloatArray]:
    """Densities of alpha and beta where the functions were evaluated [e/bohr^3]."""
    from pyscf.dft import numint

    pairs = list(zip(density.coefficients, density.occupations, strict=True))
    if density.coefficients[0] is density.coefficients[1]:
        pairs = pairs[:1]
    found = [numint.eval_rho2(density.molecule, functions, c, n, mask, "LDA") for c, n in pairs]
    return found[0], found[-1]
