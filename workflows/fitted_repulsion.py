"""Coulomb and exchange matrices from the Cholesky vectors of density fitting, in one pass over them.

With vectors B_Qmn, the density D and occupied orbitals C of a spin (scaled by the roots of their occupations),

    J_mn = sum_Q B_Qmn sum_kl B_Qkl D_kl,    K_mn = sum_Qi X_Qim X_Qin,    X_Qim = sum_n C_ni B_Qmn

(F. Weigend, Phys. Chem. Chem. Phys. 4, 4285 (2002), doi 10.1039/b204199p). PySCF makes both halves of the symmetric K;
here it is a symmetric product, with the BLAS of NumPy and SciPy, which is newer than the one in PySCF. Imported only by
the process that computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pyscf import lib
from scipy.linalg.blas import dsyrk

from alkaflow.structures import FloatArray
from alkaflow.workflows.orbital_tags import occupied
from alkaflow.workflows.own_threads import in_own_threads

_BLOCK_MB = 24
"""Of unpacked vectors; what stays near the processor is fastest."""


def coulomb_and_exchange(
    vectors: FloatArray, densities: FloatArray, orbitals: list[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """J and K of symmetric densities [Hartree], both with shape=(n_densities, n, n).

    Parameters
    ----------
    vectors
        Cholesky vectors, lower triangles packed, shape=(n_fitting, n (n + 1) / 2).
    densities
        Shape=(n_densities, n, n).
    orbitals
        Of each density, shape=(n, n_occupied), times the roots of their occupations.
    """
    size = densities.shape[-1]
    packed = lib.pack_tril(densities + densities.transpose(0, 2, 1))
    diagonal = np.arange(size)
    packed[:, diagonal * (diagonal + 3) // 2] *= 0.5
    rows = max(1, int(_BLOCK_MB * 1e6 / (8 * size**2)))

    def share(worker: int, workers: int) -> tuple[FloatArray, list[FloatArray]]:
        repulsion = np.zeros_like(packed)
        exchange = [np.zeros((size, size), order="F") for _ in orbitals]
        for first in range(worker * rows, len(vectors), workers * rows):
            some = vectors[first : first + rows]
            repulsion += (packed @ some.T) @ some
            unpacked = lib.unpack_tril(some)
            for number, coefficients in enumerate(orbitals):
                if coefficients.shape[1]:
                    half = np.matmul(coefficients.T, unpacked).reshape(-1, size)
                    exchange[number] = dsyrk(1.0, half.T, beta=1.0, c=exchange[number], overwrite_c=True)
        return repulsion, exchange

    parts = in_own_threads(share)
    repulsions = lib.unpack_tril(np.sum([part[0] for part in parts], axis=0))
    exchanges = np.sum([part[1] for part in parts], axis=0)  # upper triangles
    return repulsions, exchanges + np.triu(exchanges, 1).transpose(0, 2, 1)


@contextmanager
def symmetric_exchange(mean_field: Any) -> Iterator[None]:
    """Let a density-fitted object build J and K here meanwhile, where its vectors are in memory.

    They are made at once. For functionals without exact exchange PySCF would do without, and compute all three-centre
    integrals anew for every J.
    """
    fitted = getattr(mean_field, "with_df", None)
    if fitted is None:
        yield
        return
    pyscf = fitted.get_jk
    if fitted._cderi is None:  # noqa: SLF001  (where PySCF keeps them)
        fitted.build()

    def get_jk(
        dm: Any,
        hermi: int = 1,
        with_j: bool = True,
        with_k: bool = True,
        direct_scf_tol: float = 1e-13,
        omega: float | None = None,
    ) -> tuple[Any, Any]:
        orbitals = occupied(dm)
        if fitted._cderi is None:  # noqa: SLF001  (where PySCF keeps them)
            fitted.build()
        vectors = fitted._cderi  # noqa: SLF001
        asked = with_j and with_k and hermi == 1 and omega is None
        if orbitals is None or not asked or not isinstance(vectors, np.ndarray):
            by_pyscf: tuple[Any, Any] = pyscf(dm, hermi, with_j, with_k, direct_scf_tol, omega)
            return by_pyscf
        densities = np.asarray(dm).reshape(len(orbitals), *dm.shape[-2:])
        found = coulomb_and_exchange(vectors, densities, orbitals)
        return found[0].reshape(dm.shape), found[1].reshape(dm.shape)

    fitted.get_jk = get_jk
    try:
        yield
    finally:
        del fitted.get_jk
