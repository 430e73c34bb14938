"""Which colour is which potential, in pictures and in views, and what that means in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.plot_style import SIGNED_MAP, signed
from alkaflow.errors import BadInputError
from alkaflow.structures.structure import FloatArray
from alkaflow.units import HARTREE_KCAL_MOL

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

ISOVALUE = 0.001
"""Density of the surface of a molecule [e/bohr^3] (Bader et al., https://doi.org/10.1021/ja00260a006)."""


class Mesh(Protocol):
    """A triangulated surface with the potential on it.

    Whatever has these attributes is one.
    """

    @property
    def vertices(self) -> FloatArray:
        """Places [bohr], shape=(n, 3)."""
        ...

    @property
    def faces(self) -> NDArray[np.integer]:
        """Vertices of each triangle, shape=(m, 3)."""
        ...

    @property
    def normals(self) -> FloatArray:
        """Outward, of unit length, shape=(n, 3)."""
        ...

    @property
    def potential(self) -> FloatArray:
        """At the vertices [Hartree/e], shape=(n,)."""
        ...


class Extremum(Protocol):
    """A local extremum on a surface; may have a ``kind``, "maximum" or "minimum"."""

    @property
    def position(self) -> FloatArray:
        """Place [bohr], shape=(3,)."""
        ...

    @property
    def potential(self) -> float:
        """There [Hartree/e]."""
        ...


@dataclass(frozen=True)
class Mark:
    """A local extremum on a surface: position [bohr] and potential [Hartree/e]."""

    position: FloatArray
    potential: float
    maximum: bool

    @property
    def text(self) -> str:
        """The potential for people [kcal/mol]."""
        return signed(self.potential * HARTREE_KCAL_MOL, 1)


@dataclass(frozen=True)
class PotentialScale:
    """Colours of potentials between two limits [kcal/mol].

    Where zero lies between them it is white, red is negative and blue positive. Where it does not, red is the lower end
    and blue the upper one, and `words` says so.
    """

    low: float
    high: float

    @property
    def has_both_signs(self) -> bool:
        """Whether zero lies within the limits."""
        return self.low < 0.0 < self.high

    @cached_property
    def norm(self) -> "Normalize":
        """From kcal/mol to the places on the map, zero in its middle where both signs are there."""
        from matplotlib.colors import Normalize, TwoSlopeNorm

        return TwoSlopeNorm(0.0, self.low, self.high) if self.has_both_signs else Normalize(self.low, self.high)

    @cached_property
    def colours(self) -> "Colormap":
        """The map of matplotlib."""
        from matplotlib import colormaps

        return colormaps[SIGNED_MAP]

    def colours_of(self, potential: FloatArray) -> FloatArray:
        """Red, green and blue from 0 to 1 of potentials [Hartree/e], shape=(n, 3)."""
        places = np.clip(np.asarray(self.norm(np.asarray(potential) * HARTREE_KCAL_MOL), dtype=float), 0.0, 1.0)
        colours: FloatArray = np.asarray(self.colours(places))[..., :3]
        return colours

    @property
    def words(self) -> str:
        """Which colour is which sign."""
        if self.has_both_signs:
            return "red: negative, attracts cations; white: zero; blue: positive, attracts anions"
        if self.high <= 0.0:
            return "negative everywhere on this scale; red: most negative, blue: least negative"
        return "positive everywhere on this scale; red: least positive, blue: most positive"


def common_limits(meshes: Iterable[Mesh]) -> tuple[float, float]:
    """Limits for the same colours on several surfaces [kcal/mol].

    As far from zero on both sides where a surface has both signs, so that zero is white and one step of potential is
    one step of colour; the extremes themselves where all potentials have one sign.

    Raises
    ------
    BadInputError
        There is no surface, or a potential is not finite.
    """
    values = [np.asarray(mesh.potential, dtype=float) * HARTREE_KCAL_MOL for mesh in meshes]
    if not values or any(len(each) == 0 for each in values):
        raise BadInputError("no surface to find limits of the potential for")
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    if not np.isfinite([low, high]).all():
        raise BadInputError("the potential on a surface is not finite")
    if low < 0.0 < high:
        reach = max(-low, high)
        low, high = -reach, reach
    step = 1.0 if high - low > 10.0 else 0.1
    low, high = float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
    return (low, high) if high > low else (low - step, high + step)


def scale_for(mesh: Mesh, limits: tuple[float, float] | None) -> PotentialScale:
    """The scale between limits [kcal/mol], or for a surface alone; raise BadInputError where they are none."""
    low, high = common_limits([mesh]) if limits is None else limits
    if not (np.isfinite([low, high]).all() and low < high):
        raise BadInputError(f"limits of a potential ascend, {low} and {high} kcal/mol do not")
    return PotentialScale(float(low), float(high))


def marks_of(mesh: Mesh, extrema: Sequence[Extremum]) -> list[Mark]:
    """The extrema of a surface, the largest and the smallest first; where none are given, those of its vertices.

    One with a ``kind`` is taken for what it says ("maximum", "minimum"); another one is a maximum where its potential
    is nearer to the largest on the surface than to the smallest.
    """
    potential = np.asarray(mesh.potential, dtype=float)
    top, bottom = int(potential.argmax()), int(potential.argmin())
    if not extrema:
        return [
            Mark(np.asarray(mesh.vertices[top], dtype=float), float(potential[top]), maximum=True),
            Mark(np.asarray(mesh.vertices[bottom], dtype=float), float(potential[bottom]), maximum=False),
        ]
    middle = (potential[top] + potential[bottom]) / 2
    marks = []
    for each in extrema:
        kind = str(getattr(each, "kind", "")) or ("maximum" if each.potential > middle else "minimum")
        marks.append(Mark(np.asarray(each.position, dtype=float), float(each.potential), kind.startswith("max")))
    highest = sorted((mark for mark in marks if mark.maximum), key=lambda mark: -mark.potential)
    lowest = sorted((mark for mark in marks if not mark.maximum), key=lambda mark: mark.potential)
    return [*highest[:1], *lowest[:1], *highest[1:], *lowest[1:]]


def mark_names(marks: Sequence[Mark]) -> list[str]:
    """Texts of marks: the largest and the smallest are called by their names, the others have the number alone."""
    tops = [mark.potential for mark in marks if mark.maximum]
    bottoms = [mark.potential for mark in marks if not mark.maximum]
    names = []
    for mark in marks:
        if mark.maximum and mark.potential == max(tops):
            names.append(f"V_S,max {mark.text}")
        elif not mark.maximum and mark.potential == min(bottoms):
            names.append(f"V_S,min {mark.text}")
        else:
            names.append(mark.text)
    return names
