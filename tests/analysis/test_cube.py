"""Volumes and cube files: read back, by ASE too, and integrals of what they hold."""

from pathlib import Path

import numpy as np
import pytest

from alkaflow.analysis.cube import (
    Volume,
    density_difference,
    electron_density,
    electrostatic_potential,
    orbital,
    read_cube,
    spin_density,
    write_cube,
)
from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box
from alkaflow.analysis.potential import exact_potential
from alkaflow.errors import BadInputError, ParseError
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.guess import occupied_orbitals


def density_of(atoms, basis="6-31g", **options) -> Density:
    from pyscf import gto, scf

    molecule = gto.M(atom=atoms, basis=basis, unit="Bohr", verbose=0, **options)
    return Density.of(molecule, occupied_orbitals(scf.HF(molecule).run()))


LITHIUM, WATER = ("Li", (0, 0, -3.5)), [("O", (0, 0, 0.0)), ("H", (0, 1.43, 1.11)), ("H", (0, -1.43, 1.11))]


@pytest.fixture(scope="module")
def complex_() -> Density:
    return density_of([LITHIUM, *WATER], spin=1)


@pytest.fixture(scope="module")
def box(complex_: Density) -> Box:
    return Box.around(complex_.molecule.atom_coords(), 6.0, 0.4)


def hand_made(values: np.ndarray) -> Volume:
    box = Box((-1.0, 0.5, 2.0), (0.1, 0.2, 0.3), values.shape)  # type: ignore[arg-type]
    return Volume("a quantity", "a unit", values, box, (3, 17), (3.0, 7.0), np.array([[0, 0, 0], [0.1, -2, 3.25]]))


@pytest.mark.parametrize("shape", [(2, 3, 4), (3, 2, 6), (1, 1, 13)])
def test_round_trip(shape: tuple[int, int, int], tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=shape) * 10.0 ** np.random.default_rng(1).integers(-9, 9, shape)
    volume = hand_made(values)
    write_cube(volume, tmp_path / "a.cube")
    read = read_cube(tmp_path / "a.cube")
    assert read.values == pytest.approx(values, rel=1e-6)
    assert (read.quantity, read.unit, read.box) == (volume.quantity, volume.unit, volume.box)
    assert (read.numbers, read.charges) == (volume.numbers, volume.charges)
    assert read.positions == pytest.approx(volume.positions)


def test_ase_reads_it(complex_: Density, tmp_path: Path) -> None:
    from ase.io.cube import read_cube as read_by_ase

    small = Box.of_counts(complex_.molecule.atom_coords(), 3.0, 7)
    volume = electrostatic_potential(complex_, small)
    write_cube(volume, tmp_path / "esp.cube")
    with (tmp_path / "esp.cube").open() as file:
        found = read_by_ase(file)
    assert found["data"] == pytest.approx(volume.values, rel=1e-6)
    assert found["atoms"].get_chemical_symbols() == ["Li", "O", "H", "H"]
    assert found["atoms"].positions == pytest.approx(complex_.molecule.atom_coords() * BOHR_ANGSTROM, abs=1e-6)
    assert found["origin"] == pytest.approx(np.array(small.origin) * BOHR_ANGSTROM, abs=1e-6)
    assert found["spacing"] == pytest.approx(np.diag(small.spacing) * BOHR_ANGSTROM, abs=1e-6)


def test_pyscf_reads_it(tmp_path: Path) -> None:
    from pyscf.tools import cubegen

    water = density_of(WATER)
    small = Box.of_counts(water.molecule.atom_coords(), 3.0, 6)
    volume = electron_density(water, small)
    write_cube(volume, tmp_path / "rho.cube")
    cube = cubegen.Cube(water.molecule, 6, 6, 6, margin=3.0)
    assert cube.get_coords() == pytest.approx(small.points(), abs=1e-10)
    assert cube.read(str(tmp_path / "rho.cube")) == pytest.approx(volume.values, rel=1e-6)


def test_head_names_quantity_unit_and_charges(tmp_path: Path) -> None:
    ion = density_of([("I", (0, 0, 0))], "def2-svp", ecp="def2-svp", charge=-1)
    write_cube(electrostatic_potential(ion, Box.of_counts(np.zeros((1, 3)), 4.0, 3)), tmp_path / "i.cube")
    lines = (tmp_path / "i.cube").read_text().splitlines()
    assert lines[0] == "electrostatic potential [Hartree/e]"
    assert lines[1] == "OUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z"
    assert lines[6].split()[:2] == ["53", "25.00000000"]  # 28 electrons are in the core potential


def test_integrals(complex_: Density, box: Box) -> None:
    """Away from the nuclei a grid integrates well: one unpaired electron, a normal orbital, no charge moved."""
    assert spin_density(complex_, box).values.sum() * box.volume_element == pytest.approx(1.0, abs=0.03)
    highest = complex_.coefficients[0].shape[1] - 1
    outermost = orbital(complex_, box, 0, highest)
    assert (outermost.values**2).sum() * box.volume_element == pytest.approx(1.0, abs=0.03)


def test_potential_of_a_box_is_that_of_its_points(complex_: Density) -> None:
    small = Box.of_counts(np.array([[0.0, 4.0, 6.0]]), 1.0, 3)
    values = electrostatic_potential(complex_, small).values
    assert values.ravel() == pytest.approx(exact_potential(complex_, small.points()), abs=2e-4)


def test_difference_of_densities(complex_: Density) -> None:
    guest, host = density_of([LITHIUM], spin=1), density_of(WATER)
    small = Box.around(complex_.molecule.atom_coords(), 5.0, 0.5)
    moved = density_difference(complex_, small, host, guest)
    assert moved.values.sum() * small.volume_element == pytest.approx(0.0, abs=0.03)
    separate = electron_density(host, small).values + electron_density(guest, small).values
    assert moved.values == pytest.approx(electron_density(complex_, small).values - separate, abs=1e-12)
    assert np.abs(moved.values).max() > 1e-3


def test_differences_that_mean_nothing(complex_: Density, box: Box) -> None:
    with pytest.raises(BadInputError, match="other atoms"):
        density_difference(complex_, box, density_of(WATER))
    moved = density_of([("Li", (0, 0, -3.6))], spin=1)
    with pytest.raises(BadInputError, match="not where it is in the whole"):
        density_difference(complex_, box, density_of(WATER), moved)


def test_orbitals_that_are_not_there(complex_: Density, box: Box) -> None:
    with pytest.raises(BadInputError, match="there is no occupied orbital 7; there are 0 to 6"):
        orbital(complex_, box, 0, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "values, not 2 x 3 x 4"),
        (lambda lines: [*lines[:-1], "nonsense"], "something else than numbers"),
        (lambda lines: lines[:4], "there should be 4 numbers here"),
        (lambda lines: [*lines[:3], "  2 0.1 0.1 0.0", *lines[4:]], "axes are not along"),
        (lambda lines: [*lines[:2], "   -2 0.0 0.0 0.0", *lines[3:]], "several orbitals"),
    ],
)
def test_damaged_files(change, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.cube"
    write_cube(hand_made(np.ones((2, 3, 4))), path)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(ParseError, match=message):
        read_cube(path)


def test_boxes() -> None:
    box = Box.around(np.array([[0.0, 0, 0], [1.0, 0, 0]]), 2.0, 0.3)
    assert box.axes[0][0] <= -2.0
    assert box.axes[0][-1] >= 3.0
    assert box.shape == (18, 15, 15)
    assert box.fill(lambda points: points @ [1.0, 10.0, 100.0]).ravel() == pytest.approx(
        box.points() @ [1.0, 10.0, 100.0]
    )
    with pytest.raises(BadInputError, match="spacing above 0"):
        Box.around(np.zeros((1, 3)), 1.0, 0.0)
