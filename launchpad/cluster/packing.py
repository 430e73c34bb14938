"""What one job asks for: cores, memory, time, and how many calculations share it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from alkaflow.cluster import ClusterSettings, seconds_of, walltime_of

_SMALL = 900.0  # s; a calculation that is this short does not need a second core
_MEDIUM = 7200.0  # s
_CORES_OF_MEDIUM = 2
_CORES_OF_LARGE = 4
_TIME_MARGIN = 2.0  # estimates of wall time are good to about this
_MEMORY_MARGIN = 1.25
_WORKER_MB = 500  # of the worker itself
_MB_PER_CORE = 2000  # where nothing has an estimate
_STARTING = 300.0  # s; modules, imports and the first claim
_LEAST_WALLTIME = 1800
_MOST_WALLTIME = 24 * 3600
_UNKNOWN_WALLTIME = 12 * 3600
_QUARTER = 900  # walltimes are asked for in quarters of an hour
_MIB_IN_MB = 1.048576


@dataclass(frozen=True)
class Cost:
    """Estimate of one waiting calculation: wall time [s] and memory [MB]."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Request:
    """What one job asks for: cores, memory [MB], walltime [s], and calculations at a time."""

    cores: int
    memory_mb: int
    walltime_seconds: int
    pack: int

    @property
    def walltime(self) -> str:
        """The walltime as ``HH:MM:SS``."""
        return walltime_of(self.walltime_seconds)

    @property
    def memory_mib(self) -> int:
        """The memory in the schedulers' unit, 2^20 bytes, rounded up."""
        return math.ceil(self.memory_mb / _MIB_IN_MB)


def request_for(cluster: ClusterSettings, costs: Sequence[Cost], waiting: int | None = None, jobs: int = 1) -> Request:
    """Settle what each of some equal jobs asks for.

    What the settings say stands. The rest follows from the estimates: memory for ``pack`` calculations like the
    largest, twice the estimated time. Where nothing has an estimate: four cores per calculation, 2 GB per core, 12 h.

    Parameters
    ----------
    cluster
        The settings.
    costs
        Estimates of the calculations that wait and have one.
    waiting
        How many wait, with and without an estimate; default: as many as there are estimates.
    jobs
        Among how many jobs they are divided.
    """
    each = math.ceil(max(waiting if waiting is not None else len(costs), 1) / jobs)
    pack = cluster.pack if isinstance(cluster.pack, int) else auto_pack(cluster.cores, cluster.memory_mb, costs, each)
    memory = cluster.memory_mb or _memory(cluster.cores, costs, pack)
    if cluster.walltime is not None:
        walltime = seconds_of(cluster.walltime)
    else:
        walltime = _walltime(costs, each, pack, cluster.signal_seconds)
    return Request(cluster.cores, memory, walltime, pack)


def auto_pack(cores: int, memory_mb: int | None, costs: Sequence[Cost], waiting: int) -> int:
    """How many calculations share a job: each has its cores and, where the memory is given, room for the largest.

    A calculation of up to 15 minutes needs one core, of up to two hours two, a longer one four, and so does one without
    an estimate.

    Parameters
    ----------
    cores
        Cores of the job.
    memory_mb
        Its memory [MB]; None when the job asks for what they need.
    costs
        Estimates.
    waiting
        More than this many would have nothing to do.
    """
    most = cores // _CORES_OF_LARGE
    if costs:
        typical = median(cost.seconds for cost in costs)
        needed = 1 if typical <= _SMALL else _CORES_OF_MEDIUM if typical <= _MEDIUM else _CORES_OF_LARGE
        most = cores // needed
        if memory_mb is not None:
            largest = max(cost.memory_mb for cost in costs) * _MEMORY_MARGIN
            most = min(most, int((memory_mb - _WORKER_MB) // largest))
    return max(1, min(most, waiting))


def _memory(cores: int, costs: Sequence[Cost], pack: int) -> int:
    if not costs:
        return cores * _MB_PER_CORE
    return math.ceil(pack * max(cost.memory_mb for cost in costs) * _MEMORY_MARGIN + _WORKER_MB)


def _walltime(costs: Sequence[Cost], each: int, pack: int, signal_seconds: int) -> int:
    if not costs:
        return _UNKNOWN_WALLTIME
    mean = sum(cost.seconds for cost in costs) / len(costs)
    work = max(mean * each / pack, *(cost.seconds for cost in costs)) * _TIME_MARGIN
    wanted = work + signal_seconds + _STARTING
    return int(min(max(math.ceil(wanted / _QUARTER) * _QUARTER, _LEAST_WALLTIME), _MOST_WALLTIME))
