"""Printing: data to standard output, talk to standard error."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alkaflow.errors import BadInputError
from alkaflow.files import write_atomically


def print_json(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2))


def print_columns(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns of text."""
    cells = [list(heading), *([("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heading))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def say(sentence: str) -> None:
    """Tell the user something that is not data."""
    print(sentence, file=sys.stderr, flush=True)


def write_text(text: str, path: Path | None) -> None:
    """Write text to a file, or to standard output without one.

    Raises
    ------
    BadInputError
        The file cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    try:
        write_atomically(path, text.encode(), mode=0o644)
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}") from None
    say(f"written: {path}")


def study_name(text: str) -> str:
    """The name of a study given by name or by the path of its file."""
    from alkaflow.workflows import load_study

    return load_study(text).study.name if text.endswith((".yaml", ".yml")) else text


def number_of(number: int, one: str, many: str | None = None) -> str:
    """Write a number of things: 1 calculation, 2 calculations."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write a time as people do: 42 s, 3 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
