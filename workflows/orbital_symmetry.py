"""How orbitals behave under the symmetry operations of a nearly symmetric molecule.

An SCF that begins in one representation of a point group tends to stay there, so which representations were tried is
part of knowing that the lowest state was found. Relaxed geometries are symmetric to a hundredth of an Angstrom at
best, and PySCF's point groups want 1e-5 Bohr; expectation values by quadrature ask for nothing of the sort.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import Operation, find_operations

_BLOCK = 8000  # points of quadrature at a time
_EVEN = 0.8  # an expectation value above this is +1, below its negative -1


def reflections_and_turns(structure: Structure) -> list[Operation]:
    """Operations that undo themselves, the identity aside: mirror planes, twofold axes, inversion.

    Parameters
    ----------
    structure
        Symmetric to `alkaflow.structures.symmetry.DEFAULT_TOLERANCE`.
    """
    return [
        operation
        for operation in find_operations(BondGraph(structure))
        if not np.allclose(operation.matrix, np.eye(3), atol=1e-3)
        and np.allclose(operation.matrix @ operation.matrix, np.eye(3), atol=0.05)
    ]


def expectation_values(orbitals: FloatArray, molecule: Any, grids: Any, operations: Sequence[Operation]) -> FloatArray:
    """Expectation values <phi| R |phi> of operations about the centroid of the atoms.

    Parameters
    ----------
    orbitals
        Coefficients, shape=(n_functions, n_orbitals).
    molecule
        PySCF molecule.
    grids
        PySCF grids of it, built.
    operations
        Of the structure that the molecule was built from.

    Returns
    -------
    numpy.ndarray
        shape=(n_operations, n_orbitals): 1 for an orbital that is even, -1 for an odd one; what lies between
        belongs to neither, or to a representation of more than one dimension.
    """
    from pyscf import dft

    centre = molecule.atom_coords().mean(axis=0)
    values = np.zeros((len(operations), orbitals.shape[1]))
    for begin in range(0, len(grids.weights) if operations else 0, _BLOCK):
        points, weights = grids.coords[begin : begin + _BLOCK], grids.weights[begin : begin + _BLOCK]
        here = dft.numint.eval_ao(molecule, points) @ orbitals
        for k, operation in enumerate(operations):
            images = centre + (points - centre) @ operation.matrix
            there = dft.numint.eval_ao(molecule, images) @ orbitals
            values[k] += weights @ (here * there)
    return values


def representations(
    orbitals: FloatArray, molecule: Any, grids: Any, operations: Sequence[Operation]
) -> list[tuple[int, ...]]:
    """For every orbital and operation 1 (even), -1 (odd) or 0 (neither); parameters as of `expectation_values`."""
    values = expectation_values(orbitals, molecule, grids, operations)
    signs = np.where(values > _EVEN, 1, np.where(values < -_EVEN, -1, 0))
    return [tuple(int(sign) for sign in column) for column in signs.T]
