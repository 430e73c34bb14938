"""Gradients of semilocal exchange-correlation energies by quadrature, in the few functions that matter at each point.

Moving atom A changes the density n and its gradient through the functions m on A alone. With the functional's
derivatives v (by n) and v_y (by its gradient) times the weights of the points r, and occupied orbitals psi_i,

    dE/dA_x = -2 sum_(m on A, r) m_x V_m + sum_y m_xy U_ym,
    V_m = sum_i C_mi (v psi_i + sum_y v_y psi_i,y),    U_ym = sum_i C_mi v_y psi_i

(B. G. Johnson, P. M. W. Gill and J. A. Pople, J. Chem. Phys. 98, 5612 (1993), doi 10.1063/1.464906, also for the
response of the grid). No matrix over pairs of functions is made. Imported only by the process that computes.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from alkaflow.structures import FloatArray
from alkaflow.workflows.own_threads import in_own_threads
from alkaflow.workflows.quadrature import blocks_of, values_of

_SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))
"""Where PySCF keeps second derivatives xx, xy, xz, yy, yz, zz of the functions, after their values and gradients."""


def quadrature_gradient(mean_field: Any, orbitals: Sequence[FloatArray], grid_response: bool = False) -> FloatArray:
    """Derivative of the exchange-correlation energy at fixed orbitals [Hartree/bohr], shape=(n_atoms, 3).

    For LDA and GGA functionals.

    Parameters
    ----------
    mean_field
        A PySCF object, for its functional and its grid.
    orbitals
        Occupied ones of each spin, scaled by the roots of their occupations, shape=(n_functions, n_occupied); of a
        restricted object only those of one spin.
    grid_response
        Whether the grid moves with the atoms: its weights change, and its points follow their atom.
    """
    from pyscf.dft.gen_grid import arg_group_grids
    from pyscf.grad.rks import grids_response_cc

    integrand = _Integrand(mean_field, orbitals)
    gradient = np.zeros((mean_field.mol.natm, 3))
    if integrand.kind == "HF":
        return gradient
    grids = mean_field.grids
    if grids.coords is None:
        grids.build(with_non0tab=True)
    if not grid_response:
        gradient += integrand.over(grids.coords, grids.weights)[0]
        return gradient
    for atom, (coordinates, weights, changes) in enumerate(grids_response_cc(grids)):
        order = arg_group_grids(mean_field.mol, coordinates)
        moved, energies = integrand.over(coordinates[order], weights[order])
        gradient += moved + changes[:, :, order] @ energies
        gradient[atom] -= moved.sum(axis=0)
    return gradient


class _Integrand:
    """What one functional and its orbitals give at points."""

    def __init__(self, mean_field: Any, orbitals: Sequence[FloatArray]) -> None:
        self._molecule, self._functional = mean_field.mol, mean_field.xc
        self._quadrature = mean_field._numint  # noqa: SLF001  (where PySCF keeps its functionals)
        self.kind = self._quadrature._xc_type(mean_field.xc)  # noqa: SLF001
        self._spins = len(orbitals)
        self._coefficients = np.hstack(orbitals)
        ends = np.cumsum([0] + [c.shape[1] for c in orbitals]).tolist()
        self._own = [slice(*each) for each in pairwise(ends)]

    def over(self, coordinates: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Integrate over points [bohr]; neighbours should follow each other.

        Returns the gradient by the functions' atoms, shape=(n_atoms, 3), and the energy per volume at every point.
        """
        energies = np.zeros(len(weights))
        order = 1 if self.kind == "LDA" else 2
        blocks = list(blocks_of(self._molecule, coordinates))

        def share(worker: int, workers: int) -> FloatArray:
            found = np.zeros((self._molecule.nao, 3))
            for block in blocks[worker::workers]:
                values = values_of(self._molecule, coordinates, block, order)
                coefficients = self._coefficients[block.functions]
                moved, energies[block.points] = self._block(values, coefficients, weights[block.points])
                found[block.functions] += moved
            return found

        by_function = np.sum(in_own_threads(share), axis=0)
        slices = self._molecule.aoslice_by_atom()
        return np.array([by_function[p0:p1].sum(axis=0) for *_, p0, p1 in slices]), energies

    def _block(
        self, values: FloatArray, coefficients: FloatArray, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Gradient by function, shape=(n_functions, 3), and energies per volume at the points of one block."""
        components = 1 if self.kind == "LDA" else 4
        psi = coefficients.T @ values[:components]
        occupied = 2 / self._spins  # electrons in an orbital
        densities = np.array([np.einsum("ir,xir->xr", psi[0, own], psi[:, own]) for own in self._own]) * occupied
        densities[:, 1:] *= 2
        each, potentials = self._evaluate(densities)
        acted = np.empty_like(psi)
        for own, potential in zip(self._own, potentials * weights, strict=True):
            acted[0, own] = np.einsum("xr,xir->ir", potential, psi[:, own])
            acted[1:, own] = potential[1:, None] * psi[0, own]
        scattered = coefficients @ acted
        moved = np.einsum("xmr,mr->mx", values[1:4], scattered[0])
        for x, row in enumerate(_SECOND if components == 4 else ()):
            moved[:, x] += sum(np.einsum("mr,mr->m", values[xy], scattered[1 + y]) for y, xy in enumerate(row))
        return -2 * occupied * moved, each * densities[:, 0].sum(axis=0)

    def _evaluate(self, densities: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energy per electron and derivatives by density and its gradient, the latter shaped like the densities."""
        given = densities if self._spins == 2 else densities[0]
        if self.kind == "LDA":
            given = given[..., 0, :]
        found = self._quadrature.eval_xc_eff(self._functional, given, 1, xctype=self.kind)
        return np.asarray(found[0]), np.reshape(found[1], densities.shape)
