"""Two processes change one calculation at the same moment, in the order that hurts."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from acts import dies_at_command, hold_a_workflow
from harness import LEASE, check_invariants, hydrogen_run, kill_group, ledger_of, start_worker, wait_for
from made_records import fake_record
from pymongo.collection import Collection

from alkaflow.calculations import CalculationInput
from alkaflow.launchpad.books import Books
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.levels import parse_level
from alkaflow.plans import SingleRun
from alkaflow.settings import Settings

Meanwhile = Callable[[type, str, Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Lets something happen at the last moment before a method is called for the first time."""

    def arrange(kind: type, name: str, act: Callable[[], object]) -> None:
        original, left = getattr(kind, name), [act]

        def late(self: Any, *given: Any, **more: Any) -> Any:
            if left:
                left.pop()()
            return original(self, *given, **more)

        monkeypatch.setattr(kind, name, late)

    return arrange


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


def family() -> tuple[SingleRun, str, list[str]]:
    """A calculation and two that need its result: one small workflow."""
    run = hydrogen_run(1, children=True)
    parent, child = run.calculations
    given = run.calculations[child]
    other = CalculationInput.model_validate(
        given.model_dump(exclude={"level"}) | {"level": parse_level("b3lyp/sto-3g")}
    )
    calculations, titles = run.calculations | {other.id: other}, run.titles | {other.id: "another energy"}
    return SingleRun(calculations=calculations, titles=titles), parent, [child, other.id]


def test_a_dead_process_leaves_fireworks_lock_beside_a_running_sibling(database: Database, quick: Settings) -> None:
    """The lock has no owner, and repair leaves it alone, as somebody works on that workflow: it is taken in seconds."""
    run, parent, children = family()
    queue = Queue(database, LEASE)
    queue.submit(run)
    claim = queue.claim([parent])
    assert claim is not None
    assert queue.complete(claim, fake_record(claim))
    running = queue.claim(children)
    assert running is not None
    number = database.calculations.find_one({"_id": parent})["firework"]
    assert dies_at_command(quick, 1, False, partial(hold_a_workflow, number))
    queue.repair()
    assert database.fireworks.workflows.count_documents({"locked": True}) == 1
    begin = time.monotonic()
    sibling = queue.claim(children)
    assert sibling is not None
    assert queue.complete(sibling, fake_record(sibling))
    assert queue.heartbeat(running, None)
    assert queue.complete(running, fake_record(running))
    assert time.monotonic() - begin < 20
    check_invariants(database, quick, set(run.calculations))
    assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}
    assert {d["attempts"] for d in database.calculations.find()} == {1}


@pytest.mark.timeout(120)
def test_repair_all_on_a_live_queue_changes_nothing_that_is_right(
    database: Database, quick: Settings, tmp_path: Path
) -> None:
    """Everything is compared, again and again, while workers claim, compute and deliver parents and children."""
    ledger = tmp_path / "ledger"
    run = hydrogen_run(12, children=True)
    ids = list(run.calculations)
    queue = Queue(database, LEASE)
    queue.submit(run)
    control = Control(database, queue)
    paused, cancelled = ids[-2], ids[-4]
    assert control.pause({"_id": paused}).ids == [paused]
    assert control.cancel({"_id": cancelled}).ids == [cancelled]
    workers = [start_worker(quick, "--seconds", "0.1", "--ledger", str(ledger)) for _ in range(2)]
    repairs, freed = 0, []
    try:
        wait_for(lambda: ledger_of(ledger))
        while any(worker.poll() is None for worker in workers):
            freed += queue.repair(everything=True)
            repairs += 1
        outs = [worker.communicate() for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                kill_group(worker)
    assert repairs > 5
    assert freed == []
    assert {worker.returncode for worker in workers} == {0}, outs
    begun = [line[1] for line in ledger_of(ledger) if line[0] == "begin"]
    left = {paused: "PAUSED", cancelled: "DEFUSED", ids[-1]: "WAITING", ids[-3]: "WAITING"}
    assert sorted(begun) == sorted(set(ids) - set(left))
    states = {d["_id"]: d["state"] for d in database.calculations.find()}
    assert states == dict.fromkeys(ids, "COMPLETED") | left
    assert {(d["attempts"], *d["deaths"]) for d in database.calculations.find({"_id": {"$nin": list(left)}})} == {(1,)}
    check_invariants(database, quick, set(ids), ledger)


@pytest.mark.parametrize("taken", [False, True])
def test_repair_all_has_looked_at_a_child_before_its_parent_ends(
    database: Database, quick: Settings, meanwhile: Meanwhile, taken: bool
) -> None:
    """FireWorks is told an older state after the newer one; perhaps a worker has the child by then."""
    run = hydrogen_run(1, children=True)
    parent, child = run.calculations
    queue = Queue(database, LEASE)
    queue.submit(run)
    claim = queue.claim([parent])
    assert claim is not None
    number = database.calculations.find_one({"_id": child})["firework"]
    database.fireworks.fireworks.update_one({"fw_id": number}, {"$set": {"state": "READY"}})  # wrong, to be mended
    claims: list[Claim | None] = []

    def go_on() -> None:
        other = Queue(database, LEASE)
        assert other.complete(claim, fake_record(claim))
        if taken:
            claims.append(other.claim([child]))

    meanwhile(Books, "set_states", go_on)
    queue.repair(everything=True)
    assert database.fireworks.fireworks.find_one({"fw_id": number})["state"] == ("RUNNING" if taken else "WAITING")
    assert database.calculations.find_one({"_id": child})["state"] == ("RUNNING" if taken else "READY")
    queue.repair()
    second = claims[0] if taken else queue.claim()
    assert second is not None
    assert queue.claim() is None, "it was claimed twice"
    assert queue.complete(second, fake_record(second))
    check_invariants(database, quick, {parent, child})


def test_a_parent_ends_while_its_child_is_resumed(database: Database, quick: Settings, meanwhile: Meanwhile) -> None:
    """That the child has to wait was decided before its parent was done; it does not wait for ever."""
    run = hydrogen_run(1, children=True)
    parent, child = run.calculations
    queue = Queue(database, LEASE)
    queue.submit(run)
    control = Control(database, queue)
    assert control.pause({"_id": child}).ids == [child]
    claim = queue.claim()
    assert claim is not None
    assert claim.id == parent
    meanwhile(Collection, "update_many", lambda: Queue(database, LEASE).complete(claim, fake_record(claim)))
    assert control.resume({"_id": child}).ids == [child]
    assert database.records.count_documents({}) == 1
    queue.repair()
    second = queue.claim()
    assert second is not None, "it waits for ever"
    assert queue.complete(second, fake_record(second))
    check_invariants(database, quick, {parent, child})
    assert {d["state"] for d in database.calculations.find()} == {"COMPLETED"}


@pytest.mark.parametrize(("what", "state"), [("pause", "PAUSED"), ("cancel", "DEFUSED")])
def test_somebody_else_speaks_while_fireworks_hears_of_a_resume(
    database: Database, quick: Settings, meanwhile: Meanwhile, what: str, state: str
) -> None:
    """The later word counts, though FireWorks hears it first."""
    run = hydrogen_run(1)
    (name,) = run.calculations
    queue = Queue(database, LEASE)
    queue.submit(run)
    control, other = Control(database, queue), Control(database, Queue(database, LEASE))
    assert control.pause({"_id": name}).ids == [name]
    meanwhile(Books, "set_states", lambda: getattr(other, what)({"_id": name}))
    control.resume({"_id": name})
    assert queue.claim() is None
    check_invariants(database, quick, {name})
    assert database.calculations.find_one({"_id": name})["state"] == state
    assert queue.claim() is None


def test_a_worker_takes_what_is_being_resumed(database: Database, quick: Settings, meanwhile: Meanwhile) -> None:
    """As soon as FireWorks calls it ready it is claimed, and nothing that the resuming process does then disturbs."""
    run = hydrogen_run(1)
    (name,) = run.calculations
    queue = Queue(database, LEASE)
    queue.submit(run)
    control = Control(database, queue)
    assert control.pause({"_id": name}).ids == [name]
    claims: list[Claim | None] = []
    meanwhile(Books, "note", lambda: claims.append(Queue(database, LEASE).claim()))
    assert control.resume({"_id": name}).ids == [name]
    (claim,) = claims
    assert claim is not None
    assert control.resume({"_id": name}).ids == []
    queue.repair(everything=True)
    assert queue.claim() is None, "it was claimed twice"
    assert queue.heartbeat(claim, None)
    assert queue.complete(claim, fake_record(claim))
    check_invariants(database, quick, {name})
    assert database.calculations.find_one({"_id": name})["attempts"] == 1


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


@pytest.mark.parametrize("word", ["a result", "a sign of life", "none"])
def test_repair_waits_for_a_word_of_workers_elsewhere(
    database: Database, quick: Settings, claimed: tuple[Queue, Claim], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """After an outage: who delivers, or renews the claim, while repair waits, has lost nothing."""
    queue, claim = claimed
    elsewhere = {"claim.owner.host": "elsewhere", "claim.expires": {"$subtract": ["$$NOW", 1000]}}
    database.calculations.update_one({"_id": claim.id}, [{"$set": elsewhere}])

    def speak(lease_seconds: float) -> float:
        del lease_seconds
        if word == "a result":
            assert queue.complete(claim, fake_record(claim))
        elif word == "a sign of life":
            assert queue.heartbeat(claim, None)
        return 0.1

    monkeypatch.setattr("alkaflow.launchpad.repair.longest_silence", speak)
    assert Queue(database, LEASE).repair() == ([claim.id] if word == "none" else [])
    assert queue.heartbeat(claim, None) == (word == "a sign of life")
    if word != "a result":
        assert queue.complete(claim, fake_record(claim)) == (word == "a sign of life")
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
