"""Rankings: what is kept, what is dropped and why, and that an interruption ends everything."""

import threading
import time

import numpy as np
import pytest

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import Structure, find_sites, load_host
from alkaflow.workflows import rank_sites, ranking
from alkaflow.workflows.local import compute


def water(level: Xtb | None = None) -> CalculationInput:
    positions = ((0.0, 0.0, 0.0), (0.757, 0.0, 0.586), (-0.757, 0.0, 0.586))
    return CalculationInput(
        step="relax", level=level or Xtb(), charge=0, multiplicity=1, symbols=("O", "H", "H"), positions=positions
    )


def test_a_calculation_without_a_queue() -> None:
    record = compute(water())
    assert record.energy_hartree == pytest.approx(-5.0705, abs=0.001)  # GFN2-xTB water, as the xtb program prints it
    assert record.convergence.max_force is not None


def test_a_failure_is_told() -> None:
    with pytest.raises(CalculationError, match="after 1 steps") as caught:
        compute(water(Xtb(max_steps=1)))
    assert caught.value.outcome == "relaxation_not_converged"


def test_a_calculation_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(CalculationError, match="ended with code"):
        compute(water(), stop=stop)


def test_an_interruption_ends_what_runs_and_starts_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def slow(structure: Structure, level: Xtb, stop: threading.Event) -> CalculationError:
        started.append(len(structure))
        if len(started) == 1:
            return CalculationError("engine_crashed", "the first one ends at once")
        stop.wait(60.0)
        return CalculationError("engine_crashed", "stopped")

    def interrupt(sentence: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ranking, "_relax", slow)
    monkeypatch.setattr(ranking.os, "sched_getaffinity", lambda _: {0, 1})
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        rank_sites(load_host("hatcn"), "Li", report=interrupt)
    assert time.monotonic() - begin < 20.0
    assert len(started) <= 4


def test_water_on_water() -> None:
    """The water dimer: one hydrogen bond, O..O 2.8-3.0 Angstrom, bound by about 0.2 eV, however it is started."""
    found = rank_sites(load_host("O"), "H2O", orientations_per_site=1)
    best = found.minima[0]
    assert -0.30 < best.adsorption_ev < -0.15
    oxygens = [i for i, s in enumerate(best.complex.structure.symbols) if s == "O"]
    gap = np.linalg.norm(np.subtract(*best.complex.structure.positions[oxygens]))
    assert 2.7 < gap < 3.05
    assert len(found.minima) + len(found.dropped) == 2


def test_a_guest_that_suits_no_site_is_refused() -> None:
    with pytest.raises(BadInputError, match="has no site that suits PF6-; its sites: lone-pair-1"):
        rank_sites(load_host("CC(=O)[O-]"), "PF6-")


def test_what_does_not_bind_is_dropped_with_the_reason() -> None:
    """An ion of like charge is driven away."""
    host = load_host("C[NH3+]")
    found = rank_sites(host, "Li+", at=["acidic"])
    assert found.minima == []
    (dropped,) = found.dropped
    assert dropped.reason.startswith("dissociated")


def test_a_host_that_does_not_converge_is_an_error() -> None:
    sites = find_sites(load_host("pyrazine"))
    with pytest.raises(CalculationError, match="after 2 steps"):
        rank_sites(load_host("pyrazine"), "Li", Xtb(max_steps=2), sites=sites, at=["face"])
