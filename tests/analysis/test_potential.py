"""Potentials against closed forms, multipoles and each other."""

import numpy as np
import pytest
from scipy.special import erf

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box, OrbitalDensity
from alkaflow.analysis.potential import FittedPotential, exact_potential
from alkaflow.errors import BadInputError
from alkaflow.workflows.guess import occupied_orbitals

WATER = [("O", (0, 0, 0.0)), ("H", (0, 1.43, 1.11)), ("H", (0, -1.43, 1.11))]  # bohr


def density_of(atoms, basis="6-311g(d,p)", **options) -> Density:
    from pyscf import gto, scf

    options = {"unit": "Bohr", "verbose": 0} | options
    molecule = gto.M(atom=atoms, basis=basis, **options)
    return Density.of(molecule, occupied_orbitals(scf.HF(molecule).run(conv_tol=1e-11)))


@pytest.fixture(scope="module")
def water() -> Density:
    return density_of(WATER)


def shell(radius: float, count: int = 60) -> np.ndarray:
    points = np.random.default_rng(3).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1)[:, None]


def outside(density: Density, count: int = 300, low: float = 1e-3) -> np.ndarray:
    centres = density.molecule.atom_coords()
    points = np.random.default_rng(1).uniform(centres.min(0) - 7, centres.max(0) + 7, (count * 3, 3))
    return points[OrbitalDensity(density).values(points) < low][:count]


def test_hydrogen_atom() -> None:
    """exp(-2 r) (1 + 1/r), from the exact orbital."""
    exponents = [0.02 * 1.9**k for k in range(24)]
    atom = density_of([("H", (0, 0, 0))], {"H": [[0, [a, 1.0]] for a in exponents]}, spin=1)
    radii = np.array([0.2, 0.5, 1.0, 2.0, 4.0])
    points = np.outer(radii, [0.6, 0.0, 0.8])
    assert exact_potential(atom, points) == pytest.approx(np.exp(-2 * radii) * (1 + 1 / radii), abs=2e-6)


def test_two_gaussians_on_two_protons() -> None:
    """The potential of s functions and of their product, which is one in between, by the error function."""
    exponent, centres = 0.7, np.array([[0, 0, 0], [0, 0, 1.9]], float)
    ion = density_of([("H", centre) for centre in centres], {"H": [[0, [exponent, 1.0]]]}, charge=1, spin=1)
    points = np.array([[0.3, 0.2, 0.5], [0, 2.0, 1.0], [3.0, -1.0, 4.0]])
    overlap = np.exp(-exponent * 1.9**2 / 2)
    expected = sum(1 / np.linalg.norm(points - centre, axis=1) for centre in centres)
    for weight, centre in ((1, centres[0]), (1, centres[1]), (2 * overlap, centres.mean(0))):
        distance = np.linalg.norm(points - centre, axis=1)
        expected = expected - weight / (2 + 2 * overlap) * erf(np.sqrt(2 * exponent) * distance) / distance
    assert exact_potential(ion, points) == pytest.approx(expected, abs=1e-12)


def test_exact_is_pyscfs_mep(water: Density, tmp_path) -> None:
    from pyscf.tools import cubegen

    values = cubegen.mep(water.molecule, str(tmp_path / "mep.cube"), water.total, nx=5, ny=6, nz=7, margin=2.0)
    box = cubegen.Cube(water.molecule, 5, 6, 7, margin=2.0)
    assert exact_potential(water, box.get_coords()) == pytest.approx(values.ravel(), abs=1e-11)


MOLECULES = {
    "water": (WATER, {}),
    "water with Cartesian functions": (WATER, {"basis": "6-31g(d)", "cart": True}),
    "hydrogen fluoride": ([("H", (0, 0, 0)), ("F", (0, 0, 1.74))], {}),
    "lithium and water, a doublet": ([("Li", (0, 0, -3.5)), *WATER], {"spin": 1}),
    "lithium ion": ([("Li", (0, 0, 0))], {"charge": 1}),
    "hydroxide": ([("O", (0, 0, 0)), ("H", (0, 0, 1.82))], {"charge": -1, "basis": "6-31+g(d)"}),
    "hydrogen iodide with a core potential": (
        [("I", (0, 0, 0)), ("H", (0, 0, 3.04))],
        {"basis": "def2-svp", "ecp": {"I": "def2-svp"}},
    ),
    "water and a ghost": ([*WATER, ("ghost-Na", (0, 0, -4.5))], {"basis": "6-31g"}),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_fitted_outside_the_surface(name: str) -> None:
    """Within 2e-4 Hartree/e of the exact one wherever the density is below 0.001."""
    atoms, options = MOLECULES[name]
    density = density_of(atoms, **options)
    error = FittedPotential(density).estimate_error(outside(density))
    assert error.maximum < 2e-4
    assert error.rms < 5e-5
    assert error.points > 100


def test_anchors_are_what_makes_it_so(water: Density) -> None:
    points = outside(water)
    plain, held = (FittedPotential(water, anchored=choice).estimate_error(points) for choice in (False, True))
    assert plain.maximum > 5 * held.maximum


def test_error_estimate_is_the_difference(water: Density) -> None:
    potential, points = FittedPotential(water), shell(5.0)
    difference = potential(points) - exact_potential(water, points)
    error = potential.estimate_error(points)
    assert error.maximum == pytest.approx(np.abs(difference).max(), rel=1e-9)
    assert error.rms == pytest.approx(np.linalg.norm(difference) / np.sqrt(60), rel=1e-9)


def test_tables_are_the_integrals(water: Density) -> None:
    """Between nodes, near nuclei and beyond the last node the tables give what libcint does."""
    from pyscf import gto

    from alkaflow.analysis import potential as module

    auxiliary = module._auxiliary_molecule(water.molecule, "def2-universal-jkfit")
    coefficients, _ = module._fit(water, auxiliary, np.empty((0, 3)))
    points = np.vstack([shell(r, 20) for r in (1e-3, 0.1, 1.0, 3.0, 30.0, 900.0, 5000.0)])
    integrals = gto.intor_cross("int2c2e", gto.fakemol_for_charges(points), auxiliary) @ coefficients
    expected = module._nuclear_potential(water.molecule, points) - integrals
    assert FittedPotential(water, anchored=False)(points) == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize(("anchored", "tolerance"), [(True, 2e-3), (False, 2e-2)])
def test_far_field_is_that_of_dipole_and_quadrupole(water: Density, anchored: bool, tolerance: float) -> None:
    molecule = water.molecule
    with molecule.with_common_origin((0, 0, 0)):
        first = np.einsum("xij,ji->x", molecule.intor("int1e_r"), water.total)
        second = np.einsum("xij,ji->x", molecule.intor("int1e_rr"), water.total).reshape(3, 3)
    charges, centres = molecule.atom_charges(), molecule.atom_coords()
    dipole = charges @ centres - first
    moments = np.einsum("a,ax,ay->xy", charges, centres, centres) - second
    quadrupole = 3 * moments - np.trace(moments) * np.eye(3)
    for radius in (60.0, 120.0):
        points = shell(radius)
        expected = points @ dipole / radius**3 + np.einsum("nx,xy,ny->n", points, quadrupole, points) / (2 * radius**5)
        scale = np.abs(expected).max()
        assert np.abs(exact_potential(water, points) - expected).max() < 2e-3 * scale
        assert np.abs(FittedPotential(water, anchored=anchored)(points) - expected).max() < 2 * tolerance * scale


def test_an_ion_from_far_is_its_charge() -> None:
    ion = density_of([("Li", (0, 0, 0))], charge=1)
    assert FittedPotential(ion)(shell(2000.0)) == pytest.approx(1 / 2000, rel=1e-7)


def test_threads_and_blocks_change_nothing(water: Density) -> None:
    from pyscf import lib

    potential, points = FittedPotential(water), shell(4.0, 5000)
    one = potential(points)
    with lib.with_omp_threads(3):
        assert np.array_equal(potential(points), one)
    assert potential(points[4990:]) == pytest.approx(one[4990:], abs=1e-14)


def test_a_set_without_an_element() -> None:
    lithium = density_of([("Li", (0, 0, 0))], charge=1)
    with pytest.raises(BadInputError, match=r"no functions for Li; give another one \(auxbasis\)"):
        FittedPotential(lithium, auxbasis="cc-pvtz-jkfit")


@pytest.mark.parametrize("points", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 2))])
def test_points_of_another_shape(water: Density, points: np.ndarray) -> None:
    with pytest.raises(BadInputError, match="points have shape"):
        exact_potential(water, points)


def test_density_integrates_to_the_electrons() -> None:
    lithium = density_of([("Li", (0, 0, 0)), ("H", (0, 0, 3.0))], charge=1, spin=1)
    box = Box.around(lithium.molecule.atom_coords(), 7.0, 0.25)
    valence = box.fill(OrbitalDensity(lithium, spin=True).values).sum() * box.volume_element
    assert valence == pytest.approx(1.0, abs=1e-3)


def test_gradient_of_the_density(water: Density) -> None:
    electrons, points, step = OrbitalDensity(water), shell(2.0, 5), 1e-4
    values, gradients = electrons.values_and_gradients(points)
    assert values == pytest.approx(electrons.values(points), rel=1e-12)
    for axis in range(3):
        move = step * np.eye(3)[axis]
        slope = (electrons.values(points + move) - electrons.values(points - move)) / (2 * step)
        assert gradients[:, axis] == pytest.approx(slope, abs=1e-7)
