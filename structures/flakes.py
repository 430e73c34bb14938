"""Graphene flakes on the ideal honeycomb: pristine, doped with one nitrogen, or holding a metal atom.

A place of the honeycomb is a pair of integers (X, Y): x = X a / 2 and y = Y a sqrt(3) / 2 with the C-C length a. Atoms
are bonded when they differ by (+-2, 0) or (+-1, +-1), and a ring has its corners there about its centre. All flakes are
planar in xy about the origin. Pyrene, ovalene, circumpyrene and circumovalene have a bond along x at the centre, where
a metal fits; coronene has a ring there.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from alkaflow.errors import UnknownNameError
from alkaflow.structures.spin import METAL_MULTIPLICITIES
from alkaflow.structures.structure import FloatArray, Structure

Place = tuple[int, int]

C_C = 1.42
"""Bond length of graphene [Angstrom], for every bond between the places of the honeycomb."""

C_H = 1.09
"""Length of the bonds that saturate the edge [Angstrom]."""

ZR_HEIGHT = 0.9
"""Height of Zr, too large for the hole, above the flake [Angstrom]."""

_BONDED = ((2, 0), (-2, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_NEXT_RING = ((0, 2), (0, -2), (3, 1), (3, -1), (-3, 1), (-3, -1))

_NAPHTHALENE = frozenset({(0, 1), (0, -1)})
_PYRENE = _NAPHTHALENE | {(3, 0), (-3, 0)}

# Rings to begin with, and how many times these are surrounded by rings.
_FLAKES: dict[str, tuple[frozenset[Place], int]] = {
    "pyrene": (_PYRENE, 0),
    "coronene": (frozenset({(0, 0)}), 1),
    "ovalene": (_NAPHTHALENE, 1),
    "circumpyrene": (_PYRENE, 1),
    "circumovalene": (_NAPHTHALENE, 2),
}
_METAL_FLAKES = ("pyrene", "ovalene", "circumpyrene", "circumovalene")

_DOPINGS = ("graphitic-n", "pyridinic-n")

_CENTRAL_BOND = frozenset({(1, 0), (-1, 0)})
_UPPER_BRIDGE, _LOWER_BRIDGE = frozenset({(1, 2), (-1, 2)}), frozenset({(1, -2), (-1, -2)})
_UPPER, _LOWER = ((2, 1), (-2, 1)), ((2, -1), (-2, -1))

# Donor elements of the upper and the lower pair, and the carbons that are missing besides the central two.
_COORDINATIONS: dict[str, tuple[str, str, frozenset[Place]]] = {
    "n4": ("N", "N", frozenset()),
    "n2o2": ("N", "O", _LOWER_BRIDGE),
    "o4": ("O", "O", _UPPER_BRIDGE | _LOWER_BRIDGE),
}


def flake(name: str) -> Structure:
    """Build a pristine flake.

    Parameters
    ----------
    name
        ``pyrene`` C16H10, ``coronene`` C24H12, ``ovalene`` C32H14, ``circumpyrene`` C42H16 or ``circumovalene``
        C66H20.

    Returns
    -------
    Structure
        Positions in Angstrom: carbons from the centre outward (then by falling x and y), then hydrogens. A closed
        shell.

    Raises
    ------
    UnknownNameError
        No such flake.
    """
    return _structure(dict.fromkeys(_carbons(name), "C"), name)


def doped_flake(name: str, doping: str) -> Structure:
    """Build a flake with one nitrogen.

    Parameters
    ----------
    name
        One of those of `flake`.
    doping
        ``graphitic-n``: N in place of a carbon with three carbon neighbours, the one nearest the centre. It brings one
        electron more: a doublet. ``pyridinic-n``: N in place of an edge C-H, the one nearest the centre: a closed
        shell. Of several equally near, the one with the largest x, then y.

    Returns
    -------
    Structure
        The atoms of the flake in the same order, less the H where there is none any more.

    Raises
    ------
    UnknownNameError
        No such flake or doping.
    """
    carbons = _carbons(name)
    if doping not in _DOPINGS:
        raise UnknownNameError("doping", doping, _DOPINGS)
    bonds = 3 if doping == "graphitic-n" else 2
    replaced = next(place for place in carbons if len(_bonded(place, carbons)) == bonds)
    return _structure({place: "N" if place == replaced else "C" for place in carbons}, f"{name}-{doping}")


def metal_flake(metal: str, coordination: str = "n4", name: str = "ovalene") -> Structure:
    """Build a flake with a metal(II) in place of its central two carbons, held by four donors.

    The four neighbours of the missing carbons become donors at 1.323 x 1.42 = 1.88 Angstrom from the metal, before any
    relaxation.

    An N has two carbon neighbours, as in pyridine. An O with two carbon neighbours has no bond left for the metal, so
    each O keeps one, as in a ketone or an enolate: where the donors of one side are O, the two carbons that bridge
    them are missing too, and their other neighbours carry H. Hence with pyrene ``n4`` is the tetraaza[14]annulene
    complex, ``n2o2`` the Schiff base complex (O,N,N,O with both N on one side, cis, as in salen) and ``o4`` the
    bis(malonaldehyde enolate), which are closed shells about M(II); with the larger flakes the same hole, with oxygen
    at its edge. The planar start can be a saddle point where H and O at the edge of the hole are close: at GFN2-xTB
    Zn-O4 in ovalene puckers (0.4 eV), Co-O4 in circumpyrene stays flat.

    Parameters
    ----------
    metal
        Mn, Fe, Co, Ni, Cu, Zn or Zr. Zr sits 0.9 Angstrom above the plane, the others in it.
    coordination
        ``n4``, ``n2o2`` or ``o4``.
    name
        ``pyrene``, ``ovalene``, ``circumpyrene`` or ``circumovalene``: those with a bond at the centre.

    Returns
    -------
    Structure
        Neutral; the metal first; the first multiplicity of `METAL_MULTIPLICITIES`.

    Raises
    ------
    UnknownNameError
        No such metal, coordination or flake.
    """
    if metal not in METAL_MULTIPLICITIES:
        raise UnknownNameError("metal in a flake", metal, METAL_MULTIPLICITIES)
    if coordination not in _COORDINATIONS:
        raise UnknownNameError("coordination", coordination, _COORDINATIONS)
    if name not in _METAL_FLAKES:
        raise UnknownNameError("flake with a bond at its centre", name, _METAL_FLAKES)
    upper, lower, bridges = _COORDINATIONS[coordination]
    donors = dict.fromkeys(_UPPER, upper) | dict.fromkeys(_LOWER, lower)
    kept = [place for place in _carbons(name) if place not in _CENTRAL_BOND | bridges]
    frame = _structure({place: donors.get(place, "C") for place in kept}, "")
    height = ZR_HEIGHT if metal == "Zr" else 0.0
    return Structure(
        (metal, *frame.symbols),
        np.vstack([[0.0, 0.0, height], frame.positions]),
        multiplicity=METAL_MULTIPLICITIES[metal][0],
        name=f"{metal.lower()}-{coordination}-{name}",
    )


def _carbons(name: str) -> list[Place]:
    """Places of a flake's carbons, from the centre outward, then by falling x and y."""
    if name not in _FLAKES:
        raise UnknownNameError("flake", name, _FLAKES)
    rings, layers = _FLAKES[name]
    for _ in range(layers):
        rings = rings | _shifted(rings, _NEXT_RING)
    return sorted(_shifted(rings, _BONDED), key=lambda place: (place[0] ** 2 + 3 * place[1] ** 2, -place[0], -place[1]))


def _shifted(places: Iterable[Place], shifts: Iterable[Place]) -> frozenset[Place]:
    shifts = tuple(shifts)
    return frozenset((x + dx, y + dy) for x, y in places for dx, dy in shifts)


def _bonded(place: Place, places: Iterable[Place]) -> list[Place]:
    """Those of the places that are bonded to one."""
    return [other for other in places if (other[0] - place[0], other[1] - place[1]) in _BONDED]


def _structure(elements: dict[Place, str], name: str) -> Structure:
    """Atoms on their places, and an H on every carbon that has two neighbours only."""
    hydrogens = []
    for place, element in elements.items():
        bonded = _bonded(place, elements)
        if element == "C" and len(bonded) == 2:
            carbon = _position(place)
            outward = 2 * carbon - _position(bonded[0]) - _position(bonded[1])
            hydrogens.append(carbon + C_H * outward / np.linalg.norm(outward))
    positions = np.array([*(_position(place) for place in elements), *hydrogens])
    return Structure((*elements.values(), *["H"] * len(hydrogens)), positions, name=name)


def _position(place: Place) -> FloatArray:
    """Cartesian position [Angstrom], shape=(3,)."""
    return np.array([place[0] * C_C / 2, place[1] * C_C * math.sqrt(0.75), 0.0])


FLAKE_HOSTS: dict[str, Callable[[], Structure]] = {
    **{name: partial(flake, name) for name in _FLAKES},
    **{f"{name}-{doping}": partial(doped_flake, name, doping) for name in _FLAKES for doping in _DOPINGS},
    **{
        f"{metal.lower()}-{coordination}-{name}": partial(metal_flake, metal, coordination, name)
        for metal in METAL_MULTIPLICITIES
        for coordination in _COORDINATIONS
        for name in _METAL_FLAKES
    },
}
"""Every flake by its name: ``pyrene``, ``coronene-graphitic-n``, ``fe-n4-pyrene``, ``co-o4-circumovalene``, ..."""
