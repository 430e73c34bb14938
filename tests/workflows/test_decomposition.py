"""Studies that take their energies apart, from the manifest to the table, computed in this process."""

from pathlib import Path

import numpy as np
import pytest

from alkaflow.analysis import Table, build_table
from alkaflow.plans import Plan
from alkaflow.records import Record
from alkaflow.studies import Study
from alkaflow.units import HARTREE_EV
from alkaflow.workflows import make_plan
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.task import Task


def planned(**changes: object) -> Plan:
    values: dict[str, object] = {"name": "test", "guests": ["Li"], "protocol": "screen"}
    return make_plan(Study.model_validate(values | changes))


def run(plan: Plan, folder: Path) -> dict[str, Record]:
    """Compute a plan, every calculation at the geometry that its parent left."""
    records: dict[str, Record] = {}
    for calculation, given in plan.calculations.items():
        positions = given.positions
        if positions is None:
            positions = given.taken_from(records[str(given.parent)].positions_angstrom)
        directory = folder / calculation
        directory.mkdir()
        records[calculation] = run_task(
            Task(calculation=given, positions=positions, threads=1, memory_mb=1000), directory
        )
    return records


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Record]]:
    """Li at water."""
    hosts = [{"name": "water", "builtin": "water"}]
    plan = planned(hosts=hosts, sites=["lone-pair"], counterpoise=True, reference="bulk")
    return plan, run(plan, tmp_path_factory.mktemp("water"))


def test_the_parts_of_a_study_add_up(water: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = water
    table = build_table(plan, records)
    (row,) = table.rows
    assert row.problem is None
    assert row.warnings == []
    assert row.computed_ev is not None
    parts = row.parts_ev
    summed = sum(parts[name] for name in ("interaction", "host_deformation", "guest_deformation", "reference"))
    assert summed == pytest.approx(row.computed_ev, abs=1e-6)
    complex_, host, guest = (records[row.calculations[leg]].energy_hartree for leg in ("complex", "host", "guest"))
    assert row.computed_ev == pytest.approx((complex_ - host - guest) * HARTREE_EV + 1.63, abs=1e-9)
    assert 0 < abs(parts["host_deformation"]) < 0.05  # either sign: the geometries are of another level
    assert parts["guest_deformation"] == 0
    assert parts["interaction"] < parts["dispersion"] < 0
    assert parts["counterpoise"] == pytest.approx(parts["host_counterpoise"] + parts["guest_counterpoise"])
    assert parts["host_counterpoise"] > 0
    assert parts["guest_counterpoise"] > 0


def test_halves_are_at_the_geometry_of_the_complex(water: tuple[Plan, dict[str, Record]]) -> None:
    plan, records = water
    (row,) = plan.rows
    halves = row.complex_leg.halves
    assert halves is not None
    complex_, frozen, extended = (records[i] for i in (row.complex_leg.energy, halves.host[0], halves.host_in_basis[0]))
    assert np.array_equal(frozen.positions_angstrom, complex_.positions_angstrom[:3])
    assert np.array_equal(extended.positions_angstrom, complex_.positions_angstrom)
    relaxed = records[row.host_leg.energy].positions_angstrom
    assert np.abs(np.array(frozen.positions_angstrom) - relaxed).max() > 1e-3
    # dispersion is of the atoms that are there: it does not depend on the functions
    assert extended.energy_components["dispersion"] == pytest.approx(frozen.energy_components["dispersion"], abs=1e-12)


@pytest.fixture(scope="module")
def cyanogen(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Li at both ends of N#CC#N."""
    hosts = [{"name": "cyanogen", "smiles": "N#CC#N"}]
    plan = planned(hosts=hosts, level="b3lyp-d3bj/3-21g", sites=["end + end"], guests_per_complex=2, decomposition=True)
    return build_table(plan, run(plan, tmp_path_factory.mktemp("cyanogen")))


def test_two_guests_have_a_singlet_and_a_triplet(cyanogen: Table) -> None:
    (row,) = cyanogen.rows
    assert row.computed_ev is not None
    states = {state.multiplicity: state for state in row.states if state.part == "complex"}
    assert set(states) == {1, 3}
    lowest = min(states.values(), key=lambda state: state.above_lowest_ev or 0.0)
    assert row.multiplicity == lowest.multiplicity
    assert lowest.above_lowest_ev == 0
    assert states[3].s_squared == pytest.approx(2.0, abs=0.1)


def test_stepwise_and_total_energies_and_the_parts_of_the_second_guest(cyanogen: Table) -> None:
    (row,) = cyanogen.rows
    assert row.stepwise_ev is not None
    assert row.total_ev is not None
    assert row.per_atom_ev == pytest.approx(row.total_ev / 2)
    assert row.computed_ev == row.stepwise_ev
    parts = row.parts_ev
    summed = parts["interaction"] + parts["host_deformation"] + parts["guest_deformation"]
    assert summed == pytest.approx(row.stepwise_ev, abs=1e-6)
    assert row.total_ev != pytest.approx(2 * row.stepwise_ev, abs=0.05)  # the second binds unlike the first
