"""Whether a converged Kohn-Sham solution is a minimum, by the orbital Hessian, and what to do where it is not.

Where spins may differ, a restricted singlet that is unstable in that direction is left for the broken-symmetry one.
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
from alkaflow.workflows import interrupt
from alkaflow.workflows.ladder import adopt_orbitals, converge_second_order
from alkaflow.workflows.ladder import converge as converge_scf

_THRESHOLD = -1e-4  # Hartree; an atom's freely turning shell has zero, and the grid makes that a few 1e-5
_ROOTS = 3
_ACCURACY = 1e-4
_CYCLES = 60
_SPACE = 30
_SAME_ENERGY = 1e-6  # Hartree
_TURN = np.pi / 4  # radian; by so much a bonding and its antibonding orbital mix to leave one electron on either atom


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
    broken_symmetry
        Whether a restricted singlet was left for one with different orbitals for the two spins.
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
    broken_symmetry: bool = False
    rounds: int = 0
    lowering: float = 0.0
    eigenvalue: float | None = None
    external_eigenvalue: float | None = None

    @property
    def lowest(self) -> float:
        """The lower of both eigenvalues [Hartree]; one that has not converged is an upper bound."""
        return min((x for x in (self.eigenvalue, self.external_eigenvalue) if x is not None), default=0.0)

    @property
    def unstable(self) -> bool:
        """Whether a rotation is known that lowers the energy, within the spin symmetry or out of it."""
        return self.lowest < _THRESHOLD

    def after(self, before: "Stability") -> "Stability":
        """Return it with the rounds that an earlier test in the same calculation took."""
        return replace(
            self,
            broken_symmetry=self.broken_symmetry or before.broken_symmetry,
            rounds=self.rounds + before.rounds,
            lowering=self.lowering + before.lowering,
        )


def check_stability(mean_field: Any) -> Stability:
    """Test a converged RKS or UKS object, density fitted or not; it is left as it is."""
    return _test(clean_copy(mean_field)).stability


def stabilise(
    mean_field: Any, converge: Callable[..., Any] = converge_scf, rounds: int = 3, break_symmetry: bool = False
) -> tuple[Any, Stability]:
    """Repeat an SCF from rotated orbitals until it is stable, or for so many rounds.

    Parameters
    ----------
    mean_field
        A converged RKS or UKS object; it takes the lowest solution that is found within its spin symmetry.
    converge
        Converges the object from a density, ``converge(mean_field, density)``; `ladder.converge` or one like it.
    rounds
        How often at most; as often again where the symmetry of spins is broken.
    break_symmetry
        Whether a restricted singlet that is unstable towards different orbitals for the two spins is left for an
        unrestricted one; before any instability within its own symmetry, which leads to ionic states.

    Returns
    -------
    tuple
        The object, and what is known about its solution; ``stable`` is False where the rounds were not enough or
        the SCF found nothing lower. A new unrestricted object of the same settings where the symmetry was broken;
        ``external_stable`` is False where it should have been broken and nothing lower was found.

    Raises
    ------
    CalculationError
        ``engine_crashed``, from the SCF. One that does not converge leaves the object at the solution before.
    """
    first = float(mean_field.e_tot)
    found, done = _test(clean_copy(mean_field)), 0
    if not (break_symmetry and found.rotated_by_spin is not None):
        found, done = _repeat(mean_field, converge, rounds, found)
    broken = False
    if break_symmetry and found.rotated_by_spin is not None:
        before = (mean_field.mo_coeff, mean_field.mo_occ, float(mean_field.e_tot))
        unrestricted = mean_field.to_uks()  # shares the grid, the fitted integrals and what is noted of the energy
        broken = _descend(unrestricted, converge, found.rotated_by_spin)
        done += 1
        if broken:
            mean_field = unrestricted
            found, more = _repeat(mean_field, converge, rounds, _test(clean_copy(mean_field)))
            done += more
        else:
            adopt_orbitals(mean_field, *before)
    lowering = max(0.0, first - float(mean_field.e_tot))
    return mean_field, replace(found.stability, broken_symmetry=broken, rounds=done, lowering=lowering)


@dataclass(frozen=True)
class _Tested:
    """A solution, and orbitals rotated out of it: within its spin symmetry, and by spin; None where it is stable."""

    stability: Stability
    rotated: Any = None
    rotated_by_spin: Any = None


def _repeat(mean_field: Any, converge: Callable[..., Any], rounds: int, found: _Tested) -> tuple[_Tested, int]:
    """Descend within the object's spin symmetry; what is known in the end, and after how many rounds."""
    done = 0
    while found.rotated is not None and done < rounds:
        done += 1
        before = (mean_field.mo_coeff, mean_field.mo_occ, float(mean_field.e_tot))
        if not _descend(mean_field, converge, found.rotated):
            adopt_orbitals(mean_field, *before)
            break
        found = _test(clean_copy(mean_field))
    return found, done


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
    """Return a new object with the molecule, functional, grid, fitted integrals, solvent and orbitals of another.

    A solvent follows the rotations of an unrestricted object's orbitals, in equilibrium with them. Around a restricted
    one its reaction field is that of the orbitals as they are: no density changes when a singlet becomes a triplet,
    and PySCF has one response for that and for rotations within the singlet, where the Hessian is then too high.
    """
    from pyscf import dft
    from pyscf.solvent._attach_solvent import _for_scf

    unrestricted = np.ndim(mean_field.mo_occ) == 2
    clean = dft.UKS(mean_field.mol) if unrestricted else dft.RKS(mean_field.mol)
    clean.xc, clean.chkfile, clean.max_memory = mean_field.xc, None, mean_field.max_memory
    if getattr(mean_field, "with_df", None):
        clean = clean.density_fit(with_df=mean_field.with_df)
        clean.only_dfj = mean_field.only_dfj
    if getattr(mean_field, "with_solvent", None):
        clean = _for_scf(clean, mean_field.with_solvent.copy())
        clean.with_solvent.equilibrium_solvation = unrestricted
    clean.grids, clean.nlcgrids = mean_field.grids, mean_field.nlcgrids
    clean.conv_tol, clean.conv_tol_grad = mean_field.conv_tol, mean_field.conv_tol_grad
    clean.mo_coeff, clean.mo_occ, clean.mo_energy = mean_field.mo_coeff, mean_field.mo_occ, mean_field.mo_energy
    clean.e_tot, clean.converged = mean_field.e_tot, mean_field.converged
    return clean


def _test(clean: Any) -> _Tested:
    """What is known, and the orbitals rotated along the lowest eigenvectors where they are unstable.

    Towards different spins so far that the pair of orbitals that mixes most is wholly mixed. The lowest mode turns all
    pairs of a stretched multiple bond at once, with spins parallel on each atom as Hund's rule wants; a step along a
    part of them can end in a minimum where they are not.
    """
    solver = clean.newton()
    fock = clean.get_fock(dm=clean.make_rdm1())
    _, product, diagonal = solver.gen_g_hop(clean.mo_coeff, clean.mo_occ, fock)
    if not diagonal.size:
        return _Tested(Stability(tested=True, stable=True))
    value, vector, done = _lowest(lambda x: 2 * product(x), 2 * diagonal)
    result = Stability(tested=done, stable=done and value > _THRESHOLD, eigenvalue=value)

    def turned(by: FloatArray) -> FloatArray:
        rotation = solver.update_rotate_matrix(by, clean.mo_occ, mo_coeff=clean.mo_coeff)
        return np.asarray(solver.rotate_mo(clean.mo_coeff, rotation))

    rotated = turned(vector) if value <= _THRESHOLD else None
    if np.ndim(clean.mo_occ) == 2:
        return _Tested(result, rotated)
    external, mode, external_done = _lowest(*_towards_different_spins(clean, fock))
    result = replace(
        result,
        tested=done and external_done,
        external_stable=external > _THRESHOLD,
        external_eigenvalue=external,
    )
    if external > _THRESHOLD:
        return _Tested(result, rotated)
    pairs = mode.reshape(-1, np.count_nonzero(clean.mo_occ))
    whole = _TURN / np.linalg.norm(pairs, 2) * mode
    return _Tested(result, rotated, np.array([turned(whole), turned(-whole)]))


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

    Starts from the lowest excitations and, so that no symmetry is left out, from one vector with a part of each. Every
    product is a safe point to stop at.
    """
    from pyscf import lib

    starts = [np.eye(1, diagonal.size, int(k))[0] for k in np.argsort(diagonal)[:_ROOTS]]
    starts.append(1.0 / np.maximum(diagonal, 0.05))

    def stoppable(vector: FloatArray) -> FloatArray:
        interrupt.check()
        return product(vector)

    def precondition(residual: FloatArray, value: float, _: FloatArray) -> FloatArray:
        difference = diagonal - value
        difference[abs(difference) < 1e-8] = 1e-8
        return residual / difference

    done, values, vectors = lib.davidson1(
        lambda xs: [stoppable(x) for x in xs],
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
