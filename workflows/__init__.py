"""What to compute: protocols, plans, the PySCF and xTB engines, and the shipped studies.

The names below resolve on first use, so that a process that needs one light module of this package starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alkaflow.workflows.bundle import Bundle, read_bundle, read_orbital_file, write_bundle
    from alkaflow.workflows.cost import Cost, calibrate, estimate
    from alkaflow.workflows.library import (
        StudySource,
        load_study,
        shipped_bundle,
        shipped_studies,
        shipped_table,
    )
    from alkaflow.workflows.plan import make_plan, plan_single
    from alkaflow.workflows.protocols import PROTOCOLS, Protocol, get_protocol
    from alkaflow.workflows.ranking import Dropped, Minimum, Ranking, rank_sites

_LAZY = {
    "Bundle": "alkaflow.workflows.bundle",
    "Cost": "alkaflow.workflows.cost",
    "Dropped": "alkaflow.workflows.ranking",
    "Minimum": "alkaflow.workflows.ranking",
    "PROTOCOLS": "alkaflow.workflows.protocols",
    "Protocol": "alkaflow.workflows.protocols",
    "Ranking": "alkaflow.workflows.ranking",
    "StudySource": "alkaflow.workflows.library",
    "calibrate": "alkaflow.workflows.cost",
    "estimate": "alkaflow.workflows.cost",
    "get_protocol": "alkaflow.workflows.protocols",
    "load_study": "alkaflow.workflows.library",
    "make_plan": "alkaflow.workflows.plan",
    "plan_single": "alkaflow.workflows.plan",
    "rank_sites": "alkaflow.workflows.ranking",
    "read_bundle": "alkaflow.workflows.bundle",
    "read_orbital_file": "alkaflow.workflows.bundle",
    "shipped_bundle": "alkaflow.workflows.library",
    "shipped_studies": "alkaflow.workflows.library",
    "shipped_table": "alkaflow.workflows.library",
    "write_bundle": "alkaflow.workflows.bundle",
}

__all__ = [
    "PROTOCOLS",
    "Bundle",
    "Cost",
    "Dropped",
    "Minimum",
    "Protocol",
    "Ranking",
    "StudySource",
    "calibrate",
    "estimate",
    "get_protocol",
    "load_study",
    "make_plan",
    "plan_single",
    "rank_sites",
    "read_bundle",
    "read_orbital_file",
    "shipped_bundle",
    "shipped_studies",
    "shipped_table",
    "write_bundle",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name on first use."""
        if name not in _LAZY:
            raise AttributeError(f"module 'alkaflow.workflows' has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)
