"""Whether a converged Kohn-Sham solution is a minimum, by the orbital Hessian, and what to do where it is not.

Seeger, Pople, J. Chem. Phys. 66, 3045 (1977), doi 10.1063/1.434318; Bauernschmitt, Ahlrichs, J. Chem. Phys. 104, 9047
(1996), doi 10.1063/1.471637. The Hessian is that of a new object made from the orbitals: one that a dynamic level
shift has touched gives a wrong one (github.com/pyscf/pyscf, issue 3063).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.structures import FloatArray
from alkaflow.workflows.ladder import adopt_orbitals, converge_second_order
from alkaflow.workflows.ladder import converge as converge_scf

_THRESHOLD = -1e-4  # Hartree; an atom's freely turning shell has zero, and the grid makes that a few 1e-5
_ROOTS = 3
_ACCURACY = 1e-4
_CYCLES = 60
_SPACE = 30
_SAME_ENERGY = 1e-6  # Hartree


@dataclass(frozen=True)
class Stability:
    """What is known about a solution.

    Attributes
    ----------
    tested
        Whether a Hessian was evaluated to convergence.
    stable
        No rotation of the orbitals within the object's spin symmetry lowers the energy; False where not tested.
    external_stable
        For a restricted singlet, whether it stays one when the spins may differ; None for others.
    rounds
        How often the SCF was repeated from rotated orbitals.
    lowering
        By how much that lowered the energy [Hartree], not negative.
    eigenvalue
        Lowest of the Hessian within the object's spin symmetry [Hartree]; None where nothing can rotate.
    external_eigenvalue
        Lowest of the Hessian towards different spins [Hartree].
    """

    tested: bool
    stable: bool
    external_stable: bool | None = None
    rounds: int = 0
    lowering: float = 0.0
    eigenvalue: float | None = None
    external_eigenvalue: float | None = None


def check_stability(mean_field: Any) -> Stability:
    """Test a converged RKS or UKS object, density fitted or not; it is left as it is."""
    return _test(clean_copy(mean_field))[0]


def stabilise(mean_field: Any, converge: Callable[..., Any] = converge_scf, rounds: int = 3) -> tuple[Any, Stability]:
    """Repeat an SCF from rotated orbitals until it is stable, or for so many rounds.

    Parameters
    ----------
    mean_field
        A converged RKS or UKS object; it takes the lowest solution that is found.
    converge
        Converges the object from a density, ``converge(mean_field, density)``; `ladder.converge` or one like it.
    rounds
        How often at most.

    Returns
    -------
    tuple
        The object, and what is known about its solution; ``stable`` is False where the rounds were not enough or
        the SCF found nothing lower.

    Raises
    ------
    CalculationError
        ``engine_crashed``, from the SCF. One that does not converge leaves the object at the solution before.
    """
    first = float(mean_field.e_tot)
    found, rotated = _test(clean_copy(mean_field))
    done = 0
    while rotated is not None and done < rounds:
        done += 1
        before = (mean_field.mo_coeff, mean_field.mo_occ, float(mean_field.e_tot))
        if not _descend(mean_field, converge, rotated):
            adopt_orbitals(mean_field, *before)
            break
        found, rotated = _test(clean_copy(mean_field))
    return mean_field, replace(found, rounds=done, lowering=max(0.0, first - float(mean_field.e_tot)))


def _descend(mean_field: Any, converge: Callable[..., Any], rotated: Any) -> bool:
    """Whether an SCF from rotated orbitals ends lower: the given one, or else a second-order one.

    DIIS may fall back to the saddle point it was rotated away from.
    """
    before, occupations = float(mean_field.e_tot), mean_field.mo_occ

    def first() -> None:
        converge(mean_field, mean_field.make_rdm1(rotated, occupations))

    def second() -> None:
        converge_second_order(mean_field, rotated, occupations)

    for attempt in (first, second):
        try:
            attempt()
        except CalculationError as error:
            if error.outcome != "scf_not_converged":
                raise
            continue
        if mean_field.e_tot < before - _SAME_ENERGY:
            return True
    return False


def clean_copy(mean_field: Any) -> Any:
    """Return a new object with the molecule, functional, grid, fitted integrals and orbitals of another."""
    from pyscf import dft

    unrestricted = np.ndim(mean_field.mo_occ) == 2
    clean = dft.UKS(mean_field.mol) if unrestricted else dft.RKS(mean_field.mol)
    clean.xc, clean.chkfile, clean.max_memory = mean_field.xc, None, mean_field.max_memory
    if getattr(mean_field, "with_df", None):
        clean = clean.density_fit(with_df=mean_field.with_df)
        clean.only_dfj = mean_field.only_dfj
    clean.grids, clean.nlcgrids = mean_field.grids, mean_field.nlcgrids
    clean.conv_tol, clean.conv_tol_grad = mean_field.conv_tol, mean_field.conv_tol_grad
    clean.mo_coeff, clean.mo_occ, clean.mo_energy = mean_field.mo_coeff, mean_field.mo_occ, mean_field.mo_energy
    clean.e_tot, clean.converged = mean_field.e_tot, mean_field.converged
    return clean


def _test(clean: Any) -> tuple[Stability, Any]:
    """What is known, and the orbitals rotated along the lowest eigenvector where they are unstable."""
    solver = clean.newton()
    fock = clean.get_fock(dm=clean.make_rdm1())
    _, product, diagonal = solver.gen_g_hop(clean.mo_coeff, clean.mo_occ, fock)
    if not diagonal.size:
        return Stability(tested=True, stable=True), None
    value, vector, done = _lowest(lambda x: 2 * product(x), 2 * diagonal)
    result = Stability(tested=done, stable=done and value > _THRESHOLD, eigenvalue=value)
    if np.ndim(clean.mo_occ) == 1:
        triplet, triplet_diagonal = _towards_different_spins(clean, fock)
        external, _, external_done = _lowest(triplet, triplet_diagonal)
        result = replace(
            result,
            tested=done and external_done,
            external_stable=external > _THRESHOLD,
            external_eigenvalue=external,
        )
    if value > _THRESHOLD:
        return result, None
    rotation = solver.update_rotate_matrix(vector, clean.mo_occ, mo_coeff=clean.mo_coeff)
    return result, solver.rotate_mo(clean.mo_coeff, rotation)


def _towards_different_spins(clean: Any, fock: FloatArray) -> tuple[Callable[[FloatArray], FloatArray], FloatArray]:
    """Hessian of a restricted singlet towards orbitals that differ by spin, as a product, and its diagonal.

    (e_a - e_i) x + C_v^T K_triplet[C_v x C_o^T + h.c.] C_o, with the response that a triplet excitation feels.
    """
    occupied, virtual = clean.mo_coeff[:, clean.mo_occ > 0], clean.mo_coeff[:, clean.mo_occ == 0]
    foo, fvv = occupied.T @ fock @ occupied, virtual.T @ fock @ virtual
    respond = clean.gen_response(singlet=False, hermi=1)

    def product(vector: FloatArray) -> FloatArray:
        x = vector.reshape(virtual.shape[1], occupied.shape[1])
        change = 2 * virtual @ x @ occupied.T
        answer = virtual.T @ respond(change + change.T) @ occupied
        return np.asarray(fvv @ x - x @ foo + answer).ravel()

    return product, (fvv.diagonal()[:, None] - foo.diagonal()).ravel()


def _lowest(product: Callable[[FloatArray], FloatArray], diagonal: FloatArray) -> tuple[float, FloatArray, bool]:
    """Lowest eigenvalue and vector of a symmetric matrix given as a product; whether they converged.

    Starts from the lowest excitations and, so that no symmetry is left out, from one vector with a part of each.
    """
    from pyscf import lib

    starts = [np.eye(1, diagonal.size, int(k))[0] for k in np.argsort(diagonal)[:_ROOTS]]
    starts.append(1.0 / np.maximum(diagonal, 0.05))

    def precondition(residual: FloatArray, value: float, _: FloatArray) -> FloatArray:
        difference = diagonal - value
        difference[abs(difference) < 1e-8] = 1e-8
        return residual / difference

    done, values, vectors = lib.davidson1(
        lambda xs: [product(x) for x in xs],
        starts,
        precondition,
        tol=_ACCURACY * 1e-2,
        tol_residual=_ACCURACY * 10,
        max_cycle=_CYCLES,
        max_space=_SPACE,
        nroots=min(_ROOTS, diagonal.size),
        verbose=0,
    )
    best = int(np.argmin(values))
    return float(values[best]), np.asarray(vectors[best]), bool(done[best])
