"""Charges and spins on atoms: on the structure, as bars, and summed over fragments."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from alkaflow.analysis.plot_structure import draw_structure, grey_sticks, prepare_axes, view_of
from alkaflow.analysis.plot_style import (
    SERIES,
    SIGNED_MAP,
    TWO_COLUMNS,
    caption,
    empty_figure,
    new_figure,
    one_line,
    signed,
    styled,
)
from alkaflow.errors import BadInputError
from alkaflow.records import Record
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray, Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["charge", "spin"]

SCHEME_NAMES = {
    "mulliken": "Mulliken",
    "loewdin": "Löwdin",
    "meta_loewdin": "meta-Löwdin",
    "nao": "NAO",
    "npa": "NPA",
    "iao": "IAO",
    "hirshfeld": "Hirshfeld",
    "cm5": "CM5",
    "bader": "Bader",
    "chelpg": "CHELPG",
    "resp": "RESP",
}
"""Names of schemes as people write them."""

_SPIN_MAP = "PuOr"  # violet: beta; orange: alpha, after reversal
_BALL = 0.47  # radius of a ball that a number fits on [Angstrom]
_NUMBER = 21.0  # width of a number over a bar [points]
_MOST_BARS = 14  # atoms of a bar chart


def scheme_name(scheme: str) -> str:
    """Return the name of a scheme as people write it."""
    return SCHEME_NAMES.get(scheme, scheme.replace("_", " "))


def structure_of(record: Record) -> Structure:
    """The structure that a record is about, where all of its atoms are there.

    Raises
    ------
    BadInputError
        Some atoms are basis functions only.
    """
    if record.ghosts:
        raise BadInputError(f"calculation {record.id} has ghost atoms; draw the complex or the fragment itself")
    positions = np.array(record.positions_angstrom)
    return Structure(tuple(record.symbols), positions, record.charge, record.multiplicity)


def values_of(record: Record, kind: Kind = "charge") -> dict[str, list[float]]:
    """Charges or spins of a record by scheme [e]; empty where it has none."""
    if record.populations is None:
        return {}
    return dict(record.populations.charges if kind == "charge" else record.populations.spins)


@styled
def charges_picture(
    structure: Structure,
    values: Mapping[str, Sequence[float]],
    kind: Kind = "charge",
    limit: float | None = None,
    title: str = "",
) -> "Figure":
    """Draw a structure with a charge or spin on every atom, a panel for each scheme, all on one scale.

    Parameters
    ----------
    structure
        Any structure.
    values
        By scheme, in the order of the atoms [e]: charges, or spin populations (alpha less beta).
    limit
        The value at the ends of the colours [e]; the largest one drawn where there is none.
    title
        A line above the panels.

    Raises
    ------
    BadInputError
        A scheme has another number of values than there are atoms, or one that is not finite.
    """
    arrays = _checked(structure, values)
    if not arrays:
        return empty_figure(f"{title or structure.formula}: no {kind}s were computed")
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, to_hex

    reach = limit or max(0.01, *(float(np.abs(array).max()) for array in arrays.values()))
    scale = Normalize(-reach, reach)
    colours = colormaps[SIGNED_MAP] if kind == "charge" else colormaps[_SPIN_MAP].reversed()
    view = view_of(structure, _BALL)
    columns = min(len(arrays), 2 if view.high[0] - view.low[0] > 5.0 else 4)
    rows = -(-len(arrays) // columns)
    panel, tall = view.size((TWO_COLUMNS / columns - 0.1, 4.2))
    width = max(columns * (panel + 0.1), 3.4)
    above, below = 0.34 if title else 0.06, 0.66
    height = rows * (tall + 0.26) + above + below
    figure = new_figure(width, height)
    points = 72 * panel / float(view.high[0] - view.low[0])
    gap = (width - columns * panel) / columns
    sticks = grey_sticks(view)
    for number, (scheme, array) in enumerate(arrays.items()):
        row, column = divmod(number, columns)
        left, top = column * (panel + gap) + gap / 2, height - above - row * (tall + 0.26)
        axes = figure.add_axes((left / width, (top - tall - 0.26) / height, panel / width, tall / height))
        prepare_axes(axes, view)
        draw_structure(axes, view, [to_hex(colours(scale(value))) for value in array], sticks=sticks)
        axes.set_title(scheme_name(scheme), loc="center", pad=2)
        for atom, value in enumerate(array):
            words = f"{structure.symbols[atom]}\n{signed(value)}"
            size = float(np.clip(1.9 * view.radii[atom] * points / (0.62 * len(words.split("\n")[1])), 2.5, 7.0))
            ink = "white" if abs(value) > 0.6 * reach else "black"
            x, y, _ = view.places[atom]
            axes.text(x, y, words, ha="center", va="center", fontsize=size, color=ink, zorder=5,
                      linespacing=0.95)  # fmt: skip
    if title:
        figure.text(0.5, 1 - 0.06 / height, one_line(title, int(13 * width)), fontsize=10, fontweight="bold",
                    ha="center", va="top")  # fmt: skip
    bar_axes = figure.add_axes((0.5 - 1.3 / width, 0.42 / height, 2.6 / width, 0.09 / height))
    bar = figure.colorbar(ScalarMappable(scale, colours), cax=bar_axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    ends = "red: negative, blue: positive" if kind == "charge" else "orange: more alpha, violet: more beta"
    bar.set_label(f"{'charge' if kind == 'charge' else 'spin population'} / e ({ends})", fontsize=7.5, labelpad=2)
    return figure


@styled
def charge_bars(
    structure: Structure,
    values: Mapping[str, Sequence[float]],
    fragments: Mapping[str, Sequence[int]] | None = None,
    atoms: Sequence[int] | None = None,
    kind: Kind = "charge",
    title: str = "",
) -> "Figure":
    """Draw schemes side by side for a few atoms, and the sums over fragments.

    Parameters
    ----------
    structure
        Any structure.
    values
        By scheme, in the order of the atoms [e].
    fragments
        Name of a fragment -> its atoms, the guest last; their sums are a panel of their own.
    atoms
        Which ones; the last fragment and its neighbours where they are not given, or the first atoms of the
        structure.
    title
        A line above the panels.

    Raises
    ------
    BadInputError
        A scheme has another number of values than there are atoms, or an atom is not there.
    """
    arrays = _checked(structure, values)
    if not arrays:
        return empty_figure(f"{title or structure.formula}: no {kind}s were computed")
    groups = {name: list(members) for name, members in (fragments or {}).items() if len(members)}
    shown = list(atoms) if atoms is not None else _near_guest(structure, groups)
    for atom in [*shown, *(member for members in groups.values() for member in members)]:
        if not 0 <= atom < len(structure):
            raise BadInputError(f"there is no atom {atom} among {len(structure)}, counted from 0")
    figure = new_figure(TWO_COLUMNS, 2.9)
    sizes = [max(len(shown), 2), *([max(len(groups), 1.5)] if groups else [])]
    panels = np.atleast_1d(figure.subplots(1, len(sizes), sharey=True, width_ratios=sizes))
    names = [[f"{structure.symbols[atom]}{atom}" for atom in shown], list(groups)]
    heights = [
        {scheme: array[shown] for scheme, array in arrays.items()},
        {s: np.array([array[members].sum() for members in groups.values()]) for s, array in arrays.items()},
    ]
    group = 0.85 * 72 * TWO_COLUMNS / sum(sizes)  # width [points]
    for axes, labels, bars, above in zip(panels, names, heights, ("atoms", "sums over fragments"), strict=False):
        _draw_bars(axes, labels, bars, group)
        axes.set_title(above)
    low, high = panels[0].get_ylim()
    room = (0.2 if 0.8 * group / len(arrays) < _NUMBER else 0.1) * (high - low)
    panels[0].set_ylim(low - room * (low < 0), high + room * (high > 0))
    panels[0].set_ylabel(f"{'charge' if kind == 'charge' else 'spin population'} / e")
    panels[0].legend(*panels[0].get_legend_handles_labels(), ncols=len(arrays), loc="lower left",
                     bbox_to_anchor=(0.0, 1.12), borderaxespad=0.0, columnspacing=1.2, handlelength=1.0)  # fmt: skip
    figure.text(0.012, 0.985, one_line(title or structure.name or structure.formula, 100), fontsize=10,
                fontweight="bold", va="top")  # fmt: skip
    used = caption(figure, ["Atoms are counted from 0."])
    figure.subplots_adjust(left=0.085, right=0.99, top=0.76, bottom=(used + 0.3) / 2.9, wspace=0.06)
    return figure


def _draw_bars(axes: "Axes", labels: Sequence[str], bars: Mapping[str, FloatArray], width: float) -> None:
    """Groups of bars, one for each label, with a bar for each scheme and its value at its end.

    Parameters
    ----------
    width
        Of a group [points].
    """
    each = 0.8 / len(bars)
    upright = width * each < _NUMBER
    for number, (scheme, heights) in enumerate(bars.items()):
        at = np.arange(len(labels)) + each * (number + 0.5) - 0.4
        drawn = axes.bar(at, heights, 0.92 * each, color=SERIES[number % len(SERIES)], label=scheme_name(scheme))
        words = [signed(value) for value in heights]
        axes.bar_label(drawn, words, fontsize=6.5 if width * each > 8.0 else 5.0, padding=2,
                       rotation=90 if upright else 0)  # fmt: skip
    axes.axhline(0.0, color="#555555", linewidth=0.8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.55, len(labels) - 0.45)
    axes.tick_params(axis="x", length=0)


def _near_guest(structure: Structure, groups: Mapping[str, Sequence[int]]) -> list[int]:
    """The atoms of the last fragment and those bound to them or, where none are, the four nearest."""
    if len(groups) < 2:
        return list(range(min(len(structure), _MOST_BARS)))
    guest = list(groups[list(groups)[-1]])
    rest = [atom for atom in range(len(structure)) if atom not in set(guest)]
    apart = np.linalg.norm(structure.positions[rest][:, None] - structure.positions[guest], axis=-1).min(axis=1)
    ordered = [rest[number] for number in np.argsort(np.round(apart, 3), kind="stable")]
    graph = BondGraph(structure).neighbours
    bound = [atom for atom in ordered if set(graph[atom]) & set(guest)] or ordered[:4]
    return [*guest, *bound][:_MOST_BARS]


def _checked(structure: Structure, values: Mapping[str, Sequence[float]]) -> dict[str, FloatArray]:
    """Values as arrays, shape=(n_atoms,) each."""
    arrays = {scheme: np.asarray(list(each), dtype=float) for scheme, each in values.items()}
    for scheme, array in arrays.items():
        if array.shape != (len(structure),):
            raise BadInputError(f"{len(array)} {scheme} values for {len(structure)} atoms")
        if not np.isfinite(array).all():
            raise BadInputError(f"atom {int(np.flatnonzero(~np.isfinite(array))[0])} has no finite {scheme} value")
    return arrays
