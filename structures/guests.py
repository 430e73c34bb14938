"""Guests that alkaflow can place: atoms, ions, anions of salts, solvents."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from alkaflow.elements import is_metal
from alkaflow.errors import UnknownNameError
from alkaflow.structures.distances import contact_distance, covalent_distance
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.smiles import from_smiles
from alkaflow.structures.structure import FloatArray, Structure


@dataclass(frozen=True, eq=False)
class Guest:
    """Something that binds to a host.

    Attributes
    ----------
    name
        As users write it: ``Li``, ``Na+``, ``PF6-``.
    charge, multiplicity
        Of the guest alone.
    build
        Makes its symbols and positions [Angstrom].
    face_height
        Where an atom or ion starts over the plane of a six-membered ring [Angstrom].
    """

    name: str
    charge: int
    multiplicity: int
    build: Callable[[], Structure]
    face_height: float | None = None

    @cached_property
    def structure(self) -> Structure:
        """The guest alone, about its centroid."""
        made = self.build()
        return Structure(
            made.symbols, made.positions - made.positions.mean(axis=0), self.charge, self.multiplicity, self.name
        )

    @property
    def is_atom(self) -> bool:
        """Whether it is one atom or ion."""
        return len(self.structure) == 1

    @cached_property
    def electrophilic(self) -> tuple[int, ...]:
        """Its atoms that seek donors: metals, else H on N, O or F, else any H."""
        symbols, graph = self.structure.symbols, BondGraph(self.structure)
        metals = tuple(i for i, symbol in enumerate(symbols) if is_metal(symbol))
        hydrogens = tuple(i for i, symbol in enumerate(symbols) if symbol == "H")
        polar = tuple(i for i in hydrogens if any(symbols[j] in ("N", "O", "F") for j in graph.neighbours[i]))
        return metals or polar or hydrogens

    @cached_property
    def nucleophilic(self) -> tuple[int, ...]:
        """Its atoms that seek metals and acidic hydrogens: N, O, S, halogens; F on C only where there is no other."""
        symbols, graph = self.structure.symbols, BondGraph(self.structure)
        donors = tuple(i for i, symbol in enumerate(symbols) if symbol in ("N", "O", "F", "S", "Cl", "Br", "I"))
        strong = tuple(
            i for i in donors if symbols[i] in ("N", "O", "S") or all(symbols[j] != "C" for j in graph.neighbours[i])
        )
        accessible = tuple(i for i in strong if len(graph.neighbours[i]) <= 2)
        return accessible or strong or donors

    def contacts(self, donates: bool) -> tuple[int, ...]:
        """The atoms that touch a host; all of them where none is of the kind asked.

        Parameters
        ----------
        donates
            Whether the host's anchors are donors (a bay) rather than acceptors (an acidic hydrogen).
        """
        found = self.electrophilic if donates else self.nucleophilic
        return found or tuple(range(len(self.structure)))

    def reach(self, anchor: str, donates: bool = True) -> float:
        """Distance at which its first contact atom starts from an anchor of this element [Angstrom]."""
        probe = self.structure.symbols[self.contacts(donates)[0]]
        if self.name == "H":
            return covalent_distance(anchor, "H")
        return contact_distance(anchor, probe, self.charge)

    def height(self, radius: float) -> float:
        """Where it starts over the plane of a ring of this radius [Angstrom]."""
        if self.face_height is not None:
            return self.face_height
        return math.sqrt(max(self.reach("C") ** 2 - radius**2, 1.0))


def get_guest(name: str) -> Guest:
    """Return a guest by name; raise UnknownNameError with the known ones."""
    if name not in GUESTS:
        raise UnknownNameError("guest", name, GUESTS)
    return GUESTS[name]


def _atom(symbol: str, charge: int, multiplicity: int, face_height: float | None = None) -> Guest:
    name = symbol + {0: "", 1: "+"}.get(charge, f"{charge}+")
    return Guest(name, charge, multiplicity, lambda: _placed((symbol,), np.zeros((1, 3)), charge), face_height)


def _molecule(name: str, smiles: str, charge: int = 0) -> Guest:
    return Guest(name, charge, 1, lambda: from_smiles(smiles))


def _placed(symbols: tuple[str, ...], positions: FloatArray, charge: int = 0) -> Structure:
    return Structure(symbols, positions, charge)


def _hexafluorophosphate() -> Structure:
    """PF6-: an octahedron, P-F 1.61 Angstrom (crystals of KPF6: 1.58-1.60; B3LYP: 1.64)."""
    corners = np.vstack([np.eye(3), -np.eye(3)])
    return _placed(("P", *"FFFFFF"), np.vstack([np.zeros(3), 1.61 * corners]), -1)


def _water() -> Structure:
    """H2O at its experimental equilibrium: O-H 0.9572 Angstrom, H-O-H 104.52 degrees."""
    half = math.radians(104.52 / 2)
    x, z = 0.9572 * math.sin(half), 0.9572 * math.cos(half)
    return _placed(("O", "H", "H"), np.array([[0, 0, 0], [x, 0, z], [-x, 0, z]]))


def _lithium_tetrasulfide() -> Structure:
    """Li2S4: an S4 chain whose ends two Li bridge, C2; the lowest of four starts relaxed at GFN2-xTB."""
    half = np.array([[1.7656, 0.0, 0.4975], [0.9344, -0.4807, -1.3108], [0.0150, 1.6779, 0.8133]])
    turned = half * np.array([-1.0, -1.0, 1.0])
    return _placed(("S", "S", "Li") * 2, np.vstack([half, turned]))


GUESTS: dict[str, Guest] = {
    guest.name: guest
    for guest in (
        # Heights over benzene: ions as in the cation-pi complexes of Li+ (1.9), Na+ (2.4) and K+ (2.8 Angstrom).
        _atom("Li", 0, 2, 1.90),
        _atom("Na", 0, 2, 2.30),
        _atom("K", 0, 2, 2.75),
        _atom("Zn", 0, 1, 2.30),
        _atom("Li", 1, 1, 1.85),
        _atom("Na", 1, 1, 2.35),
        _atom("K", 1, 1, 2.80),
        _atom("Zn", 2, 1, 1.75),
        _atom("H", 0, 2),
        Guest("PF6-", -1, 1, _hexafluorophosphate),
        _molecule("TFSI-", "O=S(=O)([N-]S(=O)(=O)C(F)(F)F)C(F)(F)F", -1),
        _molecule("FSI-", "O=S(=O)(F)[N-]S(=O)(=O)F", -1),
        _molecule("DOL", "C1COCO1"),
        _molecule("DME", "COCCOC"),
        _molecule("EC", "O=C1OCCO1"),
        _molecule("DMC", "COC(=O)OC"),
        Guest("H2O", 0, 1, _water),
        Guest("Li2S4", 0, 1, _lithium_tetrasulfide),
    )
}
"""Guests by name. TFSI- is bis(trifluoromethanesulfonyl)imide, FSI- bis(fluorosulfonyl)imide, DOL 1,3-dioxolane,
DME 1,2-dimethoxyethane, EC ethylene carbonate, DMC dimethyl carbonate."""
