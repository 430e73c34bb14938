"""Gradients of Kohn-Sham energies with density fitting, from a three-index density instead of Fock-like matrices.

With fit coefficients c of orbital pairs and d of the density, the fitted Coulomb and exchange energy changes by

    sum_Pmn G_Pmn (P|mn)' + sum_PQ g_PQ (P|Q)',    G_P = sum_s C_s X_Ps C_s^T,    X_Ps = d_P - a c_Ps

with a the fraction of exact exchange and C_s the occupied orbitals of spin s (F. Weigend and M. Haeser, Theor. Chem.
Acc. 97, 331 (1997), doi 10.1007/s002140050269, for MP2). The pairs come from the Cholesky vectors that the SCF holds,
G is made once in blocks, and derivatives with respect to the centre of P follow from translational invariance.

Imported only by the process that computes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from alkaflow.structures import FloatArray
from alkaflow.workflows.own_threads import handed_out, in_own_threads
from alkaflow.workflows.quadrature_gradient import quadrature_gradient

_BLOCK_MB = 24
"""Of the arrays that go with one block of fitting functions; what stays near the processor is fastest."""

_EXPONENT_CUTOFF = 40.0
"""Pairs of primitives whose overlap has a factor below exp(-41) are left out; PySCF's default is 60."""


def supports(mean_field: Any) -> bool:
    """Whether the gradient can be had here: fitted RKS or UKS, LDA or GGA, with or without global exact exchange.

    Solvents, core potentials and dispersion are PySCF's own business and do no harm. Left to PySCF are ROKS,
    range-separated hybrids, exact exchange beside fitted Coulomb repulsion, meta-GGAs, nonlocal correlation, symmetry
    and relativistic Hamiltonians.
    """
    from pyscf import dft
    from pyscf.df.df_jk import _DFHF

    if not isinstance(mean_field, _DFHF) or not mean_field.with_df or mean_field.only_dfj:
        return False
    if not isinstance(mean_field, dft.rks.RKS | dft.uks.UKS):
        return False
    if mean_field.mol.symmetry or getattr(mean_field, "with_x2c", None):
        return False
    quadrature = mean_field._numint  # noqa: SLF001  (where PySCF keeps what it knows about a functional)
    omega, _, _ = quadrature.rsh_and_hybrid_coeff(mean_field.xc, spin=mean_field.mol.spin)
    return not omega and not mean_field.do_nlc() and quadrature._xc_type(mean_field.xc) in ("HF", "LDA", "GGA")  # noqa: SLF001


def fitted_gradient(mean_field: Any, grid_response: bool = False, max_memory_mb: float = 1000.0) -> FloatArray:
    """Gradient [Hartree/bohr] of a converged object that `supports` accepts, shape=(n_atoms, 3).

    The same as ``mean_field.nuc_grad_method().kernel()``, which is run with the two-electron part from here; so
    one-electron terms, nuclei, dispersion and solvent are PySCF's.

    Parameters
    ----------
    mean_field
        Its orbitals and Cholesky vectors are used and not changed.
    grid_response
        Whether derivatives of the grid's weights are included.
    max_memory_mb
        For blocks. What is not in blocks, the fit coefficients of the occupied pairs and one copy, is each smaller
        than the Cholesky vectors by (occupied orbitals / functions) squared for each spin.
    """
    from pyscf import lib

    if not supports(mean_field):
        raise ValueError(f"no gradient here for {type(mean_field).__name__} with {mean_field.xc}; use PySCF's")
    gradients = mean_field.nuc_grad_method()
    orbitals = Orbitals.of(mean_field)
    two_electron = fitted_repulsion_gradient(mean_field, orbitals, max_memory_mb)
    two_electron += quadrature_gradient(mean_field, orbitals.by_spin, grid_response)
    shape = (*np.shape(mean_field.mo_coeff)[:-2], 3, *(mean_field.mol.nao,) * 2)
    nothing = np.broadcast_to(0.0, shape)

    def get_veff(*_: Any) -> Any:
        """No matrix, and what PySCF adds for every atom: its response of auxiliary functions and of the grid."""
        return lib.tag_array(nothing, aux=two_electron, exc1_grid=np.zeros_like(two_electron))

    gradients.get_veff = get_veff
    return np.asarray(gradients.kernel(), dtype=float)


@dataclass(frozen=True)
class Orbitals:
    """Occupied orbitals of each spin, scaled by the roots of their occupations, shapes=(n_functions, n_occupied).

    A restricted object has one spin, which counts twice. A spin without electrons has one orbital, of zeros.
    """

    by_spin: tuple[FloatArray, ...]
    degeneracy: int

    @classmethod
    def of(cls, mean_field: Any) -> "Orbitals":
        """Those of a PySCF object."""
        degeneracy = 2 if np.ndim(mean_field.mo_occ) == 1 else 1
        coefficients = np.reshape(mean_field.mo_coeff, (2 // degeneracy, mean_field.mol.nao, -1))
        occupations = np.reshape(mean_field.mo_occ, (2 // degeneracy, -1)) / degeneracy
        filled = [n > 0 if np.any(n) else np.arange(len(n)) == 0 for n in occupations]
        kept = zip(coefficients, occupations, filled, strict=True)
        return cls(tuple(c[:, which] * np.sqrt(n[which]) for c, n, which in kept), degeneracy)


def fitted_repulsion_gradient(mean_field: Any, orbitals: Orbitals, max_memory_mb: float = 1000.0) -> FloatArray:
    """Derivative of the fitted Coulomb and exchange energy at fixed orbitals [Hartree/bohr], shape=(n_atoms, 3)."""
    from pyscf import lib

    fitting = mean_field.with_df
    exchange = float(mean_field._numint.hybrid_coeff(mean_field.xc, spin=mean_field.mol.spin))  # noqa: SLF001
    block_mb = min(_BLOCK_MB, max_memory_mb / (4 * lib.num_threads()))
    projected = project(fitting, orbitals, bool(exchange), block_mb)
    fit = solve_fit(fitting.auxmol, projected)
    del projected
    return metric_gradient(fitting.auxmol, fit, orbitals, exchange) + three_centre_gradient(
        fitting.mol, fitting.auxmol, fit, orbitals, exchange, block_mb
    )


def project(fitting: Any, orbitals: Orbitals, pairs: bool, block_mb: float) -> FloatArray:
    """Cholesky vectors times the density, column 0, and between occupied orbitals if asked, one spin after the other.

    Shape=(n_vectors, 1 + n_pairs), of every pair of spin s the lower triangle.
    """
    from pyscf import lib

    occupied = np.hstack(orbitals.by_spin)
    density = orbitals.degeneracy * lib.pack_tril(occupied @ occupied.T) * _triangle_weights(len(occupied))
    spins = _pair_columns(orbitals) if pairs else ()
    result = np.empty((fitting.get_naoaux(), spins[-1].stop if spins else 1))
    size = max(1, int(block_mb * 1e6 / (8 * len(occupied) ** 2)))
    blocks = handed_out(_with_rows(fitting.loop(size)))

    def share(*_: int) -> None:
        square = np.empty((size, len(occupied), len(occupied)))
        for rows, vectors in blocks:
            result[rows, 0] = vectors @ density
            if spins:
                whole = lib.unpack_tril(vectors, out=square[: len(vectors)])
                half = (whole.reshape(-1, len(occupied)) @ occupied).reshape(len(vectors), len(occupied), -1)
                halves = np.split(half, np.cumsum([c.shape[1] for c in orbitals.by_spin])[:-1], axis=2)
                for coefficients, own, columns in zip(orbitals.by_spin, halves, spins, strict=True):
                    result[rows, columns] = lib.pack_tril(coefficients.T @ own)

    in_own_threads(share)
    return result


def solve_fit(auxmol: Any, projected: FloatArray) -> FloatArray:
    """Fit coefficients, shape=(n_fitting, columns), from products with the Cholesky vectors B = W (P|mn): W^T times.

    W is what PySCF made the vectors with: the inverse Cholesky factor of the metric, or where that is singular, its
    inverse root without the null space.
    """
    import scipy.linalg
    from pyscf.df.incore import LINEAR_DEP_THR, _eig_decompose

    metric = auxmol.intor("int2c2e", hermi=1)
    try:
        factor = scipy.linalg.cholesky(metric, lower=True)
    except scipy.linalg.LinAlgError:
        return np.asarray(_eig_decompose(auxmol, metric, LINEAR_DEP_THR).T @ projected)
    return np.asarray(scipy.linalg.solve_triangular(factor, projected, lower=True, trans="T"))


def metric_gradient(auxmol: Any, fit: FloatArray, orbitals: Orbitals, exchange: float) -> FloatArray:
    """The part of the metric, sum_PQ g_PQ (P|Q)' with 2 g_PQ = a sum_sij c_Pij c_Qij - d_P d_Q, shape=(n_atoms, 3)."""
    density, pairs = fit[:, 0], fit[:, 1:]
    twice = -np.outer(density, density)
    if exchange:
        weights = [_triangle_weights(c.shape[1]) for c in orbitals.by_spin]
        scaled = pairs * np.sqrt(np.hstack(weights))
        twice += exchange * orbitals.degeneracy * (scaled @ scaled.T)
    by_function = -np.einsum("xpq,pq->px", auxmol.intor("int2c2e_ip1"), twice)
    return np.array([by_function[p0:p1].sum(axis=0) for *_, p0, p1 in auxmol.aoslice_by_atom()])


def three_centre_gradient(
    molecule: Any, auxmol: Any, fit: FloatArray, orbitals: Orbitals, exchange: float, block_mb: float
) -> FloatArray:
    """The part of the three-centre integrals, sum_Pmn G_Pmn (P|mn)', shape=(n_atoms, 3).

    With pulls_AB = sum_(m on A, P on B, n) G_Pmn (P|m'n), m' the gradient of m with respect to the electron, moving
    atom A changes the energy by -2 sum_B (pulls_AB - pulls_BA); G is symmetric, and a shift of all changes nothing.
    """
    occupied = np.hstack(orbitals.by_spin)
    integrals = _Integrals(molecule, auxmol)
    atoms = list(_slices(molecule))
    size = max(1, int(block_mb * 1e6 / (8 * len(occupied) * sum(occupied.shape))))
    blocks = list(_blocks(auxmol, size))
    widest = max(f.stop - f.start for *_, f in blocks)

    def share(worker: int, workers: int) -> FloatArray:
        pulls = np.zeros((molecule.natm, molecule.natm, 3))
        memory = np.empty((widest * len(occupied), len(occupied)))
        room = integrals.room(widest)
        for there, shells, functions in blocks[worker::workers]:
            half = half_transformed_density(fit[functions], orbitals, exchange).reshape(-1, occupied.shape[1])
            density = np.matmul(half, occupied.T, out=memory[: len(half)])
            for here, own_shells, own in atoms:
                if here != there:
                    pulls[here, there] += integrals(own_shells, shells, room) @ density[:, own].ravel()
        return pulls

    pulls = np.sum(in_own_threads(share), axis=0)
    return np.asarray(2 * (pulls.sum(axis=0) - pulls.sum(axis=1)))


def half_transformed_density(fit: FloatArray, orbitals: Orbitals, exchange: float) -> FloatArray:
    """C_s X_Ps of both spins side by side for some fitting functions, shape=(n_fitting, n_functions, n_occupied)."""
    from pyscf import lib

    density = orbitals.degeneracy * fit[:, 0]
    if not exchange:
        return density[:, None, None] * np.hstack(orbitals.by_spin)
    halves = []
    for coefficients, columns in zip(orbitals.by_spin, _pair_columns(orbitals), strict=True):
        middle = lib.unpack_tril(-exchange * orbitals.degeneracy * fit[:, columns])
        diagonal = np.arange(coefficients.shape[1])
        middle[:, diagonal, diagonal] += density[:, None]
        halves.append(coefficients @ middle)
    return np.concatenate(halves, axis=2)


class _Integrals:
    """Derivatives (P|m'n) of three-centre integrals with respect to the electron of m, in blocks."""

    def __init__(self, molecule: Any, auxmol: Any) -> None:
        from pyscf import gto

        self._molecule = molecule
        both = gto.conc_mol(molecule, auxmol)
        self._name = molecule._add_suffix("int3c2e_ip1")  # noqa: SLF001
        self._data = both._atm, both._bas, both._env.copy()  # noqa: SLF001
        self._data[2][gto.PTR_EXPCUTOFF] = _EXPONENT_CUTOFF
        self._shells = molecule.nbas
        self._locations = gto.moleintor.make_loc(both._bas, self._name)  # noqa: SLF001
        self._optimizer = gto.moleintor.make_cintopt(*self._data, self._name)

    def room(self, fitting: int) -> FloatArray:
        """Memory for the integrals of any atom with so many fitting functions."""
        widest = max(own.stop - own.start for *_, own in _slices(self._molecule))
        return np.empty(3 * fitting * self._molecule.nao * widest)

    def __call__(self, own: slice, fitting: slice, room: FloatArray) -> FloatArray:
        """Of some shells with all others and some fitting shells, shape=(3, n_fitting * n_functions * n_own)."""
        from pyscf.gto.moleintor import getints3c

        shells = (own.start, own.stop, 0, self._shells, self._shells + fitting.start, self._shells + fitting.stop)
        found = getints3c(self._name, *self._data, shells, 3, "s1", self._locations, self._optimizer, out=room)
        return np.asarray(found.transpose(0, 3, 2, 1).reshape(3, -1))


def _with_rows(blocks: Iterable[FloatArray]) -> Iterator[tuple[slice, FloatArray]]:
    """Blocks of rows that follow each other, each with where it belongs."""
    done = 0
    for block in blocks:
        yield slice(done, done + len(block)), block
        done += len(block)


def _slices(molecule: Any) -> Iterator[tuple[int, slice, slice]]:
    """Every atom that has functions, with its shells and its functions."""
    for atom, (shell, shell_end, function, function_end) in enumerate(molecule.aoslice_by_atom()):
        if function_end > function:
            yield atom, slice(shell, shell_end), slice(function, function_end)


def _blocks(molecule: Any, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Shells of single atoms with at most so many functions, or a single shell, as `_slices`."""
    starts = molecule.ao_loc
    for atom, shells, _ in _slices(molecule):
        first = shells.start
        for shell in range(shells.start, shells.stop):
            last = shell + 1
            if last == shells.stop or starts[last + 1] - starts[first] > size:
                yield atom, slice(first, last), slice(int(starts[first]), int(starts[last]))
                first = last


def _pair_columns(orbitals: Orbitals) -> tuple[slice, ...]:
    """Where the pairs of every spin are among the columns of a fit."""
    ends = np.cumsum([1] + [n * (n + 1) // 2 for n in (c.shape[1] for c in orbitals.by_spin)]).tolist()
    return tuple(slice(*each) for each in pairwise(ends))


def _triangle_weights(size: int) -> FloatArray:
    """How often the elements of a lower triangle, row by row, are in the symmetric matrix: 2, on the diagonal 1."""
    rows, columns = np.tril_indices(size)
    return np.where(rows == columns, 1.0, 2.0)
