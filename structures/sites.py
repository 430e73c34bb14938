"""Where on a host a guest binds: named kinds of sites, one per symmetry-distinct place.

The rules of `alkaflow.structures.rules` find the places; those that a symmetry operation of the host maps onto each
other are members of one site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.candidates import Candidate
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.guests import Guest, get_guest
from alkaflow.structures.rules import RULES, Host, Rule
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.symmetry import DEFAULT_TOLERANCE, Operation, find_operations

_ONE_PLACE = 0.5  # probes nearer to each other than this stand at one place [Angstrom]


@dataclass(frozen=True)
class Member:
    """One of the symmetry-equivalent places of a site. Positions in Angstrom; ``normal`` points off the host."""

    id: str
    anchors: tuple[int, ...]
    position: FloatArray
    normal: FloatArray


@dataclass(frozen=True)
class Site:
    """A symmetry-distinct place on a host; its own place is that of its first member.

    ``score`` is what `score_sites` gave it, lower being better, in the unit of the function used there.
    """

    id: str
    kind: str
    label: str
    members: tuple[Member, ...]
    score: float | None = None

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

    @property
    def donates(self) -> bool:
        """Whether the host gives a lone pair or pi electrons here, rather than a hydrogen or an empty metal orbital."""
        return self.kind not in ("acidic", "top", "bridge")

    def suits(self, guest: Guest) -> bool:
        """Whether a guest of this charge has business here: no cation at an acidic H, no anion at a lone pair.

        Under a ring of alkoxides there are metals, which an anion seeks.
        """
        if self.kind == "acidic":
            return guest.charge < 0 or not guest.is_atom
        return guest.charge >= 0 or self.kind in ("face", "top", "bridge") or self.label == "alkoxide bay"


def find_sites(
    host: Structure,
    guest: str = "Li",
    tolerance: float = DEFAULT_TOLERANCE,
    rules: Mapping[str, Rule] | None = None,
) -> list[Site]:
    """Find the symmetry-distinct sites of a host.

    Which sites there are, and their ids, follow from the host; the guest decides how far off it they lie.

    Parameters
    ----------
    host
        Any molecule or cluster, in one piece.
    guest
        Whose distances place the positions; for a molecule, of the atom that touches.
    tolerance
        Of the symmetry detection [Angstrom].
    rules
        By kind of site; by default `alkaflow.structures.rules.RULES`.

    Returns
    -------
    list of Site
        Bays, corners, ends, lone pairs, faces, tops, bridges, oxo, then acidic hydrogens.

    Raises
    ------
    BadInputError
        The host is in several pieces.
    UnknownNameError
        Nobody knows the guest.
    """
    placed = get_guest(guest)
    graph = BondGraph(host)
    check_in_one_piece(graph)
    seen = Host(graph)
    operations = find_operations(graph, tolerance)
    sites: list[Site] = []
    for kind, rule in (RULES if rules is None else rules).items():
        candidates = [c for c in rule(seen, placed) if seen.room.is_free(c.probe, c.anchors)]
        groups = _merge_equivalent(candidates, operations, host.positions.mean(axis=0))
        groups.sort(key=lambda group: _order(group, graph))
        sites += [_as_site(f"{kind}-{number}", group) for number, group in enumerate(groups, start=1)]
    return sites


def check_in_one_piece(graph: BondGraph) -> None:
    """Refuse a host whose atoms are not all connected by bonds, naming an atom of a smaller piece."""
    if graph.fragments > 1:
        host = graph.structure
        pieces = graph.pieces
        stray = min(pieces, key=len)[0]
        raise BadInputError(
            f"the host {host.name or host.formula} is in {graph.fragments} pieces that are not bonded; atom {stray} "
            f"({host.symbols[stray]}, counted from 0) belongs to the smallest one"
        )


def select_sites(sites: Sequence[Site], *queries: str) -> list[Site]:
    """Return the sites that an id, a kind or a label names, each once, in the order of the queries.

    Raises
    ------
    BadInputError
        A query names a kind of which the host has no site; says which kinds there are.
    UnknownNameError
        Nothing answers to a query; says what there is.
    """
    return list({site.id: site for query in queries for site in _answering(sites, query)}.values())


def _answering(sites: Sequence[Site], query: str) -> list[Site]:
    wanted = query.strip().lower()
    chosen = [site for site in sites if wanted in (site.id, site.kind, site.label.lower())]
    if not chosen:
        there = ", ".join(f"{site.id} ({site.label})" for site in sites) or "no site at all"
        if wanted in RULES:
            raise BadInputError(f"this host has no site of kind {wanted!r}; it has {there}")
        known = [name for site in sites for name in (site.id, site.kind, site.label)]
        members = [member.id for site in sites for member in site.members if member.id.startswith(wanted.split(".")[0])]
        raise UnknownNameError("site", query, members if "." in wanted and members else known, f"this host has {there}")
    return chosen


def select_place(sites: Sequence[Site], query: str) -> Site:
    """Return the one site that an id, a member's id, a kind or a label names, that member first.

    Raises
    ------
    UnknownNameError
        Nothing answers to it.
    BadInputError
        Several sites do; names them. Or the host has none of that kind.
    """
    for site in sites:
        for member in site.members:
            if query.strip().lower() == member.id:
                others = tuple(m for m in site.members if m is not member)
                return replace(site, members=(member, *others))
    chosen = select_sites(sites, query)
    if len(chosen) > 1:
        raise BadInputError(f"site {query!r} is ambiguous: {', '.join(f'{s.id} ({s.label})' for s in chosen)}")
    return chosen[0]


def score_sites(sites: list[Site], score: Callable[[Site], float]) -> list[Site]:
    """Return the sites with scores, the lowest first.

    Parameters
    ----------
    sites
        As `find_sites` gives them.
    score
        A number for a site, lower being better: the electrostatic potential at its position, a binding energy.
    """
    scored = [replace(site, score=float(score(site))) for site in sites]
    return sorted(scored, key=lambda site: (np.isnan(site.score or 0.0), site.score))


# --- symmetry --------------------------------------------------------------------------------------------------------


def _merge_equivalent(
    candidates: list[Candidate], operations: list[Operation], centre: FloatArray
) -> list[list[Candidate]]:
    """Group candidates that an operation about the centre maps onto each other; members by anchors, then side."""
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
            place = operation.matrix @ (candidate.probe - centre) + centre
            same = [j for j in by_anchors.get(image, []) if np.linalg.norm(candidates[j].probe - place) < _ONE_PLACE]
            if same:
                root[find(index)] = find(same[0])
    groups: dict[int, list[Candidate]] = {}
    for index, candidate in enumerate(candidates):
        groups.setdefault(find(index), []).append(candidate)
    return [sorted(group, key=lambda c: (c.anchors, -round(float(c.normal.sum()), 6))) for group in groups.values()]


def _order(group: list[Candidate], graph: BondGraph) -> tuple[object, ...]:
    """Sort distinct sites by rule rank, by order-free atom classes, by size, then by the mean distance from all atoms.

    The last is a mean over members too, so that noise in the positions changes it little.
    """
    first = group[0]
    classes = tuple(sorted(graph.classes[atom] for atom in first.anchors))
    places = np.array([candidate.probe for candidate in group])
    distance = float(np.linalg.norm(places[:, None] - graph.structure.positions[None], axis=-1).mean())
    return (*first.rank, first.label, classes, len(group), distance)


def _as_site(site_id: str, group: list[Candidate]) -> Site:
    members = tuple(
        Member(f"{site_id}.{number}", c.anchors, c.position, c.normal) for number, c in enumerate(group, start=1)
    )
    return Site(site_id, group[0].kind, group[0].label, members)
