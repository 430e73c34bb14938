"""A report on a study: a page, Markdown, tables, charges, references, geometries and pictures, from records alone."""

from collections.abc import Mapping, Sequence

from alkaflow.analysis.citations import bibtex
from alkaflow.analysis.formats import format_table
from alkaflow.analysis.report_blocks import blocks_of
from alkaflow.analysis.report_charges import charges_csv
from alkaflow.analysis.report_data import Report, ReportSource, make_report
from alkaflow.analysis.report_html import Embedded, render_html
from alkaflow.analysis.report_markdown import render_markdown
from alkaflow.analysis.report_pictures import Drawn, draw_report, draw_views
from alkaflow.analysis.report_structures import xyz_files

__all__ = ["PAGE", "PICTURES", "ReportSource", "make_report", "report_files"]

PAGE = "index.html"
PICTURES, GEOMETRIES = "pictures", "geometries"
_VECTORS = ("comparison", "ladder")  # pictures of few strokes, sharp at any size


def report_files(report: Report, beside: Sequence[tuple[str, str]] = ()) -> dict[str, bytes]:
    """All files of a report, by path; the same records give the same bytes.

    Parameters
    ----------
    report
        What it says.
    beside
        Files that somebody else puts there, and what each is; the page links to them.
    """
    pictures = draw_report(report)
    files: dict[str, bytes] = {}
    if report.table.rows:
        files["table.csv"] = format_table(report.table, "csv").encode()
        files["table.tex"] = format_table(report.table, "latex").encode()
    panels = {one.row.label: one.charges for one in report.rows if one.charges is not None}
    if panels:
        files["charges.csv"] = charges_csv(panels).encode()
    files["references.bib"] = bibtex(report.methods.keys, report.table.doi, report.title).encode()
    for name, data in xyz_files(report.source.plan, report.source.records).items():
        files[f"{GEOMETRIES}/{name}"] = data
    for picture in pictures:
        files[f"{PICTURES}/{picture.name}.png"] = picture.png
        files[f"{PICTURES}/{picture.name}.svg"] = picture.svg
    listed = [*_listed(files), ("report.md", "this report as Markdown"), *beside]
    blocks = blocks_of(report, {picture.name: picture.alt for picture in pictures}, listed)
    files["report.md"] = render_markdown(report.title, report.table.doi, blocks, PICTURES).encode()
    views = draw_views(report, pictures)
    flat = _embedded([one for one in pictures if one.name not in views])
    files[PAGE] = render_html(report.title, report.table.doi, blocks, flat, views).encode()
    return files


def _embedded(pictures: Sequence[Drawn]) -> dict[str, Embedded]:
    """The pictures as they are in the page."""
    return {
        one.name: Embedded("image/svg+xml", one.svg, one.width)
        if one.name in _VECTORS
        else Embedded("image/png", one.small, one.width)
        for one in pictures
    }


def _listed(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Files and folders with what they are."""
    known = {
        "table.csv": "the table with every number",
        "table.tex": "the table for LaTeX (booktabs)",
        "charges.csv": "charges and spins of every atom by every scheme",
        "references.bib": "what the methods paragraph cites, for BibTeX",
    }
    folders = {GEOMETRIES: "geometries as XYZ, with charge, multiplicity and energy", PICTURES: "pictures, PNG and SVG"}
    found = [(name, what) for name, what in known.items() if name in files]
    return found + [
        (f"{name}/", what) for name, what in folders.items() if any(f.startswith(f"{name}/") for f in files)
    ]
