"""Work divided among threads that have one BLAS and one OpenMP thread each. Imported only by the process that computes.

NumPy's BLAS, PySCF's own BLAS and its OpenMP loops keep threads of their own, which wait for work by spinning: taking
turns on small blocks they hold each other up. One thread for a whole block has nobody to wait for, and what comes
between, on matrices of a few hundred rows, is fastest with one as well.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from pyscf import lib
from threadpoolctl import ThreadpoolController

Part = TypeVar("Part")

_SMALL = 500  # functions; products and eigenvectors of smaller matrices are slower on two threads that also spin


@cache
def _libraries() -> ThreadpoolController:
    """The BLAS libraries of this process, looked for once, which takes 3 ms."""
    return ThreadpoolController()


def in_own_threads(share: Callable[[int, int], Part]) -> list[Part]:
    """What ``share(worker, workers)`` returns for every worker, from 0; as many as PySCF has threads here."""
    workers = lib.num_threads()

    def alone(worker: int) -> Part:
        lib.num_threads(1)  # of this thread alone
        return share(worker, workers)

    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(alone, range(workers)))


@contextmanager
def alone_where_small(functions: int) -> Iterator[None]:
    """One BLAS thread for the algebra between such loops, where it is on small matrices; loops keep their workers.

    Parameters
    ----------
    functions
        Of the basis.
    """
    with _libraries().limit(limits=1 if functions < _SMALL else None, user_api="blas"):
        yield


def handed_out(items: Iterable[Part]) -> Iterator[Part]:
    """Items for several threads, each to whichever asks next: for results that no order of sums can change."""
    lock, source = Lock(), iter(items)

    class Counter:
        def __iter__(self) -> Iterator[Part]:
            return self

        def __next__(self) -> Part:
            with lock:
                return next(source)

    return Counter()
