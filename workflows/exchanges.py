"""Which electrons to move for another electronic state: occupations beside those of a converged one.

An unpaired electron goes up into empty orbitals, its hole down into filled ones. On a symmetric structure the states of
one representation tend to fall into the lowest of them, so other representations have their turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alkaflow.structures import FloatArray

Representation = tuple[int, ...]
"""How an orbital behaves under every operation, as `alkaflow.workflows.orbital_symmetry.representations` has it."""

Kinds = Callable[[int, Sequence[int]], list[Representation]]
"""Takes a spin and numbers of orbitals."""

Move = tuple[str, FloatArray]
"""Name and occupations, shape=(2, n)."""

_NEAR_EMPTY = 0.1  # above the lowest empty orbital [Hartree]
_NEAR_FILLED = 0.15  # below the lowest empty one of spin down [Hartree]


@dataclass(frozen=True, eq=False)
class Orbitals:
    """All orbitals of a state by spin.

    Attributes
    ----------
    energies
        [Hartree], ascending, shape=(2, n).
    coefficients
        shape=(2, n_functions, n).
    occupations
        0 or 1, shape=(2, n).
    """

    energies: FloatArray
    coefficients: FloatArray
    occupations: FloatArray

    def filled(self, spin: int) -> NDArray[np.intp]:
        """Numbers of the occupied ones."""
        return np.flatnonzero(self.occupations[spin] > 0)

    def empty(self, spin: int) -> NDArray[np.intp]:
        """Numbers of the empty ones."""
        return np.flatnonzero(self.occupations[spin] == 0)

    def unpaired(self, count: int, overlap: FloatArray) -> int:
        """Number of the highest of the spin-up orbitals that overlap least with the occupied ones of spin down.

        Parameters
        ----------
        count
            Unpaired electrons, one at least.
        overlap
            Of the basis functions.
        """
        filled = self.filled(0)
        up, down = self.coefficients[0][:, filled], self.coefficients[1][:, self.filled(1)]
        shared = np.square(down.T @ overlap @ up).sum(axis=0)
        return int(filled[np.argsort(shared, kind="stable")[:count]].max())


def electrons_up(orbitals: Orbitals, unpaired: int, kinds: Kinds, count: int) -> list[Move]:
    """The unpaired electron in the first empty orbitals, and in the lowest of every other representation near them."""
    return [
        (f"SOMO to {_virtual(k)}", _moved(orbitals.occupations, 0, unpaired, orbitals.empty(0)[k]))
        for k in _destinations(orbitals, unpaired, kinds, count)
    ]


def pairs_up(orbitals: Orbitals, kinds: Kinds, count: int) -> list[Move]:
    """The same with the highest pair of a singlet."""
    if not all(len(orbitals.filled(spin)) for spin in (0, 1)):
        return []
    moves = []
    for k in _destinations(orbitals, int(orbitals.filled(0)[-1]), kinds, count):
        occupations = orbitals.occupations
        for spin in (0, 1):
            occupations = _moved(occupations, spin, int(orbitals.filled(spin)[-1]), orbitals.empty(spin)[k])
        moves.append((f"HOMO to {_virtual(k)}", occupations))
    return moves


def holes_down(orbitals: Orbitals, kinds: Kinds, count: int) -> list[Move]:
    """The lowest empty orbital of spin down filled from below: from the highest of every other representation.

    Where orbitals have no representations, from the highest of all.
    """
    empty, filled, heights = orbitals.empty(1), orbitals.filled(1)[::-1], orbitals.energies[1]
    if not len(filled) or not len(empty):
        return []
    near = filled[heights[filled] > heights[empty[0]] - _NEAR_FILLED]
    own, *others = kinds(1, [int(empty[0]), *near.tolist()])
    return [
        (f"HOMO{f'-{k}' if k else ''} to SOMO, spin down", _moved(orbitals.occupations, 1, near[k], empty[0]))
        for k in _first_of_each(others, {own} - {()}, count)
    ]


def _destinations(orbitals: Orbitals, leaving: int, kinds: Kinds, count: int) -> list[int]:
    """Places, among the empty orbitals of spin up, of those that an electron is moved to."""
    empty, heights = orbitals.empty(0), orbitals.energies[0]
    if not len(empty):
        return []
    near = empty[heights[empty] < heights[empty[0]] + _NEAR_EMPTY]
    own, *others = kinds(0, [leaving, *near.tolist()])
    return [*range(min(count, len(empty))), *_first_of_each(others, {own, *others[:count]}, count)]


def _first_of_each(kinds: Sequence[Representation], known: set[Representation], count: int) -> list[int]:
    """Where a kind that is not known occurs for the first time, at most so often."""
    return [k for k, kind in enumerate(kinds) if kind not in known and kinds.index(kind) == k][:count]


def _moved(occupations: FloatArray, spin: int, leaving: int, entering: int) -> FloatArray:
    moved = occupations.copy()
    moved[spin, [leaving, entering]] = 0.0, 1.0
    return moved


def _virtual(k: int) -> str:
    return f"LUMO+{k}" if k else "LUMO"
