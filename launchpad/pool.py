"""Several workers in one allocation: k at a time, each with its share of cores and memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

from alkaflow.errors import BadInputError
from alkaflow.launchpad.drain import Drain
from alkaflow.launchpad.limits import usable_memory_mb
from alkaflow.settings import ENV_PREFIX, Settings

_POLL_SECONDS = 0.2
_LEAST_MEMORY_MB = 500


def share_out(cores: Sequence[int], parts: int) -> list[list[int]]:
    """Divide cores among so many workers, as evenly as it goes, neighbours together.

    Raises
    ------
    BadInputError
        There are fewer cores than workers.
    """
    if parts > len(cores):
        raise BadInputError(f"{parts} workers do not fit on {len(cores)} cores; give a smaller --pack")
    share, rest = divmod(len(cores), parts)
    ends = [share * k + min(k, rest) for k in range(parts + 1)]
    return [list(cores[begin:end]) for begin, end in pairwise(ends)]


def run_pool(settings: Settings, parts: int, stay: float, drain: Drain, ended: int = 0) -> int:
    """Run workers side by side until all have ended; returns the largest exit code that is no failed calculation's.

    SIGUSR1 and SIGTERM are passed on to them.

    Parameters
    ----------
    settings
        Those of this process; memory and cores are divided.
    parts
        How many.
    stay
        Of each [s].
    drain
        Set by the handler of SIGUSR1.
    ended
        How many calculations had ended before; all workers count from there.

    Raises
    ------
    BadInputError
        There are not cores or memory enough.
    """
    shares = share_out(sorted(os.sched_getaffinity(0)), parts)
    memory = (settings.memory_mb or usable_memory_mb()) // parts
    if memory < _LEAST_MEMORY_MB:
        raise BadInputError(f"{parts} workers would have {memory} MB each; give a smaller --pack")
    workers: list[subprocess.Popen[bytes]] = []
    told = False
    try:
        for share in shares:
            workers.append(_start(memory, share, stay, ended))
            os.sched_setaffinity(workers[-1].pid, share)
        while any(worker.poll() is None for worker in workers):
            if drain.is_set() and not told:
                told = True
                _tell(workers, signal.SIGUSR1)
            time.sleep(_POLL_SECONDS)
    except BaseException:
        _tell(workers, signal.SIGTERM)
        for worker in workers:
            worker.wait()
        raise
    return max((abs(worker.returncode) for worker in workers if worker.returncode not in (0, 1)), default=0)


def _start(memory_mb: int, cores: Sequence[int], stay: float, ended: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {f"{ENV_PREFIX}THREADS": str(len(cores)), f"{ENV_PREFIX}MEMORY_MB": str(memory_mb)}
    command = [sys.executable, "-P", "-m", "alkaflow.launchpad.cli", "worker", "--stay", str(stay)]
    command += ["--part-of-pool", str(ended)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)


def _tell(workers: "Sequence[subprocess.Popen[bytes]]", number: signal.Signals) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)
