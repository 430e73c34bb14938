"""Live progress on a terminal, plain lines elsewhere; both on standard error."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from alkaflow.launchpad.cli.output import duration
from alkaflow.launchpad.worker import Event

_LINE_EVERY = 20.0  # seconds between plain progress lines


class Display:
    """Shows which calculation runs, how far it is, its energy, time spent and time to go.

    Parameters
    ----------
    expected
        Estimated seconds of every calculation still to do, by id.
    total
        Number of calculations in all.
    """

    def __init__(self, expected: Mapping[str, float], total: int) -> None:
        self._expected = dict(expected)
        self._total = total
        self._done = total - len(expected)
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
            self._line(f"{self._count()} {event.title} ({event.calculation}): started, about {self._about(event)}")
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
        if event.kind == "completed":
            self._done += 1
            self._line(
                f"{self._count()} {event.title}: done in {duration(event.seconds)}, E = {event.message} Eh, "
                f"all in about {duration(sum(self._expected.values()))}"
            )
        else:
            how = "FAILED, " if event.kind == "failed" else ""
            self._line(f"{self._count()} {event.title} ({event.calculation}): {how}{event.message}")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _count(self) -> str:
        return f"[{self._done}/{self._total}, {duration(time.monotonic() - self._begin)}]"

    def _about(self, event: Event) -> str:
        return duration(self._expected.get(event.calculation, 0.0))

    def _left(self, event: Event) -> str:
        """Time to go, for this calculation and for all."""
        own = max(0.0, self._expected.get(event.calculation, 0.0) - event.seconds)
        others = sum(seconds for calculation, seconds in self._expected.items() if calculation != event.calculation)
        return f"about {duration(own)} left, {duration(own + others)} in all"


def _describe(event: Event) -> str:
    progress: Mapping[str, Any] = event.progress or {}
    if not progress:
        return "somebody else has it" if event.kind == "waiting" else "starting"
    who = "another worker is at " if event.kind == "waiting" else ""
    return (
        f"{who}{progress['stage']} {progress['step']}, E = {progress['energy_hartree']:.6f} Eh, "
        f"{duration(progress['elapsed'])}"
    )
