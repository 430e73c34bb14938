"""Time of `import alkaflow` over a bare Python, as medians of alternating runs.

Run: python benchmarks/import_time.py [RUNS]
"""

import platform
import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Print medians for bare Python, alkaflow, its command line and PySCF."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    codes = {
        "bare": "pass",
        "alkaflow": "import alkaflow",
        "command line": "import alkaflow.launchpad.cli.app",
        "pyscf": "import pyscf.dft",
    }
    times: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(runs):
        for name, code in codes.items():
            times[name].append(seconds(code))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"Python {platform.python_version()}, {runs} runs each, alternating, medians")
    for name, median in medians.items():
        print(f"{name:<14} {median * 1000:7.1f} ms  {(median - medians['bare']) * 1000:+7.1f} ms over bare Python")


if __name__ == "__main__":
    main()
