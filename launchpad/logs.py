"""Where the output of a calculation is."""

from pathlib import Path

from alkaflow.errors import BadInputError
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.outbox import attempts_root
from alkaflow.settings import Settings

LOG_FILE = "output.log"


def find_log(database: Database, settings: Settings, document: Document, attempt: int | None = None) -> Path:
    """Return the log of an attempt on this host, the last one by default.

    Raises
    ------
    BadInputError
        There is none here; says on which host and where it was.
    """
    name = document["_id"]
    found: list[Path] = sorted((attempts_root(settings) / name).glob(f"*/{LOG_FILE}"))
    if attempt is not None:
        found = [path for path in found if path.parent.name.startswith(f"{attempt:03d}-")]
    if found:
        return found[-1]
    which = f"attempt {attempt} of {name}" if attempt else name
    entries = database.attempts.find({"calculation": name, "directory": {"$ne": None}}).sort("_id", -1)
    elsewhere = next((d for d in entries if attempt in (None, d["attempt"])), None)
    if elsewhere is None:
        raise BadInputError(f"{which} ({document['title']}, {document['state']}) has left no log here")
    if elsewhere["outcome"] == "converged":
        raise BadInputError(
            f"{which} ended well on {elsewhere['host']}, and its log is kept only where it says something"
        )
    raise BadInputError(f"{which} has left no log here; it ran on {elsewhere['host']}, in {elsewhere['directory']}")
