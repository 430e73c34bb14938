"""What can be asked of the database: typed filters, each checked before it comes near a query.

A value is a name, a number or a time; it is compared for equality or order, and no part of it is ever taken for an
operator or a pattern.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args

from alkaflow.calculations import Step
from alkaflow.elements import SYMBOLS, atomic_number
from alkaflow.errors import BadInputError, Outcome, UnknownNameError
from alkaflow.levels import parse_level
from alkaflow.records import formula_of

STATES = ("WAITING", "READY", "RUNNING", "COMPLETED", "FIZZLED", "PAUSED", "DEFUSED")
STEPS: tuple[str, ...] = get_args(Step)
OUTCOMES: tuple[str, ...] = ("converged", *get_args(Outcome))
SORTS = ("submitted", "energy", "finished", "formula", "level", "step", "state")
LARGEST_NUMBER = 10_000

_SPAN = re.compile(r"(\d{1,6})\s*(min|h|d|w)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_TIMES = "an ISO date or time, such as 2026-11-01 or 2026-11-01T08:30, or a span back from now: 30min, 12h, 2d, 1w"
_ATOMS = re.compile(r"([A-Z][a-z]?)(\d{0,4})")


@dataclass(frozen=True)
class Filters:
    """What was asked for; None asks for nothing. Times are points in time, sites in lower case."""

    guest: str | None = None
    site: str | None = None
    host: str | None = None
    study: str | None = None
    level: str | None = None
    step: str | None = None
    state: str | None = None
    outcome: str | None = None
    formula: str | None = None
    element: str | None = None
    charge: int | None = None
    multiplicity: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    sort: str = "submitted"
    reverse: bool = False
    limit: int | None = None
    page: int = 1

    @property
    def asks_for_places(self) -> bool:
        """Whether it asks for a guest, a site or a host."""
        return any(name is not None for name in (self.guest, self.site, self.host))


def checked(name: str, value: Any) -> Any:
    """The value of a filter as it is kept.

    Raises
    ------
    BadInputError
        It is not of the kind that the filter takes, or no such name, form or number; says which there are.
    """
    return _CHECKS[name](name, value)


SUBMIT_AGAIN = (
    "a study that was submitted before plans were kept is known after: alkaflow submit STUDY, "
    "which computes nothing twice"
)


def known_name(what: str, name: str, known: Iterable[str], hint: str = "") -> str:
    """The one of some known names that is meant, whatever its capitals; raises UnknownNameError for another."""
    options = list(known)
    if name in options:
        return name
    near = [option for option in options if option.lower() == name.lower()]
    if len(near) == 1:
        return near[0]
    raise UnknownNameError(what, name, options, hint=hint)


def parse_time(name: str, text: str, now: datetime | None = None, end_of_day: bool = False) -> datetime:
    """Read a date, a time or a span; without a time zone it is that of this machine.

    Parameters
    ----------
    name
        Of the option, for messages.
    text
        ``2026-11-01``, ``2026-11-01T08:30``, ``2d``.
    now
        What spans count back from.
    end_of_day
        Whether a date stands for its end instead of its beginning.

    Raises
    ------
    BadInputError
        It is none of these.
    """
    stripped = text.strip()
    try:
        if span := _SPAN.fullmatch(stripped):
            return (now or datetime.now(UTC)) - int(span[1]) * _UNITS[span[2]]
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", stripped):
            day = date.fromisoformat(stripped)
            return datetime.combine(day, time.max if end_of_day else time.min).astimezone(UTC)
        if re.match(r"\d{4}-\d{2}-\d{2}[T ]", stripped):
            return datetime.fromisoformat(stripped).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise BadInputError(f"{name} {text!r} is not {_TIMES}")


def elements_of(formula: str) -> set[str]:
    """Symbols in a formula."""
    return {symbol for symbol, _ in _ATOMS.findall(formula)}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadInputError(f"{name} is a text, not a {type(value).__name__}")
    if not value.strip() or len(value) > 200:
        raise BadInputError(f"{name} {'is empty' if not value.strip() else 'has more than 200 characters'}")
    return value.strip()


def _one_of(options: tuple[str, ...], fold: Callable[[str], str]) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        given = _text(name, value)
        if fold(given) not in options:
            raise UnknownNameError(name, given, options)
        return fold(given)

    return check


def _level(name: str, value: Any) -> str:
    return str(parse_level(_text(name, value)))


def _formula(name: str, value: Any) -> str:
    """In the order in which formulas are kept."""
    given = _text(name, value)
    found = _ATOMS.findall(given)
    if "".join(symbol + number for symbol, number in found) != given:
        raise BadInputError(f"{name} {given!r} is not of the form C18LiN12")
    symbols: list[str] = []
    for symbol, number in found:
        atomic_number(symbol)
        symbols += [symbol] * (int(number) if number else 1)
    return formula_of(symbols)


def _element(name: str, value: Any) -> str:
    given = _text(name, value)
    if given.capitalize() not in SYMBOLS:
        raise UnknownNameError(name, given, SYMBOLS)
    return given.capitalize()


def _whole(least: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadInputError(f"{name} is a whole number, not a {type(value).__name__}")
        if not least <= value <= LARGEST_NUMBER:
            raise BadInputError(f"{name} {value} is not between {least} and {LARGEST_NUMBER}")
        return value

    return check


def _yes_or_no(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInputError(f"{name} is True or False, not a {type(value).__name__}")
    return value


def _page(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
        raise BadInputError(f"{name} {value!r} is not a whole number from 1")
    return value


def _time(name: str, value: Any) -> datetime:
    if isinstance(value, timedelta):
        return datetime.now(UTC) - value
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, date):
        value = value.isoformat()
    return parse_time(name, _text(name, value), end_of_day=name == "until")


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "guest": _text,
    "site": lambda name, value: _text(name, value).lower(),
    "host": _text,
    "study": _text,
    "level": _level,
    "step": _one_of(STEPS, str.lower),
    "state": _one_of(STATES, str.upper),
    "outcome": _one_of(OUTCOMES, str.lower),
    "formula": _formula,
    "element": _element,
    "charge": _whole(-LARGEST_NUMBER),
    "multiplicity": _whole(1),
    "since": _time,
    "until": _time,
    "sort": _one_of(SORTS, str.lower),
    "reverse": _yes_or_no,
    "limit": _page,
    "page": _page,
}
