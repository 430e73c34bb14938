"""The computed table beside the published one, with verdicts."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from alkaflow.analysis.checks import Check, published_checks
from alkaflow.analysis.energies import adsorption_energy_ev
from alkaflow.errors import MismatchError
from alkaflow.plans import Plan, PlanRow
from alkaflow.records import Record
from alkaflow.structures import Structure, classify_guest

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
    computed_ev: float | None
    published_ev: float | None
    difference_ev: float | None
    tolerance_ev: float | None
    verdict: Verdict
    multiplicity: int | None = None
    s_squared: float | None = None
    guest_charge: dict[str, float] = Field(default_factory=dict, description="scheme -> charge of the guest [e]")
    protocol: str
    level: str
    calculations: dict[str, str] = Field(description="ids: complex, host, guest")
    problem: str | None = Field(default=None, description="why there is no number")
    warnings: list[str] = Field(default_factory=list)
    source: str | None = None


class Table(BaseModel):
    """A study's table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    title: str
    doi: str | None
    protocol: str
    level: str
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
        level=plan.level,
        rows=rows,
        checks=published_checks(
            [
                (r.host, r.guest, r.site_label, None if r.verdict == "guest moved" else r.computed_ev, r.published_ev)
                for r in rows
            ]
        ),
    )


def _row(plan: Plan, row: PlanRow, records: Mapping[str, Record], problems: Mapping[str, str]) -> TableRow:
    complex_ = records.get(row.complex_leg.energy)
    host, guest = records.get(row.host_leg.energy), records.get(row.guest_leg.energy)
    computed, problem = None, _problem(row, records, problems)
    if complex_ and host and guest:
        try:
            computed, problem = adsorption_energy_ev(complex_, host, guest), None
        except MismatchError as error:
            problem = str(error)
    final_site, final_label, moved = _final_site(plan, row, complex_)
    comparable = computed is not None and row.published_ev is not None and not moved
    difference = computed - row.published_ev if comparable else None  # type: ignore[operator]
    return TableRow(
        label=row.label,
        host=row.host,
        guest=row.guest,
        site_kind=row.site_kind,
        site_label=row.site_label,
        site_multiplicity=row.site_multiplicity,
        start_site=row.site,
        final_site=final_site,
        final_label=final_label,
        computed_ev=computed,
        published_ev=row.published_ev,
        difference_ev=difference,
        tolerance_ev=row.tolerance_ev,
        verdict=_verdict(computed, difference, row.tolerance_ev, moved),
        multiplicity=complex_.multiplicity if complex_ else None,
        s_squared=complex_.s_squared if complex_ else None,
        guest_charge=_guest_charge(plan, row, complex_),
        protocol=plan.protocol,
        level=plan.level,
        calculations={
            "complex": row.complex_leg.energy,
            "host": row.host_leg.energy,
            "guest": row.guest_leg.energy,
        },
        problem=problem,
        warnings=[warning for record in (complex_, host, guest) if record for warning in record.warnings],
        source=row.source,
    )


def _problem(row: PlanRow, records: Mapping[str, Record], problems: Mapping[str, str]) -> str | None:
    """The first failure among the legs, or that something is not computed yet."""
    for leg in (row.complex_leg, row.host_leg, row.guest_leg):
        for calculation in leg.ids:
            if calculation in problems:
                return f"{calculation}: {problems[calculation]}"
    legs = (row.complex_leg, row.host_leg, row.guest_leg)
    return None if all(leg.energy in records for leg in legs) else "not computed yet"


def _verdict(computed: float | None, difference: float | None, tolerance: float | None, moved: bool) -> Verdict:
    if computed is None:
        return "missing"
    if moved:
        return "guest moved"
    if difference is None or tolerance is None:
        return "not published"
    return "agrees" if abs(difference) <= tolerance else "deviates"


def _final_site(plan: Plan, row: PlanRow, complex_: Record | None) -> tuple[str | None, str, bool]:
    """Site id, label and whether the guest left its starting site."""
    if complex_ is None:
        return None, "unknown", False
    planned = plan.hosts[row.host]
    host = Structure(
        tuple(planned.symbols),
        np.array(planned.positions_angstrom),
        planned.charge,
        planned.multiplicity,
        row.host,
    )
    final = classify_guest(host, np.array(complex_.positions_angstrom), row.guest, row.site)
    return final.site, final.label, final.verdict != "stayed"


def _guest_charge(plan: Plan, row: PlanRow, complex_: Record | None) -> dict[str, float]:
    """Charge of the guest, whose atoms come after those of the host, by scheme [e]."""
    if complex_ is None or complex_.populations is None:
        return {}
    first = len(plan.hosts[row.host].symbols)
    return {scheme: float(sum(values[first:])) for scheme, values in complex_.populations.charges.items()}
