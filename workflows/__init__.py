"""What to compute: protocols, plans, the PySCF and xTB engines, and the shipped studies."""

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
