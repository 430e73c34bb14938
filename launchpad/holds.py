"""What a job folder holds in the database: claims that belong to a folder and not to a process.

A folder holds a calculation that is ready as a worker does: claimed, RUNNING, and launched in FireWorks' books. It also
holds what waits for nothing but such a calculation; that keeps its state, and nobody else can claim it. A process on
no host can be looked at for a folder, so its claims count until they expire.
"""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo import ReturnDocument

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.folder_files import Try
from alkaflow.launchpad.folders import JOB_PREFIX
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.queue import Claim, Holder, Queue
from alkaflow.launchpad.settling import Settling

_PACKING_SECONDS = 600.0  # after which the claims of a packing that was killed are free


@dataclass(frozen=True)
class Held:
    """A calculation that a folder holds, as its document is."""

    id: str
    title: str
    calculation: CalculationInput
    attempt: int
    deaths: tuple[str, ...]
    launch: int | None = None
    seconds: float | None = None


def folder_holder(folder: str, path: Path) -> Holder:
    """Who claims for a folder that is made by this process; its host is none that a process could be looked at on."""
    host = socket.gethostname()
    owner = Owner.this_process().model_dump() | {
        "host": f"{host}, for the job folder {path}", "folder": str(path), "made_on": host,
    }  # fmt: skip
    return Holder(folder, owner, JOB_PREFIX + folder)


class Holds:
    """The claims of one folder.

    Parameters
    ----------
    database
        Where they are.
    folder
        Its id.
    """

    def __init__(self, database: Database, folder: str) -> None:
        self.folder = folder
        self._db = database
        self._token = folder
        self._settling = Settling(database, Books(database))

    # --- taking -----------------------------------------------------------------------------------------------------

    def take(
        self,
        path: Path,
        only: Sequence[str] | None = None,
        number: int | None = None,
        watch: Callable[[int], None] = lambda _: None,
    ) -> list[Held]:
        """Claim what is ready, in the queue's order, and what waits for nothing else; parents come first.

        Until `keep_for` says for how long, the claims are good for some minutes.

        Parameters
        ----------
        path
            Of the folder.
        only
            Ids to choose from; what waits for them comes along nevertheless.
        number
            So many at most.
        watch
            Called with the number that was taken so far.
        """
        holder = folder_holder(self._token, path)
        queue = Queue(self._db, _PACKING_SECONDS, holder)
        taken: list[Held] = []
        renewed = time.monotonic()
        while number is None or len(taken) < number:
            claim = queue.claim(only)
            if claim is None:
                break
            taken.append(self._held(self._document(claim.id), claim.launch))
            line = [claim.id]
            for parent in line:  # grows while it is gone through
                for document in self._take_waiting(parent, holder, None if number is None else number - len(taken)):
                    taken.append(self._held(document))
                    line.append(document["_id"])
            if time.monotonic() - renewed > _PACKING_SECONDS / 10:
                renewed = time.monotonic()
                self.keep_for(_PACKING_SECONDS)
            watch(len(taken))
        return taken

    def _take_waiting(self, parent: str, holder: Holder, most: int | None) -> list[Document]:
        """Claim what waits for a calculation of the folder."""
        waiting = {"parent": parent, "state": "WAITING", "claim": None}
        names = [
            d["_id"] for d in self._db.calculations.find(waiting, {"_id": 1}).sort([("priority", -1), ("firework", 1)])
        ]
        taken = []
        for name in names[:most]:
            claim = {"claim": holder.claim(_in(_PACKING_SECONDS)), "progress": None}
            free = {"_id": name, "state": "WAITING", "claim": None}
            document = self._db.calculations.find_one_and_update(
                free, [{"$set": claim}], return_document=ReturnDocument.AFTER
            )
            if document is not None:
                taken.append(document)
        return taken

    def keep_for(self, seconds: float) -> datetime:
        """Let all claims of the folder expire after so long from now [s]; returns when, by the server's clock."""
        self._db.calculations.update_many(self._ours(), [{"$set": {"claim.expires": _in(seconds)}}])
        return self._db.server_time() + timedelta(seconds=seconds)

    # --- ending -----------------------------------------------------------------------------------------------------

    def claim_on(self, calculation: str, launch: int | None) -> Claim | None:
        """The folder's claim on a calculation; None where it is gone."""
        document = self._db.calculations.find_one(self._ours(calculation))
        if document is None:
            return None
        held = self._held(document, launch)
        return Claim(
            id=held.id,
            token=self._token,
            attempt=int(document["attempts"]),
            calculation=held.calculation,
            positions=(),
            title=held.title,
            launch=launch,
            deaths=held.deaths,
        )

    def note_tries(self, calculation: str, tries: Sequence[Try], attempt: int, directory: Callable[[Try], str]) -> None:
        """Log what became of tries in the folder; the same ones again change nothing.

        Parameters
        ----------
        calculation
            That the folder holds.
        tries
            Those that are logged here.
        attempt
            The number of the last one, whether it is among them or not.
        directory
            Where a try was.
        """
        document = self._db.calculations.find_one(self._ours(calculation), {"input": 0})
        if document is None:
            return
        for one in tries:
            numbered = document | {"attempts": one.attempt}
            self._settling.log(numbered, one.outcome, one.message, **details_of(one, directory))
        self._db.calculations.update_one(self._ours(calculation), {"$max": {"attempts": attempt}})

    def set_deaths(self, calculation: str, deaths: Sequence[str]) -> None:
        """Say which tries of a held calculation died."""
        self._db.calculations.update_one(self._ours(calculation), {"$set": {"deaths": list(deaths)}})

    def give_back(self, reason: str, calculation: str | None = None) -> list[str]:
        """Free what the folder holds, or one calculation of it; returns the ids that were freed."""
        freed = []
        for document in self._db.calculations.find(self._ours(calculation), {"input": 0}):
            name = document["_id"]
            if document["state"] != "RUNNING":
                free = {"$set": {"claim": None, "behind": True}}
                if not self._db.calculations.update_one(self._ours(name), free).matched_count:
                    continue
                self._settling.catch_up([document])
            elif self._settling.end_try(self._ours(name), document, "released", reason) is None:
                continue
            freed.append(name)
        return freed

    # --- documents --------------------------------------------------------------------------------------------------

    def _ours(self, calculation: str | None = None) -> Document:
        ours: Document = {"claim.job": JOB_PREFIX + self._token, "claim.token": self._token}
        return ours if calculation is None else {"_id": calculation, **ours}

    def _document(self, calculation: str) -> Document:
        found = self._db.calculations.find_one({"_id": calculation})
        if found is None:
            raise LookupError(calculation)
        return found

    def _held(self, document: Document, launch: int | None = None) -> Held:
        running = document["state"] == "RUNNING"
        return Held(
            id=document["_id"],
            title=document["title"],
            calculation=CalculationInput.model_validate(document["input"]),
            attempt=int(document["attempts"]) + (0 if running else 1),
            deaths=tuple(document["deaths"]),
            launch=launch,
            seconds=(document["cost"] or {}).get("seconds"),
        )


def details_of(one: Try, directory: Callable[[Try], str]) -> dict[str, Any]:
    """What the log of a try says beside its outcome."""
    return {"directory": directory(one), "host": one.host, "job": one.job, "peak_memory_mb": one.peak_memory_mb}


def _in(seconds: float) -> Document:
    """Server time plus seconds, for an update pipeline."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}
