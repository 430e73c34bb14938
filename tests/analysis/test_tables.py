"""Energies, tables, checks and formats on records made by hand: the arithmetic is known."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from scipy.constants import physical_constants

from alkaflow.analysis import (
    FORMATS,
    Table,
    adsorption_energy_ev,
    build_table,
    format_table,
    published_checks,
)
from alkaflow.errors import MismatchError, UnknownNameError
from alkaflow.levels import KohnSham
from alkaflow.plans import Plan
from alkaflow.records import Charges, Convergence, Provenance, Record, formula_of
from alkaflow.workflows import load_study, make_plan

LEVEL = KohnSham(functional="b3lyp", dispersion="d3bj", basis="6-31g")
HARTREE = physical_constants["Hartree energy in eV"][0]


def record(symbols: tuple[str, ...], energy: float, **changes: object) -> Record:
    n = len(symbols)
    values: dict[str, object] = {
        "id": "x" * 20,
        "recipe": 1,
        "step": "energy",
        "level": str(LEVEL),
        "level_of_theory": LEVEL,
        "formula": formula_of(symbols),
        "symbols": list(symbols),
        "charge": 0,
        "multiplicity": 1,
        "positions_angstrom": [(float(i), 0.0, 0.0) for i in range(n)],
        "energy_hartree": energy,
        "s_squared": 0.75,
        "populations": Charges(charges={"mulliken": [0.0] * (n - 1) + [0.63], "meta_loewdin": [0.0] * n}),
        "convergence": Convergence(cycles=9),
        "provenance": Provenance(
            versions={},
            blas=[],
            threads=1,
            cpu="a",
            peak_memory_mb=1,
            seconds={"total": 1},
            finished=datetime.now(UTC),
        ),
    }
    return Record.model_validate(values | changes)


def test_adsorption_energy_is_the_difference_in_ev() -> None:
    energy = adsorption_energy_ev(record(("Li", "H"), -8.1), record(("H",), -0.5), record(("Li",), -7.5))
    assert energy == pytest.approx(-0.1 * HARTREE, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"level_of_theory": LEVEL.model_copy(update={"grid": 4})},
            "different levels of theory: grid 3 and 4",
        ),
        ({"level_of_theory": LEVEL.model_copy(update={"dispersion": None})}, "dispersion 'd3bj' and None"),
        ({"recipe": 2}, "recipes 1 and 2"),
        ({"symbols": ["He"], "formula": "He"}, "He and Li do not add up to HLi"),
        ({"charge": 1}, r"charges \+1 and \+0 do not add up to \+0"),
    ],
)
def test_what_does_not_match_is_not_subtracted(change: dict[str, object], message: str) -> None:
    host = record(("H",), -0.5).model_copy(update=change)
    with pytest.raises(MismatchError, match=message):
        adsorption_energy_ev(record(("Li", "H"), -8.1), host, record(("Li",), -7.5))


PUBLISHED = {"Li1": -3.44, "Li2": -2.81, "Li3": -1.47, "Na1": -2.75, "Na2": -2.27, "Na3": -1.12}


def hatcn_plan() -> Plan:
    source = load_study("hatcn")
    return make_plan(source.study, "screen", source.folder)


def hatcn_records(plan: Plan, computed: dict[str, float]) -> dict[str, Record]:
    """Records that give exactly the wanted adsorption energies, guests where they started."""
    records: dict[str, Record] = {}
    for row in plan.rows:
        start = plan.calculations[row.complex_leg.ids[0]]
        host = plan.calculations[row.host_leg.ids[0]]
        records[row.host_leg.energy] = record(host.symbols, -1000.0, id=row.host_leg.energy)
        records[row.guest_leg.energy] = record((row.guest,), -7.5, id=row.guest_leg.energy)
        if row.label in computed:
            records[row.complex_leg.energy] = record(
                start.symbols,
                -1007.5 + computed[row.label] / HARTREE,
                id=row.complex_leg.energy,
                multiplicity=2,
                positions_angstrom=start.positions,
            )
    return records


def test_table_of_the_published_numbers_agrees_with_itself() -> None:
    plan = hatcn_plan()
    table = build_table(plan, hatcn_records(plan, PUBLISHED))
    assert [row.label for row in table.rows] == list(PUBLISHED)
    assert table.complete
    for row in table.rows:
        assert row.computed_ev == pytest.approx(PUBLISHED[row.label], abs=1e-9)
        assert row.verdict == "agrees"
        assert row.final_site == row.start_site
        assert row.guest_charge["mulliken"] == 0.63
    assert [check.verdict for check in table.checks] == ["holds"] * 3
    assert "smaller for Na than for Li" in table.checks[2].claim


def test_a_wrong_order_and_a_wrong_gap_are_seen() -> None:
    plan = hatcn_plan()
    table = build_table(plan, hatcn_records(plan, PUBLISHED | {"Li2": -3.50, "Na1": -3.50}))
    verdicts = {check.claim.split(":")[0]: check.verdict for check in table.checks}
    assert verdicts == {"Li on HATCN": "fails", "Na on HATCN": "holds", "HATCN": "fails"}
    assert {row.label: row.verdict for row in table.rows}["Li2"] == "deviates"


def test_missing_rows_are_missing_and_say_why() -> None:
    plan = hatcn_plan()
    records = hatcn_records(plan, {k: v for k, v in PUBLISHED.items() if k not in ("Li3", "Na3")})
    failed = plan.rows[2].complex_leg.ids[0]
    table = build_table(plan, records, {failed: "relaxation_not_converged: too many steps"})
    rows = {row.label: row for row in table.rows}
    assert not table.complete
    assert rows["Li3"].computed_ev is None
    assert rows["Li3"].problem == f"{failed}: relaxation_not_converged: too many steps"
    assert rows["Na3"].problem == "not computed yet"
    assert rows["Li3"].verdict == "missing"
    assert [check.verdict for check in table.checks] == ["open", "open", "holds"]


def test_a_guest_that_moved_is_no_agreement() -> None:
    plan = hatcn_plan()
    records = hatcn_records(plan, PUBLISHED)
    bay, face = plan.rows[0], plan.rows[2]
    moved = records[bay.complex_leg.energy].positions_angstrom
    records[face.complex_leg.energy] = records[face.complex_leg.energy].model_copy(update={"positions_angstrom": moved})
    table = build_table(plan, records)
    row = {row.label: row for row in table.rows}["Li3"]
    assert (row.start_site, row.final_site, row.verdict) == ("face-1", "bay-1", "guest moved")
    assert row.computed_ev is not None
    assert row.difference_ev is None
    assert [check.verdict for check in table.checks] == ["open", "holds", "holds"]


def test_checks_need_two_published_sites() -> None:
    assert published_checks([("A", "Li", "bay", -1.0, -1.0)]) == []
    assert published_checks([("A", "Li", "bay", -1.0, None), ("A", "Li", "corner", -1.0, None)]) == []


def example() -> Table:
    plan = hatcn_plan()
    return build_table(plan, hatcn_records(plan, {k: v for k, v in PUBLISHED.items() if k != "Na3"}))


def test_text_and_markdown_hold_every_row() -> None:
    for style in ("text", "markdown"):
        text = format_table(example(), style)
        for label, value in PUBLISHED.items():
            line = next(line for line in text.splitlines() if line.lstrip("| ").startswith(label))
            assert f"{value:.2f}" in line
        assert "10.1002/batt.202300351" in text
        assert "no number for Na3" in text


def test_json_keeps_the_contract() -> None:
    data = json.loads(format_table(example(), "json"))
    for row in data["rows"]:
        assert {"label", "host", "guest", "site_kind", "start_site", "final_site", "computed_ev", "published_ev",
                "protocol", "calculations"} <= set(row)  # fmt: skip
        assert set(row["calculations"]) == {"complex", "host", "guest"}
    assert data["rows"][5]["computed_ev"] is None


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(format_table(example(), "csv"))))
    assert [row["label"] for row in rows] == list(PUBLISHED)
    assert float(rows[0]["computed_ev"]) == pytest.approx(-3.44)
    assert rows[5]["computed_ev"] == ""
    assert float(rows[0]["guest_charge_mulliken"]) == 0.63
    assert len(rows[0]["complex_id"]) == 20


def test_latex_escapes_and_balances() -> None:
    text = format_table(example().model_copy(update={"title": "50% of Li_2 & more"}), "latex")
    assert r"50\% of Li\_2 \& more" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert text.count(r"\\") == 7
    assert "$-3.44$" in text
    assert "% no number for Na3" in text
    assert text.count("{") == text.count("}")


def test_unknown_format() -> None:
    assert set(FORMATS) == {"text", "markdown", "csv", "json", "latex"}
    with pytest.raises(UnknownNameError, match="did you mean 'latex'"):
        format_table(example(), "latecs")
