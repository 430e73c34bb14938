"""Results of elsewhere: an archive's plan, records and files become completed calculations of a database.

Records go in before their calculations are queued, so that no worker begins to compute what is there already. Killed
half way, the same import again does the rest. Nothing that the database holds is changed.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.locks import LockedError
from alkaflow.launchpad.owner import drop
from alkaflow.launchpad.queue import Queue
from alkaflow.plans import Plan
from alkaflow.records import Record
from alkaflow.settings import Settings
from alkaflow.workflows.archive import Archive, what_differs


@dataclass
class Imported:
    """What an import did.

    Attributes
    ----------
    new, known
        Ids of records that came in, and of those that the database had already.
    kept
        Of records that did not come in, why, by id.
    files
        Number of orbital files and surfaces that came along.
    without_file
        Ids of new records whose file is not in the archive.
    missing
        Ids of calculations of the plan that the archive has no record of.
    """

    new: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    files: int = 0
    without_file: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def import_archive(
    database: Database, settings: Settings, archive: Archive, watch: Callable[[int], None] = lambda _: None
) -> Imported:
    """Bring the records of an archive into a database.

    A record is left out, and said to be, where the database holds another result of the calculation or of its parent,
    or where somebody computes it at this moment.

    Parameters
    ----------
    database, settings
        Where to.
    archive
        Opened, and so checked.
    watch
        Called with the number of records that are in, now and then.

    Raises
    ------
    BadInputError
        A file of the archive is not what its record says; nothing was written.
    """
    plan = archive.bundle.plan
    done = Imported(missing=[i for i in plan.calculations if i not in archive.bundle.by_id])
    accepted = _accepted(database, archive, done)
    wanted = _files(archive, accepted, done)
    for sha in wanted:
        database.put_file(archive.read_file(sha))
    done.files = len(wanted)
    for number, record in enumerate(accepted.values()):
        database.insert_record(record)
        watch(number)
    queue = Queue(database, settings.lease_seconds)
    queue.submit(_of_records(plan, [*accepted, *done.known]))
    for record in accepted.values():
        _complete(queue, record, str(archive.path))
        done.new.append(record.id)
    with suppress(LockedError):  # whoever holds the lock tells FireWorks
        queue.repair()
    return done


def _accepted(database: Database, archive: Archive, done: Imported) -> dict[str, Record]:
    """The records that come in, parents before children; ``done`` gets the others."""
    inputs, records = archive.bundle.plan.calculations, archive.bundle.by_id
    ids = [i for i in inputs if i in records]
    held: dict[str, Record] = {}
    running: set[str] = set()
    for some in pieces(ids):
        held |= database.records_of(list(some))
        query = {"_id": {"$in": list(some)}, "state": "RUNNING"}
        running |= {document["_id"] for document in database.calculations.find(query, {"_id": 1})}
    accepted: dict[str, Record] = {}
    for calculation in ids:
        record = records[calculation]
        if calculation in held:
            apart = record.energy_hartree - held[calculation].energy_hartree
            if held[calculation] == record:
                done.known.append(calculation)
            else:
                done.kept[calculation] = f"the database holds another result, {apart:+.1e} Hartree away"
        elif calculation in running:
            done.kept[calculation] = "somebody computes it"
        elif (why := _does_not_follow(record, inputs[calculation], held | accepted)) is not None:
            done.kept[calculation] = why
        else:
            accepted[calculation] = record
    return accepted


def _does_not_follow(record: Record, given: CalculationInput, there: Mapping[str, Record]) -> str | None:
    """Why a record does not go with that of its parent as the database has it or will; None where it does."""
    if given.parent is None:
        return None
    if given.parent not in there:
        return f"the result of {given.parent}, its parent, does not come in either"
    wrong = what_differs(record, given, there[given.parent])
    return None if wrong is None else f"the database has another result of {given.parent}, its parent: another {wrong}"


def _files(archive: Archive, accepted: Mapping[str, Record], done: Imported) -> list[str]:
    """Hashes of the files to store, each of which was read and is what its record says."""
    wanted = []
    for record in accepted.values():
        if record.orbitals is None:
            continue
        if record.orbitals.sha256 not in archive.hashes:
            done.without_file.append(record.id)
            continue
        found = len(archive.read_file(record.orbitals.sha256))
        if found != record.orbitals.bytes:
            raise BadInputError(
                f"{archive.path}: the file of the record {record.id} has {found} bytes, not {record.orbitals.bytes}"
            )
        wanted.append(record.orbitals.sha256)
    return list(dict.fromkeys(wanted))


def _of_records(plan: Plan, ids: list[str]) -> Plan:
    """A plan of which only these calculations are queued, in its order; rows stay."""
    inputs = {i: given for i, given in plan.calculations.items() if i in set(ids)}
    return plan.model_copy(update={"calculations": inputs, "titles": {i: plan.titles[i] for i in inputs}})


def _complete(queue: Queue, record: Record, where: str) -> None:
    """End a calculation with a record that is there; one that a worker has met meanwhile is ended already."""
    claim = queue.adopt(record.id)
    if claim is None:
        return
    try:
        queue.complete(claim, record, directory=f"imported from {where}")
    finally:
        drop(claim.token)
