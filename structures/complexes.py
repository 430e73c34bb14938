"""Complexes: a host with one or more guests at sites, remembering which atoms are whose."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.spatial.distance import cdist

from alkaflow.errors import BadInputError
from alkaflow.structures.distances import covalent_distance
from alkaflow.structures.guests import Guest, get_guest
from alkaflow.structures.orientations import orientations
from alkaflow.structures.sites import Member, Site
from alkaflow.structures.spin import multiplicities_to_scan
from alkaflow.structures.structure import FloatArray, Structure

_OVERLAP = 0.7  # of the sum of covalent radii: atoms of two fragments nearer than this overlap


@dataclass(frozen=True)
class Placed:
    """A guest at one member of a site, in one of its orientations (from 1)."""

    guest: str
    site: Site
    member: Member
    orientation: int = 1


@dataclass(frozen=True)
class Complex:
    """A host with guests at sites. The host's atoms come first, in the host's order, then guest by guest.

    Attributes
    ----------
    structure
        All atoms, with the total charge and the first of the multiplicities to scan.
    host
        The host alone.
    placed
        Which guest is where.
    multiplicities
        2S+1 that the fragments can couple to; compute them all, the lowest energy counts.
    """

    structure: Structure
    host: Structure
    placed: tuple[Placed, ...]
    multiplicities: tuple[int, ...]

    @property
    def fragments(self) -> dict[str, tuple[int, ...]]:
        """Atom indices by fragment: ``host`` and ``guest``, or ``guest-1``, ``guest-2``, ... of several."""
        atoms = {"host": tuple(range(len(self.host)))}
        first = len(self.host)
        for number, placed in enumerate(self.placed, start=1):
            size = len(get_guest(placed.guest).structure)
            name = "guest" if len(self.placed) == 1 else f"guest-{number}"
            atoms[name] = tuple(range(first, first + size))
            first += size
        return atoms

    @property
    def fragment_charges(self) -> dict[str, int]:
        """Formal charge of every fragment [e]; they sum up to the total."""
        charges = [self.host.charge, *(get_guest(placed.guest).charge for placed in self.placed)]
        return dict(zip(self.fragments, charges, strict=True))

    @property
    def guest(self) -> str:
        """Name of the guest, joined by + where there are several."""
        return "+".join(placed.guest for placed in self.placed)

    @property
    def site(self) -> Site:
        """Site of the first guest."""
        return self.placed[0].site


def build_complex(host: Structure, guest: str, site: Site, orientation: int = 1) -> Complex:
    """Place a guest at the first member of a site.

    Parameters
    ----------
    host
        The host.
    guest
        Name of the guest.
    site
        As `find_sites` gives it for this guest.
    orientation
        Of a guest of several atoms, from 1.

    Raises
    ------
    UnknownNameError
        The guest is not known.
    BadInputError
        The guest would overlap the host, or has fewer orientations there.
    """
    return place_guests(host, [Placed(guest, site, site.members[0], orientation)])


def complexes_at(host: Structure, guest: str, site: Site, most: int) -> list[Complex]:
    """Place a guest at a site in each of its orientations, the closest first, up to so many.

    Raises
    ------
    UnknownNameError
        The guest is not known.
    BadInputError
        The guest would overlap the host.
    """
    poses = orientations(host, get_guest(guest), site)[:most]
    starts = [Placed(guest, site, site.members[0], number) for number in range(1, len(poses) + 1)]
    return [_assembled(host, [start], [pose]) for start, pose in zip(starts, poses, strict=True)]


def place_guests(host: Structure, placed: Sequence[Placed]) -> Complex:
    """Place several guests at once.

    Raises
    ------
    UnknownNameError
        A guest is not known.
    BadInputError
        Fragments would overlap, or a guest has fewer orientations at its place.
    """
    parts = [_positions(host, get_guest(place.guest), place) for place in placed]
    return _assembled(host, placed, parts)


def _assembled(host: Structure, placed: Sequence[Placed], parts: list[FloatArray]) -> Complex:
    """Put fragments together, checked not to overlap."""
    guests = [get_guest(place.guest) for place in placed]
    symbols = [host.symbols, *(guest.structure.symbols for guest in guests)]
    names = [host.name or "the host", *(f"{place.guest} at {place.member.id}" for place in placed)]
    _refuse_overlap(symbols, [host.positions, *parts], names)
    together = tuple(symbol for part in symbols for symbol in part)
    charge = host.charge + sum(guest.charge for guest in guests)
    multiplicities = multiplicities_to_scan(host, [guest.multiplicity for guest in guests])
    name = "+".join(f"{place.guest}@{place.member.id}" for place in placed) + f" of {host.name or host.formula}"
    structure = Structure(together, np.vstack([host.positions, *parts]), charge, multiplicities[0], name)
    return Complex(structure, host, tuple(placed), multiplicities)


def _positions(host: Structure, guest: Guest, place: Placed) -> FloatArray:
    available = orientations(host, guest, place.site, place.member)
    if not available:
        raise BadInputError(f"{place.guest} does not fit at {place.member.id}; choose another site")
    if not 1 <= place.orientation <= len(available):
        raise BadInputError(
            f"{place.guest} has {len(available)} orientations at {place.member.id}; "
            f"there is no number {place.orientation}"
        )
    return available[place.orientation - 1]


def _refuse_overlap(symbols: list[tuple[str, ...]], parts: list[FloatArray], names: list[str]) -> None:
    """Refuse fragments with atoms nearer to each other than any bond, naming the pair."""
    for first, second in combinations(range(len(parts)), 2):
        apart = cdist(parts[first], parts[second])
        i, j = np.unravel_index(int(np.argmin(apart)), apart.shape)
        a, b = symbols[first][i], symbols[second][j]
        if apart[i, j] < _OVERLAP * covalent_distance(a, b):
            raise BadInputError(
                f"cannot place {names[second]}: its atom {j} ({b}) would be {apart[i, j]:.2f} Angstrom from atom {i} "
                f"({a}) of {names[first]}; choose another site"
            )
