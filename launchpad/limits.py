"""What the machine, its control groups and Slurm let a calculation have: cores, memory and time."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARE = 0.8  # of the memory that there is
_LEAST_MB = 500
_MIB = 1.048576  # MB; Slurm counts in units of 2^20 bytes
_BEFORE_JOB_ENDS = 60.0  # s, for ending a calculation and saying so
_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class TimeLimit:
    """For how long a calculation may go on from now [s], why, and whether the scheduler's job then ends."""

    seconds: float
    reason: str
    of_the_job: bool = False


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def usable_memory_mb(
    environment: Mapping[str, str] = os.environ, membership: Path = _MEMBERSHIP, groups: Path = _GROUPS
) -> int:
    """80 % of the least of: memory that is there, limits of the control groups, memory of the Slurm job [MB].

    Parameters
    ----------
    environment
        Where Slurm's variables are looked for.
    membership
        Linux's list of the control groups of this process.
    groups
        Where the control groups are mounted.
    """
    most = [psutil.virtual_memory().available / 1e6]
    for path in _group_files("memory.max", "memory.limit_in_bytes", membership, groups):
        with suppress(OSError, ValueError):  # "max" is no limit
            most.append(int(path.read_text(encoding="ascii")) / 1e6)
    if (slurm := _slurm_memory_mb(environment)) is not None:
        most.append(slurm)
    return max(_LEAST_MB, int(_SHARE * min(most)))


def time_limit(setting: float | None, environment: Mapping[str, str] = os.environ) -> TimeLimit | None:
    """The nearer of a limit that was set [s] and the end of the scheduler's job, less a minute; None without either."""
    limits = []
    if setting is not None:
        limits.append(TimeLimit(setting, f"time_limit is {setting:.0f} s"))
    if (left := job_seconds_left(environment)) is not None:
        name = "Slurm" if "SLURM_JOB_ID" in environment or "SLURM_JOB_END_TIME" in environment else "PBS"
        limits.append(TimeLimit(left - _BEFORE_JOB_ENDS, f"the {name} job ends", of_the_job=True))
    return min(limits, key=lambda limit: limit.seconds, default=None)


def job_seconds_left(environment: Mapping[str, str] = os.environ) -> float | None:
    """Time until the scheduler ends this job [s]; None outside of one.

    Slurm says when the job ends. PBS says for how long it may run: that is counted from the start of this process.
    """
    with suppress(KeyError, ValueError):
        return float(environment["SLURM_JOB_END_TIME"]) - time.time()
    with suppress(KeyError, ValueError):
        return float(environment["PBS_WALLTIME"]) - (time.time() - float(psutil.Process().create_time()))
    return None


def current_job(environment: Mapping[str, str] = os.environ) -> str | None:
    """The scheduler's job that this process is part of, as ``slurm:123`` or ``pbs:123.server``; None outside of one."""
    for variable, scheduler in (("SLURM_JOB_ID", "slurm"), ("PBS_JOBID", "pbs")):
        if environment.get(variable):
            return f"{scheduler}:{environment[variable]}"
    return None


def killed_for_memory(membership: Path = _MEMBERSHIP, groups: Path = _GROUPS) -> int | None:
    """How many processes of this control group the kernel has killed for lack of memory; None where it does not say."""
    for path in _group_files("memory.events", "memory.oom_control", membership, groups):
        with suppress(OSError, ValueError, KeyError):
            lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
            return int(dict(line for line in lines if len(line) == 2)["oom_kill"])
    return None


def _slurm_memory_mb(environment: Mapping[str, str]) -> float | None:
    """What Slurm gives the job on this node [MB]; 0 means all there is."""
    with suppress(KeyError, ValueError):
        return int(environment["SLURM_MEM_PER_NODE"]) * _MIB or None
    with suppress(KeyError, ValueError):
        return int(environment["SLURM_MEM_PER_CPU"]) * int(environment["SLURM_CPUS_ON_NODE"]) * _MIB or None
    return None


def _group_files(unified: str, legacy: str, membership: Path, groups: Path) -> Iterator[Path]:
    """Files of the memory controller, from the group of this process up to the root, under versions 2 and 1."""
    with suppress(OSError):
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, inner = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, name = (groups / "memory", legacy) if controllers else (groups, unified)
            group = root / inner.strip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    yield folder / name
