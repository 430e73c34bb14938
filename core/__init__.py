"""alkaflow: published adsorption-energy tables as executable tests.

The short names below resolve lazily, so that ``import alkaflow`` stays fast and pulls in no chemistry library.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "AlkaflowError": "alkaflow.errors",
    "Record": "alkaflow.records",
    "Settings": "alkaflow.settings",
    "Structure": "alkaflow.structures",
    "build_complex": "alkaflow.structures",
    "calculate": "alkaflow.launchpad.single",
    "find_sites": "alkaflow.structures",
    "hatcn": "alkaflow.structures",
    "load_host": "alkaflow.structures",
    "load_study": "alkaflow.workflows",
    "read_xyz": "alkaflow.structures",
    "results": "alkaflow.launchpad.query",
    "shipped_table": "alkaflow.workflows",
    "write_xyz": "alkaflow.structures",
}

__all__ = ["__version__", *sorted(_LAZY)]  # noqa: PLE0604  (the lazy names exist through __getattr__)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'alkaflow' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the public names, the lazy ones included."""
    return list(__all__)
