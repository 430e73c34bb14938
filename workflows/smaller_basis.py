"""Molecules in a smaller basis, and orbitals in another. Imported only by the process that computes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alkaflow.errors import AlkaflowError
from alkaflow.structures import FloatArray
from alkaflow.workflows.basis import load_basis

_COARSE_GRID = 1


def in_smaller_basis(mean_field: Any, names: Sequence[str]) -> tuple[Any, dict[str, str]]:
    """The same Kohn-Sham object in a smaller basis, on a coarse grid.

    Parameters
    ----------
    mean_field
        RKS or UKS of PySCF, density fitted or not.
    names
        Of bases; each element takes the first that has it and is smaller than its own; one with a core potential keeps
        its own.

    Returns
    -------
    mean_field, chosen
        The object and the name for each element that changes; None and nothing where none does.
    """
    from pyscf import dft

    molecule = mean_field.mol
    chosen = {
        symbol: name
        for symbol, shells in molecule._basis.items()  # noqa: SLF001  (no other way to the data it used)
        if symbol not in molecule._ecp and (name := _smaller(symbol, shells, names))  # noqa: SLF001
    }
    if not chosen:
        return None, {}
    small = molecule.copy()
    small.basis = {
        symbol: load_basis(chosen[symbol], symbol) if symbol in chosen else shells
        for symbol, shells in molecule._basis.items()  # noqa: SLF001
    }
    small.build(False, False)
    cheap = dft.UKS(small) if np.ndim(mean_field.mo_occ) == 2 else dft.RKS(small)
    cheap.xc, cheap.chkfile, cheap.grids.level = mean_field.xc, None, _COARSE_GRID
    if getattr(mean_field, "with_df", None):
        cheap = cheap.density_fit(auxbasis=mean_field.with_df.auxbasis)
    return cheap, chosen


def _smaller(symbol: str, shells: Any, names: Sequence[str]) -> str | None:
    """First basis of the names that an element has and that is smaller than its own."""
    for name in names:
        try:
            candidate = load_basis(name, symbol)
        except AlkaflowError:
            continue
        if _count(candidate) < _count(shells):
            return name
    return None


def _count(shells: Any) -> int:
    """Spherical functions of shells in PySCF's form [l, (kappa), [exponent, c1, c2, ...], ...]."""
    return sum((2 * int(shell[0]) + 1) * (len(shell[-1]) - 1) for shell in shells)


def projected_density(coefficients: Any, occupations: Any, molecule_from: Any, molecule_to: Any) -> Any:
    """Express the occupied orbitals in another basis, or at another geometry, and orthonormalise them again.

    C' = S'^-1 <'|> C, then C' (C'^T S' C')^-1/2: the electrons of each spin stay the same.

    Parameters
    ----------
    coefficients, occupations
        Orbitals, shape=(n, n_orbitals) or (2, n, n_orbitals).
    molecule_from, molecule_to
        PySCF molecules of the two bases.

    Returns
    -------
    numpy.ndarray
        Density, shape=(n', n') or (2, n', n'), tagged with its orbitals, by which density fitting is several times
        faster than by a bare matrix.
    """
    from pyscf import lib
    from pyscf.scf import addons

    overlap = molecule_to.intor_symmetric("int1e_ovlp")
    spins = np.ndim(occupations) == 2
    orbitals, filled = [], []
    for c, f in zip(coefficients, occupations, strict=True) if spins else [(coefficients, occupations)]:
        occupied = np.asarray(f) > 0
        projected = addons.project_mo_nr2nr(molecule_from, np.asarray(c)[:, occupied], molecule_to)
        orbitals.append(projected @ _inverse_root(projected.T @ overlap @ projected))
        filled.append(np.asarray(f, dtype=float)[occupied])
    width = max(len(f) for f in filled)
    orbitals = [np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in orbitals]
    filled = [np.pad(f, (0, width - len(f))) for f in filled]
    densities = [(c * f) @ c.T for c, f in zip(orbitals, filled, strict=True)]
    if not spins:
        return lib.tag_array(densities[0], mo_coeff=orbitals[0], mo_occ=filled[0])
    return lib.tag_array(np.array(densities), mo_coeff=np.array(orbitals), mo_occ=np.array(filled))


def _inverse_root(matrix: FloatArray) -> FloatArray:
    """Inverse square root of a symmetric positive matrix; of an empty one, itself."""
    if not matrix.size:
        return matrix
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)
