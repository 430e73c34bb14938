"""End to end: so many small energies by PySCF, submitted, computed and stored, beside jobflow with the same function.

    pip install jobflow
    python benchmarks/peer.py --number 10

Waters of slightly different shape at B3LYP/6-31G. jobflow runs them as it comes, one by one in the process that
asks (`run_locally`), results in memory. Ours go through the queue: a database on disk, a process and a directory for
each, records with orbitals. So this is what keeping everything costs where calculations take next to no time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

from measure import Measured, end, started
from queue_overhead import fresh_server

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.worker import Worker
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun


def water(number: int, k: int) -> list[tuple[str, tuple[float, float, float]]]:
    """One of so many [Angstrom]."""
    stretch = round(0.02 * k / number, 6)
    return [("O", (0.0, 0.0, 0.0)), ("H", (0.0, 0.757 + stretch, 0.587)), ("H", (0.0, -0.757, 0.587))]


def energy(atoms: Any) -> float:
    """What a user of jobflow writes."""
    from pyscf import dft, gto

    molecule = gto.M(atom=[(symbol, tuple(place)) for symbol, place in atoms], basis="6-31g", verbose=0)
    return float(dft.RKS(molecule, xc="b3lyp").density_fit(auxbasis="def2-universal-jkfit").kernel())


def by_jobflow(number: int) -> list[float]:
    """Small energies by jobflow, in this process."""
    from jobflow import Flow, job, run_locally

    jobs = [job(energy)(water(number, k)) for k in range(number)]
    with tempfile.TemporaryDirectory() as folder:
        answers = run_locally(Flow(jobs), root_dir=folder, create_folders=True, log=False)
    return [answers[each.uuid][1].output for each in jobs]


def by_queue(number: int) -> list[float]:
    """The same through our queue."""
    calculations = {}
    for k in range(number):
        atoms = water(number, k)
        given = CalculationInput(
            step="energy",
            level=parse_level("b3lyp/6-31g"),
            charge=0,
            multiplicity=1,
            symbols=tuple(symbol for symbol, _ in atoms),
            positions=tuple(place for _, place in atoms),
        )
        calculations[given.id] = given
    with fresh_server() as settings, open_database(settings) as database:
        Queue(database).submit(SingleRun(calculations=calculations, titles=dict.fromkeys(calculations, "water")))
        Worker(database, settings).run()
        records = [database.record(each) for each in calculations]
    return [record.energy_hartree for record in records if record]


def main() -> None:
    """Compare both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    asked = started(parser)
    print(f"jobflow {version('jobflow')}")
    seconds: dict[str, list[float]] = {"ours": [], "jobflow": []}
    ways: dict[str, Callable[[int], list[float]]] = {"ours": by_queue, "jobflow": by_jobflow}
    found = {}
    by_jobflow(1)  # imports of the process that asks
    for _ in range(asked.repeats):
        for name, way in ways.items():
            begin = time.perf_counter()
            found[name] = way(asked.number)
            seconds[name].append(time.perf_counter() - begin)
            print(f"{name:<8} {seconds[name][-1]:6.1f} s", flush=True)
    apart = max(abs(a - b) for a, b in zip(*found.values(), strict=True))
    print(f"energies apart by at most {apart:.1e} Hartree")
    per = [median(each) / asked.number for each in seconds.values()]
    more = {"jobflow": version("jobflow"), "energies_apart_hartree": apart, "number": asked.number}
    what = "a small energy through the queue / jobflow in one process"
    end([Measured(what, "water, B3LYP/6-31G", *per, "s", None, more)], asked)


if __name__ == "__main__":
    main()
