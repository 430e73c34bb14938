"""Which of a host's sites a guest prefers: every placement relaxed at a cheap level, ranked, and merged.

All starts, those of host and guest alone included, are shaken a little, so that none stays on a saddle point by
symmetry.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

import numpy as np

from alkaflow.calculations import CalculationInput, rounded
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import Xtb
from alkaflow.records import Record
from alkaflow.structures import (
    Complex,
    FinalSite,
    Site,
    Structure,
    classify_complex,
    complexes_at,
    find_sites,
    get_guest,
    same_minimum,
    select_sites,
)
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.local import compute

_SHAKE = 0.03  # standard deviation of the displacement of every coordinate [Angstrom]
_SAME_ENERGY = 0.02  # one minimum found twice differs by less than this [eV]
_SEED = 20240229


@dataclass(frozen=True)
class Start:
    """A placement before its relaxation: a site and, of a guest of several atoms, the orientation (from 1)."""

    complex: Complex

    @property
    def site(self) -> Site:
        """Where the guest was put."""
        return self.complex.site

    @property
    def orientation(self) -> int:
        """Of a guest of several atoms, from 1."""
        return self.complex.placed[0].orientation

    @property
    def name(self) -> str:
        """The id of the site, with the number of the orientation where there are several."""
        return self.site.id if get_guest(self.complex.guest).is_atom else f"{self.site.id}/{self.orientation}"


@dataclass(frozen=True)
class Minimum:
    """A minimum that a relaxation found.

    Attributes
    ----------
    start
        The placement that it was found from.
    complex
        With relaxed positions.
    adsorption_ev
        E(complex) - E(host) - E(guest), each relaxed at the level of the ranking [eV].
    final
        Where the guest is.
    """

    start: Start
    complex: Complex
    adsorption_ev: float
    final: FinalSite


@dataclass(frozen=True)
class Dropped:
    """A placement that is not in the ranking, and why; with its adsorption energy [eV] where there is one."""

    start: Start
    reason: str
    adsorption_ev: float | None = None


@dataclass(frozen=True)
class Ranking:
    """Minima from the lowest energy up, and the placements that were dropped."""

    minima: list[Minimum]
    dropped: list[Dropped]


def rank_sites(
    host: Structure,
    guest: str,
    level: Xtb | None = None,
    sites: Sequence[Site] | None = None,
    at: Sequence[str] | None = None,
    orientations_per_site: int = 3,
    report: Callable[[str], None] = lambda _: None,
) -> Ranking:
    """Relax a guest from every site of a host and rank the minima.

    Parameters
    ----------
    host, guest
        Who binds to whom.
    level
        GFN2-xTB with BFGS by default. It overbinds alkali metals by about an electronvolt; its order and geometries are
        the use.
    sites
        All sites of the host, where they were not found with the default tolerance and rules.
    at
        Ids, kinds or labels of the sites to start from; by default all that suit the guest.
    orientations_per_site
        Of a guest of several atoms, the closest first.
    report
        Told a sentence when a relaxation ends.

    Raises
    ------
    BadInputError
        The host has no site that suits the guest, or none of a kind asked for.
    UnknownNameError
        Nobody knows the guest or a site.
    CalculationError
        Host or guest alone could not be computed.
    """
    level = level or Xtb(optimiser="bfgs")
    alone = get_guest(guest).structure
    known = find_sites(host, guest) if sites is None else sites
    chosen = select_sites(known, *at) if at else [site for site in known if site.suits(get_guest(guest))]
    if not chosen:
        there = ", ".join(f"{site.id} ({site.label})" for site in known) or "none at all"
        raise BadInputError(f"{host.name or host.formula} has no site that suits {guest}; its sites: {there}")
    starts = [Start(made) for site in chosen for made in complexes_at(host, guest, site, orientations_per_site)]
    jobs = {"the host alone": host, f"{guest} alone": alone}
    jobs |= {f"{guest} from {start.name}": start.complex.structure for start in starts}
    found = _compute_all(jobs, level, report)
    reference = _energy(found["the host alone"]) + _energy(found[f"{guest} alone"])
    judged = [_judged(start, found[f"{guest} from {start.name}"], reference, known) for start in starts]
    minima, twins = _distinct([one for one in judged if isinstance(one, Minimum)])
    return Ranking(minima, [one for one in judged if isinstance(one, Dropped)] + twins)


def _compute_all(
    jobs: dict[str, Structure], level: Xtb, report: Callable[[str], None]
) -> dict[str, Record | CalculationError]:
    """Relax everything, as many at a time as there are cores, one thread each; an interruption ends all of it."""
    found: dict[str, Record | CalculationError] = {}
    stop = threading.Event()
    pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
    try:
        running = {pool.submit(_relax, structure, level, stop): name for name, structure in jobs.items()}
        for number, future in enumerate(as_completed(running), start=1):
            name = running[future]
            found[name] = future.result()
            failure = found[name] if isinstance(found[name], CalculationError) else None
            report(f"[{number}/{len(jobs)}] {name}: {f'failed, {failure}' if failure else 'relaxed'}")
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return found


def _relax(structure: Structure, level: Xtb, stop: threading.Event) -> Record | CalculationError:
    """Relax a structure from a shaken start, or compute an atom; a failure is an answer too."""
    single = len(structure) == 1
    given = CalculationInput(
        step="energy" if single else "relax",
        level=level,
        charge=structure.charge,
        multiplicity=structure.multiplicity,
        symbols=structure.symbols,
        positions=rounded((structure if single else _shaken(structure)).positions.tolist()),
    )
    try:
        return compute(given, stop=stop)
    except CalculationError as failure:
        return failure


def _shaken(structure: Structure) -> Structure:
    noise = np.random.default_rng(_SEED).normal(0.0, _SHAKE, structure.positions.shape)
    return structure.with_positions(structure.positions + noise)


def _energy(found: Record | CalculationError) -> float:
    if isinstance(found, CalculationError):
        raise found
    return found.energy_hartree


def _judged(
    start: Start, found: Record | CalculationError, reference: float, sites: Sequence[Site]
) -> Minimum | Dropped:
    """What a relaxation gave: a minimum, or the reason why it is no bound complex of host and guest."""
    if isinstance(found, CalculationError):
        return Dropped(start, f"{found.outcome}: {found}")
    positions = np.array(found.positions_angstrom)
    final = classify_complex(start.complex, positions, sites)[0]
    adsorption = (found.energy_hartree - reference) * HARTREE_EV
    if final.verdict in ("dissociated", "reacted"):
        return Dropped(start, final.label, adsorption)
    relaxed = replace(start.complex, structure=start.complex.structure.with_positions(positions))
    return Minimum(start, relaxed, adsorption, final)


def _distinct(found: Sequence[Minimum]) -> tuple[list[Minimum], list[Dropped]]:
    """Minima by energy, each once, and the starts that fell into one of another start.

    A minimum is named by a start that stayed where it was, if there is one.
    """
    kept: list[Minimum] = []
    twins: list[Dropped] = []
    for one in sorted(found, key=lambda minimum: (minimum.final.verdict != "stayed", minimum.adsorption_ev)):
        twin = next((other for other in kept if _same(one, other)), None)
        if twin is None:
            kept.append(one)
        else:
            reason = f"fell into the same minimum as {twin.start.name} ({one.final.label})"
            twins.append(Dropped(one.start, reason, one.adsorption_ev))
    return sorted(kept, key=lambda minimum: minimum.adsorption_ev), twins


def _same(one: Minimum, other: Minimum) -> bool:
    near = abs(one.adsorption_ev - other.adsorption_ev) < _SAME_ENERGY
    return near and same_minimum(one.complex, other.complex)
