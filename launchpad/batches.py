"""Sending many documents: in pieces, a few of them at a time."""

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

_BATCH = 500
_SENDERS = 3  # the server writes some pieces while the next is made


def pieces(items: Sequence[Item], size: int = _BATCH) -> Iterator[Sequence[Item]]:
    """Parts of a sequence that are sent together."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def in_parallel(send: Callable[[Sequence[Item]], None], items: Sequence[Item], refresh: Callable[[], None]) -> None:
    """Send pieces of something side by side, and call ``refresh`` after each; raises what a sender raises."""
    if not items:
        return
    if len(items) <= _BATCH:
        send(items)
        refresh()
        return
    with _without_collector(), ThreadPoolExecutor(_SENDERS) as pool:
        for _ in pool.map(send, pieces(items)):
            refresh()


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let Python not look for cycles meanwhile: documents hold none, and it would look through all of a plan for each.

    What they take is given back all the same, as soon as nothing refers to them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
