"""Is this machine ready? One finding per thing that can be wrong, each with what to do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from alkaflow.errors import AlkaflowError, ServiceError
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.exposure import look_at_access, look_at_secrets
from alkaflow.launchpad.findings import Finding, guarded
from alkaflow.launchpad.full_disk import FREE_DISK_MB
from alkaflow.launchpad.limits import usable_cores, usable_memory_mb
from alkaflow.launchpad.mending import look_at_database
from alkaflow.launchpad.mongod import EmbeddedMongod, find_mongod
from alkaflow.launchpad.worker import check_device
from alkaflow.settings import Settings, config_file
from alkaflow.workflows.blas import best_kernel, cpu_flags, cpu_model, process_environment

_PACKAGES = ("alkaflow", "ase", "fireworks", "numpy", "pymatgen", "pymongo", "pyscf", "pyscf-dispersion", "rdkit",
             "scipy", "tblite")  # fmt: skip
_NEEDED_MEMORY_MB = 4000
_NEEDED_DISK_MB = 2000
_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "fuse.sshfs", "afs"}
_SLOW_KERNELS = {
    "Barcelona",
    "Prescott",
    "Core2",
    "Nehalem",
    "Generic",
    "generic",
    "SSE_GENERIC",
    "Opteron",
    "Bobcat",
}

# What the computing process would load, measured where it cannot disturb this one.


def examine(settings: Settings, mend: bool = False) -> Iterator[Finding]:
    """Look at everything a calculation needs, one finding at a time.

    Parameters
    ----------
    settings
        Of this host.
    mend
        Put right what can be put right safely; without it nothing is changed.
    """
    for finding in _all(settings):
        yield finding.mended() if mend else finding


def _all(settings: Settings) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _configuration(settings)
    yield _threads(settings)
    yield _blas(settings)
    if settings.device == "gpu":
        yield guarded("GPU", lambda: _gpu(settings))
    yield _memory(settings)
    yield _data_dir(settings)
    yield _disk(settings)
    yield look_at_secrets(settings)
    yield _mongod(settings)
    yield from _database(settings)


def _python() -> Finding:
    return Finding("Python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Finding("packages", "problem", f"{name} is not installed", f"pip install {name}")
    if len(found) == len(_PACKAGES):
        yield Finding("packages", "ok", ", ".join(f"{name} {number}" for name, number in found.items()))


def _configuration(settings: Settings) -> Finding:
    path = config_file()
    where = str(path) if path.exists() else f"{path} does not exist: defaults"
    server = "a configured MongoDB server" if settings.mongodb_uri else "the embedded mongod"
    return Finding("configuration", "ok", f"{where}; database: {server}")


def _threads(settings: Settings) -> Finding:
    cores, chosen = usable_cores(), settings.threads
    if chosen is not None and chosen > cores:
        return Finding("threads", "warning", f"threads: {chosen}, but only {cores} cores are usable", "lower 'threads'")
    why = "as the setting threads says" if chosen else "all usable cores, as the setting threads is not given"
    if variable := os.environ.get("OMP_NUM_THREADS"):
        why += f"; OMP_NUM_THREADS={variable} is not looked at"
    return Finding("threads", "ok", f"{chosen or cores} per calculation, {why}; {cores} cores usable ({cpu_model()})")


def _blas(settings: Settings) -> Finding:
    """Which kernels NumPy's and PySCF's OpenBLAS pick in a computing process, and how fast each multiplies."""
    environment = process_environment(os.environ, settings.threads or usable_cores(), settings.blas_kernel)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "alkaflow.workflows.blas_probe"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        probe: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError, OSError) as error:
        return Finding("BLAS", "problem", f"NumPy and PySCF cannot be loaded: {error}", "reinstall numpy and pyscf")
    kernels = {p["library"]: p["kernel"] for p in probe["blas"] if p["api"] == "openblas"}
    exchange = probe["gflops"].pop("exchange")
    rates = ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in probe["gflops"].items())
    rates += f"; exchange matrices reach {exchange / max(probe['gflops'].values()):.0%} of that"
    chosen = environment.get("OPENBLAS_CORETYPE", "the libraries' own choice")
    detail = f"OPENBLAS_CORETYPE: {chosen}; {', '.join(f'{k}: {v}' for k, v in kernels.items())}; DGEMM {rates}"
    if _SLOW_KERNELS & set(kernels.values()):
        better = best_kernel(cpu_flags())
        advice = (
            f"set blas_kernel: {better} or unset OPENBLAS_CORETYPE" if better else "this processor has no wide vectors"
        )
        return Finding("BLAS", "warning", detail, advice)
    return Finding("BLAS", "ok", detail)


def _gpu(settings: Settings) -> str:
    check_device(settings)
    return "gpu4pyscf is installed and sees a GPU"


def _memory(settings: Settings) -> Finding:
    usable = settings.memory_mb or usable_memory_mb()
    detail = f"{usable} MB for a calculation, {psutil.virtual_memory().total / 1e6:.0f} MB in the machine"
    if usable < _NEEDED_MEMORY_MB:
        return Finding("memory", "warning", detail, f"HATCN needs about {_NEEDED_MEMORY_MB} MB; smaller hosts will do")
    return Finding("memory", "ok", detail)


def _data_dir(settings: Settings) -> Finding:
    directory = settings.data_dir
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("data_dir", "problem", f"cannot write to {existing}", "set data_dir or ALKAFLOW_DATA_DIR")
    kind = _filesystem(existing)
    if kind in _NETWORK_FILESYSTEMS and settings.mongodb_uri is None:
        return Finding(
            "data_dir",
            "problem",
            f"{directory} is on {kind}",
            "an embedded mongod needs a local disk: set data_dir",
        )
    return Finding("data_dir", "ok", f"{directory} ({kind})")


def _filesystem(path: Path) -> str:
    """Type of the file system that holds a path."""
    mounts = sorted(psutil.disk_partitions(all=True), key=lambda m: len(m.mountpoint), reverse=True)
    real = path.resolve()
    return next((m.fstype for m in mounts if real.is_relative_to(m.mountpoint)), "unknown")


def _disk(settings: Settings) -> Finding:
    existing = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e6
    if free < FREE_DISK_MB:
        advice = f"free space there: nothing is begun with less than {FREE_DISK_MB} MB"
        return Finding("disk", "problem", f"{free:.0f} MB free at {existing}", advice)
    if free < _NEEDED_DISK_MB:
        advice = f"make room: {_NEEDED_DISK_MB} MB are comfortable"
        return Finding("disk", "warning", f"{free:.0f} MB free at {existing}", advice)
    return Finding("disk", "ok", f"{free:.0f} MB free")


def _mongod(settings: Settings) -> Finding:
    if settings.mongodb_uri is not None:
        return Finding("mongod", "ok", "not needed: a server is configured")
    return guarded("mongod", lambda: _mongod_version(find_mongod(settings)))


def _mongod_version(binary: Path) -> str:
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(f"{binary} does not run here: {error}") from None
    return f"{done.stdout.splitlines()[0]} at {binary}"


def _database(settings: Settings) -> Iterator[Finding]:
    """The server and what it holds; findings are mended while the connection is open."""
    try:
        with open_database(settings, any_version=True) as database:
            detail = f"answers, {database.calculations.estimated_document_count()} calculations"
            embedded = EmbeddedMongod(settings)
            yield Finding("database", "ok", detail + ("" if settings.mongodb_uri else f", socket {embedded.socket}"))
            yield look_at_access(settings)
            yield from look_at_database(database)
    except AlkaflowError as error:
        reason, _, advice = str(error).partition("; ")
        yield Finding("database", "problem", reason, advice)
