"""Adsorption energies: computed beside published ones, and the ladder of the sites of each guest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alkaflow.analysis.plot_style import (
    BAD,
    GOOD,
    INK,
    MUTED,
    TWO_COLUMNS,
    caption,
    empty_figure,
    minus,
    new_figure,
    one_line,
    signed,
    styled,
    wrapped,
)
from alkaflow.analysis.table import Table, TableRow

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _GROUP = 0.25, 0.32  # heights of a row and of the heading of a group [inch]
_AXIS_BELOW, _ABOVE = 0.42, 0.52  # room for the axis and for title and legend [inch]
_LEFT, _RIGHT = 1.75, 1.15  # room for the labels and for the verdicts [inch]
_VERDICTS = {
    "agrees": ("\N{CHECK MARK} agrees", GOOD),
    "deviates": ("\N{BALLOT X} deviates", BAD),
    "guest moved": ("\N{RIGHTWARDS ARROW} guest moved", BAD),
    "not published": ("not published", MUTED),
    "missing": ("missing", BAD),
}
_COMPUTED: dict[tuple[str, ...], str] = {
    ("agrees",): "computed, agrees",
    ("deviates", "guest moved"): "computed, deviates or moved",
    ("not published",): "computed only",
}


def adsorption_formula(table: Table) -> str:
    """What the energies of a table are."""
    host, guest = "E(host)", "E(guest)"
    if any(row.guests > 1 for row in table.rows):
        if table.energies == "stepwise":
            host = "E(host with all guests but the last)"
        else:
            guest = "E(all guests)"
    references = {row.reference for row in table.rows}
    counted = "" if all(name.startswith("free") for name in references) else f"; guest: {', '.join(sorted(references))}"
    return f"E(complex) \N{MINUS SIGN} {host} \N{MINUS SIGN} {guest}, negative = bound{counted}"


# --- computed beside published ---------------------------------------------------------------------------------------


@styled
def compared_chart(table: Table) -> "Figure":
    """Draw computed beside published adsorption energies [eV], and how far they are apart.

    Rows are grouped by host and guest. On the left both energies; on the right their difference within the tolerance,
    with the verdict in words. A row without a number says why.
    """
    if not table.rows:
        return empty_figure(f"{table.title or table.study}: no rows")
    places, headings = _places(table)
    below = _AXIS_BELOW + _caption_room(table)
    height = _ABOVE + below + places[-1] + _ROW
    figure = new_figure(TWO_COLUMNS, height)
    bottom, top = below / height, 1 - _ABOVE / height
    left, right, middle = _LEFT / TWO_COLUMNS, 1 - _RIGHT / TWO_COLUMNS, 0.62
    energies = figure.add_axes((left, bottom, middle - left, top - bottom))
    differences = figure.add_axes((middle + 0.025, bottom, right - middle - 0.025, top - bottom))
    for axes in (energies, differences):
        axes.set_ylim(places[-1] + _ROW, 0.0)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
    _draw_energies(energies, table, places)
    _draw_differences(differences, table, places)
    for at, text in headings:
        energies.annotate(
            text,
            (0.012, at),
            xycoords=("figure fraction", "data"),
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )
    figure.text(0.012, 1 - 0.07 / height, one_line(table.title or table.study, 110), fontsize=10, fontweight="bold",
                va="top")  # fmt: skip
    _add_legend(figure, table, 1 - 0.29 / height)
    caption(figure, _caption(table))
    return figure


def _places(table: Table) -> tuple[list[float], list[tuple[float, str]]]:
    """How far down each row lies, and the headings of the groups with theirs [inch]."""
    several = len({row.host for row in table.rows}) > 1
    places: list[float] = []
    headings: list[tuple[float, str]] = []
    down, group = 0.0, None
    for row in table.rows:
        if (row.host, row.guest) != group:
            group = (row.host, row.guest)
            heading = f"{row.guest} on {row.host}" if several else row.guest
            headings.append((down + _GROUP / 2, one_line(heading, 40)))
            down += _GROUP
        places.append(down + _ROW / 2)
        down += _ROW
    return places, headings


def _draw_energies(axes: "Axes", table: Table, places: Sequence[float]) -> None:
    """Dots for both energies, joined; the label of the row on the left."""
    known = [e for row in table.rows for e in (row.computed_ev, row.published_ev) if e is not None]
    low, high = min([*known, 0.0]), max([*known, 0.0])
    room = 0.06 * max(high - low, 0.5)
    axes.set_xlim(low - room, high + room)
    if low < 0.0 < high + room:
        axes.axvline(0.0, color="#999999", linewidth=0.8)
    axes.set_xlabel("adsorption energy / eV")
    for row, at in zip(table.rows, places, strict=True):
        name = row.label if row.site_label in row.label else f"{row.label}, {row.site_label}"
        axes.annotate(
            one_line(name, 31), (0.022, at), xycoords=("figure fraction", "data"), va="center", annotation_clip=False
        )
        if row.published_ev is not None:
            band = row.tolerance_ev or 0.0
            axes.barh(at, 2 * band, 0.6 * _ROW, row.published_ev - band, color="#d9d9d9", zorder=1.5)
            axes.plot(row.published_ev, at, marker="D", ms=5, mfc="white", mec=INK, mew=1.0, zorder=3)
        if row.computed_ev is not None:
            colour = _VERDICTS[row.verdict][1]
            if row.published_ev is not None:
                axes.plot([row.published_ev, row.computed_ev], [at, at], color=colour, linewidth=1.2, zorder=2)
            axes.plot(row.computed_ev, at, marker="o", ms=5, color=colour, zorder=4)


def _draw_differences(axes: "Axes", table: Table, places: Sequence[float]) -> None:
    """Bars from the published energy to the computed one, the tolerance behind them, the verdict on the right."""
    differences = [row.difference_ev for row in table.rows if row.difference_ev is not None]
    tolerances = [row.tolerance_ev for row in table.rows if row.tolerance_ev is not None]
    reach = 1.25 * max([*(abs(value) for value in differences), *tolerances, 0.02])
    axes.set_xlim(-reach, reach)
    axes.axvline(0.0, color="#666666", linewidth=0.9)
    axes.set_xlabel("computed \N{MINUS SIGN} published / eV")
    for row, at in zip(table.rows, places, strict=True):
        words, colour = _VERDICTS[row.verdict]
        if row.tolerance_ev is not None:
            axes.barh(at, 2 * row.tolerance_ev, 0.78 * _ROW, -row.tolerance_ev, color="#e3e3e3", zorder=1.5)
        if row.difference_ev is not None:
            axes.barh(at, row.difference_ev, 0.36 * _ROW, color=colour, zorder=2)
            words = f"{signed(row.difference_ev)}  {words}"
        axes.annotate(
            words, (1.03, at), xycoords=("axes fraction", "data"), va="center", color=colour, annotation_clip=False
        )


def _add_legend(figure: "Figure", table: Table, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    verdicts = {row.verdict for row in table.rows if row.computed_ev is not None}
    entries: list[Artist] = [
        Line2D([], [], ls="", marker="o", ms=5, color=_VERDICTS[said[0]][1], label=words)
        for said, words in _COMPUTED.items()
        if verdicts & set(said)
    ]
    if any(row.published_ev is not None for row in table.rows):
        entries.append(Line2D([], [], ls="", marker="D", ms=5, mfc="white", mec=INK, label="published"))
    if any(row.tolerance_ev for row in table.rows):
        entries.append(Patch(color="#dddddd", label="\N{PLUS-MINUS SIGN} tolerance"))
    figure.legend(handles=entries, loc="upper left", bbox_to_anchor=(0.006, top), ncols=6, borderaxespad=0.0,
                  borderpad=0.0, handletextpad=0.4, columnspacing=1.4)  # fmt: skip


def _caption(table: Table) -> list[str]:
    """What the numbers are: formula, level, source; and why some are missing."""
    doi = f"Published: doi {table.doi}." if table.doi else "Published energies: no doi given."
    lines = [f"Energies: {adsorption_formula(table)}. Level: {table.level} (protocol {table.protocol}). {doi}"]
    lines += [f"No number for {row.label}: {row.problem}" for row in table.rows if row.problem]
    return lines


def _caption_room(table: Table) -> float:
    """Height of the caption [inch]."""
    lines = sum(len(wrapped(part, 0.976 * 72 * TWO_COLUMNS, 6.5)) for part in _caption(table))
    return (8.6 * lines + 8.0) / 72


# --- ladder ----------------------------------------------------------------------------------------------------------

_COLUMN, _LEVEL = 2.5, 0.62  # widths of a ladder and of its rungs; one is about an inch
_GAP_ARROW = {"arrowstyle": "<->", "lw": 0.7, "color": "#555555", "shrinkA": 1, "shrinkB": 1, "mutation_scale": 6}


@styled
def site_ladder(table: Table) -> "Figure":
    """Draw the energies of the sites as a ladder for each guest, with the gaps between its rungs [eV].

    Published energies are dashed rungs on the right of each ladder. Rows without a number are named below it.
    """
    ladders = _ladders(table)
    drawn = [row for rows in ladders.values() for row in rows if row.computed_ev is not None]
    if not drawn:
        return empty_figure(f"{table.title or table.study}: no energies yet")
    width = min(max(2.6 * len(ladders) + 0.65, 3.5), 16.0)
    height = 3.7
    figure = new_figure(width, height)
    foot = (8.6 * sum(len(wrapped(part, 0.976 * 72 * width, 6.5)) for part in _ladder_caption(table)) + 8.0) / 72
    axes = figure.add_axes((0.66 / width, (foot + 0.3) / height, 1 - 0.73 / width, 1 - (foot + 0.68) / height))
    axes.set_xlim(-0.3, _COLUMN * len(ladders) - 0.3)
    energies = [e for row in drawn for e in (row.computed_ev, row.published_ev) if e is not None]
    low, high = min(energies), max([*energies, 0.0] if len(energies) == 1 else energies)
    span = max(high - low, 0.3)
    axes.set_ylim(low - 0.12 * span, high + 0.12 * span)
    axes.set_ylabel("adsorption energy / eV")
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks(
        [_COLUMN * n + 0.2 + _LEVEL / 2 for n in range(len(ladders))], list(ladders), fontweight="bold", fontsize=8.5
    )
    axes.tick_params(axis="x", length=0, pad=6)
    row_height = 8.5 / 72 / (height * axes.get_position().height) * 1.24 * span
    for number, rows in enumerate(ladders.values()):
        _draw_ladder(axes, rows, _COLUMN * number, row_height)
    figure.text(0.012, 1 - 0.07 / height, one_line(table.title or table.study, int(14 * width)), fontsize=10,
                fontweight="bold", va="top")  # fmt: skip
    caption(figure, _ladder_caption(table))
    return figure


def _ladders(table: Table) -> dict[str, list[TableRow]]:
    """Rows by guest, and by host where there are several."""
    several = len({row.host for row in table.rows}) > 1
    ladders: dict[str, list[TableRow]] = {}
    for row in table.rows:
        ladders.setdefault(f"{row.guest} on {row.host}" if several else row.guest, []).append(row)
    return ladders


def _draw_ladder(axes: "Axes", rows: Sequence[TableRow], left: float, row_height: float) -> None:
    """Rungs with their labels on the right and the gaps between neighbours on the left."""
    rungs = sorted((row for row in rows if row.computed_ev is not None), key=lambda row: row.computed_ev or 0.0)
    energies = np.array([row.computed_ev or 0.0 for row in rungs])
    texts = spread(energies, 2.1 * row_height)
    start, end = left + 0.2, left + 0.2 + _LEVEL
    for row, energy, at in zip(rungs, energies, texts, strict=True):
        colour = BAD if row.verdict == "guest moved" else GOOD
        axes.plot([start, end], [energy, energy], color=colour, linewidth=1.9, solid_capstyle="butt")
        if row.published_ev is not None:
            axes.plot([end + 0.02, end + 0.2], [row.published_ev] * 2, color=INK, linewidth=1.1, ls=(0, (2, 1.2)))
        axes.plot([end + 0.23, end + 0.3], [energy, at], color="#999999", linewidth=0.6)
        moved = row.verdict == "guest moved"
        label = "" if row.site_label in row.label else f"  {one_line(row.label, 12)}"
        words = f"{minus(energy)}{label}\n{one_line(row.site_label, 13 if moved else 21)}"
        axes.text(end + 0.33, at, words + " (moved)" * moved, va="center", fontsize=7.2, linespacing=1.15)
    middles = spread((energies[:-1] + energies[1:]) / 2, row_height)
    for below, above, at in zip(energies[:-1], energies[1:], middles, strict=True):
        if above - below > 1.2 * row_height:
            axes.annotate("", (left + 0.1, below), (left + 0.1, above), arrowprops=_GAP_ARROW)
        axes.text(left + 0.08, at, f"{above - below:.2f}", ha="right", va="center", fontsize=7, color="#444444")
    missing = [row.label for row in rows if row.computed_ev is None]
    if missing:
        words = one_line(f"missing: {', '.join(missing)}", 40)
        axes.annotate(words, (left + 0.2, 0.0), (0, 2), ("data", "axes fraction"), textcoords="offset points",
                      color=BAD, fontsize=7, va="bottom")  # fmt: skip


def spread(wanted: np.ndarray, apart: float) -> np.ndarray:
    """Move ascending places as little as it takes for neighbours to be so far apart.

    Least squares with a constraint on neighbours: runs of places that would touch are laid around their common mean.
    """
    runs: list[list[float]] = []  # sum of the wanted places less the steps within the run, number of places
    for value in wanted:
        runs.append([float(value), 1.0])
        while len(runs) > 1:
            (first, count), (second, more) = runs[-2], runs[-1]
            if second / more - first / count >= count * apart:
                break
            runs[-2:] = [[first + second - more * count * apart, count + more]]
    return np.array([total / count + apart * step for total, count in runs for step in range(int(count))])


def _ladder_caption(table: Table) -> list[str]:
    doi = f" doi {table.doi}" if table.doi else ""
    published = f" Dashed: published.{doi}" if any(row.published_ev is not None for row in table.rows) else ""
    level = f"{table.level} (protocol {table.protocol})"
    return [f"Levels: {adsorption_formula(table)}; gaps between neighbours in eV. {level}.{published}"]
