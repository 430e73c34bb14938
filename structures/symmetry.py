"""Symmetry operations of a structure, each accepted only after it was applied and its residual measured.

Point-group programs guess an axis system first and fail on nearly symmetric geometries. Here every candidate comes
from mapping one pair of atoms (with the centre, a frame) onto another; it counts when it sends every atom to within
`tolerance` of an atom that the bond graph cannot tell from it, and maps bonds onto bonds. An operation is thus a
measured isometry and a graph automorphism at once. The same search between two structures says whether they are one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import FloatArray
from alkaflow.structures.vectors import rotation_between

DEFAULT_TOLERANCE = 0.15
"""Largest distance between an atom's image and the atom it stands for [Angstrom]; holds for noise of 0.02."""

EXACT = 1e-3
"""A structure that is symmetric to this is meant to be [Angstrom]; relaxations keep the symmetry of such a start."""

_OFF_CENTRE = 0.5  # atoms nearer to the centre than this give a frame no direction [Angstrom]
_FLATTEST = 0.7  # height of a triangle that spans a good frame with the centre [Angstrom]
_STRAIGHT = 0.2  # atoms that make no higher triangle with the centre are on a line [Angstrom]
_ROUGH = 6.0  # times the tolerance that a frame may miss before it is refined on all atoms


@dataclass(frozen=True)
class Operation:
    """An isometry about the centroid: atom i goes to atom ``permutation[i]``.

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


@dataclass(frozen=True)
class MarkedPoints:
    """Atoms about their centroid, with a mark each that an isometry must keep, and the bonds between them.

    Attributes
    ----------
    positions
        From the centroid [Angstrom], shape=(n_atoms, 3).
    marks
        shape=(n_atoms,)
    bonds
        Pairs of atoms, shape=(n_bonds, 2); empty where bonds need not be kept.
    """

    positions: FloatArray
    marks: NDArray[np.int64]
    bonds: NDArray[np.int64]

    @classmethod
    def of_graph(cls, graph: BondGraph) -> "MarkedPoints":
        """The atoms of a bond graph, marked by what the graph can tell apart."""
        positions = graph.structure.positions - graph.structure.positions.mean(axis=0)
        bonds = np.array(sorted(graph.bonds), dtype=np.int64).reshape(-1, 2)
        return cls(positions, np.array(graph.classes), bonds)

    @cached_property
    def radii(self) -> FloatArray:
        """Distances from the centroid [Angstrom], shape=(n_atoms,)."""
        radii: FloatArray = np.linalg.norm(self.positions, axis=1)
        return radii

    @cached_property
    def tree(self) -> cKDTree:
        """For nearest neighbours."""
        return cKDTree(self.positions)

    @cached_property
    def bond_codes(self) -> NDArray[np.int64]:
        """One sorted number per bond."""
        return self.codes(self.bonds)

    def codes(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """One sorted number per pair of atoms, whichever comes first in it."""
        codes: NDArray[np.int64] = np.sort(pairs.min(axis=1) * len(self.marks) + pairs.max(axis=1))
        return codes


def find_operations(graph: BondGraph, tolerance: float = DEFAULT_TOLERANCE) -> list[Operation]:
    """Find all symmetry operations of a structure, the identity first.

    Parameters
    ----------
    graph
        Bond graph of the structure.
    tolerance
        Accepted residual [Angstrom].
    """
    points = MarkedPoints.of_graph(graph)
    itself = tuple(range(len(points.marks)))
    found = list(find_isometries(points, points, tolerance))
    others = [o for o in found if o.permutation != itself or np.linalg.det(o.matrix) < 0]
    return [Operation(itself, np.eye(3), 0.0), *others]


def find_isometries(start: MarkedPoints, target: MarkedPoints, tolerance: float) -> Iterator[Operation]:
    """Yield the rotations and reflections that send one set of atoms onto another, each kind of pairing once.

    Parameters
    ----------
    start, target
        The atoms; marks and bonds must be kept.
    tolerance
        Accepted residual [Angstrom].
    """
    if sorted(start.marks.tolist()) != sorted(target.marks.tolist()) or len(start.bonds) != len(target.bonds):
        return
    seen: set[tuple[tuple[int, ...], int]] = set()
    for rough, handedness in _rough_isometries(start, target, tolerance):
        operation = _verified(start, target, rough, handedness, tolerance)
        if operation is not None and (operation.permutation, handedness) not in seen:
            seen.add((operation.permutation, handedness))
            yield operation


def _rough_isometries(start: MarkedPoints, target: MarkedPoints, tolerance: float) -> Iterator[tuple[FloatArray, int]]:
    """Orthogonal matrices, with their determinants, that send a frame of two atoms onto one of two like atoms."""
    pair = _reference_pair(start, tolerance)
    if pair is None:
        along = rotation_between(_axis(start), _axis(target))
        yield from ((along, 1), (-along, -1))
        return
    first, second = pair
    separation = np.linalg.norm(start.positions[first] - start.positions[second])
    frame = _frame(start.positions[first], start.positions[second])
    for i in _alike(start, first, target, tolerance):
        seconds = _alike(start, second, target, tolerance)
        gaps = np.linalg.norm(target.positions[seconds] - target.positions[i], axis=1)
        for j in seconds[np.abs(gaps - separation) <= 2 * tolerance]:
            if i == j:
                continue
            image = _frame(target.positions[i], target.positions[j])
            for handedness in (1, -1):
                yield image @ np.diag([1.0, 1.0, handedness]) @ frame.T, handedness


def _reference_pair(points: MarkedPoints, tolerance: float) -> tuple[int, int] | None:
    """Two atoms that span a plane with the centre, from the smallest classes; None for a linear molecule."""
    size = np.bincount(points.marks - points.marks.min())[points.marks - points.marks.min()]
    usable = np.flatnonzero(points.radii > _OFF_CENTRE)
    order = np.array(sorted(usable.tolist(), key=lambda i: (size[i], -points.radii[i])), dtype=np.int64)
    candidates: list[tuple[int, int]] = []
    widest = (_STRAIGHT, -1, -1)
    for first in order[:50].tolist():
        heights = np.linalg.norm(np.cross(points.positions[first], points.positions[order]), axis=1)
        heights = heights / points.radii[first]
        seconds = order[heights > max(_FLATTEST, 3 * tolerance)]
        candidates += [(first, int(second)) for second in seconds[:1]]
        widest = max(widest, (float(heights.max()), first, int(order[int(np.argmax(heights))])))
    if candidates:
        return min(candidates, key=lambda pair: size[pair[0]] * size[pair[1]])
    return None if widest[1] < 0 else widest[1:]


def _alike(start: MarkedPoints, atom: int, target: MarkedPoints, tolerance: float) -> NDArray[np.int64]:
    """Atoms of the target with the mark and the radius of an atom of the start."""
    same = (target.marks == start.marks[atom]) & (np.abs(target.radii - start.radii[atom]) <= 2 * tolerance)
    return np.flatnonzero(same)


def _frame(a: FloatArray, b: FloatArray) -> FloatArray:
    """Right-handed orthonormal frame, as columns, with a along the first axis and b in the first plane."""
    x = a / np.linalg.norm(a)
    z = np.cross(a, b)
    norm = np.linalg.norm(z)
    if norm < 1e-9:  # collinear: no frame; the residual will say so
        return np.eye(3)
    z = z / norm
    return np.column_stack([x, np.cross(z, x), z])


def _axis(points: MarkedPoints) -> FloatArray:
    """Unit vector along atoms on a line; arbitrary for one atom."""
    farthest = points.positions[int(np.argmax(np.round(points.radii, 6)))]
    norm = float(np.linalg.norm(farthest))
    return farthest / norm if norm > 1e-6 else np.array([1.0, 0.0, 0.0])


def _verified(
    start: MarkedPoints, target: MarkedPoints, rough: FloatArray, handedness: int, tolerance: float
) -> Operation | None:
    """Match atoms under a rough isometry, refine it on all of them, and measure."""
    distance, nearest = target.tree.query(start.positions @ rough.T)
    if distance.max() > _ROUGH * tolerance or len(np.unique(nearest)) < len(nearest):
        return None
    if not np.array_equal(start.marks, target.marks[nearest]):
        return None
    matrix = best_rotation(start.positions, target.positions[nearest], handedness)
    residual = float(np.linalg.norm(start.positions @ matrix.T - target.positions[nearest], axis=1).max())
    if residual > tolerance or not np.array_equal(target.codes(nearest[start.bonds]), target.bond_codes):
        return None
    return Operation(tuple(nearest.tolist()), matrix, residual)


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
