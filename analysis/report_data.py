"""What a report says, put together once for all its formats; nothing is computed but sums and distances."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alkaflow.analysis.contacts import Contact, find_contacts
from alkaflow.analysis.methods import Methods, methods_of, versions_of
from alkaflow.analysis.plot_charges import scheme_name
from alkaflow.analysis.potential_scale import ISOVALUE
from alkaflow.analysis.preference import TEMPERATURE, Preference, site_preferences
from alkaflow.analysis.report_charges import ChargePanel
from alkaflow.analysis.report_differences import Difference, differences
from alkaflow.analysis.report_structures import Distance, anchor_distances, fragments_of, structure_of_record
from alkaflow.analysis.states import NOT_YET, Chosen, SpinState, choose_lowest
from alkaflow.analysis.surface import SurfaceMesh
from alkaflow.analysis.surface_record import mesh_of_arrays
from alkaflow.analysis.table import Table, TableRow, build_table
from alkaflow.errors import ADVICE, AlkaflowError, BadInputError
from alkaflow.files import sha256_of
from alkaflow.plans import Leg, Plan, PlanRow
from alkaflow.records import Record, Surface
from alkaflow.structures import get_guest
from alkaflow.units import BOLTZMANN_EV

_MISSING_SHOWN = 20


@dataclass(frozen=True)
class ReportSource:
    """What a report is made from.

    Attributes
    ----------
    plan
        Rows and calculations.
    records
        By id; some may be missing.
    problems
        Sentences on calculations that failed, by id.
    read_file
        Gives the bytes of a file by its SHA-256; raises an error of ours where it is not there. None: there are none.
    origin
        Where records come from, for people.
    command
        The study as it stands in commands: ``hatcn --protocol published-sp``.
    """

    plan: Plan
    records: Mapping[str, Record]
    problems: Mapping[str, str] = field(default_factory=dict)
    read_file: Callable[[str], bytes] | None = None
    origin: str = ""
    command: str = ""


@dataclass(frozen=True)
class StateLine:
    """A spin state and its share at `TEMPERATURE`; None where its energy or that of others is not known."""

    of: str
    state: SpinState
    weight: float | None


@dataclass(frozen=True)
class Failure:
    """A calculation without a result: why, and what to do."""

    calculation: str
    title: str
    cause: str
    advice: str
    command: str


@dataclass(frozen=True)
class SurfaceEntry:
    """A potential on a surface: of what, its record, and the mesh where its file is there."""

    name: str
    record: Record
    surface: Surface
    mesh: SurfaceMesh | None


@dataclass(frozen=True)
class RowReport:
    """All about one row."""

    row: TableRow
    record: Record | None = None
    distances: Sequence[Distance] = ()
    contacts: Sequence[Contact] = ()
    charges: ChargePanel | None = None
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class HostReport:
    """All about a host without rows."""

    name: str
    record: Record
    charges: ChargePanel | None
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    """All that a report says."""

    source: ReportSource
    table: Table
    rows: Sequence[RowReport]
    alone: Sequence[HostReport]
    preferences: Sequence[Preference]
    states: Sequence[StateLine]
    failures: Sequence[Failure]
    missing: Sequence[str]
    surfaces: Sequence[SurfaceEntry]
    methods: Methods
    differences: Sequence[Difference]
    versions: Mapping[str, Sequence[str]]
    warnings: Sequence[str]

    @property
    def title(self) -> str:
        """Of the study."""
        return self.table.title or self.table.study


def make_report(source: ReportSource) -> Report:
    """Put together what a report says."""
    plan, records = source.plan, source.records
    table = build_table(plan, records, source.problems)
    rows = [_row(source, planned, row) for planned, row in zip(plan.rows, table.rows, strict=True)]
    found = [records[i] for i in plan.calculations if i in records]
    return Report(
        source=source,
        table=table,
        rows=rows,
        alone=[host for name, leg in plan.alone.items() if (host := _host(source, name, leg)) is not None],
        preferences=[one for one in site_preferences(table) if one.rows > 1],
        states=state_lines(table),
        failures=_failures(source),
        missing=[i for i in plan.calculations if i not in records and i not in source.problems],
        surfaces=_surfaces(source),
        methods=methods_of(plan, records),
        differences=differences(plan, records),
        versions=versions_of(found),
        warnings=list(dict.fromkeys(f"{row.label}: {w}" for row in table.rows for w in row.warnings)),
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def _row(source: ReportSource, planned: PlanRow, row: TableRow) -> RowReport:
    chosen = choose_lowest(planned.complex_leg, source.records)
    if chosen is None:
        return RowReport(row)
    record = chosen.record
    distances = anchor_distances(source.plan, planned, record, row.final_site)
    charged = _charged(source, chosen)
    panel = None
    if charged is not None:
        near = sorted({atom for distance in distances for atom in (distance.host_atom, distance.guest_atom)})
        panel = ChargePanel(charged, fragments_of(source.plan, planned, len(record.symbols)), near)
    touching = _contacts(source.plan, planned, record)
    return RowReport(row, record, distances, touching, panel, _facts(record, panel))


def _contacts(plan: Plan, row: PlanRow, record: Record) -> list[Contact]:
    """What guests of several atoms touch; of single ones the distances say it."""
    if len(get_guest(row.guest).structure) == 1:
        return []
    return find_contacts(structure_of_record(record), len(plan.hosts[row.host].symbols))


def _host(source: ReportSource, name: str, leg: Leg) -> HostReport | None:
    chosen = choose_lowest(leg, source.records)
    if chosen is None:
        return None
    charged = _charged(source, chosen)
    panel = ChargePanel(charged, {name: tuple(range(len(charged.symbols)))}, []) if charged is not None else None
    return HostReport(name, chosen.record, panel, _facts(chosen.record, panel))


def _charged(source: ReportSource, chosen: Chosen) -> Record | None:
    """The record with charges by most schemes: that of the step properties, or of the energy."""
    described = source.records.get(chosen.leg.properties) if chosen.leg.properties else None
    return next((one for one in (described, chosen.record) if one is not None and one.populations is not None), None)


def _facts(record: Record, panel: ChargePanel | None) -> list[tuple[str, str]]:
    """Name and value of what the electronic state is."""
    facts = [("2S+1", str(record.multiplicity))]
    if record.s_squared is not None:
        spin = (record.multiplicity - 1) / 2
        facts.append(("<S2>", f"{record.s_squared:.4f} (pure state: {spin * (spin + 1):.2f})"))
    for spin_name, (homo, lumo) in record.homo_lumo_ev.items():
        levels = f"{_ev(homo)} / {_ev(lumo)}"
        gap = f", gap {lumo - homo:.2f}" if homo is not None and lumo is not None else ""
        facts.append((f"HOMO / LUMO, {spin_name}", f"{levels}{gap} eV"))
    if record.dipole_debye is not None:
        facts.append(("dipole moment", f"{float(np.linalg.norm(record.dipole_debye)):.2f} debye"))
    if panel is not None and panel.spins:
        scheme, values = next(iter(panel.spins.items()))
        shares = [f"{name} {sum(values[k] for k in atoms):+z.2f}" for name, atoms in panel.fragments.items()]
        facts.append((f"unpaired electrons, {scheme_name(scheme)}", ", ".join(shares)))
    tested = (record.convergence.stability or {}).get("tested")
    facts.append(("SCF stability", "tested, stable" if tested else "not tested"))
    if record.convergence.corrections:
        facts.append(("corrections", f"{len(record.convergence.corrections)} were needed to converge"))
    if record.basis_functions:
        facts.append(("basis functions", str(record.basis_functions)))
    facts.append(("energy", f"{record.energy_hartree:.8f} Hartree"))
    return facts


def _ev(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# --- spin states -----------------------------------------------------------------------------------------------------


def state_lines(table: Table) -> list[StateLine]:
    """The spin states that were computed in several, the lowest first, with Boltzmann weights."""
    found: dict[tuple[str, ...], list[StateLine]] = {}
    for row in table.rows:
        names = {"host": row.host, "complex": row.label}
        for part in dict.fromkeys(state.part for state in row.states):
            states = [state for state in row.states if state.part == part]
            of = names.get(part, f"{row.label}, first guest alone")
            key = (of, *(state.calculation for state in states))
            if len(states) > 1 and key not in found:
                found[key] = _weighted(of, states)
    return [line for lines in found.values() for line in lines]


def _weighted(of: str, states: Sequence[SpinState]) -> list[StateLine]:
    """With weights (2S+1) exp(-E/kT), where all energies are known."""
    heights = [state.above_lowest_ev for state in states]
    weights: list[float | None] = [None] * len(states)
    known = [height for height in heights if height is not None]
    if len(known) == len(heights):
        shares = [
            state.multiplicity * math.exp(-height / (BOLTZMANN_EV * TEMPERATURE))
            for state, height in zip(states, known, strict=True)
        ]
        weights = [share / sum(shares) for share in shares]
    lines = [StateLine(of, state, weight) for state, weight in zip(states, weights, strict=True)]
    return sorted(
        lines, key=lambda line: math.inf if line.state.above_lowest_ev is None else line.state.above_lowest_ev
    )


# --- failures --------------------------------------------------------------------------------------------------------


def _failures(source: ReportSource) -> list[Failure]:
    found = []
    for calculation in source.plan.calculations:
        if calculation not in source.problems:
            continue
        cause = source.problems[calculation]
        short = calculation[:8]
        outcome = cause.partition(":")[0]
        advice = next((text for name, text in ADVICE.items() if name == outcome), "see why it is where it is")
        command = f"alkaflow {'resume' if cause == 'paused' else 'retry'} {short}"
        title = source.plan.titles.get(calculation, calculation)
        found.append(Failure(calculation, title, cause, advice.replace(" ID", f" {short}"), command))
    return found


def missing_titles(report: Report) -> list[str]:
    """Titles of calculations that nobody has computed yet, the first of many."""
    titles = [report.source.plan.titles.get(i, i) for i in report.missing]
    more = len(titles) - _MISSING_SHOWN
    return [*titles[:_MISSING_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def why_no_number(row: TableRow) -> str:
    """The sentence on a row without a number; empty for one that has it."""
    return row.problem or ("" if row.computed_ev is not None else NOT_YET)


# --- surfaces --------------------------------------------------------------------------------------------------------


def _surfaces(source: ReportSource) -> list[SurfaceEntry]:
    """Potentials of hosts, guests and complexes, each once, hosts first."""
    plan = source.plan
    legs: list[tuple[str, Leg]] = [(name, leg) for name, leg in plan.alone.items()]
    legs += [(row.host, row.host_leg) for row in plan.rows]
    legs += [(row.guest, row.guest_leg) for row in plan.rows]
    legs += [(f"{row.label}: {row.guest} on {row.host}, {row.site_label}", row.complex_leg) for row in plan.rows]
    found: dict[str, SurfaceEntry] = {}
    for name, leg in legs:
        chosen = choose_lowest(leg, source.records)
        described = chosen.leg.properties if chosen is not None else None
        record = source.records.get(described) if described else None
        if record is None or record.surface is None or record.id in found:
            continue
        found[record.id] = SurfaceEntry(name, record, record.surface, _mesh(record, source.read_file))
    return list(found.values())


def _mesh(record: Record, read_file: Callable[[str], bytes] | None) -> SurfaceMesh | None:
    """The surface in the file of a record; None where the file is not there."""
    if record.orbitals is None or read_file is None:
        return None
    try:
        data = read_file(record.orbitals.sha256)
    except AlkaflowError:
        return None
    if sha256_of(data) != record.orbitals.sha256:
        raise BadInputError(f"the surface of {record.id} is damaged: its file has another hash")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        isovalue = record.surface.isovalue if record.surface else ISOVALUE
        return mesh_of_arrays({name: arrays[name] for name in arrays.files}, isovalue)
