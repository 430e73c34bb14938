"""What the benchmarks of speed share: processes that are timed, ratios with targets, and a head that says where."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from alkaflow.workflows.blas import cpu_model, loaded_blas, process_environment

PACKAGES = ("alkaflow", "numpy", "scipy", "pyscf", "pyscf-dispersion", "geometric", "tblite")
_FOUND = "found "  # begins the line in which a timed process says what it found


@dataclass(frozen=True)
class Run:
    """A process that was timed: wall and processor seconds, its start included, and what it found."""

    seconds: float
    processor: float
    peak_mb: float
    load: float
    found: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """A quantity of ours beside that of a baseline, both in one unit; ``more`` is told beside it.

    With ``bound`` the baseline was given up and needs more than that: the ratio is an upper bound, which can show that
    a target is met but not that it is missed.
    """

    what: str
    on: str
    ours: float
    baseline: float
    unit: str
    target: float | None = None
    more: dict[str, Any] = field(default_factory=dict)
    bound: bool = False

    @classmethod
    def of_runs(
        cls, what: str, on: str, rounds: Mapping[str, Sequence[Run]], target: float | None, more: Mapping[str, Any]
    ) -> "Measured":
        """Medians of wall seconds of ours and of the other."""
        mine, other = rounds.values()
        told = {
            f"{whose}_{name}": [round(getattr(run, name), 1) for run in runs]
            for whose, runs in (("ours", mine), ("baseline", other))
            for name in ("seconds", "processor", "peak_mb", "load")
        }
        seconds = [median(run.seconds for run in runs) for runs in (mine, other)]
        kernels = {"ours_blas": mine[-1].found["blas"], "baseline_blas": other[-1].found["blas"]}
        return cls(what, on, *seconds, "s", target, told | kernels | dict(more))

    @property
    def ratio(self) -> float:
        """Ours over the baseline."""
        return self.ours / self.baseline

    def __str__(self) -> str:
        limit = "" if self.target is None else f", target {self.target:.3g}: {self.verdict}"
        ratio = f"{'at most' if self.bound else '='} {self.ratio:.3f}"
        return f"{self.what}, {self.on}: {self.ours:.4g} / {self.baseline:.4g} {self.unit} {ratio}{limit}"

    @property
    def verdict(self) -> str:
        """What came of the target, where there is one."""
        if self.target is None:
            return ""
        if self.ratio <= self.target:
            return "met"
        return "not shown" if self.bound else "MISSED"


def started(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, with what all of them take, and print the head."""
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--memory", type=int, default=12000, help="that calculations may plan with [MB]")
    parser.add_argument("--json", type=Path, help="also write the ratios there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not is_child(asked):
        packages = ", ".join(f"{name} {number}" for name, number in versions(PACKAGES).items())
        print(f"python {sys.version.split()[0]}, {packages}; {cpu_model()}, {asked.threads} threads", flush=True)
    return asked


def is_child(asked: argparse.Namespace) -> bool:
    """Whether this process is one that is timed."""
    return bool(asked.child)


def clocked(call: Callable[[], Any]) -> float:
    """Wall seconds of a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Numbers of installed packages."""
    return {name: version(name) for name in packages}


def run_child(script: str, method: str, words: Iterable[str], threads: int, ours: bool) -> Run:
    """Run a script as ``--child METHOD`` and time it.

    Ours have the environment that calculations have (BLAS kernel by the processor's flags), others the libraries' own
    choice.
    """
    environment = dict(os.environ)
    environment.pop("OPENBLAS_CORETYPE", None)
    environment = process_environment(environment, threads, "auto" if ours else "keep")
    whole = [sys.executable, script, "--child", method, "--threads", str(threads), *words]
    with tempfile.TemporaryDirectory() as scratch, (Path(scratch) / "output").open("w+b") as output:
        environment |= {"PYSCF_TMPDIR": scratch, "TMPDIR": scratch}
        begin = time.perf_counter()
        child = subprocess.Popen(whole, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        output.seek(0)
        said = output.read().decode().splitlines()
    if child.returncode:
        raise SystemExit("\n".join([*said[-20:], f"{' '.join(whole)} ended with code {child.returncode}"]))
    found = json.loads(next(line for line in reversed(said) if line.startswith(_FOUND)).removeprefix(_FOUND))
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.getloadavg()[0], found)


def blas() -> list[str]:
    """Every BLAS in this process with its kernel."""
    return [f"{each['library'].partition('-')[0]} {each.get('kernel') or ''}".strip() for each in loaded_blas()]


def end(found: Any, asked: argparse.Namespace | None = None) -> None:
    """Print what was found: of a timed process as JSON, of one that compares as ratios, which it may also write."""
    if asked is None:
        print(_FOUND + json.dumps(found | {"blas": blas()}), flush=True)
        return
    for each in found:
        print(each)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")
