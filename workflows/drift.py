"""Whether a relaxation is still of the compound that it began with: atoms that drift apart, bonds that change."""

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from alkaflow.calculations import Fragment
from alkaflow.elements import is_metal
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.outcomes import BOND_BROKEN, BOND_MADE

_PARTED = 6.0  # parts of a structure farther from each other than this have nothing to do with each other [Angstrom]
_PATIENCE = 5  # geometries in a row with changed bonds that are more than an optimiser's long step
_NAMED = 4  # bonds that a sentence names


class SameCompound:
    """Says when a relaxation has left the compound that it began with.

    With fragments, the bonds of each count, and a bond between non-metals of two of them; a guest of one atom may
    bond, that is what it is for. Without, the bonds between non-metals count, and an atom that has none at the start
    may bond. Bonds between metals never count. A bond that stretches is none that broke: broken is beyond the sum of
    covalent radii plus 0.65 Angstrom, made within the sum plus 0.20, and either for five geometries in a row or at the
    end.

    Parameters
    ----------
    structure
        The start.
    fragments
        Host and guests; empty where they are not known.
    """

    def __init__(self, structure: Structure, fragments: Sequence[Fragment] = ()) -> None:
        self._symbols = structure.symbols
        radii = covalent_radii[structure.numbers]
        self._sums = radii[:, None] + radii
        bonds = BondGraph(structure).bonds
        self._bonded = np.zeros(self._sums.shape, dtype=bool)
        for i, j in bonds:
            self._bonded[i, j] = True
        self._counted = self._of_fragments(fragments) if fragments else self._of_non_metals()
        self._in_a_row = 0

    def __call__(self, positions: FloatArray, converged: bool) -> str | None:
        """Judge the next geometry.

        Parameters
        ----------
        positions
            [Angstrom], shape=(n_atoms, 3).
        converged
            Whether the relaxation ends here.

        Returns
        -------
        str or None
            A sentence that begins with ``dissociated`` or ``reacted``, or None.
        """
        if apart := drifted_apart(positions):
            return apart
        changed = self.changed_bonds(positions)
        self._in_a_row = self._in_a_row + 1 if changed else 0
        if changed and (converged or self._in_a_row >= _PATIENCE):
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            return f"reacted: {'; '.join(changed[:_NAMED])}{more}"
        return None

    def changed_bonds(self, positions: FloatArray) -> list[str]:
        """Bonds broken, then bonds made, at positions [Angstrom], as ``C3-H20 broken``; atoms are counted from 0."""
        distances = cdist(positions, positions)
        broken = self._bonded & self._counted & (distances > self._sums + BOND_BROKEN)
        made = np.triu(~self._bonded & self._counted & (distances < self._sums + BOND_MADE), k=1)
        return [
            f"{self._symbols[i]}{i}-{self._symbols[j]}{j} {what}"
            for what, pairs in (("broken", broken), ("made", made))
            for i, j in np.argwhere(pairs).tolist()
        ]

    def _of_fragments(self, fragments: Sequence[Fragment]) -> NDArray[np.bool_]:
        """Pairs of atoms whose bonds count where it is known whose they are."""
        metal = np.array([is_metal(symbol) for symbol in self._symbols])
        owner = np.full(len(metal), -1)
        single = np.zeros(len(metal), dtype=bool)
        for number, fragment in enumerate(fragments):
            owner[list(fragment.atoms)] = number
            single[list(fragment.atoms)] = len(fragment.atoms) == 1
        within = (owner[:, None] == owner) & ~(metal[:, None] & metal)
        large = ~metal & ~single
        counted: NDArray[np.bool_] = within | (large[:, None] & large)
        return counted

    def _of_non_metals(self) -> NDArray[np.bool_]:
        """Pairs of non-metals, each with a bond to another at the start."""
        other = np.array([not is_metal(symbol) for symbol in self._symbols])
        pairs = other[:, None] & other
        bound = ((self._bonded | self._bonded.T) & pairs).any(axis=1)
        counted: NDArray[np.bool_] = pairs & bound[:, None] & bound
        return counted


def drifted_apart(positions: FloatArray) -> str | None:
    """A sentence that begins with ``dissociated`` when some atoms are far from all others; positions [Angstrom]."""
    parts, names = connected_components(cdist(positions, positions) < _PARTED, directed=False)
    if parts == 1:
        return None
    smallest = int(np.argmin(np.bincount(names)))
    gap = float(cdist(positions[names == smallest], positions[names != smallest]).min())
    atom = int(np.flatnonzero(names == smallest)[0])
    return f"dissociated: atom {atom} and what is with it is {gap:.1f} Angstrom from the rest"
