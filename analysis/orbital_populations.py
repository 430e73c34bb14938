"""Atomic populations from a density matrix: each electron belongs to an orbital, and each orbital to an atom.

Mulliken, J. Chem. Phys. 23, 1833 (1955); Loewdin, J. Chem. Phys. 18, 365 (1950); meta-Loewdin: Sun and Chan, J. Chem.
Theory Comput. 10, 3784 (2014); intrinsic atomic orbitals: Knizia, J. Chem. Theory Comput. 9, 4834 (2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray


@dataclass(frozen=True)
class Populations:
    """Charges [e] and unpaired electrons (alpha less beta) of the atoms, each with shape=(n_atoms,)."""

    charges: FloatArray
    spins: FloatArray


def real_atoms(molecule: Any) -> list[int]:
    """Atoms (numbers from 0) of a PySCF molecule that are no ghosts."""
    return [k for k in range(molecule.natm) if not molecule.atom_symbol(k).upper().startswith("GHOST")]


def mulliken(density: Density) -> Populations:
    """Charges q_A = Z_A - sum of (D S)_ii over the functions i of atom A.

    Z_A is without the electrons of a core potential. A ghost has the electrons in its functions, and so a negative
    charge.
    """
    overlap = density.molecule.intor_symmetric("int1e_ovlp")
    by_function = [np.einsum("ij,ji->i", one, overlap) for one in density.by_spin]
    return _by_atom(density.molecule, by_function, _owners(density.molecule))


def loewdin(density: Density) -> Populations:
    """Charges q_A = Z_A - sum of (S^1/2 D S^1/2)_ii over the functions i of atom A; ghosts as for Mulliken's.

    With Cartesian d functions they depend on how the molecule lies: S^1/2 does not turn with it.
    """
    from pyscf import lo

    return _in_orthogonal(density, lo.orth_ao(density.molecule, "lowdin", pre_orth_ao=None))


def meta_loewdin(density: Density) -> Populations:
    """Loewdin charges with core, valence and Rydberg functions made orthogonal one set after the other.

    The sets are found by projection on PySCF's ANO basis; these are the charges that its ``analyze`` prints. With
    effective core potentials, of which that basis knows nothing (it would leave hydrogen iodide a charge of 0.6 e), the
    sets are the orbitals of the free atoms in the basis of the molecule.

    Raises
    ------
    BadInputError
        There are effective core potentials and Cartesian functions.
    """
    from pyscf import lo

    molecule = density.molecule
    if molecule.has_ecp() and molecule.cart:
        raise BadInputError(
            "meta-Loewdin charges with effective core potentials need spherical functions, and these are Cartesian; "
            "leave the scheme meta_loewdin out"
        )
    reference = _free_atoms(molecule) if molecule.has_ecp() else "ANO"
    return _in_orthogonal(density, lo.orth_ao(molecule, "meta_lowdin", reference))


def _free_atoms(molecule: Any) -> FloatArray:
    """Orbitals of the free atoms, spherically averaged, in the basis of a molecule; of a ghost its functions."""
    from pyscf.lo import orth

    orbitals: FloatArray = orth.pre_orth_ao(molecule, "SCF")  # zero for ghosts, whose electrons would be lost
    real = real_atoms(molecule)
    ghosts = [function for function, atom in enumerate(_owners(molecule)) if atom not in real]
    orbitals[ghosts, ghosts] = 1.0
    return orbitals


def iao(density: Density) -> Populations:
    """Charges in intrinsic atomic orbitals: a minimal basis, made of free atoms' orbitals, that holds every electron.

    Made for each spin from its own occupied orbitals, and orthogonal within it. The reference is PySCF's MINAO, the
    contracted functions of cc-pVTZ. Ghosts have no orbitals in it, and so charge 0.

    Raises
    ------
    BadInputError
        There are effective core potentials: MINAO has the orbitals of the core.
    """
    from pyscf import lo
    from pyscf.lo import iao as pyscf_iao

    molecule = density.molecule
    if molecule.has_ecp():
        raise BadInputError(
            "intrinsic atomic orbitals need a minimal basis of all electrons, and there are effective core potentials; "
            "leave the scheme iao out"
        )
    overlap = molecule.intor_symmetric("int1e_ovlp")
    owners = _owners(pyscf_iao.reference_mol(molecule), real_atoms(molecule))
    by_function = []
    for coefficients, occupations in zip(density.coefficients, density.occupations, strict=True):
        occupied = coefficients[:, occupations > 0]
        orbitals = lo.vec_lowdin(pyscf_iao.iao(molecule, occupied), overlap)
        projected = orbitals.T @ overlap @ occupied
        by_function.append((projected**2) @ occupations[occupations > 0])
    return _by_atom(molecule, by_function, owners)


def _in_orthogonal(density: Density, orbitals: FloatArray) -> Populations:
    """Populations of orthogonal orbitals, as many as there are functions and in their order."""
    back = orbitals.T @ density.molecule.intor_symmetric("int1e_ovlp")
    by_function = [np.einsum("ij,jk,ik->i", back, one, back, optimize=True) for one in density.by_spin]
    return _by_atom(density.molecule, by_function, _owners(density.molecule))


def _owners(molecule: Any, numbers: Sequence[int] | None = None) -> list[int]:
    """Atom of every function; ``numbers`` are those of its atoms in the molecule they were taken from."""
    slices = molecule.aoslice_by_atom()
    numbers = range(molecule.natm) if numbers is None else numbers
    return [atom for atom, (_, _, first, last) in zip(numbers, slices, strict=True) for _ in range(first, last)]


def _by_atom(molecule: Any, by_function: Sequence[FloatArray], owners: Sequence[int]) -> Populations:
    alpha, beta = (np.bincount(owners, each, minlength=molecule.natm).astype(float) for each in by_function)
    return Populations(molecule.atom_charges() - alpha - beta, alpha - beta)
