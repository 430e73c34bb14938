"""alkaflow report: a folder from shipped records, from an archive and from a database; one sentence for wrong input."""

from pathlib import Path

import pytest

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.cli.commands_report import check_directory, shipped_path
from alkaflow.launchpad.database import Database
from alkaflow.settings import Settings
from alkaflow.workflows.archive import make_archive, open_archive

EXPECTED = {"archive.zip", "charges.csv", "geometries", "index.html", "pictures", "references.bib", "report.md",
            "table.csv", "table.tex"}  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Of one row, so that there is little to draw."""
    shipped = open_archive(shipped_path("hatcn", "screen"))
    plan = shipped.bundle.plan.model_copy(update={"rows": shipped.bundle.plan.rows[:1]})
    path = tmp_path / "one.zip"
    path.write_bytes(make_archive(shipped.bundle.model_copy(update={"plan": plan}), {}, shipped.read_file))
    return path


def test_a_report_is_made_again_from_its_own_archive(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "new" / "first", tmp_path / "second"
    assert run(["report", str(archive), "-o", str(first)]) == 0
    assert str(first / "index.html") in capsys.readouterr().out
    assert {path.name for path in first.iterdir()} == EXPECTED
    assert run(["report", str(first), "--with-orbitals", "-o", str(second)]) == 2
    assert "it was made without --with-orbitals" in capsys.readouterr().err
    assert run(["report", str(first), "-o", str(second)]) == 0
    for name in ("archive.zip", "charges.csv", "references.bib", "table.csv", "table.tex", "pictures/ladder.svg"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_report_is_written_over(archive: Path, tmp_path: Path, no_pictures: None) -> None:
    folder = tmp_path / "report"
    assert run(["report", "hatcn", "--shipped", "-o", str(folder)]) == 0
    assert (folder / "table.csv").read_text().count("\n") == 7
    assert run(["report", str(archive), "--with-orbitals", "-o", str(folder)]) == 0
    assert (folder / "table.csv").read_text().count("\n") == 2
    assert open_archive(folder).hashes == open_archive(archive).hashes


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alkaflow.analysis.report.draw_report", lambda _: [])


def test_a_report_of_a_database_names_what_is_missing(
    cli_environment: Settings, database: Database, small_study: Path, tmp_path: Path, no_pictures: None
) -> None:
    assert run(["report", str(small_study), "-o", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "What is not computed yet" in text
    assert f"alkaflow reproduce {small_study} --protocol screen" in text
    assert "archive.zip" in {path.name for path in (tmp_path / "report").iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing", "-o", "out"], "unknown study 'nothing'"),
        (["nothing", "--shipped", "-o", "out"], "unknown shipped study 'nothing'"),
        (["dicyanopyrazine", "--shipped", "-o", "out"], "ships no records"),
        (["hatcn", "--shipped", "--protocol", "published", "-o", "out"], "ships no records for published"),
        (["hatcn", "--shipped", "-o", "taken"], "taken is a file"),
        (["hatcn", "--shipped", "-o", "taken/below"], "cannot create taken/below"),
        (["hatcn", "--shipped", "-o", "full"], "full is not empty and holds no report"),
        (["broken.zip", "-o", "out"], "is no zip archive, or is damaged"),
        (["broken.json", "-o", "out"], "is not a bundle of records"),
        (["absent.zip", "-o", "out"], "cannot read absent.zip"),
        (["broken.zip", "--shipped", "-o", "out"], "is an archive, which has its own records"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("mine")
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("mine")
    Path("broken.zip").write_bytes(b"PK\x03\x04 and nothing more")
    Path("broken.json").write_text("{}")
    assert run(["report", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert Path("taken").read_text() == "mine"
    assert not Path("out").exists()


def test_a_directory_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so that the answer of the system is made up."""
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(BadInputError, match=r"cannot write to .*closed: no permission"):
        check_directory(tmp_path / "closed")
    with pytest.raises(BadInputError, match="is not writable"):
        check_directory(tmp_path / "absent")
