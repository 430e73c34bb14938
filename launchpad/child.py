"""The computing process as its supervisor sees it: started, watched, interrupted, ended."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_INTERRUPTED_SECONDS = 4.0  # for a checkpoint, when the worker itself has to go


@dataclass(frozen=True)
class Engine:
    """The module that computes, run as ``python -P -m MODULE DIRECTORY PID ARGUMENTS``."""

    module: str = "alkaflow.workflows.child"
    arguments: tuple[str, ...] = ()


class Child:
    """A computing process.

    Parameters
    ----------
    engine
        What computes.
    directory
        Of the attempt; the process runs there.
    log
        Its output.
    environment
        All of it.
    """

    def __init__(self, engine: Engine, directory: Path, log: Path, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-P", "-m", engine.module, str(directory), str(os.getpid()), *engine.arguments]
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                umask=0o077,
            )
        self.peak_memory_mb = 0.0
        self._handle = _handle_of(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def code(self) -> int:
        """Exit code, or minus the signal; of an ended process."""
        return int(self._process.returncode)

    def ended(self, seconds: float) -> bool:
        """Wait for its end, for so long at most; notes the memory that it has used."""
        self._note_memory()
        if self._process.poll() is not None:
            return True
        if self._handle is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        else:
            select.select([self._handle], [], [], seconds)
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Ask it to save what it has and stop."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)

    def end(self) -> None:
        """Make sure that it is gone; it may save first, for a few seconds."""
        self.interrupt()
        if not self.ended(_INTERRUPTED_SECONDS):
            self._process.kill()
            self._process.wait()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _note_memory(self) -> None:
        """Largest memory so far; the kernel forgets it with the process."""
        with suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
            peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), "")
            self.peak_memory_mb = max(self.peak_memory_mb, int(peak.split()[1]) * 1.024e-3)


def _handle_of(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None where the kernel has none to give."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
