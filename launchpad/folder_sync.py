"""Delivering what a job folder has come to; again and again, as often as wanted."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from alkaflow.calculations import CalculationInput
from alkaflow.errors import MismatchError
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.folder_files import Try
from alkaflow.launchpad.folders import JobFolder, attempt_of
from alkaflow.launchpad.holds import Holds, details_of
from alkaflow.launchpad.outbox import DamagedError, Entry, Synced, deliver, offer
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.retries import failure_outcome, may_try_again
from alkaflow.workflows.archive import what_differs


def deliver_folder(
    database: Database,
    queue: Queue,
    folder: JobFolder,
    synced: Synced,
    watch: Callable[[Path], None] = lambda _: None,
) -> None:
    """Give the database what a job folder has, parents before children; a second time it changes nothing.

    A result is delivered by the claim of the folder. Where that is gone, it is delivered if nobody else has or computes
    the calculation, and kept otherwise; ``synced`` says which. Nothing is removed from the folder.

    Parameters
    ----------
    database, queue
        Where to.
    folder
        From where.
    synced
        Gets what was delivered, kept and damaged.
    watch
        Called with every directory that is looked at.
    """
    delivery = _Delivery(database, queue, folder, synced)
    for name in folder.items:
        watch(folder.path / "attempts" / name)
        try:
            delivery.one(name)
        except DamagedError as error:
            synced.damaged[str(folder.path / "attempts" / name)] = str(error)
            folder.quarantine(name)
    synced.folders[str(folder.path)] = state_of(folder)


def state_of(folder: JobFolder) -> str:
    """One sentence on how much of a folder is settled."""
    settled, total = folder.settled(), len(folder.items)
    if len(settled) == total:
        counts = Counter(settled.values())
        how = ", ".join(
            f"{counts[key]} {key}" for key in ("delivered", "failed", "given back", "superseded") if counts[key]
        )
        return f"everything is settled ({how}); the folder can be removed"
    left = total - len(settled)
    return f"{left} of {total} calculations are left; compute them with: alkaflow cluster compute {folder.path}"


class _Delivery:
    def __init__(self, database: Database, queue: Queue, folder: JobFolder, synced: Synced) -> None:
        self._database = database
        self._queue = queue
        self._folder = folder
        self._synced = synced
        self._holds = Holds(database, folder.contents.id)

    def one(self, name: str) -> None:
        """Deliver a calculation where it has ended."""
        entry = self._folder.result(name)
        if entry is not None:
            if self._result(name, entry):
                self._folder.settle({name: "delivered"})
                return
        elif name in self._folder.settled():
            return
        elif self._failure(name):
            self._folder.settle({name: "failed"})
            return
        elif self._folder.settled().get(str(self._folder.items[name].parent)) in ("failed", "given back"):
            self._holds.give_back("what it needs failed in its job folder", name)
            self._folder.settle({name: "given back"})
            return
        else:
            self._folder.check_inputs(name)
        if self._database.has_record(name):
            self._folder.settle({name: "superseded"})

    # --- results ----------------------------------------------------------------------------------------------------

    def _result(self, name: str, entry: Entry) -> bool:
        """Deliver a result; whether the database has it now."""
        if not self._belongs(name, entry):
            return False
        claim = self._holds.claim_on(name, self._folder.items[name].launch)
        if claim is None:
            return offer(self._database, self._queue, entry, self._synced)
        tries, attempt = self._folder.tries(name), attempt_of(entry.directory)
        self._holds.note_tries(name, [one for one in tries if one.attempt < attempt], attempt, self._directory)
        details = next((details_of(one, self._directory) for one in tries if one.attempt == attempt), {})
        details.pop("directory", None)
        try:
            if not deliver(self._database, self._queue, claim, entry, **details):
                return offer(self._database, self._queue, entry, self._synced)  # lost this moment
        except MismatchError as error:
            self._synced.kept[str(entry.directory)] = str(error)
            return False
        self._synced.delivered.append(name)
        return True

    def _belongs(self, name: str, entry: Entry) -> bool:
        """Whether a result is one of the calculation that the database knows by its id; says why not."""
        document = self._database.calculations.find_one({"_id": name}, {"input": 1})
        if document is None:
            self._synced.kept[str(entry.directory)] = f"the database does not know {name}"
            return False
        given, parent = CalculationInput.model_validate(document["input"]), None
        if given.parent is not None:
            parent = self._database.record(given.parent)
            if parent is None:
                self._synced.kept[str(entry.directory)] = f"the result of {given.parent}, its parent, is not there yet"
                return False
        wrong = what_differs(entry.record, given, parent)
        if wrong is not None:
            self._synced.kept[str(entry.directory)] = f"it is no result of {name}: its {wrong} is another one"
        return wrong is None

    # --- failures ---------------------------------------------------------------------------------------------------

    def _failure(self, name: str) -> bool:
        """Deliver how a calculation failed for good; whether it did, and the database has it now."""
        tries = self._folder.tries(name)
        deaths = self._folder.deaths(name, tries)
        if not has_failed(tries, deaths):
            return False
        last = tries[-1]
        claim = self._holds.claim_on(name, self._folder.items[name].launch)
        if claim is None:
            where = str(self._folder.path / "attempts" / name / last.directory)
            self._synced.kept[where] = f"{name} ended as {last.outcome}, and is no longer held by this folder"
            return False
        self._holds.note_tries(name, tries[:-1], last.attempt, self._directory)
        died = last.kind == "died"
        self._holds.set_deaths(name, deaths[:-1] if died else deaths)
        claim = self._holds.claim_on(name, claim.launch) or claim
        outcome = last.outcome if died else failure_outcome(last.outcome)
        details = details_of(last, self._directory)
        where = str(details.pop("directory"))
        if self._queue.fail(claim, outcome, last.message, where, died=died, **details) is None:
            return False
        self._synced.failed[name] = f"{last.outcome}: {last.message}"
        return True

    def _directory(self, one: Try) -> str:
        return directory_of(self._folder, one)


def note_unfinished(folder: JobFolder, holds: Holds, name: str) -> None:
    """Log the tries of a calculation that a folder holds and has not ended."""
    with suppress(DamagedError):
        tries = folder.tries(name)
        if tries:
            holds.note_tries(name, tries, tries[-1].attempt, lambda one: directory_of(folder, one))
            holds.set_deaths(name, folder.deaths(name, tries))


def directory_of(folder: JobFolder, one: Try) -> str:
    """Where a try of a folder was."""
    return str(folder.path / "attempts" / one.calculation / one.directory)


def has_failed(tries: list[Try], deaths: tuple[str, ...]) -> bool:
    """Whether a calculation without a result gets no other try in its folder."""
    if not tries:
        return False
    return tries[-1].kind == "failed" or (tries[-1].kind == "died" and not may_try_again(deaths))
