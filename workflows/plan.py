"""From a study to a plan: complexes, one per symmetry-distinct placement and guest, and their calculations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alkaflow.analysis.energies import COHESIVE_ENERGY_EV
from alkaflow.calculations import Constraint
from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham, Level, Xtb
from alkaflow.plans import Plan, SingleRun
from alkaflow.structures import Structure, get_guest
from alkaflow.structures.guests import GUESTS
from alkaflow.structures.hosts import builtin_host, load_file
from alkaflow.structures.smiles import from_smiles
from alkaflow.studies import HostEntry, PublishedRow, Study
from alkaflow.workflows.basis import check_level, with_substitutes
from alkaflow.workflows.legs import Calculations, Legs
from alkaflow.workflows.protocols import Protocol, choose_protocol, get_protocol
from alkaflow.workflows.rows import Rows
from alkaflow.workflows.starts import Start, Starts


def make_plan(
    study: Study,
    protocol: str | None = None,
    folder: Path | None = None,
    sites: Sequence[str] | None = None,
    guests: Sequence[str] | None = None,
    properties: bool = False,
) -> Plan:
    """Turn a study into a plan; nothing is written and nothing runs.

    Parameters
    ----------
    study
        The manifest.
    protocol
        Instead of the study's own; hosts with one of their own keep it.
    folder
        What the files of hosts are relative to; the working directory without it.
    sites, guests
        Instead of the study's own, and those of its hosts; published rows are matched to whatever is chosen. A host
        without any of the sites has no row.
    properties
        Charges and electrostatic potential also where the study does not ask for them.

    Raises
    ------
    BadInputError
        An unknown protocol, host, guest, element or basis, a site that no host has, an impossible charge or
        multiplicity, or a guest without the reference asked for.
    """
    if properties:
        study = study.model_copy(update={"properties": True})
    chosen = _protocol_of(study, None, protocol)
    protocols = {entry.name: _protocol_of(study, entry, protocol) for entry in study.hosts}
    rows = Rows(study, chosen.level)
    wanted = {entry.name: _guests_of(study, entry, guests) for entry in study.hosts}
    for guest in dict.fromkeys(guest for names in wanted.values() for guest in names):
        _check_reference(guest, study.reference)  # refused before any host is built
    hosts = [(entry, _load_entry(entry, folder)) for entry in study.hosts]
    starts = {
        (entry.name, guest): Starts(host, guest, study.guests_per_complex)
        for entry, host in hosts
        for guest in wanted[entry.name]
    }
    selected = _selected_by_host(study, starts, sites)
    for entry, host in hosts:
        published = [row for row in study.published if row.host == entry.name]
        if not wanted[entry.name]:
            rows.add_host(entry, host, _describing(protocols[entry.name], (host,)))
        for guest in wanted[entry.name]:
            described = _describing(protocols[entry.name], (host, get_guest(guest).structure))
            of_both = (entry.name, guest)
            match = _match_published(published, guest, starts[of_both], selected[of_both], strict=sites is None)
            for start in selected[of_both].values():
                rows.add(entry, start, described, match.get(start.id))
    return rows.plan(chosen)


def _protocol_of(study: Study, entry: HostEntry | None, protocol: str | None) -> Protocol:
    """The protocol of a host, or of the study where no host is given, with all that the study asks for.

    Raises
    ------
    BadInputError
        It is unknown, or what is asked for does not go together.
    """
    own = entry.protocol if entry else None
    chosen = get_protocol(own or protocol or study.protocol)
    level = (entry.level if entry else None) or (None if own else study.level)
    if level:
        chosen = chosen.with_level(level)
    if study.frequencies:
        chosen = chosen.with_frequencies()
    if study.frequencies and entry and entry.rigid:
        raise BadInputError(f"host {entry.name!r} is rigid, and so at no stationary point; leave out the frequencies")
    if study.counterpoise and isinstance(chosen.energy, KohnSham) and chosen.energy.solvent:
        raise BadInputError("counterpoise: true and a solvent do not go together: every ghost would get a cavity")
    return replace(chosen, states=study.states or chosen.states, properties=study.properties)


def _guests_of(study: Study, entry: HostEntry, guests: Sequence[str] | None) -> list[str]:
    """The guests of a host; those asked for instead, unless it is to be alone."""
    own = study.guests_of(entry)
    return list(guests) if guests and own else own


def _describing(protocol: Protocol, parts: Sequence[Structure]) -> Protocol:
    """The protocol with levels that describe all elements of some structures; refuses one that cannot."""
    symbols = tuple(symbol for part in parts for symbol in part.symbols)

    def describing(level: Level) -> Level:
        if isinstance(level, Xtb):
            return level
        chosen = with_substitutes(level, symbols)
        check_level(chosen, symbols)
        return chosen

    relaxations = tuple(describing(level) for level in protocol.relaxations)
    return replace(protocol, relaxations=relaxations, energy=describing(protocol.energy))


def _check_reference(guest: str, reference: str) -> None:
    """Refuse a guest that has no such reference."""
    given = get_guest(guest)
    if reference == "bulk" and (given.charge or not given.is_atom or given.name not in COHESIVE_ENERGY_EV):
        raise BadInputError(
            f"guest {guest!r} has no bulk metal to count from; reference: bulk is for {', '.join(COHESIVE_ENERGY_EV)}"
        )
    if reference == "ion" and given.charge == 0:
        ions = [name for name in GUESTS if name.rstrip("+-0123456789") == guest and name != guest]
        advice = f"name {' or '.join(ions)} as the guest" if ions else "leave reference out"
        raise BadInputError(
            f"guest {guest!r} is neutral, and so is what it adds to the complex; with reference: ion, {advice}"
        )


def plan_single(
    structure: Structure,
    level: str | None,
    protocol: str | None,
    relax: bool = False,
    frequencies: bool = False,
    constraints: tuple[Constraint, ...] | None = None,
) -> SingleRun:
    """The steps of one structure: a level, with or without a relaxation, or a protocol; frequencies last.

    Parameters
    ----------
    structure
        With charge and multiplicity.
    level, protocol
        One of the two; a level alone is a single point at the given geometry.
    relax
        At that level, before the energy.
    frequencies
        At the geometry of the last relaxation; not of an atom.
    constraints
        What every relaxation holds.

    Raises
    ------
    BadInputError
        Both or neither are given, a level or protocol is unknown, the level lacks an element, there are no
        frequencies for it, or the constraints are not for this structure or these steps.
    """
    return plan_steps(structure, choose_protocol(level, protocol, relax, frequencies), constraints)


def plan_steps(
    structure: Structure, protocol: Protocol, constraints: tuple[Constraint, ...] | None = None
) -> SingleRun:
    """The steps of one structure in a protocol: relaxations, the energy, frequencies where the protocol has them.

    Raises
    ------
    BadInputError
        A level lacks an element, or the constraints are not for this structure or these steps.
    """
    if protocol.frequencies and len(structure) == 1:
        raise BadInputError(f"{structure.formula} is one atom, which has no vibrations; leave out the frequencies")
    if constraints:
        _check_constraints(structure, protocol, constraints)
    calculations = Calculations()
    legs = Legs(_describing(protocol, [structure]), calculations)
    legs.one(structure, structure.name or structure.formula, constraints=constraints)
    return SingleRun(calculations=calculations.inputs, titles=calculations.titles)


def _check_constraints(structure: Structure, protocol: Protocol, constraints: tuple[Constraint, ...]) -> None:
    """Refuse constraints that no relaxation would hold."""
    if not protocol.relaxations or len(structure) == 1:
        raise BadInputError("constraints are for relaxations, and there is none; add --relax, or leave them out")
    held = [constraint.kind for constraint in constraints if constraint.kind != "freeze"]
    for level in protocol.relaxations:
        if held and not isinstance(level, KohnSham):
            raise BadInputError(
                f"relaxations at {level} freeze atoms but hold no {held[0]}; use a Kohn-Sham --level with --relax"
            )
    if protocol.frequencies:
        raise BadInputError("a geometry with constraints is no stationary point; leave out frequencies or constraints")
    last = max(atom for constraint in constraints for atom in constraint.atoms)
    if last >= len(structure):
        raise BadInputError(f"a constraint names atom {last}; {structure.formula} has atoms 0 to {len(structure) - 1}")
    _check_independent(structure, constraints)


def _check_independent(structure: Structure, constraints: tuple[Constraint, ...]) -> None:
    """Refuse constraints that contradict each other, or leave nothing free."""
    frozen = {atom for constraint in constraints if constraint.kind == "freeze" for atom in constraint.atoms}
    if len(frozen) == len(structure):
        raise BadInputError(f"every atom of {structure.formula} is frozen; nothing is left to relax")
    held: set[frozenset[int]] = set()
    for constraint in constraints:
        atoms = frozenset(constraint.atoms)
        if constraint.kind == "freeze":
            continue
        if atoms <= frozen:
            raise BadInputError(f"the {constraint.kind} of atoms {_numbers(constraint)} is fixed, as all are frozen")
        if atoms in held:
            raise BadInputError(f"two constraints are on atoms {_numbers(constraint)}; leave one out")
        held.add(atoms)


def _numbers(constraint: Constraint) -> str:
    return ", ".join(str(atom) for atom in constraint.atoms)


def _load_entry(entry: HostEntry, folder: Path | None) -> Structure:
    """Build the structure of a host entry, with its charge and multiplicity."""
    if entry.molecule and not entry.file:
        raise BadInputError(f"host {entry.name!r}: a molecule is chosen by its formula from a CIF file only")
    if entry.builtin:
        host = builtin_host(entry.builtin, entry.conformer)
    elif entry.smiles:
        host = from_smiles(entry.smiles, conformer=entry.conformer or "lowest")
    else:
        path = (folder or Path()) / str(entry.file)  # an absolute path stays as it is
        host = load_file(path, entry.charge, _first_multiplicity(entry), entry.conformer, entry.molecule)
    if entry.smiles and entry.charge not in (None, host.charge):
        raise BadInputError(
            f"host {entry.name!r}: charge {entry.charge} contradicts the SMILES, which says {host.charge}"
        )
    charge = host.charge if entry.charge is None else entry.charge
    multiplicity = _first_multiplicity(entry) or (host.multiplicity if charge == host.charge else 0)
    try:
        return replace(host, charge=charge, multiplicity=multiplicity, name=entry.name)
    except BadInputError as error:
        raise BadInputError(f"host {entry.name!r}: {error}") from None


def _first_multiplicity(entry: HostEntry) -> int | None:
    """The multiplicity of a host entry, the first of several; None where it leaves the choice to us."""
    listed = entry.multiplicities if isinstance(entry.multiplicities, tuple) else ()
    return listed[0] if listed else entry.multiplicity


_HostAndGuest = tuple[str, str]


def _selected_by_host(
    study: Study, starts: Mapping[_HostAndGuest, Starts], sites: Sequence[str] | None
) -> dict[_HostAndGuest, dict[str, Start]]:
    """The starts that the sites name: those asked for instead, those of a host, or those of the study."""
    own = {} if sites else {entry.name: entry.sites for entry in study.hosts if entry.sites}
    shared = {of_both: there for of_both, there in starts.items() if of_both[0] not in own}
    selected = _selected(shared, list(sites or study.sites)) if shared else {}
    for host, queries in own.items():
        selected |= _selected({of_both: there for of_both, there in starts.items() if of_both[0] == host}, queries)
    return selected


def _selected(starts: Mapping[_HostAndGuest, Starts], queries: Sequence[str]) -> dict[_HostAndGuest, dict[str, Start]]:
    """The starts that any query names, each once, by id; of every host and guest.

    A host that has none of them has no row. Refused are a query that names none anywhere, and a guest without a row;
    the sentence has the reason of every host.
    """
    selected: dict[_HostAndGuest, dict[str, Start]] = {of_both: {} for of_both in starts}
    failed: dict[tuple[str, _HostAndGuest], str] = {}
    for query in queries:
        for of_both, there in starts.items():
            try:
                named = there.named(query)
            except BadInputError as error:  # no mistake while another host has some
                failed[query, of_both] = str(error)
            else:
                selected[of_both] |= {start.id: start for start in named if start.id not in selected[of_both]}
        if all((query, of_both) in failed for of_both in starts):
            raise _without(list(starts), query, failed)
    for guest in dict.fromkeys(guest for _, guest in starts):
        asked = [of_both for of_both in starts if of_both[1] == guest]
        if not any(selected[of_both] for of_both in asked):
            raise BadInputError(f"guest {guest!r}: {_without(asked, queries[0], failed)}")
    return selected


def _without(
    asked: Sequence[_HostAndGuest], query: str, failed: Mapping[tuple[str, _HostAndGuest], str]
) -> BadInputError:
    """The error on a query that names nothing on any host."""
    reasons = dict.fromkeys(f"host {of_both[0]!r}: {failed[query, of_both]}" for of_both in asked)
    return BadInputError("; ".join(reasons))


def _match_published(
    rows: list[PublishedRow], guest: str, starts: Starts, selected: Mapping[str, Start], strict: bool
) -> dict[str, PublishedRow]:
    """Find the one start each published row speaks of."""
    match: dict[str, PublishedRow] = {}
    for row in rows:
        if row.guest != guest:
            continue
        try:
            named = starts.named(row.site)
        except BadInputError as error:
            raise BadInputError(f"published row {row.label!r}, host {row.host!r}: {error}") from None
        if len(named) > 1:
            raise BadInputError(
                f"published row {row.label!r}: site {row.site!r} is ambiguous; "
                f"it may be {' or '.join(f'{s.id} ({s.label})' for s in named)}"
            )
        if named[0].id not in selected:
            if strict:
                raise BadInputError(f"published row {row.label!r}: site {row.site!r} is not among the study's sites")
            continue
        if named[0].id in match:
            raise BadInputError(f"published rows {match[named[0].id].label!r} and {row.label!r} name the same site")
        match[named[0].id] = row
    return match
