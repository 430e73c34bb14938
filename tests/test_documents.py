"""What the README, the docs and the notebooks say is true of the code."""

import json
import re
from pathlib import Path

import pytest

from alkaflow.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_run(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "commit notebooks without outputs"
            exec(compile("".join(cell["source"]), notebook.name, "exec"), names)  # noqa: S102
    assert "Li1" in capsys.readouterr().out


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


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text.split("| setting |")[1], re.MULTILINE))
    assert documented == set(Settings.model_fields)


def test_the_example_study_is_valid(tmp_path: Path) -> None:
    from alkaflow.structures import hatcn, write_xyz
    from alkaflow.workflows import load_study, make_plan

    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "study.yaml").write_text(example[1], encoding="utf-8")
    write_xyz(hatcn(), tmp_path / "my-host.xyz")
    source = load_study(str(tmp_path / "study.yaml"))
    # A and C have all three sites, B a corner and a pyrazine face; two guests each
    assert len(make_plan(source.study, folder=source.folder).rows) == 2 * (3 + 2 + 3)


def test_links_between_documents() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
