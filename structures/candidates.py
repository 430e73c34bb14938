"""A place that a rule found, before symmetry says which places are one site."""

from dataclasses import dataclass

from scipy.spatial import cKDTree

from alkaflow.structures.structure import FloatArray

_CLEAR = 1.3  # nothing but anchors closer to a probe than this [Angstrom]; a host may bend a little to make room


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

    def has_room(self, tree: cKDTree, clear: float = _CLEAR) -> bool:
        """Whether nothing but the anchors stands in the way of the probe."""
        near = set(tree.query_ball_point(self.probe, clear))
        return not near - set(self.anchors)
