"""Who holds a claim or a lock: a process, recognisable as alive or dead by others on its host."""

import os
import socket
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Owner(BaseModel):
    """A process, told apart from a later one with the same pid by its start time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    machine: str = ""
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> "Owner":
        """Describe the calling process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            machine=_machine(),
            boot=_boot(),
            namespace=_namespace(),
            pid=pid,
            started=_start_ticks(pid) or 0,
        )

    def is_alive(self) -> bool | None:
        """True or False where this machine can tell; None for a process on another host or in another container."""
        if self.host != socket.gethostname() or self.machine != _machine():
            return None
        if self.boot != _boot():
            return False if self.machine else None  # without a machine's identity it may be a namesake
        if self.namespace != _namespace():
            return None
        started = _start_ticks(self.pid)
        return None if started == _HIDDEN else started == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


_HELD: set[str] = set()
_HIDDEN = -1
_LONGEST_BEAT = 5.0  # s
_BEATS_PER_LEASE = 4


def keep(token: str) -> str:
    """Note that this process holds what a token stands for; returns the token."""
    _HELD.add(token)
    return token


def drop(token: str) -> None:
    """Note that it does not, or does not know whether it does: the reply to its request was lost."""
    _HELD.discard(token)


def holder_is_alive(held: dict[str, Any]) -> bool | None:
    """Whether somebody stands behind a claim or a lock; None where that cannot be looked at.

    A living process that does not know of it does not: it asked for it, and never heard the answer.
    """
    owner = owner_of(held)
    alive = owner.is_alive() if owner else False
    if alive and owner == Owner.this_process() and held["token"] not in _HELD:
        return False
    return alive


def beat_seconds(lease_seconds: float) -> float:
    """Time between two signs of life of a worker [s]."""
    return min(_LONGEST_BEAT, lease_seconds / _BEATS_PER_LEASE)


def longest_silence(lease_seconds: float) -> float:
    """Time in which a living worker gives a sign of life, the database answering [s]."""
    return 1.5 * beat_seconds(lease_seconds)


def owner_of(document: dict[str, Any] | None) -> Owner | None:
    """Read the owner out of a claim or lock document."""
    return Owner.model_validate(document["owner"]) if document else None


def folder_of(claim: dict[str, Any] | None) -> str | None:
    """The path of the job folder that a claim belongs to; None for that of a process."""
    owner = (claim or {}).get("owner") or {}
    return owner.get("folder")


@cache
def _machine() -> str:
    """Identity of the installation; empty where there is none."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@cache
def _boot() -> str:
    """Identity of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@cache
def _namespace() -> str:
    """Identity of the namespace that pids are counted in."""
    return str(Path("/proc/self/ns/pid").readlink())


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process, or only its zombie.

    Where other users' processes are hidden it is `_HIDDEN`.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _HIDDEN if _exists(pid) else None
    fields = text.rpartition(")")[2].split()  # the command, in brackets, may hold anything
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _exists(pid: int) -> bool:
    """Whether there is a process, also where ``/proc`` hides it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
