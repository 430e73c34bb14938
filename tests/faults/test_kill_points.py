"""A process is killed at every single command that it sends to the database, one after the other."""

import os
import socket
from collections.abc import Callable
from functools import partial

import pytest
from acts import LEASE, Act, compute, dies_at_command, fail, hold_a_lock, say, submit
from harness import check_invariants, hydrogen_run
from made_records import fake_record

from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.locks import LockedError, lock
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings

MOST_COMMANDS = 80
CHAIN = hydrogen_run(1, children=True)
IDS = set(CHAIN.calculations)
(PARENT,) = (i for i, given in CHAIN.calculations.items() if given.step == "relax")
EVERY = pytest.mark.parametrize("before", [True, False], ids=["before", "after"])


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": LEASE})


def empty(database: Database) -> None:
    for name in database.db.list_collection_names():
        if name not in ("fw_id_assigner", "meta"):
            database.db[name].delete_many({})


def work_off(database: Database) -> None:
    """Complete whatever is ready, in this process."""
    queue = Queue(database, LEASE)
    queue.repair()
    while (claim := queue.claim()) is not None:
        assert queue.complete(claim, fake_record(claim))


def sweep(
    database: Database,
    settings: Settings,
    before: bool,
    prepare: Callable[[], None],
    act: Act,
    judge: Callable[[int], None],
) -> int:
    """Kill an action at its first command, its second, and so on until it comes to its end; returns how many."""
    for number in range(1, MOST_COMMANDS):
        empty(database)
        prepare()
        if not dies_at_command(settings, number, before, act):
            return number - 1
        judge(number)
    raise AssertionError(f"the action sends more than {MOST_COMMANDS} commands")


@EVERY
def test_a_worker_killed_at_any_command(database: Database, quick: Settings, before: bool) -> None:
    """From its claim to its last write: nothing needs a hand, nothing is lost, nothing happens twice."""

    def judge(number: int) -> None:
        database.fireworks.workflows.update_many({}, {"$set": {"locked": True}})  # FireWorks' lock has no owner
        check_invariants(database, quick, IDS)
        work_off(database)
        check_invariants(database, quick, IDS)
        states = {d["state"] for d in database.calculations.find()}
        assert states == {"COMPLETED"}, f"killed at command {number}: {states}"

    points = sweep(database, quick, before, lambda: none(Queue(database).submit(CHAIN)), partial(compute, None), judge)
    assert points > 15  # claim, FireWorks' launch, heartbeat, record, its completion, states


@EVERY
def test_a_failure_killed_at_any_command(database: Database, quick: Settings, before: bool) -> None:
    def judge(number: int) -> None:
        check_invariants(database, quick, IDS)
        assert database.calculations.find_one({"_id": PARENT})["state"] in ("READY", "FIZZLED"), number
        work_off(database)
        check_invariants(database, quick, IDS)

    sweep(database, quick, before, lambda: none(Queue(database).submit(CHAIN)), partial(fail, PARENT), judge)


@EVERY
def test_a_submission_killed_at_any_command(database: Database, quick: Settings, before: bool) -> None:
    """All of it is there or nothing; submitted again, it is there once."""

    def judge(number: int) -> None:
        Queue(database).repair()
        there = {d["_id"] for d in database.calculations.find()}
        assert there in (set(), IDS), f"killed at command {number}: a part is there"
        Queue(database).submit(CHAIN)
        check_invariants(database, quick, IDS)
        work_off(database)
        assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}

    assert sweep(database, quick, before, lambda: None, partial(submit, CHAIN), judge) >= 6


@EVERY
def test_a_child_submitted_below_a_queued_parent_killed_at_any_command(
    database: Database, quick: Settings, before: bool
) -> None:
    """FireWorks appends it to the workflow of the parent, under its lock."""
    alone = hydrogen_run(1)

    def judge(number: int) -> None:
        Queue(database).repair()
        there = {d["_id"] for d in database.calculations.find()}
        assert there in ({PARENT}, IDS), f"killed at command {number}"
        Queue(database).submit(CHAIN)
        check_invariants(database, quick, IDS)
        work_off(database)
        check_invariants(database, quick, IDS)
        assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}

    prepare = partial(none_after, Queue(database).submit, alone)
    assert sweep(database, quick, before, prepare, partial(submit, CHAIN), judge) >= 10


@EVERY
@pytest.mark.parametrize("action", ["cancel", "pause", "retry", "resume", "repair", "release_job"])
def test_what_a_person_says_killed_at_any_command(
    database: Database, quick: Settings, action: str, before: bool
) -> None:
    def prepare() -> None:
        queue = Queue(database, LEASE)
        queue.submit(CHAIN)
        control = Control(database, queue)
        if action == "retry":
            control.cancel({})
        elif action == "resume":
            control.pause({})
        elif action in ("repair", "release_job"):
            claim = queue.claim()
            assert claim is not None
            gone = Owner.this_process().model_dump() | {"pid": 2**22 + 1, "started": 1}
            claimed = {"claim.owner": gone, "claim.job": "slurm:7"}
            database.calculations.update_one({"_id": claim.id}, {"$set": claimed})

    def judge(number: int) -> None:
        check_invariants(database, quick, IDS)
        assert number

    assert sweep(database, quick, before, prepare, partial(say, action), judge) >= 3


def test_a_lock_dies_with_its_owner(database: Database, quick: Settings) -> None:
    """Its holder is killed: the next one has it at once; a living holder's is left alone, by release, too."""
    assert dies_at_command(quick, 2, False, hold_a_lock)  # look, take
    with lock(database, "a name", LEASE) as refresh:
        refresh()
        with pytest.raises(LockedError, match=f"process {os.getpid()} on {socket.gethostname()}"):
            lock(database, "a name", LEASE).__enter__()
        held = database.locks.find_one({"_id": "a name"})
        assert database.locks.delete_one({"_id": "a name", "token": "another"}).deleted_count == 0
        assert database.locks.find_one({"_id": "a name"})["token"] == held["token"]
    assert database.locks.count_documents({}) == 0


def none_after(act: Callable[..., object], *arguments: object) -> None:
    """Do something whose answer is of no interest."""
    act(*arguments)


def none(_: object) -> None:
    """Nothing, whatever something returned."""
