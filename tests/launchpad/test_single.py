"""One structure at a time, through the queue."""

import json

import numpy as np
import pytest
from ase.build import molecule
from pymatgen.core import Molecule

from alkaflow.errors import BadInputError, CalculationError
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.single import as_structure, calculate
from alkaflow.settings import Settings
from alkaflow.structures import Structure, from_smiles


def test_water_from_everywhere(cli_environment: Settings, database: Database) -> None:
    """The same water from ASE and from pymatgen is one calculation, computed once."""
    atoms = molecule("H2O")
    other = Molecule(atoms.get_chemical_symbols(), atoms.positions)
    first = calculate(atoms, level="b3lyp/sto-3g", settings=cli_environment)
    second = calculate(other, level="b3lyp/sto-3g", settings=cli_environment)
    assert first == second
    assert first.convergence.converged
    assert database.calculations.count_documents({}) == 1


def test_a_relaxation_at_a_level(cli_environment: Settings, database: Database) -> None:
    """The relaxed water is lower than the one that it started from, and its bonds are those of the level."""
    start = from_smiles("O")
    single = calculate(start, level="b3lyp-d3bj/6-31g", settings=cli_environment)
    relaxed = calculate(start, level="b3lyp-d3bj/6-31g", relax=True, settings=cli_environment)
    assert relaxed.energy_hartree < single.energy_hartree
    bonds = np.linalg.norm(np.subtract(relaxed.positions_angstrom[1:], relaxed.positions_angstrom[0]), axis=1)
    assert bonds == pytest.approx([0.976, 0.976], abs=0.005)  # B3LYP/6-31G: 0.976 Angstrom
    parent = database.record(str(relaxed.parent))
    assert parent is not None
    assert parent.step == "relax"
    assert parent.orbitals is not None
    assert relaxed.convergence.cycles < single.convergence.cycles  # it begins with the orbitals of the relaxation


def test_a_failure_names_the_step(cli_environment: Settings, database: Database) -> None:
    """Two cations drive each other apart."""
    apart = Structure(("Li", "Li"), np.array([[0.0, 0, 0], [0, 0, 3.0]]), charge=2)
    with pytest.raises(CalculationError, match=r"Li2, relax .* dissociated: atom 0") as caught:
        calculate(apart, level="gfn2-xtb", relax=True, settings=cli_environment)
    assert caught.value.outcome == "dissociated"


def test_what_is_no_structure_is_refused() -> None:
    with pytest.raises(BadInputError, match="a str is no structure"):
        as_structure("water.xyz")


def test_the_command(cli_environment: Settings, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calculate", "O", "--level", "gfn2-xtb", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["formula"] == "H2O"
    assert record["energy_hartree"] == pytest.approx(-5.07, abs=0.01)
    assert run(["calculate", "O", "--level", "gfn2-xtb"]) == 0
    assert "gfn2-xtb" in capsys.readouterr().out
