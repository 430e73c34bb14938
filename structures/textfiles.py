"""Text files of structures, read with errors a user can act on."""

from pathlib import Path

from alkaflow.errors import BadInputError, ParseError

_MAX_BYTES = 10_000_000


def read_text(path: Path) -> str:
    """Read a text file, UTF-8 or, as in many old files, Latin-1.

    Raises
    ------
    BadInputError
        It cannot be read, or is too long.
    ParseError
        It is no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise BadInputError(f"cannot read {str(path)!r}: {error}") from None
    if len(data) > _MAX_BYTES:
        raise BadInputError(f"{path} has {len(data)} bytes; at most {_MAX_BYTES} are read")
    if b"\0" in data:
        raise ParseError(path, data[: data.index(b"\0")].count(b"\n") + 1, "not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
