"""The option to compute on a GPU: what can be tested without one, and, where there is one, the sentinel."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.errors import CalculationError, ServiceError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure, from_smiles
from alkaflow.workflows import plan_single
from alkaflow.workflows.device import compare, energy_and_gradient, require_gpu, run_sentinel
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.task import Task


def lithium_hydride(**changes: Any) -> Any:
    level = KohnSham.model_validate(
        parse_level("b3lyp-d3bj/6-31g").model_dump() | {"energy_threshold": 1e-10} | changes
    )
    structure = Structure(("Li", "H"), np.array([[0, 0, 0], [0, 0, 1.6]]), 0, 1)
    built = build_mean_field(build_molecule(structure, level, 1000), level)
    set_grid(built, level.grid)
    return built


def test_a_device_that_computes_the_same_agrees() -> None:
    first, second = (energy_and_gradient(lithium_hydride()) for _ in range(2))
    assert compare("b3lyp-d3bj/6-31g", first, second).agrees


@pytest.mark.parametrize("change", [{"grid": 0}, {"fitting": None}, {"dispersion": None}])
def test_a_device_that_computes_something_else_is_refused(change: dict[str, Any]) -> None:
    """A coarser grid, exact integrals, no dispersion: the size of errors that a wrong build of a library makes."""
    with pytest.raises(CalculationError, match=r"disagrees with the CPU .* energy by .* gradient by") as caught:
        compare("x", energy_and_gradient(lithium_hydride()), energy_and_gradient(lithium_hydride(**change)))
    assert caught.value.outcome == "engine_crashed"


def test_what_is_not_a_number_is_refused() -> None:
    energy, gradient = energy_and_gradient(lithium_hydride())
    for wrong in ((float("nan"), gradient), (energy, gradient * np.nan)):
        with pytest.raises(CalculationError, match="disagrees"):
            compare("x", (energy, gradient), wrong)


def test_the_gpu_or_a_sentence_that_says_what_is_missing() -> None:
    """On a machine with a GPU the sentinel agrees; on any other the option says so."""
    problem = None
    try:
        require_gpu()
    except ServiceError as error:
        problem = str(error)
    if problem is None:
        assert run_sentinel().agrees
    else:
        assert "device 'gpu' was asked for" in problem
        assert "set the device to 'cpu'" in problem


def test_the_command_line_says_it_before_anything_is_written(tmp_path: Path) -> None:
    """Where there is a GPU, the calculation is done with it; where not, no directory is made."""
    environment = os.environ | {"ALKAFLOW_DEVICE": "gpu", "ALKAFLOW_DATA_DIR": str(tmp_path / "data")}
    command = [str(Path(sys.executable).parent / "alkaflow"), "calculate", "[H][H]", "--level", "b3lyp/sto-3g"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        assert ended.returncode == 3
        assert "device 'gpu' was asked for" in ended.stderr
        assert not (tmp_path / "data").exists()
    else:
        subprocess.run([command[0], "db", "stop"], env=environment, check=True)
        assert "-1.1" in ended.stdout


def test_one_setting_leaves_all_to_pyscf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record says whose loops were used; without ours none of them is called, and the energy is the same."""
    (given,) = plan_single(from_smiles("O"), "b3lyp/sto-3g", None).calculations.values()
    positions = given.positions
    assert positions is not None
    found = []
    for fast in (True, False):
        folder = tmp_path / str(fast)
        folder.mkdir()
        if not fast:
            monkeypatch.setattr("alkaflow.workflows.quadrature.Quadrature", None)  # nobody may make one
            monkeypatch.setattr("alkaflow.workflows.fitted_repulsion.coulomb_and_exchange", None)
        task = Task(calculation=given, positions=positions, threads=1, memory_mb=1000, fast_kernels=fast)
        found.append(run_task(task, folder))
    assert [record.provenance.fast_kernels for record in found] == [True, False]
    assert found[0].energy_hartree == pytest.approx(found[1].energy_hartree, abs=1e-8)
