"""Converging a Kohn-Sham SCF: plain DIIS first, then a bounded ladder of corrections, each one recorded.

Whatever helped is taken away again: an SCF counts as converged when the unmodified object meets the thresholds of its
level. PySCF's last, extra diagonalisation is left out: it takes another Fock matrix, moves away again where the gap is
small, and may leave the orbital gradient behind and still count (github.com/pyscf/pyscf, issue 2936). Orbitals are made
canonical with the Fock matrix that the last cycle has built.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.workflows.diis_history import continued_diis
from alkaflow.workflows.orbital_tags import with_orbitals
from alkaflow.workflows.recycled_diis import RecycledDiis
from alkaflow.workflows.scf_log import Keep, Log, Watch
from alkaflow.workflows.smaller_basis import in_smaller_basis, projected_density

_LOOSER_ENERGY, _LOOSER_GRADIENT = 100.0, 10.0  # a help ends at these multiples of the level's thresholds
_AGAIN_ENERGY, _AGAIN_GRADIENT = 10.0, 3.0  # PySCF's own allowance for orbitals that are evaluated again
_SECOND_ORDER_CYCLES = 60


@dataclass(frozen=True)
class Rung:
    """One way to help an SCF. The parts that are set are applied in the order in which they stand here.

    Attributes
    ----------
    name
        For people and records.
    smaller_basis
        Names of bases; each element takes the first that has it and is smaller than its own; one with a core potential
        keeps its own. The density found there is projected.
    settings
        Attributes of the mean field for an SCF with help; ``DIIS`` names a class of ``pyscf.scf``.
    smearing
        Widths of Fermi occupations [Hartree], one SCF each; occupations are whole again afterwards.
    cycles
        At most so many in every SCF with help, and at least so many in the one that finishes.
    finish
        How the unmodified object is converged; the next where one fails.
    """

    name: str
    smaller_basis: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    smearing: tuple[float, ...] = ()
    cycles: int = 100
    finish: tuple[Literal["diis", "second order"], ...] = ("diis",)


# Level shift: Saunders, Hillier, Int. J. Quantum Chem. 7, 699 (1973). ADIIS: Hu, Yang, J. Chem. Phys. 132, 054109
# (2010). Second order: Sun, arXiv:1610.08423. Fractional occupation: Rabuck, Scuseria, J. Chem. Phys. 110, 695 (1999).
RUNGS: tuple[Rung, ...] = (
    Rung("damping and level shift", settings={"level_shift": 0.3, "damp": 0.5, "diis_start_cycle": 6}),
    Rung("ADIIS", settings={"DIIS": "ADIIS"}, cycles=40),
    Rung("second order", cycles=_SECOND_ORDER_CYCLES, finish=("second order",)),
    Rung("fractional occupation", smearing=(0.02, 0.005), cycles=60, finish=("diis", "second order")),
    Rung("smaller basis", smaller_basis=("3-21g", "sto-3g"), cycles=60, finish=("diis", "second order")),
)
"""What is tried, in this order, where plain DIIS fails."""


def converge(
    mean_field: Any,
    density: Any = None,
    watch: Watch | None = None,
    rungs: Sequence[Rung] = RUNGS,
    keep: Keep | None = None,
) -> list[dict[str, Any]]:
    """Converge the SCF of a PySCF RKS or UKS object, density fitted or not, to the thresholds that it carries.

    Every cycle is a safe point to stop at: see `interrupt`.

    Parameters
    ----------
    mean_field
        Holds the result afterwards, with no setting changed.
    density
        To start from, shape=(n, n) or (2, n, n); without it the object's orbitals, or else its guess. One without
        orbitals is given its eigenvectors. With an attribute ``history`` (see `diis_history`) plain DIIS goes on from
        there; with an attribute ``pairs`` (see `recycled_diis`) it begins with what earlier SCFs have learned. With a
        true attribute ``settled`` and all orbitals it solves an object that hardly differs, and is evaluated first.
    watch
        Called after every cycle; without it the object's own callback is. A smaller basis is not shown to it.
    rungs
        What to try where plain DIIS fails.
    keep
        Saves orbitals; those of a smaller basis or with smeared occupations are not shown to it.

    Returns
    -------
    list of dict
        The corrections that were needed, as custodian writes them, with the reason for each; empty where plain DIIS
        converged.

    Raises
    ------
    CalculationError
        ``scf_not_converged`` after the last rung; ``engine_crashed`` for an energy that is not finite.
    """
    if density is None and mean_field.mo_coeff is None:
        density = mean_field.get_init_guess(mean_field.mol, mean_field.init_guess)
    if density is not None:
        if not np.isfinite(density).all():
            raise CalculationError("engine_crashed", "the density to start from is not finite")
        density = with_orbitals(density)
    corrections: list[dict[str, Any]] = []
    log = Log(watch if watch is not None else mean_field.callback, keep, corrections)
    potential = None
    if getattr(density, "settled", False):
        potential = _unconfirmed(mean_field, density, log)
        if potential is None:
            return corrections
    reason = _diis(mean_field, density, log, potential=potential)
    failures = [f"DIIS ({reason})"]
    for rung in rungs:
        if reason is None:
            break
        correction: dict[str, Any] = {"errors": ["scf_not_converged"], "reason": reason, "handler": rung.name}
        correction["actions"] = []
        corrections.append(correction)
        reason = _climb(mean_field, rung, log, correction["actions"])
        failures.append(f"{rung.name} ({reason})")
    if reason is not None:
        raise CalculationError(
            "scf_not_converged",
            f"the SCF did not converge in {log.cycles} cycles (last change {log.change:.1e} Hartree, orbital gradient "
            f"{log.gradients[-1]:.1e}); tried {'; '.join(failures)}",
        )
    return corrections


def converge_second_order(mean_field: Any, coefficients: Any, occupations: Any, watch: Watch | None = None) -> None:
    """Converge from orbitals with no cycle of DIIS before, and with the occupations that they have.

    Parameters
    ----------
    mean_field
        Holds the result afterwards, with no setting changed.
    coefficients, occupations
        Orthonormal orbitals, shape=(n, n_orbitals) or (2, n, n_orbitals).
    watch
        As for `converge`.

    Raises
    ------
    CalculationError
        ``scf_not_converged``, or ``engine_crashed`` for an energy that is not finite.
    """
    log = Log(watch if watch is not None else mean_field.callback)
    reason = _second_order(mean_field, None, log, _SECOND_ORDER_CYCLES, coefficients, occupations)
    if reason is not None:
        raise CalculationError("scf_not_converged", f"the second-order SCF did not converge: {reason}")


def _known_first(potential: Any, get_veff: Callable[..., Any]) -> Callable[..., Any]:
    """A method that gives what is known when it is first called, and computes from then on."""
    known = [potential]

    def give(*args: Any, **kwargs: Any) -> Any:
        return known.pop() if known else get_veff(*args, **kwargs)

    return give


def _unconfirmed(mean_field: Any, density: Any, log: Log) -> Any:
    """Potential of a density whose orbitals do not meet the object's thresholds; None where they do, and are adopted.

    Of the energy that is the change that a diagonalisation would bring.
    """
    log.begin()
    coefficients, occupations = density.mo_coeff, density.mo_occ
    potential, fock, total, gradient = _evaluate(mean_field, density)
    gain = second_order_gain(coefficients, occupations, fock)
    state = {"e_tot": total, "last_hf_e": total + gain, "norm_gorb": gradient}
    state |= {"conv_tol": mean_field.conv_tol, "conv_tol_grad": _gradient_threshold(mean_field)}
    if not _met(state):
        return potential
    mean_field.mo_energy, mean_field.mo_coeff = mean_field.canonicalize(coefficients, occupations, fock)
    mean_field.mo_occ, mean_field.e_tot, mean_field.converged = occupations, total, True
    log(state | {name: getattr(mean_field, name) for name in ("mo_coeff", "mo_occ", "mo_energy")})
    return None


def second_order_gain(coefficients: Any, occupations: Any, fock: Any) -> float:
    """By how much a diagonalisation of the Fock matrix would lower the energy [Hartree], to second order.

    That is sum_ai n_i F_ai^2 / (F_aa - F_ii) over occupied orbitals i and empty ones a; infinite with a hole below an
    occupied orbital.

    Parameters
    ----------
    coefficients, occupations, fock
        All orbitals, n_i of one or two electrons, and the matrix of their density: shape=(n, n_orbitals),
        (n_orbitals,) and (n, n), or by spin.
    """
    gain = 0.0
    size = np.shape(fock)[-1]
    spins = (np.reshape(coefficients, (-1, size, np.shape(coefficients)[-1])), np.atleast_2d(occupations))
    for orbitals, electrons, matrix in zip(*spins, np.reshape(fock, (-1, size, size)), strict=True):
        among = orbitals.T @ matrix @ orbitals
        energies, filled = among.diagonal(), electrons > 0
        gaps = energies[~filled, None] - energies[filled]
        if gaps.size and gaps.min() <= 0:
            return float("inf")
        gain += float(np.sum(electrons[filled] * among[np.ix_(~filled, filled)] ** 2 / gaps))
    return gain


@contextmanager
def changed(mean_field: Any, **settings: Any) -> Iterator[None]:
    """Give a mean field other settings for a while; afterwards it is as it was."""
    own = mean_field.__dict__
    before = {name: own[name] for name in settings if name in own}
    own.update(settings)
    try:
        yield
    finally:
        for name in settings:
            own.pop(name, None)
        own.update(before)


def _met(state: dict[str, Any]) -> bool:
    """Both thresholds."""
    change = abs(state["e_tot"] - state["last_hf_e"])
    return bool(change < state["conv_tol"] and state["norm_gorb"] < state["conv_tol_grad"])


def _diis(mean_field: Any, density: Any, log: Log, cycles: int | None = None, potential: Any = None) -> str | None:
    """Run the SCF of the unmodified object, the potential of the density may be known; why it failed, or None."""
    settings: dict[str, Any] = {"max_cycle": max(mean_field.max_cycle, cycles or 0)}
    if potential is not None:
        settings |= {"get_veff": _known_first(potential, mean_field.get_veff)}
    pairs = getattr(density, "pairs", None)
    history = getattr(density, "history", None)
    if history is not None:  # PySCF's DIIS would leave out the first Fock matrix: that of a guess, but here of orbitals
        settings |= {"diis": continued_diis(mean_field, history), "diis_start_cycle": 0}
    elif pairs is not None:
        settings |= {"diis": RecycledDiis(mean_field, pairs), "diis_start_cycle": 0 if pairs else 1}
    last: dict[str, Any] = {}

    def note(state: dict[str, Any]) -> None:
        last["fock"] = state["fock"]
        log(state)

    reason = _scf(mean_field, density, log, note, conv_check=False, **settings)
    if reason is None:
        orbitals = mean_field.canonicalize(mean_field.mo_coeff, mean_field.mo_occ, last["fock"])
        mean_field.mo_energy, mean_field.mo_coeff = orbitals
    return reason


def _scf(mean_field: Any, density: Any, log: Log, callback: Watch, **settings: Any) -> str | None:
    log.begin()
    with changed(mean_field, callback=callback, check_convergence=_met, **settings):
        limit = mean_field.max_cycle
        try:
            mean_field.kernel(dm0=density)
        except np.linalg.LinAlgError as error:
            mean_field.converged = False
            return f"linear algebra failed after {len(log.energies)} cycles: {error}"
    return None if mean_field.converged else log.diagnose(limit)


def _climb(mean_field: Any, rung: Rung, log: Log, actions: list[dict[str, Any]]) -> str | None:
    """Try one rung from the orbitals of lowest energy so far; returns why it failed, or None. Notes what it does."""
    coefficients, occupations = log.orbitals(mean_field)
    density = mean_field.make_rdm1(coefficients, occupations)
    looser = {
        "conv_tol": mean_field.conv_tol * _LOOSER_ENERGY,
        "conv_tol_grad": _gradient_threshold(mean_field) * _LOOSER_GRADIENT,
        "max_cycle": rung.cycles,
    }
    if rung.smaller_basis:
        found = _from_smaller_basis(mean_field, rung, looser, log, actions)
        if isinstance(found, str):
            return found
        density = found
    if rung.settings:
        actions.append({**rung.settings, "max_cycle": rung.cycles})
        _scf(mean_field, density, log, log, **_resolve(rung.settings), **looser)
        density = mean_field.make_rdm1()
        actions.append({name: _plain_value(mean_field, name) for name in rung.settings})
    for width in rung.smearing:
        actions.append({"smearing": width, "max_cycle": rung.cycles})
        density = _smeared(mean_field, density, width, looser, log)
    if rung.smearing:
        actions.append({"smearing": 0.0})
    reason: str | None = None
    for method in rung.finish:
        if method == "diis":
            reason = _diis(mean_field, density, log, rung.cycles)
        else:
            actions.append({"second_order": True, "max_cycle": rung.cycles})
            whole = () if rung.smaller_basis or rung.smearing else log.orbitals(mean_field)
            reason = _second_order(mean_field, density, log, rung.cycles, *whole)
            if reason is None:
                _fill_holes(mean_field, log, rung.cycles)
        if reason is None:
            break
    return reason


def _gradient_threshold(mean_field: Any) -> float:
    """PySCF's own rule where none is given."""
    return float(mean_field.conv_tol_grad or np.sqrt(mean_field.conv_tol))


def _resolve(settings: Mapping[str, Any]) -> dict[str, Any]:
    from pyscf import scf

    return {name: getattr(scf, value) if name == "DIIS" else value for name, value in settings.items()}


def _plain_value(mean_field: Any, name: str) -> Any:
    value = getattr(mean_field, name)
    return value.__name__ if isinstance(value, type) else value


def _smeared(mean_field: Any, density: Any, width: float, looser: Mapping[str, Any], log: Log) -> Any:
    """Density with whole occupations of the orbitals that an SCF with Fermi occupations ends with."""
    from pyscf.scf import addons

    smeared = addons.smearing(mean_field, sigma=width, method="fermi", fix_spin=True)

    def note(state: dict[str, Any]) -> None:
        log(state, whole=False)

    _scf(smeared, density, log, note, **looser)
    occupations = mean_field.get_occ(smeared.mo_energy, smeared.mo_coeff)
    return mean_field.make_rdm1(smeared.mo_coeff, occupations)


def _second_order(
    mean_field: Any, density: Any, log: Log, cycles: int, coefficients: Any = None, occupations: Any = None
) -> str | None:
    """Converge with PySCF's augmented-Hessian solver and put the result on the first-order object.

    There the Fock matrix is built once more without any help, and energy and gradient are checked; the orbitals are
    canonical, and may have a hole below the highest occupied one.
    """
    log.begin()
    solver = mean_field.newton()
    last = [-1]

    def note(state: dict[str, Any]) -> None:
        if state["imacro"] != last[0]:  # PySCF repeats the last one
            last[0] = state["imacro"]
            log(state)

    solver.callback, solver.max_cycle = note, cycles
    start = {"dm0": density} if coefficients is None else {"mo_coeff": coefficients, "mo_occ": occupations}
    try:
        solver.kernel(**start)
    except np.linalg.LinAlgError as error:
        return f"linear algebra failed after {len(log.energies)} macro-iterations: {error}"
    adopt_orbitals(mean_field, solver.mo_coeff, solver.mo_occ, solver.e_tot, log)
    return None if mean_field.converged else log.diagnose(cycles)


def _fill_holes(mean_field: Any, log: Log, cycles: int) -> None:
    """Where the second-order solver ended with a hole below an occupied orbital, look for a lower state without.

    The solver never changes occupations, so a start that is far away can end hundreds of millihartree too high.
    """
    found = (mean_field.mo_coeff, mean_field.mo_occ, mean_field.e_tot)
    filled = mean_field.get_occ(mean_field.mo_energy, mean_field.mo_coeff)
    if np.array_equal(filled, mean_field.mo_occ):
        return
    reason = _diis(mean_field, mean_field.make_rdm1(mean_field.mo_coeff, filled), log, cycles)
    if reason is not None or mean_field.e_tot > found[2]:
        adopt_orbitals(mean_field, *found, log)


def adopt_orbitals(
    mean_field: Any, coefficients: Any, occupations: Any, energy: float, watch: Watch | None = None
) -> None:
    """Put orbitals on a mean field, evaluated and made canonical there; `converged` says whether they solve it.

    Parameters
    ----------
    mean_field
        Its orbitals, energy and parts of the energy are replaced.
    coefficients, occupations
        Orbitals, shape=(n, n_orbitals) or (2, n, n_orbitals).
    energy
        What the energy is expected to be [Hartree].
    watch
        Called once, as after a cycle.
    """
    _, fock, total, gradient = _evaluate(mean_field, mean_field.make_rdm1(coefficients, occupations))
    mean_field.mo_energy, mean_field.mo_coeff = mean_field.canonicalize(coefficients, occupations, fock)
    mean_field.mo_occ, mean_field.e_tot = occupations, total
    mean_field.converged = (
        abs(total - energy) < mean_field.conv_tol * _AGAIN_ENERGY
        and gradient < _gradient_threshold(mean_field) * _AGAIN_GRADIENT
    )
    if watch is not None:
        watch(
            {
                "e_tot": total,
                "last_hf_e": energy,
                "norm_gorb": gradient,
                "mo_coeff": mean_field.mo_coeff,
                "mo_occ": mean_field.mo_occ,
                "mo_energy": mean_field.mo_energy,
            }
        )


def _evaluate(mean_field: Any, density: Any) -> tuple[Any, Any, float, float]:
    """Potential, Fock matrix, energy [Hartree] and norm of the orbital gradient of a density with all orbitals."""
    core = mean_field.get_hcore()
    potential = mean_field.get_veff(mean_field.mol, density)
    fock = mean_field.get_fock(core, mean_field.get_ovlp(), potential, density)
    total = float(mean_field.energy_tot(density, core, potential))
    gradient = float(np.linalg.norm(mean_field.get_grad(density.mo_coeff, density.mo_occ, fock)))
    return potential, fock, total, gradient


def _from_smaller_basis(
    mean_field: Any, rung: Rung, looser: Mapping[str, Any], log: Log, actions: list[dict[str, Any]]
) -> Any:
    """Density of the same molecule in a smaller basis, projected; or why there is none."""
    cheap, chosen = in_smaller_basis(mean_field, rung.smaller_basis)
    if cheap is None:
        return "no element has a smaller basis"
    actions.append({"basis": chosen, "max_cycle": rung.cycles})
    for name, value in looser.items():
        setattr(cheap, name, value)

    def note(state: dict[str, Any]) -> None:
        log(state, whole=False, shown=False)

    try:
        converge(cheap, watch=note, rungs=(RUNGS[0], RUNGS[2]))
    except CalculationError as error:
        if error.outcome != "scf_not_converged":
            raise
        return f"in the smaller basis {error}"
    return projected_density(cheap.mo_coeff, cheap.mo_occ, cheap.mol, mean_field.mol)
