"""Several guests on one host: every symmetry-distinct way to place them over the members of its sites."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from alkaflow.errors import BadInputError
from alkaflow.structures.complexes import Complex, Placed, place_guests
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import get_guest
from alkaflow.structures.sites import Member, Site, find_sites, select_sites
from alkaflow.structures.structure import Structure
from alkaflow.structures.symmetry import DEFAULT_TOLERANCE, Operation, find_operations

_MOST = 200_000  # combinations looked at; more means a host too large for all of its sites
_APART = 2.0  # guests nearer to each other than this share a place [Angstrom]

Place = tuple[Site, Member]


@dataclass(frozen=True)
class Placement:
    """One way to place several guests, standing for all that symmetry makes equal to it.

    Attributes
    ----------
    label
        For people: the labels of the sites, with ``adjacent``, ``opposite`` or a distance where they are not enough.
    placed
        Guests in the order asked for.
    multiplicity
        Number of equivalent ways.
    """

    label: str
    placed: tuple[Placed, ...]
    multiplicity: int

    @property
    def distance(self) -> float:
        """Between the first two guests [Angstrom]."""
        first, second = self.placed[:2]
        return float(np.linalg.norm(first.member.position - second.member.position))

    def build(self, host: Structure) -> Complex:
        """The complex."""
        return place_guests(host, self.placed)


def enumerate_placements(
    host: Structure,
    guests: Sequence[str],
    at: Sequence[Sequence[str] | None] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
) -> list[Placement]:
    """List the symmetry-distinct placements of guests over the members of a host's sites.

    Parameters
    ----------
    host
        The host.
    guests
        One name per guest.
    at
        For every guest the sites it may take (ids, kinds or labels), or None for all that suit it.
    tolerance
        Of the symmetry detection [Angstrom].

    Returns
    -------
    list of Placement
        In the order of the sites; of one pair of sites the nearest pairs of members first.

    Raises
    ------
    UnknownNameError
        A guest or a site that nobody knows.
    BadInputError
        No guest at all, or too many combinations to look at.
    """
    if not guests:
        raise BadInputError("name at least one guest to place")
    wanted = list(at) if at is not None else [None] * len(guests)
    if len(wanted) != len(guests):
        raise BadInputError(f"{len(guests)} guests but sites for {len(wanted)}")
    options = [_places(host, guest, sites, tolerance) for guest, sites in zip(guests, wanted, strict=True)]
    if np.prod([float(len(places)) for places in options]) > _MOST:
        raise BadInputError(
            f"{' x '.join(str(len(places)) for places in options)} combinations are too many to compare; "
            "name the sites that each guest may take"
        )
    operations = find_operations(BondGraph(host), tolerance)
    classes: dict[tuple[tuple[str, str], ...], list[tuple[Place, ...]]] = {}
    for combination in product(*options):
        if not _share_a_place(combination):
            classes.setdefault(_canonical(combination, guests, options, operations), []).append(combination)
    return _labelled(list(classes.values()), guests)


def _places(host: Structure, guest: str, queries: Sequence[str] | None, tolerance: float) -> list[Place]:
    """Members of the sites that a guest may take."""
    sites = find_sites(host, guest, tolerance)
    if queries is None:
        chosen = [site for site in sites if site.suits(get_guest(guest))]
    else:
        chosen = select_sites(sites, *queries)
    return [(site, member) for site in chosen for member in site.members]


def _share_a_place(combination: tuple[Place, ...]) -> bool:
    positions = np.array([member.position for _, member in combination])
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return bool((gaps[np.triu_indices(len(positions), 1)] < _APART).any())


def _canonical(
    combination: tuple[Place, ...], guests: Sequence[str], options: list[list[Place]], operations: list[Operation]
) -> tuple[tuple[str, str], ...]:
    """The smallest of all equivalent descriptions; guests of one kind may change places."""
    return min(
        tuple(sorted((guests[i], _image(place, options[i], operation)) for i, place in enumerate(combination)))
        for operation in operations
    )


def _image(place: Place, options: list[Place], operation: Operation) -> str:
    """Id of the member that an operation sends a member to."""
    _, member = place
    anchors = {operation.permutation[atom] for atom in member.anchors}
    normal = operation.matrix @ member.normal
    return max(
        (other for _, other in options if set(other.anchors) == anchors), key=lambda other: float(other.normal @ normal)
    ).id


def _labelled(classes: list[list[tuple[Place, ...]]], guests: Sequence[str]) -> list[Placement]:
    """Name every class; classes over the same sites are told apart by how far apart their guests are."""
    by_sites: dict[tuple[str, ...], list[list[tuple[Place, ...]]]] = {}
    for members in classes:
        by_sites.setdefault(tuple(site.id for site, _ in members[0]), []).append(members)
    found = []
    for group in by_sites.values():
        group.sort(key=_spread)
        for words, members in zip(_words(len(group), group), group, strict=True):
            placed = tuple(Placed(g, *place) for g, place in zip(guests, members[0], strict=True))
            labels = [site.label for site, _ in members[0]]
            found.append(Placement(" + ".join(labels) + words, placed, _count(members, guests)))
    return found


def _words(count: int, group: list[list[tuple[Place, ...]]]) -> Iterator[str]:
    """Nothing for a single class, adjacent and opposite for two over different sites, else distances."""
    sites = {site.id for site, _ in group[0][0]}
    if count == 1:
        yield ""
    elif count == 2 and len(sites) == len(group[0][0]) == 2:
        yield from (", adjacent", ", opposite")
    else:
        yield from (f", {_spread(members):.2f} Angstrom apart" for members in group)


def _spread(members: list[tuple[Place, ...]]) -> float:
    """Sum of the distances between the guests of the first of equivalent combinations [Angstrom]."""
    positions = np.array([member.position for _, member in members[0]])
    gaps = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return float(gaps[np.triu_indices(len(positions), 1)].sum())


def _count(members: list[tuple[Place, ...]], guests: Sequence[str]) -> int:
    """Number of different occupations; like guests that change places make no new one."""
    return len(
        {
            tuple(sorted((guest, member.id) for guest, (_, member) in zip(guests, combination, strict=True)))
            for combination in members
        }
    )
