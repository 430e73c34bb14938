"""How far apart a guest and a host atom start: sums of contact radii that know the guest and its charge.

These are starting distances. They are good to about 0.1 Angstrom where experiment or theory gives one, and a relaxation
follows.
"""

from ase.data import atomic_numbers, covalent_radii, vdw_radii

from alkaflow.elements import is_metal

METAL_RADII = {"Li": 0.70, "Na": 1.05, "K": 1.41, "Zn": 0.90}
"""Contact radii of neutral metal atoms at a host [Angstrom].

Li and Na: B3LYP minima at N-heteroaromatics (Li-N 2.00, Na-N 2.35) less the radius of N. K: Na and the difference of
their ionic radii. Zn: between the radius of its ion and its covalent radius.
"""

ION_RADII = {"Li": 0.59, "Na": 0.99, "K": 1.37, "Zn": 0.60}
"""Effective ionic radii, four-coordinate [Angstrom]: Shannon, Acta Cryst. A32, 751 (1976)."""

DONOR_RADII = {"N": 1.30, "O": 1.25, "F": 1.20, "S": 1.75, "P": 1.75, "Cl": 1.70, "Br": 1.85, "C": 1.65, "H": 1.30}
"""Contact radii of host atoms towards a metal [Angstrom]; C stands for a ring, H for a hydride or a close C-H."""

_HYDROGEN_BOND = 0.75  # of the sum of van der Waals radii: F..H 2.00, O..H 2.04 Angstrom
_ACCEPTORS = {"N", "O", "F", "S", "Cl"}  # of hydrogen bonds
_TOUCHING = 0.90  # of the sum of van der Waals radii, for atoms that only touch
_UNKNOWN_RADIUS = 2.0  # van der Waals radius where there is none in the table [Angstrom]
_NOT_BONDED = 0.70  # of an H or C of a guest that only comes near a metal, beyond the same sum [Angstrom]
_DATIVE = 0.10  # of a bond from a lone pair to a metal beyond the sum of covalent radii [Angstrom]


def contact_distance(host: str, guest: str, charge: int = 0) -> float:
    """Distance at which an atom of a guest starts from an atom of a host that holds it [Angstrom].

    Parameters
    ----------
    host, guest
        Element symbols.
    charge
        Of the guest, where it is a metal: an ion comes closer than an atom.
    """
    if is_metal(guest) and is_metal(host):
        return covalent_distance(host, guest)
    if is_metal(guest):
        return _guest_radius(guest, charge) + _donor_radius(host)
    if is_metal(host):
        return covalent_distance(host, guest) + (_NOT_BONDED if guest in ("H", "C") else _DATIVE)
    if "H" in (host, guest) and {host, guest} & _ACCEPTORS:
        return _HYDROGEN_BOND * van_der_waals_distance(host, guest)
    return _TOUCHING * van_der_waals_distance(host, guest)


def covalent_distance(first: str, second: str) -> float:
    """Sum of covalent radii [Angstrom]: Cordero et al., Dalton Trans. 2832 (2008), doi 10.1039/b801115j."""
    return float(covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]])


def van_der_waals_distance(first: str, second: str) -> float:
    """Sum of van der Waals radii [Angstrom]: Bondi 1964 and Alvarez 2013, as tabulated in ASE."""
    return _van_der_waals_radius(first) + _van_der_waals_radius(second)


def _guest_radius(symbol: str, charge: int) -> float:
    radii = ION_RADII if charge > 0 else METAL_RADII
    return radii.get(symbol, float(covalent_radii[atomic_numbers[symbol]]) - 0.6)


def _donor_radius(symbol: str) -> float:
    return DONOR_RADII.get(symbol, float(covalent_radii[atomic_numbers[symbol]]) + 0.7)


def _van_der_waals_radius(symbol: str) -> float:
    radius = float(vdw_radii[atomic_numbers[symbol]])
    return radius if radius == radius else _UNKNOWN_RADIUS  # noqa: PLR0124  (not a number where there is none)
