"""The rules that find places on a host, one per kind of site. Adding one: write a generator, put it into `RULES`.

A rule gets the `Host` and the guest and yields `Candidate` places. It need not care about symmetry, order or room:
`find_sites` drops places without room for a probe and joins equivalent ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from alkaflow.elements import is_metal
from alkaflow.structures.bays import find_bays
from alkaflow.structures.candidates import Candidate, Room
from alkaflow.structures.distances import contact_distance
from alkaflow.structures.donors import Donor, find_donors
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import GUESTS, Guest
from alkaflow.structures.rings import covalent_bonds, face_rings, is_pi_ring, ring_label
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.vectors import angle_between, apex, plane_normal, slide, unit

_PROBE = GUESTS["Li"]
_ONE_PLACE = 0.6  # a ring's face nearer than this to a bay is that bay [Angstrom]
_NITRILE_LENGTH = 1.30  # C#N is 1.15-1.17 Angstrom, C=N at least 1.27
_NITRILE_PAIR = 4.6  # N..N of two nitriles that share one atom: 3.9-4.4 Angstrom
_NITRILE_SPREAD = 150.0  # degree between their axes; 56 in HATCN, 118 in geminal pairs, 180 in cyanogen
_CORNER_SLACK = 0.10  # nitriles reach a shared atom less well than ring N do [Angstrom]
_OPEN_SIDE = 72.0  # no ligand nearer than this to the direction in which a metal is open [degree]; 90 if planar
_PLANAR_FOUR = 1.0  # distance of an atom from the plane of its four ligands up to which both sides count [Angstrom]
_PLANAR_THREE = 0.15  # the same for three; farther out it is a pyramid, open at its tip
_CIS = 120.0  # ligands closer than this at the metal are neighbours [degree]
_FLUORIDE_ROOM = 2.4  # from a fluoride that touches a hydrogen to other heavy atoms [Angstrom]
_NITRILE_CARBON = 2.1  # a metal between two nitriles is no nearer to their C [Angstrom]
_POCKET_REACH = 3.6  # from an acidic H to the centre of PF6-: F..H 2.0, P-F 1.6 Angstrom
_POCKET_ROOM = 2.9  # from the centre of PF6- to any other atom [Angstrom]
_POCKET_DONOR = 5.2  # from the centre of PF6- to a lone pair, which repels it [Angstrom]
_POCKET_OPENING = 54.0  # how far off its X-H direction an acidic H may be touched [degree]
_POCKET_BONDS = 8  # acidic H fewer bonds apart than this are on one arm of the host, and no pocket


@dataclass(frozen=True)
class Host:
    """What rules look at: the bond graph, the donors, and the larger sites that were found before."""

    graph: BondGraph

    @property
    def structure(self) -> Structure:
        """The atoms."""
        return self.graph.structure

    @property
    def positions(self) -> FloatArray:
        """Positions [Angstrom], shape=(n_atoms, 3)."""
        return self.graph.structure.positions

    def unit_vector(self, start: int, end: int) -> FloatArray:
        """From one atom towards another, shape=(3,)."""
        return unit(self.positions[end] - self.positions[start])

    @cached_property
    def tree(self) -> cKDTree:
        """For neighbours in space."""
        return cKDTree(self.positions)

    @cached_property
    def room(self) -> Room:
        """Whether a probe fits somewhere."""
        return Room.of_graph(self.graph)

    @cached_property
    def donors(self) -> tuple[Donor, ...]:
        """Atoms with lone pairs, nitriles and oxo apart."""
        return tuple(find_donors(self.graph))

    @cached_property
    def nitriles(self) -> tuple[tuple[int, int, int], ...]:
        """Nitrile groups as (N, its C, the atom that carries the group)."""
        symbols, positions = self.structure.symbols, self.positions
        found = []
        for n, bonded in enumerate(self.graph.neighbours):
            if symbols[n] != "N" or len(bonded) != 1:
                continue
            (c,) = bonded
            others = self.graph.neighbours[c] - {n}
            if symbols[c] == "C" and len(others) == 1 and np.linalg.norm(positions[n] - positions[c]) < _NITRILE_LENGTH:
                found.append((n, c, next(iter(others))))
        return tuple(found)

    @cached_property
    def in_bays(self) -> frozenset[int]:
        """Donors that belong to a bay."""
        return self._anchors_of(find_bays(self.graph, self.donors, _PROBE))

    @cached_property
    def bay_places(self) -> tuple[FloatArray, ...]:
        """Where the probe sits in the bays."""
        return tuple(bay.probe for bay in find_bays(self.graph, self.donors, _PROBE))

    @cached_property
    def in_corners(self) -> frozenset[int]:
        """Nitrile N that belong to a corner."""
        return self._anchors_of(corners(self, _PROBE))

    def _anchors_of(self, candidates: Iterator[Candidate]) -> frozenset[int]:
        there = [c for c in candidates if self.room.is_free(c.probe, c.anchors)]
        return frozenset(atom for candidate in there for atom in candidate.anchors)


def bays(host: Host, guest: Guest) -> Iterator[Candidate]:
    """Two or more donors whose lone pairs face one cavity."""
    yield from find_bays(host.graph, host.donors, guest)


def corners(host: Host, guest: Guest) -> Iterator[Candidate]:
    """Two nitriles on the same atom or on neighbours, close enough to share one atom."""
    positions = host.positions
    reach, probe_reach = guest.reach("N") + _CORNER_SLACK, _PROBE.reach("N") + _CORNER_SLACK
    for (n_1, c_1, x_1), (n_2, c_2, x_2) in combinations(host.nitriles, 2):
        geminal = x_1 == x_2
        gap = float(np.linalg.norm(positions[n_1] - positions[n_2]))
        if gap > _NITRILE_PAIR or not (geminal or x_2 in host.graph.neighbours[x_1]):
            continue
        if angle_between(positions[n_1] - positions[c_1], positions[n_2] - positions[c_2]) > _NITRILE_SPREAD:
            continue
        base = (positions[n_1] + positions[n_2]) / 2
        out = base - (positions[x_1] + positions[x_2]) / 2
        place, normal = apex(positions[n_1], positions[n_2], out, reach, reach)
        probe, _ = apex(positions[n_1], positions[n_2], out, probe_reach, probe_reach)
        carbons, limit = positions[[c_1, c_2]], np.full((1, 2), _NITRILE_CARBON)
        place, probe = (at + max(slide(at[None], carbons, limit, normal), 0.0) * normal for at in (place, probe))
        label = "geminal nitrile corner" if geminal else "nitrile corner"
        yield Candidate("corner", label, tuple(sorted((n_1, n_2))), place, normal, 0.0, probe, (str(int(geminal)),))


def ends(host: Host, guest: Guest) -> Iterator[Candidate]:
    """A nitrile N that is in no corner, along its axis."""
    for n, c, _ in host.nitriles:
        if n not in host.in_corners:
            axis = host.positions[n] - host.positions[c]
            yield _on_atom(host, "end", "nitrile end", n, axis, guest.reach("N"), _PROBE.reach("N"))


def lone_pairs(host: Host, guest: Guest) -> Iterator[Candidate]:
    """A donor that is in no bay, along its lone pair; the two O of a carboxylate together."""
    alone = {donor.atom: donor for donor in host.donors if donor.atom not in host.in_bays}
    yield from _carboxylates(host, guest, alone)
    shared = {atom for group in _terminal_pairs(host, alone) for atom in group}
    for atom, donor in sorted(alone.items()):
        if atom not in shared:
            reach, probe_reach = guest.reach(donor.element), _PROBE.reach(donor.element)
            yield _on_atom(host, "lone-pair", donor.label, atom, donor.direction, reach, probe_reach)


def _carboxylates(host: Host, guest: Guest, alone: dict[int, Donor]) -> Iterator[Candidate]:
    """Two terminal O on one C or N, which hold a metal together."""
    positions = host.positions
    for first, second in _terminal_pairs(host, alone):
        (centre,) = host.graph.neighbours[first]
        out = (positions[first] + positions[second]) / 2 - positions[centre]
        place, normal = apex(positions[first], positions[second], out, *[guest.reach("O")] * 2)
        probe, _ = apex(positions[first], positions[second], out, *[_PROBE.reach("O")] * 2)
        whole = all(host.structure.symbols[o] == "O" for o in host.graph.neighbours[centre])
        names = ("carbonate", "nitrate") if whole else ("carboxylate", "nitro group")
        label = names[host.structure.symbols[centre] == "N"]
        yield Candidate("lone-pair", label, (first, second), place, normal, 0.0, probe, ("",))


def _terminal_pairs(host: Host, alone: dict[int, Donor]) -> Iterator[tuple[int, int]]:
    symbols, neighbours = host.structure.symbols, host.graph.neighbours
    for centre, bonded in enumerate(neighbours):
        terminal = sorted(o for o in bonded if symbols[o] == "O" and len(neighbours[o]) == 1 and o in alone)
        if symbols[centre] in ("C", "N") and len(terminal) >= 2 and len(bonded) == 3:
            yield from combinations(terminal, 2)


def faces(host: Host, guest: Guest) -> Iterator[Candidate]:
    """Both sides of every planar unsaturated ring, aromatic or not; the outer side of the rings of an oxo cluster."""
    centre = host.positions.mean(axis=0)
    for ring, centroid, normal in face_rings(host.graph):
        label, hetero = ring_label(host.graph, ring)
        radius = float(np.linalg.norm(host.positions[list(ring)] - centroid, axis=1).mean())
        sides = [side for side in (normal, -normal) if is_pi_ring(host.graph, ring) or side @ (centroid - centre) > 0]
        for side in sides:
            probe = centroid + _PROBE.height(radius) * side
            if any(np.linalg.norm(probe - place) < _ONE_PLACE for place in host.bay_places):
                continue
            anchors, rank = tuple(sorted(ring)), (f"{9 - hetero}", label)
            yield Candidate("face", f"{label} face", anchors, centroid, side, guest.height(radius), probe, rank)


def tops(host: Host, guest: Guest) -> Iterator[Candidate]:
    """On a metal atom of the host, where its ligands leave it open."""
    symbols = host.structure.symbols
    for metal in _metals(host):
        reach = guest.reach(symbols[metal], donates=False)
        probe_reach = _PROBE.reach(symbols[metal])
        for side in _open_sides(host, metal):
            yield _on_atom(host, "top", f"{symbols[metal]} top", metal, side, reach, probe_reach)


def bridges(host: Host, guest: Guest) -> Iterator[Candidate]:
    """Beside a planar metal atom, over the hollow between it and two neighbouring ligands."""
    symbols, positions = host.structure.symbols, host.positions
    for metal in _metals(host):
        ligands = sorted(host.graph.neighbours[metal])
        if len(ligands) != 4:
            continue
        for side in _open_sides(host, metal):
            for pair in combinations(ligands, 2):
                if angle_between(*(positions[list(pair)] - positions[metal])) > _CIS:
                    continue
                anchors = tuple(sorted((metal, *pair)))
                points = positions[list(anchors)]
                base = points.mean(axis=0)
                elements = [symbols[a] for a in anchors]
                height = _touching_height(base, points, elements, side, guest)
                probe = base + _touching_height(base, points, elements, side, _PROBE) * side
                first, second = sorted(symbols[ligand] for ligand in pair)
                label = f"{first}-{symbols[metal]}-{second} hollow"
                yield Candidate("bridge", label, anchors, base, side, height, probe, (label,))


def oxos(host: Host, guest: Guest) -> Iterator[Candidate]:
    """On an O that is bonded to metals alone."""
    symbols = host.structure.symbols
    for atom, bonded in enumerate(host.graph.neighbours):
        if symbols[atom] != "O" or not bonded or not all(is_metal(symbols[j]) for j in bonded):
            continue
        label = "terminal oxo" if len(bonded) == 1 else f"mu{len(bonded)}-oxo"
        for side in _away_from_bonds(host, atom):
            yield _on_atom(host, "oxo", label, atom, side, guest.reach("O"), _PROBE.reach("O"))


def acidics(host: Host, guest: Guest) -> Iterator[Candidate]:
    """A hydrogen that a fluoride can touch, and pockets between two of them that hold a PF6-."""
    positions = host.positions
    reach = guest.reach("H", donates=False)
    touch = contact_distance("H", "F")
    acids = dict(_acidic_hydrogens(host))
    for hydrogen, label in acids.items():
        (carrier,) = host.graph.neighbours[hydrogen]
        direction = positions[hydrogen] - positions[carrier]
        found = _on_atom(host, "acidic", label, hydrogen, direction, reach, touch)
        near = set(host.tree.query_ball_point(found.probe, _FLUORIDE_ROOM)) & host.room.heavy
        if not near - {carrier}:
            yield found
    yield from _pockets(host, acids, reach)


def _pockets(host: Host, acids: dict[int, str], reach: float) -> Iterator[Candidate]:
    """Two acidic H on different arms of the host that point at one place with room for a PF6-."""
    positions = host.positions
    atoms = sorted(acids)
    if len(atoms) < 2:
        return
    for first, second in sorted(cKDTree(positions[atoms]).query_pairs(2 * _POCKET_REACH)):
        i, j = pair = (atoms[first], atoms[second])
        a, b = positions[list(pair)]
        directions = [positions[h] - positions[next(iter(host.graph.neighbours[h]))] for h in pair]
        out = directions[0] + directions[1]
        across = (b - a) / np.linalg.norm(b - a)
        out = out - across * (out @ across)
        if np.linalg.norm(out) < 0.3 or j in host.graph.within(i, _POCKET_BONDS - 1):
            continue
        probe, normal = apex(a, b, out, _POCKET_REACH, _POCKET_REACH)
        facing = all(
            angle_between(direction, probe - positions[h]) < _POCKET_OPENING
            for direction, h in zip(directions, pair, strict=True)
        )
        donors = positions[[donor.atom for donor in host.donors] + [n for n, _, _ in host.nitriles]].reshape(-1, 3)
        over_donor = len(donors) and np.linalg.norm(donors - probe, axis=1).min() < _POCKET_DONOR
        if facing and not over_donor and not set(host.tree.query_ball_point(probe, _POCKET_ROOM)) - set(pair):
            place, _ = apex(a, b, out, reach, reach)
            label = " + ".join(sorted({acids[h] for h in pair})) + " pocket"
            yield Candidate("acidic", label, pair, place, normal, 0.0, probe, ("~", label))


Rule = Callable[[Host, Guest], Iterator[Candidate]]
RULES: dict[str, Rule] = {
    "bay": bays,
    "corner": corners,
    "end": ends,
    "lone-pair": lone_pairs,
    "face": faces,
    "top": tops,
    "bridge": bridges,
    "oxo": oxos,
    "acidic": acidics,
}
"""Rules by kind of site, in the order in which sites are listed."""


# --- shared by rules -------------------------------------------------------------------------------------------------


def _on_atom(
    host: Host, kind: str, label: str, atom: int, direction: FloatArray, reach: float, probe_reach: float
) -> Candidate:
    """A place at a distance from one atom."""
    normal = direction / np.linalg.norm(direction)
    base = host.positions[atom]
    return Candidate(kind, label, (atom,), base, normal, reach, base + probe_reach * normal, (label,))


def _touching_height(
    base: FloatArray, points: FloatArray, elements: list[str], side: FloatArray, guest: Guest
) -> float:
    """Height over a base at which the guest first touches one of some atoms."""
    reaches = np.array([guest.reach(element, donates=not is_metal(element)) for element in elements])
    return slide(base[None], points, reaches[None], side)


def _metals(host: Host) -> Iterator[int]:
    """Metal atoms with bonds."""
    for atom, symbol in enumerate(host.structure.symbols):
        if is_metal(symbol) and host.graph.neighbours[atom]:
            yield atom


def _open_sides(host: Host, metal: int) -> Iterator[FloatArray]:
    """Directions in which a metal has no ligand: both normals of planar ligands, or away from all of them."""
    vectors = host.graph.bond_vectors(metal)
    for side in _away_from_bonds(host, metal):
        if all(angle_between(side, vector) > _OPEN_SIDE for vector in vectors):
            yield side


def _away_from_bonds(host: Host, atom: int) -> list[FloatArray]:
    """Both normals where the bonds of an atom lie in a plane (nearly) through it, else minus their sum."""
    vectors = host.graph.bond_vectors(atom)
    bonded = host.positions[sorted(host.graph.neighbours[atom])]
    if len(vectors) >= 3:
        normal = plane_normal(bonded)
        off_plane = bonded - host.positions[atom]
        limit = _PLANAR_FOUR if len(vectors) == 4 else _PLANAR_THREE
        if np.abs(off_plane @ normal).max() < limit:
            return [normal, -normal]
    away = -vectors.sum(axis=0)
    length = float(np.linalg.norm(away))
    return [away / length] if length > 0.3 else []


def _acidic_hydrogens(host: Host) -> Iterator[tuple[int, str]]:
    """Hydrogens on N, O and S, and on carbon atoms of unsaturated rings, with a label each."""
    symbols, neighbours = host.structure.symbols, host.graph.neighbours
    aromatic = {
        atom
        for ring in host.graph.rings
        if is_pi_ring(host.graph, ring) and all(symbols[a] != "C" or covalent_bonds(host.graph, a) <= 3 for a in ring)
        for atom in ring
    }
    for atom, symbol in enumerate(symbols):
        if symbol != "H" or len(neighbours[atom]) != 1:
            continue
        (carrier,) = neighbours[atom]
        if symbols[carrier] in ("N", "O", "S"):
            yield atom, f"{symbols[carrier]}-H"
        elif symbols[carrier] == "C" and carrier in aromatic:
            yield atom, "aryl C-H"
