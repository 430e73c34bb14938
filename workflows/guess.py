"""Orbitals of one calculation as the start of another: at another geometry, or in another basis."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alkaflow.structures import FloatArray

Guess = Mapping[str, FloatArray]
"""Occupied orbitals as records hold them: ``coefficients_S`` and ``occupations_S`` with S ``restricted``, or ``alpha``
and ``beta``."""


ORBITAL_ARRAYS = ("coefficients_", "energies_", "occupations_")
"""How names of arrays of orbitals begin in a record's file, which may hold others."""


def occupied_orbitals(mean_field: Any) -> dict[str, FloatArray]:
    """Coefficients, energies [Hartree] and occupations of the occupied orbitals, by spin, as a record keeps them."""
    return filled_orbitals(mean_field.mo_coeff, mean_field.mo_occ, mean_field.mo_energy)


def filled_orbitals(coefficients: Any, occupations: Any, energies: Any = None) -> dict[str, FloatArray]:
    """Coefficients and occupations of the occupied orbitals by spin, with their energies [Hartree] where given.

    Parameters
    ----------
    coefficients, occupations, energies
        Of all orbitals, shape=(n, n_orbitals) and (n_orbitals,), or of both spins with 2 before.
    """
    found = {"coefficients": coefficients, "energies": energies, "occupations": occupations}
    restricted = np.ndim(occupations) == 1
    arrays: dict[str, FloatArray] = {}
    for number, spin in enumerate(("restricted",) if restricted else ("alpha", "beta")):
        filled = np.asarray(occupations if restricted else occupations[number]) > 0
        for name, values in found.items():
            if values is not None:
                arrays[f"{name}_{spin}"] = np.asarray(values if restricted else values[number])[..., filled]
    return arrays


def density_of(mean_field: Any, orbitals: Guess) -> Any:
    """Density matrix of orbitals from another geometry, made orthonormal in this one, with its orbitals attached.

    Parameters
    ----------
    mean_field
        At the geometry of the density.
    orbitals
        As `occupied_orbitals` gives them. Where the history of DIIS is with them (see `diis_history`), the density has
        it as ``history``: its SCF goes on.
    """
    from pyscf import lib

    overlap = mean_field.get_ovlp()
    spins = ("restricted",) if "coefficients_restricted" in orbitals else ("alpha", "beta")
    coefficients, occupations = [], []
    widest = max(orbitals[f"coefficients_{spin}"].shape[1] for spin in spins)
    for spin in spins:
        orbital, occupation = orbitals[f"coefficients_{spin}"], orbitals[f"occupations_{spin}"]
        values, vectors = np.linalg.eigh(orbital.T @ overlap @ orbital)
        empty = widest - len(occupation)  # PySCF wants equally many orbitals of either spin
        coefficients.append(np.pad(orbital @ (vectors / np.sqrt(values)) @ vectors.T, ((0, 0), (0, empty))))
        occupations.append(np.pad(occupation, (0, empty)))
    density = [(c * n) @ c.T for c, n in zip(coefficients, occupations, strict=True)]
    history = {name: array for name, array in orbitals.items() if name.startswith(("fock_", "error_"))}
    more = {"history": history} if history else {}
    if len(spins) == 1:
        return lib.tag_array(density[0], mo_coeff=coefficients[0], mo_occ=occupations[0], **more)
    return lib.tag_array(np.array(density), mo_coeff=np.array(coefficients), mo_occ=np.array(occupations), **more)


def orbitals_in_basis(orbitals: Guess, molecule_from: Any, molecule_to: Any) -> dict[str, FloatArray]:
    """Project occupied orbitals onto another basis on the same atoms: C' = S'^-1 <'|> C, not yet orthonormal.

    Parameters
    ----------
    orbitals
        In the basis of `molecule_from`.
    molecule_from, molecule_to
        PySCF molecules.
    """
    from pyscf.scf.addons import project_mo_nr2nr

    return {
        name: project_mo_nr2nr(molecule_from, array, molecule_to) if name.startswith("coefficients_") else array
        for name, array in orbitals.items()
    }


def unusable(guess: Guess | None, molecule: Any) -> list[str]:
    """Why orbitals cannot be the start of a molecule's SCF, in a sentence; nothing where they can."""
    if not guess:
        return []
    held = sum(float(array.sum()) for name, array in guess.items() if name.startswith("occupations"))
    if round(held) == molecule.nelectron:
        return []
    return [f"the orbitals to start from hold {held:.0f} electrons, not {molecule.nelectron}; they were not used"]
