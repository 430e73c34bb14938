"""Physics on results: adsorption energies, tables and the checks beside them."""

from alkaflow.analysis.checks import Check, published_checks
from alkaflow.analysis.energies import adsorption_energy_ev, check_legs_match
from alkaflow.analysis.formats import FORMATS, format_table
from alkaflow.analysis.table import Table, TableRow, build_table

__all__ = [
    "FORMATS",
    "Check",
    "Table",
    "TableRow",
    "adsorption_energy_ev",
    "build_table",
    "check_legs_match",
    "format_table",
    "published_checks",
]
