"""Bays: cavities that the lone pairs of two or more donor atoms face, from bipyridine's N,N to a crown's ring of O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from alkaflow.structures.candidates import Candidate, Room
from alkaflow.structures.donors import Donor
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import GUESTS, Guest
from alkaflow.structures.structure import FloatArray
from alkaflow.structures.vectors import angle_between, apex, plane_normal, slide, unit

_PROBE = GUESTS["Li"]
_NEAREST = {True: 2.2, False: 2.4}  # donor..donor across a bay [Angstrom]; for two N, and for others
_STRETCH = 0.2  # by which a pair may be wider than what the probe touches at once [Angstrom]
_ACROSS = 0.6  # the same for donors that face each other across a macrocycle
_ONE_CAVITY = (2.2, 1.5, 1.0)  # places of pairs with a donor in common nearer than this may be one cavity [Angstrom]
_SURROUNDED = 0.8  # a cavity this near the axis of its ring of donors is surrounded by them [Angstrom]
_TURN = 15.0  # by which a lone pair may miss a cavity of three or more donors beyond its opening [degree]
_FLAT_RISE = 0.3  # a guest that would rise less than this lies in the plane of its donors [Angstrom]
_HEIGHTS = np.arange(0.1, 2.0, 0.1)  # over the plane of the donors, tried from below [Angstrom]
_RECRUITED = 1.4  # a donor this much beyond the probe's reach of a cavity that it faces belongs to it [Angstrom]

_IMINES = {"pyridinic nitrogen", "imine nitrogen", "azo nitrogen", "nitrogen"}


@dataclass(frozen=True)
class _Cavity:
    """Donors that face one place. ``outward`` is None where they surround it."""

    donors: tuple[Donor, ...]
    place: FloatArray
    outward: FloatArray | None


def find_bays(graph: BondGraph, donors: Sequence[Donor], guest: Guest) -> Iterator[Candidate]:
    """Yield every bay; one with donors all around it that is entered from above yields both sides."""
    room = Room.of_graph(graph)
    for cavity in _cavities(graph, room, donors):
        anchors = tuple(sorted(donor.atom for donor in cavity.donors))
        label = _label(cavity.donors)
        rank = (f"{99 - len(anchors):02d}", label)
        probes = _places(graph, room, cavity, _PROBE)
        for place, probe in zip(_places(graph, room, cavity, guest), probes, strict=True):
            yield Candidate("bay", label, anchors, place.position, place.normal, 0.0, probe.position, rank)


def _label(donors: Sequence[Donor]) -> str:
    labels = {donor.label for donor in donors}
    if labels <= _IMINES:
        return "imine bay"
    if labels == {"carbonyl oxygen"}:
        return "carbonyl bay"
    if labels == {"ether oxygen"}:
        return "crown bay" if len(donors) > 2 else "ether bay"
    if labels == {"amine nitrogen"}:
        return "amine bay"
    if labels == {"alkoxide oxygen"}:
        return "alkoxide bay"
    return f"{','.join(sorted({donor.element for donor in donors}))} bay"


# --- which donors share a cavity -------------------------------------------------------------------------------------


def _cavities(graph: BondGraph, room: Room, donors: Sequence[Donor]) -> Iterator[_Cavity]:
    """Pairs of donors that face one place; pairs with a donor in common and nearly one place become one cavity."""
    yield from _grouped(graph, room, donors, list(_pairs(graph, donors)), _ONE_CAVITY)


def _grouped(
    graph: BondGraph, room: Room, donors: Sequence[Donor], pairs: list[_Cavity], distances: tuple[float, ...]
) -> Iterator[_Cavity]:
    """Join pairs within the first distance; where their donors do not face one place, try the next, smaller one."""
    if not distances:
        yield from pairs
        return
    for group in _linked(pairs, distances[0]):
        whole = group[0] if len(group) == 1 else _joined(graph, room, donors, group)
        if whole is None:
            yield from _grouped(graph, room, donors, group, distances[1:])
        else:
            yield whole


def _pairs(graph: BondGraph, donors: Sequence[Donor]) -> Iterator[_Cavity]:
    """Two donors whose lone pairs both point at the place where the probe touches both."""
    if len(donors) < 2:
        return
    positions = graph.structure.positions
    reaches = [_PROBE.reach(donor.element) for donor in donors]
    points = positions[[donor.atom for donor in donors]]
    for i, j in sorted(cKDTree(points).query_pairs(2 * max(reaches) + _ACROSS)):
        a, b = donors[i], donors[j]
        gap = float(np.linalg.norm(points[i] - points[j]))
        reach = reaches[i] + reaches[j]
        if gap < _NEAREST[a.element == b.element == "N"] or _same_group(graph, a, b):
            continue
        out = a.direction + b.direction
        across = (points[j] - points[i]) / gap
        if np.linalg.norm(out - across * (out @ across)) > 0.3:
            place, _ = apex(points[i], points[j], out, reaches[i], reaches[j])
            outward: FloatArray | None = out
            wide = gap > reach + _STRETCH
        else:
            place, outward, wide = (points[i] + points[j]) / 2, None, gap > reach + _ACROSS
        if not wide and all(_faces(donor, positions, place) for donor in (a, b)):
            yield _Cavity((a, b), place, outward)


def _same_group(graph: BondGraph, a: Donor, b: Donor) -> bool:
    """Whether two donors are the ends of one carboxylate, sulfonyl or acetal rather than the sides of a cavity."""
    shared = graph.neighbours[a.atom] & graph.neighbours[b.atom]
    return bool(shared) and not a.element == b.element == "N"


def _faces(donor: Donor, positions: FloatArray, place: FloatArray, turn: float = 0.0) -> bool:
    return angle_between(donor.direction, place - positions[donor.atom]) <= donor.opening + turn


def _linked(pairs: list[_Cavity], distance: float) -> Iterator[list[_Cavity]]:
    """Groups of pairs linked by a common donor and places nearer than a distance [Angstrom]."""
    if not pairs:
        return
    by_donor: dict[int, list[int]] = {}
    for index, pair in enumerate(pairs):
        for donor in pair.donors:
            by_donor.setdefault(donor.atom, []).append(index)
    links = [
        (i, j)
        for indices in by_donor.values()
        for number, i in enumerate(indices)
        for j in indices[number + 1 :]
        if np.linalg.norm(pairs[i].place - pairs[j].place) < distance
    ]
    rows, columns = np.array(links or [(0, 0)]).T
    linked = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(pairs), len(pairs)))
    count, names = connected_components(linked, directed=False)
    for name in range(count):
        yield [pairs[i] for i in np.flatnonzero(names == name)]


def _joined(graph: BondGraph, room: Room, donors: Sequence[Donor], group: list[_Cavity]) -> _Cavity | None:
    """The cavity of three or more donors, others that face it included; None when not all of the group face it."""
    seed: FloatArray = np.mean([pair.place for pair in group], axis=0)
    whole = _cavity_of(graph, {donor.atom: donor for pair in group for donor in pair.donors}, seed)
    places = _faced(graph, room, whole)
    if not places:
        return None
    known = {donor.atom for donor in whole.donors}
    near = {
        donor.atom: donor
        for donor in donors
        if donor.atom in known or any(_belongs(donor, graph.structure.positions, place) for place in places)
    }
    larger = _cavity_of(graph, near, places[0])
    return larger if _faced(graph, room, larger) else whole


def _cavity_of(graph: BondGraph, donors: dict[int, Donor], seed: FloatArray) -> _Cavity:
    """A cavity of donors; one near the axis of their ring is surrounded by them."""
    points = graph.structure.positions[sorted(donors)]
    offset, normal = seed - points.mean(axis=0), plane_normal(points)
    beside = offset - normal * (offset @ normal)
    outward = None if np.linalg.norm(beside) < _SURROUNDED else offset
    return _Cavity(tuple(donors[atom] for atom in sorted(donors)), seed, outward)


def _faced(graph: BondGraph, room: Room, cavity: _Cavity) -> list[FloatArray]:
    """Places of the probe in a cavity that all of its donors face."""
    positions = graph.structure.positions
    places = [place.position for place in _places(graph, room, cavity, _PROBE)]
    return [place for place in places if all(_faces(donor, positions, place, _TURN) for donor in cavity.donors)]


def _belongs(donor: Donor, positions: FloatArray, place: FloatArray) -> bool:
    """Whether a donor faces a place from not much farther than the probe's reach."""
    distance = float(np.linalg.norm(place - positions[donor.atom]))
    return distance < _PROBE.reach(donor.element) + _RECRUITED and _faces(donor, positions, place, _TURN)


# --- where in the cavity a guest sits --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    position: FloatArray
    normal: FloatArray


def _places(graph: BondGraph, room: Room, cavity: _Cavity, guest: Guest) -> list[_Place]:
    """Where a guest sits: one place in an open bay, and one on every side from which a ring of donors is entered.

    Which places there are follows from the host; the guest only decides how far in it goes.
    """
    points = graph.structure.positions[[donor.atom for donor in cavity.donors]]
    reaches = np.array([guest.reach(donor.element) for donor in cavity.donors])
    if cavity.outward is None:
        return _places_amidst(graph, room, cavity, float(reaches.mean()))
    if len(points) == 2:
        return [_Place(*apex(points[0], points[1], cavity.outward, reaches[0], reaches[1]))]
    centre, normal = points.mean(axis=0), unit(cavity.outward)
    return [_Place(centre + slide(centre[None], points, reaches[None], normal) * normal, normal)]


def _places_amidst(graph: BondGraph, room: Room, cavity: _Cavity, reach: float) -> list[_Place]:
    """Amidst donors all around: in their plane if it has room and they face it, else over it, on the sides that do.

    A guest too large for the plane rises from it, to the outer side of the host.
    """
    anchors = {donor.atom for donor in cavity.donors}
    positions = graph.structure.positions
    points = positions[sorted(anchors)]
    centre = points.mean(axis=0)
    around = anchors.union(*(graph.neighbours[atom] for atom in anchors))
    normal = plane_normal(positions[sorted(around)])
    if (centre - positions.mean(axis=0)) @ normal < 0:
        normal = -normal
    radius = float(np.linalg.norm(points - centre, axis=1).mean())
    rise = float(np.sqrt(max(reach**2 - radius**2, 0.0)))

    def fits(place: FloatArray) -> bool:
        faced = len(anchors) == 2 or all(_faces(donor, positions, place, _TURN) for donor in cavity.donors)
        return faced and room.is_free(place, anchors)

    if fits(centre):
        return [_Place(centre + (rise if rise > _FLAT_RISE else 0.0) * normal, normal)]
    lowest = {side: next((h for h in _HEIGHTS if fits(centre + h * side * normal)), None) for side in (1.0, -1.0)}
    return [
        _Place(centre + max(rise, height) * side * normal, side * normal)
        for side, height in lowest.items()
        if height is not None
    ]
