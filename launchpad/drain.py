"""The wish that a worker stops, said by a signal."""

import time

_POLL_SECONDS = 0.1


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
