"""Exchange-correlation potentials in the few functions that matter at each block of points, by dense matrix products.

With the functions m at points r, occupied orbitals C of a spin, weights w and the functional's derivatives v (by the
density n) and v_y (by its gradient),

    psi_i = sum_m C_mi m,    p_m = sum_i C_mi psi_i,    n = sum_m m p_m,    n_y = 2 sum_m m_y p_m,
    V_mn = sum_r m (w v n/2 + sum_y w v_y n_y) + transpose

PySCF takes these sums over small tiles with its own loops; gathered into dense blocks they are products of matrices,
which BLAS makes several times faster. Values of functions are kept from one cycle to the next where there is room:
the integrals of density fitting should be made before.
Imported only by the process that computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyscf.dft import numint
from pyscf.dft.gen_grid import BLKSIZE, make_mask

from alkaflow.structures import FloatArray
from alkaflow.workflows.orbital_tags import occupied
from alkaflow.workflows.own_threads import in_own_threads

_POINTS = 9 * BLKSIZE
"""Of a block: as many as keep its arrays near the processor; with fewer, adding to the potential takes longer."""

_NEGLIGIBLE = 1e-10
"""Largest value of a shell that is left out of a block: PySCF takes 1e-15, a sixth more functions for 1e-12 Hartree."""

_KEPT = 0.7
"""Of the memory that is left, for values of functions."""


@dataclass(frozen=True)
class Block:
    """Neighbouring points, PySCF's mask of where shells are negligible, shells and functions that somewhere are not."""

    points: slice
    mask: Any
    shells: Any
    functions: Any


def blocks_of(molecule: Any, coordinates: FloatArray) -> Iterator[Block]:
    """Divide points [bohr] that follow each other in space; those where all functions are negligible are left out."""
    starts = molecule.ao_loc
    shell_of = np.repeat(np.arange(molecule.nbas), np.diff(starts))
    for first in range(0, len(coordinates), _POINTS):
        points = slice(first, min(first + _POINTS, len(coordinates)))
        mask = make_mask(molecule, coordinates[points], cutoff=_NEGLIGIBLE)
        some = mask.any(axis=0)
        if some.any():
            shells = np.flatnonzero(some)
            yield Block(points, np.ascontiguousarray(mask[:, shells]), shells, np.flatnonzero(some[shell_of]))


def values_of(molecule: Any, coordinates: FloatArray, block: Block, order: int) -> FloatArray:
    """Values and derivatives up to an order of a block's functions, shape=(n_components, n_functions, n_points)."""
    part = molecule.copy(deep=False)
    part._bas = molecule._bas[block.shells]  # noqa: SLF001  (PySCF evaluates only runs of shells)
    values = numint.eval_ao(part, coordinates[block.points], order, non0tab=block.mask, cutoff=_NEGLIGIBLE)
    return np.ascontiguousarray(np.asarray(values).reshape(-1, *np.shape(values)[-2:]).transpose(0, 2, 1))


@dataclass
class _Sums:
    """Electrons and potential by spin, and the energy, of some blocks."""

    electrons: FloatArray
    energy: float
    potentials: FloatArray

    @classmethod
    def zero(cls, spins: int, functions: int) -> "_Sums":
        return cls(np.zeros(spins), 0.0, np.zeros((spins, functions, functions)))


class Quadrature(numint.NumInt):  # type: ignore[misc]
    """PySCF's numerical integration with the potentials of an SCF made in dense blocks.

    For LDA and GGA functionals and densities that come with their orbitals; anything else is PySCF's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._coordinates: Any = None
        self._blocks: list[Block] = []
        self._values: dict[int, FloatArray] = {}

    @property
    def kept_mb(self) -> float:
        """Memory that kept values take [MB]."""
        return sum(values.nbytes for values in self._values.values()) / 1e6

    def nr_rks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *args: Any, **kwargs: Any) -> Any:
        """Electrons, energy [Hartree] and potential of a restricted density; see PySCF."""
        orbitals = occupied(dms)
        if orbitals is None or len(orbitals) != 1 or self._xc_type(xc_code) not in ("LDA", "GGA"):
            return super().nr_rks(mol, grids, xc_code, dms, *args, **kwargs)
        electrons, energy, potential = self._integrate(mol, grids, xc_code, orbitals, kwargs.get("max_memory", 0.0))
        return electrons[0], energy, potential[0]

    def nr_uks(self, mol: Any, grids: Any, xc_code: str, dms: Any, *args: Any, **kwargs: Any) -> Any:
        """Electrons of either spin, energy [Hartree] and potentials of an unrestricted density; see PySCF."""
        orbitals = occupied(dms)
        if orbitals is None or len(orbitals) != 2 or self._xc_type(xc_code) not in ("LDA", "GGA"):
            return super().nr_uks(mol, grids, xc_code, dms, *args, **kwargs)
        return self._integrate(mol, grids, xc_code, orbitals, kwargs.get("max_memory", 0.0))

    def _integrate(
        self, molecule: Any, grids: Any, functional: str, orbitals: list[FloatArray], max_memory: float
    ) -> tuple[FloatArray, float, FloatArray]:
        order = 0 if self._xc_type(functional) == "LDA" else 1
        self._enter(molecule, grids)

        def share(worker: int, workers: int) -> _Sums:
            sums = _Sums.zero(len(orbitals), molecule.nao)
            kept = sum(values.nbytes for number, values in self._values.items() if number % workers == worker)
            left = _KEPT * max_memory * 1e6 / workers - kept
            for number in range(worker, len(self._blocks), workers):
                block, values = self._blocks[number], self._values.get(number)
                if values is None:
                    values = values_of(molecule, grids.coords, block, order)
                    left -= values.nbytes
                    if left > 0:
                        self._values[number] = values
                self._add(sums, functional, block, values, orbitals, grids.weights[block.points])
            return sums

        parts = in_own_threads(share)
        potentials = np.sum([part.potentials for part in parts], axis=0)
        electrons = np.sum([part.electrons for part in parts], axis=0)
        return electrons, sum(part.energy for part in parts), potentials + potentials.transpose(0, 2, 1)

    def _add(
        self,
        sums: "_Sums",
        functional: str,
        block: Block,
        values: FloatArray,
        orbitals: list[FloatArray],
        weights: FloatArray,
    ) -> None:
        """Add what one block contributes."""
        kind = self._xc_type(functional)
        densities = np.array([_density(values, c[block.functions]) for c in orbitals])
        given = densities[:, 0] if kind == "LDA" else densities
        given = given if len(orbitals) > 1 else given[0]
        each, derivatives = self.eval_xc_eff(functional, given, 1, xctype=kind, spin=len(orbitals) - 1)[:2]
        inside = densities[:, 0] * weights
        sums.electrons += inside.sum(axis=1)
        sums.energy += float(inside.sum(axis=0) @ each)
        acting = np.reshape(derivatives, (len(orbitals), -1, len(weights))) * weights
        acting[:, 0] *= 0.5
        where = np.ix_(block.functions, block.functions)
        for potential, one in zip(sums.potentials, acting, strict=True):
            potential[where] += values[0] @ np.einsum("ymr,yr->mr", values, one).T

    def _enter(self, molecule: Any, grids: Any) -> None:
        """Divide a grid that is new."""
        if grids.coords is not self._coordinates:
            self._coordinates, self._values = grids.coords, {}
            self._blocks = list(blocks_of(molecule, grids.coords))


def electrons_on(molecule: Any, grids: Any, orbitals: list[FloatArray]) -> float:
    """Electrons that the squares of orbitals have on a grid.

    Parameters
    ----------
    molecule, grids
        PySCF's; the grid is built.
    orbitals
        Occupied ones of all spins, each with shape=(n, n_occupied), times the roots of their occupations.
    """
    blocks = list(blocks_of(molecule, grids.coords))
    together = np.hstack(orbitals)

    def share(worker: int, workers: int) -> float:
        electrons = 0.0
        for block in blocks[worker::workers]:
            values = values_of(molecule, grids.coords, block, 0)[0]
            through = together[block.functions].T @ values
            electrons += float(np.einsum("ir,ir->r", through, through) @ grids.weights[block.points])
        return electrons

    return sum(in_own_threads(share))


def _density(values: FloatArray, orbitals: FloatArray) -> FloatArray:
    """Density, and its gradient where the values have derivatives, at points, shape=(1 or 4, n_points)."""
    through = orbitals @ (orbitals.T @ values[0])
    density: FloatArray = np.einsum("ymr,mr->yr", values, through)
    density[1:] *= 2
    return density


@contextmanager
def dense_quadrature(mean_field: Any) -> Iterator[None]:
    """Let a Kohn-Sham object integrate in dense blocks meanwhile; what was kept for that is gone afterwards."""
    plain = mean_field._numint  # noqa: SLF001  (where PySCF keeps it)
    if type(plain) is not numint.NumInt or plain.omega is not None:
        yield
        return
    mean_field._numint = Quadrature()  # noqa: SLF001
    try:
        yield
    finally:
        mean_field._numint = plain  # noqa: SLF001
