"""Charges by all schemes and the electrostatic potential on the molecular surface, from a density."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.analysis.populations import atomic_charges
from alkaflow.analysis.potential import FittedPotential
from alkaflow.analysis.surface import (
    SurfaceMesh,
    SurfacePoint,
    SurfaceStatistics,
    molecular_surface,
    surface_statistics,
)
from alkaflow.records import Charges, Surface, SurfaceExtremum
from alkaflow.structures import FloatArray
from alkaflow.units import HARTREE_KCAL_MOL

MESH_SPACING = 0.4
"""About the sides of the triangles of a surface that is kept [bohr]; extrema do not depend on it."""

_SAMPLE = 200  # points of the surface at which the fitted potential is compared with the exact one

Report = Callable[[str], None]


@dataclass(frozen=True)
class Described:
    """What a density says; the surface as arrays [bohr, Hartree/e]; wall times by part [s]."""

    charges: Charges
    surface: Surface
    mesh: SurfaceMesh
    seconds: dict[str, float]

    @property
    def arrays(self) -> dict[str, Any]:
        """The surface as it is kept, to seven digits."""
        mesh = self.mesh
        return {
            "vertices": mesh.vertices.astype(np.float32),
            "faces": mesh.faces.astype(np.int32),
            "normals": mesh.normals.astype(np.float16),
            "potential": mesh.potential.astype(np.float32),
            "nearest_atom": mesh.nearest_atom.astype(np.int16),
        }


def describe_density(density: Density, report: Report | None = None) -> Described:
    """Charges by all possible schemes, the surface of 0.001 e/bohr^3 and the potential on it.

    Parameters
    ----------
    density
        Nuclei and electrons.
    report
        Told what is computed, in a few words.

    Raises
    ------
    BadInputError
        The auxiliary functions of the potential lack an element.
    """
    say = report or (lambda _: None)
    begin = time.monotonic()
    potential = FittedPotential(density)
    charges = atomic_charges(density, potential=potential, progress=lambda name: say(f"charges, {name}"))
    charged = time.monotonic()
    surface, mesh = describe_surface(density, potential, say)
    seconds = {"charges": charged - begin, "surface": time.monotonic() - charged}
    return Described(charges, surface, mesh, seconds)


def describe_surface(
    density: Density, potential: FittedPotential, report: Report | None = None
) -> tuple[Surface, SurfaceMesh]:
    """The surface of 0.001 e/bohr^3 with the potential on it, and what records hold of that."""
    if report:
        report("potential on the surface")
    mesh = molecular_surface(density, spacing=MESH_SPACING, potential=potential)
    found = surface_statistics(mesh, density, potential)
    error = potential.estimate_error(_sample(mesh.vertices)).maximum * HARTREE_KCAL_MOL
    return surface_of(found, mesh.isovalue, error), mesh


def surface_of(found: SurfaceStatistics, isovalue: float, fit_error: float | None) -> Surface:
    """What a record holds of a surface; the error of its potential in kcal/mol."""
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


def mesh_from_arrays(arrays: Any, isovalue: float) -> SurfaceMesh:
    """The surface that a record of the step properties keeps.

    Parameters
    ----------
    arrays
        By name, as `Described.arrays` has them.
    isovalue
        Electron density on it [e/bohr^3].
    """
    return SurfaceMesh(
        np.asarray(arrays["vertices"], float),
        np.asarray(arrays["faces"], np.int64),
        np.asarray(arrays["normals"], float),
        np.asarray(arrays["potential"], float),
        np.asarray(arrays["nearest_atom"], np.int64),
        isovalue,
    )


def _sample(vertices: FloatArray) -> FloatArray:
    """Some points of a surface, evenly out of their order."""
    return vertices[:: max(1, len(vertices) // _SAMPLE)]


def _extremum(point: SurfacePoint) -> SurfaceExtremum:
    return SurfaceExtremum(
        value_kcal_mol=point.value_kcal_mol, position_angstrom=point.position_angstrom, atom=point.atom
    )
