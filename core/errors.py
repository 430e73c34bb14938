"""Every error that alkaflow raises on purpose.

AlkaflowError
├── BadInputError          what the user gave cannot be used (exit code 2)
│   ├── ParseError         a file breaks its format; names file and line
│   └── UnknownNameError   a name nobody knows; suggests the nearest
├── MismatchError          records that must not be subtracted from each other
├── ServiceError           mongod, a lock or the disk is not as needed (exit code 3)
└── CalculationError       a calculation ended without a result; carries its outcome
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

Outcome = Literal[
    "scf_not_converged",
    "scf_unstable",
    "relaxation_not_converged",
    "dissociated",
    "reacted",
    "out_of_memory",
    "out_of_time",
    "disk_full",
    "bad_input",
    "engine_crashed",
    "worker_lost",
]
"""How a calculation ends without a result. One that ends with a result is ``converged``."""

ADVICE: dict[Outcome, str] = {
    "scf_not_converged": "check charge and multiplicity, begin from a better geometry, or take a smaller basis first",
    "scf_unstable": "try another multiplicity, a relaxation that searches the states first, or the last geometry",
    "relaxation_not_converged": "look at the last geometry (alkaflow results geometry ID), and begin again from it",
    "dissociated": "it does not bind from this start; begin nearer, at another site or with another charge",
    "reacted": "look at the last geometry (alkaflow results geometry ID): bonds changed, so it is another compound",
    "out_of_memory": "give it more memory (memory_mb, or the scheduler's limit), or take a smaller basis",
    "out_of_time": "run the same command again: it continues from its checkpoint; or raise time_limit",
    "disk_full": "free space where data_dir is, then run the same command again",
    "bad_input": "correct what the message names",
    "engine_crashed": "read the log that the message names; run the same command again once, then report it",
    "worker_lost": "look at the log (alkaflow logs ID) and at the node it ran on; then: alkaflow retry ID",
}
"""What to do next, by outcome."""


class AlkaflowError(Exception):
    """Base of all errors raised on purpose; its text is one sentence for the user."""

    exit_code = 1


class BadInputError(AlkaflowError):
    """What the user gave cannot be used; nothing was written."""

    exit_code = 2


class ParseError(BadInputError):
    """A file breaks its format. The message begins with ``file:line``."""

    def __init__(self, path: Path | str, line: int | None, message: str) -> None:
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"{where}: {message}")
        self.path = Path(path)
        self.line = line


class UnknownNameError(BadInputError):
    """A name that nobody knows, with the nearest known ones."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        options = sorted(set(known))
        lowered = {option.lower(): option for option in options}
        near = [lowered[match] for match in get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
        if near:
            advice = f"did you mean {' or '.join(repr(n) for n in near)}?"
        elif options:
            advice = f"known: {', '.join(options[:20])}{', ...' if len(options) > 20 else ''}"
        else:
            advice = "there are none"
        joint = " " if advice.endswith("?") or hint.startswith("(") else "; "
        super().__init__(f"unknown {what} {name!r}; {advice}" + (f"{joint}{hint}" if hint else ""))


class MismatchError(AlkaflowError):
    """Records that must not be subtracted from each other, with the reason."""


class ServiceError(AlkaflowError):
    """A service (mongod, a lock, the disk) is not as needed; the message says what to do."""

    exit_code = 3


class CalculationError(AlkaflowError):
    """A calculation ended without a result.

    Parameters
    ----------
    outcome
        One of `Outcome`.
    message
        The sentence a user needs.

    Raises
    ------
    ValueError
        There is no such outcome.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = known_outcome(outcome)

    @property
    def advice(self) -> str:
        """What to do next."""
        return ADVICE[self.outcome]


def known_outcome(name: str) -> Outcome:
    """Return an outcome by its name; ValueError where there is none."""
    for outcome in get_args(Outcome):
        if outcome == name:
            return outcome  # type: ignore[no-any-return]
    raise ValueError(f"{name!r} is no outcome; there are {', '.join(get_args(Outcome))}")
