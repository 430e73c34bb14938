"""Threads with one BLAS and one OpenMP thread each: all that is to be done is done once, and settings come back."""

import time
from itertools import chain

import pytest
from pyscf import lib
from threadpoolctl import threadpool_info, threadpool_limits

from alkaflow.workflows.own_threads import alone_where_small, handed_out, in_own_threads


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_worker_answers_with_one_thread_of_everything(threads: int) -> None:
    before = blas_threads()
    with lib.with_omp_threads(threads):
        found = in_own_threads(lambda worker, workers: (worker, workers, lib.num_threads(), blas_threads()))
        assert lib.num_threads() == threads
    assert found == [(k, threads, 1, {1}) for k in range(threads)]
    assert blas_threads() == before


@pytest.mark.parametrize(("functions", "alone"), [(100, True), (2000, False)])
def test_small_matrices_have_one_blas_thread_and_loops_keep_their_workers(functions: int, alone: bool) -> None:
    with threadpool_limits(2, user_api="blas"), lib.with_omp_threads(2):
        before = blas_threads()
        assert 2 in before
        with alone_where_small(functions):
            assert blas_threads() == ({1} if alone else before)
            assert in_own_threads(lambda worker, workers: (worker, workers)) == [(0, 2), (1, 2)]
            assert blas_threads() == ({1} if alone else before)
        assert blas_threads() == before


def test_items_are_handed_out_once() -> None:
    items = handed_out(k**2 for k in range(50))

    def take(*_: int) -> list[int]:
        taken = []
        for item in items:
            taken.append(item)
            time.sleep(1e-3)
        return taken

    with lib.with_omp_threads(3):
        parts = in_own_threads(take)
    assert sorted(chain.from_iterable(parts)) == [k**2 for k in range(50)]


def test_an_error_of_a_worker_is_not_lost() -> None:
    def fail(worker: int, _: int) -> int:
        if worker:
            raise ValueError("worker 1")
        return worker

    with lib.with_omp_threads(2), pytest.raises(ValueError, match="worker 1"):
        in_own_threads(fail)
