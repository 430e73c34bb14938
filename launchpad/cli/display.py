"""Live progress on a terminal, plain lines elsewhere; both on standard error."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pymongo.errors import PyMongoError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from alkaflow.launchpad.cli.output import duration
from alkaflow.launchpad.worker import Event

_LINE_EVERY = 20.0  # seconds between plain progress lines
_ASK_EVERY = 2.0  # seconds between two counts


class Display:
    """Shows which calculation runs, how far it is, its energy, time spent and time to go.

    Parameters
    ----------
    expected
        Estimated seconds of every calculation still to do, by id.
    total
        Number of calculations in all.
    count
        Says how many have ended and how many there are in all, as others may work on them too; without it, those that
        ended here are counted.
    alone
        Whether nobody else is known to share the work, so that a time can be given for all of it.
    """

    def __init__(
        self,
        expected: Mapping[str, float],
        total: int,
        count: Callable[[], tuple[int, int]] | None = None,
        alone: bool = True,
    ) -> None:
        self._alone = alone
        self._expected = dict(expected)
        self._total = total
        self._done = total - len(expected)
        self._ask = count
        self._asked = -_ASK_EVERY
        self._begin = time.monotonic()
        self._last_line = 0.0
        self._console = Console(stderr=True, highlight=False)
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=True) if self._console.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show an event of the worker."""
        if event.kind == "started":
            about = f", about {self._about(event)}" if self._expected.get(event.calculation) else ""
            self._line(f"{self._count()} {event.title} ({event.calculation}): started{about}")
            self._last_line = time.monotonic()
        elif event.kind in ("progress", "waiting"):
            if event.message:
                self._line(f"{self._count()} {event.message}")
            self._progress(event)
        else:
            self._end(event)

    def _progress(self, event: Event) -> None:
        text = f"{self._count()} {event.title}: {_describe(event)}, {self._left(event)}"
        if self._live is not None:
            self._live.update(Text(text, overflow="ellipsis", no_wrap=True))
        elif time.monotonic() - self._last_line > _LINE_EVERY:
            self._last_line = time.monotonic()
            self._line(text)

    def _end(self, event: Event) -> None:
        self._expected.pop(event.calculation, None)
        self._asked = -_ASK_EVERY
        if event.kind == "completed":
            self._done += 1
            done = f"done in {duration(event.seconds)}, E = {event.message} Eh{self._rest()}"
            self._line(f"{self._count()} {event.title}: {done}")
        else:
            how = "FAILED, " if event.kind == "failed" else ""
            self._line(f"{self._count()} {event.title} ({event.calculation}): {how}{event.message}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _count(self) -> str:
        if self._ask is not None and time.monotonic() - self._asked > _ASK_EVERY:
            self._asked = time.monotonic()
            with suppress(PyMongoError):  # the last count stays
                self._done, self._total = self._ask()
        self._total = max(self._total, self._done)
        return f"[{self._done}/{self._total}, {duration(time.monotonic() - self._begin)}]"

    def _rest(self) -> str:
        """Time for what is left; nothing where others share the work, or nothing is left."""
        rest = sum(self._expected.values())
        return f", all in about {duration(rest)}" if rest and self._alone else ""

    def _about(self, event: Event) -> str:
        return duration(self._expected.get(event.calculation, 0.0))

    def _left(self, event: Event) -> str:
        """Time to go, for this calculation and for all."""
        expected = self._expected.get(event.calculation, 0.0)
        own = max(0.0, expected - event.seconds)
        if 0.0 < expected < event.seconds:
            return f"longer than the {duration(expected)} expected"
        others = sum(seconds for calculation, seconds in self._expected.items() if calculation != event.calculation)
        return f"about {duration(own)} left" + (f", {duration(own + others)} in all" if self._alone else "")


def _describe(event: Event) -> str:
    progress: Mapping[str, Any] = event.progress or {}
    if not progress:
        return "somebody else has it" if event.kind == "waiting" else "starting"
    who = "another worker is at " if event.kind == "waiting" else ""
    return (
        f"{who}{progress['stage']} {progress['step']}, E = {progress['energy_hartree']:.6f} Eh, "
        f"{duration(progress['elapsed'])}"
    )
