"""What `doctor` finds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from alkaflow.errors import AlkaflowError
from alkaflow.launchpad.redaction import redact

Verdict = Literal["ok", "warning", "problem", "mended"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    ``mend``, where it is safe to have one, puts things right and says in a sentence what it did.
    """

    what: str
    verdict: Verdict
    detail: str
    advice: str = ""
    mend: Callable[[], str] | None = None

    def as_dict(self) -> dict[str, str]:
        """Plain data."""
        return {
            "what": self.what,
            "verdict": self.verdict,
            "detail": redact(self.detail),
            "advice": redact(self.advice),
        }

    def mended(self) -> "Finding":
        """Put things right where that is possible; returns what became of it."""
        if self.mend is None or self.verdict in ("ok", "mended"):
            return self
        try:
            done = self.mend()
        except (AlkaflowError, OSError) as error:
            return replace(self, advice=f"it could not be mended: {error}", mend=None)
        return replace(self, verdict="mended", detail=f"{self.detail}: {done}", advice="", mend=None)


def guarded(what: str, look: Callable[[], str]) -> Finding:
    """Turn an error raised on purpose into a problem with its advice."""
    try:
        return Finding(what, "ok", look())
    except AlkaflowError as error:
        detail, _, advice = str(error).partition("; ")
        return Finding(what, "problem", detail, advice)


def shortened(names: "list[str]", most: int = 5) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
