"""How one energy and gradient grow with the host: Li on hosts of 12, 18 and 30 heavy atoms.

    python benchmarks/growth.py

Seconds of the cycles of one cold SCF and a gradient at B3LYP-D3(BJ)/6-311G(d,p) on grid level 3, by the number of basis
functions N; per cycle, as larger systems need more of them. The exponent is that of a straight line through the
logarithms. At most 3: density fitting has steps that grow as N^4 (exchange) and as N (quadrature).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, end, is_child, run_child, started
from systems import SYSTEMS

from alkaflow.levels import KohnSham, parse_level
from alkaflow.units import BOHR_ANGSTROM

HOSTS = ("bipyrimidine", "hexaazatriphenylene", "hatcn")
CYCLES = 12  # that a relaxation's first SCF takes, about; of the others fewer


def measure(system: str, memory_mb: int) -> dict[str, Any]:
    """Seconds of cycles and of a gradient of one system."""
    from alkaflow.workflows.device import Cpu
    from alkaflow.workflows.progress import Progress
    from alkaflow.workflows.surface import KohnShamGradient

    structure = SYSTEMS[system]()
    level = parse_level("b3lyp-d3bj/6-311g(d,p)").model_copy(update={"energy_threshold": 1e-7, "scf_grid": 3})
    assert isinstance(level, KohnSham)
    with tempfile.TemporaryDirectory() as folder:
        surface = KohnShamGradient(structure, level, memory_mb, Progress(Path(folder)))
        begin = time.perf_counter()
        surface.converge(structure.positions / BOHR_ANGSTROM, None)
        scf = time.perf_counter() - begin
        begin = time.perf_counter()
        Cpu().gradient(surface.mean_field)
        gradient = time.perf_counter() - begin
    return {
        "functions": int(surface.mean_field.mol.nao),
        "cycles": surface.cycles,
        "seconds": CYCLES * scf / surface.cycles + gradient,
        "gradient": gradient,
    }


def main() -> None:
    """Measure all systems and fit the power of their growth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", default="")
    asked = started(parser)
    if is_child(asked):
        end(measure(asked.system, asked.memory))
        return
    rows = []
    for system in HOSTS:
        words = ["--system", system, "--memory", str(asked.memory)]
        rows.append(run_child(__file__, "ours", words, asked.threads, ours=True).found)
        print(
            f"{system}: {rows[-1]['functions']} functions, {rows[-1]['cycles']} cycles, {CYCLES} cycles and a gradient "
            f"{rows[-1]['seconds']:.1f} s, gradient {rows[-1]['gradient']:.1f} s, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    sizes, seconds = (np.log([row[name] for row in rows]) for name in ("functions", "seconds"))
    exponent = float(np.polyfit(sizes, seconds, 1)[0])
    more = {"hosts": HOSTS, "rows": rows}
    what = "growth of an energy and gradient with the basis, exponent / 3"
    end([Measured(what, "hosts of 12, 18, 30 heavy atoms + Li", exponent, 3.0, "", 1.0, more)], asked)


if __name__ == "__main__":
    main()
