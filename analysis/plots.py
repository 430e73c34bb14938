"""All pictures by name, as functions from data to a figure, and how to save one.

>>> from alkaflow.workflows.library import shipped_table
>>> figure = compared_chart(shipped_table("hatcn", "published-sp"))
>>> "Li1, imine bay" in figure_texts(figure)
True
"""

from alkaflow.analysis.plot_charges import charge_bars, charges_picture, structure_of, values_of
from alkaflow.analysis.plot_convergence import convergence_chart
from alkaflow.analysis.plot_energies import compared_chart, site_ladder
from alkaflow.analysis.plot_structure import structure_picture
from alkaflow.analysis.plot_style import figure_bytes, figure_texts, save_figure
from alkaflow.analysis.potential_scale import common_limits
from alkaflow.analysis.surface_picture import difference_picture, slice_picture, surface_picture

__all__ = [
    "charge_bars",
    "charges_picture",
    "common_limits",
    "compared_chart",
    "convergence_chart",
    "difference_picture",
    "figure_bytes",
    "figure_texts",
    "save_figure",
    "site_ladder",
    "slice_picture",
    "structure_of",
    "structure_picture",
    "surface_picture",
    "values_of",
]
