"""How fast a calculation's process multiplies matrices, printed as JSON: ``python -m alkaflow.workflows.blas_probe``.

Rates [GFLOP/s] of NumPy's and PySCF's products, and of an exchange matrix of made-up vectors with the operations that
PySCF's form of it takes, which is what a calculation achieves of them.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pyscf import lib

from alkaflow.workflows.blas import loaded_blas
from alkaflow.workflows.fitted_repulsion import coulomb_and_exchange

_SIZE = 1200
_ENOUGH = 0.2  # seconds that a rate is measured over, at least
_FUNCTIONS, _FITTING, _OCCUPIED = 300, 1000, 60


def measure_rates() -> dict[str, float]:
    """Rates by name: numpy, pyscf, exchange."""
    rng = np.random.default_rng(0)
    a = rng.random((_SIZE, _SIZE))
    vectors = rng.random((_FITTING, _FUNCTIONS * (_FUNCTIONS + 1) // 2))
    orbitals = rng.random((_FUNCTIONS, _OCCUPIED))
    density = (orbitals @ orbitals.T)[None]
    exchange = 4.0 * _FITTING * _FUNCTIONS**2 * _OCCUPIED
    return {
        "numpy": _rate(lambda: np.dot(a, a), 2.0 * _SIZE**3),
        "pyscf": _rate(lambda: lib.dot(a, a), 2.0 * _SIZE**3),
        "exchange": _rate(lambda: coulomb_and_exchange(vectors, density, [orbitals]), exchange),
    }


def _rate(call: Callable[[], Any], operations: float) -> float:
    call()
    done, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < _ENOUGH:
        call()
        done += 1
    return done * operations / elapsed / 1e9


if __name__ == "__main__":
    print(json.dumps({"gflops": measure_rates(), "blas": loaded_blas()}))
