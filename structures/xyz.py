"""The XYZ format: read with errors that name file and line, write so that reading gives the same back."""

import math
import re
from pathlib import Path

import numpy as np

from alkaflow.elements import ATOMIC_NUMBER, SYMBOLS
from alkaflow.errors import BadInputError, ParseError, UnknownNameError
from alkaflow.files import write_atomically
from alkaflow.structures.structure import MAX_ATOMS, FloatArray, Structure
from alkaflow.structures.textfiles import read_text

_STATE = re.compile(r"(?<![\w.-])(charge|multiplicity)\s*=\s*[\"']?([^\s,;()\[\]{}\"'|]*)", re.IGNORECASE)
_COLUMNS = re.compile(r"initial_(?:magmoms|charges)", re.IGNORECASE)
_PERIODIC = re.compile(r"\bpbc\s*=\s*[\"'\[{(]*[^=]*?\b(?:T|True|1)\b", re.IGNORECASE)
_WHOLE = re.compile(r"([+-]?\d{1,9})(\.0*)?", re.ASCII)


def read_xyz(path: Path | str, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """Read a file with one structure.

    Parameters
    ----------
    path
        An XYZ file: number of atoms, comment, then ``symbol x y z`` [Angstrom] per line.
    charge, multiplicity
        Of the structure; by default what the comment line says (``charge=-1 multiplicity=1``), then neutral and the
        lowest multiplicity. Another charge than the comment's goes with the lowest multiplicity, not the comment's.

    Raises
    ------
    ParseError
        The file breaks the format, the comment gives charge or multiplicity twice or as no whole number, or it is that
        of a crystal or of columns that are not read; the message names file and line.
    BadInputError
        The file cannot be read, atoms overlap, or charge and multiplicity are impossible.
    """
    path = Path(path)
    text = read_text(path)
    symbols, positions = parse_xyz(text, path)
    said = _parse_state(text.splitlines()[1], path)
    if charge is None or charge == said.get("charge", 0):
        charge = said.get("charge", 0)
        multiplicity = multiplicity or said.get("multiplicity", 0)
    try:
        return Structure(symbols, positions, charge, multiplicity or 0, path.stem)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def parse_xyz(text: str, path: Path | str = "<text>") -> tuple[tuple[str, ...], FloatArray]:
    """Parse XYZ text into symbols and positions [Angstrom], shape=(n_atoms, 3); ``path`` is for messages."""
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise ParseError(path, 1, "expected the number of atoms, found nothing")
    first = lines[0].strip()
    if not first.isascii() or not first.isdigit() or len(first) > 9:
        raise ParseError(path, 1, f"expected the number of atoms, found {first[:40]!r}")
    count = int(first)
    if not 1 <= count <= MAX_ATOMS:
        raise ParseError(path, 1, f"{count} atoms; 1 to {MAX_ATOMS} are handled")
    symbols: list[str] = []
    positions: list[list[float]] = []
    for number, line in enumerate(lines[2 : 2 + count], start=3):
        symbol, position = _parse_atom(line, path, number)
        symbols.append(symbol)
        positions.append(position)
    if len(symbols) < count:
        raise ParseError(path, len(lines), f"line 1 promises {count} atoms, but the file ends after {len(symbols)}")
    for number, line in enumerate(lines[2 + count :], start=3 + count):
        if line.strip():
            raise ParseError(path, number, f"line 1 promises {count} atoms, but there is more: {line.strip()[:40]!r}")
    return tuple(symbols), np.array(positions)


def _parse_state(comment: str, path: Path | str) -> dict[str, int]:
    """Charge and multiplicity, as far as the comment, the second line of a file, gives them."""
    said: dict[str, int] = {}
    for name, written in _STATE.findall(comment):
        key, whole = name.lower(), _WHOLE.fullmatch(written)
        if whole is None:
            raise ParseError(path, 2, f"{key} is not a whole number: {written[:40]!r}; correct it, or leave it out")
        value = int(whole[1])
        if key == "multiplicity" and value < 1:
            raise ParseError(path, 2, f"multiplicity is {value}; it is 2S+1, so 1 for a singlet")
        if said.setdefault(key, value) != value:
            raise ParseError(path, 2, f"{key} is given twice, as {said[key]} and as {value}; leave one out")
    if len(said) < 2 and (column := _COLUMNS.search(comment)):
        raise ParseError(
            path, 2, f"the column {column[0]} is not read; write charge= and multiplicity= of the whole into this line"
        )
    if _PERIODIC.search(comment):
        raise ParseError(path, 2, "pbc says that this is a crystal; give a molecule or a cluster, without pbc")
    return said


def _parse_atom(line: str, path: Path | str, number: int) -> tuple[str, list[float]]:
    fields = line.split()
    if len(fields) < 4:
        raise ParseError(path, number, f"expected 'symbol x y z', found {line.strip()[:60]!r}")
    symbol = fields[0].capitalize()
    if symbol not in ATOMIC_NUMBER:
        raise ParseError(path, number, str(UnknownNameError("element", fields[0][:20], SYMBOLS)))
    position = []
    for axis, field in zip("xyz", fields[1:4], strict=True):
        try:
            value = float(field)
        except ValueError:
            raise ParseError(path, number, f"{axis} is not a number: {field[:40]!r}") from None
        if not math.isfinite(value):
            raise ParseError(path, number, f"{axis} is not finite: {field[:40]!r}")
        position.append(value)
    return symbol, position


def format_xyz(structure: Structure, comment: str = "") -> str:
    """Return XYZ text with ten decimals [Angstrom]."""
    lines = [str(len(structure)), " ".join(comment.split())]
    lines += [
        f"{symbol:<2} {x:16.10f} {y:16.10f} {z:16.10f}"
        for symbol, (x, y, z) in zip(structure.symbols, structure.positions, strict=True)
    ]
    return "\n".join(lines) + "\n"


def write_xyz(structure: Structure, path: Path | str, comment: str = "") -> None:
    """Write an XYZ file, whole or not at all."""
    write_atomically(Path(path), format_xyz(structure, comment).encode(), mode=0o644)
