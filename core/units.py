"""Conversion factors, CODATA values as shipped by scipy. Inside: Hartree, bohr, e. At the edges: eV, Angstrom."""

from scipy.constants import physical_constants

HARTREE_EV: float = physical_constants["Hartree energy in eV"][0]
"""Energy of one Hartree [eV]."""

HARTREE_KJ_MOL: float = physical_constants["Hartree energy"][0] * physical_constants["Avogadro constant"][0] / 1000
"""Energy of one Hartree per particle [kJ/mol]."""

HARTREE_KCAL_MOL: float = HARTREE_KJ_MOL / 4.184
"""The same in thermochemical calories [kcal/mol]."""

BOLTZMANN_EV: float = physical_constants["Boltzmann constant in eV/K"][0]
"""Boltzmann's constant [eV/K]."""

BOHR_ANGSTROM: float = physical_constants["Bohr radius"][0] * 1e10
"""Length of one bohr [Angstrom]."""

DEBYE_AU: float = (
    1e-21
    / physical_constants["speed of light in vacuum"][0]
    / physical_constants["atomic unit of electric dipole mom."][0]
)
"""Dipole moment of one debye [e bohr]; 1 D = 1e-21 C m^2/s divided by c."""
