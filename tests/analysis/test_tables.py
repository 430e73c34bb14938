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
from alkaflow.records import Charges, Convergence, ElectronicState, Provenance, Record, formula_of
from alkaflow.studies import Study
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


def test_csv_says_what_the_notes_say() -> None:
    plan = hatcn_plan()
    records = hatcn_records(plan, {name: value for name, value in PUBLISHED.items() if name != "Li3"})
    first, third = plan.rows[0].complex_leg.energy, plan.rows[2].complex_leg.energy
    records[first] = records[first].model_copy(update={"warnings": ["soft mode", "grid, coarse"]})
    table = build_table(plan, records, {third: "scf_not_converged: no"})
    heading = next(csv.reader(io.StringIO(format_table(table, "csv"))))
    assert heading[-3:] == ["problem", "warnings", "source"]
    rows = list(csv.DictReader(io.StringIO(format_table(table, "csv"))))
    assert [row["problem"] for row in rows] == ["", "", f"{third}: scf_not_converged: no", "", "", ""]
    assert [row["warnings"] for row in rows] == ["soft mode; grid, coarse", *[""] * 5]
    assert [row["source"] for row in rows] == [each.source for each in plan.study.published]
    assert rows[0]["source"]


def test_latex_escapes_and_balances() -> None:
    text = format_table(example().model_copy(update={"title": "50% of Li_2 & more"}), "latex")
    assert r"50\% of Li\_2 \& more" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert text.count(r"\\") == 7
    assert "$-3.44$" in text
    assert "% no number for Na3" in text
    assert text.count("{") == text.count("}")


# --- spin states, references, several guests, parts -------------------------------------------------------------------


def small_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "name": "test",
        "hosts": [{"name": "HATCN", "builtin": "hatcn"}],
        "guests": ["Li"],
        "sites": ["bay"],
        "protocol": "screen",
    }
    return make_plan(Study.model_validate(values | changes))


def records_of(plan: Plan, energies: dict[str, float]) -> dict[str, Record]:
    """Records of all energies of a plan at the geometry where they start; [Hartree] by id, -1 without an entry.

    Dispersion is a hundredth of each.
    """
    found = {}
    for calculation, given in plan.calculations.items():
        if given.step != "energy":
            continue
        above, subset, positions = given, given.subset, given.positions
        while above.parent is not None:
            above = plan.calculations[above.parent]
        assert above.positions is not None
        positions = above.positions if subset is None else tuple(above.positions[k] for k in subset)
        energy = energies.get(calculation, -1.0)
        found[calculation] = record(
            given.symbols,
            energy,
            id=calculation,
            charge=given.charge,
            multiplicity=given.multiplicity,
            ghosts=list(given.ghosts) if given.ghosts else None,
            positions_angstrom=positions,
            energy_components={"dispersion": energy / 100},
        )
    return found


def test_the_lowest_spin_state_is_the_row_and_all_are_shown() -> None:
    plan = small_plan(multiplicities=[2, 4])
    (row,) = plan.rows
    quartet = row.complex_leg.others[0]
    energies = {row.complex_leg.energy: -2.10, quartet.energy: -2.15}
    table = build_table(plan, records_of(plan, energies))
    (found,) = table.rows
    assert found.computed_ev == pytest.approx(-0.15 * HARTREE)
    assert (found.multiplicity, found.calculations["complex"]) == (4, quartet.energy)
    assert [(state.part, state.multiplicity, state.calculation) for state in found.states] == [
        ("complex", 2, row.complex_leg.energy),
        ("complex", 4, quartet.energy),
    ]
    assert [state.above_lowest_ev for state in found.states] == pytest.approx([0.05 * HARTREE, 0.0])
    text = format_table(table)
    assert f"2S+1 of Li imine bay: 4 at +0.000 eV (<S2> 0.750), 2 at +{0.05 * HARTREE:.3f} eV (<S2> 0.750)" in text
    assert "complex 4 at +0.000 eV" in format_table(table, "csv")


def test_what_a_search_of_electronic_states_found_is_shown() -> None:
    """Twenty millihartrees are 0.544 eV; of one state there is nothing to say."""
    plan = small_plan()
    (row,) = plan.rows
    energy = row.complex_leg.energy
    records = records_of(plan, {energy: -2.10})
    found = [
        ElectronicState(label=label, energy_hartree=height, s_squared=0.75, guest_charges=[0.7], restricted=False)
        for label, height in (("default guess", -2.00), ("electron on the host", -2.02))
    ]
    found.reverse()
    refined = [state.model_copy(update={"refined_hartree": height}) for state, height in zip(found, (-3.01, -3.0))]  # noqa: B905
    for states, height in ((found, "+0.544"), (refined, "+0.272"), (found[:1], None)):
        searched = records | {energy: records[energy].model_copy(update={"states": states})}
        text = format_table(build_table(plan, searched))
        assert ("electronic states of" in text) is (height is not None)
        if height:
            assert f"electronic states of Li imine bay, 2S+1 = 2: {height} eV from the one computed" in text


def test_a_spin_state_that_is_not_there_yet_holds_the_row_back_and_one_that_failed_does_not() -> None:
    plan = small_plan(multiplicities=[2, 4])
    (row,) = plan.rows
    quartet = row.complex_leg.others[0]
    records = records_of(plan, {row.complex_leg.energy: -2.10})
    del records[quartet.energy]
    (waiting,) = build_table(plan, records).rows
    assert (waiting.stepwise_ev, waiting.total_ev, waiting.parts_ev) == (None, None, {})
    assert (waiting.computed_ev, waiting.problem, waiting.verdict) == (None, "not computed yet", "missing")
    (left_out,) = build_table(plan, records, {quartet.ids[0]: "scf_not_converged: no"}).rows
    assert left_out.computed_ev == pytest.approx(-0.10 * HARTREE)
    assert left_out.warnings == [f"2S+1 = 4 of the complex is left out: {quartet.ids[0]}: scf_not_converged: no"]
    reason = f"4 has no result ({quartet.ids[0]}: scf_not_converged: no)"
    for style in ("text", "markdown", "csv"):
        assert reason in format_table(build_table(plan, records, {quartet.ids[0]: "scf_not_converged: no"}), style)
    del records[row.complex_leg.energy]
    problems = dict.fromkeys((row.complex_leg.energy, quartet.energy), "scf_not_converged: no")
    (failed,) = build_table(plan, records, problems).rows
    assert failed.problem == f"{row.complex_leg.energy}: scf_not_converged: no"


def test_a_host_in_its_lowest_spin_state() -> None:
    plan = small_plan(hosts=[{"name": "HATCN", "builtin": "hatcn", "multiplicities": [1, 3]}], decomposition=True)
    (row,) = plan.rows
    triplet = row.host_leg.others[0]
    halves = row.complex_leg.halves
    assert halves is not None
    energies = {row.complex_leg.energy: -2.1, row.complex_leg.others[0].energy: -2.0}
    energies |= {triplet.energy: -1.02, halves.host[1]: -1.01}  # the frozen singlet is at -1.00
    (found,) = build_table(plan, records_of(plan, energies)).rows
    assert found.computed_ev == pytest.approx((-2.1 + 1.02 + 1.0) * HARTREE)
    assert found.parts_ev["interaction"] == pytest.approx((-2.1 + 1.01 + 1.0) * HARTREE)
    assert found.parts_ev["host_deformation"] == pytest.approx(0.01 * HARTREE)
    assert found.calculations["host"] == triplet.energy
    assert "2S+1 of HATCN: 3 at +0.000 eV" in format_table(build_table(plan, records_of(plan, energies)))


def test_energies_counted_from_the_bulk_metal() -> None:
    tables = {}
    for reference in ("atom", "bulk"):
        plan = small_plan(reference=reference, guests=["Li", "Na"], decomposition=True)
        tables[reference] = build_table(plan, records_of(plan, {row.complex_leg.energy: -2.1 for row in plan.rows}))
    for atom, bulk, cohesive in zip(tables["atom"].rows, tables["bulk"].rows, (1.63, 1.113), strict=True):
        assert atom.computed_ev is not None
        assert bulk.computed_ev == pytest.approx(atom.computed_ev + cohesive)
        assert (atom.reference_ev, bulk.reference_ev) == (0.0, cohesive)
        parts = bulk.parts_ev
        summed = sum(parts[name] for name in ("interaction", "host_deformation", "guest_deformation", "reference"))
        assert summed == pytest.approx(bulk.computed_ev, abs=1e-6)
    assert "counted from" not in format_table(tables["atom"])
    assert "bulk Li (experimental cohesive energy 1.63 eV/atom)" in format_table(tables["bulk"])
    assert tables["atom"].rows[0].reference == "free atom Li"
    assert "complex + their deformations = computed" in format_table(tables["atom"])
    assert "complex + their deformations + reference = computed" in format_table(tables["bulk"])


def test_an_ion_is_named_as_the_reference() -> None:
    plan = small_plan(guests=["Li+"], reference="ion")
    (row,) = build_table(plan, records_of(plan, {})).rows
    assert row.reference == "separate ion Li+"
    assert row.computed_ev == pytest.approx(HARTREE)  # -1 - (-1) - (-1)


@pytest.mark.parametrize("energies", ["stepwise", "total"])
def test_two_guests(energies: str) -> None:
    plan = small_plan(guests_per_complex=2, sites=["bay + corner, opposite"], energies=energies, reference="bulk")
    (row,) = plan.rows
    assert row.before_leg is not None
    known = {row.host_leg.energy: -10.0, row.guest_leg.energy: -7.0, row.before_leg.energy: -17.125}
    known |= {row.complex_leg.energy: -24.2, row.complex_leg.others[0].energy: -24.1}
    table = build_table(plan, records_of(plan, known))
    (found,) = table.rows
    assert found.stepwise_ev == pytest.approx((-24.2 + 17.125 + 7.0) * HARTREE + 1.63)
    assert found.total_ev == pytest.approx((-24.2 + 10.0 + 14.0) * HARTREE + 2 * 1.63)
    assert found.per_atom_ev == pytest.approx(found.total_ev / 2)
    assert found.computed_ev == (found.stepwise_ev if energies == "stepwise" else found.total_ev)
    assert (found.guests, found.multiplicity, found.final_site) == (2, 1, found.start_site)
    assert found.final_label == found.site_label == row.site_label
    assert found.verdict == "not published"
    assert found.guest_charge["mulliken"] == pytest.approx(0.63)
    assert set(found.calculations) == {"complex", "before", "host", "guest"}
    assert ("all guests but the last" in format_table(table)) == (energies == "stepwise")
    rows = list(csv.DictReader(io.StringIO(format_table(table, "csv"))))
    assert rows[0]["before_id"] == row.before_leg.energy
    heading, *_ = (line for line in format_table(table).splitlines() if line.startswith("label"))
    assert heading.split()[-1] == "q(guests)"
    assert "q(guests): Mulliken charge of all guests together" in format_table(table)
    assert "q(guests)" not in format_table(example())


def test_two_guests_one_of_which_moved() -> None:
    plan = small_plan(guests_per_complex=2, sites=["bay + corner, opposite", "bay + bay"])
    to, away = plan.rows[1], plan.rows[0]
    records = records_of(plan, {})
    there = records[to.complex_leg.energy].positions_angstrom
    for state in away.complex_leg.states:
        records[state.energy] = records[state.energy].model_copy(update={"positions_angstrom": there})
    found = build_table(plan, records).rows[0]
    assert (found.verdict, found.final_site) == ("guest moved", "bay-1 + bay-1")


def test_two_guests_that_end_at_sites_of_the_same_kinds_but_otherwise() -> None:
    """From the ring opposite the bay to the ring beside it: another row of the published table."""
    plan = small_plan(guests_per_complex=2, sites=["bay + corner"])
    rows = {row.site_label: row for row in plan.rows}
    assert len(rows) == 2
    records = records_of(plan, {})
    start, end = rows.values()
    for state in start.complex_leg.states:
        there = records[end.complex_leg.energy].positions_angstrom
        records[state.energy] = records[state.energy].model_copy(update={"positions_angstrom": there})
    moved, stayed = build_table(plan, records).rows
    assert moved.verdict == "guest moved"
    assert moved.final_label == f"another placement: {end.site}"
    assert (stayed.verdict, stayed.final_site) == ("not published", stayed.start_site)
    # a mirror image of the same placement is no other
    mirrored = [(x, -y, z) for x, y, z in records[end.complex_leg.energy].positions_angstrom]
    for state in end.complex_leg.states:
        records[state.energy] = records[state.energy].model_copy(update={"positions_angstrom": mirrored})
    assert build_table(plan, records).rows[1].verdict == "not published"


def test_parts_of_different_states_are_doubted() -> None:
    plan, records = parts_plan()
    halves = plan.rows[0].complex_leg.halves
    assert halves is not None
    higher = records[halves.host_in_basis[0]].model_copy(update={"energy_hartree": -9.97})
    (row,) = build_table(plan, records | {higher.id: higher}).rows
    assert f"the host is {0.01 * HARTREE:.3f} eV higher with more basis functions" in row.warnings[0]
    lower = records[halves.host[0]].model_copy(update={"energy_hartree": -10.01})
    (row,) = build_table(plan, records | {lower.id: lower}).rows
    assert f"the host is {0.01 * HARTREE:.3f} eV lower as in the complex" in " ".join(row.warnings)


def parts_plan() -> tuple[Plan, dict[str, Record]]:
    plan = small_plan(counterpoise=True)
    (row,) = plan.rows
    halves = row.complex_leg.halves
    assert halves is not None
    energies = {row.host_leg.energy: -10.0, row.guest_leg.energy: -7.0, row.complex_leg.energy: -17.10}
    energies |= {halves.host[0]: -9.98, halves.host_in_basis[0]: -9.983, str(halves.guest_in_basis): -7.001}
    return plan, records_of(plan, energies)


def test_parts_of_a_row() -> None:
    plan, records = parts_plan()
    table = build_table(plan, records)
    parts = table.rows[0].parts_ev
    expected = {"interaction": -0.12, "host_deformation": 0.02, "guest_deformation": 0.0, "counterpoise": 0.004}
    assert {name: parts[name] for name in expected} == pytest.approx({n: e * HARTREE for n, e in expected.items()})
    assert parts["dispersion"] == pytest.approx(-0.001 * HARTREE)
    assert table.rows[0].computed_ev == pytest.approx(-0.10 * HARTREE)  # the correction stays out


def test_parts_in_every_format() -> None:
    plan, records = parts_plan()
    table = build_table(plan, records)
    text = format_table(table)
    heading = text.splitlines().index("parts / eV") + 1
    assert text.splitlines()[heading].split() == ["label", "interaction", "host", "def.", "guest", "def.", "computed",
                                                  "dispersion", "CP", "corr."]  # fmt: skip
    assert text.splitlines()[heading + 2].split()[-6:] == ["-3.265", "+0.544", "+0.000", "-2.721", "-0.027", "+0.109"]
    assert "| Li imine bay | -3.265 | +0.544 |" in format_table(table, "markdown")
    row = next(csv.DictReader(io.StringIO(format_table(table, "csv"))))
    assert float(row["part_counterpoise_ev"]) == pytest.approx(0.004 * HARTREE)
    assert json.loads(format_table(table, "json"))["rows"][0]["parts_ev"]["interaction"] < -3
    latex = format_table(table, "latex")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    assert "parts" not in format_table(example())


def test_parts_that_do_not_belong_are_left_out_with_a_reason() -> None:
    plan, records = parts_plan()
    halves = plan.rows[0].complex_leg.halves
    assert halves is not None
    frozen = records[halves.host[0]]
    moved = [(x + 0.01, y, z) for x, y, z in frozen.positions_angstrom]
    changed = records | {frozen.id: frozen.model_copy(update={"positions_angstrom": moved})}
    (row,) = build_table(plan, changed).rows
    assert row.computed_ev is not None
    assert row.parts_ev == {}
    assert "no parts of the energy: frozen host" in row.warnings[0]
    (row,) = build_table(plan, {i: each for i, each in records.items() if i != frozen.id}).rows
    assert "have no result" in row.warnings[0]


def test_unknown_format() -> None:
    assert set(FORMATS) == {"text", "markdown", "csv", "json", "latex"}
    with pytest.raises(UnknownNameError, match="did you mean 'latex'"):
        format_table(example(), "latecs")
