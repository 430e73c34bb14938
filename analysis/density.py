"""The one-electron density of an SCF, as occupied orbitals: what charges, potentials and pictures are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from alkaflow.errors import BadInputError
from alkaflow.structures import FloatArray

_SPINS = ("alpha", "beta")
_ELECTRONS = 1e-3  # that orbitals may hold more or less than their molecule has


@dataclass(frozen=True)
class Density:
    """Occupied orbitals of both spins in the basis of a molecule.

    ``coefficients`` are of alpha and beta, each with shape=(n_functions, n_occupied), and so are ``occupations`` with
    shape=(n_occupied,); of a restricted solution both spins are the same. ``molecule`` is a PySCF molecule; its
    coordinates are in bohr.
    """

    molecule: Any
    coefficients: tuple[FloatArray, FloatArray]
    occupations: tuple[FloatArray, FloatArray]

    @classmethod
    def of(cls, molecule: Any, orbitals: Mapping[str, FloatArray]) -> "Density":
        """Take the orbitals that a record keeps.

        Parameters
        ----------
        molecule
            A PySCF molecule with the atoms and the basis of the record.
        orbitals
            ``coefficients_S`` with shape=(n_functions, n_occupied) and ``occupations_S`` with shape=(n_occupied,), S
            ``restricted``, or ``alpha`` and ``beta``.

        Raises
        ------
        BadInputError
            The orbitals are of another basis, or hold another number of electrons.
        """
        restricted = "coefficients_restricted" in orbitals
        names = ("restricted", "restricted") if restricted else _SPINS
        share = 0.5 if restricted else 1.0
        coefficients = [np.asarray(orbitals[f"coefficients_{name}"], float) for name in names]
        occupations = [share * np.asarray(orbitals[f"occupations_{name}"], float) for name in names]
        for array in coefficients:
            if array.shape[0] != molecule.nao:
                raise BadInputError(f"the orbitals have {array.shape[0]} functions, the molecule {molecule.nao}")
        held = float(sum(each.sum() for each in occupations))
        if abs(held - molecule.nelectron) > _ELECTRONS:
            raise BadInputError(f"the orbitals hold {held:.2f} electrons, the molecule has {molecule.nelectron}")
        return cls(molecule, (coefficients[0], coefficients[1]), (occupations[0], occupations[1]))

    @cached_property
    def by_spin(self) -> FloatArray:
        """Density matrices of alpha and beta, shape=(2, n_functions, n_functions)."""
        pairs = zip(self.coefficients, self.occupations, strict=True)
        return np.array([(orbital * occupation) @ orbital.T for orbital, occupation in pairs])

    @cached_property
    def total(self) -> FloatArray:
        """Density matrix of all electrons, shape=(n_functions, n_functions)."""
        return np.asarray(self.by_spin.sum(axis=0))

    @cached_property
    def spin(self) -> FloatArray:
        """Density matrix of alpha less that of beta, shape=(n_functions, n_functions)."""
        return np.asarray(self.by_spin[0] - self.by_spin[1])

    @property
    def is_polarised(self) -> bool:
        """Whether the two spins differ."""
        return self.coefficients[0] is not self.coefficients[1] and bool(np.abs(self.spin).max() > 1e-8)
