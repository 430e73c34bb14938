"""The computed table beside the published one, with verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alkaflow.analysis.checks import Check, published_checks
from alkaflow.analysis.energies import (
    FragmentRecords,
    adsorption_energy_ev,
    bulk_reference_ev,
    decompose,
)
from alkaflow.analysis.final_places import UNKNOWN, ended_at
from alkaflow.analysis.states import NOT_YET, Chosen, SpinState, choose_lowest, problem_of, spin_states_of
from alkaflow.errors import MismatchError
from alkaflow.plans import Leg, Plan, PlanRow
from alkaflow.records import Record
from alkaflow.structures import get_guest

Verdict = Literal["agrees", "deviates", "not published", "missing", "guest moved"]


class TableRow(BaseModel):
    """One row. Energies in eV, charges in e."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    host: str
    guest: str
    site_kind: str
    site_label: str
    site_multiplicity: int = Field(description="number of symmetry-equivalent places")
    start_site: str
    final_site: str | None = Field(description="site id after relaxation; null when unknown, elsewhere or dissociated")
    final_label: str
    final_place: str | None = Field(
        default=None, description="where it ended, as start_site is written; null where it is none of the places known"
    )
    final_multiplicity: int | None = Field(default=None, description="number of places equivalent to the final one")
    computed_ev: float | None
    published_ev: float | None
    difference_ev: float | None
    tolerance_ev: float | None
    verdict: Verdict
    multiplicity: int | None = None
    s_squared: float | None = None
    guest_charge: dict[str, float] = Field(
        default_factory=dict, description="scheme -> charge of the guest, or of all guests together [e]"
    )
    guests: int = Field(default=1, description="per complex")
    reference: str = Field(description="what the energy of the guest is counted from, for people")
    reference_ev: float = Field(default=0.0, description="what that adds to E(complex) - E(host) - E(guest)")
    stepwise_ev: float | None = Field(default=None, description="of the last of several guests")
    total_ev: float | None = Field(default=None, description="of several guests together")
    per_atom_ev: float | None = Field(default=None, description="the total over the number of guests")
    parts_ev: dict[str, float] = Field(
        default_factory=dict, description="interaction + host_deformation + guest_deformation + reference = computed"
    )
    states: list[SpinState] = Field(default_factory=list, description="spin states, where several were computed")
    protocol: str
    level: str
    calculations: dict[str, str] = Field(description="ids: complex, host, guest, and before of several guests")
    problem: str | None = Field(default=None, description="why there is no number")
    warnings: list[str] = Field(default_factory=list)
    source: str | None = None


class Table(BaseModel):
    """A study's table. What its JSON holds beside it, such as ``preferences``, is made from it and not read back."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    study: str
    title: str
    doi: str | None
    protocol: str
    level: str
    energies: Literal["stepwise", "total"] = Field(default="stepwise", description="of several guests")
    rows: list[TableRow]
    checks: list[Check]

    @property
    def complete(self) -> bool:
        """Whether every row has a computed energy."""
        return all(row.computed_ev is not None for row in self.rows)


def build_table(plan: Plan, records: Mapping[str, Record], problems: Mapping[str, str] | None = None) -> Table:
    """Make the table of a plan from whatever records there are.

    Parameters
    ----------
    plan
        Rows and the ids of their legs.
    records
        By calculation id.
    problems
        Sentences on calculations that failed, by id.
    """
    rows = [_row(plan, row, records, problems or {}) for row in plan.rows]
    return Table(
        study=plan.study.name,
        title=plan.study.title,
        doi=plan.study.doi,
        protocol=plan.protocol,
        level="; ".join(dict.fromkeys(row.level for row in rows)) or plan.level,
        energies=plan.study.energies,
        rows=rows,
        checks=published_checks(
            [
                (r.host, r.guest, r.site_label, None if r.verdict == "guest moved" else r.computed_ev, r.published_ev)
                for r in rows
            ]
        ),
    )


@dataclass(frozen=True)
class _Legs:
    """The lowest spin state of every leg of a row; None where there is no record."""

    complex: Chosen | None
    host: Chosen | None
    guest: Chosen | None
    before: Chosen | None

    @property
    def there(self) -> list[Chosen]:
        return [chosen for chosen in (self.complex, self.before, self.host, self.guest) if chosen is not None]


def _row(plan: Plan, row: PlanRow, records: Mapping[str, Record], problems: Mapping[str, str]) -> TableRow:
    legs = _Legs(
        choose_lowest(row.complex_leg, records),
        choose_lowest(row.host_leg, records),
        choose_lowest(row.guest_leg, records),
        choose_lowest(row.before_leg, records) if row.before_leg else None,
    )
    stepwise = row.before_leg is not None and plan.study.energies == "stepwise"
    guests = len(row.places)
    shift = bulk_reference_ev(row.guest) if plan.study.reference == "bulk" else 0.0
    last, without_last = _adsorption(row, "before", legs, 1, shift, records, problems)
    total, without_total = _adsorption(row, "host", legs, guests, shift, records, problems)
    computed, problem = (last, without_last) if stepwise else (total, without_total)
    warnings = [warning for chosen in legs.there for warning in chosen.record.warnings]
    parts: dict[str, float] = {}
    without: list[str] = []
    if (last if row.before_leg else total) is not None:
        parts, without = _parts(legs.before if row.before_leg else legs.host, legs, records)
    reference_ev = shift * (1 if stepwise else guests)
    if parts and reference_ev:
        parts["reference"] = reference_ev
    ended = ended_at(plan, row, legs.complex.record) if legs.complex else UNKNOWN
    comparable = computed is not None and row.published_ev is not None and not ended.moved
    difference = computed - row.published_ev if comparable else None  # type: ignore[operator]
    states = _states(plan, row, records, problems)
    warnings += [_left_out(state) for state in states if state.problem not in (None, NOT_YET)] if not problem else []
    return TableRow(
        label=row.label,
        host=row.host,
        guest=row.guest,
        site_kind=row.site_kind,
        site_label=row.site_label,
        site_multiplicity=row.site_multiplicity,
        start_site=row.site,
        final_site=ended.site,
        final_label=ended.label,
        final_place=ended.place,
        final_multiplicity=ended.multiplicity,
        computed_ev=computed,
        published_ev=row.published_ev,
        difference_ev=difference,
        tolerance_ev=row.tolerance_ev,
        verdict=_verdict(computed, difference, row.tolerance_ev, ended.moved),
        multiplicity=legs.complex.record.multiplicity if legs.complex else None,
        s_squared=legs.complex.record.s_squared if legs.complex else None,
        guest_charge=_guest_charge(plan, row, legs.complex),
        guests=guests,
        reference=_reference(row.guest, plan.study.reference),
        reference_ev=reference_ev,
        stepwise_ev=last,
        total_ev=total if guests > 1 else None,
        per_atom_ev=total / guests if guests > 1 and total is not None else None,
        parts_ev=parts,
        states=states,
        protocol=plan.protocol,
        level=row.level or plan.level,
        calculations=_ids(row, legs),
        problem=problem,
        warnings=[*warnings, *without],
        source=row.source,
    )


def _adsorption(
    row: PlanRow,
    on: Literal["before", "host"],
    legs: _Legs,
    guests: int,
    shift: float,
    records: Mapping[str, Record],
    problems: Mapping[str, str],
) -> tuple[float | None, str | None]:
    """Adsorption energy of so many guests [eV] on what they are added to, each from its reference; or why none.

    Of spin states that are not all there the lowest is not known, and so is the energy.
    """
    leg, host = (row.before_leg, legs.before) if on == "before" else (row.host_leg, legs.host)
    if leg is None:
        return None, None
    if problem := problem_of([row.complex_leg, leg, row.guest_leg], records, problems):
        return None, problem
    if legs.complex is None or host is None or legs.guest is None:
        return None, NOT_YET
    try:
        energy = adsorption_energy_ev(legs.complex.record, host.record, *[legs.guest.record] * guests)
    except MismatchError as error:
        return None, str(error)
    return energy + guests * shift, None


def _parts(host: Chosen | None, legs: _Legs, records: Mapping[str, Record]) -> tuple[dict[str, float], list[str]]:
    """The parts of the energy of the last guest by name [eV], or a sentence on why there are none."""
    complex_, guest = legs.complex, legs.guest
    if complex_ is None or host is None or guest is None or complex_.leg.halves is None:
        return {}, []
    halves = complex_.leg.halves
    if any(calculation not in records for calculation in halves.ids):
        return {}, ["no parts of the energy: some of the calculations at the geometry of the complex have no result"]
    host_in_basis = records[halves.host_in_basis[host.number]] if halves.host_in_basis else None
    guest_in_basis = records[halves.guest_in_basis] if halves.guest_in_basis else None
    try:
        found = decompose(
            complex_.record,
            FragmentRecords(
                host.record, records[halves.host[host.number]], host_in_basis, _frequencies(host.leg, records)
            ),
            FragmentRecords(guest.record, records[halves.guest], guest_in_basis, _frequencies(guest.leg, records)),
            _frequencies(complex_.leg, records),
        )
    except MismatchError as error:
        return {}, [f"no parts of the energy: {error}"]
    return found.as_dict(), found.doubts


def _frequencies(leg: Leg, records: Mapping[str, Record]) -> Record | None:
    return records.get(leg.frequencies) if leg.frequencies else None


def _states(plan: Plan, row: PlanRow, records: Mapping[str, Record], problems: Mapping[str, str]) -> list[SpinState]:
    legs = (("before", row.before_leg), ("host", row.host_leg))
    others = [
        state for part, leg in legs if leg is not None for state in spin_states_of(part, leg, plan, records, problems)
    ]
    found = spin_states_of("complex", row.complex_leg, plan, records, problems)
    return [*(_with_place(state, plan, row, records) for state in found), *others]


def _with_place(state: SpinState, plan: Plan, row: PlanRow, records: Mapping[str, Record]) -> SpinState:
    """A spin state of a complex, and where its guests ended."""
    if state.calculation not in records:
        return state
    ended = ended_at(plan, row, records[state.calculation])
    return state.model_copy(update={"final_place": ended.place, "final_multiplicity": ended.multiplicity})


def _left_out(state: SpinState) -> str:
    return f"2S+1 = {state.multiplicity} of the {state.part} is left out: {state.problem}"


def _reference(guest: str, reference: str) -> str:
    """What a guest is counted from, for people."""
    given = get_guest(guest)
    if reference == "bulk":
        return f"bulk {guest} (experimental cohesive energy {bulk_reference_ev(guest)} eV/atom)"
    if given.charge:
        return f"separate ion {guest}"
    return f"{'free atom' if given.is_atom else 'free molecule'} {guest}"


def _ids(row: PlanRow, legs: _Legs) -> dict[str, str]:
    """Ids of the energies that count; of a leg without a record, that of its first spin state."""
    planned = {"complex": row.complex_leg, "before": row.before_leg, "host": row.host_leg, "guest": row.guest_leg}
    chosen = {"complex": legs.complex, "before": legs.before, "host": legs.host, "guest": legs.guest}
    ids = {}
    for name, leg in planned.items():
        if leg is not None:
            lowest = chosen[name]
            ids[name] = lowest.leg.energy if lowest else leg.energy
    return ids


def _verdict(computed: float | None, difference: float | None, tolerance: float | None, moved: bool) -> Verdict:
    if computed is None:
        return "missing"
    if moved:
        return "guest moved"
    if difference is None or tolerance is None:
        return "not published"
    return "agrees" if abs(difference) <= tolerance else "deviates"


def _guest_charge(plan: Plan, row: PlanRow, complex_: Chosen | None) -> dict[str, float]:
    """Charge of the guests, whose atoms come after those of the host, by scheme [e]."""
    if complex_ is None or complex_.record.populations is None:
        return {}
    first = len(plan.hosts[row.host].symbols)
    charges = complex_.record.populations.charges
    return {scheme: float(sum(values[first:])) for scheme, values in charges.items()}
