"""A table as text, Markdown, CSV, JSON or LaTeX."""

import csv
import io
import re
from collections.abc import Callable

from alkaflow.analysis.table import Table, TableRow
from alkaflow.errors import UnknownNameError


def format_table(table: Table, style: str = "text") -> str:
    """Return a table in one of FORMATS; raise UnknownNameError for another."""
    if style not in FORMATS:
        raise UnknownNameError("format", style, FORMATS)
    return FORMATS[style](table)


def table_cells(table: Table) -> list[tuple[str, ...]]:
    """Heading and rows as text; the host has a column where there are several."""
    several_hosts = len({row.host for row in table.rows}) > 1
    heading = ("label", "guest", "starts at", "ends at", "computed / eV", "published / eV", "diff.", "verdict",
               "2S+1", "<S2>", "q(guest)")  # fmt: skip
    cells = [heading, *(_row_cells(row) for row in table.rows)]
    if several_hosts:
        hosts = ["host", *(row.host for row in table.rows)]
        cells = [(row[0], host, *row[1:]) for host, row in zip(hosts, cells, strict=True)]
    return cells


def _row_cells(row: TableRow) -> tuple[str, ...]:
    return (
        row.label,
        row.guest,
        f"{row.start_site} {row.site_label}",
        row.final_site or row.final_label,
        _number(row.computed_ev),
        _number(row.published_ev),
        _number(row.difference_ev, "+.2f"),
        row.verdict,
        "-" if row.multiplicity is None else str(row.multiplicity),
        _number(row.s_squared, ".3f"),
        _number(row.guest_charge.get("mulliken"), "+.2f"),
    )


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _heading(table: Table) -> str:
    doi = f" (doi {table.doi})" if table.doi else ""
    return f"{table.title or table.study}{doi}"


def _notes(table: Table) -> list[str]:
    """The lines under a table: method, checks, problems, warnings."""
    lines = [
        f"protocol {table.protocol}: {table.level}",
        "E(complex) - E(host) - E(guest) in eV, negative = bound; q(guest): Mulliken charge in e",
    ]
    lines += [f"{check.verdict}: {check.claim} (computed: {check.computed})" for check in table.checks]
    lines += [f"no number for {row.label}: {row.problem}" for row in table.rows if row.problem]
    lines += [f"{row.label}: {warning}" for row in table.rows for warning in row.warnings]
    return lines


def _text(table: Table) -> str:
    rows = table_cells(table)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([_heading(table), "", *lines, "", *_notes(table)]) + "\n"


def _markdown(table: Table) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    heading, *rows = table_cells(table)
    body = [line(heading), "|" + "---|" * len(heading), *(line(row) for row in rows)]
    return "\n".join([f"**{_heading(table)}**", "", *body, "", *(f"- {note}" for note in _notes(table))]) + "\n"


_CSV_FIELDS = ("label", "host", "guest", "site_kind", "site_label", "start_site", "final_site", "final_label",
               "computed_ev", "published_ev", "difference_ev", "tolerance_ev", "verdict", "multiplicity", "s_squared",
               "protocol", "level")  # fmt: skip


def _csv(table: Table) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    schemes = sorted({scheme for row in table.rows for scheme in row.guest_charge})
    legs = ("complex", "host", "guest")
    writer.writerow([*_CSV_FIELDS, *(f"guest_charge_{s}" for s in schemes), *(f"{leg}_id" for leg in legs)])
    for row in table.rows:
        values = row.model_dump()
        charges, ids = [row.guest_charge.get(s) for s in schemes], [row.calculations[leg] for leg in legs]
        writer.writerow([*(values[field] for field in _CSV_FIELDS), *charges, *ids])
    return buffer.getvalue()


def _json(table: Table) -> str:
    return table.model_dump_json(indent=2) + "\n"


_LATEX_SPECIAL = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
                  "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
                  ">": r"\textgreater{}"}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _latex(table: Table) -> str:
    """A booktabs table with all columns; the notes are comments."""
    heading, *rows = table_cells(table)
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {note}" for note in _notes(table)),
        r"\begin{table}",
        rf"\caption{{{_escaped(_heading(table))}. {_escaped(table.level)}.}}",
        rf"\begin{{tabular}}{{{'l' * len(heading)}}}",
        r"\toprule",
        _latex_line(heading),
        r"\midrule",
        *(_latex_line(row) for row in rows),
    ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _latex_line(cells: tuple[str, ...]) -> str:
    def cell(text: str) -> str:
        return f"${text}$" if re.fullmatch(r"[+-]?\d+\.?\d*", text) else _escaped(text)

    return " & ".join(map(cell, cells)) + r" \\"


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}
