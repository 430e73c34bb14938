"""The wish that a worker stops, said by a signal."""

import time

from alkaflow.errors import AlkaflowError

_POLL_SECONDS = 0.1


class Terminated(BaseException):
    """SIGTERM, as an exception, so that claims are given back on the way out."""


def in_words(error: BaseException, job: str | None = None) -> str:
    """Say for people why a worker gave up what it computed, alone or as a job of a scheduler."""
    if isinstance(error, KeyboardInterrupt):
        return "the worker was told to stop by Ctrl-C (SIGINT)"
    if isinstance(error, Terminated):
        told = "the worker was told to stop by SIGTERM"
        return f"{told}: its job {job} was cancelled, or its time was up" if job else told
    if isinstance(error, AlkaflowError):
        return f"the worker could not go on: {error}"
    return f"the worker ended by a fault: {type(error).__name__}: {error}"


class Drain:
    """Set by a signal handler, asked by everybody else.

    Unlike a `threading.Event` it has no lock, for which a handler would wait for ever where it interrupts the holder.
    """

    def __init__(self) -> None:
        self._wanted = False

    def set(self) -> None:
        """Say that the worker should stop."""
        self._wanted = True

    def is_set(self) -> bool:
        """Whether it should."""
        return self._wanted

    def wait(self, seconds: float) -> bool:
        """Wait for it, for so long at most; whether it should stop."""
        until = time.monotonic() + seconds
        while not self._wanted and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_SECONDS))
        return self._wanted
