"""The orbitals that PySCF fastens to a density matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyscf import lib

from alkaflow.structures import FloatArray

_EMPTY = 1e-8  # occupation of an orbital that is left out; a density further below zero than that has no orbitals


def with_orbitals(density: Any) -> Any:
    """A density with orbitals that it is made of: its own, or else its eigenvectors with their eigenvalues.

    A superposition of atoms fills about half again as many orbitals as the molecule has; Coulomb, exchange and
    exchange-correlation are several times cheaper from those than from a matrix. What has none stays as it is.

    Parameters
    ----------
    density
        Symmetric, shape=(n, n) or (2, n, n).
    """
    if getattr(density, "mo_coeff", None) is not None or np.iscomplexobj(density):
        return density
    matrices = np.reshape(density, (-1, *np.shape(density)[-2:]))
    if not all(np.allclose(matrix, matrix.T, rtol=0.0, atol=_EMPTY) for matrix in matrices):
        return density
    occupations, coefficients = np.linalg.eigh(matrices)
    if occupations.min() < -_EMPTY:
        return density
    most = max(1, int((occupations > _EMPTY).sum(axis=-1).max()))
    occupations, coefficients = occupations[:, -most:], coefficients[:, :, -most:]
    occupations[occupations < _EMPTY] = 0.0
    if np.ndim(density) == 2:
        occupations, coefficients = occupations[0], coefficients[0]
    return lib.tag_array(density, mo_coeff=coefficients, mo_occ=occupations)


def occupied(density: Any) -> list[FloatArray] | None:
    """Occupied orbitals by spin, times the roots of their occupations; None where a density comes without them.

    Parameters
    ----------
    density
        Shape=(n, n) or (2, n, n), with attributes ``mo_coeff`` and ``mo_occ`` or without.
    """
    coefficients, occupations = getattr(density, "mo_coeff", None), getattr(density, "mo_occ", None)
    if coefficients is None or occupations is None or np.iscomplexobj(density):
        return None
    if np.ndim(occupations) == 1:
        coefficients, occupations = [coefficients], [occupations]
    spins = 1 if np.ndim(density) == 2 else len(density)
    if len(occupations) != spins:  # of ROHF, or of several densities
        return None
    pairs = [(np.asarray(c), np.asarray(n)) for c, n in zip(coefficients, occupations, strict=True)]
    return [np.ascontiguousarray(c[:, n > 0] * np.sqrt(n[n > 0])) for c, n in pairs]


def padded(orbitals: Sequence[FloatArray]) -> Any:
    """Density of occupied orbitals by spin, tagged with them; the shorter list is filled up with empty columns."""
    width = max(c.shape[1] for c in orbitals)
    occupations = np.array([np.arange(width) < c.shape[1] for c in orbitals], dtype=float)
    return tagged(np.array([np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in orbitals]), occupations)


def tagged(coefficients: FloatArray, occupations: FloatArray) -> Any:
    """Density C f C^T, tagged with C and f."""
    density = (coefficients * occupations[..., None, :]) @ np.swapaxes(coefficients, -1, -2)
    return lib.tag_array(density, mo_coeff=coefficients, mo_occ=occupations)
