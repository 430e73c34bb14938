"""What became of a complex in a relaxation: where its guests are, whether bonds changed, whether two are one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.distance import cdist

from alkaflow.errors import BadInputError
from alkaflow.structures.complexes import Complex, Placed
from alkaflow.structures.distances import covalent_distance, van_der_waals_distance
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import Guest, get_guest
from alkaflow.structures.sites import Site, find_sites
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.symmetry import MarkedPoints, best_rotation, find_isometries

SAME_MINIMUM = 0.25
"""Two relaxed complexes are one minimum when some permutation and motion brings every atom this near [Angstrom]."""

_STAYS_WITHIN = 1.3  # of the ideal position of a site [Angstrom]
_MOLECULE_STAYS_WITHIN = 2.0  # its nearest contact atom, which may straddle the ideal position [Angstrom]
_BOUND_WITHIN = 1.6  # times the distance at which a guest touches a donor, from the nearest host atom
_MADE = 0.20  # a bond is new when shorter than the sum of covalent radii plus this [Angstrom]
_BROKEN = 0.65  # and broken when longer than the sum plus this [Angstrom]

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
    """

    verdict: Verdict
    site: str | None
    label: str


def classify_complex(complex_: Complex, positions: FloatArray) -> list[FinalSite]:
    """Say where every guest of a complex is after a relaxation.

    Parameters
    ----------
    complex_
        As it was built.
    positions
        Relaxed [Angstrom], in the order of the complex, shape=(n_atoms, 3).

    Raises
    ------
    BadInputError
        The number of positions is not that of the complex.
    """
    expected = len(complex_.structure)
    if len(positions) != expected:
        raise BadInputError(f"expected {expected} positions, host and guests; got {len(positions)}")
    atoms = complex_.fragments
    changed = changed_bonds(complex_, positions)
    found = []
    for number, (placed, name) in enumerate(zip(complex_.placed, list(atoms)[1:], strict=True)):
        guest = get_guest(placed.guest)
        host, there = positions[: len(complex_.host)], positions[list(atoms[name])]
        sites = find_sites(complex_.host, placed.guest)
        place = _nearest_site(complex_.host, host, guest, there, sites, placed.site.id)
        partner = _touched_guest(complex_, positions, number)
        if place.verdict == "dissociated":
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
        Id of the site where it started.

    Raises
    ------
    BadInputError
        The number of positions is not that of host and guest.
    """
    placed_guest = get_guest(guest)
    expected = len(host) + len(placed_guest.structure)
    if len(positions) != expected:
        raise BadInputError(f"expected {expected} positions, host and one guest; got {len(positions)}")
    sites = find_sites(host, guest)
    site = next((site for site in sites if site.id == start), None)
    if site is None:
        return _nearest_site(host, positions[: len(host)], placed_guest, positions[len(host) :], sites, start)
    symbols = (*host.symbols, *placed_guest.structure.symbols)
    structure = Structure(symbols, positions, host.charge + placed_guest.charge)
    complex_ = Complex(structure, host, (Placed(guest, site, site.members[0]),), (structure.multiplicity,))
    return classify_complex(complex_, positions)[0]


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
            if np.linalg.norm(there[i] - there[j]) > covalent_distance(part.symbols[i], part.symbols[j]) + _BROKEN:
                found.append(f"{part.symbols[i]}{atoms[i]}-{part.symbols[j]}{atoms[j]} broken")
        for i, j in sorted(BondGraph(part.with_positions(there)).bonds - before):
            if np.linalg.norm(there[i] - there[j]) < covalent_distance(part.symbols[i], part.symbols[j]) + _MADE:
                found.append(f"{part.symbols[i]}{atoms[i]}-{part.symbols[j]}{atoms[j]} made")
    return found + list(_taken_hydrogens(complex_, positions))


def _taken_hydrogens(complex_: Complex, positions: FloatArray) -> Iterator[str]:
    """Hydrogens that went from one fragment to another."""
    names = list(complex_.fragments)
    owner = {atom: name for name, atoms in complex_.fragments.items() for atom in atoms}
    symbols = complex_.structure.symbols
    start, end = BondGraph(complex_.structure).bonds, BondGraph(complex_.structure.with_positions(positions)).bonds
    for i, j in sorted(end - start):
        covalent = np.linalg.norm(positions[i] - positions[j]) < covalent_distance(symbols[i], symbols[j]) + _MADE
        sizes = [len(complex_.fragments[owner[a]]) for a in (i, j)]
        if owner[i] != owner[j] and "H" in (symbols[i], symbols[j]) and covalent and min(sizes) > 1:
            yield f"{symbols[i]}{i}-{symbols[j]}{j} made between {names[names.index(owner[i])]} and {owner[j]}"


def same_minimum(first: Complex, second: Complex, tolerance: float = SAME_MINIMUM) -> bool:
    """Whether two relaxed complexes are the same but for the numbering of like atoms, motion and mirroring.

    Parameters
    ----------
    first, second
        With relaxed positions, of the same host and the same guests in any order.
    tolerance
        Largest distance of an atom from its counterpart [Angstrom].
    """
    a, b = _marked(first), _marked(second)
    return next(find_isometries(a, b, tolerance), None) is not None


def _marked(complex_: Complex) -> MarkedPoints:
    """Atoms of a complex, marked by fragment and by what the fragment's own bond graph can tell apart."""
    positions = complex_.structure.positions - complex_.structure.positions.mean(axis=0)
    marks = list(BondGraph(complex_.host).classes)
    for placed in complex_.placed:
        guest = get_guest(placed.guest).structure
        kind = 1000 * (1 + sum(1000 * i + ord(letter) for i, letter in enumerate(placed.guest)))
        marks += [kind + rank for rank in BondGraph(guest).classes]
    return MarkedPoints(positions, np.array(marks), np.empty((0, 2), dtype=np.int64))


# --- where one guest is ----------------------------------------------------------------------------------------------


def _nearest_site(
    host: Structure, atoms: FloatArray, guest: Guest, there: FloatArray, sites: Sequence[Site], start: str
) -> FinalSite:
    """The site whose ideal place, carried along with its surroundings, is nearest to a contact atom of the guest."""
    nearest = cdist(there, atoms)
    reach = max(guest.reach("N"), 1.5) if guest.is_atom else van_der_waals_distance("C", "C") / _BOUND_WITHIN
    if nearest.min() > _BOUND_WITHIN * reach:
        return FinalSite("dissociated", None, f"dissociated ({nearest.min():.2f} Angstrom from the nearest atom)")
    distances = {site.id: _distance_from(site, host, atoms, guest, there) for site in sites}
    best = min(sites, key=lambda site: distances[site.id], default=None)
    limit = _STAYS_WITHIN if guest.is_atom else _MOLECULE_STAYS_WITHIN
    if not guest.is_atom and distances.get(start, np.inf) <= limit:
        best = next(site for site in sites if site.id == start)  # a molecule may touch several sites at once
    if best is None or distances[best.id] > limit:
        return FinalSite("migrated", None, "at no known site")
    return FinalSite("stayed" if best.id == start else "migrated", best.id, best.label)


def _distance_from(site: Site, host: Structure, atoms: FloatArray, guest: Guest, there: FloatArray) -> float:
    """Distance of the nearest contact atom of a guest from the nearest ideal place of a site [Angstrom]."""
    if guest.is_atom and not site.suits(guest):
        return float("inf")
    contacts = there[list(guest.contacts(site.donates))]
    ideals = np.array([_carried(host, atoms, member.anchors, member.position) for member in site.members])
    return float(cdist(contacts, ideals).min())


def _carried(host: Structure, atoms: FloatArray, anchors: tuple[int, ...], position: FloatArray) -> FloatArray:
    """A place that moves with its anchors and their neighbourhood [Angstrom], shape=(3,)."""
    near = np.argsort(np.linalg.norm(host.positions - position, axis=1))[: max(8, len(anchors) + 4)]
    frame = np.union1d(near, anchors)
    before, after = host.positions[frame], atoms[frame]
    rotation = best_rotation(before - before.mean(axis=0), after - after.mean(axis=0))
    carried: FloatArray = after.mean(axis=0) + rotation @ (position - before.mean(axis=0))
    return carried


def _touched_guest(complex_: Complex, positions: FloatArray, number: int) -> str | None:
    """Id of the start of another guest that this one is now bonded to and was not before."""
    atoms = list(complex_.fragments.values())[1:]
    symbols = complex_.structure.symbols
    for other, placed in enumerate(complex_.placed):
        if other == number:
            continue
        for i in atoms[number]:
            for j in atoms[other]:
                limit = covalent_distance(symbols[i], symbols[j]) + 0.4
                before = np.linalg.norm(complex_.structure.positions[i] - complex_.structure.positions[j])
                if np.linalg.norm(positions[i] - positions[j]) < limit < before:
                    return f"{placed.guest} from {placed.member.id}"
    return None
