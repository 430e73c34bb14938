"""The bond graph of a structure: bonds from covalent radii, rings, and names that do not depend on atom order."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from alkaflow.elements import SYMBOLS, is_metal
from alkaflow.structures.structure import FloatArray, Structure

BOND_SLACK = 0.4
"""Two atoms are bonded when closer than the sum of their covalent radii plus this [Angstrom].

Radii: Cordero et al., Dalton Trans. 2832 (2008), doi 10.1039/b801115j, as tabulated in ASE.
"""

METAL_SLACK = 0.35
"""The same for a bond with one metal atom [Angstrom]: their radii are large, and donors across a ring are near."""

METAL_CARBON_SLACK = 0.05
"""The same for a metal and a carbon [Angstrom]; in a chelate ring of Zr, C is 0.2 beyond the sum and not bonded."""

_METAL = np.array([is_metal(symbol) for symbol in ("X", *SYMBOLS)])
_METAL[0] = False
_CARBON = 6


def bond_reach(first: NDArray[np.int64], second: NDArray[np.int64]) -> FloatArray:
    """Distance below which atoms of these atomic numbers are bonded [Angstrom], of the shape of the arguments."""
    with_metal = _METAL[first] | _METAL[second]
    with_carbon = with_metal & ((first == _CARBON) | (second == _CARBON))
    slack = np.where(with_carbon, METAL_CARBON_SLACK, np.where(with_metal, METAL_SLACK, BOND_SLACK))
    reach: FloatArray = covalent_radii[first] + covalent_radii[second] + slack
    return reach


@dataclass(frozen=True)
class BondGraph:
    """Neighbours, rings and order-free atom classes of a structure."""

    structure: Structure

    @cached_property
    def neighbours(self) -> tuple[frozenset[int], ...]:
        """Bonded atoms of every atom."""
        found: list[set[int]] = [set() for _ in self.structure.symbols]
        for i, j in self.bonds:
            found[i].add(j)
            found[j].add(i)
        return tuple(frozenset(s) for s in found)

    @cached_property
    def bonds(self) -> frozenset[tuple[int, int]]:
        """Pairs of bonded atoms, lower index first; metals that share a bridging non-metal are not bonded."""
        positions, radii = self.structure.positions, covalent_radii[self.structure.numbers]
        reach = 2 * radii.max() + BOND_SLACK
        pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
        if not len(pairs):
            return frozenset()
        first, second = pairs.T
        distance = np.linalg.norm(positions[first] - positions[second], axis=1)
        numbers = self.structure.numbers
        bonded = distance < bond_reach(numbers[first], numbers[second])
        near = {(int(min(i, j)), int(max(i, j))) for i, j in pairs[bonded]}
        return frozenset(near - self._bridged_metals(near))

    def _bridged_metals(self, pairs: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Pairs of metal atoms that hold a non-metal between them, as in M-O-M."""
        metal = [is_metal(symbol) for symbol in self.structure.symbols]
        ligands: dict[int, set[int]] = {}
        for i, j in pairs:
            if metal[i] != metal[j]:
                ligands.setdefault(i if metal[i] else j, set()).add(j if metal[i] else i)
        return {(i, j) for i, j in pairs if metal[i] and metal[j] and ligands.get(i, set()) & ligands.get(j, set())}

    @cached_property
    def fragments(self) -> int:
        """Number of connected parts."""
        return len(self.pieces)

    @cached_property
    def pieces(self) -> tuple[tuple[int, ...], ...]:
        """Atoms of every connected part."""
        count, names = connected_components(self._adjacency, directed=False)
        return tuple(tuple(np.flatnonzero(names == piece).tolist()) for piece in range(count))

    @property
    def _adjacency(self) -> csr_array:
        n = len(self.structure)
        if not self.bonds:
            return csr_array((n, n))
        i, j = np.array(sorted(self.bonds)).T
        return csr_array((np.ones(len(i)), (i, j)), shape=(n, n))

    @cached_property
    def rings(self) -> tuple[tuple[int, ...], ...]:
        """Smallest rings, symmetrised, each as atoms in order around it."""
        from rdkit import Chem

        molecule = Chem.RWMol()
        for number in self.structure.numbers.tolist():
            molecule.AddAtom(Chem.Atom(number))
        for i, j in sorted(self.bonds):
            molecule.AddBond(i, j, Chem.BondType.SINGLE)
        return tuple(tuple(ring) for ring in Chem.GetSymmSSSR(molecule))

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """A number per atom, equal for atoms that the graph cannot tell apart (Weisfeiler-Lehman refinement).

        The numbers follow from elements and bonds alone, never from the order of the atoms.
        """
        ranks = self.structure.numbers.tolist()
        count = 0
        while len(set(ranks)) > count:
            count = len(set(ranks))
            names = [(ranks[i], tuple(sorted(ranks[j] for j in bonded))) for i, bonded in enumerate(self.neighbours)]
            order = {name: rank for rank, name in enumerate(sorted(set(names)))}
            ranks = [order[name] for name in names]
        return tuple(ranks)

    def coordination(self, symbol: str) -> list[Counter[str]]:
        """Count the elements bonded to every atom of one element, in the order of atoms."""
        symbols = self.structure.symbols
        return [Counter(symbols[j] for j in bonded) for i, bonded in enumerate(self.neighbours) if symbols[i] == symbol]

    def within(self, atom: int, bonds: int) -> set[int]:
        """Atoms at most so many bonds away from an atom, itself among them."""
        reached = edge = {atom}
        for _ in range(bonds):
            edge = set().union(*(self.neighbours[i] for i in edge)) - reached
            reached = reached | edge
        return reached

    def hydrogens(self, atom: int) -> tuple[int, ...]:
        """Hydrogen atoms bonded to an atom."""
        return tuple(sorted(j for j in self.neighbours[atom] if self.structure.symbols[j] == "H"))

    def bond_vectors(self, atom: int) -> FloatArray:
        """Unit vectors from an atom towards the atoms bonded to it, shape=(n_bonded, 3)."""
        positions = self.structure.positions
        vectors = positions[sorted(self.neighbours[atom])] - positions[atom]
        unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
