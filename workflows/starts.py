"""Where the guests of a row start, and in which spin states the row is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alkaflow.calculations import electron_count
from alkaflow.errors import BadInputError
from alkaflow.plans import PLACES_JOINT
from alkaflow.structures import Site, Structure, find_sites, get_guest, select_sites
from alkaflow.structures.complexes import Complex, Placed, place_guests
from alkaflow.structures.placements import Placement, enumerate_placements
from alkaflow.structures.spin import host_multiplicities, multiplicities_to_scan

Wanted = str | tuple[int, ...] | None
"""Spin states as a study asks for them: ``auto``, a list of 2S+1, or nothing."""


@dataclass(frozen=True)
class Start:
    """Guests at places of a host, before anything is relaxed.

    Attributes
    ----------
    id
        Of the site; of several guests the ids of their places, joined by a plus sign.
    kind, label
        Of the site or sites, for people.
    multiplicity
        Number of symmetry-equivalent ways to place them.
    host
        The host.
    placed
        Every guest with its place.
    """

    id: str
    kind: str
    label: str
    multiplicity: int
    host: Structure
    placed: tuple[Placed, ...]

    def build(self) -> Complex:
        """The complex; raises BadInputError where fragments overlap."""
        return place_guests(self.host, self.placed)


class Starts:
    """All the starts of some guests of one kind on a host, found by name."""

    def __init__(self, host: Structure, guest: str, count: int = 1) -> None:
        self._host, self._guest, self._count = host, guest, count
        self._sites = find_sites(host, guest)

    def named(self, query: str) -> list[Start]:
        """Return what an id, a kind or a label names; of two guests, a pair of them such as ``bay + corner``.

        A pair names all symmetry-distinct ways to place the guests so; ``bay + corner, opposite`` one of them.

        Raises
        ------
        BadInputError
            Nothing answers to it; says what there is.
        """
        if self._count == 1:
            return [self._at(site) for site in select_sites(self._sites, query)]
        return [self._placed(placement) for placement in self._placements(query)]

    def _at(self, site: Site) -> Start:
        placed = Placed(self._guest, site, site.members[0])
        return Start(site.id, site.kind, site.label, site.multiplicity, self._host, (placed,))

    def _placed(self, placement: Placement) -> Start:
        places = PLACES_JOINT.join(placed.member.id for placed in placement.placed)
        kinds = PLACES_JOINT.join(placed.site.kind for placed in placement.placed)
        return Start(places, kinds, placement.label, placement.multiplicity, self._host, placement.placed)

    def _placements(self, query: str) -> list[Placement]:
        pair, _, words = query.partition(",")
        names = [name.strip() for name in pair.split(PLACES_JOINT.strip())]
        if len(names) != self._count:
            raise BadInputError(
                f"site {query!r} is not one place for each of {self._count} guests; write two, such as 'bay + corner'"
            )
        found = enumerate_placements(self._host, [self._guest] * self._count, [[name] for name in names])
        if not found:
            raise BadInputError(f"{self._count} {self._guest} have no room at {query!r} of this host")
        chosen = [placement for placement in found if placement.label.lower().endswith(words.strip().lower())]
        if not chosen:
            there = ", ".join(repr(placement.label) for placement in found)
            raise BadInputError(f"no placement {query!r}; this host has {there}")
        return chosen


def host_spin_states(host: Structure, wanted: Wanted) -> tuple[int, ...]:
    """Multiplicities 2S+1 of a host to compute, its own first; without a wish its own alone.

    Raises
    ------
    BadInputError
        The host has no such state.
    """
    listed = host_multiplicities(host) if wanted == "auto" else wanted or ()
    states = tuple(dict.fromkeys((host.multiplicity, *(int(state) for state in listed))))
    for state in states:
        try:
            replace(host, multiplicity=state)
        except BadInputError as error:
            raise BadInputError(f"host {host.name!r}: {error}; leave it out of the host's multiplicities") from None
    return states


def spin_states(complex_: Complex, host_states: Sequence[int], wanted: Wanted, strict: bool = True) -> tuple[int, ...]:
    """Multiplicities 2S+1 of a complex to compute, the one to begin with first.

    Without a wish it is the lowest that the fragments couple to; where the host has several states or more than one
    guest has unpaired electrons (two alkali atoms: singlet and triplet) it is all of them.

    Parameters
    ----------
    complex_
        The complex.
    host_states
        Multiplicities of its host that are computed.
    wanted
        ``auto`` for all that the fragments couple to, or a list, of which those of the parity of its electrons are
        taken.
    strict
        Whether a list is refused of which one is more than the electrons can have, or none has the parity; without it
        the former are left out, and the latter is no wish.

    Raises
    ------
    BadInputError
        A multiplicity of the list is more than the electrons can have, or none is possible.
    """
    guests = [get_guest(placed.guest).multiplicity for placed in complex_.placed]
    hosts = [replace(complex_.host, multiplicity=state) for state in host_states]
    coupled = sorted({state for host in hosts for state in multiplicities_to_scan(host, guests)})
    if wanted == "auto":
        return tuple(coupled)
    electrons = electron_count(complex_.structure.symbols, complex_.structure.charge)
    if isinstance(wanted, tuple):
        possible = tuple(state for state in wanted if (state + electrons) % 2 == 1 and state <= electrons + 1)
        too_high = [state for state in wanted if state > electrons + 1]
        if strict and (too_high or not possible):
            listed = ", ".join(str(state) for state in too_high or wanted)
            what = "too high" if too_high else "none is possible"
            there = f"at most {electrons + 1}" if too_high else ", ".join(map(str, coupled))
            raise BadInputError(
                f"multiplicities {listed}: {what} for {_named(complex_)}, which has {electrons} electrons; "
                f"it can have {there}"
            )
        if possible:
            return possible
    several = len(host_states) > 1 or sum(multiplicity > 1 for multiplicity in guests) > 1
    return tuple(coupled) if several else (coupled[0],)


def _named(complex_: Complex) -> str:
    """Guests, site and host of a complex, for people."""
    guests = " and ".join(placed.guest for placed in complex_.placed)
    places = " and ".join(placed.site.label for placed in complex_.placed)
    return f"{guests} at {places} of host {complex_.host.name!r}"
