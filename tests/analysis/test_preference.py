"""Places that a guest prefers: weights and averages by hand, merged rows, and what is left out."""

import json
import math
from collections.abc import Callable

import pytest
from scipy.constants import Boltzmann, e

from alkaflow.analysis import Table, TableRow, build_table, format_table, site_preferences
from alkaflow.analysis.preference import Preference, preference_line
from alkaflow.analysis.states import SpinState
from alkaflow.errors import BadInputError
from alkaflow.plans import Plan
from alkaflow.records import Record
from alkaflow.studies import Study
from alkaflow.workflows import make_plan, shipped_bundle, shipped_table

KT = Boltzmann * 298.15 / e
"""0.0257 eV."""


def row(label: str, energy: float | None, start: str, **changes: object) -> TableRow:
    """A doublet of Li that stayed at one of three equivalent places."""
    values: dict[str, object] = {
        "label": label,
        "host": "A",
        "guest": "Li",
        "site_kind": "bay",
        "site_label": f"the {start}",
        "site_multiplicity": 3,
        "start_site": start,
        "final_site": start,
        "final_label": f"the {start}",
        "final_place": start,
        "final_multiplicity": 3,
        "computed_ev": energy,
        "published_ev": None,
        "difference_ev": None,
        "tolerance_ev": None,
        "verdict": "not published",
        "multiplicity": 2,
        "reference": "free atom Li",
        "protocol": "screen",
        "level": "b3lyp/6-31g",
        "calculations": {"complex": label, "host": "host", "guest": "guest"},
    }
    return TableRow.model_validate(values | changes)


def table(*rows: TableRow, energies: str = "stepwise") -> Table:
    values = {"study": "test", "title": "", "doi": None, "protocol": "screen", "level": "b3lyp/6-31g", "checks": []}
    return Table.model_validate({**values, "energies": energies, "rows": list(rows)})


def only(*rows: TableRow, energies: str = "stepwise") -> Preference:
    (found,) = site_preferences(table(*rows, energies=energies))
    return found


def test_two_states_a_known_gap_apart() -> None:
    """A gap of kT: weights e/(1+e) and 1/(1+e)."""
    found = only(row("high", -3.0 + KT, "bay-2"), row("low", -3.0, "bay-1"))
    assert [place.place for place in found.places] == ["bay-1", "bay-2"]
    assert [place.weight for place in found.places] == pytest.approx([0.731059, 0.268941], abs=1e-6)
    assert [place.above_ev for place in found.places] == pytest.approx([0.0, KT])
    assert found.lowest_ev == -3.0
    assert found.average_ev == pytest.approx(-3.0 + 0.268941 * KT, abs=1e-7)
    assert (found.temperature_k, found.rows, found.left_out) == (298.15, 2, [])


def test_the_temperature_counts() -> None:
    rows = row("low", -3.0, "bay-1"), row("high", -3.0 + KT, "bay-2")
    hot = site_preferences(table(*rows), 2 * 298.15)[0]
    assert hot.places[1].weight / hot.places[0].weight == pytest.approx(math.exp(-0.5))
    cold = site_preferences(table(*rows), 1e-3)[0]
    assert [place.weight for place in cold.places] == [1.0, 0.0]
    for impossible in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadInputError, match="positive temperature"):
            site_preferences(table(*rows), impossible)


def test_degeneracies_of_places_and_spins_multiply() -> None:
    """Of one energy: a doublet at 3 places has 6 states, a triplet at 1 has 3, a singlet there 1."""
    states = [
        SpinState(part="complex", multiplicity=spin, above_lowest_ev=0.0, calculation=str(spin),
                  final_place="bay-2", final_multiplicity=1)
        for spin in (3, 1)
    ]  # fmt: skip
    both = row("spins", -1.0, "bay-2", multiplicity=3, states=states, site_multiplicity=1, final_multiplicity=1)
    found = only(row("doublet", -1.0, "bay-1"), both)
    weights = {(p.place, s.multiplicity): s.weight for p in found.places for s in p.states}
    assert weights == pytest.approx({("bay-1", 2): 0.6, ("bay-2", 3): 0.3, ("bay-2", 1): 0.1})
    assert [place.weight for place in found.places] == pytest.approx([0.6, 0.4])
    assert found.average_ev == pytest.approx(-1.0)


def test_a_spin_state_above_the_lowest() -> None:
    """A quartet 2 kT above a doublet at one place has twice its degeneracy: 4 exp(-2) to 2."""
    states = [
        SpinState(part="complex", multiplicity=2, above_lowest_ev=0.0, calculation="d", final_place="bay-1",
                  final_multiplicity=3),
        SpinState(part="complex", multiplicity=4, above_lowest_ev=2 * KT, calculation="q", final_place="bay-1",
                  final_multiplicity=3),
        SpinState(part="host", multiplicity=3, above_lowest_ev=0.0, calculation="h"),
        SpinState(part="host", multiplicity=1, above_lowest_ev=0.1, calculation="i"),
    ]  # fmt: skip
    found = only(row("Li1", -3.0, "bay-1", states=states))
    (place,) = found.places
    assert [(s.multiplicity, s.calculation) for s in place.states] == [(2, "d"), (4, "q")]
    share = 2 * math.exp(-2)
    assert place.states[1].weight == pytest.approx(share / (1 + share))
    assert found.average_ev == pytest.approx(-3.0 + 2 * KT * share / (1 + share))


def test_rows_that_ended_at_one_place_count_once() -> None:
    moved = {"final_site": "bay-1", "final_place": "bay-1", "final_label": "the bay-1", "verdict": "guest moved"}
    slid = row("Li3", -3.0 - 0.001, "face-1", **moved, published_ev=-1.0)
    found = only(row("Li1", -3.0, "bay-1"), row("Li2", -3.0 + KT, "bay-2"), slid)
    bay, other = found.places
    assert bay.rows == ["Li1", "Li3"]
    assert (bay.states[0].row, bay.energy_ev) == ("Li3", -3.001)  # the lower one
    assert other.weight == pytest.approx(1 / (1 + math.exp(1 + 0.001 / KT)))
    assert bay.published_above_ev is None
    line = preference_line(found)
    assert line is not None
    assert "ended: Li1, Li3 at the bay-1" in line


def test_what_is_missing_is_named() -> None:
    lost = row("Li2", None, "bay-2", problem="scf_not_converged: no", multiplicity=None, final_place=None)
    away = row("Li3", -3.5, "face-1", final_place=None, final_multiplicity=None, final_label="at no known site")
    open_state = [
        SpinState(part="complex", multiplicity=2, above_lowest_ev=0.0, calculation="d", final_place="bay-1",
                  final_multiplicity=3),
        SpinState(part="complex", multiplicity=4, above_lowest_ev=None, calculation="q", problem="out_of_memory: 9 GB"),
    ]  # fmt: skip
    found = only(row("Li1", -3.0, "bay-1", states=open_state), lost, away)
    assert [(one.name, one.reason, one.energy_ev) for one in found.left_out] == [
        ("Li1 with 2S+1 = 4", "out_of_memory: 9 GB", None),
        ("Li2", "scf_not_converged: no", None),
        ("Li3", "at no known site", -3.5),
    ]
    assert [place.weight for place in found.places] == [1.0]
    line = preference_line(found)
    assert line == (
        "at 298.15 K: Li on A -3.00 eV (the bay-1 100%); without Li1 with 2S+1 = 4, Li2, Li3 (at no known site, "
        "-3.50 eV)"
    )


def test_there_may_be_nothing() -> None:
    nothing = only(row("Li1", None, "bay-1"), row("Li2", None, "bay-2"))
    assert (nothing.lowest_ev, nothing.average_ev, nothing.places) == (None, None, [])
    assert [one.reason for one in nothing.left_out] == ["not computed yet"] * 2
    assert preference_line(nothing) is None
    assert site_preferences(table()) == []
    assert preference_line(only(row("Li1", -3.0, "bay-1"))) is None


def test_hosts_guests_and_levels_are_apart() -> None:
    rows = [row("a", -1.0, "bay-1"), row("b", -2.0, "bay-1", host="B"), row("c", -3.0, "bay-1", guest="Na"),
            row("d", -4.0, "bay-1", level="pbe/6-31g")]  # fmt: skip
    assert [one.average_ev for one in site_preferences(table(*rows))] == [-1.0, -2.0, -3.0, -4.0]


def test_published_differences() -> None:
    rows = [row("Li1", -3.43, "bay-1", published_ev=-3.44), row("Li2", -2.72, "corner-1", published_ev=-2.81),
            row("Li3", -1.4, "face-1")]  # fmt: skip
    best, corner, face = only(*rows).places
    assert (best.published_above_ev, best.difference_ev) == (0.0, 0.0)
    assert corner.published_above_ev == pytest.approx(0.63)
    assert corner.difference_ev == pytest.approx(0.71 - 0.63)
    assert (face.published_above_ev, face.difference_ev) == (None, None)


@pytest.mark.parametrize(("energies", "before", "comparable"), [
    ("total", ("x", "y"), True),
    ("stepwise", ("x", "x"), True),
    ("stepwise", ("x", "y"), False),
])  # fmt: skip
def test_several_guests_are_ranked_by_the_energy_of_all(
    energies: str, before: tuple[str, str], comparable: bool
) -> None:
    """Stepwise energies have a common zero where both add to one complex."""
    rows = [
        row(name, step, start, guests=2, total_ev=total, published_ev=published,
            calculations={"complex": name, "before": first, "host": "h", "guest": "g"})
        for (name, step, total, start, published), first in zip(
            [("a", -2.0, -6.0, "p + q", -2.1), ("b", -3.0, -5.0, "p + r", -3.3)], before, strict=True
        )
    ]  # fmt: skip
    found = only(*rows, energies=energies)
    assert [(place.rows, place.energy_ev) for place in found.places] == [(["a"], -6.0), (["b"], -5.0)]
    assert found.places[1].published_above_ev == (pytest.approx(-1.2) if comparable else None)
    assert str(preference_line(found)).startswith("at 298.15 K: 2 Li on A -6.00 eV")


# --- on records ------------------------------------------------------------------------------------------------------


def test_the_shipped_table() -> None:
    found = {one.guest: one for one in site_preferences(shipped_table("hatcn", "published-sp"))}
    assert set(found) == {"Li", "Na"}
    for guest, expected in (("Li", [0.71, 2.02]), ("Na", [0.39, 1.53])):
        bay, corner, face = found[guest].places
        assert (bay.site_multiplicity, corner.site_multiplicity, face.site_multiplicity) == (3, 3, 6)
        assert [corner.above_ev, face.above_ev] == pytest.approx(expected, abs=0.006)
        ratio = math.exp(-corner.above_ev / KT)
        assert corner.weight / bay.weight == pytest.approx(ratio, rel=1e-6)
        assert found[guest].average_ev == pytest.approx(bay.energy_ev, abs=1e-5)
    assert found["Li"].places[1].published_above_ev == pytest.approx(-2.81 + 3.44)
    assert found["Na"].places[2].published_above_ev == pytest.approx(-1.12 + 2.75)


def test_it_stands_under_the_table() -> None:
    shipped = shipped_table("hatcn", "published-sp")
    line = (
        "at 298.15 K: Li on HATCN -3.43 eV (imine bay 100%); above imine bay: nitrile corner +0.71 (published +0.63), "
        "pyrazine face +2.02 (published +1.97)"
    )
    for style, mark in (("text", ""), ("markdown", "- "), ("latex", "% ")):
        assert f"{mark}{line}" in format_table(shipped, style).splitlines()
    data = json.loads(format_table(shipped, "json", 350.0))
    assert [one["temperature_k"] for one in data["preferences"]] == [350.0, 350.0]
    assert [len(one["places"]) for one in data["preferences"]] == [3, 3]
    one_each = shipped.model_copy(update={"rows": [shipped.rows[0], shipped.rows[3]]})
    assert " K: " not in format_table(one_each)


def moved_records(plan: Plan, bundle: dict[str, Record], to: int, away: int) -> dict[str, Record]:
    """Records where the guest of one row ended as that of another."""
    there = bundle[plan.rows[to].complex_leg.energy].positions_angstrom
    mine = plan.rows[away].complex_leg.energy
    return bundle | {mine: bundle[mine].model_copy(update={"positions_angstrom": there})}


def test_a_guest_that_slid_into_the_bay_is_there() -> None:
    bundle = shipped_bundle("hatcn", "published-sp")
    found = build_table(bundle.plan, moved_records(bundle.plan, bundle.by_id, 0, 2))
    assert (found.rows[2].verdict, found.rows[2].final_place, found.rows[2].final_multiplicity) == (
        "guest moved", "bay-1", 3)  # fmt: skip
    lithium = site_preferences(found)[0]
    assert [place.rows for place in lithium.places] == [["Li1", "Li3"], ["Li2"]]
    # the place that no row starts from is known all the same, and counted by its symmetry
    alone = bundle.plan.model_copy(update={"rows": bundle.plan.rows[1:3]})
    lithium = site_preferences(build_table(alone, moved_records(bundle.plan, bundle.by_id, 0, 2)))[0]
    assert [(p.place, p.label, p.site_multiplicity) for p in lithium.places] == [
        ("corner-1", "nitrile corner", 3), ("bay-1", "imine bay", 3)]  # fmt: skip


def test_a_guest_that_left_is_nowhere() -> None:
    bundle = shipped_bundle("hatcn", "published-sp")
    mine = bundle.plan.rows[1].complex_leg.energy
    record = bundle.by_id[mine]
    far = [*record.positions_angstrom[:-1], (0.0, 0.0, 30.0)]
    found = build_table(bundle.plan, bundle.by_id | {mine: record.model_copy(update={"positions_angstrom": far})})
    lithium = site_preferences(found)[0]
    assert [place.rows for place in lithium.places] == [["Li1"], ["Li3"]]
    assert lithium.left_out[0].reason.startswith("dissociated")


@pytest.fixture
def pairs() -> Callable[[list[str]], tuple[Plan, dict[str, Record]]]:
    """Plans of two Li, and records at the geometries where they start."""
    template = shipped_bundle("hatcn", "published-sp").records[0]

    def make(sites: list[str]) -> tuple[Plan, dict[str, Record]]:
        study = {"name": "two", "hosts": [{"name": "HATCN", "builtin": "hatcn"}], "guests": ["Li"], "sites": sites,
                 "protocol": "screen", "guests_per_complex": 2}  # fmt: skip
        plan = make_plan(Study.model_validate(study))
        records = {}
        for calculation, given in plan.calculations.items():
            start = given
            while start.parent is not None:
                start = plan.calculations[start.parent]
            if given.step == "energy":
                assert start.positions is not None
                records[calculation] = template.model_copy(
                    update={"id": calculation, "symbols": list(given.symbols), "charge": given.charge,
                            "multiplicity": given.multiplicity, "energy_hartree": -1.0, "populations": None,
                            "positions_angstrom": list(start.positions)}
                )  # fmt: skip
        return plan, records

    return make


def test_two_guests_are_at_the_place_of_the_row_that_starts_there(
    pairs: Callable[[list[str]], tuple[Plan, dict[str, Record]]],
) -> None:
    plan, records = pairs(["bay + corner"])
    first, second = plan.rows
    for state in first.complex_leg.states:
        there = records[second.complex_leg.energy].positions_angstrom
        mirrored = [(x, -y, z) for x, y, z in there]
        records[state.energy] = records[state.energy].model_copy(update={"positions_angstrom": mirrored})
    found = build_table(plan, records)
    assert [one.final_place for one in found.rows] == [second.site, second.site]
    assert [one.verdict for one in found.rows] == ["guest moved", "not published"]
    assert found.rows[0].final_multiplicity == second.site_multiplicity
    (lithium,) = site_preferences(found)
    assert [place.rows for place in lithium.places] == [[first.label, second.label]]
    assert {state.multiplicity for state in lithium.places[0].states} == {1, 3}
    # one that no row starts from has no number of equivalent places
    alone = build_table(plan.model_copy(update={"rows": [first]}), records)
    assert alone.rows[0].final_place is None
    assert site_preferences(alone)[0].places == []


def test_the_same_pair_the_other_way_round_counts_once(
    pairs: Callable[[list[str]], tuple[Plan, dict[str, Record]]],
) -> None:
    plan, records = pairs(["bay + corner, opposite", "corner + bay, opposite"])
    assert len(plan.rows) == 2
    found = build_table(plan, records)
    assert [one.verdict for one in found.rows] == ["not published"] * 2
    assert [one.final_place for one in found.rows] == [plan.rows[0].site] * 2
    assert len(site_preferences(found)[0].places) == 1
