"""Surfaces drawn without a display: the potential on the surface of a molecule, and where density moved.

A surface is a mesh of shaded triangles, painted from the back to the front into an image that lies, slightly
translucent, over the balls and sticks of the structure.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.plot_structure import View, add_elements, draw_structure, prepare_axes, view_of
from alkaflow.analysis.plot_style import INK, caption, new_figure, one_line, styled, wrapped
from alkaflow.analysis.potential_scale import (
    ISOVALUE,
    Extremum,
    Mark,
    Mesh,
    PotentialScale,
    common_limits,
    mark_names,
    marks_of,
    scale_for,
)
from alkaflow.errors import BadInputError
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["GAIN", "LOSS", "common_limits", "difference_picture", "slice_picture", "surface_picture"]

GAIN, LOSS = "#e69f00", "#56b4e9"
"""Colours of where electrons came to and where they went from; not red and blue, which are signs of potentials."""

_OPACITY = 0.8
_IMAGE_DPI = 500  # of the image of a surface, which is drawn smaller
_LIGHT = np.array([-0.35, 0.45, 0.82]) / np.linalg.norm([-0.35, 0.45, 0.82])
_DARKEST, _SHINE, _SHARPNESS = 0.62, 0.22, 24  # of the shading
_HIDDEN = 0.6  # a place with something so far in front of it is behind [Angstrom]
_NEAR = 0.3  # how near in the plane that has to be [Angstrom]
_SPOTS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 2), (0, -2))
"""Where a text may lie from its mark, in its own widths and heights."""
_AROUND = 1.6  # of a slice beyond the nuclei [Angstrom]
_SLICE_STEP = 0.04  # of its points [Angstrom]
_IN_PLANE = 0.3  # atoms so near to a plane are named on it [Angstrom]
_SMALLEST_LEVEL = 1e-6  # of an isosurface [e/bohr^3]


@styled
def surface_picture(
    mesh: Mesh,
    structure: Structure,
    extrema: Sequence[Extremum] = (),
    limits: tuple[float, float] | None = None,
    title: str = "",
    isovalue: float = ISOVALUE,
) -> "Figure":
    """Draw the electrostatic potential on the surface of a molecule.

    Parameters
    ----------
    mesh
        The surface: ``vertices`` [bohr], ``faces``, ``normals``, ``potential`` [Hartree/e].
    structure
        The molecule, in the same frame.
    extrema
        Local extrema to mark: ``position`` [bohr], ``potential`` [Hartree/e], ``kind``; the largest and smallest value
        at a vertex where there are none.
    limits
        Of the colours [kcal/mol]; `common_limits` finds them for a series. Those of this surface where there are none.
    title
        A line above the drawing.
    isovalue
        Density of the surface [e/bohr^3], for the legend.

    Raises
    ------
    BadInputError
        The mesh has no faces, its arrays disagree, or the limits do not ascend.
    """
    check_mesh(mesh)
    scale = scale_for(mesh, limits)
    view = view_of(structure)
    places = view.turned(np.asarray(mesh.vertices) * BOHR_ANGSTROM)
    normals = np.asarray(mesh.normals, dtype=float) @ view.rotation.T
    view = view.widened(places)
    figure, axes = _stage(view, title or structure.name or structure.formula, bar=0.95, lines=_words(scale, isovalue))
    draw_structure(axes, view)
    image = _painted(view, [(places, np.asarray(mesh.faces), _shaded(scale.colours_of(mesh.potential), normals))])
    _show(axes, view, image)
    _mark(axes, view, places, marks_of(mesh, extrema))
    _add_bar(figure, axes, scale)
    return figure


@styled
def difference_picture(
    values: FloatArray,
    origin: FloatArray,
    axes: FloatArray,
    structure: Structure,
    level: float = 0.003,
    title: str = "",
) -> "Figure":
    """Draw where a density grew and where it shrank, as two isosurfaces.

    Parameters
    ----------
    values
        Density difference on a grid [e/bohr^3], shape=(nx, ny, nz); electrons, so positive is gain.
    origin, axes
        Of the grid [bohr]: its first point, shape=(3,), and the steps along the three indices, shape=(3, 3), rows.
    structure
        The molecule, in the same frame.
    level
        Of the isosurfaces [e/bohr^3]; halved until at least one of them is there.
    title
        A line above the drawing.

    Raises
    ------
    BadInputError
        The arrays have other shapes, or the density does not change anywhere.
    """
    values, origin, axes = _checked_grid(values, origin, axes)
    largest = float(np.abs(values).max())
    if not np.isfinite(largest) or largest < _SMALLEST_LEVEL:
        raise BadInputError("the density does not change anywhere, or is not finite")
    while level >= largest:
        level /= 2
    from matplotlib.colors import to_rgb

    view = view_of(structure)
    layers = []
    for sign, colour in ((1.0, GAIN), (-1.0, LOSS)):
        if float((sign * values).max()) > level:
            points, faces, normals = _isosurface(sign * values, level, origin, axes)
            base = np.tile(to_rgb(colour), (len(points), 1))
            layers.append((view.turned(points * BOHR_ANGSTROM), faces, _shaded(base, normals @ view.rotation.T)))
    for places, _, _ in layers:
        view = view.widened(places)
    words = [f"Isosurfaces of the density difference at \N{PLUS-MINUS SIGN}{level:g} e/bohr\N{SUPERSCRIPT THREE}."]
    figure, panel = _stage(view, title or structure.name or structure.formula, bar=0.0, lines=words)
    draw_structure(panel, view)
    _show(panel, view, _painted(view, layers))
    _add_signs(figure)
    return figure


@styled
def slice_picture(
    values: FloatArray,
    origin: FloatArray,
    axes: FloatArray,
    structure: Structure,
    atoms: Sequence[int] = (),
    limit: float | None = None,
    title: str = "",
) -> "Figure":
    """Draw a density difference on a plane, with contours.

    Parameters
    ----------
    values, origin, axes, structure
        As of `difference_picture`.
    atoms
        Three atoms, counted from 0, through which the plane goes; the plane that all atoms are nearest to where there
        are none.
    limit
        The value at the ends of the colours [e/bohr^3]; a fiftieth of the largest values on the plane lies beyond them
        where there is none.
    title
        A line above the drawing.

    Raises
    ------
    BadInputError
        The arrays have other shapes, or the atoms span no plane.
    """
    from matplotlib.patheffects import withStroke

    values, origin, axes = _checked_grid(values, origin, axes)
    centre, across, up = _plane(structure, atoms)
    inside = (structure.positions - centre) @ np.array([across, up]).T
    low, high = inside.min(axis=0) - _AROUND, inside.max(axis=0) + _AROUND
    counts = np.maximum(((high - low) / _SLICE_STEP).astype(int), 2)
    x, y = (np.linspace(low[axis], high[axis], int(counts[axis])) for axis in range(2))
    points = centre + x[None, :, None] * across + y[:, None, None] * up
    on_plane = _interpolated(values, origin, axes, points)
    reach = limit or max(float(np.nanquantile(np.abs(on_plane), 0.98)), _SMALLEST_LEVEL)

    size = min(0.52, *(np.array([4.6, 4.0]) / (high - low)))
    width, height = (size * (high - low)).tolist()
    full, whole = max(width + 1.05, 3.0), height + 0.78
    figure = new_figure(full, whole)
    panel = figure.add_axes((0.12 / full, 0.44 / whole, width / full, height / whole))
    panel.set(aspect="equal", xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    steps = np.linspace(-reach, reach, 16)  # the band around zero is white
    filled = panel.contourf(x, y, np.clip(on_plane, -reach, reach), steps, cmap="PuOr_r")
    panel.contour(x, y, on_plane, steps[::2], colors=INK, linewidths=0.4)  # dashed where negative
    near = np.abs((structure.positions - centre) @ np.cross(across, up)) < _IN_PLANE
    for symbol, place, shown in zip(structure.symbols, inside, near, strict=True):
        if shown:
            panel.text(place[0], place[1], symbol, ha="center", va="center", fontsize=8, fontweight="bold",
                       path_effects=[withStroke(linewidth=2.0, foreground="white")])  # fmt: skip
    bar_axes = figure.add_axes(((0.12 + width + 0.1) / full, 0.44 / whole, 0.1 / full, height / whole))
    bar = figure.colorbar(filled, cax=bar_axes, ticks=[-reach, -reach / 2, 0.0, reach / 2, reach])
    bar.ax.set_yticklabels([_tick(part * reach, 2) for part in (-1, -0.5, 0, 0.5, 1)])
    bar.outline.set_linewidth(0.5)
    bar.set_label("density difference / e bohr$^{-3}$", parse_math=True)
    name = one_line(title or structure.name or structure.formula, int(13 * full))
    figure.text(0.12 / full, 1 - 0.06 / whole, name, va="top", fontsize=9.5, fontweight="bold")
    where = f"atoms {', '.join(str(atom) for atom in atoms)} (counted from 0)" if len(atoms) else "nearest to all atoms"
    caption(figure, [f"Plane: {where}. Orange: electrons gained; violet: electrons lost, contours dashed."])
    return figure


def _checked_grid(
    values: FloatArray, origin: FloatArray, axes: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    values, origin, axes = (np.asarray(array, dtype=float) for array in (values, origin, axes))
    if values.ndim != 3 or min(values.shape, default=0) < 2 or origin.shape != (3,) or axes.shape != (3, 3):
        raise BadInputError("a density on a grid has three indices, an origin of shape (3,) and axes of shape (3, 3)")
    return values, origin, axes


def _plane(structure: Structure, atoms: Sequence[int]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A point on a plane [Angstrom], and two directions in it at right angles."""
    if len(atoms) not in (0, 3) or any(not 0 <= atom < len(structure) for atom in atoms):
        raise BadInputError(f"a plane goes through three atoms of {len(structure)}, counted from 0, not {list(atoms)}")
    chosen = structure.positions[list(atoms)] if len(atoms) else structure.positions
    centre = chosen.mean(axis=0)
    _, extents, directions = np.linalg.svd(chosen - centre, full_matrices=True)
    if len(atoms) and extents[1] < 1e-3:
        raise BadInputError(f"atoms {list(atoms)} lie on one line and span no plane")
    return centre, directions[0], directions[1]


def _interpolated(values: FloatArray, origin: FloatArray, axes: FloatArray, points: FloatArray) -> FloatArray:
    """Values at points [Angstrom], shape=(..., 3); not a number outside the grid."""
    from scipy.ndimage import map_coordinates

    indices = np.moveaxis((points / BOHR_ANGSTROM - origin) @ np.linalg.inv(axes), -1, 0)
    found: FloatArray = map_coordinates(values, indices, order=1, cval=np.nan)
    return found


def check_mesh(mesh: Mesh) -> None:
    """Refuse a mesh whose arrays do not belong together; raise BadInputError."""
    count, faces = len(mesh.vertices), np.asarray(mesh.faces)
    if count == 0 or len(faces) == 0:
        raise BadInputError("the surface has no triangles")
    if np.shape(mesh.vertices) != (count, 3) or np.shape(mesh.normals) != (count, 3) or faces.shape[1:] != (3,):
        raise BadInputError(
            "vertices, normals and faces of a surface have three columns, and as many normals as vertices"
        )
    if np.shape(mesh.potential) != (count,):
        raise BadInputError(f"{np.size(mesh.potential)} potentials for {count} vertices")
    if faces.min() < 0 or faces.max() >= count:
        raise BadInputError(f"a triangle has vertex {int(faces.max())} of {count}, counted from 0")


# --- painting --------------------------------------------------------------------------------------------------------


def _shaded(colours: FloatArray, normals: FloatArray) -> FloatArray:
    """Colours in the light, shape=(n, 3): darker where a surface turns away, with a soft shine.

    Parameters
    ----------
    normals
        In the frame of the view, shape=(n, 3). Those that look away from the reader are taken the other way round.
    """
    lengths = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = normals / lengths * np.where(normals[:, 2:] < 0.0, -1.0, 1.0)
    lit = np.clip(facing @ _LIGHT, 0.0, 1.0)[:, None]
    half = _LIGHT + np.array([0.0, 0.0, 1.0])
    shine = _SHINE * np.clip(facing @ (half / np.linalg.norm(half)), 0.0, 1.0)[:, None] ** _SHARPNESS
    matt = colours * (_DARKEST + (1.0 - _DARKEST) * lit)
    shaded: FloatArray = np.clip(matt + (1.0 - matt) * shine, 0.0, 1.0)
    return shaded


def _painted(view: View, layers: Sequence[tuple[FloatArray, NDArray[np.integer], FloatArray]]) -> NDArray[np.uint8]:
    """Paint meshes (places, faces, colours) into one image with shape=(height, width, 4), clear where nothing is."""
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    starts = np.cumsum([0, *(len(places) for places, _, _ in layers)])
    places = np.vstack([each for each, _, _ in layers])
    faces = np.vstack([faces + start for (_, faces, _), start in zip(layers, starts, strict=False)])
    colours = np.vstack([each for _, _, each in layers])
    order = np.argsort(places[faces][:, :, 2].mean(axis=1), kind="stable")
    width, height = view.size()
    canvas = new_figure(width, height, dpi=_IMAGE_DPI, facecolor="none")
    axes = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(view.low[0], view.high[0]), ylim=(view.low[1], view.high[1]))
    axes.set_axis_off()
    mesh = TriMesh(Triangulation(places[:, 0], places[:, 1], faces[order]))
    mesh.set_facecolor(np.column_stack([colours, np.ones(len(colours))]))
    axes.add_collection(mesh, autolim=False)
    canvas.canvas.draw()
    image: NDArray[np.uint8] = np.array(canvas.canvas.buffer_rgba())  # type: ignore[attr-defined]
    return image


def _show(axes: "Axes", view: View, image: NDArray[np.uint8]) -> None:
    """Lay an image over a structure."""
    from alkaflow.analysis.painting import Painting

    painting = Painting(image, _OPACITY)
    painting.set_zorder(3)
    axes.add_artist(painting)
    prepare_axes(axes, view)


def _isosurface(
    values: FloatArray, level: float, origin: FloatArray, axes: FloatArray
) -> tuple[FloatArray, NDArray[np.integer], FloatArray]:
    """Points [bohr], triangles and normals of an isosurface."""
    from skimage.measure import marching_cubes

    places, faces, slopes, _ = marching_cubes(values, level)
    normals = -slopes @ np.linalg.inv(axes).T  # slopes are along the indices
    points: FloatArray = origin + places @ axes
    return points, faces, normals


# --- frame and words -------------------------------------------------------------------------------------------------


def _stage(view: View, title: str, bar: float, lines: Sequence[str]) -> tuple["Figure", "Axes"]:
    """A figure with room for a drawing, a bar of that width on its right [inch], the elements, and lines of text."""
    width, height = view.size()
    full = max(width + bar, 2.8)
    foot = (8.6 * sum(len(wrapped(line, 0.976 * 72 * full, 6.5)) for line in lines) + 6.0) / 72
    above, below = 0.28, foot + 0.24
    whole = height + above + below
    figure = new_figure(full, whole)
    left = (full - bar - width) / 2
    axes = figure.add_axes((left / full, below / whole, width / full, height / whole))
    prepare_axes(axes, view)
    figure.text(0.5, 1 - 0.06 / whole, one_line(title, int(13 * full)), ha="center", va="top", fontsize=9.5,
                fontweight="bold")  # fmt: skip
    add_elements(figure, view.structure, below / whole)
    caption(figure, lines)
    return figure, axes


def _words(scale: PotentialScale, isovalue: float) -> list[str]:
    surface = f"Electrostatic potential on the surface of {isovalue:g} e/bohr\N{SUPERSCRIPT THREE}"
    return [f"{surface}; {scale.words}. Triangles: extrema in kcal/mol; hollow: behind."]


def _add_bar(figure: "Figure", axes: "Axes", scale: PotentialScale) -> None:
    """The bar of the colours, as translucent as the surface, with both signs in words."""
    from matplotlib.cm import ScalarMappable

    box, full = axes.get_position(), figure.get_figwidth()
    tall = min(0.8 * box.height, 2.2 / figure.get_figheight())
    place = (1 - 0.78 / full, box.y0 + (box.height - tall) / 2, 0.11 / full, tall)
    bar = figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=figure.add_axes(place), alpha=_OPACITY)
    bar.outline.set_linewidth(0.5)
    ticks = np.unique([scale.low, scale.low / 2, 0.0, scale.high / 2, scale.high])
    if not scale.has_both_signs:
        ticks = np.linspace(scale.low, scale.high, 5)
    bar.set_ticks(list(ticks), labels=[_tick(value, 3) for value in ticks])
    bar.ax.minorticks_off()
    bar.set_label("V / kcal mol$^{-1}$", parse_math=True, labelpad=1)
    ends = ("positive", "negative") if scale.has_both_signs else ("highest", "lowest")
    for at, end, anchor in ((1.03, ends[0], "bottom"), (-0.03, ends[1], "top")):
        bar.ax.text(0.5, at, end, transform=bar.ax.transAxes, ha="center", va=anchor, fontsize=7)


def _tick(value: float, digits: int) -> str:
    """A number with its sign, minus as typeset; zero has none."""
    return "0" if value == 0.0 else f"{value:+.{digits}g}".replace("-", "\N{MINUS SIGN}")


def _add_signs(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(color=GAIN, alpha=_OPACITY, label="electrons gained"),
        Patch(color=LOSS, alpha=_OPACITY, label="electrons lost"),
    ]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 1 - 0.25 / figure.get_figheight()),
                  ncols=2, borderaxespad=0.0, borderpad=0.0, handlelength=1.2, handletextpad=0.4)  # fmt: skip


def _mark(axes: "Axes", view: View, surface: FloatArray, marks: Sequence[Mark]) -> None:
    """A triangle at every extremum, upward at maxima, hollow where the surface hides it, with its value beside it."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.0, foreground="white")]
    per_angstrom = 72 * view.size()[0] / float(view.high[0] - view.low[0])
    boxes: list[tuple[FloatArray, FloatArray]] = []
    places = view.turned(np.array([mark.position for mark in marks]) * BOHR_ANGSTROM)
    for mark, name, place in zip(marks, mark_names(marks), places, strict=True):
        near = np.linalg.norm(surface[:, :2] - place[:2], axis=1) < _NEAR
        behind = bool((surface[near, 2] > place[2] + _HIDDEN).any())
        axes.plot(place[0], place[1], marker="^" if mark.maximum else "v", ms=5.0, mec=INK, mew=0.9, zorder=8,
                  mfc="none" if behind else "white")  # fmt: skip
        size = np.array([4.1 * len(name) + 2.0, 8.5]) / per_angstrom
        low, high = view.low + size / 2, view.high - size / 2
        spots = [
            place[:2] + np.array([x * (size[0] / 2 + 5.0 / per_angstrom), y * 9.5 / per_angstrom]) for x, y in _SPOTS
        ]
        spots = [np.clip(spot, np.minimum(low, high), np.maximum(low, high)) for spot in spots]
        best = min(enumerate(spots), key=lambda spot: (_overlap(spot[1], size, boxes, places[:, :2]), spot[0]))[1]
        boxes.append((best, size))
        typeset = name.replace("V_S,max", "$V_\\mathrm{S,max}$").replace("V_S,min", "$V_\\mathrm{S,min}$")
        axes.text(best[0], best[1], typeset, ha="center", va="center", fontsize=7.0, color=INK, zorder=9,
                  parse_math=True, path_effects=halo)  # fmt: skip


def _overlap(
    place: FloatArray, size: FloatArray, boxes: Sequence[tuple[FloatArray, FloatArray]], marks: FloatArray
) -> float:
    """How much a text would hide of others and of the marks."""
    hidden = 0.0
    for other, extent in boxes:
        hidden += float(np.clip((size + extent) / 2 - np.abs(place - other), 0.0, None).min())
    reach = size / 2 + 0.12
    hidden += float(np.clip(reach - np.abs(marks - place), 0.0, None).min(axis=1).sum())
    return round(hidden, 6)
