"""A queue under fire: workers are killed all the time, mongod is killed and comes back, and nothing is lost.

    python benchmarks/soak.py                       # 200 fake calculations, 4 workers, mongod killed three times
    python benchmarks/soak.py --engine pyscf        # water clusters, computed by PySCF, 2 workers, killed every 15 s
    python benchmarks/soak.py --minutes 30 --number 2000

Ends with exit code 0 only when every calculation is done or has failed with a reason, none was recorded twice, and
FireWorks' books agree. A worker of PySCF takes seconds to start and to import it, more on a busy machine: where nothing
gets done, kill less often (``--every``).
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))

from harness import check_invariants, environment_of, hydrogen_run, ledger_of, start_worker

from alkaflow.calculations import CalculationInput, rounded
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.queue import Queue
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings

_LOOK = 3.0  # s between two looks at the queue
_OXYGENS = ((0.0, 0.0, 0.0), (2.8, 0.0, 0.0), (0.0, 2.9, 0.0), (2.8, 2.9, 0.2))  # Angstrom


def water_clusters(number: int) -> SingleRun:
    """So many clusters of one to four waters, each relaxed by GFN2-xTB and then computed at B3LYP/6-31G."""
    calculations, titles = {}, {}
    for k in range(number):
        size = 1 + k % len(_OXYGENS)
        symbols, positions = [], []
        for x, y, z in _OXYGENS[:size]:
            symbols += ["O", "H", "H"]
            stretch = 0.95 + 0.003 * k
            positions += [[x, y, z], [x + stretch, y, z + 0.1], [x - 0.24, y + stretch - 0.03, z]]
        relax = CalculationInput(
            step="relax", level=parse_level("gfn2-xtb"), charge=0, multiplicity=1, symbols=tuple(symbols),
            positions=rounded(positions),
        )  # fmt: skip
        energy = CalculationInput(
            step="energy", level=parse_level("b3lyp/6-31g"), charge=0, multiplicity=1, symbols=tuple(symbols),
            parent=relax.id,
        )  # fmt: skip
        for given in (relax, energy):
            calculations[given.id], titles[given.id] = given, f"{size} waters, {k}"
    return SingleRun(calculations=calculations, titles=titles)


class Soak:
    """Workers, and what happens to them."""

    def __init__(self, settings: Settings, engine: str, workers: int, ledger: Path, seed: int) -> None:
        self._settings, self._engine, self._number, self._ledger = settings, engine, workers, ledger
        self._random = random.Random(seed)  # noqa: S311
        self._server = EmbeddedMongod(settings)
        self._workers: list[subprocess.Popen[str]] = []
        self.happened: Counter[str] = Counter()

    def keep_working(self) -> None:
        """Let there be as many workers as there should."""
        alive = []
        for worker in self._workers:
            if worker.poll() is None:
                alive.append(worker)
            else:
                self.happened[f"a worker ended with {worker.returncode}"] += 1
        while len(alive) < self._number:
            alive.append(self._start())
        self._workers = alive

    def _start(self) -> "subprocess.Popen[str]":
        if self._engine == "fake":
            options = ["--seconds", f"{self._random.uniform(0.1, 2.0):.2f}", "--ledger", str(self._ledger)]
            return start_worker(self._settings, *options, "--orbital-bytes", "20000", output=subprocess.DEVNULL)
        return subprocess.Popen(
            [sys.executable, "-m", "alkaflow.launchpad.cli", "worker"],
            env=environment_of(self._settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def pause(self, every: float) -> float:
        """Time until the next kill [s]; where they are rare, at random, so that they hit all there is to hit."""
        return self._random.uniform(0.2, 1.8) * every if every > _LOOK else 0.0

    def kill_somebody(self) -> None:
        """A worker, its child, or both; with SIGKILL or SIGTERM."""
        victims = [worker for worker in self._workers if worker.poll() is None]
        if not victims:
            return
        victim = self._random.choice(victims)
        how = self._random.choice(["worker", "group", "child", "SIGTERM", "SIGUSR1"])
        self.happened[f"killed: {how}"] += 1
        with suppress(ProcessLookupError, psutil.Error):
            if how == "group":
                os.killpg(victim.pid, signal.SIGKILL)
            elif how == "child":
                for child in psutil.Process(victim.pid).children():
                    child.kill()
            else:
                victim.send_signal({"worker": signal.SIGKILL}.get(how) or getattr(signal, how))

    def restart_mongod(self) -> None:
        """Kill it, wait, start it again."""
        pid = self._server.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            psutil.Process(pid).wait(10)
        time.sleep(self._random.uniform(0.5, 5.0))
        self._server.start()
        self.happened["mongod was killed"] += 1

    def end(self) -> None:
        """End all workers."""
        for worker in self._workers:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def keep_firing(soak: Soak, settings: Settings, run: SingleRun, options: argparse.Namespace) -> bool:
    """Kill until nothing is left to do; whether it came to that in time."""
    begin, restarts = time.monotonic(), 0
    kill = begin + options.every
    while time.monotonic() - begin < 60 * options.minutes:
        soak.keep_working()
        time.sleep(min(options.every, _LOOK))
        with open_database(settings) as database:
            counts = Counter(d["state"] for d in database.calculations.find({}, {"state": 1}))
        print(f"{time.monotonic() - begin:6.0f} s  {dict(sorted(counts.items()))}", flush=True)
        if not counts["READY"] + counts["RUNNING"]:  # what waits then waits for one that failed
            return True
        if time.monotonic() >= kill:
            soak.kill_somebody()
            kill = time.monotonic() + soak.pause(options.every)
        done = counts["COMPLETED"] + counts["FIZZLED"]
        if restarts < options.restarts and done >= (restarts + 1) * len(run.calculations) / (options.restarts + 1):
            restarts += 1
            soak.restart_mongod()
    return False


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["fake", "pyscf"], default="fake")
    parser.add_argument("--number", type=int, help="calculations; 200, or 24 by PySCF")
    parser.add_argument("--workers", type=int, help="4, or 2 with PySCF")
    parser.add_argument("--every", type=float, help="seconds between two kills; 3, or 15 in the mean with PySCF")
    parser.add_argument("--minutes", type=float, default=30.0, help="give up after so long")
    parser.add_argument("--restarts", type=int, default=3, help="of mongod")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fake = options.engine == "fake"
    options.number = options.number or (200 if fake else 24)
    options.workers = options.workers or (4 if fake else 2)
    options.every = options.every or (3.0 if fake else 15.0)
    return options


def main() -> int:
    options = parsed()
    fake = options.engine == "fake"
    folder = Path(tempfile.mkdtemp(prefix="alkaflow-soak-"))
    settings = Settings(data_dir=folder, threads=1, lease_seconds=5, database="soak")
    run = hydrogen_run(options.number // 2, children=True) if fake else water_clusters(options.number // 2)
    begin, ledger = time.monotonic(), folder / "ledger"
    try:
        with open_database(settings) as database:
            Queue(database, settings.lease_seconds).submit(run)
        soak = Soak(settings, options.engine, options.workers, ledger, options.seed)
        try:
            finished = keep_firing(soak, settings, run, options)
        finally:
            soak.end()
        with open_database(settings) as database:
            check_invariants(database, settings, set(run.calculations), ledger if fake else None)
            tries = Counter(d["outcome"] for d in database.attempts.find())
            states = Counter(d["state"] for d in database.calculations.find())
            failed = Counter(d["failure"]["outcome"] for d in database.calculations.find({"state": "FIZZLED"}))
    except BaseException:
        print(f"what is left is in {folder}", file=sys.stderr)
        raise
    finally:
        EmbeddedMongod(settings).stop()
    begun = len([line for line in ledger_of(ledger) if line[0] == "begin"])
    seconds = time.monotonic() - begin
    print(f"{len(run.calculations)} calculations, seed {options.seed}, {seconds:.0f} s: {dict(states)}")
    print(f"what happened: {dict(sorted(soak.happened.items()))}")
    print(f"tries by outcome: {dict(tries)}" + (f"; {begun} begun" if fake else ""))
    print(f"failed, by reason: {dict(failed)}")
    print("nothing lost, nothing twice" if finished else "NOT FINISHED in time")
    shutil.rmtree(folder)
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main())
