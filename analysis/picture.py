"""A picture of a host with its sites: an orthographic drawing, made without a display.

The host is turned first (`view_rotation`), then everything is a flat shape with a depth, drawn from the back to the
front. Lengths are in Angstrom in the turned frame: x to the right, y up, z towards the reader.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alkaflow.analysis.balls import (
    LIGHT,
    STICK,
    Shape,
    atom_radii,
    ball_shapes,
    darkened,
    dashes,
    disc,
    draw_shapes,
    mixed,
    rgba,
    stick_shapes,
)
from alkaflow.analysis.colours import element_colour, site_colour
from alkaflow.analysis.plot_style import check_picture_path, one_line
from alkaflow.analysis.viewpoint import view_rotation
from alkaflow.errors import BadInputError
from alkaflow.files import write_atomically
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.sites import Site
from alkaflow.structures.structure import FloatArray, Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIRST_MARKER, _OTHER_MARKER = 0.42, 0.27  # radii [Angstrom]
_LARGEST = np.array([480.0, 480.0])  # of the drawing [points]
_MARGIN = 9.0  # around the drawing [points]
_POINTS_PER_ANGSTROM = 42.0  # of a small host
_FONT = 9.0  # size of labels and legend [points]
_DPI = 220

_GAPS = (1.0, 6.0, 12.0, 20.0, 30.0, 42.0, 58.0, 80.0)  # tried between a marker and its label [points]
_ROW = 15.0  # height of a line of the legend [points]


@dataclass(frozen=True)
class _Marker:
    """A member of a site in the turned frame."""

    site: Site
    first: bool
    anchors: tuple[int, ...]
    place: FloatArray

    @property
    def radius(self) -> float:
        return _FIRST_MARKER if self.first else _OTHER_MARKER


@dataclass(frozen=True)
class _Label:
    """The id of a site, centred at `place`, and the marker to which its leader goes [points]."""

    text: str
    colour: str
    place: FloatArray
    size: FloatArray
    target: FloatArray
    rim: float


@dataclass(frozen=True)
class _Scene:
    """A host and its sites in the turned frame, and the scale of the drawing [points per Angstrom]."""

    host: Structure
    bonds: frozenset[tuple[int, int]]
    places: FloatArray
    radii: FloatArray
    markers: tuple[_Marker, ...]
    scale: float


def draw_sites(host: Structure, sites: Sequence[Site], path: Path, title: str = "") -> None:
    """Draw a host and the places of its sites into a file.

    Every member of a site is a translucent disc in the colour of the site's kind; the first one is larger and bears
    the id. The file is whole or not there.

    Parameters
    ----------
    host
        Any structure.
    sites
        Sites of that host; may be empty.
    path
        Ends in .png or .svg.
    title
        A line above the drawing.

    Raises
    ------
    BadInputError
        The suffix is another one, or the file cannot be written there.
    """
    path = Path(path)
    check_picture_path(path)
    data = _picture(host, sites, title, path.suffix.lower().removeprefix("."))
    try:
        write_atomically(path, data, mode=0o644)
    except OSError as error:
        raise BadInputError(f"cannot write the picture {path}: {error.strerror}") from error


# --- shapes -----------------------------------------------------------------------------------------------------------


def _marker_shapes(markers: Sequence[_Marker]) -> Iterator[Shape]:
    """A translucent disc with a rim and a light spot."""
    for marker in markers:
        colour, (x, y, depth) = rgba(site_colour(marker.site.kind)), marker.place
        width = 1.5 if marker.first else 1.0
        yield Shape(depth, disc(marker.place, marker.radius), (*colour[:3], 0.50), (*colour[:3], 0.95), width)
        spot = np.array([x, y]) + LIGHT * (0.36 * marker.radius)
        yield Shape(depth, disc(spot, 0.42 * marker.radius), (1.0, 1.0, 1.0, 0.30))


def _tie_shapes(scene: _Scene) -> Iterator[Shape]:
    """A dashed line from every marker to its anchors, or to their middle where they are more than two."""
    for marker in scene.markers:
        anchors = scene.places[list(marker.anchors)]
        stops = scene.radii[list(marker.anchors)]
        if len(anchors) > 2:
            anchors, stops = anchors.mean(axis=0, keepdims=True), np.zeros(1)
        for anchor, stop in zip(anchors, stops, strict=True):
            along = anchor - marker.place
            length = float(np.linalg.norm(along))
            if length > marker.radius + stop:
                start, end = (marker.place + along * (at / length) for at in (marker.radius, length - stop))
                yield from dashes(start, end, rgba(site_colour(marker.site.kind)))


# --- labels ----------------------------------------------------------------------------------------------------------


def _text_size(text: str) -> FloatArray:
    """Width and height of a line in bold [points]."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=_FONT, weight="bold")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return np.array([width, _FONT])


def _place_labels(scene: _Scene) -> list[_Label]:
    """Choose for the id of each site, one after the other, the place where it hides least."""
    obstacles, weights = _obstacles(scene)
    middle = (obstacles[:, :2].min(axis=0) + obstacles[:, :2].max(axis=0)) / 2
    labels: list[_Label] = []
    for marker in scene.markers:
        if marker.first:
            text = one_line(marker.site.id, 24)
            size = _text_size(text) + 3.0
            target, rim = marker.place[:2] * scene.scale, marker.radius * scene.scale
            options = _label_options(target, rim, size)
            near = np.linalg.norm(obstacles[:, :2] - target, axis=1) < obstacles[:, 2] + rim + _GAPS[-1] + size.sum()
            hidden, weight = obstacles[near], weights[near]
            costs = [_label_cost(o, size, target, rim, target - middle, hidden, weight, labels) for o in options]
            best = options[int(np.argmin(np.round(costs, 3)))]
            labels.append(_Label(text, site_colour(marker.site.kind), best, size, target, rim))
    return labels


def _obstacles(scene: _Scene) -> tuple[FloatArray, FloatArray]:
    """Discs that labels should not hide (x, y, radius), shape=(n, 3) [points], and how much each of them matters."""
    bonds = np.array(sorted(scene.bonds), dtype=int).reshape(-1, 2)
    ends = scene.places[bonds][:, :, :2]
    on_bonds = [ends[:, 0] + (ends[:, 1] - ends[:, 0]) * part for part in (0.35, 0.5, 0.65)]
    centres = np.vstack([scene.places[:, :2], *on_bonds, *(marker.place[None, :2] for marker in scene.markers)])
    radii = [*scene.radii, *[STICK] * 3 * len(bonds), *(marker.radius for marker in scene.markers)]
    weights = [*[1.0] * len(scene.radii), *[0.8] * 3 * len(bonds), *(3.0 if m.first else 2.0 for m in scene.markers)]
    return np.column_stack([centres, radii]) * scene.scale, np.array(weights)


def _label_options(target: FloatArray, rim: float, size: FloatArray) -> list[FloatArray]:
    """Centres for a label around its marker, the near ones first [points]."""
    options = []
    for gap in _GAPS:
        for angle in np.radians(np.arange(0.0, 360.0, 15.0)):
            out = np.round([math.cos(angle), math.sin(angle)], 6)
            options.append(target + out * (rim + gap) + np.sign(out) * size / 2 * np.abs(out) ** 0.5)
    return options


def _label_cost(
    place: FloatArray,
    size: FloatArray,
    target: FloatArray,
    rim: float,
    out: FloatArray,
    obstacles: FloatArray,
    weights: FloatArray,
    labels: Sequence[_Label],
) -> float:
    """How much a label would hide, how far it lies from its marker, and whether it lies on the inner side."""
    nearest = np.clip(obstacles[:, :2], place - size / 2, place + size / 2)
    depth = np.clip(obstacles[:, 2] - np.linalg.norm(nearest - obstacles[:, :2], axis=1), 0.0, 8.0)
    cost = float((weights * depth).sum())
    for other in labels:
        overlap = np.clip((size + other.size) / 2 - np.abs(place - other.place), 0.0, None)
        cost += 5.0 * float(overlap.prod()) + 20.0 * _crosses(target, place, other.target, other.place)
    distance = float(np.linalg.norm(place - target))
    if float(np.linalg.norm(out)) > rim:
        cost -= 3.0 * float((place - target) @ out / (distance * np.linalg.norm(out)))
    return cost + 0.22 * (distance - rim)


def _crosses(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> bool:
    """Whether two segments cross."""

    def side(p: FloatArray, q: FloatArray, r: FloatArray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


# --- drawing ---------------------------------------------------------------------------------------------------------


def _picture(host: Structure, sites: Sequence[Site], title: str, form: str) -> bytes:
    """The bytes of a picture; plain settings of matplotlib, whatever the user's own are."""
    from matplotlib import style

    with style.context(["default", {"svg.hashsalt": "alkaflow"}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = _figure(host, sites, title)
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=metadata)
    return buffer.getvalue()


def _figure(host: Structure, sites: Sequence[Site], title: str) -> "Figure":
    from matplotlib.figure import Figure

    scene, low, high = _scene(host, sites)
    labels = _place_labels(scene)
    low = np.min([low, *(label.place - label.size / 2 for label in labels)], axis=0) - _MARGIN
    high = np.max([high, *(label.place + label.size / 2 for label in labels)], axis=0) + _MARGIN
    figure = Figure()
    axes = _laid_out(figure, host, sites, title, high - low)
    (left, bottom), (right, top) = low / scene.scale, high / scene.scale
    axes.set(xlim=(left, right), ylim=(bottom, top))
    sticks = stick_shapes(host, scene.bonds, scene.places, scene.radii)
    balls = ball_shapes(host, scene.places, scene.radii)
    draw_shapes(axes, [*sticks, *balls, *_tie_shapes(scene), *_marker_shapes(scene.markers)])
    _draw_labels(axes, labels, scene.scale)
    return figure


def _scene(host: Structure, sites: Sequence[Site]) -> tuple[_Scene, FloatArray, FloatArray]:
    """Turn a host and its sites; return them with the corners of their drawing [points]."""
    rotation, centre = view_rotation(host, sites), host.positions.mean(axis=0)
    places, radii = (host.positions - centre) @ rotation.T, atom_radii(host)
    markers = tuple(
        _Marker(site, number == 0, member.anchors, rotation @ (member.position - centre))
        for site in sites
        for number, member in enumerate(site.members)
    )
    rims = np.array([*radii, *(marker.radius for marker in markers)])[:, None]
    centres = np.array([*places, *(marker.place for marker in markers)])[:, :2]
    low, high = (centres - rims).min(axis=0), (centres + rims).max(axis=0)
    scale = float(min(_POINTS_PER_ANGSTROM, *(_LARGEST / (high - low))))
    return _Scene(host, BondGraph(host).bonds, places, radii, markers, scale), low * scale, high * scale


def _draw_labels(axes: "Axes", labels: Sequence[_Label], scale: float) -> None:
    """Ids with a white outline, and a line from the rim of the marker where the label lies off it."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.6, foreground="white")]
    for label in labels:
        end = np.clip(label.target, label.place - label.size / 2, label.place + label.size / 2)
        length = float(np.linalg.norm(end - label.target))
        if length > label.rim + 5.0:
            start = label.target + (end - label.target) * (label.rim / length)
            x, y = np.array([start, end]).T / scale
            axes.plot(x, y, color=label.colour, linewidth=1.1, zorder=10, path_effects=halo)
    for label in labels:
        x, y = label.place / scale
        colour = mixed(rgba(label.colour), 0.0, 0.35)
        text = axes.text(x, y, label.text, color=colour, fontsize=_FONT, fontweight="bold", zorder=11)
        text.set(ha="center", va="center_baseline", parse_math=False, path_effects=halo)


def _laid_out(figure: "Figure", host: Structure, sites: Sequence[Site], title: str, drawing: FloatArray) -> "Axes":
    """Set the size of the figure, write title, elements and legend, and return the axes of the drawing.

    Parameters
    ----------
    drawing
        Width and height of the drawing [points].
    """
    names = [f"{one_line(site.id, 24)}  {one_line(site.label, 40)}  \N{MULTIPLICATION SIGN}{site.multiplicity}"
             for site in sites]  # fmt: skip
    column = max((float(_text_size(name)[0]) for name in names), default=0.0) + 34.0
    width = max(float(drawing[0]), column, 240.0)
    columns = max(1, min(len(names), int(width // column)))
    heading = textwrap.wrap(one_line(title, 240), max(20, int(width / 5.8)))[:3]
    elements = list(dict.fromkeys(sorted(host.symbols, key=lambda symbol: (symbol != "C", symbol != "H", symbol))))
    above = 16.0 * len(heading) + (4.0 if heading else 0.0)
    legend = _ROW * math.ceil(len(names) / columns)
    height = above + float(drawing[1]) + _ROW + 6.0 + legend

    figure.set_size_inches(width / 72, height / 72)
    for number, line in enumerate(heading):
        top = 1 - (4.0 + 16.0 * number) / height
        figure.text(0.5, top, line, ha="center", va="top", fontsize=11.5, fontweight="bold", parse_math=False)
    box = ((width - drawing[0]) / 2 / width, (legend + _ROW + 6.0) / height, drawing[0] / width, drawing[1] / height)
    axes = figure.add_axes(box)
    axes.set_axis_off()
    balls = [(element_colour(symbol), darkened(element_colour(symbol)), symbol) for symbol in elements]
    _add_key(figure, balls, (legend + _ROW) / height, len(balls))
    discs = [((*rgba(site_colour(site.kind))[:3], 0.55), site_colour(site.kind), name)
             for site, name in zip(sites, names, strict=True)]  # fmt: skip
    if discs:
        _add_key(figure, discs, legend / height, columns)
    return axes


def _add_key(figure: "Figure", entries: Sequence[tuple[object, object, str]], top: float, columns: int) -> None:
    """Write a legend of discs (face, rim, text) whose upper edge lies at a fraction of the figure's height."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=8, markerfacecolor=face, markeredgecolor=rim)
        for face, rim, _ in entries
    ]
    key = figure.legend(
        handles,
        [text for _, _, text in entries],
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=columns,
        frameon=False,
        fontsize=_FONT,
        borderpad=0.0,
        borderaxespad=0.0,
        labelspacing=(_ROW - _FONT) / _FONT,
        handletextpad=0.35,
        columnspacing=1.4,
        handlelength=1.2,
    )
    for text in key.get_texts():
        text.set_parse_math(False)
