"""Balls and sticks as flat shapes with a depth: what every drawing of a structure is made from.

Places are in a turned frame [Angstrom]: x to the right, y up, z towards the reader.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alkaflow.analysis.colours import element_colour
from alkaflow.structures.structure import FloatArray, Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline

STICK = 0.10
"""Radius of a bond [Angstrom]."""

LIGHT = np.array([-0.55, 0.83])
"""Where the light comes from, in the plane of the drawing."""

_LAYERS = ((60, 16), (200, 9), (10**9, 4))  # atoms up to which a ball has so many shades
_HAZE = 0.5  # white over the atom farthest behind

Colour = tuple[float, float, float, float]
"""Red, green, blue and opacity, each from 0 to 1."""


@dataclass(frozen=True)
class Shape:
    """A filled outline; shapes of greater depth are drawn later, in front."""

    depth: float
    outline: "Outline"
    face: Colour
    edge: Colour = (0.0, 0.0, 0.0, 0.0)
    width: float = 0.0


def atom_radii(structure: Structure) -> FloatArray:
    """Radii of the balls [Angstrom], shape=(n_atoms,)."""
    from ase.data import covalent_radii

    radii: FloatArray = 0.14 + 0.25 * covalent_radii[structure.numbers]
    return radii


def ball_shapes(
    structure: Structure, places: FloatArray, radii: FloatArray, colours: Sequence[str] | None = None
) -> Iterator[Shape]:
    """A ball is a stack of ever smaller and lighter discs that move towards the light.

    Parameters
    ----------
    places, radii
        [Angstrom], shape=(n_atoms, 3) and (n_atoms,).
    colours
        ``#rrggbb`` of every atom; those of the elements where there are none. Given ones are drawn as they are, without
        light spots and haze: they carry a value.
    """
    flat = colours is not None
    hazes = np.zeros(len(structure)) if flat else depth_haze(places)
    shades = 1 if flat else _layers(structure)
    for colour, place, radius, haze in zip(_colours(structure, colours), places, radii, hazes, strict=True):
        face = rgba(colour) if flat else _tone(colour, 0.0, haze)
        yield Shape(place[2], disc(place, radius), face, darkened(colour, haze), 0.7)
        for t in np.linspace(0.0, 1.0, shades, endpoint=False)[1:]:
            centre = place[:2] + LIGHT * (0.36 * t * radius)
            yield Shape(place[2], disc(centre, radius * (1 - t) * 0.97), _tone(colour, t, haze))


def stick_shapes(
    structure: Structure,
    bonds: Iterable[tuple[int, int]],
    places: FloatArray,
    radii: FloatArray,
    colours: Sequence[str] | None = None,
    most: int = 99,
) -> Iterator[Shape]:
    """Every bond is two halves, each in the colour of its atom, from the surface of the ball to the middle.

    Parameters
    ----------
    most
        Shades of a bond at the most.
    """
    hazes = depth_haze(places)
    shades = min(max(_layers(structure) // 2, 2), most)
    of_atoms = _colours(structure, colours)
    for bond in sorted(bonds):
        middle = places[list(bond)].mean(axis=0)
        for atom in bond:
            along = middle - places[atom]
            length = float(np.linalg.norm(along))
            start = places[atom] + along * min(0.92 * radii[atom] / length, 0.95)
            end = middle + along * (0.015 / length)
            depth = float((places[atom] + middle)[2] / 2)
            colour, slope = of_atoms[atom], along / length
            yield Shape(depth, strip(start, middle, slope, STICK * 1.17, 0.0), darkened(colour, hazes[atom]))
            for t in np.linspace(0.0, 1.0, shades, endpoint=False):
                outline = strip(start, end, slope, STICK * (1 - t), 0.35 * t * STICK)
                yield Shape(depth, outline, _tone(colour, t, hazes[atom]))


def draw_shapes(axes: "Axes", shapes: Iterable[Shape]) -> None:
    """Draw from the back to the front; shapes of one depth in their own order."""
    from matplotlib.collections import PathCollection

    ordered = sorted(shapes, key=lambda shape: shape.depth)
    axes.add_collection(
        PathCollection(
            [shape.outline for shape in ordered],
            facecolors=[shape.face for shape in ordered],
            edgecolors=[shape.edge for shape in ordered],
            linewidths=[shape.width for shape in ordered],
        ),
        autolim=False,
    )


def disc(centre: FloatArray, radius: float) -> "Outline":
    """Outline of a circle around the first two coordinates of its centre."""
    from matplotlib.path import Path as Outline

    circle = Outline.unit_circle()
    return Outline(np.asarray(circle.vertices) * radius + centre[:2], circle.codes)


def strip(start: FloatArray, end: FloatArray, slope: FloatArray, radius: float, shift: float) -> "Outline":
    """Outline of a cylinder, or of a strip within it that is moved towards the light; its far end is round."""
    from matplotlib.path import Path as Outline

    flat = float(np.hypot(slope[0], slope[1]))
    along = slope[:2] / flat if flat > 1e-6 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    offset = across * float(across @ LIGHT) * shift
    angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    bulge = radius * abs(float(slope[2]))
    cap = start[:2] + np.outer(np.cos(angles) * bulge, along) + np.outer(np.sin(angles) * radius, across)
    corners = np.vstack([end[:2] + across * radius, cap, end[:2] - across * radius, end[:2] + across * radius])
    return Outline(corners + offset, closed=True)


def dashes(
    start: FloatArray, end: FloatArray, colour: Colour, radius: float = 0.028, dash: float = 0.10
) -> list[Shape]:
    """A dashed line between two places, each dash at its own depth."""
    along = end - start
    length = float(np.linalg.norm(along))
    if length < dash:
        return []
    steps = np.arange(0.0, length, 2 * dash)
    ends = [(start + along * (at / length), start + along * (min(at + dash, length) / length)) for at in steps]
    return [Shape(float(a[2]), strip(a, b, along / length, radius, 0.0), colour) for a, b in ends]


def depth_haze(places: FloatArray) -> FloatArray:
    """How much white lies over each place, more the farther behind, shape=(n,)."""
    depth = places[:, 2].max() - places[:, 2]
    haze: FloatArray = _HAZE * depth / max(float(depth.max()), 9.0)
    return haze


def rgba(colour: str) -> Colour:
    """An opaque colour from ``#rrggbb``."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0


def mixed(colour: Colour, other: float, part: float) -> Colour:
    """Blend a colour with a grey level."""
    red, green, blue = (value + (other - value) * part for value in colour[:3])
    return red, green, blue, colour[3]


def darkened(colour: str, haze: float = 0.0) -> Colour:
    """The colour of an outline."""
    return mixed(mixed(rgba(colour), 0.0, 0.62), 1.0, float(haze))


def _tone(colour: str, t: float, haze: float) -> Colour:
    """The colour of a ball or stick between its rim (t=0) and its brightest point (t=1)."""
    base = rgba(colour)
    shaded = mixed(base, 0.0, 0.28 * (1 - t / 0.45)) if t < 0.45 else mixed(base, 1.0, 0.75 * (t - 0.45) / 0.55)
    return mixed(shaded, 1.0, float(haze))


def _colours(structure: Structure, colours: Sequence[str] | None) -> list[str]:
    return [element_colour(symbol) for symbol in structure.symbols] if colours is None else list(colours)


def _layers(structure: Structure) -> int:
    return next(count for atoms, count in _LAYERS if len(structure) <= atoms)
