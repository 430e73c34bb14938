"""Asking Slurm and PBS. Every question is an argument list with a time limit; no shell is involved."""

import getpass
import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from alkaflow.cluster import ClusterSettings
from alkaflow.errors import ServiceError
from alkaflow.launchpad.cluster import nodes
from alkaflow.launchpad.cluster.fates import Fate, parse_qstat, parse_records, parse_sacct, parse_squeue, unknown
from alkaflow.settings import Settings

_SECONDS = 60.0
_TAIL_BYTES = 64_000_000  # of a completion log; a job that ended before that is of no interest
_AT_A_TIME = 200  # jobs in one question
# Variables that change what the commands answer.
_MISLEADING = ("SQUEUE_", "SACCT_", "SCONTROL_", "SINFO_", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")


class Scheduler(Protocol):
    """What is asked of a scheduler."""

    @property
    def name(self) -> str:
        """``slurm`` or ``pbs``."""

    def cluster(self) -> str:
        """Name of the cluster; raises ServiceError when the scheduler does not answer."""

    def fates(self, jobs: Collection[str]) -> dict[str, Fate]:
        """What became of each job; raises ServiceError when the scheduler does not answer."""

    def hosts(self) -> set[str]:
        """Short names of all its nodes; raises ServiceError when the scheduler does not answer."""

    def other_hosts(self, partition: str | None) -> list[str]:
        """Nodes a job may land on that are not this host; raises ServiceError when the scheduler does not answer."""

    def sizes(self, partition: str | None) -> list[nodes.Size]:
        """What the nodes have that a job may land on; empty where the scheduler does not say."""

    def hides_others(self) -> bool:
        """Whether jobs of other users may be kept from this one."""


class Slurm:
    """Slurm, through squeue, sacct where there is accounting, the job-completion log, and scontrol."""

    name = "slurm"

    def __init__(self, completion_log: Path | None = None) -> None:
        self._log = completion_log
        self._config: dict[str, str] | None = None

    def cluster(self) -> str:
        """ClusterName of Slurm's configuration."""
        return self._setting("ClusterName") or "slurm"

    def hides_others(self) -> bool:
        """Whether PrivateData keeps other users' jobs from this one."""
        return "jobs" in self._setting("PrivateData").split(",") and os.getuid() != 0

    def hosts(self) -> set[str]:
        """Short names of all nodes and of the hosts they are on."""
        return nodes.all_hosts(self._nodes())

    def other_hosts(self, partition: str | None) -> list[str]:
        """Nodes of a partition, by default the default one, that are not this host."""
        partitions = ask(["scontrol", "show", "partition", "-o"])
        return nodes.other_hosts(nodes.hosts_of_partition(self._nodes(), partitions, partition))

    def sizes(self, partition: str | None) -> list[nodes.Size]:
        """What the nodes of a partition have, by sinfo; empty where that does not say."""
        with suppress(ServiceError):
            return nodes.sizes(ask(["sinfo", "-h", "-N", "-o", "%P|%N|%c|%m|%G"]), partition)
        return []

    def fates(self, jobs: Collection[str]) -> dict[str, Fate]:
        """What became of each job.

        squeue says what waits and runs. Of the others, sacct knows how they ended where there is accounting, then the
        job-completion log, then scontrol and squeue for some minutes; one that none of them knows is dead.
        """
        if not jobs:
            return {}
        queued = parse_squeue(ask(["squeue", "-h", "-t", "all", "-o", "%A|%T|%u|%N|%r"]))
        found = {job: queued[job] for job in jobs if job in queued and not queued[job].dead}
        for source in (self._from_sacct, self._from_log, self._from_scontrol):
            missing = [job for job in jobs if job not in found]
            if missing:
                found |= {job: fate for job, fate in source(missing).items() if job in missing and fate.dead}
        return {job: found.get(job) or queued.get(job) or unknown(job) for job in jobs}

    def _from_sacct(self, jobs: list[str]) -> dict[str, Fate]:
        if self._setting("AccountingStorageType").removeprefix("accounting_storage/") in ("", "none", "(null)"):
            return {}
        found: dict[str, Fate] = {}
        with suppress(ServiceError):  # its database may be away while Slurm works
            for some in _portions(jobs):
                numbers = ",".join(number_of(job) for job in some)
                wanted = "JobIDRaw,State,ExitCode,Reason,NodeList,User"
                found |= parse_sacct(ask(["sacct", "-n", "-P", "-o", wanted, "-j", numbers]))
        return found

    def _from_log(self, jobs: list[str]) -> dict[str, Fate]:
        log = self._log
        if log is None and self._setting("JobCompType") == "jobcomp/filetxt":
            log = Path(self._setting("JobCompLoc"))
        if log is None:
            return {}
        wanted = {number_of(job) for job in jobs}
        with suppress(OSError):  # only some sites let their users read it
            return parse_records(line for line in _tail(log) if line[6:].partition(" ")[0] in wanted)
        return {}

    def _from_scontrol(self, jobs: list[str]) -> dict[str, Fate]:
        found: dict[str, Fate] = {}
        for job in jobs[:_AT_A_TIME]:
            with suppress(ServiceError):  # "Invalid job id specified"
                found |= parse_records(ask(["scontrol", "show", "job", "-o", number_of(job)]).splitlines())
        return found

    def _nodes(self) -> str:
        return ask(["scontrol", "show", "node", "-o"])

    def _setting(self, name: str) -> str:
        if self._config is None:
            lines = ask(["scontrol", "show", "config"]).splitlines()
            pairs = (line.partition("=") for line in lines)
            self._config = {key.strip(): value.strip() for key, _, value in pairs}
        return self._config.get(name, "")


_UNKNOWN_TO_PBS = ("Unknown Job", "has finished")


class Pbs:
    """OpenPBS, through qstat and pbsnodes."""

    name = "pbs"

    def cluster(self) -> str:
        """Name of the default server."""
        found = re.search(r"(?m)^Server: (\S+)", ask(["qstat", "-B", "-f"]))
        return found.group(1) if found else "pbs"

    def hides_others(self) -> bool:
        """PBS may be set up so, and does not say."""
        return os.getuid() != 0

    def hosts(self) -> set[str]:
        """Short names of the hosts of all nodes."""
        return nodes.all_hosts(ask(["pbsnodes", "-a"]))

    def other_hosts(self, partition: str | None) -> list[str]:
        """Nodes that are not this host; PBS does not tie nodes to queues, so all count."""
        del partition
        return nodes.other_hosts({host: host for host in self.hosts()})

    def sizes(self, partition: str | None) -> list[nodes.Size]:
        """PBS does not tie nodes to queues: nothing is known."""
        del partition
        return []

    def fates(self, jobs: Collection[str]) -> dict[str, Fate]:
        """What became of each job; one that the server does not know any more is dead."""
        if not jobs:
            return {}
        self.cluster()  # whether the server answers: an unknown job is an error of qstat too
        found: dict[str, Fate] = {}
        for job in jobs:
            try:
                found |= parse_qstat(ask(["qstat", "-x", "-f", number_of(job)]))
            except ServiceError as error:
                if not any(words in str(error) for words in _UNKNOWN_TO_PBS):
                    raise
        self.cluster()
        return {job: found.get(job) or unknown(job) for job in jobs}


def scheduler_of(settings: Settings) -> Scheduler | None:
    """Return the scheduler of the configuration, or None without one."""
    return None if settings.cluster is None else scheduler_for(settings.cluster)


def scheduler_for(cluster: ClusterSettings) -> Scheduler:
    """Return the scheduler of some settings."""
    return Slurm(cluster.completion_log) if cluster.scheduler == "slurm" else Pbs()


def number_of(job: str) -> str:
    """The scheduler's own number in ``slurm:123`` or ``pbs:123.server``.

    Raises
    ------
    ValueError
        It is none, so that nothing else ever becomes an argument of a command.
    """
    number = job.partition(":")[2]
    if not re.fullmatch(r"\d{1,20}(\.[A-Za-z0-9.-]{1,255})?", number):
        raise ValueError(f"{job!r} is not a job of a scheduler")
    return number


def is_job(job: str) -> bool:
    """Whether a name can be one of a scheduler's jobs."""
    with suppress(ValueError):
        return bool(number_of(job))
    return False


def user_name() -> str:
    """Name of the user that asks."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def ask(arguments: list[str], environment: Mapping[str, str] = os.environ) -> str:
    """Run a command of the scheduler and return what it printed.

    Raises
    ------
    ServiceError
        The command is not there, failed, or did not answer within a minute.
    """
    clean = {key: value for key, value in environment.items() if not key.startswith(_MISLEADING)} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            arguments, env=clean, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise ServiceError(
            f"the command {arguments[0]} is not on PATH; run this where the scheduler's commands are, on a login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{arguments[0]} did not answer within {_SECONDS:.0f} s; try again later") from None
    except OSError as error:
        raise ServiceError(f"{arguments[0]} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split()) or f"exit code {done.returncode}"
        raise ServiceError(f"{arguments[0]} failed: {said[:500]}")
    return done.stdout.decode("utf-8", "replace")


def _portions(jobs: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(jobs), _AT_A_TIME):
        yield jobs[begin : begin + _AT_A_TIME]


def _tail(log: Path) -> Iterator[str]:
    """The last lines of a log."""
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        for line in stream:
            yield line.decode("utf-8", "replace")
