"""The electrostatic potential on the molecular surface: its averages, variances and extrema.

Averages and variances after P. Politzer and J. S. Murray (J. S. Murray, T. Brinck, P. Lane, K. Paulsen, P. Politzer,
J. Mol. Struct. THEOCHEM 307, 55 (1994)); every triangle counts with its area and the mean of its corners, as in
F. A. Bulat et al., J. Mol. Model. 16, 1679 (2010).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import OrbitalDensity
from alkaflow.analysis.isosurface import IntArray, find_isosurface, nearest_atoms, project, signed_volumes
from alkaflow.analysis.potential import FittedPotential, exact_potential
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL

PROMINENCE_KCAL_MOL = 0.1
"""How far the potential has to fall (rise) from an extremum before it rises (falls) to a stronger one [kcal/mol]."""

SEPARATION_ANGSTROM = 0.5
"""Of two extrema nearer than this the weaker one is left out [Angstrom]."""

_STENCIL = 0.1  # bohr between the points of which slopes and curvatures of the potential are made
_LONGEST_STEP = 0.3  # of the search along the surface [bohr]
_SHORTEST_STEP = 1e-3  # at which it ends [bohr]
_ROUNDS = 30
_REACH = 12.0  # to both sides of a site, on the line along which its surface point is sought [bohr]

Potential = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class SurfaceMesh:
    """A closed surface of triangles with the potential on it.

    Attributes
    ----------
    vertices
        Points on the surface [bohr], shape=(n, 3).
    faces
        Corners of every triangle, counter-clockwise from outside, shape=(m, 3).
    normals
        Outward unit vectors at the vertices, shape=(n, 3).
    potential
        At the vertices [Hartree/e], shape=(n,).
    nearest_atom
        Number, from 0, of the atom with the smallest distance over its van der Waals radius, shape=(n,).
    isovalue
        Electron density on the surface [e/bohr^3].
    """

    vertices: FloatArray = field(repr=False)
    faces: IntArray = field(repr=False)
    normals: FloatArray = field(repr=False)
    potential: FloatArray = field(repr=False)
    nearest_atom: IntArray = field(repr=False)
    isovalue: float = 0.001


@dataclass(frozen=True)
class SurfacePoint:
    """The potential at a point of the surface; ``atom`` (number from 0) is the nearest one as `SurfaceMesh` has it."""

    value_kcal_mol: float
    position_angstrom: tuple[float, float, float]
    atom: int


@dataclass(frozen=True)
class SurfaceStatistics:
    """What the potential on a surface is like; areas [Angstrom^2], volume [Angstrom^3], potentials [kcal/mol].

    A positive (negative) part is where the potential is above (below) 0; where there is none, its mean is None and its
    variance 0. ``average_deviation`` is Pi, the mean of |V - mean|. Variances [(kcal/mol)^2] are about the means of the
    positive and negative parts, ``variance_total`` is their sum and ``balance`` nu their product over its square, at
    most 1/4. ``maxima`` and ``minima`` begin with the strongest.
    """

    area: float
    positive_area: float
    negative_area: float
    volume: float
    mean: float
    mean_positive: float | None
    mean_negative: float | None
    average_deviation: float
    variance_positive: float
    variance_negative: float
    variance_total: float
    balance: float
    maxima: list[SurfacePoint]
    minima: list[SurfacePoint]


def molecular_surface(
    density: Density, isovalue: float = 0.001, spacing: float = 0.3, potential: Potential | None = None
) -> SurfaceMesh:
    """Find the surface of a density and the potential on it.

    Parameters
    ----------
    density
        Nuclei and electrons.
    isovalue
        Electron density on the surface [e/bohr^3].
    spacing
        About the lengths of the triangles' sides [bohr].
    potential
        A function of points with shape=(n, 3) [bohr] that gives V [Hartree/e]; by default `FittedPotential`.

    Raises
    ------
    BadInputError, CalculationError
        As `find_isosurface` and `FittedPotential`.
    """
    surface = find_isosurface(density, isovalue, spacing)
    values = (potential or FittedPotential(density))(surface.vertices)
    return SurfaceMesh(surface.vertices, surface.faces, surface.normals, values, surface.nearest_atom, isovalue)


def surface_statistics(
    mesh: SurfaceMesh, density: Density | None = None, potential: Potential | None = None
) -> SurfaceStatistics:
    """Averages, variances and extrema of the potential on a surface.

    Parameters
    ----------
    mesh
        The surface.
    density
        That the surface is of. With it the extrema are sought along the surface itself and have the exact potential;
        without it they are vertices.
    potential
        To seek them with; by default `FittedPotential`.
    """
    areas = triangle_areas(mesh.vertices, mesh.faces) * BOHR_ANGSTROM**2
    values = mesh.potential[mesh.faces].mean(axis=1) * HARTREE_KCAL_MOL
    mean = float(np.average(values, weights=areas))
    positive, negative = _Part.of(values, areas, values > 0), _Part.of(values, areas, values < 0)
    total = positive.variance + negative.variance
    if density is not None and potential is None:
        potential = FittedPotential(density)
    maxima, minima = (_extrema(mesh, sign, density, potential) for sign in (1.0, -1.0))
    return SurfaceStatistics(
        area=float(areas.sum()),
        positive_area=positive.area,
        negative_area=negative.area,
        volume=float(signed_volumes(mesh.vertices, mesh.faces).sum()) * BOHR_ANGSTROM**3,
        mean=mean,
        mean_positive=positive.mean,
        mean_negative=negative.mean,
        average_deviation=float(np.average(np.abs(values - mean), weights=areas)),
        variance_positive=positive.variance,
        variance_negative=negative.variance,
        variance_total=total,
        balance=positive.variance * negative.variance / total**2 if total else 0.0,
        maxima=maxima,
        minima=minima,
    )


def site_values(
    density: Density,
    positions_angstrom: FloatArray,
    outward: FloatArray,
    isovalue: float = 0.001,
    potential: Potential | None = None,
) -> list[SurfacePoint]:
    """The potential where the lines through sites leave the surface outwards.

    Parameters
    ----------
    density
        Of the host.
    positions_angstrom
        Of the sites, inside or outside the surface, shape=(n, 3) [Angstrom].
    outward
        Directions, shape=(n, 3), of any length.
    isovalue
        Electron density on the surface [e/bohr^3].
    potential
        By default the exact one.

    Raises
    ------
    BadInputError
        A direction is zero, or its line does not meet the surface.
    """
    centres = np.asarray(positions_angstrom, float).reshape(-1, 3) / BOHR_ANGSTROM
    directions = np.asarray(outward, float).reshape(-1, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if len(directions) != len(centres) or not np.all(lengths > 0):
        raise BadInputError("every site needs a direction that is not zero")
    directions = directions / lengths[:, None]
    electrons = OrbitalDensity(density)
    places = np.linspace(-_REACH, _REACH, 241)
    line = centres[:, None] + places[:, None] * directions[:, None]
    inside = (electrons.values(line.reshape(-1, 3)) >= isovalue).reshape(line.shape[:2])
    for number in np.flatnonzero(~inside.any(axis=1) | inside[:, -1]):
        raise BadInputError(
            f"the line through site {number} does not leave a surface of {isovalue} e/bohr^3 within "
            f"{_REACH * BOHR_ANGSTROM:.1f} Angstrom; check its position and direction"
        )
    last = len(places) - 1 - np.argmax(inside[:, ::-1], axis=1)
    low, high = places[last], places[last + 1]
    for _ in range(40):
        middle = (low + high) / 2
        within = electrons.values(centres + middle[:, None] * directions) >= isovalue
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return _described(density, centres + low[:, None] * directions, potential)


def triangle_areas(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Areas of triangles, shape=(m,), in the unit of the vertices squared."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


@dataclass(frozen=True)
class _Part:
    """The triangles of one sign."""

    area: float
    mean: float | None
    variance: float

    @classmethod
    def of(cls, values: FloatArray, areas: FloatArray, chosen: FloatArray) -> "_Part":
        if not chosen.any():
            return cls(0.0, None, 0.0)
        values, areas = values[chosen], areas[chosen]
        mean = float(np.average(values, weights=areas))
        return cls(float(areas.sum()), mean, float(np.average((values - mean) ** 2, weights=areas)))


def _described(density: Density, points: FloatArray, potential: Potential | None) -> list[SurfacePoint]:
    values = potential(points) if potential is not None else exact_potential(density, points)
    atoms = nearest_atoms(density.molecule, points)
    return [_point(*each) for each in zip(values, points, atoms, strict=True)]


def _point(value: float, position: FloatArray, atom: int) -> SurfacePoint:
    x, y, z = (float(each) * BOHR_ANGSTROM for each in position)
    return SurfacePoint(float(value) * HARTREE_KCAL_MOL, (x, y, z), int(atom))


def _extrema(
    mesh: SurfaceMesh, sign: float, density: Density | None, potential: Potential | None
) -> list[SurfacePoint]:
    """Maxima (sign 1) or minima (sign -1), strongest first, no two of them near each other."""
    prominences = peak_prominences(sign * mesh.potential, mesh.faces)
    vertices = [vertex for vertex, rise in prominences.items() if rise * HARTREE_KCAL_MOL > PROMINENCE_KCAL_MOL]
    if not vertices:
        return []
    if density is not None and potential is not None:
        found = _climb(mesh.vertices[vertices], sign, density, potential, mesh.isovalue)
        points = _described(density, found, None)
    else:
        rows = zip(mesh.potential[vertices], mesh.vertices[vertices], mesh.nearest_atom[vertices], strict=True)
        points = [_point(*row) for row in rows]
    points.sort(key=lambda point: -sign * point.value_kcal_mol)
    kept: list[SurfacePoint] = []
    for point in points:
        place = np.array(point.position_angstrom)
        if all(np.linalg.norm(place - other.position_angstrom) > SEPARATION_ANGSTROM for other in kept):
            kept.append(point)
    return kept


def peak_prominences(values: FloatArray, faces: IntArray) -> dict[int, float]:
    """Vertices higher than all their neighbours, and how far one has to descend from each to reach a higher one.

    From the highest of a piece of the surface it is the way down to its lowest vertex. Vertices are taken from the
    highest to the lowest; each joins the peaks it touches, and there the lower ones of these end.
    """
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.vstack([edges, edges[:, ::-1]])
    edges = edges[np.argsort(edges[:, 0], kind="stable")]
    starts = np.searchsorted(edges[:, 0], np.arange(len(values) + 1))
    height, targets = values.tolist(), edges[:, 1].tolist()
    peak: dict[int, int] = {}  # of every vertex met, one nearer to its peak

    def top(vertex: int) -> int:
        while peak[vertex] != vertex:
            peak[vertex] = peak[peak[vertex]]
            vertex = peak[vertex]
        return vertex

    found: dict[int, float] = {}
    lowest: dict[int, float] = {}
    for vertex in np.argsort(-values, kind="stable").tolist():
        touched = {top(other) for other in targets[starts[vertex] : starts[vertex + 1]] if other in peak}
        highest = max(touched, key=lambda each: height[each], default=vertex)
        peak[vertex] = highest
        lowest[highest] = height[vertex]
        for other in touched - {highest}:
            peak[other] = highest
            found[other] = height[other] - height[vertex]
            del lowest[other]
    return found | {vertex: height[vertex] - bottom for vertex, bottom in lowest.items()}


def _climb(points: FloatArray, sign: float, density: Density, potential: Potential, isovalue: float) -> FloatArray:
    """Follow sign * V along the surface up to its maxima, by Newton's steps from a parabola through nine points."""
    electrons = OrbitalDensity(density)
    points, normals = project(electrons, points, isovalue)
    values = sign * potential(points)
    longest = np.full(len(points), _LONGEST_STEP)
    active = np.arange(len(points))
    for _ in range(_ROUNDS):
        steps = _newton_steps(electrons, points[active], normals[active], sign, potential, isovalue)
        lengths = np.linalg.norm(steps, axis=1)
        steps *= np.minimum(1.0, longest[active] / np.maximum(lengths, 1e-300))[:, None]
        trial, trial_normals = project(electrons, points[active] + steps, isovalue)
        trial_values = sign * potential(trial)
        better = trial_values >= values[active]
        moved = active[better]
        points[moved], normals[moved], values[moved] = trial[better], trial_normals[better], trial_values[better]
        longest[active[~better]] *= 0.25
        active = active[(lengths > _SHORTEST_STEP) & (longest[active] > _SHORTEST_STEP)]
        if not len(active):
            break
    return points


def _newton_steps(
    electrons: OrbitalDensity,
    points: FloatArray,
    normals: FloatArray,
    sign: float,
    potential: Potential,
    isovalue: float,
) -> FloatArray:
    """Steps in the tangent planes towards maxima of sign * V, shape=(n, 3)."""
    helper = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1)[:, None]
    second = np.cross(normals, first)
    tangents = np.stack([first, second], axis=1)
    pattern = _STENCIL * np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    around = points[:, None] + pattern @ tangents
    around = project(electrons, around.reshape(-1, 3), isovalue)[0]
    values = sign * potential(around).reshape(len(points), 9)
    a, b = np.moveaxis((around.reshape(len(points), 9, 3) - points[:, None]) @ tangents.swapaxes(1, 2), 2, 0)
    terms = np.stack([np.ones_like(a), a, b, a * a / 2, a * b, b * b / 2], axis=2)
    _, slope_a, slope_b, aa, ab, bb = (np.linalg.pinv(terms) @ values[:, :, None])[:, :, 0].T
    curvatures, axes = np.linalg.eigh(np.stack([aa, ab, ab, bb], axis=1).reshape(-1, 2, 2))
    slopes = (np.stack([slope_a, slope_b], axis=1)[:, None] @ axes)[:, 0]
    downward = np.minimum(curvatures, -1e-6)  # uphill where the parabola has no maximum
    steps = np.where(curvatures < -1e-6, -slopes / downward, np.sign(slopes) * _LONGEST_STEP)
    return np.asarray((steps[:, None] @ axes.swapaxes(1, 2) @ tangents)[:, 0])
