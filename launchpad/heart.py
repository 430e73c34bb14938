"""Signs of life: a thread renews a claim while its worker waits for the computation."""

import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from pymongo.errors import PyMongoError

from alkaflow.launchpad.owner import beat_seconds
from alkaflow.launchpad.queue import Claim, Queue


class Heart:
    """Renews a claim, and passes on progress, until it is left or the claim is lost.

    An outage of the database stops nothing: the next beat is tried as usual, and a claim that nobody took meanwhile is
    good again.

    Attributes
    ----------
    progress
        Passed on with the next beat.
    lost
        Whether the claim is somebody else's, or nobody's, by now.
    """

    def __init__(
        self, queue: Queue, claim: Claim, lease_seconds: float, keep_alive: Callable[[], None] | None = None
    ) -> None:
        self.progress: dict[str, Any] | None = None
        self.lost = False
        self._queue, self._claim, self._keep_alive = queue, claim, keep_alive
        self._seconds = beat_seconds(lease_seconds)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heart of {claim.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(self._seconds * random.uniform(0.9, 1.1)):  # noqa: S311  (so that not all beat at once)
            try:
                if not self._queue.heartbeat(self._claim, self.progress):
                    self.lost = not self._over.is_set()
                    return
                if self._keep_alive is not None:
                    self._keep_alive()
            except PyMongoError:
                continue
