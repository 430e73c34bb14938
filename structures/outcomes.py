"""What became of a complex in a relaxation: where its guests are, whether bonds changed, whether two are one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from alkaflow.elements import is_metal
from alkaflow.errors import BadInputError
from alkaflow.structures.complexes import Complex, Placed
from alkaflow.structures.distances import covalent_distance
from alkaflow.structures.graph import BondGraph, bond_reach
from alkaflow.structures.guests import Guest, get_guest
from alkaflow.structures.sites import Member, Site, find_sites
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.symmetry import MarkedPoints, best_rotation, find_isometries

SAME_MINIMUM = 0.25
"""Two relaxed complexes are one minimum when some permutation and motion brings every atom this near [Angstrom]."""

_STAYS_WITHIN = 1.3  # of the ideal position of a site [Angstrom]
_MOLECULE_STAYS_WITHIN = 2.0  # its nearest contact atom, which may straddle the ideal position [Angstrom]
_BOUND_WITHIN = 1.6  # times the distance at which a guest touches a donor, from the nearest host atom
_NEAR = 3.4  # whatever is this near to the host still touches it: carbon on carbon [Angstrom]

BOND_MADE = 0.20
"""A bond is new when shorter than the sum of covalent radii plus this [Angstrom]."""

BOND_BROKEN = 0.65
"""A bond is broken when longer than the sum of covalent radii plus this [Angstrom]."""

Verdict = Literal["stayed", "migrated", "merged", "dissociated", "reacted"]


@dataclass(frozen=True)
class FinalSite:
    """Where one guest ended.

    Attributes
    ----------
    verdict
        ``stayed``; ``migrated``, to a known site or elsewhere; ``merged`` with another guest; ``dissociated``;
        ``reacted``: bonds of the host or of a guest changed.
    site
        Id of the site where it is; None elsewhere.
    label
        For people.
    member
        Id of the member of that site that it is nearest to.
    """

    verdict: Verdict
    site: str | None
    label: str
    member: str | None = None


def classify_complex(complex_: Complex, positions: FloatArray, sites: Sequence[Site] | None = None) -> list[FinalSite]:
    """Say where every guest of a complex is after a relaxation.

    Parameters
    ----------
    complex_
        As it was built.
    positions
        Relaxed [Angstrom], in the order of the complex, shape=(n_atoms, 3).
    sites
        All sites of the host, where they were not found with the default tolerance and rules.

    Raises
    ------
    BadInputError
        The number of positions is not that of the complex.
    """
    expected = len(complex_.structure)
    if len(positions) != expected:
        raise BadInputError(f"expected {expected} positions, host and guests; got {len(positions)}")
    atoms = complex_.fragments
    host = positions[: len(complex_.host)]
    changed = changed_bonds(complex_, positions)
    found = []
    for number, (placed, name) in enumerate(zip(complex_.placed, list(atoms)[1:], strict=True)):
        known = find_sites(complex_.host, placed.guest) if sites is None else sites
        guest, there = get_guest(placed.guest), positions[list(atoms[name])]
        place = _nearest_site(complex_.host, host, guest, there, known, placed.site.id)
        partner = _touched_guest(complex_, positions, number)
        if place.verdict == "dissociated" and partner is None:
            found.append(place)
        elif changed:
            found.append(FinalSite("reacted", place.site, f"reacted: {'; '.join(changed)}"))
        elif partner is not None:
            found.append(FinalSite("merged", place.site, f"{place.label}, bonded to {partner}"))
        else:
            found.append(place)
    return found


def classify_guest(host: Structure, positions: FloatArray, guest: str, start: str) -> FinalSite:
    """Say at which site of a host one guest sits after a relaxation.

    Parameters
    ----------
    host
        The host as it was built.
    positions
        Of the relaxed complex [Angstrom], host atoms first, shape=(n_host + n_guest, 3).
    guest
        Name of the guest.
    start
        Id of the site where it started; one that the host lacks counts as another place.

    Raises
    ------
    BadInputError
        The number of positions is not that of host and guest.
    """
    alone = get_guest(guest).structure
    expected = len(host) + len(alone)
    if len(positions) != expected:
        raise BadInputError(f"expected {expected} positions, host and one guest; got {len(positions)}")
    sites = find_sites(host, guest)
    begin = next((site for site in sites if site.id == start), None) or Site(start, "", "", ())
    structure = Structure((*host.symbols, *alone.symbols), positions, host.charge + alone.charge)
    member = begin.members[0] if begin.members else Member(start, (), np.zeros(3), np.zeros(3))
    complex_ = Complex(structure, host, (Placed(guest, begin, member),), (structure.multiplicity,))
    return classify_complex(complex_, positions, sites)[0]


def changed_bonds(complex_: Complex, positions: FloatArray) -> list[str]:
    """Bonds made and broken within the fragments, as sentences like ``C3-H20 broken``.

    A little hysteresis keeps a bond that merely stretches: broken beyond the sum of covalent radii plus 0.65 Angstrom,
    made within the sum plus 0.20.
    """
    names = complex_.fragments
    found = []
    guests = [get_guest(placed.guest).structure for placed in complex_.placed]
    for part, atoms in zip((complex_.host, *guests), names.values(), strict=True):
        before = BondGraph(part).bonds
        there = positions[list(atoms)]
        for i, j in sorted(before):
            if np.linalg.norm(there[i] - there[j]) > covalent_distance(part.symbols[i], part.symbols[j]) + BOND_BROKEN:
                found.append(f"{part.symbols[i]}{atoms[i]}-{part.symbols[j]}{atoms[j]} broken")
        for i, j in sorted(BondGraph(part.with_positions(there)).bonds - before):
            if np.linalg.norm(there[i] - there[j]) < covalent_distance(part.symbols[i], part.symbols[j]) + BOND_MADE:
                found.append(f"{part.symbols[i]}{atoms[i]}-{part.symbols[j]}{atoms[j]} made")
    return found + list(_bonds_between(complex_, positions))


def _bonds_between(complex_: Complex, positions: FloatArray) -> Iterator[str]:
    """Covalent bonds between non-metals of different fragments, such as a hydrogen that changed its owner.

    An atom that was placed as a guest may bond; that is what it is for.
    """
    symbols = complex_.structure.symbols
    owner = {atom: name for name, atoms in complex_.fragments.items() for atom in atoms}
    for i, j in sorted(BondGraph(complex_.structure.with_positions(positions)).bonds):
        if owner[i] == owner[j] or is_metal(symbols[i]) or is_metal(symbols[j]):
            continue
        single = any(len(complex_.fragments[owner[atom]]) == 1 for atom in (i, j))
        if (
            not single
            and np.linalg.norm(positions[i] - positions[j]) < covalent_distance(symbols[i], symbols[j]) + BOND_MADE
        ):
            yield f"{symbols[i]}{i}-{symbols[j]}{j} made between {owner[i]} and {owner[j]}"


def same_minimum(first: Complex, second: Complex, tolerance: float = SAME_MINIMUM) -> bool:
    """Whether two relaxed complexes are the same but for the numbering of like atoms, motion and mirroring.

    Parameters
    ----------
    first, second
        With relaxed positions, of the same host and the same guests in any order.
    tolerance
        Largest distance of an atom from its counterpart [Angstrom].
    """
    names = [*_names(first), *_names(second)]
    marks = np.unique(np.array(names), return_inverse=True)[1]
    size = len(first.structure)
    a, b = _points(first, marks[:size]), _points(second, marks[size:])
    return next(find_isometries(a, b, tolerance), None) is not None


def _names(complex_: Complex) -> list[str]:
    """What the bond graph of its fragment can tell of every atom, with the fragment's name."""
    names = [f"host {rank}" for rank in BondGraph(complex_.host).classes]
    for placed in complex_.placed:
        guest = get_guest(placed.guest).structure
        names += [f"{placed.guest} {rank}" for rank in BondGraph(guest).classes]
    return names


def _points(complex_: Complex, marks: NDArray[np.int64]) -> MarkedPoints:
    positions = complex_.structure.positions - complex_.structure.positions.mean(axis=0)
    return MarkedPoints(positions, marks, np.empty((0, 2), dtype=np.int64))


# --- where one guest is ----------------------------------------------------------------------------------------------


def _nearest_site(
    host: Structure, atoms: FloatArray, guest: Guest, there: FloatArray, sites: Sequence[Site], start: str
) -> FinalSite:
    """The site whose ideal place, carried along with its surroundings, is nearest to a contact atom of the guest."""
    nearest = cdist(there, atoms)
    bound = max(_BOUND_WITHIN * guest.reach("N"), _NEAR) if guest.is_atom else _NEAR
    if nearest.min() > bound:
        return FinalSite("dissociated", None, f"dissociated ({nearest.min():.2f} Angstrom from the nearest atom)")
    nearest_members = {site.id: _nearest_member(site, host, atoms, guest, there) for site in sites}
    distances = {site: distance for site, (distance, _) in nearest_members.items()}
    best = min(sites, key=lambda site: distances[site.id], default=None)
    limit = _STAYS_WITHIN if guest.is_atom else _MOLECULE_STAYS_WITHIN
    if not guest.is_atom and distances.get(start, np.inf) <= limit:
        best = next(site for site in sites if site.id == start)  # a molecule may touch several sites at once
    if best is None or distances[best.id] > limit:
        return FinalSite("migrated", None, "at no known site")
    return FinalSite("stayed" if best.id == start else "migrated", best.id, best.label, nearest_members[best.id][1])


def _nearest_member(
    site: Site, host: Structure, atoms: FloatArray, guest: Guest, there: FloatArray
) -> tuple[float, str | None]:
    """Distance of the nearest contact atom of a guest from the nearest ideal place of a site [Angstrom], and whose."""
    if guest.is_atom and not site.suits(guest):
        return float("inf"), None
    contacts = there[list(guest.contacts(site.donates))]
    ideals = np.array([_carried(host, atoms, member.anchors, member.position) for member in site.members])
    distances = cdist(contacts, ideals).min(axis=0)
    return float(distances.min()), site.members[int(distances.argmin())].id


def _carried(host: Structure, atoms: FloatArray, anchors: tuple[int, ...], position: FloatArray) -> FloatArray:
    """A place that moves with its anchors and their neighbourhood [Angstrom], shape=(3,)."""
    near = np.argsort(np.linalg.norm(host.positions - position, axis=1))[: max(8, len(anchors) + 4)]
    frame = np.union1d(near, anchors)
    before, after = host.positions[frame], atoms[frame]
    rotation = best_rotation(before - before.mean(axis=0), after - after.mean(axis=0))
    carried: FloatArray = after.mean(axis=0) + rotation @ (position - before.mean(axis=0))
    return carried


def _touched_guest(complex_: Complex, positions: FloatArray, number: int) -> str | None:
    """Id of the start of another guest that this one is now bonded to and was not before; cations never are."""
    parts = [np.array(atoms) for atoms in list(complex_.fragments.values())[1:]]
    numbers = complex_.structure.numbers
    mine = parts[number]
    for other, placed in enumerate(complex_.placed):
        both_cations = all(get_guest(complex_.placed[n].guest).charge > 0 for n in (number, other))
        if other == number or both_cations:
            continue
        theirs = parts[other]
        reach = bond_reach(numbers[mine][:, None], numbers[theirs][None])
        bonded = [cdist(where[mine], where[theirs]) < reach for where in (complex_.structure.positions, positions)]
        if bonded[1].any() and not bonded[0].any():
            return f"{placed.guest} from {placed.member.id}"
    return None
