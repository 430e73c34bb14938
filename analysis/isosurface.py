"""The closed surface on which the electron density has one value, as triangles.

The density is sampled on a regular box, its logarithm interpolated to half the spacing and cut by marching cubes
(T. Lewiner et al., J. Graph. Tools 8, 1 (2003)); the vertices are then moved along the gradient onto the value itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box, OrbitalDensity
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.structures import FloatArray
from alkaflow.units import BOHR_ANGSTROM

_MARGIN = 6.0  # between the outer nuclei and the box, at first [bohr]
_LARGER = 4.0  # bohr by which the margin grows where the box cuts the surface
_LARGEST_MARGIN = 30.0  # [bohr]
_SOFTENING = 3.0  # of the logarithm away from the value, so that nuclei do not disturb the interpolation
_NEWTON_STEPS = 8
_TOLERANCE = 1e-6  # of the density on vertices, relative
_LONGEST_STEP = 0.3  # of a vertex [bohr]
_OTHER_RADIUS = 2.0  # van der Waals radius where none is known [Angstrom]

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Isosurface:
    """Triangles around the electrons, counter-clockwise from outside.

    ``vertices`` [bohr] and outward unit ``normals`` have shape=(n, 3), ``faces`` shape=(m, 3); ``nearest_atom`` with
    shape=(n,) is the atom (number from 0) whose distance over its van der Waals radius is smallest.
    """

    vertices: FloatArray
    faces: IntArray
    normals: FloatArray
    nearest_atom: IntArray
    isovalue: float


def find_isosurface(density: Density, isovalue: float = 0.001, spacing: float = 0.3) -> Isosurface:
    """Find the outer surface of a density; surfaces of cavities inside it are left out.

    Parameters
    ----------
    density
        Of which.
    isovalue
        The density on it [e/bohr^3]; 0.001 after R. F. W. Bader et al., J. Am. Chem. Soc. 109, 7968 (1987).
    spacing
        Of the points that the surface is cut from [bohr]; about the lengths of the triangles' sides.

    Raises
    ------
    BadInputError
        Isovalue or spacing make no sense.
    CalculationError
        The density does not fall below the isovalue anywhere near, or a vertex finds no place.
    """
    if not 0 < isovalue < 1 or not 0 < spacing <= 1:
        raise BadInputError(
            f"an isosurface needs an isovalue between 0 and 1 e/bohr^3 and a spacing of at most 1 bohr, not {isovalue} "
            f"and {spacing}"
        )
    electrons = OrbitalDensity(density)
    centres = np.asarray(density.molecule.atom_coords())
    margin = _MARGIN
    while True:
        coarse = Box.around(centres, margin, 2 * spacing)
        samples = coarse.fill(electrons.values)
        if not cuts(samples, isovalue):
            break
        margin += _LARGER
        if margin > _LARGEST_MARGIN:
            raise CalculationError(
                "engine_crashed",
                f"the density is above {isovalue} e/bohr^3 still {margin - _LARGER:.0f} bohr from the nuclei; take a "
                "larger isovalue",
            )
    vertices, faces = triangulate(samples, coarse, isovalue)
    vertices, normals = project(electrons, vertices, isovalue)
    return Isosurface(vertices, faces, normals, nearest_atoms(density.molecule, vertices), isovalue)


def cuts(samples: FloatArray, isovalue: float) -> bool:
    """Whether the faces of a box of samples cut the surface of an isovalue."""
    edges = [samples[[0, -1]], samples[:, [0, -1]], samples[:, :, [0, -1]]]
    return bool(max(float(edge.max()) for edge in edges) >= isovalue)


def triangulate(samples: FloatArray, box: Box, isovalue: float) -> tuple[FloatArray, IntArray]:
    """Vertices [bohr] and faces of the surface in a box, at half the spacing of its samples.

    Parameters
    ----------
    samples
        The density at the points of the box [e/bohr^3].
    box
        Where they are.
    isovalue
        Of the surface [e/bohr^3].

    Raises
    ------
    BadInputError
        The box cuts the surface, or holds none.
    """
    from scipy.ndimage import zoom
    from skimage.measure import marching_cubes

    if cuts(samples, isovalue):
        raise BadInputError(f"the box cuts the surface of {isovalue} e/bohr^3; make the box larger")
    if samples.max() <= isovalue:
        raise BadInputError(f"the density is nowhere above {isovalue} e/bohr^3; take a smaller isovalue")
    logarithms = np.log(np.maximum(samples, 1e-30) / isovalue)
    counts = [2 * count - 1 for count in box.shape]
    fine = zoom(np.tanh(logarithms / _SOFTENING), [c / s for c, s in zip(counts, box.shape, strict=True)], order=3)
    steps = tuple(step / 2 for step in box.spacing)
    vertices, faces, _, _ = marching_cubes(fine, 0.0, spacing=steps, gradient_direction="ascent")
    vertices, faces = vertices.astype(float) + np.array(box.origin), faces.astype(np.int64)
    return _outer(vertices, faces)


def _outer(vertices: FloatArray, faces: IntArray) -> tuple[FloatArray, IntArray]:
    """The closed pieces that have an inside; those that are turned outside in are cavities."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(faces))
    edges = coo_matrix((ones, (faces[:, 0], faces[:, 1])), shape=(len(vertices),) * 2)
    edges = edges + coo_matrix((ones, (faces[:, 1], faces[:, 2])), shape=(len(vertices),) * 2)
    _, piece = connected_components(edges, directed=False)
    volumes = np.bincount(piece[faces[:, 0]], weights=signed_volumes(vertices, faces))
    kept = volumes[piece] > 0
    numbers = np.cumsum(kept) - 1
    return vertices[kept], numbers[faces[kept[faces[:, 0]]]]


def signed_volumes(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Volumes of the tetrahedra from the centre of the vertices to every face [bohr^3]; their sum is that inside."""
    a, b, c = np.moveaxis(vertices[faces] - vertices.mean(axis=0), 1, 0)
    return np.asarray(np.einsum("nx,nx->n", a, np.cross(b, c)) / 6)


def project(electrons: OrbitalDensity, points_bohr: FloatArray, isovalue: float) -> tuple[FloatArray, FloatArray]:
    """Move points near a surface along the gradient onto it; new points [bohr] and outward unit normals there.

    Newton's steps in the logarithm of the density, which falls almost linearly.

    Raises
    ------
    CalculationError
        A point does not get there.
    """
    points = np.array(points_bohr)
    normals = np.zeros_like(points)
    moving = np.arange(len(points))
    for _ in range(_NEWTON_STEPS):
        values, gradients = electrons.values_and_gradients(points[moving])
        slopes = np.linalg.norm(gradients, axis=1)
        directions = -gradients / np.maximum(slopes, 1e-300)[:, None]
        normals[moving] = directions
        lengths = values * np.log(np.maximum(values, 1e-300) / isovalue) / np.maximum(slopes, 1e-300)
        lacking = np.abs(values / isovalue - 1) > _TOLERANCE
        steps = np.clip(lengths, -_LONGEST_STEP, _LONGEST_STEP)[:, None] * directions
        points[moving[lacking]] += steps[lacking]
        moving = moving[lacking]
        if not len(moving):
            return points, normals
    raise CalculationError(
        "engine_crashed",
        f"{len(moving)} of {len(points)} points find no place on the surface of {isovalue} e/bohr^3; take a smaller "
        "spacing",
    )


def nearest_atoms(molecule: Any, points_bohr: FloatArray) -> IntArray:
    """Of each point the atom (number from 0) with the smallest distance over van der Waals radius; never a ghost."""
    best = np.full(len(points_bohr), np.inf)
    nearest = np.zeros(len(points_bohr), np.int64)
    for atom, (charge, centre) in enumerate(zip(molecule.atom_charges(), molecule.atom_coords(), strict=True)):
        if not charge:
            continue
        radius = van_der_waals_radius(molecule.atom_pure_symbol(atom))
        ratio = np.linalg.norm(points_bohr - centre, axis=1) / radius
        nearest[ratio < best] = atom
        best = np.minimum(best, ratio)
    return nearest


def van_der_waals_radius(symbol: str) -> float:
    """Radius [bohr] after A. Bondi, as ASE lists them, or 2 Angstrom where there is none."""
    from ase.data import atomic_numbers, vdw_radii

    radius = float(vdw_radii[atomic_numbers[symbol]])
    return (radius if np.isfinite(radius) else _OTHER_RADIUS) / BOHR_ANGSTROM
