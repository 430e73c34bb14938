"""What a firework may hold: the id of a calculation, and nothing that could become code.

FireWorks imports the class that a spec names, and some of its own classes run what a spec says. So a spec is looked
at as data, before anything is made of it.
"""

import re
from collections.abc import Mapping
from typing import Any

from alkaflow.errors import BadInputError

TASK_NAME = "{{alkaflow.launchpad.firetask.RunCalculation}}"
_ID = re.compile(r"[0-9a-f]{20}", re.ASCII)


def check_spec(spec: Any, firework: int | str | None = None) -> str:
    """Return the id of the calculation that a firework's spec names.

    Parameters
    ----------
    spec
        As MongoDB gives it: ``{"_tasks": [{"_fw_name": TASK_NAME, "calculation": id}], "_priority": int}``, the
        priority left out where there is none.
    firework
        Number or name, for the message.

    Raises
    ------
    BadInputError
        The spec is anything else; names the firework. Nothing of the spec was imported, made or run.
    """
    wrong = _what_is_wrong(spec)
    if wrong is not None:
        which = "a firework" if firework is None else f"firework {str(firework)[:40]}"
        raise BadInputError(f"{which} is refused, as its spec {wrong}; alkaflow submit writes it anew")
    return str(spec["_tasks"][0]["calculation"])


def _what_is_wrong(spec: Any) -> str | None:
    if not _is_plain(spec, {"_tasks"}, {"_priority"}):
        return "holds other keys than _tasks and _priority"
    priority = spec.get("_priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool):
        return "has a priority that is no integer"
    tasks = spec["_tasks"]
    if type(tasks) is not list or len(tasks) != 1 or not _is_plain(tasks[0], {"_fw_name", "calculation"}, set()):
        return "is not one task with the id of a calculation"
    if type(tasks[0]["_fw_name"]) is not str or tasks[0]["_fw_name"] != TASK_NAME:
        return f"names another task than {TASK_NAME}"
    calculation = tasks[0]["calculation"]
    if type(calculation) is not str or _ID.fullmatch(calculation) is None:
        return "holds no id of a calculation"
    return None


def _is_plain(value: Any, needed: set[str], allowed: set[str]) -> bool:
    """Whether a value is a mapping with all needed keys, perhaps some allowed ones, and no others."""
    return isinstance(value, Mapping) and needed <= set(value) <= needed | allowed
