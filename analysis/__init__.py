"""Physics on results: adsorption energies, tables and the checks beside them."""

from alkaflow.analysis.checks import Check, published_checks
from alkaflow.analysis.energies import (
    Decomposition,
    FragmentRecords,
    Part,
    adsorption_energy_ev,
    check_legs_match,
    decompose,
)
from alkaflow.analysis.formats import FORMATS, format_table
from alkaflow.analysis.preference import Preference, site_preferences
from alkaflow.analysis.table import Table, TableRow, build_table

__all__ = [
    "FORMATS",
    "Check",
    "Decomposition",
    "FragmentRecords",
    "Part",
    "Preference",
    "Table",
    "TableRow",
    "adsorption_energy_ev",
    "build_table",
    "check_legs_match",
    "decompose",
    "format_table",
    "published_checks",
    "site_preferences",
]
