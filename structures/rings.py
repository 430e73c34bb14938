"""Planar rings of a host and their names."""

from collections.abc import Iterator

import numpy as np

from alkaflow.records import formula_of
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray

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


def planar_rings(graph: BondGraph) -> Iterator[tuple[tuple[int, ...], FloatArray, FloatArray]]:
    """Yield every planar ring as (atoms in order, centroid [Angstrom], unit normal)."""
    for ring in graph.rings:
        if len(ring) not in _SIZES:
            continue
        points = graph.structure.positions[list(ring)]
        centroid = points.mean(axis=0)
        normal = plane_normal(points)
        if np.abs((points - centroid) @ normal).max() < _FLATNESS:
            yield ring, centroid, normal


def plane_normal(points: FloatArray) -> FloatArray:
    """Unit normal of the best plane through points, shape=(n, 3); its largest component is positive."""
    normal: FloatArray = np.linalg.svd(points - points.mean(axis=0))[2][2]
    largest = normal[int(np.argmax(np.abs(np.round(normal, 6))))]
    upward: FloatArray = normal * np.sign(largest)
    return upward


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
    if any(len(graph.neighbours[atom]) > 3 for atom in ring):
        return f"saturated {formula_of(elements)} ring", hetero
    return _NAMES.get(key, f"{formula_of(elements)} ring"), hetero
