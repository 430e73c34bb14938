"""How a molecule meets a site: a few distinct orientations, each moved in until it touches.

A guest of several atoms turns one, two or three of its contact atoms, or its flat side, towards the host, spins about
the normal of the site, and slides in along it until the first pair of atoms touches. Of each spin's depth the local
minima count: the angles at which the guest fits best. Equivalent orientations, by the symmetry of guest and host, are
one.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment, minimize_scalar
from scipy.signal import find_peaks
from scipy.spatial.distance import cdist

from alkaflow.structures.distances import contact_distance
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import Guest
from alkaflow.structures.sites import Member, Site
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.symmetry import Operation, find_operations
from alkaflow.structures.vectors import plane_normal, rotation_about, rotation_between, slide

MOST_ORIENTATIONS = 8
_GRIP = 3.6  # contact atoms farther apart than this do not touch one site together [Angstrom]
_PROUD = 0.6  # other atoms may stand this much farther out than those that touch [Angstrom]
_ALIKE = 20.0  # directions of a guest nearer to each other than this are one [degree]
_SPINS = 120  # angles tried about the normal
_SAME_DEPTH = 0.05  # depths that differ by less are equal [Angstrom]
_SAME_PLACE = 0.6  # orientations whose atoms differ by less are one [Angstrom]
_FLATNESS = 0.5  # heavy atoms this near to one plane make a flat guest [Angstrom]


def orientations(host: Structure, guest: Guest, site: Site, member: Member | None = None) -> list[FloatArray]:
    """Place a guest at a site in every distinct orientation, the one that comes closest first.

    Parameters
    ----------
    host
        The host.
    guest
        What to place.
    site
        Where; its first member unless another one is given.
    member
        One of the members of the site.

    Returns
    -------
    list of array
        Positions of the guest's atoms [Angstrom], shape=(n_guest, 3); at most `MOST_ORIENTATIONS`.
    """
    place = member or site.members[0]
    if guest.is_atom:
        return [place.position[None]]
    ways = _ways_to_point(guest, site, place)
    poses = [pose for turned in ways for pose in _best_spins(host, guest, place, turned)]
    poses.sort(key=lambda pose: round(pose[0], 2))
    operations = [o for o in find_operations(BondGraph(host)) if _keeps(o, host, place)]
    chosen: list[FloatArray] = []
    for _, pose in poses:
        if not any(_same(pose, other, guest, host, operations) for other in chosen):
            chosen.append(pose)
    return chosen[:MOST_ORIENTATIONS]


def _ways_to_point(guest: Guest, site: Site, place: Member) -> Iterator[FloatArray]:
    """Turned positions of the guest with its grip at the origin and pointing into the host, shape=(n_guest, 3)."""
    positions = guest.structure.positions
    operations = find_operations(BondGraph(guest.structure))
    directions: list[FloatArray] = []
    for grip, direction in list(_grips(guest, site, _PROUD)) or _grips(guest, site, np.inf):
        images = [operation.matrix @ direction for operation in operations]
        if all(image @ other < np.cos(np.radians(_ALIKE)) for image in images for other in directions):
            directions.append(direction)
            yield (positions - grip) @ rotation_between(direction, -place.normal).T


def _grips(guest: Guest, site: Site, proud: float) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Centres of one, two or three contact atoms on the outside of the guest, with the direction they face.

    No other atom stands farther out than they do by more than ``proud`` [Angstrom].
    """
    positions = guest.structure.positions
    contacts = guest.contacts(site.donates)
    if site.kind == "face":
        yield from _flat_sides(guest)
    for size in (3, 2, 1):
        for grip in combinations(contacts, size):
            points = positions[list(grip)]
            centre = points.mean(axis=0)
            length = float(np.linalg.norm(centre))
            if length < 0.3 or cdist(points, points).max() > _GRIP:
                continue
            direction = centre / length
            if (positions @ direction).max() < (points @ direction).min() + proud:
                yield centre, direction


def _flat_sides(guest: Guest) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Both sides of a flat guest of three or more heavy atoms, to lie on a ring."""
    heavy = guest.structure.positions[[s != "H" for s in guest.structure.symbols]]
    if len(heavy) < 3:
        return
    centre, normal = heavy.mean(axis=0), plane_normal(heavy)
    if np.abs((heavy - centre) @ normal).max() < _FLATNESS:
        yield centre, normal
        yield centre, -normal


def _best_spins(host: Structure, guest: Guest, place: Member, turned: FloatArray) -> Iterator[tuple[float, FloatArray]]:
    """Spins about the normal at which the guest comes closest, as (height of its centre [Angstrom], positions)."""
    base = host.positions[list(place.anchors)].mean(axis=0)
    reaches = _reaches(host, guest)

    def pose(angle: float) -> FloatArray:
        spun: FloatArray = turned @ rotation_about(place.normal, angle).T + base
        inward: FloatArray = spun + slide(spun, host.positions, reaches, place.normal) * place.normal
        return inward

    def depth(angle: float) -> float:
        return float((pose(angle).mean(axis=0) - base) @ place.normal)

    step = 2 * np.pi / _SPINS
    depths = np.array([depth(number * step) for number in range(_SPINS)])
    for number in _valleys(depths) or [int(np.argmin(depths))]:
        around = ((number - 1) * step, (number + 1) * step)
        best = minimize_scalar(depth, bounds=around, method="bounded", options={"xatol": 1e-3})
        yield float(best.fun), pose(float(best.x))


def _valleys(depths: FloatArray) -> list[int]:
    """Local minima of a periodic curve that are deeper than what is around them by a depth that matters."""
    peaks, _ = find_peaks(-np.tile(depths, 3), prominence=_SAME_DEPTH)
    return [int(peak) - len(depths) for peak in peaks if len(depths) <= peak < 2 * len(depths)]


def _reaches(host: Structure, guest: Guest) -> FloatArray:
    """Contact distances of all pairs [Angstrom], shape=(n_guest, n_host)."""
    pairs = {
        (g, h): contact_distance(h, g, guest.charge) for g in set(guest.structure.symbols) for h in set(host.symbols)
    }
    return np.array([[pairs[g, h] for h in host.symbols] for g in guest.structure.symbols])


def _keeps(operation: Operation, host: Structure, place: Member) -> bool:
    """Whether a symmetry operation of the host leaves a place where it is."""
    centre = host.positions.mean(axis=0)
    image = operation.matrix @ (place.position - centre) + centre
    same_side = operation.matrix @ place.normal @ place.normal > 0.9
    return bool(np.linalg.norm(image - place.position) < _SAME_PLACE and same_side)


def _same(pose: FloatArray, other: FloatArray, guest: Guest, host: Structure, operations: Sequence[Operation]) -> bool:
    """Whether an operation of the host puts like atoms of one pose onto those of another."""
    numbers = guest.structure.numbers
    centre = host.positions.mean(axis=0)
    for operation in operations:
        apart = cdist((pose - centre) @ operation.matrix.T + centre, other)
        apart[numbers[:, None] != numbers[None]] = 1e3
        if apart[linear_sum_assignment(apart)].max() < _SAME_PLACE:
            return True
    return False
