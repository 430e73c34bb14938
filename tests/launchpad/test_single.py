"""One structure at a time, through the queue."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Molecule
from pymatgen.core import Structure as Crystal
from pymatgen.io.ase import AseAtomsAdaptor

from alkaflow.errors import BadInputError, CalculationError
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.single import as_structure, calculate
from alkaflow.settings import Settings
from alkaflow.structures import Structure, from_smiles
from alkaflow.units import BOHR_ANGSTROM


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


def test_frequencies(
    cli_environment: Settings, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """H2, each step a calculation of its own: one wavenumber, that of the energies along the bond."""
    start = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.72]]))
    chosen: dict[str, Any] = {"level": "pbe/sto-3g", "relax": True, "settings": cli_environment}
    record = calculate(start, **chosen, frequencies=True)
    states = {d["step"]: d["state"] for d in database.calculations.find()}
    assert states == dict.fromkeys(("relax", "energy", "frequencies"), "COMPLETED")
    vibrations = record.vibrations
    assert vibrations is not None
    assert (vibrations.imaginary, vibrations.linear, vibrations.symmetry_number) == (0, True, 2)

    bond = abs(record.positions_angstrom[1][2] - record.positions_angstrom[0][2])
    energies = []
    for change in (-0.01, 0, 0.01):
        moved = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, bond + change]]))
        energies.append(hydrogen_energy(moved))
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / (0.01 / BOHR_ANGSTROM) ** 2
    expected = (curvature / (vibrations.masses[0] / 2 * 1822.888486)) ** 0.5 * 219474.63
    assert vibrations.wavenumbers == [pytest.approx(expected, rel=3e-3)]

    assert calculate(start, **chosen, leave_saddle=True) == record  # a minimum already
    energy = calculate(start, **chosen)
    assert (energy.step, energy.parent) == ("energy", record.parent)
    path = tmp_path / "hydrogen.xyz"
    path.write_text("2\n\nH 0 0 0\nH 0 0 0.72\n", encoding="utf-8")
    assert run(["calculate", str(path), "--level", "pbe/sto-3g", "--relax", "--frequencies"]) == 0
    shown = capsys.readouterr()
    assert f"{vibrations.wavenumbers[0]:.1f}" in shown.out
    assert f"{energy.energy_hartree + vibrations.thermochemistry.gibbs:.6f}" in shown.out
    assert "imaginary:" not in shown.err
    hotter = ["--temperature", "350", "--pressure", "200000"]
    assert run(["calculate", str(path), "--level", "pbe/sto-3g", "--relax", "--frequencies", *hotter, "--json"]) == 0
    thermal = json.loads(capsys.readouterr().out)["vibrations"]["thermochemistry"]
    # a rigid rotor and an ideal gas: 7/2 k T over the zero-point energy, the vibration being frozen
    assert thermal["enthalpy"] == pytest.approx(vibrations.zero_point_energy + 3.5 * 350 * 3.166811563e-6, abs=1e-7)
    assert (thermal["temperature"], thermal["pressure"]) == (350, 2e5)
    assert database.calculations.count_documents({}) == 3


def hydrogen_energy(structure: Structure) -> float:
    """PBE/STO-3G energy [Hartree]."""
    from pyscf import dft, gto

    atoms = list(zip(structure.symbols, structure.positions.tolist(), strict=True))
    mean_field = dft.RKS(gto.M(atom=atoms, basis="sto-3g", verbose=0)).density_fit("def2-universal-jkfit")
    mean_field.chkfile = None
    mean_field.grids.atom_grid = (99, 590)
    return float(mean_field.set(xc="pbe", conv_tol=1e-11).kernel())


def test_an_imaginary_mode_is_explained(
    cli_environment: Settings, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hydrogen atoms that are far apart: the energy curves downwards, and the geometry is not stationary."""
    path = tmp_path / "stretched.xyz"
    path.write_text("2\n\nH 0 0 0\nH 0 0 1.4\n", encoding="utf-8")
    assert run(["calculate", str(path), "--level", "pbe/sto-3g", "--frequencies"]) == 0
    shown = capsys.readouterr()
    assert "1 imaginary: the energy falls along it, so this is no minimum" in shown.err
    assert "relax it first, with --relax" in shown.err
    assert re.search(r"^imaginary modes +1$", shown.out, re.MULTILINE)
    assert "warning" in shown.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--level", "gfn2-xtb", "--relax", "--frequencies"], "for which there are no frequencies"),
        (["--protocol", "screen", "--frequencies"], "composite and published can have them"),
        (["--level", "pbe/sto-3g", "--leave-saddle"], "use --relax"),
        (["--level", "pbe/sto-3g", "--temperature", "350"], "add --frequencies"),
        (["--level", "pbe/sto-3g", "--frequencies", "--pressure", "0"], "--pressure 0 is not above 0"),
        (["--level", "pbe/sto-3g", "--frequencies", "--temperature", "nan"], "--temperature nan is not above 0"),
    ],
)
def test_frequencies_that_cannot_be(
    arguments: list[str], said: str, cli_environment: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["calculate", "O", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_failure_names_the_step(cli_environment: Settings, database: Database) -> None:
    """Two cations drive each other apart."""
    apart = Structure(("Li", "Li"), np.array([[0.0, 0, 0], [0, 0, 3.0]]), charge=2)
    with pytest.raises(CalculationError, match=r"Li2, relax .* dissociated: atom 0") as caught:
        calculate(apart, level="gfn2-xtb", relax=True, settings=cli_environment)
    assert caught.value.outcome == "dissociated"


def test_what_is_no_structure_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"a str is not read here; give an alkaflow\.Structure, an ase\.Atoms"):
        as_structure("water.xyz")
    crystal = Crystal(Lattice.cubic(3.5), ["Li"], [[0, 0, 0]])
    with pytest.raises(BadInputError, match="a crystal, as pymatgen's Structure is, is refused"):
        as_structure(crystal)
    with pytest.raises(BadInputError, match="periodic boundaries"):
        as_structure(bulk("Li"))


def test_another_charge_or_multiplicity() -> None:
    """Given, it overrides; another charge alone goes with the lowest multiplicity, the same one keeps what was said."""
    oxygen = Structure(("O", "O"), np.array([[0, 0, 0], [0, 0, 1.2]]), multiplicity=3, name="oxygen")
    molecule_ = Molecule(["O", "O"], oxygen.positions, spin_multiplicity=3)
    for given in (oxygen, molecule_):
        states = [((), 0, 3), ((0,), 0, 3), ((1,), 1, 2), ((-1, 4), -1, 4), ((None, 1), 0, 1)]
        for arguments, charge, multiplicity in states:
            found = as_structure(given, *arguments)
            assert (found.charge, found.multiplicity) == (charge, multiplicity)
    assert as_structure(oxygen, 1).name == "oxygen"
    adapted = AseAtomsAdaptor.get_atoms(Molecule(["O", "O"], oxygen.positions, charge=1, spin_multiplicity=4))
    assert (as_structure(adapted).charge, as_structure(adapted).multiplicity) == (1, 4)


def test_the_state_reaches_the_calculation(cli_environment: Settings, database: Database) -> None:
    """The same lithium ion by its charges and by the argument is one calculation."""
    chosen: dict[str, Any] = {"level": "gfn2-xtb", "settings": cli_environment}
    cation = calculate(Atoms("Li", charges=[1]), **chosen)
    assert (cation.charge, cation.multiplicity) == (1, 1)
    assert cation == calculate(Atoms("Li"), **chosen, charge=1)
    assert database.calculations.count_documents({}) == 1
    with pytest.raises(BadInputError, match="4 electrons cannot have multiplicity 2"):
        calculate(Atoms("Li"), **chosen, charge=-1, multiplicity=2)


@pytest.mark.parametrize("asked", ["frequencies", "leave_saddle"])
def test_an_atom_has_no_vibrations(asked: str, cli_environment: Settings, database: Database) -> None:
    chosen: dict[str, Any] = {"level": "pbe/sto-3g", "relax": True, asked: True, "settings": cli_environment}
    with pytest.raises(BadInputError, match=f"an atom has no vibrations; leave out {asked}"):
        calculate(Atoms("He"), **chosen)
    assert database.calculations.count_documents({}) == 0


def test_the_command(cli_environment: Settings, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calculate", "O", "--level", "gfn2-xtb", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["formula"] == "H2O"
    assert record["energy_hartree"] == pytest.approx(-5.07, abs=0.01)
    assert run(["calculate", "O", "--level", "gfn2-xtb"]) == 0
    assert "gfn2-xtb" in capsys.readouterr().out
