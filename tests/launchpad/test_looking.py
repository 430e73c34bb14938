"""results show --picture and results convergence: what is drawn and printed is what the records hold."""

import json
from pathlib import Path

import pytest

from alkaflow.launchpad import campaign
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.importing import import_archive
from alkaflow.launchpad.plan_store import row_of_complex
from alkaflow.plans import Plan
from alkaflow.settings import Settings
from alkaflow.studies import Study
from alkaflow.units import HARTREE_EV
from alkaflow.workflows import Bundle, make_plan, shipped_bundle, shipped_studies
from alkaflow.workflows.archive import open_archive

Capture = pytest.CaptureFixture[str]
SHIPPED = shipped_studies()["hatcn"] / "screen.json"


@pytest.fixture
def shipped(cli_environment: Settings, database: Database) -> Bundle:
    """The shipped records, in the database."""
    import_archive(database, cli_environment, open_archive(SHIPPED))
    return shipped_bundle("hatcn", "screen")


def test_a_relaxation_step_by_step(shipped: Bundle, tmp_path: Path, capsys: Capture) -> None:
    relax = shipped.plan.rows[0].complex_leg.ids[0]
    record = shipped.by_id[relax]
    picture = tmp_path / "steps.svg"
    assert run(["results", "convergence", relax[:10], "--json", "--picture", str(picture)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["id"], data["step"], data["state"]) == (relax, "relax", "COMPLETED")
    assert [one["energy_hartree"] for one in data["steps"]] == record.energies_along_relaxation
    assert data["steps"][-1]["step"] == record.convergence.cycles
    assert "energy above the last / meV" in picture.read_text(encoding="utf-8")
    assert run(["results", "convergence", relax]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"C18LiN12, gfn2-xtb, 2S+1 = 2: converged in {record.convergence.cycles} steps; largest")
    above = (record.energies_along_relaxation[0] - record.energy_hartree) * HARTREE_EV * 1000
    assert float(lines[2].split()[2]) == pytest.approx(above, abs=0.006)
    assert len(lines) == 2 + len(record.energies_along_relaxation)


def test_an_energy_has_no_steps(shipped: Bundle, tmp_path: Path, capsys: Capture) -> None:
    energy, picture = shipped.plan.rows[0].complex_leg.energy, tmp_path / "steps.png"
    assert run(["results", "convergence", energy]) == 0
    assert "SCF cycles" in capsys.readouterr().out
    assert run(["results", "convergence", energy, "--picture", str(picture)]) == 2
    said = capsys.readouterr().err
    assert "has no steps to draw; give the id of a relaxation" in said
    assert len(said.splitlines()) == 1
    assert not picture.exists()


def test_a_structure_has_the_distances_of_its_guest(shipped: Bundle, tmp_path: Path, capsys: Capture) -> None:
    row = shipped.plan.rows[0]
    for calculation in (row.complex_leg.energy, row.complex_leg.ids[0]):
        picture = tmp_path / f"{calculation}.svg"
        assert run(["results", "show", calculation, "--picture", str(picture)]) == 0
        text = picture.read_text(encoding="utf-8")
        assert "Li on HATCN, imine bay" in text
        assert "Distances in" in text
    assert f"written: {picture}" in capsys.readouterr().err
    alone = tmp_path / "host.svg"
    assert run(["results", "show", row.host_leg.energy, "--picture", str(alone), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["formula"] == "C18N12"
    assert "Distances in" not in alone.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "convergence"])
def test_wrong_input_is_one_sentence(shipped: Bundle, command: str, tmp_path: Path, capsys: Capture) -> None:
    known = shipped.plan.rows[0].complex_leg.ids[0]
    for calculation, picture, said in (
        ("ffff", "a.png", "unknown calculation 'ffff'"),
        (known, "a.pdf", "its name has to end in .png or .svg"),
        (known, "a", "its name has to end in .png or .svg"),
        (known, "no/a.png", "no folder"),
    ):
        assert run(["results", command, calculation, "--picture", str(tmp_path / picture)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said in shown.err
        assert len(shown.err.splitlines()) == 1
    assert list(tmp_path.glob("a*")) == []


def test_what_has_begun_nothing_says_so(
    cli_environment: Settings, database: Database, tmp_path: Path, capsys: Capture
) -> None:
    plan = two_lithium()
    campaign.submit(database, cli_environment, plan)
    waiting = plan.rows[0].complex_leg.ids[0]
    assert run(["results", "convergence", waiting, "--picture", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "has left no relaxation steps in" in said
    assert len(said.splitlines()) == 1


def two_lithium() -> Plan:
    study = {"name": "two", "hosts": [{"name": "HATCN", "builtin": "hatcn"}], "guests": ["Li"],
             "sites": ["bay + corner"], "protocol": "screen", "guests_per_complex": 2, "properties": True}  # fmt: skip
    return make_plan(Study.model_validate(study))


def test_rows_of_complexes(cli_environment: Settings, database: Database) -> None:
    """By every step of every spin state, and that of the first of two guests by itself."""
    plan = two_lithium()
    campaign.submit(database, cli_environment, plan)
    row = plan.rows[1]
    states = row.complex_leg.states
    assert len(states) == 2
    for calculation in [i for state in states for i in (*state.ids, str(state.properties))]:
        found = row_of_complex(database, calculation)
        assert found is not None
        assert (found[1].site, found[0].hosts) == (row.site, plan.hosts)
    assert row.before_leg is not None
    found = row_of_complex(database, row.before_leg.energy)
    assert found is not None
    assert found[1].places == [row.places[0]]
    assert row_of_complex(database, row.host_leg.energy) is None
