"""The step properties: from the orbitals of an energy to charges and a surface, without another SCF."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.analysis.surface_record import mesh_of_arrays
from alkaflow.levels import Xtb, parse_level
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.structures import load_host
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.plan import plan_steps
from alkaflow.workflows.protocols import Protocol
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE, Task

LEVEL = parse_level("b3lyp/6-31g(d)")
STEPS = Protocol("single", (), LEVEL, "one energy", properties=True)


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> tuple[SingleRun, Record, Path]:
    """The energy of water, its record and the directory with its orbitals."""
    run = plan_steps(load_host("water"), STEPS)
    directory = tmp_path_factory.mktemp("energy")
    energy = next(given for given in run.calculations.values() if given.step == "energy")
    task = Task(calculation=energy, positions=energy.positions or (), threads=1, memory_mb=2000)
    return run, run_task(task, directory), directory


def properties(
    water: tuple[SingleRun, Record, Path], folder: Path, **changes: Any
) -> tuple[Record, dict[str, np.ndarray]]:
    run, energy, directory = water
    (folder / GUESS_FILE).write_bytes((directory / ORBITAL_FILE).read_bytes())
    given = next(given for given in run.calculations.values() if given.step == "properties")
    task = Task(
        calculation=given,
        positions=tuple(energy.positions_angstrom),
        threads=1,
        memory_mb=2000,
        guess_level=energy.level_of_theory,
        guess_energy=energy.energy_hartree,
    )
    record = run_task(task.model_copy(update=changes), folder)
    with np.load(io.BytesIO((folder / ORBITAL_FILE).read_bytes())) as stored:
        return record, {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def described(
    water: tuple[SingleRun, Record, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Record, dict[str, np.ndarray]]:
    return properties(water, tmp_path_factory.mktemp("properties"))


def test_the_energy_is_that_of_the_parent_and_no_scf_runs(
    water: tuple[SingleRun, Record, Path], described: tuple[Record, dict[str, np.ndarray]]
) -> None:
    record, _ = described
    assert record.energy_hartree == water[1].energy_hartree
    assert record.convergence.cycles == 0
    assert record.parent == water[1].id


def test_charges_of_all_schemes_add_up_and_go_on_from_the_record_before(
    water: tuple[SingleRun, Record, Path], described: tuple[Record, dict[str, np.ndarray]]
) -> None:
    assert described[0].populations is not None
    assert water[1].populations is not None
    charges = described[0].populations.charges
    assert {"mulliken", "loewdin", "meta_loewdin", "iao", "hirshfeld", "chelpg", "resp"} <= set(charges)
    for scheme, values in charges.items():
        assert sum(values) == pytest.approx(0, abs=2e-3), scheme
        assert values[0] < 0 < values[1], scheme
    for scheme, values in water[1].populations.charges.items():
        assert charges[scheme] == pytest.approx(values, abs=1e-6)


def test_the_surface_is_that_of_water(described: tuple[Record, dict[str, np.ndarray]]) -> None:
    """Its maxima at the hydrogens and minima at the oxygen: +43 and -35 kcal/mol or so at this level."""
    record, arrays = described
    surface = record.surface
    assert surface is not None
    assert {extremum.atom for extremum in surface.v_s_max} == {1, 2}
    assert {extremum.atom for extremum in surface.v_s_min} == {0}
    assert surface.v_s_max[0].value_kcal_mol == pytest.approx(43, abs=6)
    assert surface.v_s_min[0].value_kcal_mol == pytest.approx(-36, abs=6)
    assert surface.positive_area_angstrom2 + surface.negative_area_angstrom2 == pytest.approx(surface.area_angstrom2)
    assert surface.fit_error_kcal_mol is not None
    assert surface.fit_error_kcal_mol < 0.2
    mesh = mesh_of_arrays(arrays, surface.isovalue)
    assert mesh is not None
    distances = np.linalg.norm(mesh.vertices * BOHR_ANGSTROM - surface.v_s_max[0].position_angstrom, axis=1)
    near = mesh.potential[np.argmin(distances)] * 627.5095
    assert near == pytest.approx(surface.v_s_max[0].value_kcal_mol, abs=1.0)


def test_without_orbitals_an_scf_comes_first(
    water: tuple[SingleRun, Record, Path], described: tuple[Record, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    record, _ = properties(water, tmp_path, guess_level=None, guess_energy=None)
    assert record.convergence.cycles > 1
    assert record.energy_hartree == pytest.approx(water[1].energy_hartree, abs=1e-6)
    assert record.populations is not None
    assert described[0].populations is not None
    for scheme, values in record.populations.charges.items():
        assert values == pytest.approx(described[0].populations.charges[scheme], abs=2e-3), scheme


def test_levels_without_a_density_have_none() -> None:
    run = plan_steps(load_host("water"), replace(STEPS, energy=Xtb()))
    assert [given.step for given in run.calculations.values()] == ["energy"]
