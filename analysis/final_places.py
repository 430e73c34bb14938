"""Where the guests of a row ended: the site, and which of the places of a study that is."""

from dataclasses import dataclass

import numpy as np

from alkaflow.errors import BadInputError
from alkaflow.plans import PLACES_JOINT, Plan, PlanRow
from alkaflow.records import Record
from alkaflow.structures import (
    Complex,
    Placed,
    Structure,
    classify_complex,
    classify_guest,
    find_sites,
    place_guests,
    same_minimum,
)


@dataclass(frozen=True)
class Ended:
    """Where the guests of a complex are after its relaxation.

    Attributes
    ----------
    site
        Id of the site, of several guests joined; None elsewhere.
    label
        For people.
    moved
        Whether a guest is not where it started.
    place
        The place as rows name where they start, so that rows that ended at one place have the same. None where a guest
        is at no site, merged or reacted, and where several guests are as in no row of the study.
    multiplicity
        Number of places equivalent to it.
    """

    site: str | None
    label: str
    moved: bool
    place: str | None = None
    multiplicity: int | None = None


UNKNOWN = Ended(None, "unknown", moved=False)


def ended_at(plan: Plan, row: PlanRow, record: Record) -> Ended:
    """Say where the guests of a row are in the record of its complex."""
    planned = plan.hosts[row.host]
    host = Structure(
        tuple(planned.symbols), np.array(planned.positions_angstrom), planned.charge, planned.multiplicity, row.host
    )
    positions = np.array(record.positions_angstrom)
    return _one_guest(host, plan, row, positions) if len(row.places) == 1 else _several(host, plan, row, positions)


def _one_guest(host: Structure, plan: Plan, row: PlanRow, positions: np.ndarray) -> Ended:
    final = classify_guest(host, positions, row.guest, row.site)
    if final.verdict == "stayed":
        return Ended(row.site, final.label, False, row.site, row.site_multiplicity)
    if final.verdict != "migrated" or final.site is None:
        return Ended(final.site, final.label, moved=True)
    known = {site.id: site.multiplicity for site in find_sites(host, row.guest)}
    known |= {other.site: other.site_multiplicity for other in _alike(plan, row)}
    return Ended(final.site, final.label, True, final.site, known[final.site])


def _several(host: Structure, plan: Plan, row: PlanRow, positions: np.ndarray) -> Ended:
    found = classify_complex(_placed(host, row.guest, row.places), positions)
    members = [final.member for final in found if final.member is not None]
    apart = len(members) == len(found) and all(final.verdict in ("stayed", "migrated") for final in found)
    alike = (other for other in _alike(plan, row) if apart and _equivalent(host, row.guest, other.places, members))
    first = next(alike, None)
    place, multiplicity = (first.site, first.site_multiplicity) if first else (None, None)
    if all(final.verdict == "stayed" for final in found):
        if first is row or _equivalent(host, row.guest, row.places, members):
            return Ended(row.site, row.site_label, False, place, multiplicity)
        ended = PLACES_JOINT.join(members)
        return Ended(ended, f"another placement: {ended}", True, place, multiplicity)
    ids = [final.site for final in found if final.site is not None]
    site = PLACES_JOINT.join(ids) if len(ids) == len(found) else None
    return Ended(site, PLACES_JOINT.join(final.label for final in found), True, place, multiplicity)


def _equivalent(host: Structure, guest: str, places: list[str], others: list[str]) -> bool:
    """Whether guests of one kind at these members of sites are the same as at the others, but for symmetry."""
    if sorted(places) == sorted(others):
        return True
    sites = [sorted(member.rpartition(".")[0] for member in members) for members in (places, others)]
    if sites[0] != sites[1]:
        return False
    try:
        return same_minimum(_placed(host, guest, places), _placed(host, guest, others))
    except BadInputError:  # two at one place
        return False


def _alike(plan: Plan, row: PlanRow) -> list[PlanRow]:
    """Rows of the same host with as many of the same guests."""
    return [
        other
        for other in plan.rows
        if (other.host, other.guest, len(other.places)) == (row.host, row.guest, len(row.places))
    ]


def _placed(host: Structure, guest: str, places: list[str]) -> Complex:
    """The complex of several guests at members of sites, as it is built."""
    sites = {member.id: (site, member) for site in find_sites(host, guest) for member in site.members}
    return place_guests(host, [Placed(guest, *sites[place]) for place in places])
