"""Charges fitted to the electrostatic potential around a molecule: CHELPG and RESP.

CHELPG: C. M. Breneman, K. B. Wiberg, J. Comput. Chem. 11, 361 (1990). Points on shells: U. C. Singh, P. A. Kollman,
J. Comput. Chem. 5, 129 (1984); B. H. Besler, K. M. Merz, P. A. Kollman, J. Comput. Chem. 11, 431 (1990). RESP:
C. I. Bayly, P. Cieplak, W. D. Cornell, P. A. Kollman, J. Phys. Chem. 97, 10269 (1993).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from alkaflow.analysis.density import Density
from alkaflow.analysis.orbital_populations import real_atoms
from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.units import BOHR_ANGSTROM

Potential = Callable[[FloatArray], FloatArray]
"""Electrostatic potential [Hartree/e], shape=(n_points,), at points with shape=(n_points, 3) [bohr]."""

# Radii [Angstrom] of H, He, ... H, C, N and O are Breneman and Wiberg's; the others those of the same row, as programs
# that carry CHELPG have it (Multiwfn; VeloxChem up to Ne).
_CHELPG_RADII = (1.45,) * 2 + (1.5,) * 4 + (1.7,) * 4 + (2.0,) * 8
# Of Singh and Kollman, H to Cl, as in GAMESS, Multiwfn and VeloxChem.
_MERZ_KOLLMAN_RADII = (1.2, 1.2, 1.37, 1.45, 1.45, 1.5, 1.5, 1.4, 1.35, 1.3, 1.57, 1.36, 1.24, 1.17, 1.8, 1.75, 1.7)
_UFF_SHARE = 1 / 1.2  # of UFF's radius, which elements beyond these tables have, as in Multiwfn

SHELLS = (1.4, 1.6, 1.8, 2.0)
"""Radii of the shells of points, in radii of the atoms."""

# a of the two stages of RESP [1/bohr^2], for one point per square Angstrom. As in the authors' program, a / sqrt(q^2 +
# b^2) goes to the diagonal of the normal equations, which is twice what the gradient of the paper's penalty gives.
_RESTRAINTS = (0.0005, 0.001)
_TIGHTNESS = 0.1  # b [e]
_SETTLED, _ROUNDS = 1e-9, 200  # of the charges [e]
_SLACK = 1e-9  # a point on a sphere is outside it


@dataclass(frozen=True)
class Fit:
    """Charges of the atoms [e], shape=(n_atoms,), and how well they make the potential at the points."""

    charges: FloatArray
    points: int
    rms: float
    """Root of the mean square of what is left of the potential [Hartree/e]."""
    relative_rms: float
    """The same in units of that of the potential."""


def chelpg(
    density: Density,
    potential: Potential,
    spacing: float = 0.3,
    headspace: float = 2.8,
    alike: Sequence[Sequence[int]] = (),
) -> Fit:
    """Fit charges to the potential on a cubic grid, outside all radii and within the head space of an atom.

    The grid lies along the principal axes of the nuclei, so that charges do not depend on how the molecule does. Ghosts
    have charge 0.

    Parameters
    ----------
    density
        Of the molecule.
    potential
        Of the density and the nuclei.
    spacing, headspace
        Of the grid [Angstrom].
    alike
        Groups of atoms (numbers from 0 among those that are no ghosts) with one charge.
    """
    molecule = density.molecule
    positions, radii = _atoms(molecule, _CHELPG_RADII)
    step, margin = spacing / BOHR_ANGSTROM, headspace / BOHR_ANGSTROM
    centre, axes = _frame(molecule)
    turned = (positions - centre) @ axes
    sides = []
    for low, high in zip(turned.min(axis=0) - margin, turned.max(axis=0) + margin, strict=True):
        count = int((high - low) / step) + 1
        sides.append((low + high) / 2 + step * (np.arange(count) - (count - 1) / 2))
    kept = []
    for x in sides[0]:  # a plane at a time, for memory
        plane = np.stack(np.meshgrid([x], *sides[1:], indexing="ij"), axis=-1).reshape(-1, 3)
        away = cdist(plane, turned)
        kept.append(plane[(away > radii).all(axis=1) & (away <= margin).any(axis=1)])
    points = np.concatenate(kept) @ axes.T + centre
    problem = _Problem.of(molecule, points, potential)
    return problem.fit(molecule, problem.solve(alike=alike))


def resp(
    density: Density, potential: Potential, points_per_square_angstrom: float = 6.0, axes: FloatArray | None = None
) -> Fit:
    """Fit charges to the potential on four shells around every atom, in two stages with a hyperbolic restraint.

    First a = 0.0005 on all atoms but hydrogen; then, with a = 0.001 and the others fixed, the carbons of CH2 and CH3
    groups and their hydrogens, those of one carbon alike. A molecule without such groups has one stage. Restraints are
    those of one point per square Angstrom, and scaled to as many as there are. Ghosts have charge 0.

    Parameters
    ----------
    density
        Of the molecule.
    potential
        Of the density and the nuclei.
    points_per_square_angstrom
        Of every shell.
    axes
        Columns, the last through the poles of the circles of latitude on which points lie, shape=(3, 3); by default the
        principal axes of the nuclei, so that charges do not depend on how the molecule lies.
    """
    molecule = density.molecule
    points = shells(molecule, points_per_square_angstrom, _frame(molecule)[1] if axes is None else axes)
    problem = _Problem.of(molecule, points, potential)
    symbols = [molecule.atom_pure_symbol(k) for k in real_atoms(molecule)]
    heavy = np.array([symbol != "H" for symbol in symbols], float)
    weights = [strength * points_per_square_angstrom * heavy for strength in _RESTRAINTS]
    charges = problem.solve(weights[0])
    groups = _methyls(molecule, symbols)
    if groups:
        free = {atom for carbon, hydrogens in groups.items() for atom in (carbon, *hydrogens)}
        fixed = {atom: charges[atom] for atom in range(len(symbols)) if atom not in free}
        charges = problem.solve(weights[1], fixed, list(groups.values()))
    return problem.fit(molecule, charges)


def shells(molecule: Any, points_per_square_angstrom: float, axes: FloatArray) -> FloatArray:
    """Points on spheres around the atoms that are inside no other atom's, shape=(n_points, 3) [bohr]."""
    positions, radii = _atoms(molecule, _MERZ_KOLLMAN_RADII)
    kept = []
    for factor in SHELLS:
        for position, radius in zip(positions, factor * radii, strict=True):
            count = points_per_square_angstrom * 4 * np.pi * (radius * BOHR_ANGSTROM) ** 2
            points = position + radius * _sphere(count) @ axes.T
            kept.append(points[(cdist(points, positions) > factor * radii - _SLACK).all(axis=1)])
    return np.concatenate(kept)


@dataclass(frozen=True)
class _Problem:
    """Least squares: sum over points of (V - sum over atoms of q / r)^2, the sum of the q given."""

    inverse: FloatArray
    """1/r, shape=(n_points, n_atoms) [1/bohr]."""
    values: FloatArray
    """V at the points, shape=(n_points,) [Hartree/e]."""
    charge: float

    @classmethod
    def of(cls, molecule: Any, points: FloatArray, potential: Potential) -> "_Problem":
        positions = molecule.atom_coords()[real_atoms(molecule)]
        return cls(1 / cdist(points, positions), np.asarray(potential(points), float), float(molecule.charge))

    def solve(
        self,
        restraint: FloatArray | float = 0.0,
        fixed: Mapping[int, float] | None = None,
        alike: Sequence[Sequence[int]] = (),
    ) -> FloatArray:
        """Charges of the atoms under a restraint of each that pulls it to 0, with some fixed and some equal."""
        normal, target = self.inverse.T @ self.inverse, self.inverse.T @ self.values
        rows = [(np.ones(len(target)), self.charge)]
        unit = np.eye(len(target))
        rows += [(unit[atom], value) for atom, value in (fixed or {}).items()]
        rows += [(unit[group[0]] - unit[other], 0.0) for group in alike for other in group[1:]]
        constraints = np.array([row for row, _ in rows])
        if fixed and len(fixed) == len(target):
            return np.array([fixed[atom] for atom in range(len(target))])
        zeros = np.zeros((len(rows), len(rows)))
        right = np.concatenate([target, [value for _, value in rows]])
        charges = np.zeros(len(target))
        for _ in range(_ROUNDS):
            stiffness = np.diag(restraint / np.hypot(charges, _TIGHTNESS))
            matrix = np.block([[normal + stiffness, constraints.T], [constraints, zeros]])
            before, charges = charges, np.linalg.solve(matrix, right)[: len(target)]
            if not np.any(restraint) or np.abs(charges - before).max() < _SETTLED:
                return charges
        raise BadInputError("the restrained charges do not settle; leave the scheme resp out")

    def fit(self, molecule: Any, charges: FloatArray) -> Fit:
        """What charges of the real atoms are worth."""
        everywhere = np.zeros(molecule.natm)
        everywhere[real_atoms(molecule)] = charges
        left = float(np.sqrt(np.mean((self.values - self.inverse @ charges) ** 2)))
        return Fit(everywhere, len(self.values), left, left / float(np.sqrt(np.mean(self.values**2))))


def _atoms(molecule: Any, table: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Positions and radii of the atoms that are no ghosts [bohr]."""
    from pyscf.data.radii import UFF

    real = real_atoms(molecule)
    numbers = [atomic_number(molecule.atom_pure_symbol(k)) for k in real]
    radii = [table[z - 1] / BOHR_ANGSTROM if z <= len(table) else UFF[z] * _UFF_SHARE for z in numbers]
    return molecule.atom_coords()[real], np.array(radii)


def _frame(molecule: Any) -> tuple[FloatArray, FloatArray]:
    """Centre of the nuclear charges, and their principal axes as columns."""
    real = real_atoms(molecule)
    charges = np.array([atomic_number(molecule.atom_pure_symbol(k)) for k in real], float)
    positions = molecule.atom_coords()[real]
    centre = charges @ positions / charges.sum()
    away = positions - centre
    return centre, np.linalg.eigh(away.T @ (charges[:, None] * away))[1]


def _sphere(count: float) -> FloatArray:
    """About so many points spread over the unit sphere, on circles of latitude as far apart as their points are."""
    equator = int(np.sqrt(np.pi * count))
    latitudes = np.pi * np.arange(equator // 2 + 1) / (equator // 2)
    points = []
    for latitude in latitudes:
        around = max(int(equator * np.sin(latitude) + _SLACK), 1)
        longitude = 2 * np.pi * np.arange(around) / around
        ring = np.sin(latitude) * np.array([np.cos(longitude), np.sin(longitude)])
        points.append(np.column_stack([*ring, np.full(around, np.cos(latitude))]))
    return np.concatenate(points)


def _methyls(molecule: Any, symbols: Sequence[str]) -> dict[int, list[int]]:
    """Carbons with four neighbours, two or more of them hydrogens, and these hydrogens."""
    positions = molecule.atom_coords()[real_atoms(molecule)] * BOHR_ANGSTROM
    graph = BondGraph(Structure(tuple(symbols), positions, molecule.charge, molecule.spin + 1, ""))
    found = {}
    for atom, neighbours in enumerate(graph.neighbours):
        hydrogens = sorted(other for other in neighbours if symbols[other] == "H")
        if symbols[atom] == "C" and len(neighbours) == 4 and len(hydrogens) >= 2:
            found[atom] = hydrogens
    return found
