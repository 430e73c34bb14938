"""A table as text, Markdown, CSV, JSON or LaTeX."""

import csv
import io
import json
import re
from collections.abc import Callable

from alkaflow.analysis.preference import TEMPERATURE, preference_line, site_preferences
from alkaflow.analysis.states import SpinState, heights_ev
from alkaflow.analysis.table import Table, TableRow
from alkaflow.errors import UnknownNameError


def format_table(table: Table, style: str = "text", temperature: float = TEMPERATURE) -> str:
    """Return a table in one of FORMATS.

    Parameters
    ----------
    table
        Of a study.
    style
        One of FORMATS.
    temperature
        Of the weights of places [K].

    Raises
    ------
    UnknownNameError
        There is no such format.
    BadInputError
        The temperature is not positive.
    """
    if style not in FORMATS:
        raise UnknownNameError("format", style, FORMATS)
    return FORMATS[style](table, temperature)


def table_cells(table: Table) -> list[tuple[str, ...]]:
    """Heading and rows as text; the host has a column where there are several."""
    several_hosts = len({row.host for row in table.rows}) > 1
    charge, _ = _charge_words(table)
    heading = ("label", "guest", "starts at", "ends at", "computed / eV", "published / eV", "diff.", "verdict",
               "2S+1", "<S2>", charge)  # fmt: skip
    cells = [heading, *(_row_cells(row) for row in table.rows)]
    if several_hosts:
        hosts = ["host", *(row.host for row in table.rows)]
        cells = [(row[0], host, *row[1:]) for host, row in zip(hosts, cells, strict=True)]
    return cells


def _row_cells(row: TableRow) -> tuple[str, ...]:
    return (
        row.label,
        row.guest,
        f"{row.start_site} {row.site_label}" if row.guests == 1 else row.site_label,
        row.final_site or row.final_label,
        _number(row.computed_ev),
        _number(row.published_ev),
        _number(row.difference_ev, "+.2f"),
        row.verdict,
        "-" if row.multiplicity is None else str(row.multiplicity),
        _number(row.s_squared, ".3f"),
        _number(row.guest_charge.get("mulliken"), "+.2f"),
    )


_PARTS = (
    ("interaction", "interaction"),
    ("host_deformation", "host def."),
    ("guest_deformation", "guest def."),
    ("reference", "reference"),
    ("dispersion", "dispersion"),
    ("counterpoise", "CP corr."),
    ("zero_point", "zero point"),
)
"""Name of a part in a row, and its heading."""

_SUMMANDS = ("interaction", "host_deformation", "guest_deformation", "reference")


def parts_cells(table: Table) -> list[tuple[str, ...]]:
    """Heading and rows of the parts of the energies [eV]; empty where none were computed.

    The columns before ``computed`` add up to it; those after it are about it and not part of it. What nobody computed
    has no column.
    """
    rows = [row for row in table.rows if row.parts_ev]
    if not rows:
        return []
    columns = [(name, heading) for name, heading in _PARTS if any(name in row.parts_ev for row in rows)]
    before = [column for column in columns if column[0] in _SUMMANDS]
    after = [column for column in columns if column[0] not in _SUMMANDS]
    heading = ("label", *(h for _, h in before), "computed", *(h for _, h in after))
    return [heading, *(_parts_row(row, before, after) for row in rows)]


def _parts_row(row: TableRow, before: list[tuple[str, str]], after: list[tuple[str, str]]) -> tuple[str, ...]:
    def cells(columns: list[tuple[str, str]]) -> list[str]:
        return [_number(row.parts_ev.get(name), "+.3f") for name, _ in columns]

    return (row.label, *cells(before), _number(row.computed_ev, "+.3f"), *cells(after))


def _number(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _heading(table: Table) -> str:
    doi = f" (doi {table.doi})" if table.doi else ""
    return f"{table.title or table.study}{doi}"


def _charge_words(table: Table) -> tuple[str, str]:
    """Heading of the charges, and what they are: of one guest, or of all guests of a complex together."""
    if any(row.guests > 1 for row in table.rows):
        return "q(guests)", "Mulliken charge of all guests together, their sum in e"
    return "q(guest)", "Mulliken charge in e"


def _parts_note(table: Table) -> str:
    """What the parts add up to."""
    reference = " + reference" if any("reference" in row.parts_ev for row in table.rows) else ""
    return (
        f"parts: interaction of host and guest as they are in the complex + their deformations{reference} = computed; "
        "dispersion: what of it is the dispersion term; counterpoise and zero point are not included, add them if you "
        "want"
    )


def _notes(table: Table, temperature: float) -> list[str]:
    """The lines under a table: method, checks, preferred places, spin states, problems, warnings."""
    lines = [f"protocol {table.protocol}: {table.level}", f"{_formula(table)}; {': '.join(_charge_words(table))}"]
    if not all(row.reference.startswith("free") for row in table.rows):
        lines.append(f"guests are counted from: {', '.join(dict.fromkeys(row.reference for row in table.rows))}")
    if any(row.parts_ev for row in table.rows):
        lines.append(_parts_note(table))
    lines += [f"{check.verdict}: {check.claim} (computed: {check.computed})" for check in table.checks]
    lines += [line for one in site_preferences(table, temperature) if (line := preference_line(one))]
    lines += list(dict.fromkeys(line for row in table.rows for line in _states_lines(row)))
    lines += [f"no number for {row.label}: {row.problem}" for row in table.rows if row.problem]
    lines += [f"{row.label}: {warning}" for row in table.rows for warning in row.warnings]
    return lines


def _formula(table: Table) -> str:
    """What the energies are, in words."""
    host, guest = "E(host)", "E(guest)"
    if any(row.guests > 1 for row in table.rows):
        if table.energies == "stepwise":
            host = "E(host with all guests but the last)"
        else:
            guest = "E(all guests)"
    return f"E(complex) - {host} - {guest} in eV, negative = bound"


def _states_lines(row: TableRow) -> list[str]:
    """Spin states of the parts of a row that were computed in several, the lowest first; what searches found."""
    names = {"host": row.host, "complex": row.label}
    lines = []
    for part in dict.fromkeys(state.part for state in row.states):
        states = sorted((state for state in row.states if state.part == part), key=_height)
        of = names.get(part, f"{row.label}, first guest alone")
        if len(states) > 1:
            lines.append(f"2S+1 of {of}: {', '.join(_state_text(state) for state in states)}")
        lines += [_searched_text(of, state) for state in states if len(state.searched) > 1]
    return lines


def _searched_text(of: str, state: SpinState) -> str:
    heights = ", ".join(f"{height:+.3f}" for height in heights_ev(state.searched)[1:])
    return f"electronic states of {of}, 2S+1 = {state.multiplicity}: {heights} eV from the one computed, by a search"


def _height(state: SpinState) -> float:
    return float("inf") if state.above_lowest_ev is None else state.above_lowest_ev


def _state_text(state: SpinState) -> str:
    if state.above_lowest_ev is None:
        return f"{state.multiplicity} has no result ({state.problem})"
    spin = "" if state.s_squared is None else f" (<S2> {state.s_squared:.3f})"
    return f"{state.multiplicity} at {state.above_lowest_ev:+.3f} eV{spin}"


def _text(table: Table, temperature: float) -> str:
    parts = parts_cells(table)
    blocks = [
        _columns(table_cells(table)),
        *([["parts / eV", *_columns(parts)]] if parts else []),
        _notes(table, temperature),
    ]
    return "\n".join([_heading(table), *(line for block in blocks for line in ("", *block))]) + "\n"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows in columns, the heading underlined."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def _markdown(table: Table, temperature: float) -> str:
    parts = parts_cells(table)
    lines = [f"**{_heading(table)}**", "", *_pipes(table_cells(table)), ""]
    if parts:
        lines += ["**parts / eV**", "", *_pipes(parts), ""]
    return "\n".join([*lines, *(f"- {note}" for note in _notes(table, temperature))]) + "\n"


def _pipes(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return lines


_CSV_FIELDS = ("label", "host", "guest", "site_kind", "site_label", "start_site", "final_site", "final_label",
               "computed_ev", "published_ev", "difference_ev", "tolerance_ev", "verdict", "multiplicity", "s_squared",
               "protocol", "level", "guests", "reference", "reference_ev", "stepwise_ev", "total_ev",
               "per_atom_ev")  # fmt: skip


def _csv(table: Table, _: float) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    schemes = sorted({scheme for row in table.rows for scheme in row.guest_charge})
    parts = list(dict.fromkeys(part for row in table.rows for part in row.parts_ev))
    legs = [leg for leg in ("complex", "before", "host", "guest") if any(leg in row.calculations for row in table.rows)]
    names = [*(f"guest_charge_{s}" for s in schemes), *(f"part_{p}_ev" for p in parts), *(f"{leg}_id" for leg in legs)]
    writer.writerow([*_CSV_FIELDS, *names, "spin_states", "problem", "warnings", "source"])
    for row in table.rows:
        values = row.model_dump()
        charges, ids = [row.guest_charge.get(s) for s in schemes], [row.calculations.get(leg) for leg in legs]
        energies = [row.parts_ev.get(part) for part in parts]
        states = "; ".join(f"{state.part} {_state_text(state)}" for state in row.states)
        said = [row.problem, "; ".join(row.warnings), row.source]
        writer.writerow([*(values[field] for field in _CSV_FIELDS), *charges, *energies, *ids, states, *said])
    return buffer.getvalue()


def _json(table: Table, temperature: float) -> str:
    preferences = [one.model_dump(mode="json") for one in site_preferences(table, temperature)]
    return json.dumps(table.model_dump(mode="json") | {"preferences": preferences}, indent=2, ensure_ascii=False) + "\n"


_LATEX_SPECIAL = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
                  "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
                  ">": r"\textgreater{}"}  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text)


def _latex(table: Table, temperature: float) -> str:
    """A booktabs table with all columns, and another of the parts where there are some; the notes are comments."""
    caption, parts = _escaped(_heading(table)), parts_cells(table)
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {note}" for note in _notes(table, temperature)),
        *_booktabs(table_cells(table), f"{caption}. {_escaped(table.level)}."),
    ]
    if parts:
        lines += _booktabs(parts, f"{caption}: parts of the energies / eV.")
    return "\n".join(lines) + "\n"


def _booktabs(rows: list[tuple[str, ...]], caption: str) -> list[str]:
    """Rows as a LaTeX table."""
    heading, *body = rows
    return [
        r"\begin{table}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{'l' * len(heading)}}}",
        r"\toprule",
        _latex_line(heading),
        r"\midrule",
        *(_latex_line(row) for row in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _latex_line(cells: tuple[str, ...]) -> str:
    def cell(text: str) -> str:
        return f"${text}$" if re.fullmatch(r"[+-]?\d+\.?\d*", text) else _escaped(text)

    return " & ".join(map(cell, cells)) + r" \\"


FORMATS: dict[str, Callable[[Table, float], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "latex": _latex,
}
