"""What the README, the docs and the notebooks say is true of the code.

Commands in indented blocks are parsed. A page with ```` ```console ```` or ```` ```text ```` blocks is a session: files
(blocks with a ``title="NAME"``), commands and Python examples are used in their order, in one folder and on one
database. Commands print what stands below them, Python examples what stands in the block of text after them.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from alkaflow.levels import PRESETS
from alkaflow.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SESSIONS = [
    path for path in DOCUMENTS if re.search("^```(console|text)$", path.read_text(encoding="utf-8"), re.MULTILINE)
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_SHOWS = re.compile("^```(console|text)$", re.MULTILINE)
SESSIONS = [path for path in DOCUMENTS if _SHOWS.search(path.read_text(encoding="utf-8"))]
NOT_RUN = "Indented commands are examples"
_FENCED = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DECIMAL = re.compile(r"([-+]?\d+\.\d+)")


@pytest.mark.timeout(1200)  # half a minute where nothing else runs
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.usefixtures("database")
def test_notebooks_run(
    notebook: Path, cli_environment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs in its order, in an empty folder and on an empty database, and says what the text promises."""
    monkeypatch.chdir(tmp_path)
    said = StringIO()
    names: dict[str, object] = {}
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "commit notebooks without outputs"
            assert cell["execution_count"] is None
            with redirect_stdout(said):
                exec(compile("".join(cell["source"]), notebook.name, "exec"), names)  # noqa: S102
    for promised in content["metadata"]["alkaflow"]["prints"]:
        assert promised in said.getvalue()


@pytest.mark.timeout(1200)  # half a minute where nothing else runs
@pytest.mark.parametrize("document", SESSIONS, ids=lambda path: path.name)
@pytest.mark.usefixtures("database")
def test_sessions_in_documents_print_what_is_shown(
    document: Path,
    cli_environment: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alkaflow.levels.PRESETS", dict(PRESETS))  # to which examples add
    names: dict[str, object] = {}
    printed = None
    for kind, title, text in _FENCED.findall(document.read_text(encoding="utf-8")):
        if title:
            Path(title).write_text(text, encoding="utf-8")
        elif kind == "console":
            for command, shown in _commands(text):
                _check_command(command, shown, capsys)
        elif kind == "python":
            exec(compile(text, document.name, "exec"), names)  # noqa: S102
            printed = capsys.readouterr().out
        elif kind == "text" and printed is not None:  # what the example before it prints
            assert fits(text.splitlines(), printed.splitlines()), f"{document.name}: shown\n{text}\nprinted\n{printed}"
            printed = None


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of a console block, and the lines shown below each."""
    command, shown = "", list[str]()
    for line in block.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line.removeprefix("$ "), []
        else:
            shown.append(line)
    yield command, shown


def _check_command(command: str, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from alkaflow.launchpad.cli import run

    program, *arguments = shlex.split(command, comments=True)
    assert program == "alkaflow", f"only alkaflow is run here: {command}"
    code = run(arguments)
    out, err = capsys.readouterr()
    assert code == 0, f"$ {command}\n{out}\n{err}"
    talk = [line for line in err.splitlines() if line]
    rest = [line for line in shown if line == "..." or not any(_same(line, said) for said in talk)]
    assert fits(rest, out.splitlines()), "\n".join([f"$ {command}", "shown", *shown, "printed", out, err])


def fits(shown: list[str], printed: list[str]) -> bool:
    """Whether lines are those printed; a line of dots stands for any number, dots at the end of a line for the rest."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(fits(shown[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and _same(shown[0], printed[0]) and fits(shown[1:], printed[1:])


def _same(shown: str, printed: str) -> bool:
    """Whether two lines are the same but for spaces, the length of rules, and the last digit or two of decimals."""
    left, right = ([re.sub(r"-{2,}", "--", word) for word in line.split()] for line in (shown, printed))
    if left and left[-1] == "...":
        left, right = left[:-1], right[: len(left) - 1]
    return len(left) == len(right) and all(map(_same_word, left, right))


def _same_word(shown: str, printed: str) -> bool:
    left, right = _DECIMAL.split(shown), _DECIMAL.split(printed)
    if left[::2] != right[::2]:
        return False
    for one, other in zip(left[1::2], right[1::2], strict=True):
        digits = len(one.partition(".")[2])
        if digits != len(other.partition(".")[2]):
            return False
        if abs(float(one) - float(other)) > max(2.5 * 10.0**-digits, 2e-8 * abs(float(one))):
            return False
    return True


def test_what_is_shown_is_compared_line_by_line() -> None:
    printed = ["label  ev", "-----  -----", "Li1    -3.43", "", "protocol screen"]
    assert fits(["label ev", "--- ---", "Li1 -3.44", "", "protocol screen"], printed)
    assert fits(["label ev", "...", "protocol screen"], printed)
    assert fits(["label ...", "...", "", "protocol ..."], printed)
    assert not fits(["label ev", "--- ---", "Li1 -3.49", "", "protocol screen"], printed)  # another number
    assert not fits(["label ev", "--- ---", "Li1 -3.430", "", "protocol screen"], printed)  # more digits than printed
    assert not fits(["label ev", "--- ---", "Li1 -3.43"], printed)  # not all of it
    assert not fits(["label ev", "Li1 -3.43", "..."], printed)  # a line left out without a word
    assert not fits(["...", "Na1 -3.43"], printed)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(document: Path) -> None:
    """Every `alkaflow ...` line parses as far as its command and options go."""
    import typer
    from click import Group

    from alkaflow.launchpad.cli.app import app

    for line in re.findall(r"^ {4}(?:\$ )?alkaflow ([^#\n]+)", document.read_text(encoding="utf-8"), re.MULTILINE):
        command = typer.main.get_command(app)
        words = line.replace('"', "").split()
        while isinstance(command, Group) or hasattr(command, "commands"):
            assert words[0] in command.commands, f"{document.name}: alkaflow {line}"
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            if word.startswith("-"):
                assert word in options, f"{document.name}: alkaflow {line}: {word}"


def test_the_examples_on_sites_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "sites.md").read_text(encoding="utf-8")
    shown = []
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(example, "sites.md", "exec"), {})  # noqa: S102
        shown.append(capsys.readouterr().out)
    tour, rule = shown
    assert tour.splitlines()[0] == "bay-1 imine bay 3 (2,)"
    assert rule == "[('acidic-1', 'alkynyl C-H')]\n"


def test_pages_say_which_commands_are_not_run() -> None:
    for document in DOCUMENTS[1:]:
        text = document.read_text(encoding="utf-8")
        if re.search("^ {4}alkaflow ", text, re.MULTILINE):
            assert NOT_RUN in " ".join(text.split()), f"say in {document.name} which commands are not run"


def test_every_page_is_in_the_navigation() -> None:
    pages = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(pages) == sorted(path.name for path in DOCUMENTS[1:])


def test_the_reference_has_every_public_name() -> None:
    """And what it names is there, under either of its two names."""
    import alkaflow

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    entries = re.findall(r"^::: (\S+)\n +options:\n +heading: (\S+)$", text, re.MULTILINE)
    assert len(entries) == text.count(":::")
    assert {f"alkaflow.{name}" for name in alkaflow.__all__ if name != "__version__"} <= {name for _, name in entries}
    for defined, public in entries:
        assert _named(defined) is _named(public)


def _named(dotted: str) -> object:
    from importlib import import_module

    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text.split("| setting |")[1], re.MULTILINE))
    assert documented == set(Settings.model_fields)


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    from alkaflow.structures import hatcn, write_xyz
    from alkaflow.workflows import load_study, make_plan

    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    example = next(content for _, title, content in _FENCED.findall(text) if title == "my-study.yaml")
    (tmp_path / "study.yaml").write_text(example, encoding="utf-8")
    write_xyz(hatcn(), tmp_path / "my-host.xyz")
    source = load_study(str(tmp_path / "study.yaml"))
    # A and C have all three sites, B a corner and a pyrazine face; two guests each
    assert len(make_plan(source.study, folder=source.folder).rows) == 2 * (3 + 2 + 3)


def test_links_between_documents() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
