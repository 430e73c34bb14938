"""Symmetry operations of a structure, each accepted only after it was applied and its residual measured.

Point-group programs guess an axis system first and fail on nearly symmetric geometries. Here every candidate
operation comes from mapping one pair of atoms (with the centre, a frame) onto another; it counts when it sends every
atom to within `tolerance` of an atom that the bond graph cannot tell from it, and maps bonds onto bonds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray

DEFAULT_TOLERANCE = 0.15
"""Largest distance between an atom's image and the atom it stands for [Angstrom]; holds for noise of 0.02."""


@dataclass(frozen=True)
class Operation:
    """A symmetry operation about the centroid: atom i goes to atom ``permutation[i]``.

    Attributes
    ----------
    permutation
        shape=(n_atoms,)
    matrix
        Orthogonal, shape=(3, 3); determinant -1 for reflections.
    residual
        Largest distance between an image and its atom [Angstrom].
    """

    permutation: tuple[int, ...]
    matrix: FloatArray
    residual: float


def find_operations(graph: BondGraph, tolerance: float = DEFAULT_TOLERANCE) -> list[Operation]:
    """Find all symmetry operations of a structure, the identity among them.

    Parameters
    ----------
    graph
        Bond graph of the structure.
    tolerance
        Accepted residual [Angstrom].
    """
    positions = graph.structure.positions - graph.structure.positions.mean(axis=0)
    identity = Operation(tuple(range(len(positions))), np.eye(3), 0.0)
    pair = _reference_pair(positions, graph.classes, tolerance)
    if pair is None:
        return _collinear_operations(graph, positions, tolerance, identity)
    found = {(identity.permutation, 1): identity}
    tree = cKDTree(positions)
    first, second = pair
    radii = np.linalg.norm(positions, axis=1)
    candidates_1 = _alike(graph.classes, radii, first, tolerance)
    candidates_2 = _alike(graph.classes, radii, second, tolerance)
    separation = np.linalg.norm(positions[first] - positions[second])
    frame = _frame(positions[first], positions[second])
    for i in candidates_1:
        for j in candidates_2:
            if i == j or abs(np.linalg.norm(positions[i] - positions[j]) - separation) > 2 * tolerance:
                continue
            image = _frame(positions[i], positions[j])
            for handedness in (1, -1):
                rough = image @ np.diag([1.0, 1.0, handedness]) @ frame.T
                operation = _verified(graph, positions, tree, rough, handedness, tolerance)
                if operation is not None:
                    found.setdefault((operation.permutation, handedness), operation)
    return list(found.values())


def _reference_pair(positions: FloatArray, classes: tuple[str, ...], tolerance: float) -> tuple[int, int] | None:
    """Two atoms that span a plane with the centroid, from the smallest classes; None for a linear molecule."""
    size = {name: classes.count(name) for name in set(classes)}
    radii = np.linalg.norm(positions, axis=1)
    usable = [i for i in range(len(classes)) if radii[i] > 0.5]
    order = sorted(usable, key=lambda i: (size[classes[i]], -radii[i]))
    best: tuple[int, int] | None = None
    for first in order[:50]:
        for second in order:
            area = np.linalg.norm(np.cross(positions[first], positions[second])) / radii[first]
            if second != first and area > max(0.7, 3 * tolerance):
                cost = size[classes[first]] * size[classes[second]]
                if best is None or cost < size[classes[best[0]]] * size[classes[best[1]]]:
                    best = (first, second)
                break
    return best


def _alike(classes: tuple[str, ...], radii: FloatArray, atom: int, tolerance: float) -> list[int]:
    return [
        i for i, name in enumerate(classes) if name == classes[atom] and abs(radii[i] - radii[atom]) <= 2 * tolerance
    ]


def _frame(a: FloatArray, b: FloatArray) -> FloatArray:
    """Right-handed orthonormal frame, as columns, with a along the first axis and b in the first plane."""
    x = a / np.linalg.norm(a)
    z = np.cross(a, b)
    z = z / np.linalg.norm(z)
    return np.column_stack([x, np.cross(z, x), z])


def _verified(
    graph: BondGraph,
    positions: FloatArray,
    tree: cKDTree,
    rough: FloatArray,
    handedness: int,
    tolerance: float,
) -> Operation | None:
    """Match atoms under a rough operation, refine it on all of them, and measure."""
    distance, nearest = tree.query(positions @ rough.T)
    if distance.max() > 6 * tolerance or len(set(nearest.tolist())) < len(nearest):
        return None
    classes = graph.classes
    if any(classes[i] != classes[j] for i, j in enumerate(nearest)):
        return None
    matrix = best_rotation(positions, positions[nearest], handedness)
    residual = float(np.linalg.norm(positions @ matrix.T - positions[nearest], axis=1).max())
    if residual > tolerance or not _keeps_bonds(graph, nearest):
        return None
    return Operation(tuple(int(i) for i in nearest), matrix, residual)


def _keeps_bonds(graph: BondGraph, permutation: NDArray[np.int64]) -> bool:
    images = ((int(permutation[i]), int(permutation[j])) for i, j in graph.bonds)
    return all((min(i, j), max(i, j)) in graph.bonds for i, j in images)


def best_rotation(start: FloatArray, target: FloatArray, handedness: int = 1) -> FloatArray:
    """Orthogonal matrix R of the given determinant that minimises sum |R start - target|^2 (Kabsch 1976).

    Parameters
    ----------
    start, target
        Centred positions, shape=(n_atoms, 3).
    handedness
        1 for rotations, -1 for rotations with a reflection.
    """
    u, _, vt = np.linalg.svd(start.T @ target)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt)) * handedness
    matrix: FloatArray = (u @ np.diag([1.0, 1.0, sign]) @ vt).T
    return matrix


def symmetrise(vectors: FloatArray, operations: list[Operation]) -> FloatArray:
    """Project vectors on atoms onto what all operations of a group leave unchanged.

    The mean over operations of the vectors carried along: v[p(i)] <- R v[i].

    Parameters
    ----------
    vectors
        Forces, displacements, or positions from the centroid, shape=(n_atoms, 3).
    operations
        A whole group, as `find_operations` returns.
    """
    total = np.zeros_like(vectors)
    for operation in operations:
        total[list(operation.permutation)] += vectors @ operation.matrix.T
    projected: FloatArray = total / len(operations)
    return projected


def _collinear_operations(
    graph: BondGraph, positions: FloatArray, tolerance: float, identity: Operation
) -> list[Operation]:
    """For atoms on a line (or one atom): the identity and, where the atoms allow it, inversion."""
    inverted = _verified(graph, positions, cKDTree(positions), -np.eye(3), -1, tolerance)
    if inverted is None or inverted.permutation == identity.permutation:
        return [identity]
    return [identity, Operation(inverted.permutation, -np.eye(3), inverted.residual)]
