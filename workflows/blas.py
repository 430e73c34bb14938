"""Threads and BLAS kernels of a calculation's process, settled before it imports anything.

PySCF's wheel bundles an OpenBLAS of 2018 that does not know newer processors and falls back to an SSE kernel, three
times slower than the one the processor can run. OPENBLAS_CORETYPE, read once when the library loads, corrects that.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_AVX2 = {"avx2", "fma"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction-set flags that Linux reports; empty where there is no such file."""
    return set(_cpuinfo_value("flags", cpuinfo).split())


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, or 'unknown'."""
    return _cpuinfo_value("model name", cpuinfo) or "unknown"


def _cpuinfo_value(key: str, cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def best_kernel(flags: set[str]) -> str | None:
    """Return the OPENBLAS_CORETYPE that uses the processor's widest vectors, never one it cannot run."""
    if flags >= _AVX512 | _AVX2:
        return "SkylakeX"
    if flags >= _AVX2:
        return "Haswell"
    return None


def process_environment(
    environment: Mapping[str, str], threads: int, kernel: str = "auto", flags: set[str] | None = None
) -> dict[str, str]:
    """Return the environment for a calculation's process.

    Parameters
    ----------
    environment
        The caller's; what the user set in it wins over 'auto', for OPENBLAS_CORETYPE.
    threads
        OpenMP and BLAS threads.
    kernel
        'auto', 'keep' (leave the choice to the library) or an OPENBLAS_CORETYPE.
    flags
        CPU flags; those of this machine by default.
    """
    result = dict(environment)
    for variable in _THREAD_VARIABLES:
        result[variable] = str(threads)
    if kernel not in ("auto", "keep"):
        result["OPENBLAS_CORETYPE"] = kernel
    elif kernel == "auto" and "OPENBLAS_CORETYPE" not in result:
        choice = best_kernel(cpu_flags() if flags is None else flags)
        if choice is not None:
            result["OPENBLAS_CORETYPE"] = choice
    result["HDF5_USE_FILE_LOCKING"] = "FALSE"
    return result


def loaded_blas() -> list[dict[str, Any]]:
    """Describe every BLAS and OpenMP library in this process: api, version, kernel, threads."""
    from threadpoolctl import threadpool_info

    return [
        {
            "api": pool["internal_api"],
            "library": Path(pool["filepath"]).name,
            "version": pool.get("version"),
            "kernel": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in sorted(threadpool_info(), key=lambda pool: str(pool["filepath"]))
    ]
