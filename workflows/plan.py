"""From a study to a plan: complexes, one per symmetry-distinct placement and guest, and their calculations."""

from collections.abc import Sequence
from pathlib import Path

from alkaflow.calculations import CalculationInput, Fragment, rounded
from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham, Xtb, parse_level
from alkaflow.plans import Leg, Plan, PlannedHost, PlanRow, SingleRun
from alkaflow.structures import Site, Structure, build_complex, find_sites, get_guest, select_sites
from alkaflow.structures.hosts import builtin_host, load_file
from alkaflow.structures.smiles import from_smiles
from alkaflow.studies import HostEntry, PublishedRow, Study
from alkaflow.workflows.basis import check_level
from alkaflow.workflows.protocols import Protocol, get_protocol


def make_plan(
    study: Study,
    protocol: str | None = None,
    folder: Path | None = None,
    sites: Sequence[str] | None = None,
    guests: Sequence[str] | None = None,
) -> Plan:
    """Turn a study into a plan; nothing is written and nothing runs.

    Parameters
    ----------
    study
        The manifest.
    protocol
        Instead of the study's own.
    folder
        What the files of hosts are relative to; the working directory without it.
    sites, guests
        Instead of the study's own; published rows are matched to whatever is chosen.

    Raises
    ------
    BadInputError
        An unknown protocol, host, guest, site, element or basis, or an impossible charge or multiplicity.
    """
    chosen = get_protocol(protocol or study.protocol)
    if study.level:
        chosen = chosen.with_level(study.level)
    builder = _Builder(chosen)
    queries, answered = list(sites or study.sites), set[str]()
    known: list[Site] = []
    wanted_guests = list(guests or study.guests)
    for guest in wanted_guests:
        get_guest(guest)  # an unknown one is refused before any host is built
    for entry in study.hosts:
        host = _load_entry(entry, folder)
        guest_symbols = [symbol for guest in wanted_guests for symbol in get_guest(guest).structure.symbols]
        for level in (*chosen.relaxations, chosen.energy):
            if isinstance(level, KohnSham):
                check_level(level, (*host.symbols, *guest_symbols))
        published = [row for row in study.published if row.host == entry.name]
        for guest in wanted_guests:
            known = find_sites(host, guest)
            selected = _selected(known, queries, entry.name)
            answered |= {query for query in queries if _named(known, query)}
            match = _match_published(published, guest, known, selected, strict=sites is None)
            for site in selected:
                builder.add_row(entry.name, host, guest, site, match.get(site.id))
    if missing := [query for query in queries if query not in answered]:
        select_sites(known, missing[0])  # raises, with what the last host has
    return builder.plan(study)


def plan_single(structure: Structure, level: str | None, protocol: str | None, relax: bool = False) -> SingleRun:
    """The steps of one structure: a level, with or without a relaxation, or a protocol.

    Parameters
    ----------
    structure
        With charge and multiplicity.
    level, protocol
        One of the two; a level alone is a single point at the given geometry.
    relax
        At that level, before the energy.

    Raises
    ------
    BadInputError
        Both or neither are given, a level or protocol is unknown, or the level lacks an element.
    """
    if (level is None) == (protocol is None) or (relax and protocol is not None):
        raise BadInputError("give either a level, with or without a relaxation, or a protocol, which has its own")
    builder = _Builder(get_protocol(protocol) if protocol is not None else _at_level(str(level), relax))
    return builder.single(structure)


def _at_level(text: str, relax: bool) -> Protocol:
    """A protocol of one level."""
    level = parse_level(text)
    return Protocol(name=text, relaxations=(level,) if relax else (), energy=level, summary="one level")


def _load_entry(entry: HostEntry, folder: Path | None) -> Structure:
    """Build the structure of a host entry, with its charge and multiplicity."""
    from dataclasses import replace

    if entry.molecule and not entry.file:
        raise BadInputError(f"host {entry.name!r}: a molecule is chosen by its formula from a CIF file only")
    if entry.builtin:
        host = builtin_host(entry.builtin, entry.conformer)
    elif entry.smiles:
        host = from_smiles(entry.smiles, conformer=entry.conformer or "lowest")
    else:
        path = (folder or Path()) / str(entry.file)  # an absolute path stays as it is
        host = load_file(path, entry.charge, entry.multiplicity, entry.conformer, entry.molecule)
    if entry.smiles and entry.charge not in (None, host.charge):
        raise BadInputError(
            f"host {entry.name!r}: charge {entry.charge} contradicts the SMILES, which says {host.charge}"
        )
    charge = host.charge if entry.charge is None else entry.charge
    multiplicity = entry.multiplicity or (host.multiplicity if charge == host.charge else 0)
    try:
        return replace(host, charge=charge, multiplicity=multiplicity, name=entry.name)
    except BadInputError as error:
        raise BadInputError(f"host {entry.name!r}: {error}") from None


def _named(known: list[Site], query: str) -> list[Site]:
    """The sites of a host that a query names; none is no mistake while another host has some."""
    try:
        return select_sites(known, query)
    except BadInputError:
        return []


def _selected(known: list[Site], queries: list[str], host: str) -> list[Site]:
    """The sites of a host that any query names, each once; raises BadInputError when there is none."""
    selected = {site.id: site for query in queries for site in _named(known, query)}
    if not selected:
        try:
            select_sites(known, queries[0])
        except BadInputError as error:
            raise BadInputError(f"host {host!r}: {error}") from None
    return list(selected.values())


def _match_published(
    rows: list[PublishedRow], guest: str, known: list[Site], selected: list[Site], strict: bool
) -> dict[str, PublishedRow]:
    """Find the one site each published row speaks of."""
    match: dict[str, PublishedRow] = {}
    for row in rows:
        if row.guest != guest:
            continue
        named = select_sites(known, row.site)
        if len(named) > 1:
            raise BadInputError(
                f"published row {row.label!r}: site {row.site!r} is ambiguous; "
                f"it may be {' or '.join(f'{s.id} ({s.label})' for s in named)}"
            )
        if named[0].id not in {site.id for site in selected}:
            if strict:
                raise BadInputError(f"published row {row.label!r}: site {row.site!r} is not among the study's sites")
            continue
        if named[0].id in match:
            raise BadInputError(f"published rows {match[named[0].id].label!r} and {row.label!r} name the same site")
        match[named[0].id] = row
    return match


class _Builder:
    """Collects rows and calculations; the same input is one calculation however often it is needed."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._hosts: dict[str, PlannedHost] = {}
        self._rows: list[PlanRow] = []
        self._calculations: dict[str, CalculationInput] = {}
        self._titles: dict[str, str] = {}

    def add_row(self, name: str, host: Structure, guest: str, site: Site, published: PublishedRow | None) -> None:
        """Add a guest at a site, with all three legs of its adsorption energy."""
        self._hosts[name] = PlannedHost(
            symbols=list(host.symbols),
            positions_angstrom=list(rounded(host.positions.tolist())),
            charge=host.charge,
            multiplicity=host.multiplicity,
        )
        where = f"{guest} at {site.label} of {name}"
        placed = build_complex(host, guest, site)
        fragments = tuple(
            Fragment(atoms=atoms, charge=part.charge, multiplicity=part.multiplicity)
            for atoms, part in zip(placed.fragments.values(), (host, get_guest(guest).structure), strict=True)
        )
        self._rows.append(
            PlanRow(
                label=published.label if published else f"{guest} {site.label}",
                host=name,
                guest=guest,
                site=site.id,
                site_kind=site.kind,
                site_label=site.label,
                site_multiplicity=site.multiplicity,
                published_ev=published.value_ev if published else None,
                tolerance_ev=published.tolerance if published else None,
                source=published.source if published else None,
                host_leg=self._leg(host, name),
                guest_leg=self._leg(get_guest(guest).structure, f"{guest} atom"),
                complex_leg=self._leg(placed.structure, where, fragments),
            )
        )

    def plan(self, study: Study) -> Plan:
        """Return what was collected."""
        return Plan(
            study=study,
            protocol=self._protocol.name,
            level=self._protocol.level,
            hosts=self._hosts,
            rows=self._rows,
            calculations=self._calculations,
            titles=self._titles,
        )

    def single(self, structure: Structure) -> SingleRun:
        """The steps of one structure."""
        for level in (*self._protocol.relaxations, self._protocol.energy):
            if isinstance(level, KohnSham):
                check_level(level, structure.symbols)
        self._leg(structure, structure.name or structure.formula)
        return SingleRun(calculations=self._calculations, titles=self._titles)

    def _leg(self, structure: Structure, title: str, fragments: tuple[Fragment, ...] | None = None) -> Leg:
        """Relaxations and energy of a structure, each from the geometry before it; an atom has nothing to relax."""
        ids: list[str] = []
        if len(structure) > 1:
            for level in self._protocol.relaxations:
                searched = fragments if isinstance(level, KohnSham) and level.states else None
                given = _input("relax", level, structure, ids[-1] if ids else None, searched)
                ids.append(self._register(given, title))
        return Leg(ids=[*ids, self._energy(structure, ids[-1] if ids else None, title)])

    def _energy(self, structure: Structure, parent: str | None, title: str) -> str:
        return self._register(_input("energy", self._protocol.energy, structure, parent), title)

    def _register(self, given: CalculationInput, title: str) -> str:
        self._calculations.setdefault(given.id, given)
        self._titles.setdefault(given.id, f"{title}, {given.step}")
        return given.id


def _input(
    step: str,
    level: Xtb | KohnSham,
    structure: Structure,
    parent: str | None,
    fragments: tuple[Fragment, ...] | None = None,
) -> CalculationInput:
    return CalculationInput.model_validate(
        {
            "step": step,
            "level": level,
            "charge": structure.charge,
            "multiplicity": structure.multiplicity,
            "symbols": structure.symbols,
            "positions": None if parent else rounded(structure.positions.tolist()),
            "parent": parent,
            "fragments": fragments,
        }
    )
