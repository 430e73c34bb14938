"""Planar rings of a host and their names."""

from collections.abc import Iterator

import numpy as np

from alkaflow.elements import is_metal
from alkaflow.records import formula_of
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray
from alkaflow.structures.vectors import plane_normal

_SIZES = range(3, 9)
_FLATNESS = 0.35  # largest distance of a ring atom from the ring's plane [Angstrom]
_CENTRAL = 0.3  # a ring this near the centroid of a polycyclic host is its central one [Angstrom]

# Elements around the ring, the alphabetically first of all rotations and reflections.
_NAMES = {
    "CCCCCC": "benzene",
    "CCCCCN": "pyridine",
    "CCCCNN": "pyridazine",
    "CCCNCN": "pyrimidine",
    "CCNCCN": "pyrazine",
    "CCNCNN": "1,2,4-triazine",
    "CNCNCN": "1,3,5-triazine",
    "CCNNNN": "1,2,3,4-tetrazine",
    "CNNCNN": "1,2,4,5-tetrazine",
    "CCCCN": "pyrrole",
    "CCCCO": "furan",
    "CCCCS": "thiophene",
    "CCCNN": "pyrazole",
    "CCNCN": "imidazole",
    "CCNCO": "oxazole",
    "CCNCS": "thiazole",
    "CCCCC": "cyclopentadiene",
}


def face_rings(graph: BondGraph) -> Iterator[tuple[tuple[int, ...], FloatArray, FloatArray]]:
    """Yield every planar, mostly unsaturated ring as (atoms in order, centroid [Angstrom], unit normal)."""
    for ring in graph.rings:
        if len(ring) not in _SIZES or not _is_unsaturated(graph, ring):
            continue
        points = graph.structure.positions[list(ring)]
        centroid = points.mean(axis=0)
        normal = plane_normal(points)
        if np.abs((points - centroid) @ normal).max() < _FLATNESS:
            yield ring, centroid, normal


def _is_unsaturated(graph: BondGraph, ring: tuple[int, ...]) -> bool:
    """Whether most atoms of a ring can take part in a pi system, or the ring is M-O-M-O-M-O of an oxo cluster."""
    symbols = graph.structure.symbols
    if any(is_metal(symbols[a]) for a in ring) and all(is_metal(symbols[a]) or symbols[a] == "O" for a in ring):
        return len(ring) >= 6
    return is_pi_ring(graph, ring)


def is_pi_ring(graph: BondGraph, ring: tuple[int, ...]) -> bool:
    """Whether at least half of a ring's atoms are C, N or B with at most three bonds, those to metals not counted."""
    symbols = graph.structure.symbols
    flat = sum(symbols[a] in ("C", "N", "B") and covalent_bonds(graph, a) <= 3 for a in ring)
    return 2 * flat >= len(ring)


def covalent_bonds(graph: BondGraph, atom: int) -> int:
    """Number of non-metals bonded to an atom."""
    return sum(not is_metal(graph.structure.symbols[j]) for j in graph.neighbours[atom])


def ring_label(graph: BondGraph, ring: tuple[int, ...]) -> tuple[str, int]:
    """Return the name of a ring and its number of atoms that are not carbon.

    The all-carbon ring in the middle of a polycyclic host is ``central``.
    """
    structure = graph.structure
    elements = [structure.symbols[atom] for atom in ring]
    hetero = sum(element != "C" for element in elements)
    if hetero == 0 and len(graph.rings) > 1:
        heavy = structure.positions[[i for i, s in enumerate(structure.symbols) if s != "H"]]
        if np.linalg.norm(structure.positions[list(ring)].mean(axis=0) - heavy.mean(axis=0)) < _CENTRAL:
            return "central", hetero
    turns = [elements[i:] + elements[:i] for i in range(len(elements))]
    key = "".join(min(turns + [turn[::-1] for turn in turns]))
    if _exocyclic_oxygens(graph, ring) >= 2 and hetero == 0:
        return "quinone", hetero
    oxidised = hetero and _exocyclic_oxygens(graph, ring)
    if oxidised or any(graph.structure.symbols[a] == "C" and covalent_bonds(graph, a) > 3 for a in ring):
        return f"{formula_of(elements)} ring", hetero
    return _NAMES.get(key, f"{formula_of(elements)} ring"), hetero


def _exocyclic_oxygens(graph: BondGraph, ring: tuple[int, ...]) -> int:
    """Number of terminal O on a ring."""
    symbols, neighbours = graph.structure.symbols, graph.neighbours
    outside = {o for atom in ring for o in neighbours[atom] if o not in ring}
    return sum(symbols[o] == "O" and len(neighbours[o]) == 1 for o in outside)
