"""HATCN (1,4,5,8,9,12-hexaazatriphenylene-hexacarbonitrile, C18N12), built with exact D3h symmetry."""

import math
from dataclasses import dataclass

import numpy as np

from alkaflow.structures.structure import FloatArray, Structure


@dataclass(frozen=True)
class HatcnGeometry:
    """Bond lengths [Angstrom] and angles [degree]; the defaults are close to a B3LYP geometry.

    ``a`` are the carbons of the central ring, ``b`` the outer pyrazine carbons.
    """

    a_a_in_pyrazine: float = 1.42
    a_a_between_pyrazines: float = 1.475
    a_n: float = 1.33
    n_b: float = 1.325
    b_b: float = 1.43
    b_nitrile_c: float = 1.44
    nitrile: float = 1.157
    angle_a_a_n: float = 120.9
    angle_b_b_nitrile_c: float = 120.1


HATCN_PAIR_LABELS: dict[str, str] = {
    "imine bay + imine bay": "11",
    "imine bay + nitrile corner, opposite": "12",
    "imine bay + nitrile corner, adjacent": "13",
    "imine bay + central face": "14",
    "imine bay + pyrazine face, adjacent": "15",
    "imine bay + pyrazine face, opposite": "16",
}
"""Labels of two metal atoms on HATCN, the first at a bay, in doi 10.1002/batt.202300351.

The paper draws 11, 12 and 13 and calls three more rare without saying which is which; these are the only three left.
"""


def hatcn(geometry: HatcnGeometry | None = None) -> Structure:
    """Build HATCN in the xy plane, the C2 axis of one pyrazine ring along +x.

    The five symmetry-unique atoms come first, then their images: y -> -y, then rotations by 120 and 240 degrees.

    Returns
    -------
    Structure
        30 atoms, planar, in the order of rings (azimuths 0, 120, 240 degrees).
    """
    g = geometry or HatcnGeometry()
    half = g.a_a_in_pyrazine / 2
    # |R(120) (x, -half) - (x, half)| = sqrt(3) x - half
    a = np.array([(g.a_a_between_pyrazines + half) / math.sqrt(3), half])
    angle = math.radians(g.angle_a_a_n)
    n = a + g.a_n * np.array([math.sin(angle), -math.cos(angle)])
    b_y = g.b_b / 2
    b = np.array([n[0] + math.sqrt(g.n_b**2 - (n[1] - b_y) ** 2), b_y])
    angle = math.radians(g.angle_b_b_nitrile_c)
    along = np.array([math.sin(angle), -math.cos(angle)])
    nitrile_c = b + g.b_nitrile_c * along
    nitrile_n = nitrile_c + g.nitrile * along

    unique = np.array([a, n, b, nitrile_c, nitrile_n])
    ring = np.vstack([np.column_stack([unique, np.zeros(5)]), np.column_stack([unique * [1, -1], np.zeros(5)])])
    positions: FloatArray = np.vstack([ring @ _rotation_about_z(k).T for k in range(3)])
    return Structure(("C", "N", "C", "C", "N") * 6, positions, name="HATCN")


def _rotation_about_z(thirds: int) -> FloatArray:
    """Rotation by thirds of a turn, shape=(3, 3), with exact cosines."""
    cosine = (1.0, -0.5, -0.5)[thirds]
    sine = (0.0, math.sqrt(0.75), -math.sqrt(0.75))[thirds]
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
