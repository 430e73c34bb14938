"""Two processes change one calculation at the same moment, in the order that hurts."""

import threading
from typing import Any

import pytest
from harness import LEASE, check_invariants, hydrogen_run
from made_records import fake_record

from alkaflow.launchpad.books import Books
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.settings import Settings


@pytest.fixture
def claimed(database: Database) -> tuple[Queue, Claim]:
    queue = Queue(database, LEASE)
    queue.submit(hydrogen_run(1))
    claim = queue.claim()
    assert claim is not None
    return queue, claim


def test_a_slow_rewriter_does_not_touch_a_new_launch(
    database: Database, quick: Settings, claimed: tuple[Queue, Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gives a calculation back and stalls before FireWorks hears of it; another repairs, claims and computes."""
    queue, claim = claimed
    rewriting, go_on = threading.Event(), threading.Event()
    rewrite = Books.rewrite

    def slowly(self: Books, *arguments: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            rewriting.set()
            assert go_on.wait(20)
        rewrite(self, *arguments)

    monkeypatch.setattr(Books, "rewrite", slowly)
    giving_back = threading.Thread(target=queue.release, args=(claim, "it has to go"))
    giving_back.start()
    assert rewriting.wait(20)
    other = Queue(database, LEASE)
    other.repair()
    assert other.claim() is None, "it was claimed while its books were being rewritten"
    go_on.set()
    giving_back.join()
    second = other.claim()
    assert second is not None
    assert other.complete(second, fake_record(second))
    check_invariants(database, quick, {claim.id})
    assert database.calculations.find_one({})["state"] == "COMPLETED"


def test_fireworks_has_lost_the_launch(database: Database, quick: Settings, claimed: tuple[Queue, Claim]) -> None:
    """Its writes are not journaled: after a crash of mongod a launch may be gone of which a worker has the number."""
    queue, claim = claimed
    database.fireworks.launches.delete_many({})
    database.fireworks.fireworks.update_many({}, {"$set": {"state": "READY", "launches": []}})
    database.fireworks.workflows.update_many({}, {"$set": {f"fw_states.{n}": "READY" for n in numbers(database)}})
    assert queue.complete(claim, fake_record(claim))
    check_invariants(database, quick, {claim.id})
    assert database.calculations.find_one({})["state"] == "COMPLETED"


@pytest.mark.parametrize("what", ["cancel", "pause", "retry", "resume"])
def test_a_person_speaks_while_a_result_arrives(
    database: Database, quick: Settings, claimed: tuple[Queue, Claim], what: str
) -> None:
    """Before or after, never between: either it is done, or the result is refused; and the books agree."""
    queue, claim = claimed
    control = Control(database, Queue(database, LEASE))
    speaking = threading.Thread(target=getattr(control, what), args=({"_id": claim.id},))
    speaking.start()
    delivered = queue.complete(claim, fake_record(claim))
    speaking.join()
    queue.repair(everything=True)
    state = database.calculations.find_one({})["state"]
    assert delivered == (database.attempts.count_documents({"outcome": "converged"}) == 1)
    if delivered:
        assert state == "COMPLETED"
    elif what == "cancel":
        assert state in ("DEFUSED", "COMPLETED")
    check_invariants(database, quick, {claim.id})


def test_two_repair_at_once(database: Database, quick: Settings, claimed: tuple[Queue, Claim]) -> None:
    _, claim = claimed
    gone = {"claim.owner.pid": 2**22 + 1, "claim.owner.started": 1}
    database.calculations.update_one({"_id": claim.id}, {"$set": gone})
    freed: list[list[str]] = []
    threads = [threading.Thread(target=lambda: freed.append(Queue(database, LEASE).repair())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(freed) == [[], [], [], [claim.id]]
    assert database.calculations.find_one({})["deaths"] == ["worker_lost"]
    check_invariants(database, quick, {claim.id})


def test_priority_decides_who_is_next(database: Database) -> None:
    queue = Queue(database, LEASE)
    run = hydrogen_run(4)
    first, second, third, fourth = run.calculations
    queue.submit(run)
    control = Control(database, queue)
    assert control.set_priority({"_id": third}, 5).ids == [third]
    assert control.set_priority({"_id": first}, -5).ids == [first]
    assert control.pause({"_id": second}).ids == [second]
    taken = []
    while (claim := queue.claim()) is not None:
        taken.append(claim.id)
    assert taken == [third, fourth, first]
    assert control.resume({"_id": second}).ids == [second]
    assert queue.claim() is not None


def numbers(database: Database) -> list[int]:
    return [d["fw_id"] for d in database.fireworks.fireworks.find()]
