"""A page with a host and its sites to turn and to click, in one file that loads nothing from anywhere."""

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from alkaflow.analysis.balls import atom_radii
from alkaflow.analysis.colours import element_colour, site_colour
from alkaflow.analysis.viewpoint import view_rotation
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.sites import Site
from alkaflow.structures.structure import FloatArray, Structure

if TYPE_CHECKING:
    import py3Dmol

_FIRST_SPHERE, _OTHER_SPHERE = 0.42, 0.27  # radii [Angstrom]
_ZOOM = 1.7  # 3Dmol.js leaves about half of the view empty

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Of the content of pages: nothing may be fetched, whatever the code in the page would like."""

# Stands where py3Dmol's page would load 3Dmol.js from the network: the code is in the page already.
_LOADER = """
var $3Dmolpromise = {then: function (draw) {
  try { draw(); document.body.dataset.view = "drawn"; } catch (error) {
    document.body.dataset.view = "failed";
    document.getElementById("no-view").hidden = false;
    console.error(error);
  }
}};
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
<script>
{library}
</script>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{summary}</p>
</header>
<main>
<div class="view" role="img" aria-label="{title}: interactive 3-D view; the table holds the same sites">
<p id="no-view" hidden>This browser cannot draw in three dimensions (WebGL); the table is complete without it.</p>
<noscript><p>The 3-D view needs JavaScript; the table is complete without it.</p></noscript>
{view}
</div>
<div class="sites">
{table}
<p class="hint">Drag to turn, scroll to zoom. A site's button shows all its places.</p>
</div>
</main>
<script type="application/json" id="sites-data">{data}</script>
<script>
{script}</script>
</body>
</html>
"""


def sites_page(host: Structure, sites: Sequence[Site], title: str = "") -> str:
    """Make an HTML page of a host and its sites.

    Every member of a site is a sphere in the colour of the site's kind, tied to its anchors; the first one bears the
    id. A table beside the view lists the sites. ``#bay-1`` at the end of the page's address selects a site.

    Parameters
    ----------
    host
        Any structure.
    sites
        Sites of that host; may be empty.
    title
        The heading; the name or formula of the host where it is empty.

    Returns
    -------
    str
        The whole page, with the viewer's code in it (0.5 MB).
    """
    rotation, centre = view_rotation(host, sites), host.positions.mean(axis=0)
    places = (host.positions - centre) @ rotation.T
    members = [[rotation @ (member.position - centre) for member in site.members] for site in sites]
    return _PAGE.format(
        policy=POLICY,
        title=escape(title or host.name or host.formula),
        summary=escape(_summary(host)),
        style=data_file("page.css"),
        library=harmless(data_file("3Dmol-min.js") + _LOADER),
        view=_view(host, places, sites, members),
        table=_table(host, sites),
        data=harmless(json.dumps([_site_data(site, at) for site, at in zip(sites, members, strict=True)])),
        script=data_file("page.js"),
    )


def _summary(host: Structure) -> str:
    atoms = "1 atom" if len(host) == 1 else f"{len(host)} atoms"
    return f"{host.formula}, {atoms}, charge {host.charge:+d}, multiplicity {host.multiplicity}".replace("+0", "0")


def data_file(name: str) -> str:
    """Return one of the files that are written into pages."""
    return (files("alkaflow.analysis") / "data" / name).read_text(encoding="utf-8")


def harmless(code: str) -> str:
    """Code or JSON in whose strings nothing ends the script element or opens a comment."""
    return re.sub(r"<(?=!--|/?script)", r"\\u003c", code, flags=re.IGNORECASE)


# --- view ------------------------------------------------------------------------------------------------------------


def _view(host: Structure, places: FloatArray, sites: Sequence[Site], members: Sequence[Sequence[FloatArray]]) -> str:
    """HTML and script of the viewer. Places and members in Angstrom, turned as in the picture."""
    import py3Dmol

    view = py3Dmol.view(width="100%", height="100%", js="")
    view.setProjection("orthographic")
    view.addModel()
    view.getModel().addAtoms(view_atoms(host, places))
    radii = dict(zip(host.symbols, atom_radii(host).tolist(), strict=True))
    for symbol, radius in radii.items():
        view.setStyle({"elem": symbol}, {"stick": {"radius": 0.1}, "sphere": {"radius": radius}})
    for site, at in zip(sites, members, strict=True):
        _add_site(view, site, at, places)
    view.zoomTo()
    view.zoom(_ZOOM)
    html = str(view.write_html())
    before, opening, code = html.replace(f"_{view.uniqueid}", "_host").partition("<script>")
    code, closing, after = code.rpartition("</script>")
    return before + opening + harmless(code) + closing + after


def view_atoms(host: Structure, places: FloatArray) -> list[dict[str, Any]]:
    """Atoms as 3Dmol.js takes them, with our bonds: it guesses none."""
    neighbours = BondGraph(host).neighbours
    return [
        {
            "elem": symbol,
            **view_point(place),
            "color": int(element_colour(symbol)[1:], 16),
            "bonds": sorted(bonded),
            "bondOrder": [1] * len(bonded),
        }
        for symbol, place, bonded in zip(host.symbols, places, neighbours, strict=True)
    ]


def _add_site(view: "py3Dmol.view", site: Site, members: Sequence[FloatArray], places: FloatArray) -> None:
    """Add a sphere for every member, ties to its anchors, and the id at the first one."""
    colour = site_colour(site.kind)
    for number, (member, at) in enumerate(zip(site.members, members, strict=True)):
        radius = _OTHER_SPHERE if number else _FIRST_SPHERE
        view.addSphere({"center": view_point(at), "radius": radius, "color": colour, "opacity": 0.7})
        anchors = places[list(member.anchors)]
        for end in anchors if len(anchors) <= 2 else [anchors.mean(axis=0)]:
            start = at + (end - at) * (radius / max(float(np.linalg.norm(end - at)), radius))
            tie = {"start": view_point(start), "end": view_point(end), "radius": 0.04, "color": colour}
            view.addCylinder({**tie, "dashed": True, "dashLength": 0.12, "gapLength": 0.12, "fromCap": 1, "toCap": 1})
    if members:
        view.addLabel(site.id, {"position": view_point(members[0]), **_label_style(colour)})


def _label_style(colour: str) -> dict[str, Any]:
    return {
        "fontSize": 13,
        "fontColor": "#111111",
        "backgroundColor": "#ffffff",
        "backgroundOpacity": 0.8,
        "borderColor": colour,
        "borderThickness": 1.2,
        "alignment": "bottomCenter",
        "screenOffset": {"x": 0, "y": 16},
        "inFront": True,
    }


def view_point(place: FloatArray) -> dict[str, float]:
    """A place as 3Dmol.js takes it."""
    return {axis: round(float(value), 5) for axis, value in zip("xyz", place, strict=True)}


# --- table -----------------------------------------------------------------------------------------------------------


def _site_data(site: Site, members: Sequence[FloatArray]) -> dict[str, Any]:
    """What the page's script needs to mark a site."""
    return {
        "id": site.id,
        "colour": site_colour(site.kind),
        "label_style": _label_style(site_colour(site.kind)),
        "members": [{"id": m.id, "at": view_point(at)} for m, at in zip(site.members, members, strict=True)],
    }


def _table(host: Structure, sites: Sequence[Site]) -> str:
    """Return the sites as an HTML table."""
    if not sites:
        return '<p class="absent">No sites.</p>'
    rows = "\n".join(_table_row(host, site, number) for number, site in enumerate(sites))
    return f"""<table>
<caption>Sites; atoms are counted from 0</caption>
<thead><tr><th scope="col">Site</th><th scope="col">Label</th>
<th scope="col">Places</th><th scope="col">Anchors</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def _table_row(host: Structure, site: Site, number: int) -> str:
    anchors = " ".join(f"{host.symbols[atom]}{atom}" for atom in site.anchors)
    button = (
        f'<button type="button" data-site="{number}" aria-pressed="false" style="--colour: {site_colour(site.kind)}">'
        f"{escape(site.id)}</button>"
    )
    return (
        f'<tr><th scope="row">{button}</th><td>{escape(site.label)}</td>'
        f'<td class="number">{site.multiplicity}</td><td class="anchors">{escape(anchors)}</td></tr>'
    )
