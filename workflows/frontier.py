"""Frontier orbitals of a density: the highest occupied one, and the lowest empty one by one Fock matrix."""

from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham
from alkaflow.structures import FloatArray


def frontier_orbital(density: Density, level: KohnSham, which: str, spin: int, energies: Any) -> Density:
    """A density that has the wanted orbital last of its spin, where it can be drawn from.

    Parameters
    ----------
    density
        Converged at the level.
    level
        Its level.
    which
        ``homo`` or ``lumo``.
    spin
        0: alpha, 1: beta.
    energies
        Of the occupied orbitals of that spin [Hartree], shape=(n_occupied,).

    Raises
    ------
    BadInputError
        That spin has no electrons, or no empty orbital is left.
    """
    occupied = density.coefficients[spin]
    if which == "homo":
        if not occupied.shape[1]:
            raise BadInputError(f"there are no {('alpha', 'beta')[spin]} electrons, and so no highest occupied orbital")
        order = np.argsort(np.asarray(energies, float), kind="stable")
        chosen = occupied[:, order[-1]]
    else:
        chosen = _lowest_empty(density, level, spin)
    coefficients = list(density.coefficients)
    coefficients[spin] = np.column_stack([occupied, chosen])
    occupations = list(density.occupations)
    occupations[spin] = np.append(occupations[spin], 0.0)
    return Density(density.molecule, (coefficients[0], coefficients[1]), (occupations[0], occupations[1]))


def _lowest_empty(density: Density, level: KohnSham, spin: int) -> FloatArray:
    """Of the orbitals that the Fock matrix of the density makes in the space without the occupied ones, the lowest."""
    from pyscf import lib

    from alkaflow.workflows.grids import set_grid
    from alkaflow.workflows.pyscf_engine import build_mean_field

    mean_field = build_mean_field(density.molecule, level, unrestricted=True)
    set_grid(mean_field, level.grid)
    widest = max(each.shape[1] for each in density.coefficients)
    padded = [np.pad(each, ((0, 0), (0, widest - each.shape[1]))) for each in density.coefficients]
    filled = [np.pad(each, (0, widest - len(each))) for each in density.occupations]
    tagged = lib.tag_array(density.by_spin, mo_coeff=np.array(padded), mo_occ=np.array(filled))
    overlap = mean_field.get_ovlp()
    fock = np.asarray(mean_field.get_fock(dm=tagged))[spin]
    occupied = density.coefficients[spin]
    values, vectors = np.linalg.eigh(overlap)
    basis = vectors[:, values > 1e-8] / np.sqrt(values[values > 1e-8])  # orthonormal
    inside = basis.T @ overlap @ occupied
    left, singular, _ = np.linalg.svd(inside)
    empty = basis @ left[:, int((singular > 0.5).sum()) :]
    if not empty.shape[1]:
        raise BadInputError("every orbital of this basis is occupied; there is no empty one")
    _, orbitals = np.linalg.eigh(empty.T @ fock @ empty)
    return np.asarray(empty @ orbitals[:, 0])
