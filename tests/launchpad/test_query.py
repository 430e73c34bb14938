"""Asking the results database: the same answer from the command line and Python, and nothing but what was asked."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from made_records import fake_record

from alkaflow import results
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad import campaign
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.query import Results
from alkaflow.launchpad.query_filters import SORTS, Filters, parse_time
from alkaflow.launchpad.query_rows import ordered_ids
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.row_energies import row_energies
from alkaflow.plans import Plan
from alkaflow.records import Charges, Record
from alkaflow.settings import Settings
from alkaflow.structures import Structure
from alkaflow.studies import Study
from alkaflow.workflows import make_plan, plan_single

Capture = pytest.CaptureFixture[str]
DOCUMENT = Path(__file__).parents[2] / "docs" / "database.md"
ENERGIES = {"Li": -7.5, "Na": -162.0, "C4H4N2": -264.0}
"""Of what is alone [Hartree]; a complex of any two has 0.05 Hartree less than their sum."""


def study_plan(name: str = "rings", **changes: Any) -> Plan:
    given = {
        "name": name,
        "hosts": [{"name": "Pyrazine", "builtin": "pyrazine"}],
        "guests": ["Li", "Na"],
        "sites": ["face", "lone-pair"],
        "protocol": "screen",
        "published": [
            {"label": "L1", "host": "Pyrazine", "guest": "Li", "site": "face", "value_ev": -1.3, "tolerance_ev": 0.1}
        ],
    }
    return make_plan(Study.model_validate(given | changes))


def energy_of(record: Record, place: int) -> float:
    """Made up, different for every calculation."""
    parts = sum(ENERGIES[symbol] for symbol in ("Li", "Na") if symbol in record.symbols)
    whole = parts + (ENERGIES["C4H4N2"] if "C" in record.symbols else 0.0)
    bound = 0.05 if parts and "C" in record.symbols else 0.0
    return whole - bound - (0.0001 * place if bound else 0.0)


def work_off(database: Database, fail: set[str]) -> None:
    """Complete everything that can be, with made-up answers; the ones named fail."""
    queue, place = Queue(database), 0
    while (claim := queue.claim()) is not None:
        place += 1
        if claim.id in fail:
            queue.fail(claim, "scf_not_converged", "no rung of the ladder helped", "")
            continue
        record = fake_record(claim)
        charges = [0.0] * len(record.symbols)
        charges[-1] = 0.75
        finished = datetime.now(UTC) - timedelta(days=place)
        queue.complete(
            claim,
            record.model_copy(
                update={
                    "energy_hartree": energy_of(record, place),
                    "s_squared": 0.75,
                    "populations": Charges(charges={"mulliken": charges}),
                    "provenance": record.provenance.model_copy(update={"finished": finished}),
                }
            ),
        )


@pytest.fixture(scope="module")
def there(served: Settings) -> Settings:
    return served.model_copy(update={"database": "query-test"})


@pytest.fixture(scope="module")
def plan() -> Plan:
    return study_plan()


@pytest.fixture(scope="module")
def failed(plan: Plan) -> str:
    """The energy of Na at the lone pair."""
    return next(row for row in plan.rows if row.guest == "Na" and row.site_kind == "lone-pair").complex_leg.energy


@pytest.fixture(scope="module")
def filled(there: Settings, plan: Plan, failed: str) -> Iterator[Database]:
    """A study of which one calculation failed, one outside of any study, and one study that waits."""
    with open_database(there) as database:
        database.client.drop_database(there.database)
    with open_database(there) as database:
        Queue(database).submit(plan)
        Queue(database).submit(plan_single(Structure(("H",), [[0.0, 0.0, 0.0]], -1, 1), "pbe/def2-svp", None))
        ENERGIES["H"] = 0.0
        work_off(database, {failed})
        Queue(database).submit(study_plan("waiting", guests=["K"], sites=["face"], published=[]))
        yield database
        database.client.drop_database(there.database)


@pytest.fixture
def cli(there: Settings, filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(there.data_dir))
    monkeypatch.setenv("ALKAFLOW_DATABASE", there.database)


def ids(query: Results) -> list[str]:
    return [row["id"] for row in query.rows()]


def leg_ids(plan: Plan, guest: str, kind: str) -> set[str]:
    return {i for row in plan.rows if row.guest == guest and row.site_kind == kind for i in row.complex_leg.ids}


# --- what is found --------------------------------------------------------------------------------------------------


def test_guest_site_and_host_are_those_of_the_plan(filled: Database, plan: Plan) -> None:
    everything = results(filled)
    for guest in ("Li", "Na"):
        for kind in ("face", "lone-pair"):
            assert set(ids(everything.guest(guest).site(kind))) == leg_ids(plan, guest, kind)
    row = plan.rows[0]
    of_guest = {i for r in plan.rows if r.guest == row.guest for i in (*r.complex_leg.ids, *r.guest_leg.ids)}
    assert set(ids(everything.guest(row.guest))) == of_guest
    for name in (row.site, row.site_label, row.site_label.upper()):
        assert set(ids(everything.guest(row.guest).site(name))) == set(row.complex_leg.ids)
    assert set(ids(everything.host("pyrazine").study("rings"))) == {
        i for r in plan.rows for i in (*r.complex_leg.ids, *r.host_leg.ids)
    }
    found = {r["id"]: r for r in everything.rows()}
    said = found[row.complex_leg.energy]
    assert (said["part"], said["host"], said["guest"], said["site"]) == ("complex", "Pyrazine", row.guest, row.site)
    assert said["guest_charge"] == {"mulliken": 0.75}
    alone = found[row.host_leg.energy]
    assert (alone["part"], alone["host"], alone["guest"], alone["site"]) == ("host", "Pyrazine", None, None)
    assert alone["studies"] == ["rings", "waiting"]
    assert next(r for r in found.values() if r["formula"] == "H")["host"] is None


def test_filters_agree_with_a_look_at_every_calculation(filled: Database, failed: str) -> None:
    """Each against a loop over all documents."""
    documents = list(filled.calculations.find())
    queries = {
        results(filled).level("B3LYP-D3BJ/6-31G"): lambda d: d["level"] == "b3lyp-d3bj/6-31g",
        results(filled).step("relax"): lambda d: d["step"] == "relax",
        results(filled).state("fizzled"): lambda d: d["_id"] == failed,
        results(filled).outcome("scf_not_converged"): lambda d: d["_id"] == failed,
        results(filled).outcome("converged").state("READY"): lambda _: False,
        results(filled).outcome("converged"): lambda d: d["state"] == "COMPLETED",
        results(filled).formula("LiN2C4H4"): lambda d: d["formula"] == "C4H4LiN2",
        results(filled).element("k"): lambda d: "K" in d["input"]["symbols"],
        results(filled).element("Li").formula("Li"): lambda d: d["formula"] == "Li",
        results(filled).charge(-1): lambda d: d["input"]["charge"] == -1,
        results(filled).multiplicity(2): lambda d: d["input"]["multiplicity"] == 2,
        results(filled).study("waiting"): lambda d: "waiting" in d["studies"],
        results(filled).level("pbe0/def2-svp"): lambda _: False,
    }
    for query, fits in queries.items():
        expected = {d["_id"] for d in documents if fits(d)}
        assert set(ids(query)) == expected
        assert query.count() == len(expected)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_are_the_whole_in_order_and_nothing_twice(filled: Database, sort: str) -> None:
    for query in (results(filled), results(filled).host("Pyrazine")):
        for reverse in (False, True):
            whole = ids(query.sorted_by(sort, reverse))
            pages = [ids(query.sorted_by(sort, reverse).limit(4, page)) for page in range(1, query.count() // 4 + 3)]
            assert [i for page in pages for i in page] == whole
            assert len(set(whole)) == len(whole) == query.count()
            assert pages[-1] == []
    energies = [row["energy_hartree"] for row in results(filled).sorted_by("energy").rows()]
    there = [energy for energy in energies if energy is not None]
    assert energies == sorted(there) + [None] * (len(energies) - len(there))


def test_a_page_of_very_many_is_that_of_few(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from alkaflow.launchpad import query_rows

    query = results(filled).host("Pyrazine").sorted_by("level").limit(3, 2)
    few = ids(query)
    monkeypatch.setattr(query_rows, "_PIECE", 2)
    assert ids(query) == few
    assert len(few) == 3


def test_since_and_until(filled: Database, failed: str) -> None:
    ends = {d["_id"]: datetime.fromisoformat(d["provenance"]["finished"]) for d in filled.records.find()}
    ends[failed] = filled.attempts.find_one({"calculation": failed})["ended"]  # type: ignore[index]
    some = sorted(ends.values())[len(ends) // 2]
    after = {i for i, end in ends.items() if end >= some}
    assert set(ids(results(filled).since(some))) == after
    assert set(ids(results(filled).since(some.isoformat()))) == after
    assert set(ids(results(filled).until(some))) == {i for i, end in ends.items() if end <= some}
    assert ids(results(filled).since("12h")) == [failed]
    assert set(ids(results(filled).since(timedelta(weeks=100)))) == set(ends)
    assert ids(results(filled).since("1w").guest("Li").until("10w")) == []
    finished = [row["finished"] for row in results(filled).since("100w").sorted_by("finished").rows()]
    assert finished == sorted(ends.values())


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert parse_time("since", "2d", now) == datetime(2026, 11, 18, 12, tzinfo=UTC)
    assert parse_time("since", "90min", now) == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    assert parse_time("since", "2026-11-01T08:30+02:00") == datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    assert parse_time("since", "2026-11-01") == datetime(2026, 11, 1).astimezone()
    day = parse_time("until", "2026-11-01", end_of_day=True) - parse_time("since", "2026-11-01")
    assert timedelta(hours=22) < day < timedelta(hours=26)
    for text in ("yesterday", "2d ago", "-2d", "2026-13-01", "999999w", "20261101", "1e5", "2026-11-01T99:00", "'"):
        with pytest.raises(BadInputError, match=r"since .* is not an ISO date or time"):
            parse_time("since", text, now)


# --- the two ways to ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ([], results()),
        (["--guest", "li", "--site", "Face"], results().guest("Li").site("face")),
        (["--host", "pyrazine", "--sort", "energy", "--reverse"], results().host("Pyrazine").sorted_by("energy", True)),
        (["--study", "rings", "--state", "completed", "--step", "energy"],
         results().study("rings").state("COMPLETED").step("energy")),
        (["--outcome", "scf_not_converged", "--since", "2d"], results().outcome("scf_not_converged").since("2d")),
        (["--element", "Li", "--charge", "0", "--multiplicity", "2", "--until", "60h"],
         results().element("Li").charge(0).multiplicity(2).until("60h")),
        (["--formula", "H", "--charge", "-1"], results().formula("H").charge(-1)),
        (["--level", "gfn2-xtb", "--limit", "2", "--page", "2"], results().level("gfn2-xtb").limit(2, 2)),
    ],
)  # fmt: skip
def test_the_command_line_and_python_agree(
    cli: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str], query: Results
) -> None:
    """`results()` opens the configured database, and what it opened is closed."""
    closed: list[Database] = []
    close = Database.close
    monkeypatch.setattr(Database, "close", lambda self: (closed.append(self), close(self))[1])
    rows = query.rows()
    assert len(closed) == 1
    assert rows
    assert run(["results", "list", *arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    times = [{key: row[key] and row[key].isoformat() for key in ("submitted", "finished")} for row in rows]
    assert shown == [row | time for row, time in zip(rows, times, strict=True)]
    assert run(["results", "list", *arguments, "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    assert run(["results", "list", *arguments]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [row["id"] for row in rows]


def test_a_data_frame_has_a_line_per_calculation(filled: Database, plan: Plan, failed: str) -> None:
    frame = results(filled).sorted_by("energy").to_dataframe()
    assert len(frame) == results(filled).count()
    wanted = {"id", "step", "state", "outcome", "level", "formula", "charge", "multiplicity", "host", "guest", "site",
              "energy_hartree", "s_squared", "guest_charge_mulliken", "finished"}  # fmt: skip
    assert wanted <= set(frame.columns)
    line = frame.set_index("id").loc[plan.rows[0].complex_leg.energy]
    assert line["energy_hartree"] == filled.records.find_one({"_id": line.name})["energy_hartree"]  # type: ignore[index]
    assert line["guest_charge_mulliken"] == 0.75
    assert frame.set_index("id").loc[failed]["outcome"] == "scf_not_converged"
    assert str(frame["finished"].dtype).startswith("datetime64")
    assert frame["energy_hartree"].dtype == float
    empty = results(filled).formula("Og").to_dataframe()
    assert len(empty) == 0
    assert set(empty.columns) <= set(frame.columns)
    shown = results(filled)._repr_html_()
    assert f"{len(frame)} calculations fit" in shown
    assert shown.count("<tr") <= 21


def test_records_and_the_one(filled: Database, plan: Plan, failed: str) -> None:
    row = plan.rows[0]
    query = results(filled).guest(row.guest).site(row.site)
    assert [r.id for r in query] == [r.id for r in query.records()] == list(row.complex_leg.ids)
    assert all(isinstance(record, Record) for record in query.records())
    assert query.step("energy").one().id == row.complex_leg.energy
    assert query.count() == 2  # narrowing it has not changed it
    assert next(iter(query.records())).id == row.complex_leg.ids[0]
    filled.calculations.find_one({})  # the database that was given is open
    with pytest.raises(BadInputError, match="no calculation fits"):
        results(filled).formula("Og").one()
    with pytest.raises(BadInputError, match="2 calculations fit"):
        query.one()
    with pytest.raises(BadInputError, match=f"{failed} has no record; it is FIZZLED: scf_not_converged"):
        results(filled).state("FIZZLED").one()


# --- what is refused ------------------------------------------------------------------------------------------------

REFUSED = [
    (["--guest", '{"$gt": ""}'], r"unknown guest of the submitted studies: '{\"$gt\": \"\"}'"),
    (["--guest", "Ly"], "did you mean 'Li'"),
    (["--site", ".*"], "unknown site of the submitted studies: '.*'"),
    (["--host", "$where"], "unknown host"),
    (["--host", "pyrazin"], "did you mean 'Pyrazine'"),
    (["--study", '{"$ne": null}'], "unknown submitted study"),
    (["--study", "ring"], "did you mean 'rings'"),
    (["--level", "b3lyb/6-31g"], "did you mean 'b3lyp'"),
    (["--level", '{"$gt": ""}'], "level"),
    (["--step", "energie"], "did you mean 'energy'"),
    (["--state", "done"], "unknown state 'done'"),
    (["--outcome", "scf_not_convergd"], "did you mean 'scf_not_converged'"),
    (["--formula", "C18(Li)"], "is not of the form C18LiN12"),
    (["--formula", "Xx2"], "unknown element 'Xx'"),
    (["--formula", ""], "formula is empty"),
    (["--element", "Lithium"], "unknown element 'Lithium'"),
    (["--element", "^Li"], "unknown element"),
    (["--charge", "99999"], "charge 99999 is not between"),
    (["--multiplicity", "0"], "multiplicity 0 is not between"),
    (["--since", "yesterday"], "is not an ISO date or time"),
    (["--until", '{"$gt": ""}'], "is not an ISO date or time"),
    (["--sort", "energy_hartree"], "did you mean 'energy'"),
    (["--limit", "0"], "limit 0 is not a whole number from 1"),
    (["--limit", "5", "--page", "0"], "page 0 is not a whole number from 1"),
    (["--page", "2"], "--page goes with --limit"),
    (["--json", "--csv"], "give one of --json and --csv"),
    (["--charge", "one"], "Invalid value"),
]


def test_wrong_input_is_one_sentence_and_nothing_is_written(cli: None, filled: Database, capsys: Capture) -> None:
    def everything() -> dict[str, list[Any]]:
        return {name: list(filled.db[name].find()) for name in filled.db.list_collection_names()}

    before = everything()
    for arguments, said in REFUSED:
        assert run(["results", "list", *arguments]) == 2, arguments
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said.replace("\\", "") in shown.err.replace("│", "")
        if said != "Invalid value":
            assert len(shown.err.splitlines()) == 1
    for arguments in (["--guest", "K+"], ["--site", "$gt"], ["--study", "none"], ["--json", "--csv"], ["--host", ""]):
        assert run(["results", "energies", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert everything() == before


def test_python_takes_no_operators() -> None:
    for name in ("guest", "site", "host", "study", "level", "step", "state", "outcome", "formula", "element"):
        for value in ({"$gt": ""}, re.compile("."), None, 3, ["Li"]):
            with pytest.raises(BadInputError, match=f"{name} is a text, not a"):
                getattr(results(), name)(value)
    for name in ("charge", "multiplicity"):
        for value in ({"$gt": 0}, "1", 1.0, True, None):
            with pytest.raises(BadInputError, match=f"{name} is a whole number"):
                getattr(results(), name)(value)
    for wrong in (lambda q: q.since(3), lambda q: q.limit("5"), lambda q: q.sorted_by("energy", {"$gt": 1})):
        with pytest.raises(BadInputError):
            wrong(results())
    with pytest.raises(BadInputError, match="not a str"):
        results("mongodb://localhost")
    with pytest.raises(UnknownNameError, match="did you mean 'FIZZLED'"):
        results().state("FIZLED")


# --- adsorption energies --------------------------------------------------------------------------------------------


def test_energies_are_those_of_the_table(
    cli: None, filled: Database, there: Settings, plan: Plan, capsys: Capture
) -> None:
    table = campaign.table_of(filled, there, plan)
    assert run(["results", "energies", "--study", "rings", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["label"], r["site"], r["computed_ev"], r["published_ev"], r["verdict"], r["problem"]) for r in rows] == [
        (r.label, r.start_site, r.computed_ev, r.published_ev, r.verdict, r.problem) for r in table.rows
    ]
    assert [r["verdict"] for r in rows].count("missing") == 1
    first = next(r for r in rows if r["label"] == "L1")
    assert first["computed_ev"] == pytest.approx(-0.05 * 27.2114, abs=0.1)  # and a little by its place in the queue
    assert run(["results", "energies", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)
    assert [r["study"] for r in everything] == ["rings"] * 4 + ["waiting"]
    pages = []
    for page in ("1", "2", "3"):
        assert run(["results", "energies", "--json", "--limit", "3", "--page", page]) == 0
        pages.append(json.loads(capsys.readouterr().out))
    assert [row for some in pages for row in some] == everything
    assert [len(some) for some in pages] == [3, 2, 0]
    assert run(["results", "energies", "--guest", "li", "--site", "face", "--host", "PYRAZINE", "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["label"], float(line["computed_ev"])) for line in lines] == [("L1", first["computed_ev"])]
    assert float(lines[0]["guest_charge_mulliken"]) == 0.75
    assert run(["results", "energies"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"rings +screen +L1 +Pyrazine +Li +face-1 pyrazine face +-1\.\d\d +-1\.30 ", shown)


def test_a_study_that_is_submitted_again_is_listed_once(database: Database, settings: Settings) -> None:
    queue, first = Queue(database), study_plan()
    queue.submit(first)
    places = list(database.places.find().sort("_id", 1))
    queue.submit(first)
    assert list(database.places.find().sort("_id", 1)) == places
    assert database.plans.count_documents({}) == 1
    changed = {"label": "L1", "host": "Pyrazine", "guest": "Li", "site": "face", "value_ev": -9.0}
    queue.submit(study_plan(published=[changed]))
    rows = list(row_energies(database, settings, Filters()))
    assert [row["published_ev"] for row in rows if row["label"] == "L1"] == [-9.0]
    assert len(rows) == len(first.rows)
    part = study_plan(guests=["Li"], published=[changed])
    queue.submit(part)  # less of it takes nothing away
    assert len(list(row_energies(database, settings, Filters()))) == len(first.rows)


def test_a_plan_that_cannot_be_read_says_so(database: Database, settings: Settings) -> None:
    Queue(database).submit(study_plan())
    database.plans.update_one({}, {"$set": {"study.of_another_version": 1}})
    rows = list(row_energies(database, settings, Filters()))
    assert {row["problem"] for row in rows} == {
        "its plan was stored by another version of alkaflow; submit the study again"
    }
    assert {row["verdict"] for row in rows} == {"missing"}


def test_rows_whose_submission_was_taken_back_are_not_listed(database: Database, settings: Settings) -> None:
    Queue(database).submit(study_plan())
    database.calculations.delete_many({})
    assert list(row_energies(database, settings, Filters())) == []


def test_a_study_from_before_plans_were_kept_is_known_when_submitted_again(
    cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    Queue(database).submit(study_plan())
    for name in ("places", "plans"):
        database.db[name].delete_many({})
    assert run(["results", "list", "--study", "rings", "--guest", "Li"]) == 2
    assert "alkaflow submit STUDY" in capsys.readouterr().err
    assert run(["results", "energies"]) == 0
    assert "alkaflow submit STUDY" in capsys.readouterr().err
    assert run(["results", "energies", "--study", "rings"]) == 2
    assert "alkaflow submit STUDY" in capsys.readouterr().err
    assert Queue(database).submit(study_plan()).new == []
    assert run(["results", "list", "--study", "rings", "--guest", "Li"]) == 0
    assert "Li at pyrazine face" in capsys.readouterr().out


def test_what_was_dumped_is_found_after_restoring(database: Database, settings: Settings, tmp_path: Path) -> None:
    from alkaflow.launchpad.dump import dump, restore

    Queue(database).submit(study_plan())
    before = results(database).guest("Li").site("face").rows()
    dump(database, tmp_path / "all.zip")
    for name in database.db.list_collection_names():
        if name != "meta":
            database.db[name].delete_many({})
    restore(database, tmp_path / "all.zip")
    assert results(database).guest("Li").site("face").rows() == before
    assert len(before) == 2


def test_a_host_without_guests_is_a_host(database: Database, settings: Settings) -> None:
    hosts = [{"name": "Pyrazine", "builtin": "pyrazine"}, {"name": "bare", "builtin": "benzene", "guests": []}]
    mixed = study_plan("mixed", hosts=hosts, guests=["Li"], published=[])
    Queue(database).submit(mixed)
    assert set(ids(results(database).host("bare"))) == set(mixed.alone["bare"].ids)
    assert {row["host"] for row in row_energies(database, settings, Filters())} == {"Pyrazine"}


def test_two_guests_answer_to_each_of_their_sites(database: Database) -> None:
    given = {"guests": ["Li"], "sites": ["face + face"], "guests_per_complex": 2, "published": []}
    pairs = study_plan("pairs", **given)
    Queue(database).submit(pairs)
    row = pairs.rows[0]
    assert row.before_leg is not None
    found = {r["id"]: r for r in results(database).site("face").rows()}
    assert set(row.complex_leg.ids) | set(row.before_leg.ids) <= set(found)
    assert found[row.complex_leg.energy]["site"] == row.site
    assert found[row.before_leg.energy]["site"] == row.places[0]
    assert set(ids(results(database).site(row.places[0].partition(".")[0]))) == set(found)


# --- how it asks, and what is written about it -----------------------------------------------------------------------


def test_common_questions_scan_no_collection(filled: Database) -> None:
    """As the server says of every command that an answer takes."""
    base = results(filled).limit(2)
    asked = [base, base.guest("Li"), base.site("face"), base.host("Pyrazine"), base.study("rings"), base.step("relax"),
             base.level("gfn2-xtb"), base.state("FIZZLED"), base.outcome("scf_not_converged"), base.formula("Li"),
             base.element("Li"), base.since("2d"), base.guest("Li").site("face").sorted_by("energy")]  # fmt: skip
    filled.db.command("profile", 2)
    try:
        for query in asked:
            query.rows()
            ordered_ids(filled, query._filters)
    finally:
        filled.db.command("profile", 0)
    profiled = list(filled.db["system.profile"].find({"command.comment": {"$exists": False}}))
    plans = {d["planSummary"] for d in profiled if "planSummary" in d and "system.profile" not in d["ns"]}
    filled.db["system.profile"].drop()
    assert plans
    assert not {plan for plan in plans if "COLLSCAN" in plan}


def test_the_examples_of_the_document_run(
    cli: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, plan: Plan
) -> None:
    monkeypatch.chdir(tmp_path)
    # the text speaks of bays, the database of these tests has faces
    text = DOCUMENT.read_text(encoding="utf-8").replace('"bay"', '"face"')
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    shown = []
    for example in examples:
        exec(compile(example, "database.md", "exec"), {})  # noqa: S102
        shown.append(capsys.readouterr().out)
    assert shown[0].startswith("1\nC4H4LiN2 -271.")
    assert shown[1].startswith("C4H4LiN2 -271.")
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        assert {"id", "energy_hartree", "guest_charge_mulliken"} <= set(csv.DictReader(file).fieldnames or ())


def test_the_document_names_every_field_of_a_calculation(filled: Database) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in ("calculations", "attempts", "places"):
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        document = filled.db[name].find_one() or {}
        assert {key for key in document if f"`{key}`" not in line} <= {"_id", "schema_version"}
