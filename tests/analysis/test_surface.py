"""Surfaces of atoms against spheres, statistics of hand-made surfaces, extrema on any mesh and published ones."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box, OrbitalDensity
from alkaflow.analysis.isosurface import find_isosurface, signed_volumes, triangulate
from alkaflow.analysis.potential import FittedPotential, exact_potential
from alkaflow.analysis.surface import (
    SurfaceMesh,
    molecular_surface,
    peak_prominences,
    site_values,
    surface_statistics,
    triangle_areas,
)
from alkaflow.errors import BadInputError
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL
from alkaflow.workflows.guess import occupied_orbitals

WATER = [("O", (0, 0, 0.1173)), ("H", (0, 0.7572, -0.4692)), ("H", (0, -0.7572, -0.4692))]  # Angstrom


def density_of(atoms, basis="6-31g(d)", **options) -> Density:
    from pyscf import gto, scf

    molecule = gto.M(atom=atoms, basis=basis, verbose=0, **options)
    return Density.of(molecule, occupied_orbitals(scf.HF(molecule).run()))


@pytest.fixture(scope="module")
def water() -> Density:
    return density_of(WATER)


@pytest.fixture(scope="module")
def potential(water: Density) -> FittedPotential:
    return FittedPotential(water)


@pytest.mark.parametrize(
    ("isovalue", "spacing", "tolerance"), [(0.001, 0.3, 3e-3), (0.001, 0.15, 8e-4), (0.02, 0.2, 3e-3)]
)
def test_atom_is_a_sphere(isovalue: float, spacing: float, tolerance: float) -> None:
    neon = density_of([("Ne", (0.3, -0.2, 0.1))])
    centre, electrons = neon.molecule.atom_coord(0), OrbitalDensity(neon)
    radius = brentq(lambda r: electrons.values(centre[None] + [[r, 0, 0]])[0] - isovalue, 0.5, 6.0)
    surface = find_isosurface(neon, isovalue, spacing)
    outward = (surface.vertices - centre) / radius
    assert np.linalg.norm(outward, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert surface.normals == pytest.approx(outward, abs=1e-4)
    area, volume = triangle_areas(surface.vertices, surface.faces), signed_volumes(surface.vertices, surface.faces)
    assert area.sum() == pytest.approx(4 * np.pi * radius**2, rel=tolerance)
    assert volume.sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=2 * tolerance)
    assert area.sum() < 4 * np.pi * radius**2


def test_surface_is_closed_and_on_the_isovalue(water: Density) -> None:
    surface = find_isosurface(water)
    corners = surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges, counts = np.unique(np.sort(corners, axis=1), axis=0, return_counts=True)
    assert np.all(counts == 2)
    assert len(surface.vertices) - len(edges) + len(surface.faces) == 2  # Euler: a sphere
    assert len(np.unique(corners, axis=0)) == len(corners)  # all triangles turn the same way
    assert OrbitalDensity(water).values(surface.vertices) == pytest.approx(0.001, rel=1e-5)
    assert set(surface.nearest_atom) == {0, 1, 2}
    assert np.mean(surface.vertices[surface.nearest_atom == 0, 2]) > 0.3


def test_ghosts_own_no_surface() -> None:
    surface = find_isosurface(density_of([("He", (0, 0, 0)), ("ghost-He", (0, 0, 1.0))]), spacing=0.5)
    assert set(surface.nearest_atom) == {0}


def test_two_molecules_far_apart_are_two_pieces() -> None:
    one = find_isosurface(density_of([("He", (0, 0, 0))]), spacing=0.4)
    two = find_isosurface(density_of([("He", (0, 0, 0)), ("He", (0, 0, 8.0))]), spacing=0.4)
    volumes = [signed_volumes(each.vertices, each.faces).sum() for each in (one, two)]
    assert volumes[1] == pytest.approx(2 * volumes[0], rel=5e-3)


def test_cavities_are_left_out() -> None:
    box = Box.around(np.zeros((1, 3)), 6.0, 0.3)
    radii = np.linalg.norm(box.points(), axis=1).reshape(box.shape)
    hollow = 0.001 * np.exp(2.0 - (radii - 3.0) ** 2)  # 0.001 at 3 - sqrt(2) and 3 + sqrt(2)
    vertices, faces = triangulate(hollow, box, 0.001)
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(3 + np.sqrt(2), abs=0.01)
    assert signed_volumes(vertices, faces).sum() > 0


def test_boxes_that_cut_or_hold_nothing() -> None:
    box = Box.around(np.zeros((1, 3)), 2.0, 0.3)
    samples = np.exp(-np.linalg.norm(box.points(), axis=1)).reshape(box.shape)
    with pytest.raises(BadInputError, match=r"the box cuts the surface of 0\.01"):
        triangulate(samples, box, 0.01)
    with pytest.raises(BadInputError, match="nowhere above 2"):
        triangulate(samples, box, 2.0)


def test_anion_needs_a_larger_box() -> None:
    surface = find_isosurface(density_of([("H", (0, 0, 0))], {"H": [[0, [0.02, 1.0]]]}, charge=-1), spacing=0.6)
    expected = np.sqrt(np.log(2 * (0.04 / np.pi) ** 1.5 / 0.001) / 0.04)
    assert np.linalg.norm(surface.vertices, axis=1) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("isovalue", "spacing"), [(0.0, 0.3), (2.0, 0.3), (0.001, 0.0), (0.001, 3.0)])
def test_surfaces_that_make_no_sense(isovalue: float, spacing: float, water: Density) -> None:
    with pytest.raises(BadInputError, match="an isosurface needs"):
        find_isosurface(water, isovalue, spacing)


def octahedron(values: list[float]) -> SurfaceMesh:
    """Eight equal triangles; values [kcal/mol] at +x, -x, +y, -y, +z, -z."""
    vertices = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    faces = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)])
    return SurfaceMesh(
        vertices / BOHR_ANGSTROM, faces, vertices, np.array(values) / HARTREE_KCAL_MOL, np.zeros(6, np.int64)
    )


def test_statistics_of_an_octahedron() -> None:
    """The four triangles around +z have 12, those around -z -6."""
    found = surface_statistics(octahedron([3.0, 3.0, 3.0, 3.0, 30.0, -24.0]))
    triangle = np.sqrt(3) / 2
    assert (found.area, found.volume) == (pytest.approx(8 * triangle), pytest.approx(4 / 3))
    assert (found.positive_area, found.negative_area) == (pytest.approx(4 * triangle), pytest.approx(4 * triangle))
    assert (found.mean, found.mean_positive, found.mean_negative) == pytest.approx((3.0, 12.0, -6.0))
    assert found.average_deviation == pytest.approx(9.0)
    assert (found.variance_positive, found.variance_negative, found.balance) == pytest.approx((0, 0, 0), abs=1e-12)
    assert [round(p.value_kcal_mol, 9) for p in found.maxima + found.minima] == [30.0, -24.0]
    assert found.maxima[0].position_angstrom == pytest.approx((0, 0, 1))


def test_variances_by_hand() -> None:
    """Triangles 20, 20, 10, 10 and -5, -5, -15, -15: variances 25 and 25, so nu is 1/4."""
    found = surface_statistics(octahedron([15.0, -15.0, 0.0, 0.0, 45.0, -30.0]))
    assert (found.variance_positive, found.variance_negative) == pytest.approx((25.0, 25.0))
    assert found.variance_total == pytest.approx(50.0)
    assert found.balance == pytest.approx(0.25)


def test_surface_of_one_sign() -> None:
    found = surface_statistics(octahedron([100.0] * 6))
    assert (found.negative_area, found.mean_negative, found.variance_negative, found.balance) == (0.0, None, 0.0, 0.0)
    assert (found.maxima, found.minima) == ([], [])


def test_prominences_on_a_ridge() -> None:
    """A strip of triangles with peaks 5, 4 and 7: from 4 one descends to 3, from 5 to 1, from 7 to the lowest."""
    heights = np.array([5.0, 1.0, 4.0, 3.0, 7.0])
    values = np.concatenate([heights, np.full(5, -2.0)])
    faces = [(k, k + 1, k + 5) for k in range(4)] + [(k + 1, k + 6, k + 5) for k in range(4)]
    assert peak_prominences(values, np.array(faces)) == {0: 4.0, 2: 1.0, 4: 9.0}


def test_extrema_do_not_hang_on_the_mesh(water: Density, potential: FittedPotential) -> None:
    found = []
    for spacing in (0.25, 0.45):
        mesh = molecular_surface(water, spacing=spacing, potential=potential)
        found.append(surface_statistics(mesh, water, potential))
    for name in ("maxima", "minima"):
        fine, coarse = (getattr(each, name) for each in found)
        assert len(fine) == len(coarse)
        for one, other in zip(fine, coarse, strict=True):
            assert one.value_kcal_mol == pytest.approx(other.value_kcal_mol, abs=0.01)
    assert [p.atom for p in found[0].minima] == [0]
    assert {p.atom for p in found[0].maxima} == {1, 2}
    assert found[0].area == pytest.approx(found[1].area, rel=5e-3)


def test_extrema_are_extrema_of_the_exact_potential(water: Density, potential: FittedPotential) -> None:
    """Nowhere on a fine surface is the exact potential beyond them, and somewhere it comes near."""
    mesh = molecular_surface(water, spacing=0.25, potential=potential)
    found = surface_statistics(mesh, water, potential)
    exact = exact_potential(water, mesh.vertices) * HARTREE_KCAL_MOL
    for extreme, best in (
        (found.maxima[0].value_kcal_mol, exact.max()),
        (-found.minima[0].value_kcal_mol, -exact.min()),
    ):
        assert best - 1e-3 <= extreme <= best + 0.3
    for point in found.maxima + found.minima:
        there = exact_potential(water, np.array([point.position_angstrom]) / BOHR_ANGSTROM)[0]
        assert point.value_kcal_mol == pytest.approx(there * HARTREE_KCAL_MOL, abs=1e-9)


def test_vertices_alone_come_near(water: Density, potential: FittedPotential) -> None:
    mesh = molecular_surface(water, potential=potential)
    refined, plain = surface_statistics(mesh, water, potential), surface_statistics(mesh)
    assert plain.minima[0].value_kcal_mol == pytest.approx(refined.minima[0].value_kcal_mol, abs=0.5)
    assert replace(plain, maxima=[], minima=[]) == replace(refined, maxima=[], minima=[])


def test_site_above_oxygen(water: Density, potential: FittedPotential) -> None:
    """From outside, inside or beyond, the line along the axis meets the minimum at the back of the oxygen."""
    minimum = surface_statistics(molecular_surface(water, potential=potential), water, potential).minima[0]
    start = np.array([[0, 0, 0.1], [0, 0, 3.5], [0, 0, -1.0]])
    found = site_values(water, start, np.array([[0, 0, 1.0], [0, 0, 0.2], [0, 0, 5.0]]))
    for point in found:
        assert point.value_kcal_mol >= minimum.value_kcal_mol - 1e-6
        assert point.value_kcal_mol == pytest.approx(found[0].value_kcal_mol, abs=1e-6)
        assert point.atom == 0
    density = OrbitalDensity(water).values(np.array([found[0].position_angstrom]) / BOHR_ANGSTROM)
    assert density[0] == pytest.approx(0.001, rel=1e-6)


def test_sites_without_a_surface(water: Density) -> None:
    with pytest.raises(BadInputError, match="line through site 1 does not leave"):
        site_values(water, np.array([[0, 0, 0], [9, 9, 0]]), np.array([[0, 0, 1], [0, 0, 1]]))
    with pytest.raises(BadInputError, match="a direction that is not zero"):
        site_values(water, np.zeros((1, 3)), np.zeros((1, 3)))


# Tian Lu with Multiwfn, http://sobereva.com/337 (2020), Cartesian d functions as in Gaussian; kcal/mol and Angstrom.
# Bond lengths are those of the level's minimum.
K = 1.0256 / np.sqrt(3)
PUBLISHED = {
    "ammonium": (
        [("N", (0, 0, 0)), ("H", (K, K, K)), ("H", (-K, -K, K)), ("H", (K, -K, -K)), ("H", (-K, K, -K))],
        1,
        {"area": 47.4438, "volume": 30.0224, "mean": 171.7583, "average_deviation": 3.5617, "variance_total": 17.6046},
        (180.6235, 164.8361),
    ),
    "azide": (
        [("N", (0, 0, 0)), ("N", (0, 0, 1.1876)), ("N", (0, 0, -1.1876))],
        -1,
        {"area": 72.7736, "volume": 54.1081, "mean": -136.4846, "average_deviation": 1.9546, "variance_total": 5.5000},
        (-131.3486, -139.2375),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_b3pw91_6_31gdp(name: str) -> None:
    """Extrema within 0.05 and the mean within 0.02 kcal/mol; area, volume and spread as far as the meshes differ."""
    from pyscf import dft, gto

    atoms, charge, published, (highest, lowest) = PUBLISHED[name]
    molecule = gto.M(atom=atoms, charge=charge, basis="6-31g(d,p)", cart=True, verbose=0)
    mean_field = dft.RKS(molecule, xc="b3pw91")
    mean_field.grids.level = 2
    density = Density.of(molecule, occupied_orbitals(mean_field.run()))
    potential = FittedPotential(density)
    found = surface_statistics(molecular_surface(density, spacing=0.25, potential=potential), density, potential)
    assert found.maxima[0].value_kcal_mol == pytest.approx(highest, abs=0.05)
    assert found.minima[0].value_kcal_mol == pytest.approx(lowest, abs=0.05)
    assert found.mean == pytest.approx(published["mean"], abs=0.02)
    for quantity, tolerance in (
        ("area", 1e-3),
        ("volume", 4e-3),
        ("average_deviation", 5e-3),
        ("variance_total", 1e-2),
    ):
        assert getattr(found, quantity) == pytest.approx(published[quantity], rel=tolerance), quantity


def test_published_phenol() -> None:
    """B3PW91/6-31G(d,p), Multiwfn's manual, section 4.12.1: all eight extrema within 0.2 kcal/mol, and the statistics.

    The geometry of the publication is not given; this one is of B3P86/6-31+G(d,p). The exchange is fitted here.
    """
    from pyscf import dft, gto

    atoms = [
        ("O", (2.416, 0.4104, -0.4901)),
        ("C", (1.0949, 0.1898, -0.2221)),
        ("C", (0.2689, 1.3129, -0.1119)),
        ("C", (-1.0873, 1.1456, 0.1607)),
        ("C", (-1.6314, -0.1319, 0.3252)),
        ("C", (-0.7991, -1.2464, 0.2134)),
        ("C", (0.5618, -1.093, -0.0595)),
        ("H", (2.8834, -0.4326, -0.5435)),
        ("H", (0.7041, 2.3004, -0.2419)),
        ("H", (-1.7246, 2.0235, 0.2454)),
        ("H", (-2.6903, -0.2559, 0.5379)),
        ("H", (-1.2064, -2.2475, 0.3385)),
        ("H", (1.2069, -1.9676, -0.1458)),
    ]
    molecule = gto.M(atom=atoms, basis="6-31g(d,p)", cart=True, verbose=0)
    mean_field = dft.RKS(molecule, xc="b3pw91").density_fit(auxbasis="def2-universal-jkfit")
    mean_field.grids.level = 1
    density = Density.of(molecule, occupied_orbitals(mean_field.run(conv_tol=1e-7)))
    potential = FittedPotential(density)
    found = surface_statistics(molecular_surface(density, potential=potential), density, potential)
    highest, lowest = ([p.value_kcal_mol for p in points] for points in (found.maxima, found.minima))
    assert highest == pytest.approx([53.8116, 14.2780, 12.4255, 12.1463, 9.9373], abs=0.2)
    assert lowest == pytest.approx([-25.8534, -19.1128, -19.1124], abs=0.2)
    assert [p.atom for p in found.maxima[:1] + found.minima[:1]] == [7, 0]
    published = {
        "area": (133.3095, 0.3),
        "positive_area": (64.7123, 0.3),
        "negative_area": (68.5972, 0.3),
        "volume": (123.8395, 0.5),
        "mean": (-0.1270, 0.05),
        "mean_positive": (11.7815, 0.1),
        "mean_negative": (-11.3610, 0.1),
        "average_deviation": (11.5618, 0.1),
        "variance_positive": (122.4664, 1.0),
        "variance_negative": (40.8752, 1.0),
        "balance": (0.18762, 0.003),
    }
    for quantity, (value, tolerance) in published.items():
        assert getattr(found, quantity) == pytest.approx(value, abs=tolerance), quantity
