"""A place that a rule found, before symmetry says which places are one site."""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.spatial import cKDTree

from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray

_CLEAR = 1.7  # no atom but anchors and hydrogens closer to a probe than this [Angstrom]
_CLEAR_OF_HYDROGEN = 1.3  # a C-H bends away
_CLEAR_OF_POLAR_HYDROGEN = 1.8  # an O-H or N-H that points at a donor is bonded to it


@dataclass(frozen=True)
class Room:
    """The atoms of a host, for the question whether a probe fits between them."""

    everything: cKDTree
    heavy: frozenset[int]
    polar: frozenset[int]

    @classmethod
    def of_graph(cls, graph: BondGraph) -> "Room":
        """The room around the atoms of a bond graph."""
        symbols = graph.structure.symbols
        heavy = frozenset(i for i, symbol in enumerate(symbols) if symbol != "H")
        polar = frozenset(
            i for i, symbol in enumerate(symbols)
            if symbol == "H" and any(symbols[j] in ("N", "O", "F") for j in graph.neighbours[i])
        )  # fmt: skip
        return cls(cKDTree(graph.structure.positions), heavy, polar)

    def is_free(self, probe: FloatArray, anchors: Iterable[int]) -> bool:
        """Whether nothing but the anchors stands in the way of a probe at a position [Angstrom]."""
        limits = ((_CLEAR, self.heavy), (_CLEAR_OF_POLAR_HYDROGEN, self.polar))
        others = set(self.everything.query_ball_point(probe, _CLEAR_OF_HYDROGEN))
        for limit, atoms in limits:
            others |= set(self.everything.query_ball_point(probe, limit)) & atoms
        return not others - set(anchors)


@dataclass(frozen=True)
class Candidate:
    """A place where a guest may bind.

    Attributes
    ----------
    kind, label
        As in `Site`.
    anchors
        Atoms that hold the guest (0-based), sorted.
    base, normal, height
        The guest starts at ``base + height * normal`` [Angstrom]; ``normal`` is a unit vector off the host.
    probe
        Where a small probe (Li; a fluoride for acidic hydrogens) would sit, to see whether there is room [Angstrom].
    rank
        Sorts distinct sites of a kind; free of atom order and geometry.
    """

    kind: str
    label: str
    anchors: tuple[int, ...]
    base: FloatArray
    normal: FloatArray
    height: float
    probe: FloatArray
    rank: tuple[str, ...] = ()

    @property
    def position(self) -> FloatArray:
        """Where the guest starts [Angstrom], shape=(3,)."""
        position: FloatArray = self.base + self.height * self.normal
        return position
