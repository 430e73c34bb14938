"""Where on a host a guest binds: named kinds of sites, one per symmetry-distinct place.

Each rule below yields candidates; candidates that a symmetry operation of the host maps onto each other are members
of one site. Kinds served: ``bay``, ``corner``, ``end`` and ``face``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import Guest, get_guest
from alkaflow.structures.rings import planar_rings, plane_normal, ring_label
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.symmetry import DEFAULT_TOLERANCE, Operation, find_operations

_NITRILE_LENGTH = 1.30  # C#N is 1.15-1.17 Angstrom, C=N at least 1.27
_NITRILE_PAIR = 4.6  # N..N of two nitriles that share one atom: 3.9-4.4 Angstrom
_NITRILE_SPREAD = 150.0  # degree between their axes; 56 in HATCN, 118 in geminal pairs, 180 in cyanogen
_BAY_PAIR = (2.2, 3.4)  # donor..donor across a bay [Angstrom]: 2.6-2.9 in bipyridines and o-quinones
_BAY_CLOSE = 1.0  # two pair bays nearer than this are one cavity [Angstrom]
_CLEAR = 1.5  # nothing but anchors closer to a guest than this [Angstrom]


@dataclass(frozen=True)
class Member:
    """One of the symmetry-equivalent places of a site. Positions in Angstrom; ``normal`` points off the host."""

    id: str
    anchors: tuple[int, ...]
    position: FloatArray
    normal: FloatArray


@dataclass(frozen=True)
class Site:
    """A symmetry-distinct place on a host; its own place is that of its first member."""

    id: str
    kind: str
    label: str
    members: tuple[Member, ...]

    @property
    def anchors(self) -> tuple[int, ...]:
        """Atoms that hold the guest (0-based)."""
        return self.members[0].anchors

    @property
    def position(self) -> FloatArray:
        """Where the guest starts [Angstrom], shape=(3,)."""
        return self.members[0].position

    @property
    def normal(self) -> FloatArray:
        """Unit vector off the host, shape=(3,)."""
        return self.members[0].normal

    @property
    def multiplicity(self) -> int:
        """Number of symmetry-equivalent places; both sides of a ring are counted."""
        return len(self.members)


@dataclass(frozen=True)
class _Candidate:
    """A place found by a rule. ``rank`` sorts distinct sites of a kind and is free of atom order and geometry."""

    kind: str
    label: str
    anchors: tuple[int, ...]
    base: FloatArray
    normal: FloatArray
    height: float
    rank: tuple[str, ...]

    @property
    def position(self) -> FloatArray:
        position: FloatArray = self.base + self.height * self.normal
        return position


@dataclass(frozen=True)
class _Donor:
    """An atom with a lone pair: its direction, and how far off it a metal may sit [degree]."""

    atom: int
    element: str
    direction: FloatArray
    opening: float


def find_sites(host: Structure, guest: str = "Li", tolerance: float = DEFAULT_TOLERANCE) -> list[Site]:
    """Find the symmetry-distinct sites of a host.

    Parameters
    ----------
    host
        Any molecule or cluster, in one piece.
    guest
        Whose distances place the positions.
    tolerance
        Of the symmetry detection [Angstrom].

    Returns
    -------
    list of Site
        Bays, corners, ends, then faces.

    Raises
    ------
    BadInputError
        The host is in several pieces.
    """
    graph = BondGraph(host)
    if graph.fragments > 1:
        raise BadInputError(f"the host {host.name or host.formula} is in {graph.fragments} pieces that are not bonded")
    metal = get_guest(guest)
    operations = find_operations(graph, tolerance)
    sites: list[Site] = []
    for kind, rule in RULES.items():
        candidates = [c for c in rule(graph, metal) if _is_clear(c, host)]
        groups = _merge_equivalent(candidates, operations)
        groups.sort(key=lambda group: _order(group[0], graph))
        sites += [_as_site(f"{kind}-{number}", group) for number, group in enumerate(groups, start=1)]
    return sites


def select_sites(sites: list[Site], query: str) -> list[Site]:
    """Return the sites that an id, a kind or a label names.

    Raises
    ------
    UnknownNameError
        Nothing answers to it; says what there is.
    """
    wanted = query.strip().lower()
    chosen = [site for site in sites if wanted in (site.id, site.kind, site.label.lower())]
    if not chosen:
        known = [name for site in sites for name in (site.id, site.kind, site.label)]
        there = ", ".join(f"{site.id} ({site.label})" for site in sites) or "no site at all"
        raise UnknownNameError("site", query, known, hint=f"this host has {there}")
    return chosen


def select_place(sites: list[Site], query: str) -> Site:
    """Return the one site that an id, a member's id, a kind or a label names, that member first.

    Raises
    ------
    UnknownNameError
        Nothing answers to it.
    BadInputError
        Several sites do; names them.
    """
    for site in sites:
        for member in site.members:
            if query.strip().lower() == member.id:
                others = tuple(m for m in site.members if m is not member)
                return Site(site.id, site.kind, site.label, (member, *others))
    chosen = select_sites(sites, query)
    if len(chosen) > 1:
        raise BadInputError(f"site {query!r} is ambiguous: {', '.join(f'{s.id} ({s.label})' for s in chosen)}")
    return chosen[0]


# --- rules -----------------------------------------------------------------------------------------------------------


def _bays(graph: BondGraph, guest: Guest) -> Iterator[_Candidate]:
    """Two or more donors whose lone pairs face one cavity: pairs first, pairs with a donor in common merged."""
    positions = graph.structure.positions
    donors = [*_imine_donors(graph), *_carbonyl_donors(graph)]
    cavities: list[_Cavity] = []
    for a, b in combinations(donors, 2):
        place = _shared_place(positions, a, b, guest.donor_distance)
        if place is not None:
            cavities.append(_Cavity({a.atom, b.atom}, {a.element, b.element}, *place))
    for cavity in _merged(cavities, positions):
        elements = "".join(sorted(cavity.elements))
        label = {"N": "imine bay", "O": "carbonyl bay"}.get(elements, "mixed bay")
        yield _Candidate("bay", label, tuple(sorted(cavity.donors)), cavity.place, cavity.normal, 0.0, (label,))


@dataclass
class _Cavity:
    """A place that several donors face."""

    donors: set[int]
    elements: set[str]
    place: FloatArray
    normal: FloatArray


def _merged(cavities: list[_Cavity], positions: FloatArray) -> list[_Cavity]:
    """Join cavities that share a donor and lie close together, until none are left to join."""
    done: list[_Cavity] = []
    for cavity in cavities:
        near = [c for c in done if c.donors & cavity.donors and np.linalg.norm(c.place - cavity.place) < _BAY_CLOSE]
        joined = [cavity, *near]
        donors = set().union(*(c.donors for c in joined))
        place = np.mean([c.place for c in joined], axis=0)
        normal = place - positions[sorted(donors)].mean(axis=0)
        if np.linalg.norm(normal) < 0.2:
            normal = plane_normal(positions[sorted(donors)])
        elements = set().union(*(c.elements for c in joined))
        done = [c for c in done if all(c is not other for other in near)]
        done.append(_Cavity(donors, elements, place, normal / np.linalg.norm(normal)))
    return done


def _corners(graph: BondGraph, guest: Guest) -> Iterator[_Candidate]:
    """Two nitriles on the same atom or on neighbours, close enough to share one atom."""
    positions = graph.structure.positions
    for (n_1, c_1, x_1), (n_2, c_2, x_2) in combinations(_nitriles(graph), 2):
        geminal = x_1 == x_2
        gap = float(np.linalg.norm(positions[n_1] - positions[n_2]))
        if gap > _NITRILE_PAIR or not (geminal or x_2 in graph.neighbours[x_1]):
            continue
        if _angle(positions[n_1] - positions[c_1], positions[n_2] - positions[c_2]) > _NITRILE_SPREAD:
            continue
        base = (positions[n_1] + positions[n_2]) / 2
        normal = base - (positions[x_1] + positions[x_2]) / 2
        normal = normal / np.linalg.norm(normal)
        label = "geminal nitrile corner" if geminal else "nitrile corner"
        height = _apex_height(gap, guest.donor_distance + 0.10)
        yield _Candidate("corner", label, tuple(sorted((n_1, n_2))), base, normal, height, (str(int(geminal)),))


def _ends(graph: BondGraph, guest: Guest) -> Iterator[_Candidate]:
    """A nitrile N that is in no corner, along its axis."""
    corners = (corner for corner in _corners(graph, guest) if _is_clear(corner, graph.structure))
    taken = {atom for corner in corners for atom in corner.anchors}
    positions = graph.structure.positions
    for n, c, _ in _nitriles(graph):
        if n not in taken:
            normal = (positions[n] - positions[c]) / np.linalg.norm(positions[n] - positions[c])
            yield _Candidate("end", "nitrile end", (n,), positions[n], normal, guest.donor_distance, ())


def _faces(graph: BondGraph, guest: Guest) -> Iterator[_Candidate]:
    """Both sides of every planar ring."""
    for ring, centroid, normal in planar_rings(graph):
        label, hetero = ring_label(graph, ring)
        for side in (normal, -normal):
            yield _Candidate(
                "face",
                f"{label} face",
                tuple(sorted(ring)),
                centroid,
                side,
                guest.face_height,
                (f"{9 - hetero}", label),
            )


Rule = Callable[[BondGraph, Guest], Iterator[_Candidate]]
RULES: dict[str, Rule] = {"bay": _bays, "corner": _corners, "end": _ends, "face": _faces}


# --- donors ----------------------------------------------------------------------------------------------------------


def _imine_donors(graph: BondGraph) -> Iterator[_Donor]:
    """Two-coordinate N that is bent: pyridinic N, imine N. The lone pair bisects the outer angle."""
    for atom, bonded in enumerate(graph.neighbours):
        if graph.structure.symbols[atom] != "N" or len(bonded) != 2:
            continue
        towards = _unit_bonds(graph, atom)
        if 95.0 < _angle(towards[0], towards[1]) < 135.0:
            direction = -towards.sum(axis=0)
            yield _Donor(atom, "N", direction / np.linalg.norm(direction), 50.0)


def _carbonyl_donors(graph: BondGraph) -> Iterator[_Donor]:
    """O with one short bond to C. Two lone pairs, at 60 degrees from the C=O axis: a wide opening about it."""
    positions = graph.structure.positions
    for atom, bonded in enumerate(graph.neighbours):
        if graph.structure.symbols[atom] != "O" or len(bonded) != 1:
            continue
        (carbon,) = bonded
        if graph.structure.symbols[carbon] == "C" and np.linalg.norm(positions[atom] - positions[carbon]) < 1.30:
            yield _Donor(atom, "O", -_unit_bonds(graph, atom)[0], 80.0)


def _nitriles(graph: BondGraph) -> list[tuple[int, int, int]]:
    """Nitrile groups as (N, its C, the atom that carries the group)."""
    symbols, positions = graph.structure.symbols, graph.structure.positions
    found = []
    for n, bonded in enumerate(graph.neighbours):
        if symbols[n] != "N" or len(bonded) != 1:
            continue
        (c,) = bonded
        others = graph.neighbours[c] - {n}
        if symbols[c] == "C" and len(others) == 1 and np.linalg.norm(positions[n] - positions[c]) < _NITRILE_LENGTH:
            found.append((n, c, next(iter(others))))
    return found


def _shared_place(positions: FloatArray, a: _Donor, b: _Donor, reach: float) -> tuple[FloatArray, FloatArray] | None:
    """Position and normal of the point that both donors face at a distance, or None."""
    gap = float(np.linalg.norm(positions[a.atom] - positions[b.atom]))
    out = a.direction + b.direction
    across = (positions[b.atom] - positions[a.atom]) / gap if gap else out
    out = out - across * (out @ across)
    if not _BAY_PAIR[0] <= gap <= _BAY_PAIR[1] or np.linalg.norm(out) < 0.3:
        return None
    base = (positions[a.atom] + positions[b.atom]) / 2
    normal = out / np.linalg.norm(out)
    place = base + _apex_height(gap, reach) * normal
    facing = all(_angle(d.direction, place - positions[d.atom]) <= d.opening for d in (a, b))
    return (place, normal) if facing else None


# --- geometry --------------------------------------------------------------------------------------------------------


def _apex_height(gap: float, reach: float) -> float:
    """Height of an isosceles triangle over its base `gap`, with sides `reach`, never flatter than 0.5 Angstrom."""
    return math.sqrt(max(reach**2 - (gap / 2) ** 2, 0.25))


def _unit_bonds(graph: BondGraph, atom: int) -> FloatArray:
    """Unit vectors towards the bonded atoms, shape=(n_bonded, 3)."""
    positions = graph.structure.positions
    vectors = positions[sorted(graph.neighbours[atom])] - positions[atom]
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _angle(a: FloatArray, b: FloatArray) -> float:
    """Angle between two vectors [degree]."""
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _is_clear(candidate: _Candidate, host: Structure) -> bool:
    """Nothing but the anchors stands in the way."""
    others = np.delete(np.arange(len(host)), candidate.anchors)
    if not len(others):
        return True
    return bool(np.linalg.norm(host.positions[others] - candidate.position, axis=1).min() > _CLEAR)


# --- symmetry --------------------------------------------------------------------------------------------------------


def _merge_equivalent(candidates: list[_Candidate], operations: list[Operation]) -> list[list[_Candidate]]:
    """Group candidates that an operation maps onto each other; members sorted by anchors, upper side first."""
    by_anchors: dict[tuple[int, ...], list[int]] = {}
    for index, candidate in enumerate(candidates):
        by_anchors.setdefault(candidate.anchors, []).append(index)
    root = list(range(len(candidates)))

    def find(index: int) -> int:
        while root[index] != index:
            index = root[index]
        return index

    for operation in operations:
        for index, candidate in enumerate(candidates):
            image = tuple(sorted(operation.permutation[atom] for atom in candidate.anchors))
            normal = operation.matrix @ candidate.normal
            same = [j for j in by_anchors.get(image, []) if candidates[j].normal @ normal > 0.5]
            if same:
                root[find(index)] = find(same[0])
    groups: dict[int, list[_Candidate]] = {}
    for index, candidate in enumerate(candidates):
        groups.setdefault(find(index), []).append(candidate)
    return [sorted(group, key=lambda c: (c.anchors, -round(float(c.normal.sum()), 6))) for group in groups.values()]


def _order(candidate: _Candidate, graph: BondGraph) -> tuple[object, ...]:
    """Sort distinct sites by rule rank, then by order-free atom classes, then by distances from all atoms."""
    classes = tuple(sorted(graph.classes[atom] for atom in candidate.anchors))
    distances = np.sort(np.linalg.norm(graph.structure.positions - candidate.position, axis=1))
    return (*candidate.rank, candidate.label, classes, tuple(np.round(distances, 2).tolist()))


def _as_site(site_id: str, group: list[_Candidate]) -> Site:
    members = tuple(
        Member(f"{site_id}.{number}", c.anchors, c.position, c.normal) for number, c in enumerate(group, start=1)
    )
    return Site(site_id, group[0].kind, group[0].label, members)
