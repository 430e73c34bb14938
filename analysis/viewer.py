"""Views to turn, many on one page that loads nothing from anywhere: molecules with distances, surfaces with colours.

A view is a fragment of HTML with its data in it; `page` brings the code of the viewer once. Views are drawn when they
come into sight. Where WebGL or JavaScript is missing a picture or a sentence stands in their place.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alkaflow.analysis.balls import atom_radii
from alkaflow.analysis.page import POLICY, data_file, harmless, view_atoms, view_point
from alkaflow.analysis.plot_structure import View, check_pairs, view_of
from alkaflow.analysis.potential_scale import (
    ISOVALUE,
    Extremum,
    Mark,
    Mesh,
    PotentialScale,
    mark_names,
    marks_of,
    scale_for,
)
from alkaflow.analysis.surface_picture import check_mesh
from alkaflow.errors import BadInputError
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM

_OPACITY = 0.85
_MOST_VERTICES = 12_000  # of a surface in a view
_PALETTE = 101  # colours of a surface, odd so that zero has its own
_GRID = 65535  # steps along the longest side of a surface

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
{library}</head>
<body>
<h1>{title}</h1>
{body}
{script}</body>
</html>
"""

_FIGURE = """<figure class="view3d" data-view="waiting">
<div class="stage" role="img" aria-label="{label}">
{still}<p class="fallback" hidden>This browser cannot draw in three dimensions (WebGL). {stands}</p>
<noscript><p class="fallback">The 3-D view needs JavaScript. {stands}</p></noscript>
</div>
<figcaption>{caption}</figcaption>
<script type="application/json" class="data">{data}</script>
</figure>
"""


def page(title: str, body_html: str) -> str:
    """Make a whole page that loads nothing from anywhere.

    Parameters
    ----------
    title
        Plain text: the heading.
    body_html
        HTML, used as it is: what it takes from elsewhere has to be escaped by whoever writes it. Views of
        `molecule_view` and `surface_view` in it are drawn by 3Dmol.js, which is in the page once, and only then.
    """
    library, script = scripts_for(body_html)
    return _PAGE.format(
        policy=POLICY,
        title=escape(title),
        style=data_file("viewer.css"),
        library=library,
        body=body_html,
        script=script,
    )


def scripts_for(body_html: str) -> tuple[str, str]:
    """What draws the views of a page, for its head and for its end; both empty where it has no view."""
    if 'class="view3d"' not in body_html:
        return "", ""
    library = f"<script>\n{harmless(data_file('3Dmol-min.js'))}\n</script>\n"
    return library, f"<script>\n{data_file('viewer.js')}</script>\n"


def molecule_view(
    structure: Structure,
    labels: Sequence[str] | None = None,
    distances: Sequence[tuple[int, int]] = (),
    caption: str = "",
    still: bytes | None = None,
) -> str:
    """Make a view of a structure.

    Parameters
    ----------
    structure
        Any structure.
    labels
        A text for every atom, empty where there is none.
    distances
        Pairs of atoms, counted from 0, joined by a dashed line with the distance on it [Angstrom].
    caption
        A line below, plain text.
    still
        A PNG that stands in the place of the view until it is drawn, and where it cannot be.

    Raises
    ------
    BadInputError
        There are fewer or more labels than atoms, or a pair is not of two atoms of the structure.
    """
    check_pairs(structure, distances)
    if labels is not None and len(labels) != len(structure):
        raise BadInputError(f"{len(labels)} labels for {len(structure)} atoms")
    view = view_of(structure)
    data = _scene(view)
    for atom, text in enumerate(labels or ()):
        if text:
            data["labels"].append(_label(text, view.places[atom]))
    for i, j in distances:
        start, end = view.places[i], view.places[j]
        data["lines"].append(_line(start, end))
        length = float(np.linalg.norm(structure.positions[i] - structure.positions[j]))
        data["labels"].append(_label(f"{length:.2f} \N{ANGSTROM SIGN}", (start + end) / 2))
    name = structure.name or structure.formula
    return _figure(data, f"{name}: interactive 3-D view", escape(caption or name), still)


def surface_view(
    mesh: Mesh,
    structure: Structure,
    extrema: Sequence[Extremum] = (),
    limits: tuple[float, float] | None = None,
    caption: str = "",
    still: bytes | None = None,
    isovalue: float = ISOVALUE,
) -> str:
    """Make a view of the electrostatic potential on the surface of a molecule.

    Parameters
    ----------
    mesh, structure, extrema, limits, isovalue
        As of `alkaflow.analysis.surface_picture.surface_picture`.
    caption
        A line below, plain text.
    still
        A PNG that stands in the place of the view until it is drawn, and where it cannot be.

    Raises
    ------
    BadInputError
        The mesh has no faces, its arrays disagree, or the limits do not ascend.
    """
    check_mesh(mesh)
    scale = scale_for(mesh, limits)
    view = view_of(structure)
    places = view.turned(np.asarray(mesh.vertices) * BOHR_ANGSTROM)
    data = _scene(view.widened(places))
    normals = np.asarray(mesh.normals, dtype=float) @ view.rotation.T
    thin = _thinned(places, normals, np.asarray(mesh.potential, dtype=float), np.asarray(mesh.faces))
    data["meshes"].append(_mesh_data(thin, scale))
    marks = marks_of(mesh, extrema)
    at = view.turned(np.array([mark.position for mark in marks]) * BOHR_ANGSTROM)
    for name, place in zip(mark_names(marks), at, strict=True):
        data["spheres"].append({"center": view_point(place), "radius": 0.09, "color": "#1b1b1b"})
        data["labels"].append(_label(name, place))
    name = structure.name or structure.formula
    words = f"{escape(caption or name)}\n{_legend(scale, marks, isovalue)}"
    return _figure(data, f"{name}: electrostatic potential, interactive 3-D view", words, still)


# --- parts of a view -------------------------------------------------------------------------------------------------


def _figure(data: dict[str, Any], label: str, caption: str, still: bytes | None) -> str:
    image, stands = "", "The text below tells what it shows."
    if still is not None:
        source = base64.b64encode(still).decode("ascii")
        image = f'<img src="data:image/png;base64,{source}" alt="{escape(label)}">\n'
        stands = "The picture shows the same."
    return _FIGURE.format(
        label=escape(label),
        still=image,
        stands=stands,
        caption=f'{caption}\n<span class="hint">Drag to turn, scroll to zoom.</span>',
        data=harmless(json.dumps(data, separators=(",", ":"))),
    )


def _scene(view: View) -> dict[str, Any]:
    """What viewer.js draws: the atoms of a turned structure, and lists for whatever else there is.

    The drawing is wider on one side of the middle of the atoms than on the other; its half widths are the larger ones.
    """
    radii = dict(zip(view.structure.symbols, atom_radii(view.structure).tolist(), strict=True))
    styles = [
        {"elem": symbol, "style": {"stick": {"radius": 0.1}, "sphere": {"radius": round(radius, 3)}}}
        for symbol, radius in radii.items()
    ]
    return {
        "atoms": view_atoms(view.structure, view.places),
        "styles": styles,
        "extent": [round(float(half), 3) for half in np.maximum(-view.low, view.high)],
        "lines": [],
        "meshes": [],
        "spheres": [],
        "labels": [],
    }


def _label(text: str, place: FloatArray) -> dict[str, Any]:
    style = {
        "position": view_point(place),
        "fontSize": 12,
        "fontColor": "#111111",
        "backgroundColor": "#ffffff",
        "backgroundOpacity": 0.75,
        "alignment": "center",
        "inFront": True,
    }
    return {"text": text, "style": style}


def _line(start: FloatArray, end: FloatArray) -> dict[str, Any]:
    ends = {"start": view_point(start), "end": view_point(end), "fromCap": 1, "toCap": 1}
    return {**ends, "radius": 0.04, "color": "#1b1b1b", "dashed": True, "dashLength": 0.13, "gapLength": 0.1}


def _legend(scale: PotentialScale, marks: Sequence[Mark], isovalue: float) -> str:
    """The bar of the colours with its ends [kcal/mol], and its meaning in words."""
    stops = ", ".join(_hex_colours(scale, 21))
    top = max((mark for mark in marks if mark.maximum), key=lambda mark: mark.potential, default=None)
    low = min((mark for mark in marks if not mark.maximum), key=lambda mark: mark.potential, default=None)
    named = [f"V_S,max {top.text}" if top else "", f"V_S,min {low.text}" if low else ""]
    extremes = "".join(f" {each} kcal/mol." for each in named if each)
    return (
        f'<div class="scale"><span>{_end(scale.low)}</span>'
        f'<span class="bar" style="background: linear-gradient(to right, {stops})"></span>'
        f"<span>{_end(scale.high)} kcal/mol</span>"
        f'<span class="words">Electrostatic potential on the surface of {isovalue:g} e/bohr\N{SUPERSCRIPT THREE}; '
        f"{scale.words}.{extremes}</span></div>"
    )


def _end(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}")


# --- surfaces --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Thin:
    """A surface with few vertices: places [Angstrom] and normals in the frame of the view, potential [Hartree/e]."""

    places: FloatArray
    normals: FloatArray
    potential: FloatArray
    faces: NDArray[np.integer]


def _thinned(places: FloatArray, normals: FloatArray, potential: FloatArray, faces: NDArray[np.integer]) -> _Thin:
    """Join the vertices within the cells of a grid, wide enough for a view to stay small.

    A cell has its vertices' mean place and normal. Of their potentials it has the one farthest from zero, so that no
    extreme fades.
    """
    thin = _Thin(places, normals, potential, faces)
    cell = 0.0
    while len(thin.places) > _MOST_VERTICES:
        corners = places[faces]
        area = 0.5 * float(
            np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        )
        cell = cell * 1.15 if cell else float(np.sqrt(area / _MOST_VERTICES))
        _, of_vertex = np.unique(
            np.floor((places - places.min(axis=0)) / cell).astype(int), axis=0, return_inverse=True
        )
        of_vertex = of_vertex.reshape(-1)
        count = np.bincount(of_vertex)
        means = [
            np.column_stack([np.bincount(of_vertex, each[:, axis]) / count for axis in range(3)])
            for each in (places, normals)
        ]
        order = np.lexsort((np.abs(potential), of_vertex))
        last = np.cumsum(count) - 1
        joined = of_vertex[faces]
        distinct = (joined[:, 0] != joined[:, 1]) & (joined[:, 1] != joined[:, 2]) & (joined[:, 0] != joined[:, 2])
        thin = _Thin(means[0], means[1], potential[order][last], joined[distinct])
    return thin


def _mesh_data(thin: _Thin, scale: PotentialScale) -> dict[str, Any]:
    """A surface as integers in base64: little-endian, rounded to less than a screen shows."""
    origin = thin.places.min(axis=0)
    step = max(float(np.ptp(thin.places, axis=0).max()), 1e-6) / _GRID
    lengths = np.maximum(np.linalg.norm(thin.normals, axis=1, keepdims=True), 1e-12)
    return {
        "vertices": _base64(np.round((thin.places - origin) / step), "<u2"),
        "normals": _base64(np.round(127 * thin.normals / lengths), "<i1"),
        "colours": _base64(palette_places(scale, thin.potential), "<u1"),
        "faces": _base64(_wound(thin), "<u2"),
        "palette": _hex_colours(scale, _PALETTE),
        "origin": [round(float(value), 5) for value in origin],
        "step": step,
        "opacity": _OPACITY,
    }


def _wound(thin: _Thin) -> NDArray[np.integer]:
    """Faces counter-clockwise as seen from where their normals point: the light falls on that side."""
    corners = thin.places[thin.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = np.einsum("nx,nx->n", across, thin.normals[thin.faces].sum(axis=1)) < 0.0
    faces = thin.faces.copy()
    faces[inward] = faces[inward][:, ::-1]
    return faces


def palette_places(scale: PotentialScale, potential: FloatArray) -> NDArray[np.integer]:
    """Number of the colour in the palette of each potential [Hartree/e]."""
    from alkaflow.units import HARTREE_KCAL_MOL

    parts = np.clip(np.asarray(scale.norm(potential * HARTREE_KCAL_MOL), dtype=float), 0.0, 1.0)
    places: NDArray[np.integer] = np.round(parts * (_PALETTE - 1)).astype(int)
    return places


def _hex_colours(scale: PotentialScale, count: int) -> list[str]:
    """So many colours from the lower limit to the upper one, evenly along the map."""
    from matplotlib.colors import to_hex

    return [to_hex(scale.colours(part)) for part in np.linspace(0.0, 1.0, count)]


def _base64(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")
