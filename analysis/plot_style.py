"""One style for every picture: sizes, colours that colour-blind readers tell apart, files that repeat exactly.

Pictures are matplotlib figures made without a display. Lengths in points unless a name says otherwise; widths fit the
columns of a journal.
"""

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from alkaflow.errors import BadInputError
from alkaflow.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PICTURE_SUFFIXES = (".png", ".svg")
"""The formats of a picture, by the suffix of its file."""

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.0
"""Widths of figures [inch]."""

DPI = 300

_PACKING = 4  # of PNG files: half the time of the usual 6, and a twentieth more bytes

SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Colours of what stands side by side (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""

GOOD, BAD, MUTED, INK = "#0072b2", "#d55e00", "#767676", "#1b1b1b"
"""Of what agrees, what deviates, what is said beside, and text."""

SIGNED_MAP = "RdBu"
"""matplotlib's map of charges and potentials: red is negative, blue positive, white zero."""

_SETTINGS = {
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "axes.unicode_minus": True,
    "svg.hashsalt": "alkaflow",
}

_P = ParamSpec("_P")


@contextmanager
def picture_style() -> Iterator[None]:
    """Plain settings of matplotlib and ours, whatever the user's own are."""
    from matplotlib import style

    with style.context(["default", dict(_SETTINGS)]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(make: "Callable[_P, Figure]") -> "Callable[_P, Figure]":
    """Make a function draw its figure in the style of all pictures."""

    @wraps(make)
    def draw(*args: _P.args, **kwargs: _P.kwargs) -> "Figure":
        with picture_style():
            return make(*args, **kwargs)

    return draw


def figure_bytes(figure: "Figure", form: str = "png") -> bytes:
    """Return a figure as PNG or SVG; the same figure gives the same bytes."""
    if form == "png":
        return png_bytes(figure_image(figure))
    buffer = io.BytesIO()
    with picture_style():
        figure.savefig(buffer, format=form, dpi=DPI, metadata={"Date": None})
    return buffer.getvalue()


def figure_image(figure: "Figure") -> "Image":
    """Return a figure as pixels."""
    from PIL import Image

    buffer = io.BytesIO()
    with picture_style():
        figure.savefig(buffer, format="rgba", dpi=DPI)
    size = int(figure.get_figwidth() * DPI), int(figure.get_figheight() * DPI)
    return Image.frombytes("RGBA", size, buffer.getvalue()).convert("RGB")


def png_bytes(image: "Image") -> bytes:
    """Return pixels as PNG that knows its size in print."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_PACKING, dpi=(DPI, DPI))
    return buffer.getvalue()


def small_png_bytes(image: "Image") -> bytes:
    """Return pixels as PNG in at most 256 colours, for pages that hold many."""
    from PIL import Image

    buffer = io.BytesIO()
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def save_figure(figure: "Figure", path: Path) -> Path:
    """Write a figure into a file that is whole or not there; returns its path.

    Raises
    ------
    BadInputError
        The suffix is none of PICTURE_SUFFIXES, or the file cannot be written there.
    """
    path = Path(path)
    check_picture_path(path)
    data = figure_bytes(figure, path.suffix.lower().removeprefix("."))
    try:
        write_atomically(path, data, mode=0o644)
    except OSError as error:
        raise BadInputError(f"cannot write the picture {path}: {error.strerror}") from error
    return path


def check_picture_path(path: Path) -> None:
    """Refuse a file that no picture can be written to, before any work is done for it.

    Raises
    ------
    BadInputError
        The suffix is none of PICTURE_SUFFIXES, or the directory does not exist.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise BadInputError(f"cannot draw {path}: the name of a picture ends in {' or '.join(PICTURE_SUFFIXES)}")
    if not path.parent.is_dir():
        raise BadInputError(f"cannot draw {path}: there is no directory {path.parent}")


def one_line(text: str, limit: int) -> str:
    """Return a text without line breaks and control characters, cut to a length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def wrapped(text: str, width: float, size: float = 7.5) -> list[str]:
    """Break a text into lines of at most so many points."""
    return textwrap.wrap(one_line(text, 1000), max(20, int(width / (0.54 * size))))


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, minus as typeset; zero has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def minus(value: float, digits: int = 2) -> str:
    """Return a number, minus as typeset."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def caption(figure: "Figure", parts: Sequence[str], left: float = 0.012) -> float:
    """Write lines at the foot of a figure, each part from a line of its own; returns their height [inch]."""
    width = figure.get_figwidth() * 72 * (1 - 2 * left)
    lines = [line for part in parts if part for line in wrapped(part, width, 6.5)]
    step = 8.6
    height = figure.get_figheight() * 72
    figure.text(left, 4.0 / height, "\n".join(lines), fontsize=6.5, color="#555555", va="bottom", linespacing=1.1)
    return (step * len(lines) + 4.0) / 72


def figure_texts(figure: "Figure") -> list[str]:
    """All texts of a figure that are drawn, for whoever reads them without seeing."""
    from matplotlib.text import Text

    texts: list[Text] = figure.findobj(Text)
    return [text.get_text() for text in texts if text.get_text() and text.get_visible()]


def empty_figure(message: str) -> "Figure":
    """A figure that says why there is nothing to see."""
    figure = new_figure(ONE_COLUMN, 1.0)
    lines = wrapped(message, ONE_COLUMN * 72 - 20)
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", color=MUTED)
    return figure


def new_figure(width: float, height: float, **settings: Any) -> "Figure":
    """An empty figure [inch] that needs no display and is known to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), **settings)
    FigureCanvasAgg(figure)
    return figure
