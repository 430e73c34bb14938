"""DIIS that knows from SCFs at other geometries how errors answer to changes of the Fock matrix.

DIIS (P. Pulay, Chem. Phys. Lett. 73, 393 (1980), doi 10.1016/0009-2614(80)80396-4) looks for the combination of Fock
matrices F with the smallest error e = [F, D]. Written with differences, F + sum_j b_j dF_j with the b_j for which
|e + sum_j b_j de_j| is smallest, it is a multisecant method (H. Fang and Y. Saad, Numer. Linear Algebra Appl. 16, 197
(2009), doi 10.1002/nla.617): all that it learns is how e changes with F. In orthonormal functions that hardly changes
when atoms move a little. So the pairs (dF_j, de_j) of earlier SCFs serve the next one from its first cycle on, where
plain DIIS has none and steps too far.

Functions are made orthonormal by S^-1/2, which follows the atoms smoothly. Imported only by the process that computes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from pyscf import lib
from pyscf.scf.diis import CDIIS

from alkaflow.structures import FloatArray

MOST_PAIRS = 24
"""Of earlier SCFs; more bring nothing."""

_OWN = 8  # Fock matrices of the SCF itself, as PySCF's DIIS keeps
_SHARE = 0.05  # of the memory that PySCF may plan with, for pairs of earlier SCFs
_NEGLIGIBLE = 1e-10  # singular values of the normal equations, over the largest


class Pair(NamedTuple):
    """Fock matrices [Hartree] and their errors, or changes of both: lower triangles by spin, orthonormal functions."""

    fock: FloatArray
    error: FloatArray


def learned(state: Mapping[str, Any]) -> list[Pair]:
    """Pairs to hand on, of PySCF's state after a cycle; none where DIIS was another one."""
    diis = state.get("mf_diis")
    return diis.pairs[:MOST_PAIRS] if isinstance(diis, RecycledDiis) else []


class RecycledDiis(CDIIS):  # type: ignore[misc]
    """DIIS for one SCF, with the pairs of earlier ones, newest first."""

    def __init__(self, mean_field: Any, earlier: Sequence[Pair] = ()) -> None:
        super().__init__(mean_field)
        values, vectors = np.linalg.eigh(mean_field.get_ovlp())
        self._into = (vectors / np.sqrt(values)) @ vectors.T
        self._back = (vectors * np.sqrt(values)) @ vectors.T
        room = int(_SHARE * mean_field.max_memory * 1e6 / (2 * 8 * len(values) ** 2))
        self._earlier = list(earlier[: min(MOST_PAIRS, room)])
        self._own: list[Pair] = []

    @property
    def pairs(self) -> list[Pair]:
        """Changes in this SCF and in the earlier ones, newest first."""
        own = [Pair(b.fock - a.fock, b.error - a.error) for a, b in pairwise(self._own)]
        return own[::-1] + self._earlier

    def history(self) -> list[tuple[FloatArray, FloatArray]]:
        """Fock matrices and errors, by spin, of the molecule's own functions, oldest first; see `diis_history`."""
        return [
            (
                self._back @ lib.unpack_tril(each.fock) @ self._back,
                self._into @ lib.unpack_tril(each.error, lib.ANTIHERMI) @ self._into,
            )
            for each in self._own
        ]

    def update(self, s: Any, d: Any, f: Any, *_: Any, **__: Any) -> Any:
        """Return the Fock matrix to diagonalise, of overlap, densities and Fock matrices."""
        del s  # that of the object
        now = Pair(*self._in_orthonormal(np.asarray(d), np.asarray(f)))
        self._own = [*self._own, now][-_OWN:]
        known = self.pairs
        if not known:
            return f
        lengths = [float(np.linalg.norm(pair.error)) or 1.0 for pair in known]
        errors = np.array([pair.error.ravel() / length for pair, length in zip(known, lengths, strict=True)])
        weights = np.linalg.lstsq(errors @ errors.T, -errors @ now.error.ravel(), rcond=_NEGLIGIBLE)[0]
        fock = now.fock + sum(
            weight / length * pair.fock for weight, length, pair in zip(weights, lengths, known, strict=True)
        )
        whole = self._back @ lib.unpack_tril(fock) @ self._back
        return whole.reshape(np.shape(f))

    def _in_orthonormal(self, density: FloatArray, fock: FloatArray) -> tuple[FloatArray, FloatArray]:
        size = fock.shape[-1]
        fock, density = fock.reshape(-1, size, size), density.reshape(-1, size, size)
        product = self._back @ density @ fock @ self._into
        return (
            lib.pack_tril(self._into @ fock @ self._into),
            lib.pack_tril(product.transpose(0, 2, 1) - product),
        )
