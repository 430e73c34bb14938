"""The queue on a real mongod with real FireWorks: what is claimed, lost, repaired, and never done twice."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from alkaflow.errors import MismatchError, ServiceError
from alkaflow.launchpad.control import Control
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.locks import LockedError, lock
from alkaflow.launchpad.outbox import attempts_root
from alkaflow.launchpad.owner import Owner
from alkaflow.launchpad.queue import Claim, Queue
from alkaflow.launchpad.results import left_over, paused, tally
from alkaflow.launchpad.retries import deaths_after, may_try_again
from alkaflow.launchpad.worker import Event, Worker, checkpoints_of
from alkaflow.plans import Plan
from alkaflow.records import Convergence, Provenance, Record, formula_of
from alkaflow.settings import Settings
from alkaflow.studies import Study
from alkaflow.workflows import make_plan
from alkaflow.workflows.checkpoint import RELAXATION, Checkpoint, fingerprint_of, save


def plan_of(guests: list[str] | None = None, protocol: str = "screen", name: str = "test") -> Plan:
    study = Study.model_validate(
        {
            "name": name,
            "hosts": [{"name": "pyrazine", "builtin": "pyrazine"}],
            "guests": guests or ["Li"],
            "sites": ["face"],
            "protocol": protocol,
        }
    )
    return make_plan(study)


def record_for(claim: Claim, energy: float = -1.0) -> Record:
    given = claim.calculation
    return Record(
        id=claim.id,
        recipe=given.recipe,
        step=given.step,
        level=str(given.level),
        level_of_theory=given.level,
        parent=given.parent,
        formula=formula_of(given.symbols),
        symbols=list(given.symbols),
        charge=given.charge,
        multiplicity=given.multiplicity,
        positions_angstrom=list(claim.positions),
        energy_hartree=energy,
        convergence=Convergence(cycles=1),
        provenance=Provenance(
            versions={},
            blas=[],
            threads=1,
            cpu="",
            peak_memory_mb=0,
            seconds={"total": 1},
            finished=datetime.now(UTC),
        ),
    )


def firework_states(database: Database) -> dict[str, str]:
    return {d["name"]: d["state"] for d in database.fireworks.fireworks.find()}


def our_states(database: Database) -> dict[str, str]:
    return {d["_id"]: d["state"] for d in database.calculations.find()}


def assert_consistent(database: Database) -> None:
    """Nothing lost, nothing twice: FireWorks and our collection agree, and records are where states say."""
    ours, theirs = our_states(database), firework_states(database)
    assert theirs == ours
    assert database.fireworks.fireworks.count_documents({}) == len(ours)
    assert {d["_id"] for d in database.records.find()} == {i for i, s in ours.items() if s == "COMPLETED"}
    assert database.fireworks.workflows.count_documents({"locked": True}) == 0


def die_holding_a_claim(database: Database, calculation: str) -> None:
    """Make a claim look like that of a process that is gone."""
    owner = Owner.this_process().model_dump() | {"pid": 2**22 + 1, "started": 1}
    database.calculations.update_one({"_id": calculation}, {"$set": {"claim.owner": owner}})


def test_submitting_makes_one_firework_per_calculation(database: Database) -> None:
    queue, plan = Queue(database), plan_of()
    first = queue.submit(plan)
    assert first.new == list(plan.calculations)
    assert_consistent(database)
    again = queue.submit(plan)
    assert (again.new, again.queued) == ([], list(plan.calculations))
    assert_consistent(database)
    spec = database.fireworks.fireworks.find_one({})["spec"]
    assert set(spec) == {"_tasks", "_priority"}
    assert set(spec["_tasks"][0]) == {"_fw_name", "calculation"}


def test_children_wait_for_their_parents(database: Database) -> None:
    queue, plan = Queue(database), plan_of()
    queue.submit(plan)
    done = []
    while (claim := queue.claim()) is not None:
        assert claim.calculation.parent is None or claim.calculation.parent in done
        assert queue.complete(claim, record_for(claim))
        done.append(claim.id)
    assert sorted(done) == sorted(plan.calculations)
    assert_consistent(database)
    assert queue.submit(plan).done == list(plan.calculations)


def test_a_child_takes_the_geometry_of_its_parent(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    claim = queue.claim()
    assert claim is not None
    assert claim.calculation.step == "relax"
    moved = [(x + 1.0, y, z) for x, y, z in claim.positions]
    queue.complete(claim, record_for(claim).model_copy(update={"positions_angstrom": moved}))
    child = queue.claim([d["_id"] for d in database.calculations.find({"parent": claim.id})])
    assert child is not None
    assert list(child.positions) == moved


def test_two_studies_share_calculations(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of(name="one"))
    shared = plan_of(["Li", "Na"], name="two")
    submission = queue.submit(shared)
    assert len(submission.queued) == 5
    assert_consistent(database)
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
    assert_consistent(database)


def test_another_protocol_waits_for_a_relaxation_that_is_queued_already(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    queue.submit(plan_of(protocol="published-sp"))
    assert_consistent(database)
    relax = queue.claim()
    assert relax is not None
    queue.complete(relax, record_for(relax))
    # both energies of that structure are ready now
    ready = [d["_id"] for d in database.calculations.find({"parent": relax.id})]
    assert len(ready) == 2
    assert all(firework_states(database)[i] == "READY" for i in ready)
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
    assert set(our_states(database).values()) == {"COMPLETED"}
    assert_consistent(database)


def test_another_protocol_starts_from_a_relaxation_that_is_done(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
    plan = plan_of(protocol="published-sp")
    assert len(queue.submit(plan).done) == 2
    queue.repair()
    assert set(our_states(database).values()) == {"COMPLETED", "READY"}
    assert_consistent(database)
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
    assert queue.submit(plan).done == list(plan.calculations)
    assert_consistent(database)


def test_many_claimants_never_share_a_claim(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of(["Li", "Na"]))

    def take_all(_: int) -> list[str]:
        mine = []
        while (claim := Queue(database).claim()) is not None:
            assert Queue(database).complete(claim, record_for(claim))
            mine.append(claim.id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        taken = [i for mine in pool.map(take_all, range(8)) for i in mine]
    while (claim := queue.claim()) is not None:  # children that became ready after everybody had looked
        queue.complete(claim, record_for(claim))
        taken.append(claim.id)
    assert len(taken) == len(set(taken)) == 8
    assert_consistent(database)


def test_a_dead_claimant_is_recognised_at_once(database: Database) -> None:
    queue = Queue(database, lease_seconds=3600)
    queue.submit(plan_of())
    claim = queue.claim()
    assert claim is not None
    assert queue.repair() == []  # we are alive
    die_holding_a_claim(database, claim.id)
    assert queue.repair() == [claim.id]
    assert_consistent(database)
    assert database.attempts.find_one({"calculation": claim.id})["outcome"] == "worker_lost"
    again = queue.claim([claim.id])
    assert again is not None
    assert again.attempt == 2


def save_steps(settings: Settings, claim: Claim, number: int) -> None:
    """What a relaxation that has come so far leaves on disk."""
    folder = checkpoints_of(settings, claim.id)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"energies": np.zeros(number), "positions": np.zeros((number, len(claim.positions), 3))}
    save(folder, Checkpoint(fingerprint_of(claim.calculation), {}, arrays), RELAXATION)


@pytest.mark.parametrize(("steps", "deaths"), [((1, 2, 3, 4), 0), ((1, 1, 1), 2), ((1, 1, 1, 1), 3), ((1, 1, 1, 2), 0)])
def test_a_worker_killed_after_progress_is_not_held_against_a_calculation(
    database: Database, settings: Settings, steps: tuple[int, ...], deaths: int
) -> None:
    """Killed with kill -9, at a further step each time or at the same one; the checkpoints say which."""
    queue = Queue(database, attempts_in=attempts_root(settings))
    queue.submit(plan_of())
    relax = database.calculations.find_one({"step": "relax"})["_id"]
    for number in steps:
        claim = queue.claim([relax])
        assert claim is not None
        save_steps(settings, claim, number)
        die_holding_a_claim(database, relax)
        assert Queue(database).repair() == [relax]
    document = database.calculations.find_one({"_id": relax})
    assert document["deaths"] == ["worker_lost"] * deaths
    assert document["state"] == ("FIZZLED" if deaths == 3 else "READY")
    assert database.attempts.count_documents({"outcome": "worker_lost"}) == len(steps)
    assert_consistent(database)


def test_whoever_gives_up_says_so(database: Database, settings: Settings) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    relax = database.calculations.find_one({"step": "relax"})["_id"]
    for number in range(3):
        assert queue.claim([relax]) is not None
        die_holding_a_claim(database, relax)
        if number < 2:
            queue.repair()
    events: list[Event] = []
    assert Worker(database, settings, events.append).run([relax]) == 0
    [event] = events
    assert (event.kind, event.calculation) == ("failed", relax)
    assert event.message.startswith("worker_lost: 3 tries died")
    assert event.message.endswith(f"it is not tried again: alkaflow why {relax[:8]}")


def test_deaths_that_count() -> None:
    lost, crashed, memory = "worker_lost", "engine_crashed", "out_of_memory"
    assert deaths_after([lost], lost, moved_on=False) == [lost, lost]
    assert deaths_after([lost, "walltime", crashed], lost, moved_on=True) == [crashed]
    assert deaths_after([crashed], crashed, moved_on=True) == [crashed]
    assert deaths_after([lost], "node_failure", moved_on=False) == [lost]
    assert deaths_after([], memory, moved_on=True) == [memory]  # the next try plans with less
    assert deaths_after([memory], memory, moved_on=True) == [memory]
    assert not may_try_again(deaths_after([memory], memory, moved_on=False))


def test_a_submission_tells_cancelled_and_paused_from_failed(database: Database) -> None:
    queue, plan = Queue(database), plan_of()
    queue.submit(plan)
    control = Control(database, queue)
    first, second, third, *rest = plan.calculations
    claim = queue.claim()
    assert claim is not None
    queue.fail(claim, "scf_not_converged", "a reason", "")
    others = [i for i in (first, second, third, *rest) if i != claim.id]
    control.cancel({"_id": others[0]})
    control.pause({"_id": {"$in": others[1:]}})
    found = paused(database)
    assert (found.number, found.command) == (3, "alkaflow resume test")
    left = left_over(database)
    assert (left.running, left.ready, left.blocked, left.waiting) == (0, 0, 0, 0)
    again = queue.submit(plan)
    assert sorted(again.again) == sorted([claim.id, others[0]])
    assert again.cancelled == [others[0]]
    assert again.paused == others[1:]
    assert tally(database, plan.calculations).ended == 0


def test_a_claim_on_another_host_counts_until_its_lease_ends(database: Database) -> None:
    queue = Queue(database, lease_seconds=3600)
    queue.submit(plan_of())
    claim = queue.claim()
    assert claim is not None
    database.calculations.update_one({"_id": claim.id}, {"$set": {"claim.owner.host": "elsewhere"}})
    assert queue.repair() == []
    database.calculations.update_one({"_id": claim.id}, {"$set": {"claim.expires": datetime(2020, 1, 1, tzinfo=UTC)}})
    assert queue.repair() == [claim.id]


def test_a_zombie_stores_nothing(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    zombie = queue.claim()
    assert zombie is not None
    die_holding_a_claim(database, zombie.id)
    queue.repair()
    successor = queue.claim([zombie.id])
    assert successor is not None
    assert not queue.complete(zombie, record_for(zombie, -99.0))
    assert not queue.fail(zombie, "engine_crashed", "late", "")
    assert not queue.heartbeat(zombie, None)
    assert queue.heartbeat(successor, {"step": 1})
    assert queue.complete(successor, record_for(successor, -1.0))
    stored = database.record(zombie.id)
    assert stored is not None
    assert stored.energy_hartree == -1.0


@pytest.mark.parametrize("point", ["claimed", "recorded", "launched"])
def test_killed_between_two_writes(database: Database, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies at any point between claim and completion leaves nothing that repair cannot mend."""
    queue = Queue(database)
    queue.submit(plan_of())

    class KilledError(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise KilledError

    if point == "claimed":
        monkeypatch.setattr(database.fireworks, "checkout_fw", die)
        with pytest.raises(KilledError):
            queue.claim()
    else:
        claim = queue.claim()
        assert claim is not None
        monkeypatch.setattr(
            *((database.fireworks, "complete_launch") if point == "recorded" else (queue._settling, "finish")), die
        )
        with pytest.raises(KilledError):
            queue.complete(claim, record_for(claim))
    monkeypatch.undo()
    held = database.calculations.find_one({"state": "RUNNING"})["_id"]
    die_holding_a_claim(database, held)
    database.fireworks.workflows.update_one({}, {"$set": {"locked": True}})  # FireWorks' lock has no owner
    queue = Queue(database)
    queue.repair()
    assert_consistent(database)
    assert our_states(database)[held] == ("READY" if point == "claimed" else "COMPLETED")
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
    assert set(our_states(database).values()) == {"COMPLETED"}
    assert_consistent(database)


@pytest.mark.parametrize("collection", ["workflows", "fireworks"])
def test_killed_while_fireworks_is_told(database: Database, collection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workflows are inserted first, their fireworks second; a kill before or between leaves nothing for ever."""
    plan = plan_of()

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(getattr(database.fireworks, collection), "insert_many", die)
    with pytest.raises(KeyboardInterrupt):
        Queue(database).submit(plan)
    monkeypatch.undo()
    assert firework_states(database) == {}
    assert Queue(database).claim() is None
    queue = Queue(database)
    queue.repair()
    assert_consistent(database)
    assert database.fireworks.workflows.count_documents({}) == 3
    done = 0
    while (claim := queue.claim()) is not None:
        queue.complete(claim, record_for(claim))
        done += 1
    assert done == len(plan.calculations)
    assert_consistent(database)


@pytest.mark.parametrize(
    "theirs", ["WAITING", "READY", "RESERVED", "RUNNING", "FIZZLED", "COMPLETED", "DEFUSED", "PAUSED"]
)
@pytest.mark.parametrize("ours", ["READY", "COMPLETED", "FIZZLED"])
def test_repair_rewrites_fireworks_from_ours(database: Database, ours: str, theirs: str) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    relax = queue.claim()
    assert relax is not None
    queue.complete(relax, record_for(relax))
    energy = database.calculations.find_one({"parent": relax.id})["_id"]
    claim = queue.claim([energy])
    assert claim is not None
    if ours == "COMPLETED":
        queue.complete(claim, record_for(claim))
    elif ours == "FIZZLED":
        queue.fail(claim, "scf_not_converged", "a reason", "")
    else:
        queue.release(claim, "a reason")
    number = database.fireworks.fireworks.find_one({"name": energy})["fw_id"]
    database.fireworks.fireworks.update_one({"fw_id": number}, {"$set": {"state": theirs}})
    database.fireworks.workflows.update_one({"nodes": number}, {"$set": {f"fw_states.{number}": theirs}})
    queue.repair(everything=True)
    assert_consistent(database)
    assert our_states(database)[energy] == ours
    assert database.calculations.count_documents({"claim": {"$ne": None}}) == 0
    assert queue.claimable([energy]) == (ours == "READY")


def test_repair_beside_working_workers_disturbs_nobody(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of(["Li", "Na"]))
    stop = threading.Event()

    def keep_repairing() -> None:
        while not stop.is_set():
            Queue(database).repair()

    with ThreadPoolExecutor(1) as pool:
        repairing = pool.submit(keep_repairing)
        done = 0
        try:
            until = time.monotonic() + 60
            while done < 8 and time.monotonic() < until:
                claim = queue.claim()
                if claim is not None:
                    assert firework_states(database)[claim.id] == "RUNNING"
                    assert queue.heartbeat(claim, None)
                    assert queue.complete(claim, record_for(claim))
                    done += 1
        finally:
            stop.set()
        repairing.result()
    assert done == 8
    assert_consistent(database)


def test_a_failure_keeps_children_waiting_and_is_tried_again_on_request(database: Database) -> None:
    queue, plan = Queue(database), plan_of()
    queue.submit(plan)
    claim = queue.claim()
    assert claim is not None
    assert queue.fail(claim, "relaxation_not_converged", "too many steps", "/nowhere")
    assert queue.problems([claim.id]) == {claim.id: "relaxation_not_converged: too many steps"}
    queue.repair()
    assert_consistent(database)
    rest = []
    while (other := queue.claim()) is not None:
        rest.append(other.id)
        queue.complete(other, record_for(other))
    assert claim.id not in rest
    assert "WAITING" in our_states(database).values()
    assert queue.submit(plan).again == [claim.id]
    assert_consistent(database)
    while (other := queue.claim()) is not None:
        queue.complete(other, record_for(other))
    assert set(our_states(database).values()) == {"COMPLETED"}


def test_a_released_claim_is_ready_at_once(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    claim = queue.claim()
    assert claim is not None
    queue.release(claim, "KeyboardInterrupt")
    assert_consistent(database)
    assert our_states(database)[claim.id] == "READY"


def test_records_are_written_once(database: Database) -> None:
    queue = Queue(database)
    queue.submit(plan_of())
    claim = queue.claim()
    assert claim is not None
    database.insert_record(record_for(claim, -1.0))
    database.insert_record(record_for(claim, -1.0 + 1e-9))
    with pytest.raises(MismatchError, match="has a record with"):
        database.insert_record(record_for(claim, -2.0))
    stored = database.record(claim.id)
    assert stored is not None
    assert stored.energy_hartree == -1.0


def test_files_are_kept_by_hash(database: Database) -> None:
    data = os.urandom(700_000)
    sha = database.put_file(data)
    assert database.put_file(data) == sha
    assert database.get_file(sha) == data
    assert database.db["files.files"].count_documents({}) == 1
    database.db["files.chunks"].update_one({"n": 0}, {"$set": {"data": b"x" * len(data)}})
    with pytest.raises(ServiceError, match="damaged"):
        database.get_file(sha)
    with pytest.raises(ServiceError, match="holds no file"):
        database.get_file("0" * 64)


def test_an_upload_that_was_killed_is_replaced(database: Database) -> None:
    data = os.urandom(600_000)
    sha = database.put_file(data)
    database.db["files.files"].delete_one({"_id": sha})  # chunks without a file: as a kill leaves them
    assert database.put_file(data) == sha
    assert database.get_file(sha) == data


def test_locks(database: Database) -> None:
    with lock(database, "a study", 60):
        with (
            pytest.raises(LockedError, match=f"a study is being worked on by process {os.getpid()}"),
            lock(database, "a study", 60),
        ):
            pass
        with lock(database, "another", 60):
            pass
    with lock(database, "a study", 60):
        pass
    assert database.locks.count_documents({}) == 0


def test_a_lock_dies_with_its_owner(database: Database) -> None:
    owner = Owner.this_process().model_dump() | {"started": 1}
    database.locks.insert_one(
        {"_id": "a study", "token": "t", "owner": owner, "expires": datetime(2100, 1, 1, tzinfo=UTC)}
    )
    with lock(database, "a study", 60):
        pass


def test_a_lock_of_another_host_is_kept_until_it_expires(database: Database) -> None:
    owner = Owner.this_process().model_dump() | {"host": "elsewhere"}
    database.locks.insert_one(
        {"_id": "a study", "token": "t", "owner": owner, "expires": datetime(2100, 1, 1, tzinfo=UTC)}
    )
    with pytest.raises(LockedError, match="on elsewhere"), lock(database, "a study", 60):
        pass
    database.locks.update_one({}, {"$set": {"expires": datetime(2020, 1, 1, tzinfo=UTC)}})
    with lock(database, "a study", 60) as refresh:
        assert database.locks.find_one({})["expires"] > datetime.now(UTC)
        refresh()


def test_owner_knows_the_living_from_the_dead() -> None:
    me = Owner.this_process()
    assert me.is_alive() is True
    assert me.model_copy(update={"started": me.started - 1}).is_alive() is False
    assert me.model_copy(update={"boot": "another"}).is_alive() is (False if me.machine else None)
    assert me.model_copy(update={"machine": "another"}).is_alive() is None
    assert me.model_copy(update={"host": "elsewhere"}).is_alive() is None
    assert me.model_copy(update={"namespace": "pid:[1]"}).is_alive() is None
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    assert me.model_copy(update={"pid": int(child.stdout)}).is_alive() is False
