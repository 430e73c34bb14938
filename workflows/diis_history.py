"""What DIIS remembers of an SCF on the way: without it, the next steps are plain diagonalisations, which can diverge.

An error vector is stored as E = X e X^T of the orthonormal functions X in which PySCF wrote it, and read as
X'^T S E S X': X depends on the machine. Imported only by the process that computes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alkaflow.structures import FloatArray

_SHARE = 0.025  # of the memory that PySCF may plan with; as it is written, there are four of it


def names_for(restricted: bool) -> tuple[str, ...]:
    """Names of the arrays of a history: Fock matrices and errors by spin, oldest first.

    Each has shape=(n_vectors, n (n + 1) / 2): packed lower triangles, of the errors those of antisymmetric matrices.
    """
    spins = ("restricted",) if restricted else ("alpha", "beta")
    return tuple(f"{kind}_{spin}" for kind in ("fock", "error") for spin in spins)


def no_history(molecule: Any, restricted: bool) -> dict[str, FloatArray]:
    """The history of an SCF that DIIS has not seen."""
    return {name: np.zeros((0, molecule.nao * (molecule.nao + 1) // 2)) for name in names_for(restricted)}


def history_of(state: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Take the history from PySCF's state after a cycle; nothing of an SCF that is helped, or without DIIS.

    The Fock matrix of the orbitals that the cycle ended with is not part of it: whoever goes on builds that first. Of
    a large molecule the newest vectors are taken.
    """
    diis, mean_field = state.get("mf_diis"), state.get("mf")
    if diis is None or mean_field is None:
        return {}
    from pyscf import lib
    from pyscf.scf.diis import CDIIS

    from alkaflow.workflows.recycled_diis import RecycledDiis

    if type(diis) not in (CDIIS, RecycledDiis) or mean_field.level_shift or mean_field.damp:
        return {}
    functions, restricted = mean_field.mol.nao, np.ndim(state["mo_occ"]) == 1
    spins = 1 if restricted else 2
    vectors = diis.history() if isinstance(diis, RecycledDiis) else _vectors_of(diis, spins, functions)
    room = int(_SHARE * mean_field.max_memory * 1e6 / (8 * spins * functions**2))
    names = names_for(restricted)
    found: dict[str, list[Any]] = {name: [] for name in names}
    for fock, error in vectors[max(0, len(vectors) - room) :]:
        for name, matrix in zip(names, [*fock, *error], strict=True):
            found[name].append(lib.pack_tril(matrix))
    some = {name: np.array(rows) for name, rows in found.items() if rows}
    return some or no_history(mean_field.mol, restricted)


def _vectors_of(diis: Any, spins: int, functions: int) -> list[tuple[FloatArray, list[FloatArray]]]:
    """Fock matrices and errors of PySCF's DIIS, by spin, of the molecule's own functions, oldest first."""
    return [
        (
            np.asarray(diis.get_vec(number)).reshape(spins, functions, functions),
            [
                diis.Corth @ one @ diis.Corth.T
                for one in np.asarray(diis.get_err_vec(number)).reshape(spins, diis.Corth.shape[1], -1)
            ],
        )
        for number in diis._bookkeep  # noqa: SLF001  (its vectors are in a ring)
    ]


def continued_diis(mean_field: Any, history: Mapping[str, FloatArray]) -> Any:
    """Return DIIS for a mean field as it was after a history."""
    from pyscf import lib

    overlap = mean_field.get_ovlp()
    orthonormal = mean_field.check_linear_dependency(overlap)
    diis = mean_field.DIIS(mean_field, mean_field.diis_file)
    diis.space, diis.rollback, diis.damp = mean_field.diis_space, mean_field.diis_space_rollback, mean_field.diis_damp
    diis.Corth = orthonormal
    across = overlap @ orthonormal
    names = names_for(restricted="fock_restricted" in history)
    focks, errors = (
        [[history[name][k] for name in names if name.startswith(kind)] for k in range(len(history[names[0]]))]
        for kind in ("fock", "error")
    )
    for fock, error in zip(focks, errors, strict=True):
        vector = np.array([lib.unpack_tril(one) for one in fock]).ravel()
        wrong = np.array([across.T @ lib.unpack_tril(one, lib.ANTIHERMI) @ across for one in error]).ravel()
        lib.diis.DIIS.update(diis, vector, xerr=wrong)
    return diis
