"""The table of speed: one command that runs all comparisons and writes them, dated, as JSON and Markdown.

    python benchmarks/table.py                  # into benchmarks/results
    python benchmarks/table.py --full           # also SCFs without density fitting, relaxations to the end: hours
    python benchmarks/table.py --only gradient growth       # again, beside the rest of the last file
    python benchmarks/table.py --only bipyrimidine --limit 1100     # when PySCF is given up

Every row is ours over a baseline of the same run: PySCF as it comes, with and without density fitting; PySCF with
geomeTRIC; ``cubegen.mep``; stock ``rlaunch rapidfire``; jobflow, where it is installed. On a machine with nothing else
to do; its load before every part is in the result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import PACKAGES, Measured, started, versions

from alkaflow.workflows.blas import cpu_model, process_environment

HERE = Path(__file__).parent
PARTS: dict[str, Sequence[str]] = {
    "scf": ("scf.py", "--repeats", "1"),
    "cycle": ("scf.py", "--cycle", "--system", "hatcn"),
    "parts": ("parts.py",),
    "gradient": ("gradient.py", "--system", "hatcn", "--repeats", "1", "--whole"),
    "dicyanopyrazine": ("relaxation.py", "--system", "dicyanopyrazine"),
    "growth": ("growth.py",),
    "esp": ("esp.py",),
    "queue": ("queue_overhead.py", "overhead", "--number", "30", "--rounds", "2"),
    "peer": ("peer.py",),
}
FULL: dict[str, Sequence[str]] = {
    "exact": ("scf.py", "--exact", "--repeats", "1"),
    "exact cycle": ("scf.py", "--cycle", "--exact"),
    "bipyrimidine": ("relaxation.py", "--system", "bipyrimidine"),
    "hatcn": ("relaxation.py", "--system", "hatcn"),
}


def run(words: Sequence[str], date: str) -> dict[str, Any]:
    """One script: what it measured, its output, its seconds and the load before it."""
    load, begin = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.json"
        command = [sys.executable, str(HERE / words[0]), *words[1:], "--json", str(path)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        measured = json.loads(path.read_text()) if path.exists() else []
    if done.returncode:
        print(done.stderr.strip()[-2000:])
    seconds = time.perf_counter() - begin
    print(f"{' '.join(words)}: {seconds:.0f} s, load before {load:.1f}", flush=True)
    for row in measured:
        print(f"  {Measured(**row)}", flush=True)
    output = [*done.stdout.splitlines(), *(done.stderr.splitlines()[-1:] if done.returncode else [])]
    found = {"seconds": seconds, "load": load, "measured": measured, "output": output, "code": done.returncode}
    return {"date": date} | found


def rates(threads: int) -> dict[str, Any]:
    """Kernels and rates of the BLAS libraries in a calculation's process."""
    command = [sys.executable, "-P", "-m", "alkaflow.workflows.blas_probe"]
    done = subprocess.run(command, env=process_environment(os.environ, threads), check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def markdown(result: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        f"# Speed, {result['date']}",
        "",
        f"{result['cpu']}, {result['threads']} threads, Python {result['python']}, "
        + ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        + ". "
        + ", ".join(f"{name} {rate:.0f} GF/s" for name, rate in result["gflops"].items())
        + ".",
        "",
        "| ours / baseline | on | ours | baseline | ratio | target | | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part in result["parts"].values():
        for row in (Measured(**each) for each in part["measured"]):
            target = "" if row.target is None else f"{row.target:.3g}"
            verdict = row.verdict.replace("MISSED", "**missed**")
            ratio = f"{'at most ' if row.bound else ''}{row.ratio:.3g}"
            unit = f" {row.unit}" if row.unit else ""
            lines.append(
                f"| {row.what} | {row.on} | {row.ours:.3g}{unit} | {row.baseline:.3g}{unit} | {ratio} "
                f"| {target} | {verdict} | {part['date']} |"
            )
    failed = [name for name, part in result["parts"].items() if part["code"]]
    lines += ["", f"Not measured, as the script failed: {', '.join(failed)}."] if failed else []
    minutes = sum(part["seconds"] for part in result["parts"].values()) / 60
    lines += ["", f"{minutes:.0f} minutes; loads before the parts, and their output, are in the JSON.", ""]
    return "\n".join(lines)


def main() -> None:
    """Run the parts that are asked for and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, *FULL], help="some parts")
    parser.add_argument("--limit", type=float, default=700.0, help="seconds for the baseline of a relaxation")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    asked = started(parser)
    chosen = PARTS | (FULL if asked.full else {})
    if asked.only:
        chosen = {name: words for name, words in (PARTS | FULL).items() if name in asked.only}
    if find_spec("jobflow") is None and chosen.pop("peer", None):
        print("jobflow is not installed here: the comparison with it is left out (pip install jobflow)")
    probe = rates(asked.threads)
    now = datetime.now(UTC)
    result = {
        "date": f"{now:%Y-%m-%d}",
        "cpu": cpu_model(),
        "threads": asked.threads,
        "python": sys.version.split()[0],
        "versions": versions(PACKAGES),
        "gflops": probe["gflops"],
        "blas": probe["blas"],
        "parts": {},
    }
    asked.output.mkdir(parents=True, exist_ok=True)
    path = asked.output / f"speed-{now:%Y-%m-%d}.json"
    if asked.only and (earlier := sorted(asked.output.glob("speed-*.json"))):
        before = json.loads(earlier[-1].read_text(encoding="utf-8"))["parts"]
        result["parts"] = {name: part for name, part in before.items() if name in PARTS | FULL}
    for name, words in chosen.items():
        limit = () if asked.full or words[0] != "relaxation.py" else ("--limit", f"{asked.limit:g}")
        result["parts"][name] = run((*words, *limit), result["date"])
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
