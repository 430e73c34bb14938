"""What becomes of a calculation whose try died: another one, or the end of it."""

from collections.abc import Sequence

from alkaflow.errors import Outcome, known_outcome

MOST_DEATHS = 3
"""After so many tries that died, a calculation is left alone and the queue goes on."""

_MOST_FOR_MEMORY = 2  # one more try, planned with less memory
_LESS_MEMORY = 0.6
_FAILURES: dict[str, Outcome] = {
    "walltime": "out_of_time",
    "failed": "engine_crashed",
    "unknown to the scheduler": "worker_lost",
}
TOO_SLOW = "give it a longer walltime, more cores or a smaller basis"
"""What helps a calculation of which one step needs longer than a job has."""

_WITHOUT_PROGRESS = frozenset({"walltime", "out_of_time", "unknown to the scheduler"})
_OF_THE_CALCULATION = frozenset({"engine_crashed", "out_of_memory", "disk_full", "worker_lost", "failed"})


def counts_as_death(outcome: str, moved_on: bool) -> bool:
    """Whether the end of a try speaks against the calculation itself.

    Parameters
    ----------
    outcome
        How the try ended. What happens to nodes and jobs (failure, preemption, cancellation) does not count.
    moved_on
        Whether the try got further than those before it; out of time without that counts, as it would go on for ever.
    """
    return outcome in _OF_THE_CALCULATION or (outcome in _WITHOUT_PROGRESS and not moved_on)


def still_counting(deaths: Sequence[str]) -> list[str]:
    """Deaths that count after a try that brought the calculation further: not those for lack of time."""
    return [death for death in deaths if death not in _WITHOUT_PROGRESS]


def may_try_again(deaths: Sequence[str]) -> bool:
    """Whether a calculation whose tries died of these outcomes gets another one."""
    return len(deaths) < MOST_DEATHS and deaths.count("out_of_memory") < _MOST_FOR_MEMORY


def memory_to_plan_with(usable_mb: int, deaths: Sequence[str]) -> int:
    """Memory for the next try [MB]: less than there is after one died for lack of it."""
    return int(_LESS_MEMORY * usable_mb) if "out_of_memory" in deaths else usable_mb


def failure_outcome(outcome: str) -> Outcome:
    """The outcome of a calculation whose last try ended so, in the scheduler's words or ours."""
    return _FAILURES.get(outcome) or known_outcome(outcome)
