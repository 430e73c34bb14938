"""Pieces of coatings on alkali metals: chains of alucone, and small clusters of Al2O3, LiAlO2 and NaAlO2."""

import math
from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise, product

import numpy as np

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.vectors import unit

MAX_ALUCONE_UNITS = 12

# Alucone: bonds [Angstrom] and angles [degree] of the backbone; Al is planar.
_BOND = {"AlO": 1.72, "CO": 1.41, "CC": 1.52, "HO": 0.96}
_ANGLE = {"OAlO": 120.0, "AlOC": 127.0, "CCO": 109.5, "AlOH": 115.0, "COH": 108.0}
_C_H = 1.09
_HALF_H_C_H = 54.0

# Aluminates: lengths [Angstrom] and angles [degree], before relaxation.
_AL_O_TERMINAL = 1.62
_AL_O_BRIDGE = 1.72
_CAGE_EDGE = {2: 2.95, 3: 3.0, 4: 3.15}  # Al..Al along an edge, by formula units
_LADDER_RING = 1.25  # half of the diagonals of its square Al-O-Al-O
_LADDER_ANGLE = 100.0  # between the terminal and the near ring O at Al
_PRISM_HALF_HEIGHT = 0.95
_ALKALI_O = {"Li": 1.85, "Na": 2.10}

_ALKALI = {"lialo2": "Li", "naalo2": "Na"}
_MOST_UNITS = {"al2o3": 4, "lialo2": 3, "naalo2": 3}

_Atoms = tuple[tuple[str, ...], FloatArray]


def alucone(units: int) -> Structure:
    """Build a chain HO-[Al(OH)-O-CH2-CH2-O]n-H, Al(n) C(2n) H(5n+2) O(3n+1), extended.

    Alucone is the polymer (-Al-O-CH2-CH2-O-) of trimethylaluminium and ethylene glycol. Here every Al keeps one OH, so
    that it has three oxygens; an OH ends the chain at the first Al, and an H at the last glycol. The backbone is planar
    and all-anti and runs along x in the xy plane.

    Parameters
    ----------
    units
        Number of Al, 1 to 12.

    Raises
    ------
    BadInputError
        The number of units is outside that range.
    """
    if not 1 <= units <= MAX_ALUCONE_UNITS:
        raise BadInputError(f"an alucone chain of {units} units; 1 to {MAX_ALUCONE_UNITS} can be built")
    elements = ["H", "O", *["Al", "O", "C", "C", "O"] * units, "H"]
    backbone = _zigzag(elements)
    atoms = list(zip(elements, backbone, strict=True))
    for i, element in enumerate(elements):
        if element == "Al":
            atoms += _hydroxyl(*backbone[i - 1 : i + 2])
        elif element == "C":
            atoms += _methylene_hydrogens(*backbone[i - 1 : i + 2])
    positions = np.array([position for _, position in atoms])
    symbols = tuple(element for element, _ in atoms)
    return Structure(symbols, positions - positions.mean(axis=0), name=f"alucone-{units}")


def _zigzag(elements: list[str]) -> FloatArray:
    """Planar all-anti chain with the bond lengths and angles of its elements, its ends on the x axis."""
    directions, sign = [0.0], 1.0
    for triple in zip(elements, elements[1:], elements[2:], strict=False):
        angle = _ANGLE.get("".join(triple)) or _ANGLE["".join(reversed(triple))]
        directions.append(directions[-1] + sign * math.radians(180.0 - angle))
        sign = -sign
    lengths = [_BOND["".join(sorted(pair))] for pair in pairwise(elements)]
    steps = np.array([length * np.exp(1j * turn) for length, turn in zip(lengths, directions, strict=True)])
    chain = np.concatenate([[0.0], np.cumsum(steps)])
    chain = chain * np.conj(chain[-1]) / abs(chain[-1])
    return np.column_stack([chain.real, chain.imag, np.zeros(len(chain))])


def _hydroxyl(before: FloatArray, aluminium: FloatArray, after: FloatArray) -> list[tuple[str, FloatArray]]:
    """OH on the outer side of an Al of the chain, its H bent out of the plane."""
    outward = unit(2 * aluminium - before - after)
    oxygen = aluminium + _BOND["AlO"] * outward
    bend = math.radians(180.0 - _ANGLE["AlOH"])
    hydrogen = oxygen + _BOND["HO"] * (math.cos(bend) * outward + math.sin(bend) * np.array([0.0, 0.0, 1.0]))
    return [("O", oxygen), ("H", hydrogen)]


def _methylene_hydrogens(before: FloatArray, carbon: FloatArray, after: FloatArray) -> list[tuple[str, FloatArray]]:
    outward = unit(2 * carbon - before - after)
    along, beside = math.cos(math.radians(_HALF_H_C_H)), math.sin(math.radians(_HALF_H_C_H))
    return [("H", carbon + _C_H * (along * outward + side * np.array([0.0, 0.0, beside]))) for side in (1, -1)]


def aluminate_cluster(kind: str, units: int) -> Structure:
    """Build a neutral closed-shell cluster of a few formula units, to be relaxed.

    Al2O3: the linear molecule O-Al-O-Al-O; then cages with Al at the corners and O on the edges of a tetrahedron
    (Al4O6), a trigonal prism (Al6O9) and a cube (Al8O12), every Al with three oxygens.

    MAlO2 with M = Li or Na: the linear molecule O-Al-O-M; the planar ladder of three four-membered rings M-O-Al-O,
    Al-O-Al-O, Al-O-M-O; the hexagonal prism of an Al3O3 and an M3O3 ring. In the ladder and the prism every Al has
    three oxygens. GFN2-xTB holds all of them together, but lets go of Li and Na across the prism (2.7 Angstrom) and
    of one Al-O each in the ladder with Li (2.02).

    Parameters
    ----------
    kind
        ``al2o3``, ``lialo2`` or ``naalo2``.
    units
        Formula units: 1 to 4 of Al2O3, 1 to 3 of the others.

    Raises
    ------
    UnknownNameError
        No such kind.
    BadInputError
        The number of units is outside that range.
    """
    if kind not in _MOST_UNITS:
        raise UnknownNameError("aluminate", kind, _MOST_UNITS)
    if not 1 <= units <= _MOST_UNITS[kind]:
        raise BadInputError(f"a cluster of {units} units of {kind}; 1 to {_MOST_UNITS[kind]} can be built")
    if kind == "al2o3":
        symbols, positions = _alumina_molecule() if units == 1 else _alumina_cage(units)
    else:
        symbols, positions = (_aluminate_molecule, _aluminate_ladder, _aluminate_prism)[units - 1](_ALKALI[kind])
    return Structure(symbols, positions - positions.mean(axis=0), name=f"{kind}-{units}")


def _alumina_molecule() -> _Atoms:
    """O-Al-O-Al-O along x, at GFN2-xTB 1.7 eV below an Al2O2 ring with one terminal O."""
    inner, outer = _AL_O_BRIDGE, _AL_O_BRIDGE + _AL_O_TERMINAL
    x = np.array([-outer, -inner, 0.0, inner, outer])
    return ("O", "Al", "O", "Al", "O"), x[:, None] * np.array([1.0, 0.0, 0.0])


def _alumina_cage(units: int) -> _Atoms:
    """Al at the corners of a polyhedron, then O outside the middle of every edge."""
    edge = _CAGE_EDGE[units]
    corners = edge * _polyhedron(units)
    edges = [(a, b) for a, b in combinations(corners, 2) if np.linalg.norm(a - b) < 1.01 * edge]
    middles = np.array([(a + b) / 2 for a, b in edges])
    outside = math.sqrt(_AL_O_BRIDGE**2 - (edge / 2) ** 2)
    oxygens = middles * (1 + outside / np.linalg.norm(middles, axis=1, keepdims=True))
    return ("Al",) * len(corners) + ("O",) * len(edges), np.vstack([corners, oxygens])


def _polyhedron(units: int) -> FloatArray:
    """Corners, with edges of length 1 and three edges at each, about the origin: tetrahedron, prism or cube."""
    if units == 3:
        turns = np.arange(3) * 2 * math.pi / 3
        triangle = np.column_stack([np.cos(turns), np.sin(turns)]) / math.sqrt(3)
        return np.array([[*corner, height] for height in (0.5, -0.5) for corner in triangle])
    cube = np.array(list(product((0.5, -0.5), repeat=3)))
    tetrahedron: FloatArray = cube[np.prod(cube, axis=1) > 0] / math.sqrt(2)
    return cube if units == 4 else tetrahedron


def _aluminate_molecule(metal: str) -> _Atoms:
    """O-Al-O-M along x."""
    x = np.array([-_AL_O_TERMINAL, 0.0, _AL_O_TERMINAL, _AL_O_TERMINAL + _ALKALI_O[metal]])
    return ("O", "Al", "O", metal), x[:, None] * np.array([1.0, 0.0, 0.0])


def _aluminate_ladder(metal: str) -> _Atoms:
    """Half of the ladder in the xy plane, then its image through the origin."""
    aluminium, bridge = np.array([_LADDER_RING, 0.0]), np.array([0.0, _LADDER_RING])
    turn = math.radians(135.0 - _LADDER_ANGLE)
    terminal = aluminium + _AL_O_TERMINAL * np.array([math.cos(turn), math.sin(turn)])
    across = terminal - bridge
    outward = unit(np.array([-across[1], across[0]]))
    alkali = (bridge + terminal) / 2 + math.sqrt(_ALKALI_O[metal] ** 2 - (across @ across) / 4) * outward
    half = np.array([aluminium, bridge, terminal, alkali])
    return ("Al", "O", "O", metal) * 2, np.column_stack([np.vstack([half, -half]), np.zeros(8)])


def _aluminate_prism(metal: str) -> _Atoms:
    """A regular Al3O3 hexagon above an M3O3 hexagon, each metal above or below an O."""
    turns = np.arange(6) * math.pi / 3
    hexagon = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(6)])
    up = np.array([0.0, 0.0, _PRISM_HALF_HEIGHT])
    positions = np.vstack([_AL_O_BRIDGE * hexagon + up, _ALKALI_O[metal] * hexagon - up])
    return ("Al", "O") * 3 + ("O", metal) * 3, positions


COATING_HOSTS: dict[str, Callable[[], Structure]] = {
    **{f"alucone-{units}": partial(alucone, units) for units in range(1, 5)},
    **{
        f"{kind}-{units}": partial(aluminate_cluster, kind, units)
        for kind, most in _MOST_UNITS.items()
        for units in range(1, most + 1)
    },
}
"""Pieces of coatings by name: ``alucone-1`` to ``-4``, ``al2o3-1`` to ``-4``, ``lialo2-1`` to ``-3``, so with Na."""
