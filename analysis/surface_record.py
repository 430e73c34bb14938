"""A surface with the potential on it, to and from what a record and its file hold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.surface import SurfaceMesh, SurfacePoint, SurfaceStatistics
from alkaflow.records import Surface, SurfaceExtremum
from alkaflow.structures import FloatArray
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL

# What is kept of a mesh: seven digits of places and potentials, three of directions.
_KINDS = {
    "vertices": np.float32,
    "faces": np.int32,
    "normals": np.float16,
    "potential": np.float32,
    "nearest_atom": np.int16,
}


@dataclass(frozen=True)
class SurfaceMark:
    """An extremum as pictures take it: position [bohr], shape=(3,), potential [Hartree/e], and which of both it is."""

    position: FloatArray
    potential: float
    kind: str


def surface_of(found: SurfaceStatistics, isovalue: float, fit_error: float | None) -> Surface:
    """What a record holds of a surface.

    Parameters
    ----------
    found
        Areas, averages and extrema.
    isovalue
        Electron density there [e/bohr^3].
    fit_error
        Largest deviation of its potential from the exact one [kcal/mol].
    """
    return Surface(
        isovalue=isovalue,
        area_angstrom2=found.area,
        volume_angstrom3=found.volume,
        positive_area_angstrom2=found.positive_area,
        negative_area_angstrom2=found.negative_area,
        mean_kcal_mol=found.mean,
        mean_positive_kcal_mol=found.mean_positive,
        mean_negative_kcal_mol=found.mean_negative,
        average_deviation_kcal_mol=found.average_deviation,
        variance_positive=found.variance_positive,
        variance_negative=found.variance_negative,
        variance=found.variance_total,
        balance=found.balance,
        v_s_max=[_extremum(point) for point in found.maxima],
        v_s_min=[_extremum(point) for point in found.minima],
        fit_error_kcal_mol=fit_error,
    )


def arrays_of_mesh(mesh: SurfaceMesh) -> dict[str, NDArray[np.generic]]:
    """The arrays of a surface by name, as the file of a record keeps them [bohr, Hartree/e]."""
    return {name: np.asarray(getattr(mesh, name)).astype(kind) for name, kind in _KINDS.items()}


def mesh_of_arrays(arrays: Mapping[str, NDArray[np.generic]], isovalue: float) -> SurfaceMesh | None:
    """The surface that a file keeps; None where it holds none.

    Parameters
    ----------
    arrays
        By name, as `arrays_of_mesh` has them.
    isovalue
        Electron density on it [e/bohr^3].
    """
    if not all(name in arrays for name in _KINDS):
        return None
    vertices, normals, potential = (np.asarray(arrays[name], float) for name in ("vertices", "normals", "potential"))
    faces, nearest = (np.asarray(arrays[name], np.int64) for name in ("faces", "nearest_atom"))
    return SurfaceMesh(vertices, faces, normals, potential, nearest, isovalue)


def marks_of_surface(surface: Surface, most: int | None = None) -> list[SurfaceMark]:
    """The extrema of a surface for pictures: maxima, then minima; at most so many of either, the strongest."""
    kinds = ((surface.v_s_max, "maximum"), (surface.v_s_min, "minimum"))
    return [
        SurfaceMark(np.array(each.position_angstrom) / BOHR_ANGSTROM, each.value_kcal_mol / HARTREE_KCAL_MOL, kind)
        for extrema, kind in kinds
        for each in extrema[:most]
    ]


def _extremum(point: SurfacePoint) -> SurfaceExtremum:
    return SurfaceExtremum(
        value_kcal_mol=point.value_kcal_mol, position_angstrom=point.position_angstrom, atom=point.atom
    )
