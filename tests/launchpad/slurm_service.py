"""A real Slurm for tests: munged, slurmctld and two slurmd on loopback, in a folder of their own, ended by pid.

Both nodes are this host. Partition ``main`` (the default) has node ``one``, ``both`` has both, ``far`` has a node that
is said to be another host, and jobs of ``urgent`` take the place of those of ``both`` on node ``two``.
"""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import pytest

T = TypeVar("T")
_DAEMONS = ("munged", "slurmctld", "slurmd")
_START_SECONDS = 60.0
_CONFIG = """
ClusterName=alkatest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
ReturnToService=2
KillWait=3
MinJobAge={min_job_age}
SlurmdTimeout=300
InactiveLimit=0
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={root}/completed.log
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000 Features=fast
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000
NodeName=elsewhere NodeAddr=127.0.0.1 Port={ports[3]} CPUs=4 RealMemory=4000 State=DOWN
PartitionName=main Nodes=one Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=both Nodes=one,two MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=two MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=far Nodes=one,elsewhere MaxTime=INFINITE State=UP PriorityTier=1
"""


@dataclass
class SlurmService:
    """A running Slurm; ``SLURM_CONF`` in ``environment`` leads its commands to it."""

    root: Path
    environment: dict[str, str]
    _started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = field(default_factory=list)

    @property
    def completion_log(self) -> Path:
        """Where Slurm writes down the jobs that ended."""
        return self.root / "completed.log"

    def run(self, *arguments: str) -> str:
        """Run one of Slurm's commands."""
        done = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def state(self, number: str) -> str:
        """Slurm's word on a job; empty when it is forgotten."""
        return self.run("squeue", "-h", "-t", "all", "-o", "%A|%T").partition(f"{number}|")[2].partition("\n")[0]

    def wait(self, number: str, *states: str, seconds: float = 60) -> str:
        """Wait until a job is in one of some states."""
        return wait_for(lambda: (s := self.state(number)) in states and s, seconds, f"job {number} to be in {states}")

    def start(self, ports: list[int], min_job_age: int) -> None:
        """Start the daemons and wait until both nodes are idle."""
        text = _CONFIG.format(
            root=self.root, host=socket.gethostname(), user=getpass.getuser(), ports=ports, min_job_age=min_job_age
        )
        (self.root / "slurm.conf").write_text(text, encoding="utf-8")
        (self.root / "state").mkdir()
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._spawn(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.root}/munge.socket",
            f"--pid-file={self.root}/munged.pid", f"--log-file={self.root}/munged.log",
            f"--seed-file={self.root}/munged.seed",
        )  # fmt: skip
        wait_for((self.root / "munge.socket").exists, _START_SECONDS, "munged")
        self._spawn("slurmctld", "-D")
        self._spawn("slurmd", "-D", "-N", "one")
        self._spawn("slurmd", "-D", "-N", "two")
        wait_for(self._idle, _START_SECONDS, f"Slurm, see {self.root}/*.log")

    def _idle(self) -> bool:
        try:
            states = self.run("sinfo", "-h", "-N", "-n", "one,two", "-o", "%t").split()
        except RuntimeError:
            return False
        return bool(states) and set(states) == {"idle"}

    def _spawn(self, name: str, *arguments: str) -> None:
        binary = _find(name)
        assert binary is not None
        log = (self.root / f"{name}-{len(self._started)}.out").open("wb")
        process = subprocess.Popen([binary, *arguments], env=self.environment, stdout=log, stderr=log)
        self._started.append((process, log))

    def cancel_all(self) -> None:
        """End every job and wait until none is left; node two is back afterwards."""
        for number in self.run("squeue", "-h", "-o", "%A").split():
            self.run("scancel", number)
        wait_for(lambda: not self.run("squeue", "-h", "-o", "%A").split(), 60, "all jobs to end")
        if "down" in self.run("sinfo", "-h", "-N", "-n", "two", "-o", "%t"):
            self.run("scontrol", "update", "node=two", "state=resume")
        wait_for(self._idle, 60, "idle nodes")

    def stop(self) -> None:
        """End the daemons, the last that was started first."""
        for process, log in reversed(self._started):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def wait_for(question: Callable[[], T], seconds: float, what: str) -> T:
    """Ask until the answer is true."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)
    return answer


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[SlurmService]:
    """One Slurm for the session; skipped where it is not installed, except in CI."""
    missing = [name for name in (*_DAEMONS, "sbatch") if _find(name) is None]
    if missing:
        problem = f"{', '.join(missing)} not found; install Debian's slurm-wlm and munge"
        if os.environ.get("ALKAFLOW_CI") == "1":
            pytest.fail(problem)
        pytest.skip(problem)
    root = Path(tempfile.mkdtemp(prefix="alkaflow-slurm-"))  # short: the path of munge's socket is limited
    root.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
    service = SlurmService(root, environment | {"SLURM_CONF": str(root / "slurm.conf")})
    try:
        service.start(_free_ports(4), min_job_age=20)
        yield service
        service.cancel_all()
    finally:
        service.stop()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def slurm(slurm_daemons: SlurmService, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmService]:
    """The session's Slurm, without jobs, for the commands of this process too."""
    for variable in list(os.environ):
        if variable.startswith(("SLURM_", "SBATCH_", "SQUEUE_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("SLURM_CONF", slurm_daemons.environment["SLURM_CONF"])
    slurm_daemons.cancel_all()
    yield slurm_daemons
    slurm_daemons.cancel_all()
