"""Ti6-oxo clusters Ti6(mu3-O)6(O2CR)6(OR')6, built with exact S6 symmetry.

Two offset six-membered [Ti-(mu3-O)]3 rings are joined by six Ti-O bonds into a hexagonal prism; a carboxylate bridges
each of the six lateral Ti2O2 faces, and an alkoxide sits on every titanium, above or below the belt of carboxylates.
Core: Ti6(mu3-O)6(O2CH)6(OiPr)6, Inorg. Chem. 37, 5588 (1998), doi 10.1021/ic980601f. With 4-aminobenzoate and
isopropoxide it is Ti6(HPAB), the cluster of "ti6-hpab"; with methoxide the node of MOF-901.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from alkaflow.errors import UnknownNameError
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray, Structure
from alkaflow.structures.vectors import unit

Atoms = list[tuple[str, FloatArray]]

# Core, (radius, height) of the atoms at azimuth 0 [Angstrom]: Ti-O 1.86 in a ring, 2.11 between rings, 1.78 to OR'.
_TI = (1.95, 1.15)
_MU3_O = (1.72, -0.95)
_ALKOXIDE_O = (2.30, 2.89)
_ALKOXIDE_C = (3.20, 3.94)

# Carboxylate, lengths in Angstrom.
_TI_O_CARBOXYLATE = 2.04
_HALF_BITE = 1.12  # half of O..O
_O_TO_C = 0.58  # from the middle of O..O outward to C: C-O 1.26

# Substituents, in Angstrom and degree.
_C_H = 1.09
_C_H_AROMATIC = 1.085
_C_C = 1.52
_C_CARBOXYL = 1.49
_C_C_AROMATIC = 1.395
_C_N = 1.38
_N_H = 1.01
_NH2_FOLD = 30.0  # of the NH2 plane against the ring, pyramidal as in aniline
_TETRAHEDRAL = 180.0 - math.degrees(math.acos(-1 / 3))  # from the prolonged bond


def ti6_oxo(acid: str = "4-aminobenzoate", alkoxide: str = "isopropoxide") -> Structure:
    """Build a neutral closed-shell Ti6-oxo cluster, its S6 axis along z and the carboxylates in the belt.

    The atoms of one sixth come first (Ti, mu3-O, alkoxide, carboxylate), then their images under S6.

    Parameters
    ----------
    acid
        ``formate``, ``acetate``, ``benzoate`` or ``4-aminobenzoate``.
    alkoxide
        ``methoxide`` or ``isopropoxide``.

    Returns
    -------
    Structure
        Positions in Angstrom; D3d with formate or benzoate, S6 otherwise (methyl and NH2 groups are not symmetric).

    Raises
    ------
    UnknownNameError
        No such acid or alkoxide; suggests the nearest.
    """
    if acid not in _ACIDS:
        raise UnknownNameError("carboxylate", acid, _ACIDS)
    if alkoxide not in _ALKOXIDES:
        raise UnknownNameError("alkoxide", alkoxide, _ALKOXIDES)
    sixth: Atoms = [("Ti", _at(_TI)), ("O", _at(_MU3_O)), *_alkoxide(alkoxide), *_carboxylate(acid)]
    positions = np.array([position for _, position in sixth])
    images: FloatArray = np.vstack([positions @ _s6(k).T for k in range(6)])
    return Structure(tuple(symbol for symbol, _ in sixth) * 6, images, name=_name(acid, alkoxide))


def ti6_problems(structure: Structure) -> list[str]:
    """Say what of the connectivity of a Ti6-oxo cluster is not as it should be; nothing when all is.

    Every Ti binds six oxygens: three mu3-O, two of carboxylates, one of an alkoxide. Every mu3-O binds three Ti and
    nothing else, and every carboxylate bridges two Ti.

    Parameters
    ----------
    structure
        A cluster as built or relaxed, in any order of atoms.
    """
    symbols, bonded = structure.symbols, BondGraph(structure).neighbours
    titanium = [i for i, symbol in enumerate(symbols) if symbol == "Ti"]
    problems = [] if len(titanium) == 6 else [f"{len(titanium)} Ti instead of 6"]

    def kind(oxygen: int) -> str:
        elements = sorted(symbols[j] for j in bonded[oxygen])
        if elements == ["Ti", "Ti", "Ti"]:
            return "mu3"
        if elements != ["C", "Ti"]:
            return f"O({','.join(elements)})"
        carbon = next(j for j in bonded[oxygen] if symbols[j] == "C")
        return "carboxylate" if sum(symbols[j] == "O" for j in bonded[carbon]) == 2 else "alkoxide"

    expected = ["alkoxide", "carboxylate", "carboxylate", "mu3", "mu3", "mu3"]
    for i in titanium:
        found = sorted(kind(j) if symbols[j] == "O" else symbols[j] for j in bonded[i])
        if found != expected:
            problems.append(f"Ti {i} binds {', '.join(found) or 'nothing'}")
    for i, symbol in enumerate(symbols):
        oxygens = [j for j in bonded[i] if symbols[j] == "O"]
        if symbol == "C" and len(oxygens) == 2:
            bridged = {j for oxygen in oxygens for j in bonded[oxygen] if symbols[j] == "Ti"}
            if len(bridged) != 2:
                problems.append(f"the carboxylate of C {i} bridges {len(bridged)} Ti")
    return problems


def _name(acid: str, alkoxide: str) -> str:
    return "ti6-hpab" if (acid, alkoxide) == ("4-aminobenzoate", "isopropoxide") else f"ti6-{acid}-{alkoxide}"


def _at(place: tuple[float, float]) -> FloatArray:
    """Position at a radius and a height, azimuth 0."""
    return np.array([place[0], 0.0, place[1]])


def _s6(sixths: int) -> FloatArray:
    """S6 applied so many times, shape=(3, 3), with exact cosines."""
    cosine = (1.0, 0.5, -0.5, -1.0, -0.5, 0.5)[sixths]
    sine = (0.0, 1.0, 1.0, 0.0, -1.0, -1.0)[sixths] * math.sqrt(0.75)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, (-1.0) ** sixths]])


def _cone(axis: FloatArray, reference: FloatArray, azimuth: float) -> FloatArray:
    """Unit vector at the tetrahedral angle to ``-axis``, turned by azimuth [degree] from ``reference`` about axis."""
    x = unit(reference - axis * (reference @ axis))
    y = np.cross(axis, x)
    tilt, turn = math.radians(_TETRAHEDRAL), math.radians(azimuth)
    vector: FloatArray = axis * math.cos(tilt) + (x * math.cos(turn) + y * math.sin(turn)) * math.sin(tilt)
    return vector


def _methyl(carbon: FloatArray, axis: FloatArray, reference: FloatArray, azimuth: float) -> Atoms:
    """A methyl group; axis points to its carbon, and azimuth [degree] from reference is that of its first H."""
    hydrogens = [carbon + _C_H * _cone(axis, reference, azimuth + turn) for turn in (0.0, 120.0, 240.0)]
    return [("C", carbon), *(("H", hydrogen) for hydrogen in hydrogens)]


def _alkoxide(name: str) -> Atoms:
    """O and the alkyl group on the Ti at azimuth 0, symmetric about the xz plane."""
    oxygen, carbon = _at(_ALKOXIDE_O), _at(_ALKOXIDE_C)
    axis, to_ti = unit(carbon - oxygen), _at(_TI) - oxygen
    return [("O", oxygen), *_ALKOXIDES[name](carbon, axis, to_ti)]


def _methoxide(carbon: FloatArray, axis: FloatArray, to_ti: FloatArray) -> Atoms:
    """Three H, one of them anti to Ti."""
    return _methyl(carbon, axis, to_ti, 180.0)


def _isopropoxide(carbon: FloatArray, axis: FloatArray, to_ti: FloatArray) -> Atoms:
    """The methoxide with its two H beside the mirror plane replaced by CH3, staggered."""
    atoms: Atoms = [("C", carbon), ("H", carbon + _C_H * _cone(axis, to_ti, 180.0))]
    for azimuth in (60.0, -60.0):
        along = _cone(axis, to_ti, azimuth)
        atoms += _methyl(carbon + _C_C * along, along, -axis, 180.0)
    return atoms


def _carboxylate(acid: str) -> Atoms:
    """The carboxylate at azimuth 30 degrees between the first two Ti, and what it carries."""
    first, second = _at(_TI), _s6(1) @ _at(_TI)
    middle, along = (first + second) / 2, unit(second - first)
    outward = unit(middle)
    beside = np.linalg.norm(second - first) / 2 - _HALF_BITE
    bite = middle + math.sqrt(_TI_O_CARBOXYLATE**2 - beside**2) * outward
    carbon = bite + _O_TO_C * outward
    oxygens: Atoms = [("O", bite - _HALF_BITE * along), ("O", bite + _HALF_BITE * along)]
    return [*oxygens, ("C", carbon), *_ACIDS[acid](carbon, outward, along)]


def _formate(carbon: FloatArray, outward: FloatArray, along: FloatArray) -> Atoms:
    del along
    return [("H", carbon + _C_H * outward)]


def _acetate(carbon: FloatArray, outward: FloatArray, along: FloatArray) -> Atoms:
    """CH3, one H perpendicular to the plane of the carboxylate."""
    return _methyl(carbon + _C_CARBOXYL * outward, outward, along, 90.0)


def _benzoate(carbon: FloatArray, outward: FloatArray, along: FloatArray) -> Atoms:
    """Phenyl in the plane of the carboxylate."""
    return [*_phenylene(carbon, outward, along), ("H", _para(carbon, outward) + _C_H_AROMATIC * outward)]


def _aminobenzoate(carbon: FloatArray, outward: FloatArray, along: FloatArray) -> Atoms:
    """Phenylene in the plane of the carboxylate and a pyramidal NH2 at its end."""
    nitrogen = _para(carbon, outward) + _C_N * outward
    fold = math.radians(_NH2_FOLD)
    middle = math.cos(fold) * outward + math.sin(fold) * np.cross(outward, along)
    hydrogens = [nitrogen + _N_H * (0.5 * middle + side * math.sqrt(0.75) * along) for side in (1, -1)]
    return [*_phenylene(carbon, outward, along), ("N", nitrogen), *(("H", position) for position in hydrogens)]


def _para(carbon: FloatArray, outward: FloatArray) -> FloatArray:
    """Where the para carbon is."""
    para: FloatArray = carbon + (_C_CARBOXYL + 2 * _C_C_AROMATIC) * outward
    return para


def _phenylene(carbon: FloatArray, outward: FloatArray, along: FloatArray) -> Atoms:
    """C6H4 in the plane of outward and along: six C from ipso round the ring, then four H."""
    centre = carbon + (_C_CARBOXYL + _C_C_AROMATIC) * outward
    turns = [math.radians(180.0 + 60.0 * corner) for corner in range(6)]
    spokes = [math.cos(turn) * outward + math.sin(turn) * along for turn in turns]
    carbons: Atoms = [("C", centre + _C_C_AROMATIC * spoke) for spoke in spokes]
    hydrogens: Atoms = [("H", centre + (_C_C_AROMATIC + _C_H_AROMATIC) * spokes[corner]) for corner in (1, 2, 4, 5)]
    return carbons + hydrogens


_Substituent = Callable[[FloatArray, FloatArray, FloatArray], Atoms]

_ACIDS: dict[str, _Substituent] = {
    "formate": _formate,
    "acetate": _acetate,
    "benzoate": _benzoate,
    "4-aminobenzoate": _aminobenzoate,
}
_ALKOXIDES: dict[str, _Substituent] = {"methoxide": _methoxide, "isopropoxide": _isopropoxide}

OXO_HOSTS: dict[str, Callable[[], Structure]] = {
    _name(acid, alkoxide): partial(ti6_oxo, acid, alkoxide) for acid in _ACIDS for alkoxide in _ALKOXIDES
}
"""Every cluster by its name: ``ti6-formate-methoxide`` and so on; ``ti6-hpab`` is the 4-aminobenzoate/isopropoxide."""
