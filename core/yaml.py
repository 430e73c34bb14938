"""Safe YAML: plain data only, duplicate keys refused, size, depth and aliases bounded."""

from pathlib import Path
from typing import Any

from alkaflow.errors import BadInputError, ParseError

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 20


def load_yaml(path: Path) -> Any:
    """Read a YAML file as plain data.

    Raises
    ------
    BadInputError
        The file cannot be read or is larger than 1 MB.
    ParseError
        It is not YAML, repeats a key, nests deeper than 20 or uses aliases; names file and line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise BadInputError(f"{path} has {len(data)} bytes; at most {_MAX_BYTES} are read")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ParseError(path, line, "not UTF-8 text") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML text; ``path`` is for messages only. See load_yaml for the errors."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, AliasEvent):
                raise ParseError(
                    path,
                    event.start_mark.line + 1,
                    "YAML aliases (*name) are not used here; repeat the value",
                )
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise ParseError(path, event.start_mark.line + 1, f"nested deeper than {_MAX_DEPTH} levels")
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        problem = " ".join((error.problem or "not valid YAML").split())
        raise ParseError(path, mark.line + 1 if mark else None, problem) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise ParseError(
            path, None, f"not valid YAML: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from None
