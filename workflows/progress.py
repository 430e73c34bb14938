"""What a running calculation reports: a small file that is replaced whole."""

import json
import time
from pathlib import Path
from typing import Any

PROGRESS_FILE = "progress.json"


class Progress:
    """Writes the state of a calculation for whoever watches it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PROGRESS_FILE
        self._begin = time.monotonic()

    def report(self, stage: str, step: int, energy_hartree: float, **details: float) -> None:
        """Say that ``stage`` ("SCF cycle", "relaxation step") has reached ``step`` with an energy [Hartree]."""
        content = {
            "stage": stage,
            "step": step,
            "energy_hartree": energy_hartree,
            "elapsed": round(time.monotonic() - self._begin, 2),
            **details,
        }
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self._path)


def read_progress(directory: Path) -> dict[str, Any] | None:
    """Return the last report in a working directory, or None."""
    try:
        content = json.loads((directory / PROGRESS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
