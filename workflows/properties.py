"""Charges by all schemes and the electrostatic potential on the molecular surface, from a density."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alkaflow.analysis.density import Density
from alkaflow.analysis.populations import atomic_charges
from alkaflow.analysis.potential import FittedPotential
from alkaflow.analysis.surface import SurfaceMesh, molecular_surface, surface_statistics
from alkaflow.analysis.surface_record import arrays_of_mesh, surface_of
from alkaflow.records import Charges, Surface
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
        """The surface as its file keeps it."""
        return arrays_of_mesh(self.mesh)


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


def _sample(vertices: FloatArray) -> FloatArray:
    """Some points of a surface, evenly out of their order."""
    return vertices[:: max(1, len(vertices) // _SAMPLE)]
