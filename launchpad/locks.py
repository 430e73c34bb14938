"""Locks that die with their owner: at once on the same host, by expiry elsewhere."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import DuplicateKeyError

from alkaflow.errors import ServiceError
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.owner import Owner, drop, holder_is_alive, keep, owner_of

Refresh = Callable[[], None]
_RENEWALS_PER_LEASE = 8


class LockedError(ServiceError):
    """Somebody else holds the lock."""


@contextmanager
def lock(database: Database, name: str, lease_seconds: float, wait_seconds: float = 0.0) -> Iterator[Refresh]:
    """Hold a named lock; yields a function that renews it.

    Parameters
    ----------
    database
        Where the lock lives.
    name
        Of the lock.
    lease_seconds
        After this long without renewal, an owner that cannot be looked at counts as dead [s].
    wait_seconds
        How long to wait for another owner [s].

    Raises
    ------
    LockedError
        It is held by a living process; names it.
    """
    token = keep(uuid.uuid4().hex)
    until = time.monotonic() + wait_seconds
    while not _try_to_take(database, name, token, lease_seconds):
        if time.monotonic() > until:
            drop(token)
            holder = owner_of(database.locks.find_one({"_id": name}))
            raise LockedError(
                f"{name} is being worked on by {holder or 'another process'}; wait until it ends, or stop it: alkaflow "
                "status shows what runs"
            )
        time.sleep(0.1)

    renewed = time.monotonic()

    def refresh() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > lease_seconds / _RENEWALS_PER_LEASE:
            renewed = time.monotonic()
            mine = {"_id": name, "token": token}
            if not database.locks.update_one(mine, [{"$set": {"expires": _in(lease_seconds)}}]).matched_count:
                raise LockedError(f"{name} was taken over by another process, as this one had stalled; try again")

    try:
        yield refresh
    finally:
        drop(token)
        database.locks.delete_one({"_id": name, "token": token})


def _try_to_take(database: Database, name: str, token: str, lease_seconds: float) -> bool:
    fields: Document = {
        "token": token,
        "owner": {"$literal": Owner.this_process().model_dump()},
        "expires": _in(lease_seconds),
    }
    held = database.locks.find_one({"_id": name})
    if held is None:
        try:
            database.locks.update_one({"_id": name, "token": token}, [{"$set": fields}], upsert=True)
        except DuplicateKeyError:
            return False
        return True
    free: Document = {"_id": name, "token": held["token"]}
    alive = holder_is_alive(held)
    if alive:
        return False
    if alive is None:
        free["$expr"] = {"$lt": ["$expires", "$$NOW"]}
    return database.locks.update_one(free, [{"$set": fields}]).modified_count == 1


def _in(seconds: float) -> Document:
    """Server time plus seconds, for an update pipeline."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}
