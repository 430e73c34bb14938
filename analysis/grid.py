"""A regular box of points, and the electron density, spin density and orbitals of a molecule at points."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.density import Density
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray

_BLOCK = 1024  # points at a time
_NEGLIGIBLE = 1e-8  # value of a basis function that is left out of a block


@dataclass(frozen=True)
class Box:
    """Points origin + i * step_x + j * step_y + k * step_z along the axes [bohr]; ``shape`` counts them."""

    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, positions_bohr: FloatArray, margin: float, spacing: float) -> "Box":
        """The smallest box of a spacing that has a margin around positions with shape=(n, 3) [bohr]."""
        if spacing <= 0 or margin < 0:
            raise BadInputError(f"a box has a spacing above 0 and a margin of at least 0, not {spacing} and {margin}")
        low, high = np.min(positions_bohr, axis=0) - margin, np.max(positions_bohr, axis=0) + margin
        counts = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1
        low = (low + high - (counts - 1) * spacing) / 2
        x, y, z = (float(value) for value in low)
        return cls((x, y, z), (spacing, spacing, spacing), (int(counts[0]), int(counts[1]), int(counts[2])))

    @classmethod
    def of_counts(cls, positions_bohr: FloatArray, margin: float, counts: int) -> "Box":
        """A box with a margin around positions [bohr] and the same number of points along each axis."""
        if counts < 2:
            raise BadInputError(f"a box has at least 2 points along an axis, not {counts}")
        low, high = np.min(positions_bohr, axis=0) - margin, np.max(positions_bohr, axis=0) + margin
        x, y, z = (float(value) for value in low)
        dx, dy, dz = (float(value) for value in (high - low) / (counts - 1))
        return cls((x, y, z), (dx, dy, dz), (counts, counts, counts))

    @property
    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Coordinates along x, y and z [bohr]."""
        x, y, z = (
            np.asarray(first + step * np.arange(count), np.float64)
            for first, step, count in zip(self.origin, self.spacing, self.shape, strict=True)
        )
        return x, y, z

    @property
    def size(self) -> int:
        """Number of points."""
        return int(np.prod(self.shape))

    @property
    def volume_element(self) -> float:
        """Volume that belongs to a point [bohr^3]."""
        return float(np.prod(self.spacing))

    def points(self) -> FloatArray:
        """All points, the last axis fastest, shape=(n, 3) [bohr]."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 3)

    def fill(self, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """Values of a function of points at those of the box, plane by plane, shape=``shape``."""
        x, y, z = self.axes
        plane = np.stack(np.meshgrid([0.0], y, z, indexing="ij"), axis=-1).reshape(-1, 3)
        values = np.empty(self.shape)
        for number, place in enumerate(x):
            plane[:, 0] = place
            values[number] = function(plane).reshape(self.shape[1:])
        return values


class OrbitalDensity:
    """The density of electrons at points, from the occupied orbitals.

    Parameters
    ----------
    density
        Of which.
    spin
        Of alpha less beta electrons, rather than of all.
    """

    def __init__(self, density: Density, spin: bool = False) -> None:
        self._molecule = density.molecule
        alpha, beta = density.occupations
        if density.coefficients[0] is density.coefficients[1] and not spin:
            coefficients, weights = density.coefficients[0], alpha + beta
        else:
            coefficients = np.hstack(density.coefficients)
            weights = np.concatenate([alpha, -beta if spin else beta])
        self._coefficients, self._weights = np.ascontiguousarray(coefficients), weights

    def values(self, points_bohr: FloatArray) -> FloatArray:
        """Density at points with shape=(n, 3) [e/bohr^3]."""
        found = np.empty(len(points_bohr))
        for block, functions, kept in _blocks(self._molecule, points_bohr, 0):
            found[block] = (functions @ self._coefficients[kept]) ** 2 @ self._weights
        return found

    def values_and_gradients(self, points_bohr: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Density [e/bohr^3] with shape=(n,) and its gradient [e/bohr^4] with shape=(n, 3)."""
        found, gradients = np.empty(len(points_bohr)), np.empty((len(points_bohr), 3))
        for block, functions, kept in _blocks(self._molecule, points_bohr, 1):
            value, *slopes = functions @ self._coefficients[kept]
            found[block] = value**2 @ self._weights
            for axis, slope in enumerate(slopes):
                gradients[block, axis] = 2 * (value * slope) @ self._weights
        return found, gradients


def orbital_values(molecule: Any, coefficients: FloatArray, points_bohr: FloatArray) -> FloatArray:
    """One orbital, coefficients with shape=(n_functions,), at points with shape=(n, 3) [bohr^-3/2]."""
    if coefficients.shape != (molecule.nao,):
        raise BadInputError(f"the orbital has shape {coefficients.shape}, the molecule {molecule.nao} functions")
    found = np.empty(len(points_bohr))
    for block, functions, kept in _blocks(molecule, points_bohr, 0):
        found[block] = functions @ coefficients[kept]
    return found


def _blocks(
    molecule: Any, points_bohr: FloatArray, derivatives: int
) -> Iterator[tuple[slice, FloatArray, NDArray[np.intp]]]:
    """Blocks of points, the basis functions there (and their three slopes, before), and which functions these are.

    Functions that are negligible at all points of a block are left out.
    """
    kind = f"GTOval_{'cart' if molecule.cart else 'sph'}" + ("_deriv1" if derivatives else "")
    for begin in range(0, len(points_bohr), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        functions = molecule.eval_gto(kind, np.ascontiguousarray(points_bohr[block]))
        largest = np.abs(functions).max(axis=tuple(range(functions.ndim - 1)))
        kept = np.flatnonzero(largest > _NEGLIGIBLE)
        yield block, functions[..., kept], kept
