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

_WITHOUT_PROGRESS = frozenset({"walltime", "out_of_time", "unknown to the scheduler", "worker_lost"})
_OF_THE_CALCULATION = frozenset({"engine_crashed", "out_of_memory", "disk_full", "failed"})


def deaths_after(deaths: Sequence[str], outcome: str, moved_on: bool) -> list[str]:
    """Deaths that count after another try without a result.

    One that died where those before it had died counts. One that got further does not, and forgives what was lost
    before for lack of time, or with its worker; of those for lack of memory one is kept, as less is planned with then.

    Parameters
    ----------
    deaths
        That counted so far.
    outcome
        How the try ended. What happens to nodes and jobs (failure, preemption, cancellation) does not count.
    moved_on
        Whether the calculation was further after it than ever before.
    """
    if not moved_on:
        return [*deaths, outcome] if outcome in _OF_THE_CALCULATION | _WITHOUT_PROGRESS else list(deaths)
    left = [death for death in deaths if death not in _WITHOUT_PROGRESS]
    return [*left, outcome] if outcome == "out_of_memory" and outcome not in left else left


def trusts_reports(outcome: str) -> bool:
    """Whether a report, where no checkpoint can be seen, shows that a try got further: not where it crashed itself."""
    return outcome not in _OF_THE_CALCULATION | {"worker_lost"}


def may_try_again(deaths: Sequence[str]) -> bool:
    """Whether a calculation whose tries died of these outcomes gets another one."""
    return len(deaths) < MOST_DEATHS and deaths.count("out_of_memory") < _MOST_FOR_MEMORY


def memory_to_plan_with(usable_mb: int, deaths: Sequence[str]) -> int:
    """Memory for the next try [MB]: less than there is after one died for lack of it."""
    return int(_LESS_MEMORY * usable_mb) if "out_of_memory" in deaths else usable_mb


def failure_outcome(outcome: str) -> Outcome:
    """The outcome of a calculation whose last try ended so, in the scheduler's words or ours."""
    return _FAILURES.get(outcome) or known_outcome(outcome)
