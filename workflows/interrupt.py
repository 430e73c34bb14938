"""How the process that computes is asked to stop: SIGUSR1, obeyed at the next safe point. Imports little.

A safe point is where nothing is lost: after a cycle of an SCF, which is saved then, after a gradient, between the
starts of a search of states. Only the main thread hears signals.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1

_state = {"requested": False, "at once": False}


class Interrupted(BaseException):
    """The process was asked to stop and has reached a safe point; no error, as KeyboardInterrupt is none."""


def install() -> None:
    """From now on SIGUSR1 asks this process to stop; one that was blocked until now counts."""
    _state.update({"requested": False, "at once": False})
    signal.signal(signal.SIGUSR1, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _state["requested"]


def check() -> None:
    """Raise `Interrupted` where this process was asked to stop; to be called where nothing is lost."""
    if _state["requested"]:
        raise Interrupted


@contextmanager
def at_once() -> Iterator[None]:
    """Stop without delay inside, for long work of which nothing can be saved."""
    _state["at once"] = True
    try:
        check()
        yield
    finally:
        _state["at once"] = False


def _note(number: int, frame: FrameType | None) -> None:
    del number, frame
    _state["requested"] = True
    if _state["at once"]:
        _state["at once"] = False
        raise Interrupted


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with its worker, so that a killed worker leaves nothing running.

    Parameters
    ----------
    parent
        The worker's process id; where it is gone already, this process ends.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
