"""Atoms with a lone pair that a metal can use. A kind of donor is one row of `DONORS`; the first row that fits counts.

The lone pair (or the middle of several) points away from the bonded atoms, along minus the sum of the unit vectors
towards them: on the axis of C=O, along the bisector at a pyridinic N, up from a pyramid.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from alkaflow.elements import is_metal
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray
from alkaflow.structures.vectors import angle_between

_FLAT_SUM = 350.0  # bond angles at a three-coordinate atom sum up to more than this when it is planar [degree]


@dataclass(frozen=True)
class DonorKind:
    """A row of the table.

    Attributes
    ----------
    label
        For people.
    element
        Of the donor atom.
    bonded
        Number of atoms bonded to it.
    opening
        How far off the lone pair's direction a metal may sit [degree].
    when
        What else must hold; none: nothing.
    """

    label: str
    element: str
    bonded: int
    opening: float
    when: Callable[["Surroundings"], bool] = lambda _: True


@dataclass(frozen=True)
class Surroundings:
    """What a row of the table may ask about an atom."""

    graph: BondGraph
    atom: int

    @property
    def elements(self) -> list[str]:
        """Elements bonded to it, sorted."""
        return sorted(self.graph.structure.symbols[j] for j in self.graph.neighbours[self.atom])

    @property
    def metals(self) -> int:
        """Number of metal atoms bonded to it."""
        return sum(is_metal(element) for element in self.elements)

    @property
    def angles(self) -> list[float]:
        """Bond angles at it [degree]."""
        vectors = self.graph.bond_vectors(self.atom)
        return [angle_between(vectors[i], vectors[j]) for i in range(len(vectors)) for j in range(i)]

    @property
    def ring_size(self) -> int:
        """Size of the smallest ring that it is in; 0 outside rings."""
        return min((len(ring) for ring in self.graph.rings if self.atom in ring), default=0)

    @property
    def bent(self) -> bool:
        """Whether its two bonds leave room for a lone pair."""
        return 40.0 < self.angles[0] < 165.0

    @property
    def pyramidal(self) -> bool:
        """Whether its three bonds lie on one side."""
        return sum(self.angles) < _FLAT_SUM

    @property
    def conjugated(self) -> bool:
        """Whether an atom bonded to it is planar, so that its lone pair is part of a pi system."""
        graph = self.graph
        return any(graph.structure.symbols[j] in ("C", "N") and len(graph.neighbours[j]) <= 3 for j in self.bonded)

    @property
    def bonded(self) -> frozenset[int]:
        """Atoms bonded to it."""
        return self.graph.neighbours[self.atom]

    @property
    def carrier_bonds(self) -> int:
        """Number of bonds of the one atom that carries it."""
        (carrier,) = self.bonded
        return len(self.graph.neighbours[carrier])

    @property
    def terminal_oxygens_beside(self) -> int:
        """Number of terminal O on the one atom that carries it, itself included."""
        symbols, neighbours = self.graph.structure.symbols, self.graph.neighbours
        (carrier,) = self.bonded
        return sum(symbols[o] == "O" and len(neighbours[o]) == 1 for o in neighbours[carrier])

    @property
    def beside_carbonyl(self) -> bool:
        """Whether it is bonded to a carbon that carries a terminal O."""
        symbols, neighbours = self.graph.structure.symbols, self.graph.neighbours
        return any(
            symbols[c] == "C" and any(symbols[o] == "O" and len(neighbours[o]) == 1 for o in neighbours[c])
            for c in neighbours[self.atom]
        )

    @property
    def beside_oxygen(self) -> bool:
        """Whether it is bonded to a carbon that carries another O."""
        symbols, neighbours = self.graph.structure.symbols, self.graph.neighbours
        return any(
            symbols[c] == "C" and any(symbols[o] == "O" and o != self.atom for o in neighbours[c])
            for c in neighbours[self.atom]
        )


DONORS: tuple[DonorKind, ...] = (
    DonorKind("pyridinic nitrogen", "N", 2, 50.0, lambda at: at.bent and at.ring_size == 6 and not at.metals),
    DonorKind("azo nitrogen", "N", 2, 50.0, lambda at: at.bent and "N" in at.elements and not at.metals),
    DonorKind("imine nitrogen", "N", 2, 50.0, lambda at: at.bent and "C" in at.elements and not at.metals),
    DonorKind("nitrogen", "N", 2, 50.0, lambda at: at.bent and not at.metals),
    DonorKind("amine nitrogen", "N", 3, 50.0, lambda at: at.pyramidal and not at.metals and not at.conjugated),
    DonorKind("terminal nitrogen", "N", 1, 60.0, lambda at: at.elements == ["N"] or at.carrier_bonds == 1),
    DonorKind("terminal carbon", "C", 1, 60.0, lambda at: at.elements[0] in ("N", "O")),
    DonorKind("carbonyl oxygen", "O", 1, 100.0, lambda at: at.elements == ["C"]),
    DonorKind("sulfoxide oxygen", "O", 1, 100.0, lambda at: at.elements == ["S"] and at.terminal_oxygens_beside == 1),
    DonorKind("sulfonyl oxygen", "O", 1, 100.0, lambda at: at.elements == ["S"]),
    DonorKind("phosphoryl oxygen", "O", 1, 100.0, lambda at: at.elements == ["P"]),
    DonorKind("N-oxide oxygen", "O", 1, 100.0, lambda at: at.elements == ["N"]),
    DonorKind("terminal oxygen", "O", 1, 100.0, lambda at: not at.metals and at.elements != ["H"]),
    DonorKind("hydroxide oxygen", "O", 1, 100.0, lambda at: at.elements == ["H"]),
    DonorKind("water oxygen", "O", 2, 65.0, lambda at: at.elements == ["H", "H"]),
    DonorKind("hydroxyl oxygen", "O", 2, 65.0, lambda at: at.bent and "H" in at.elements),
    DonorKind("carboxylate oxygen", "O", 2, 55.0, lambda at: at.bent and at.metals == 1 and at.beside_oxygen),
    DonorKind("alkoxide oxygen", "O", 2, 65.0, lambda at: at.bent and at.metals == 1),
    DonorKind("ester oxygen", "O", 2, 55.0, lambda at: at.bent and not at.metals and at.beside_carbonyl),
    DonorKind("ether oxygen", "O", 2, 65.0, lambda at: at.bent and not at.metals),
    DonorKind("bridging alkoxide oxygen", "O", 3, 50.0, lambda at: at.pyramidal and 0 < at.metals < 3),
    DonorKind("terminal sulfur", "S", 1, 100.0, lambda at: not at.metals),
    DonorKind("thiol sulfur", "S", 2, 65.0, lambda at: at.bent and "H" in at.elements),
    DonorKind("thioether sulfur", "S", 2, 65.0, lambda at: at.bent and not at.metals),
    DonorKind("sulfide sulfur", "S", 2, 65.0, lambda at: at.bent and at.metals > 0),
    DonorKind("phosphine phosphorus", "P", 3, 50.0, lambda at: at.pyramidal),
    DonorKind("fluoride", "F", 1, 100.0, lambda at: at.elements[0] not in ("C", "H", "N", "O", "F")),
    *(
        DonorKind(label, element, bonded, 65.0, lambda at: at.metals == len(at.bonded))
        for label, element in (("fluoride", "F"), ("chloride", "Cl"), ("bromide", "Br"))
        for bonded in range(1, 6)
    ),
)
"""Every kind of donor atom but nitrile N (whose sites are corners and ends) and oxo O (a kind of its own)."""


@dataclass(frozen=True)
class Donor:
    """An atom with a lone pair: its direction, and how far off it a metal may sit [degree]."""

    atom: int
    element: str
    label: str
    direction: FloatArray
    opening: float


def find_donors(graph: BondGraph) -> Iterator[Donor]:
    """Yield the donor atoms of a structure."""
    symbols = graph.structure.symbols
    for atom, bonded in enumerate(graph.neighbours):
        rows = [row for row in DONORS if row.element == symbols[atom] and row.bonded == len(bonded)]
        at = Surroundings(graph, atom)
        if not rows or (symbols[atom] == "O" and at.metals == len(bonded)):
            continue
        row = next((row for row in rows if row.when(at)), None)
        away = -graph.bond_vectors(atom).sum(axis=0)
        length = float(np.linalg.norm(away))
        if row is not None and length > 0.1:
            yield Donor(atom, symbols[atom], row.label, away / length, row.opening)
