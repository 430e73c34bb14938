"""CM5 charges: Hirshfeld's, with a term per pair of atoms that makes dipole moments right.

A. V. Marenich, S. V. Jerome, C. J. Cramer, D. G. Truhlar, J. Chem. Theory Comput. 8, 527 (2012), doi 10.1021/ct200866d.
Parameters as in the authors' program CM5PAC (2015), read beside their copies in tblite (``solvation/cm5.f90``) and
mctc-lib (``data/atomicrad.f90``), with which they agree.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from alkaflow.elements import SYMBOLS, atomic_number
from alkaflow.structures import FloatArray
from alkaflow.units import BOHR_ANGSTROM

_ALPHA = 2.474  # 1/Angstrom

# Covalent radii [Angstrom] from H on: M. Mantina, R. Valero, C. J. Cramer, D. G. Truhlar in CRC Handbook of Chemistry
# and Physics, 91st edition (2010), pages 9-49 to 9-50, as corrected for the 92nd.
_RADII = np.array([
    0.32, 0.37, 1.30, 0.99, 0.84, 0.75, 0.71, 0.64, 0.60, 0.62, 1.60, 1.40, 1.24, 1.14, 1.09, 1.04, 1.00, 1.01,
    2.00, 1.74, 1.59, 1.48, 1.44, 1.30, 1.29, 1.24, 1.18, 1.17, 1.22, 1.20, 1.23, 1.20, 1.20, 1.18, 1.17, 1.16,
    2.15, 1.90, 1.76, 1.64, 1.56, 1.46, 1.38, 1.36, 1.34, 1.30, 1.36, 1.40, 1.42, 1.40, 1.40, 1.37, 1.36, 1.36,
    2.38, 2.06, 1.94, 1.84, 1.90, 1.88, 1.86, 1.85, 1.83, 1.82, 1.81, 1.80, 1.79, 1.77, 1.77, 1.78, 1.74, 1.64,
    1.58, 1.50, 1.41, 1.36, 1.32, 1.30, 1.30, 1.32, 1.44, 1.45, 1.50, 1.42, 1.48, 1.46, 2.42, 2.11, 2.01, 1.90,
    1.84, 1.83, 1.80, 1.80, 1.73, 1.68, 1.68, 1.68, 1.65, 1.67, 1.73, 1.76, 1.61, 1.57, 1.49, 1.43, 1.41, 1.34,
    1.29, 1.28, 1.21, 1.22, 1.36, 1.43, 1.62, 1.75, 1.65, 1.57,
])  # fmt: skip

# D_Z [e]; 0 for every other element.
_ATOMIC = {
    "H": 0.0056, "He": -0.1543,
    "Be": 0.0333, "B": -0.1030, "C": -0.0446, "N": -0.1072, "O": -0.0802, "F": -0.0629, "Ne": -0.1088,
    "Na": 0.0184, "Al": -0.0726, "Si": -0.0790, "P": -0.0756, "S": -0.0565, "Cl": -0.0444, "Ar": -0.0767,
    "K": 0.0130, "Ga": -0.0512, "Ge": -0.0557, "As": -0.0533, "Se": -0.0399, "Br": -0.0313, "Kr": -0.0541,
    "Rb": 0.0092, "In": -0.0361, "Sn": -0.0393, "Sb": -0.0376, "Te": -0.0281, "I": -0.0220, "Xe": -0.0381,
    "Cs": 0.0065, "Tl": -0.0255, "Pb": -0.0277, "Bi": -0.0265, "Po": -0.0198, "At": -0.0155, "Rn": -0.0269,
    "Fr": 0.0046, "Nh": -0.0179, "Fl": -0.0195, "Mc": -0.0187, "Lv": -0.0140, "Ts": -0.0110, "Og": -0.0189,
}  # fmt: skip

# D_ZZ' [e] where it is no difference of two D_Z; that of the reversed pair is the negative.
_PAIRS = {
    ("H", "C"): 0.0502,
    ("H", "N"): 0.1747,
    ("H", "O"): 0.1671,
    ("C", "N"): 0.0556,
    ("C", "O"): 0.0234,
    ("N", "O"): -0.0346,
}


def _table() -> FloatArray:
    """D_ZZ' of all pairs of elements, shape=(118, 118)."""
    atomic: FloatArray = np.array([_ATOMIC.get(symbol, 0.0) for symbol in SYMBOLS])
    table: FloatArray = atomic[:, None] - atomic
    for (one, other), value in _PAIRS.items():
        i, j = atomic_number(one) - 1, atomic_number(other) - 1
        table[i, j], table[j, i] = value, -value
    return table


_DIFFERENCES = _table()


def cm5(hirshfeld: FloatArray, symbols: Sequence[str], positions: FloatArray) -> FloatArray:
    """Charges q_A + sum over B of D_AB exp(-alpha (r_AB - R_A - R_B)) [e], with the same sum as the Hirshfeld charges.

    Parameters
    ----------
    hirshfeld
        Hirshfeld charges q of the atoms, shape=(n_atoms,) [e].
    symbols
        Elements of the atoms.
    positions
        Of the atoms, shape=(n_atoms, 3) [bohr].
    """
    numbers = np.array([atomic_number(symbol) for symbol in symbols]) - 1
    distances = cdist(positions, positions) * BOHR_ANGSTROM
    order = np.exp(-_ALPHA * (distances - _RADII[numbers][:, None] - _RADII[numbers]))
    corrected: FloatArray = hirshfeld + (_DIFFERENCES[np.ix_(numbers, numbers)] * order).sum(axis=1)
    return corrected
