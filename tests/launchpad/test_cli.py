"""The command line as a user meets it: output, exit codes, one sentence per mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alkaflow.analysis import FORMATS
from alkaflow.calculations import Constraint
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.cli.commands_studies import TABLE_FORMATS
from alkaflow.launchpad.cli.output import duration
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.dump import dump, restore
from alkaflow.launchpad.queue import Queue
from alkaflow.settings import Settings
from alkaflow.structures import Structure, hatcn, read_xyz, write_xyz
from alkaflow.workflows import load_study, make_plan, plan_single

Capture = pytest.CaptureFixture[str]
WATER = np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])  # Angstrom


def test_help_names_every_command(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in (
        "reproduce",
        "submit",
        "worker",
        "status",
        "results",
        "table",
        "calculate",
        "sites",
        "placements",
        "build",
        "hosts",
        "guests",
        "db",
        "doctor",
    ):
        assert command in shown


def test_help_loads_no_chemistry() -> None:
    heavy = "('numpy', 'scipy', 'ase', 'pymongo')"
    code = f"import sys, alkaflow.launchpad.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert tuple(FORMATS) == TABLE_FORMATS


def test_version(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("alkaflow ")


def test_sites_json_keeps_the_contract(capsys: Capture) -> None:
    assert run(["sites", "hatcn", "--json"]) == 0
    sites = json.loads(capsys.readouterr().out)
    assert [site["id"] for site in sites] == ["bay-1", "corner-1", "face-1", "face-2"]
    for site in sites:
        assert {"id", "kind", "label", "anchors", "position", "normal", "multiplicity", "members"} <= set(site)
        assert len(site["members"]) == site["multiplicity"]
        assert all(0 <= anchor < 30 for anchor in site["anchors"])
    assert [site["multiplicity"] for site in sites] == [3, 3, 6, 2]


def test_sites_of_a_file_and_a_smiles(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "host.xyz"
    write_xyz(hatcn(), path)
    assert run(["sites", str(path)]) == 0
    assert "imine bay" in capsys.readouterr().out
    assert run(["sites", "N#Cc1ccccc1"]) == 0
    assert "nitrile end" in capsys.readouterr().out


def test_build(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "complex.xyz"
    assert run(["build", "hatcn", "--guest", "Na", "--site", "corner-1.2", "-o", str(path)]) == 0
    assert read_xyz(path).formula == "C18N12Na"
    assert run(["build", "hatcn", "--guest", "Li", "--site", "central face", "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["fragments"]["guest"] == [30]
    assert data["positions_angstrom"][30] == pytest.approx([0, 0, 1.9], abs=1e-9)
    assert run(["build", "pyrazine"]) == 0
    assert capsys.readouterr().out.startswith("10\n")
    pair = ["--guest", "Li", "--site", "bay-1.1", "--guest", "Na", "--site", "corner-1.1"]
    assert run(["build", "hatcn", *pair, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["formula"], data["multiplicity"], data["multiplicities_to_compute"]) == ("C18LiN12Na", 1, [1, 3])
    assert data["fragments"]["guest-2"] == [31]
    arguments = ["build", "pyrazine", "--guest", "PF6-", "--site", "acidic", "--orientation", "2", "--format", "pdb"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.count("HETATM") == 17
    assert shown.rstrip().endswith("END")


def test_placements_of_two_atoms_carry_the_labels_of_the_paper(capsys: Capture) -> None:
    arguments = ["placements", "hatcn", "--guest", "Li", "--guest", "Li", "--first", "bay"]
    assert run([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["published_label"] for row in rows) == ["11", "12", "13", "14", "15", "16"]
    assert all(row["spin_multiplicities"] == [1, 3] for row in rows)
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "imine bay + nitrile corner, opposite" in shown
    assert "placements: 6" in shown


def test_hosts_and_guests_are_listed(capsys: Capture) -> None:
    assert run(["hosts", "ti6"]) == 0
    assert "ti6-hpab" in capsys.readouterr().out
    assert run(["guests"]) == 0
    assert "TFSI-" in capsys.readouterr().out


def test_pictures_of_sites(tmp_path: Path, capsys: Capture) -> None:
    picture, page = tmp_path / "sites.png", tmp_path / "sites.html"
    assert run(["sites", "hatcn", "--kind", "bay", "--picture", str(picture), "--html", str(page)]) == 0
    assert "bay-1" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "imine bay" in page.read_text(encoding="utf-8")


def test_ranking(capsys: Capture) -> None:
    """GFN2 holds Li between the two N of bipyrimidine; from above a ring it slides there."""
    assert run(["sites", "bipyrimidine", "--rank", "xtb", "--guest", "Li", "--json"]) == 0
    ranking = json.loads(capsys.readouterr().out)
    (minimum,) = ranking["minima"]
    assert (minimum["start"]["site"], minimum["verdict"]) == ("bay-1", "stayed")
    assert minimum["adsorption_ev"] < -3.0
    (dropped,) = ranking["dropped"]
    assert dropped["start"]["site"] == "face-1"
    assert dropped["reason"] == "fell into the same minimum as bay-1 (imine bay)"


def test_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(tmp_path / "d"))
    assert run(["submit", "hatcn", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "16 calculations, about" in shown
    assert "Na at pyrazine face of HATCN, energy" in shown
    assert not (tmp_path / "d").exists()
    assert run(["submit", "hatcn", "--dry-run", "--json", "--protocol", "published-sp"]) == 0
    rows = json.loads(capsys.readouterr().out)["calculations"]
    assert max(row["basis_functions"] for row in rows) == 566  # HATCN 540, Na 26
    assert all(row["state"] == "new" for row in rows)


def test_submit_status_results(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    assert run(["submit", str(small_study), "--json"]) == 0
    ids = json.loads(capsys.readouterr().out)["new"]
    assert len(ids) == 5
    assert run(["submit", str(small_study)]) == 0
    assert "5 calculations, 0 done already" in capsys.readouterr().out
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"READY": 3, "WAITING": 2}
    assert run(["results", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"id", "step", "state", "level", "formula", "energy_hartree"} <= set(listed[0])
    assert sorted(entry["id"] for entry in listed) == sorted(ids)
    assert run(["results", "show", ids[0]]) == 2
    assert "has no record; it is READY" in capsys.readouterr().err
    assert run(["results", "show", "ffffffffffffffffffff"]) == 2
    assert "unknown calculation" in capsys.readouterr().err
    assert run(["table", str(small_study)]) == 1
    assert "not computed yet" in capsys.readouterr().out
    assert run(["status", "another"]) == 2
    assert "unknown submitted study 'another'" in capsys.readouterr().err


def test_worker_then_everything_that_reads(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture, tmp_path: Path
) -> None:
    assert run(["submit", str(small_study)]) == 0
    capsys.readouterr()
    assert run(["worker"]) == 0
    talk = capsys.readouterr().err
    assert "the queue is empty" in talk
    assert "done in" in talk
    assert run(["table", str(small_study), "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert run(["results", "show", row["calculations"]["complex"][:8], "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {
        "symbols",
        "positions_angstrom",
        "charge",
        "multiplicity",
        "level",
        "energy_hartree",
        "s_squared",
    } <= set(record)
    assert record["id"] == row["calculations"]["complex"]
    assert run(["results", "show", record["id"]]) == 0
    assert "q mulliken" in capsys.readouterr().out
    assert run(["results", "geometry", record["id"][:12]]) == 0
    shown = capsys.readouterr()
    assert f"final geometry, {record['energy_hartree']:.8f} Hartree" in shown.err
    path = tmp_path / "complex.xyz"
    assert run(["results", "geometry", record["id"], "-o", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert path.read_text(encoding="utf-8") == shown.out
    back = read_xyz(path)
    assert (list(back.symbols), back.charge, back.multiplicity) == (record["symbols"], 0, 2)
    assert back.positions == pytest.approx(np.array(record["positions_angstrom"]), abs=1e-9)
    assert run(["results", "geometry", record["id"], "-o", str(tmp_path / "missing" / "complex.xyz")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    assert run(["results", "export", record["id"], "-o", str(tmp_path / "out")]) == 0
    assert read_xyz(tmp_path / "out" / f"{record['id']}.xyz").formula == record["formula"]
    assert (tmp_path / "out" / f"{record['id']}.orbitals.npz").stat().st_size == record["orbitals"]["bytes"]
    assert run(["results", "export", "--study", str(small_study), "-o", str(tmp_path / "bundle")]) == 0
    assert (tmp_path / "bundle" / "screen.json").exists()
    assert run(["reproduce", str(small_study), "-o", str(tmp_path / "table.md"), "--format", "markdown"]) == 0
    assert "are done already" in capsys.readouterr().err
    assert "| X1 |" in (tmp_path / "table.md").read_text(encoding="utf-8")

    dumped = tmp_path / "all.zip"
    assert run(["db", "dump", str(dumped)]) == 0
    assert "5 records" in capsys.readouterr().out
    assert run(["db", "dump", str(dumped)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(["db", "restore", str(dumped)]) == 3
    assert "not empty" in capsys.readouterr().err


def test_results_tell_states_apart(cli_environment: Settings, database: Database, capsys: Capture) -> None:
    """Water in three states and one held bond: lines that differ."""
    level, held = "pbe/sto-3g", (Constraint(kind="distance", atoms=(0, 1)),)
    queue = Queue(database, 60)
    for charge, multiplicity in ((0, 1), (1, 2), (0, 5)):
        water = Structure(("O", "H", "H"), WATER, charge, multiplicity)
        queue.submit(plan_single(water, level, None))
    queue.submit(plan_single(Structure(("O", "H", "H"), WATER), level, None, relax=True, constraints=held))
    assert run(["results", "list"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", heading) == [
        "id", "step", "state", "level", "formula", "charge", "2S+1", "energy / Eh", "title",
    ]  # fmt: skip
    cells = [re.split("  +", line) for line in lines]
    assert sorted((row[1], *row[5:7]) for row in cells) == [
        ("energy", "+1", "2"),
        ("energy", "0", "1"),
        ("energy", "0", "1"),  # after the relaxation
        ("energy", "0", "5"),
        ("relax, held", "0", "1"),
    ]
    assert run(["results", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["constraints"] for entry in listed if entry["step"] == "relax"] == [
        [{"kind": "distance", "atoms": [0, 1], "value": None}]
    ]
    assert sorted(entry["charge"] for entry in listed) == [0, 0, 0, 0, 1]


def test_dump_and_restore_keep_everything(
    database: Database, settings: Settings, small_study: Path, tmp_path: Path
) -> None:
    from alkaflow.launchpad.database import open_database

    source = load_study(str(small_study))
    plan = make_plan(source.study)
    Queue(database).submit(plan)
    sha = database.put_file(b"orbitals")
    counts = dump(database, tmp_path / "dump.zip")
    with open_database(settings.model_copy(update={"database": settings.database + "-copy"})) as copy:
        assert restore(copy, tmp_path / "dump.zip") == counts
        for name in counts:
            assert list(copy.db[name].find()) == list(database.db[name].find())
        assert copy.get_file(sha) == b"orbitals"
        assert Queue(copy).submit(plan).new == []
        assert Queue(copy).claim() is not None
        copy.client.drop_database(copy.db.name)


def test_a_damaged_dump_is_refused(database: Database, tmp_path: Path) -> None:
    from alkaflow.errors import BadInputError

    path = tmp_path / "dump.zip"
    database.calculations.insert_one({"_id": "a" * 20, "state": "READY"})
    dump(database, path)
    database.calculations.delete_many({})
    import zipfile

    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"READY", b"READS") if name == "calculations.bson" else data)
    with pytest.raises(BadInputError, match="collection calculations does not match its hash"):
        restore(database, damaged)
    (tmp_path / "not.zip").write_bytes(b"PK nothing")
    with pytest.raises(BadInputError, match="not a dump"):
        restore(database, tmp_path / "not.zip")
    assert database.calculations.count_documents({}) == 0


def test_db_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, served: Settings) -> None:
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(tmp_path / "d"))
    assert run(["db", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert run(["db", "start"]) == 0
    try:
        capsys.readouterr()
        assert run(["db", "status", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["running"] is True
        assert Path(found["socket"]).is_socket()
        assert Path(f"/proc/{found['pid']}").exists()
    finally:
        assert run(["db", "stop"]) == 0
    assert run(["db", "status"]) == 1
    assert "not running" in capsys.readouterr().out


def test_doctor(
    cli_environment: Settings, database: Database, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["doctor", "--json"]) == 0
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)}
    assert {"Python", "packages", "BLAS", "threads", "memory", "disk", "mongod", "database"} <= set(findings)
    assert re.search(
        r"numpy \d+ GFLOP/s, pyscf \d+ GFLOP/s; exchange matrices reach \d+% of that", findings["BLAS"]["detail"]
    )
    assert findings["mongod"]["detail"].startswith("db version v")
    monkeypatch.setenv("ALKAFLOW_MONGOD", "/nowhere/mongod")
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "problem  mongod" in shown
    assert "-> install one with" in shown


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3599, 7500)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "59 min 59 s",
        "2 h 5 min",
    ]
