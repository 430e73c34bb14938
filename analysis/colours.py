"""Colours of elements and of the kinds of sites, the same in every view."""

from alkaflow.elements import atomic_number

SITE_COLOURS = {
    "bay": "#d55e00",
    "corner": "#b5179e",
    "end": "#e6a000",
    "lone-pair": "#56b4e9",
    "face": "#009e73",
    "top": "#8c564b",
    "bridge": "#6a3d9a",
    "oxo": "#f08bb4",
    "acidic": "#a6b800",
}
"""Kind of site -> colour; the first ones can be told apart by colour-blind readers too."""

_OTHER_KIND = "#555555"


def site_colour(kind: str) -> str:
    """Return the colour of a kind of site as ``#rrggbb``; grey for a kind that has none."""
    return SITE_COLOURS.get(kind, _OTHER_KIND)


def element_colour(symbol: str) -> str:
    """Return the Jmol colour of an element as ``#rrggbb``; that of meitnerium for those after it."""
    from ase.data.colors import jmol_colors

    number = min(atomic_number(symbol), len(jmol_colors) - 1)
    red, green, blue = (round(255 * float(value)) for value in jmol_colors[number])
    return f"#{red:02x}{green:02x}{blue:02x}"
