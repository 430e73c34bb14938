"""The pictures of a report, as PNG and SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alkaflow.analysis.plot_charges import charges_picture
from alkaflow.analysis.plot_energies import compared_chart, site_ladder
from alkaflow.analysis.plot_structure import structure_picture
from alkaflow.analysis.plot_style import figure_bytes, figure_image, figure_texts, png_bytes, small_png_bytes
from alkaflow.analysis.report_blocks import host_stem, row_stem, surface_stem
from alkaflow.analysis.report_data import Report
from alkaflow.analysis.report_structures import drawn_pairs, structure_of_record
from alkaflow.analysis.surface_record import marks_of_surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST_TEXT = 400  # of the words of a chart, for those who do not see it
_MARKED = 3  # extrema of each kind


@dataclass(frozen=True)
class Drawn:
    """A picture: the name of its files without suffix, what it shows, its width [inch], and its files.

    ``small`` is the PNG with fewer colours, for pages.
    """

    name: str
    alt: str
    width: float
    png: bytes
    svg: bytes
    small: bytes


def draw_report(report: Report) -> list[Drawn]:
    """Draw charts, structures, charges and potentials; nothing of what has no records."""
    drawn = []
    for name, alt, figure in _figures(report):
        image = figure_image(figure)
        png, svg = png_bytes(image), figure_bytes(figure, "svg")
        drawn.append(Drawn(name, alt, figure.get_figwidth(), png, svg, min(small_png_bytes(image), png, key=len)))
    return drawn


def _figures(report: Report) -> "Iterator[tuple[str, str, Figure]]":
    table = report.table
    if table.rows:
        chart = compared_chart(table)
        yield "comparison", _words("computed beside published adsorption energies", chart), chart
    if any(row.computed_ev is not None for row in table.rows):
        ladder = site_ladder(table)
        yield "ladder", _words("the energies of the sites as a ladder", ladder), ladder
    for number, one in enumerate(report.rows):
        if one.record is None:
            continue
        stem, row = row_stem(number, one.row.label), one.row
        title = f"{row.label}: {row.guest} on {row.host}, {row.site_label}"
        structure = structure_of_record(one.record, title)
        apart = "; ".join(distance.text(one.record.symbols) for distance in one.distances)
        pairs = drawn_pairs(one.distances)
        yield (
            f"{stem}-structure",
            f"structure of {title}; {apart} Angstrom",
            structure_picture(structure, pairs, row.label),
        )
        if one.charges is not None and one.charges.charges:
            schemes = ", ".join(one.charges.drawn)
            drawn = charges_picture(structure, one.charges.drawn, title=title)
            yield f"{stem}-charges", f"atomic charges of {title} by {schemes}", drawn
    for number, host in enumerate(report.alone):
        structure = structure_of_record(host.record, host.name)
        stem = host_stem(number, host.name)
        yield f"{stem}-structure", f"structure of {host.name}", structure_picture(structure, (), host.name)
        if host.charges is not None and host.charges.charges:
            schemes = ", ".join(host.charges.drawn)
            drawn = charges_picture(structure, host.charges.drawn, title=host.name)
            yield f"{stem}-charges", f"atomic charges of {host.name} by {schemes}", drawn
    yield from _surfaces(report)


def draw_views(report: Report, drawn: Sequence[Drawn]) -> dict[str, str]:
    """Structures and surfaces to turn, as HTML, by the name of the picture that each stands for."""
    from alkaflow.analysis.surface_picture import common_limits
    from alkaflow.analysis.viewer import molecule_view, surface_view

    stills = {one.name: one.small for one in drawn}
    views: dict[str, str] = {}
    for number, one in enumerate(report.rows):
        if one.record is not None:
            title = f"{one.row.label}: {one.row.guest} on {one.row.host}, {one.row.site_label}"
            name, structure = f"{row_stem(number, one.row.label)}-structure", structure_of_record(one.record, title)
            views[name] = molecule_view(structure, None, drawn_pairs(one.distances), title, stills.get(name))
    for number, host in enumerate(report.alone):
        name, structure = f"{host_stem(number, host.name)}-structure", structure_of_record(host.record, host.name)
        views[name] = molecule_view(structure, caption=host.name, still=stills.get(name))
    surfaces = [(entry, entry.mesh) for entry in report.surfaces if entry.mesh is not None]
    limits = common_limits([mesh for _, mesh in surfaces]) if surfaces else None
    for entry, mesh in surfaces:
        name, structure = surface_stem(entry), structure_of_record(entry.record, entry.name)
        marks, isovalue = marks_of_surface(entry.surface, _MARKED), entry.surface.isovalue
        views[name] = surface_view(mesh, structure, marks, limits, entry.name, stills.get(name), isovalue)
    return views


def _words(what: str, figure: "Figure") -> str:
    """What a chart shows, with the texts in it."""
    texts = "; ".join(" ".join(text.split()) for text in figure_texts(figure))
    return f"{what}: {texts}"[:_LONGEST_TEXT]


def _surfaces(report: Report) -> "Iterator[tuple[str, str, Figure]]":
    from alkaflow.analysis.surface_picture import common_limits, surface_picture

    drawn = [(entry, entry.mesh) for entry in report.surfaces if entry.mesh is not None]
    if not drawn:
        return
    limits = common_limits([mesh for _, mesh in drawn])
    for entry, mesh in drawn:
        structure = structure_of_record(entry.record, entry.name)
        marks = marks_of_surface(entry.surface, _MARKED)
        figure = surface_picture(mesh, structure, marks, limits, entry.name, entry.surface.isovalue)
        yield surface_stem(entry), f"electrostatic potential of {entry.name}", figure
