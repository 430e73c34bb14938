"""A structure drawn with distances, and the view that other drawings of structures share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from alkaflow.analysis.balls import Shape, atom_radii, ball_shapes, darkened, dashes, draw_shapes, rgba, stick_shapes
from alkaflow.analysis.colours import element_colour
from alkaflow.analysis.plot_style import INK, MUTED, caption, new_figure, one_line, styled
from alkaflow.analysis.viewpoint import view_rotation
from alkaflow.errors import BadInputError
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray, Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGIN = 0.35  # around a drawing [Angstrom]
_LARGEST = (4.6, 4.2)  # of a drawing [inch]
_INCH_PER_ANGSTROM = 0.52  # of a small structure
_GREY_SHADES = 4  # of a bond between balls that carry values
_LEGEND = 0.26  # height of the key of the elements [inch]


@dataclass(frozen=True)
class View:
    """A structure turned so that most of it is seen.

    Lengths in Angstrom; ``places`` has shape=(n_atoms, 3), x to the right, y up, z towards the reader; ``low`` and
    ``high`` are the corners of the drawing.
    """

    structure: Structure
    rotation: FloatArray
    centre: FloatArray
    places: FloatArray
    radii: FloatArray
    bonds: frozenset[tuple[int, int]]
    low: FloatArray
    high: FloatArray

    def turned(self, points: FloatArray) -> FloatArray:
        """Turn points [Angstrom], shape=(n, 3), into the frame of the view."""
        turned: FloatArray = (np.asarray(points, dtype=float) - self.centre) @ self.rotation.T
        return turned

    def widened(self, points: FloatArray) -> "View":
        """The same view, with room for turned points."""
        low = np.minimum(self.low, points[:, :2].min(axis=0) - _MARGIN)
        high = np.maximum(self.high, points[:, :2].max(axis=0) + _MARGIN)
        return replace(self, low=low, high=high)

    def size(self, largest: tuple[float, float] = _LARGEST) -> tuple[float, float]:
        """Width and height of the drawing [inch] within the largest ones."""
        extent = self.high - self.low
        scale = min(_INCH_PER_ANGSTROM, largest[0] / extent[0], largest[1] / extent[1])
        return float(scale * extent[0]), float(scale * extent[1])


def view_of(structure: Structure, smallest: float = 0.0) -> View:
    """Turn a structure for drawing; no ball has a radius below the smallest [Angstrom]."""
    rotation, centre = view_rotation(structure), structure.positions.mean(axis=0)
    places, radii = (structure.positions - centre) @ rotation.T, np.maximum(atom_radii(structure), smallest)
    low = (places[:, :2] - radii[:, None]).min(axis=0) - _MARGIN
    high = (places[:, :2] + radii[:, None]).max(axis=0) + _MARGIN
    return View(structure, rotation, centre, places, radii, BondGraph(structure).bonds, low, high)


def prepare_axes(axes: "Axes", view: View) -> None:
    """Set axes to the corners of a view, both directions at one scale."""
    axes.set(xlim=(view.low[0], view.high[0]), ylim=(view.low[1], view.high[1]), aspect="equal")
    axes.set_axis_off()


def draw_structure(
    axes: "Axes",
    view: View,
    colours: Sequence[str] | None = None,
    tied: Iterable[tuple[int, int]] = (),
    sticks: Sequence[Shape] | None = None,
) -> None:
    """Draw balls and sticks, and dashed lines between pairs of atoms.

    Parameters
    ----------
    colours
        ``#rrggbb`` of the balls; those of the elements where there are none.
    sticks
        Made before, as `grey_sticks` does; in the colours of the elements where there are none.
    """
    tied = {(min(pair), max(pair)) for pair in tied}
    if sticks is None:
        sticks = list(stick_shapes(view.structure, sorted(view.bonds - tied), view.places, view.radii))
    balls = ball_shapes(view.structure, view.places, view.radii, colours)
    ties = [shape for i, j in sorted(tied) for shape in dashes(*_between(view, i, j), rgba(INK), 0.035, 0.13)]
    draw_shapes(axes, [*sticks, *balls, *ties])


def grey_sticks(view: View) -> list[Shape]:
    """The bonds of a structure whose balls carry values, for all drawings of it."""
    greys = ["#9a9a9a"] * len(view.structure)
    return list(stick_shapes(view.structure, sorted(view.bonds), view.places, view.radii, greys, _GREY_SHADES))


def _between(view: View, i: int, j: int) -> tuple[FloatArray, FloatArray]:
    """The ends of a line between the surfaces of two balls."""
    along = view.places[j] - view.places[i]
    along = along / float(np.linalg.norm(along))
    return view.places[i] + along * view.radii[i], view.places[j] - along * view.radii[j]


@styled
def structure_picture(structure: Structure, distances: Sequence[tuple[int, int]] = (), title: str = "") -> "Figure":
    """Draw a structure with distances between atoms written on dashed lines [Angstrom].

    Parameters
    ----------
    structure
        Any structure.
    distances
        Pairs of atoms, counted from 0, such as a guest and each of its anchors.
    title
        A line above the drawing; the name or formula of the structure where it is empty.

    Raises
    ------
    BadInputError
        A pair names an atom that is not there, or one atom twice.
    """
    check_pairs(structure, distances)
    view = view_of(structure)
    width, height = view.size()
    above, below = 0.28, _LEGEND + 0.16
    full = max(width, 2.4)
    figure = new_figure(full, height + above + below)
    whole = height + above + below
    axes = figure.add_axes(((full - width) / 2 / full, below / whole, width / full, height / whole))
    prepare_axes(axes, view)
    draw_structure(axes, view, tied=distances)
    write_distances(axes, view, distances, width / (view.high[0] - view.low[0]))
    name = one_line(title or structure.name or structure.formula, int(13 * full))
    figure.text(0.5, 1 - 0.06 / whole, name, ha="center", va="top", fontsize=9.5, fontweight="bold")
    add_elements(figure, structure, below / whole)
    if distances:
        caption(figure, ["Distances in \N{ANGSTROM SIGN}."])
    return figure


def check_pairs(structure: Structure, pairs: Iterable[tuple[int, int]]) -> None:
    """Refuse pairs of atoms that are not two atoms of a structure; raise BadInputError."""
    for pair in pairs:
        if len(set(pair)) != 2 or not all(0 <= atom < len(structure) for atom in pair):
            raise BadInputError(
                f"no distance between atoms {pair[0]} and {pair[1]} of {len(structure)}, counted from 0"
            )


def write_distances(axes: "Axes", view: View, pairs: Sequence[tuple[int, int]], scale: float) -> None:
    """Write the distances of pairs beside the middles of their lines, on the side with more room.

    Parameters
    ----------
    scale
        Of the drawing [inch per Angstrom].
    """
    from matplotlib.patheffects import withStroke

    size = np.array([20.0, 9.0]) / (72 * scale)  # of a number [Angstrom]
    ends = [_between(view, i, j) for i, j in pairs]
    lines = [np.linspace(start[:2], end[:2], 7) for start, end in ends]
    centres = np.vstack([view.places[:, :2], *lines])
    radii = np.array([*view.radii, *[0.04] * (len(centres) - len(view.radii))])
    written: list[FloatArray] = []
    for i, j in pairs:
        start, end = (place[:2] for place in _between(view, i, j))
        along = end - start
        across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-6)
        away = float(np.abs(across) @ size / 2) + 0.08
        options = [
            start + along * part + side * across * away * far
            for far in (1.0, 1.8)
            for part in (0.5, 0.35, 0.65, 0.85, 1.1)
            for side in (1.0, -1.0)
        ]
        costs = [_hidden(o, size, centres, radii, written) + 0.02 * n for n, o in enumerate(options)]
        best = options[int(np.argmin(np.round(costs, 6)))]
        length = float(np.linalg.norm(view.structure.positions[i] - view.structure.positions[j]))
        axes.text(best[0], best[1], f"{length:.2f}", ha="center", va="center", fontsize=7.5, zorder=12,
                  path_effects=[withStroke(linewidth=2.2, foreground="white")])  # fmt: skip
        written.append(best)


def _hidden(
    place: FloatArray, size: FloatArray, centres: FloatArray, radii: FloatArray, written: Sequence[FloatArray]
) -> float:
    """How deep a text would reach into discs, and how much of the texts written before it hides [Angstrom]."""
    nearest = np.clip(centres, place - size / 2, place + size / 2)
    depth = radii - np.linalg.norm(nearest - centres, axis=1)
    overlaps = [float(np.clip(size - np.abs(place - other), 0.0, None).min()) for other in written]
    return float(np.clip(depth, 0.0, None).sum()) + 20.0 * sum(overlaps)


def add_elements(figure: "Figure", structure: Structure, top: float) -> None:
    """Write which colour is which element, the upper edge at a fraction of the figure's height."""
    from matplotlib.lines import Line2D

    elements = sorted(set(structure.symbols), key=lambda symbol: (symbol != "C", symbol != "H", symbol))
    handles = [
        Line2D([], [], ls="", marker="o", ms=7, mfc=element_colour(symbol), mec=darkened(element_colour(symbol)),
               label=symbol)
        for symbol in elements
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, top), ncols=min(len(handles), 8),
                  borderaxespad=0.0, borderpad=0.0, handletextpad=0.2, columnspacing=1.2)  # fmt: skip


def sketch(axes: "Axes", view: View, opacity: float, zorder: float) -> None:
    """Draw a structure as plain grey lines with its symbols, to be seen through or over a surface."""
    for i, j in sorted(view.bonds):
        x, y = view.places[[i, j], :2].T
        axes.plot(x, y, color=INK, alpha=opacity, linewidth=1.3, solid_capstyle="round", zorder=zorder)
    single = set(range(len(view.structure))) - {atom for bond in view.bonds for atom in bond}
    for atom in sorted(single):
        axes.plot(*view.places[atom][:2], marker="o", ms=4, color=MUTED, alpha=opacity, zorder=zorder)
