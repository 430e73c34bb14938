"""What the queue costs: per calculation beside stock FireWorks, per submission beside ``add_wf``, and at scale.

    python benchmarks/queue_overhead.py                    # all of it, about a quarter of an hour
    python benchmarks/queue_overhead.py overhead adding    # parts
    python benchmarks/queue_overhead.py scale --sizes 1000 10000 --workers 1 8

Every part runs on a mongod of its own (the embedded one, on a Unix socket), with the fake engine, and prints medians
of alternating repeats: ours beside the baseline, in the same run, on the same server.
"""

import argparse
import logging
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from fireworks import FiretaskBase, Firework, FWAction, FWorker, LaunchPad, Workflow, explicit_serialize
from fireworks.core.rocket_launcher import rapidfire
from measure import Measured, end, started

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.firetask import firework_for
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.launchpad.results import status
from alkaflow.launchpad.worker import Engine, Event, Worker
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun
from alkaflow.records import Convergence, Provenance, Record, formula_of
from alkaflow.settings import Settings

FAKE = "alkaflow.workflows.fake_engine"
LEVEL = parse_level("gfn2-xtb")


@explicit_serialize
class NoOperation(FiretaskBase):  # type: ignore[misc]
    """What stock FireWorks launches here."""

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        del fw_spec
        return FWAction()


def inputs(number: int, first: int = 0) -> SingleRun:
    """So many different calculations."""
    calculations = {}
    for k in range(first, first + number):
        given = CalculationInput(
            step="energy", level=LEVEL, charge=0, multiplicity=1, symbols=("H", "H"),
            positions=((0, 0, 0), (0, 0, round(0.7 + 1e-5 * k, 6))),
        )  # fmt: skip
        calculations[given.id] = given
    return SingleRun(calculations=calculations, titles=dict.fromkeys(calculations, "hydrogen"))


def record_of(claim: Claim) -> Record:
    """A record without a computation."""
    given = claim.calculation
    return Record(
        id=claim.id, recipe=given.recipe, step=given.step, level=str(given.level), level_of_theory=given.level,
        formula=formula_of(given.symbols), symbols=list(given.symbols), charge=0, multiplicity=1,
        positions_angstrom=list(claim.positions), energy_hartree=-1.0, convergence=Convergence(cycles=1),
        provenance=Provenance(versions={}, blas=[], threads=1, cpu="fake", peak_memory_mb=0,
                              seconds={"total": 0.0}, finished=datetime.now(UTC)),
    )  # fmt: skip


@contextmanager
def fresh_server() -> Iterator[Settings]:
    """Settings of a mongod that lives as long as the context."""
    folder = Path(tempfile.mkdtemp(prefix="alkaflow-bench-"))
    settings = Settings(data_dir=folder, threads=1)
    server = EmbeddedMongod(settings)
    try:
        yield settings
    finally:
        server.stop()
        shutil.rmtree(folder)


def milliseconds(values: Sequence[float]) -> str:
    """Median and 95th percentile of times in seconds."""
    return f"p50 {1e3 * median(values):6.1f} ms, p95 {1e3 * quantiles(values, n=20)[-1]:6.1f} ms"


def wall(act: Callable[[], Any]) -> float:
    """Time of one call [s]."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


# --- overhead of a calculation ---


def engine_times(repeats: int = 15) -> tuple[float, float]:
    """Medians of: an interpreter that does nothing, and the fake engine without its work [s]."""
    bare = [wall(lambda: subprocess.run([sys.executable, "-P", "-c", "pass"], check=True)) for _ in range(repeats)]
    imports = f"import {FAKE}"
    loaded = [wall(lambda: subprocess.run([sys.executable, "-P", "-c", imports], check=True)) for _ in range(repeats)]
    return median(bare), median(loaded)


def ours_per_calculation(database: Database, settings: Settings, number: int) -> list[float]:
    """Time from the end of one calculation to the end of the next, of one worker with the fake engine [s]."""
    ends: list[float] = []

    def note(event: Event) -> None:
        if event.kind == "completed":
            ends.append(time.perf_counter())
            if len(ends) == number:
                raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        Worker(database, settings, note, Engine(FAKE)).run()
    return [later - earlier for earlier, later in pairwise(ends)]


def stock_per_launch(pad: LaunchPad, number: int) -> list[float]:
    """Time of each launch of stock ``rlaunch rapidfire`` [s]."""
    for _ in range(number):
        pad.add_wf(Workflow([Firework([NoOperation()])]))
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            worker = FWorker()
            times = [
                wall(lambda: rapidfire(pad, worker, nlaunches=1, max_loops=1, sleep_time=1e-6, strm_lvl="CRITICAL"))
                for _ in range(number)
            ]
        finally:
            os.chdir(here)
    if bad := pad.get_fw_ids({"state": {"$ne": "COMPLETED"}}):
        raise RuntimeError(f"{len(bad)} stock launches came to nothing; the folder of this script has to be importable")
    return times


def measure_overhead(number: int, rounds: int) -> list[Measured]:
    """Ours beside stock, in turns."""
    bare, loaded = engine_times()
    print(f"\noverhead of a calculation, {rounds} rounds of {number}, one worker")
    print(f"an interpreter that does nothing {1e3 * bare:.0f} ms; with the fake engine's imports {1e3 * loaded:.0f} ms")
    ours, stock = [], []
    with fresh_server() as settings, open_database(settings) as database:
        pad = LaunchPad(host=EmbeddedMongod(settings).uri, name="stock", uri_mode=True, strm_lvl="CRITICAL")
        pad.reset("", require_password=False)
        for k in range(rounds):
            stock += stock_per_launch(pad, number)
            Queue(database).submit(inputs(number + 1, k * 10_000))
            ours += ours_per_calculation(database, settings, number + 1)
        pad.connection.close()
    net = [each - (loaded - bare) for each in ours]
    print(f"stock rlaunch rapidfire, no-op:              {milliseconds(stock)}")
    print(f"alkaflow, everything:                        {milliseconds(ours)}")
    print(f"alkaflow, without the engine's own imports:  {milliseconds(net)}")
    print(f"ratio to stock (medians): {median(net) / median(stock):.2f}")
    what, on = "overhead of a calculation / a no-op of stock rlaunch rapidfire", "fake engine, one worker"
    return [
        Measured(f"{what}, everything", on, 1e3 * median(ours), 1e3 * median(stock), "ms"),
        Measured(f"{what}, without the engine's imports", on, 1e3 * median(net), 1e3 * median(stock), "ms"),
    ]


# --- adding ---


def spent(settings: Settings, act: Callable[[], Any]) -> tuple[float, float]:
    """Time of one call, and processor time of this process and of mongod meanwhile [s]; the latter a load spares."""
    server = psutil.Process(EmbeddedMongod(settings).pid())

    def processor() -> float:
        return time.process_time() + sum(server.cpu_times()[:2])

    begin = processor()
    return wall(act), processor() - begin


def measure_adding(number: int, rounds: int) -> None:
    """Submitting beside FireWorks' ``add_wf``."""
    print(f"\nadding {number} calculations, {rounds} rounds")
    ratios = []
    for k in range(rounds):
        with fresh_server() as settings, open_database(settings) as database:
            run = inputs(number)
            names = list(inputs(number, 10**6).calculations)

            def add(pad: LaunchPad = database.fireworks, each: Sequence[str] = names) -> None:
                for name in each:
                    pad.add_wf(Workflow([firework_for(name)]))

            parts = {"add_wf": add, "ours": lambda r=run, d=database: Queue(d).submit(r)}
            order = sorted(parts) if k % 2 else sorted(parts, reverse=True)
            seconds = {name: spent(settings, parts[name]) for name in order}
            (theirs, their_processor), (ours, our_processor) = seconds["add_wf"], seconds["ours"]
            ratios.append(theirs / ours)
            print(
                f"  add_wf loop {theirs:.2f} s, ours {ours:.2f} s: {ratios[-1]:.1f} times faster; of the processors "
                f"{their_processor:.2f} and {our_processor:.2f} s: {their_processor / our_processor:.1f}; "
                f"load {os.getloadavg()[0]:.1f}"
            )
    print(f"median: {median(ratios):.1f} times faster")


# --- scale ---


def _labour(settings: Settings, seconds: float, gate: Any, found: Any) -> None:
    """Claim, give a sign of life and complete, again and again; the computation takes no time."""
    claims, completions = [], []
    with open_database(settings, start=False) as database:
        queue = Queue(database)
        gate.wait()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            begin = time.perf_counter()
            claim = queue.claim()
            claims.append(time.perf_counter() - begin)
            if claim is None:
                break
            begin = time.perf_counter()
            queue.heartbeat(claim, {"stage": "fake", "step": 1, "energy_hartree": -1.0, "elapsed": 0.0})
            queue.complete(claim, record_of(claim))
            completions.append(time.perf_counter() - begin)
    found.put((claims, completions))


def labour(settings: Settings, workers: int, seconds: float) -> tuple[list[float], list[float], float]:
    """Times of claims and of completions of so many workers side by side [s], and calculations per second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__ if __name__ != "__main__" else "alkaflow.launchpad.worker"])
    gate, found = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=_labour, args=(settings, seconds, gate, found)) for _ in range(workers)]
    for process in processes:
        process.start()
    results = [found.get(timeout=seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    claims = [t for each, _ in results for t in each]
    completions = [t for _, each in results for t in each]
    return claims, completions, len(completions) / seconds


def top_up(database: Database, size: int, first: int) -> int:
    """Queue some more, so that no row runs dry; returns the next number."""
    missing = max(2_000, size - database.calculations.count_documents({"state": "READY"}))
    Queue(database).submit(inputs(missing, first))
    return first + missing


def measure_scale(sizes: Sequence[int], workers: Sequence[int], seconds: float) -> None:
    """Claims per second, latencies, and whole calculations with the fake engine, by length of the queue."""
    whole: dict[int, float] = {}
    for size in sizes:
        with fresh_server() as settings, open_database(settings) as database:
            submitting = wall(lambda n=size, d=database: Queue(d).submit(inputs(n)))
            looking = median(wall(lambda d=database: status(d)) for _ in range(5))
            repairing = median(wall(lambda d=database: Queue(d).repair()) for _ in range(5))
            opening = median(_opened(settings) for _ in range(5))
            print(
                f"\n{size} queued: submitted in {submitting:.2f} s; status {1e3 * looking:.0f} ms, "
                f"repair {1e3 * repairing:.0f} ms, opening {1e3 * opening:.0f} ms"
            )
            first = top_up(database, size, size)
            each = ours_per_calculation(database, settings, 41)
            whole[size] = median(each)
            print(f"  1 worker with the fake engine: {milliseconds(each)} for a whole calculation")
            for number in workers:
                first = top_up(database, size, first)
                claims, completions, rate = labour(settings, number, seconds)
                print(
                    f"  {number:3} workers: {rate:6.1f} calculations/s; claim {milliseconds(claims)}; "
                    f"sign of life and completion {milliseconds(completions)}"
                )
            print(f"  repair --all: {wall(lambda d=database: Queue(d).repair(everything=True)):.1f} s")
    first = min(whole)
    for size in sorted(whole):
        print(f"whole calculation at {size} queued: {whole[size] / whole[first]:.2f} of that at {first}")


def _opened(settings: Settings) -> float:
    begin = time.perf_counter()
    with open_database(settings):
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("overhead", "adding", "scale")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=list(parts))
    parser.add_argument("--number", type=int, default=60, help="calculations of a round of 'overhead'")
    parser.add_argument("--adding", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row of 'scale'")
    options = started(parser)
    measured = []
    logging.disable(logging.CRITICAL)  # FireWorks' launcher says four lines for each launch
    packages = ", ".join(f"{name} {version(name)}" for name in ("alkaflow", "fireworks", "pymongo"))
    print(f"{packages}, Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if "overhead" in options.parts:
        measured = measure_overhead(options.number, options.rounds)
    if "adding" in options.parts:
        measure_adding(options.adding, options.rounds)
    if "scale" in options.parts:
        measure_scale(options.sizes, options.workers, options.seconds)
    end(measured, options)


if __name__ == "__main__":
    main()
