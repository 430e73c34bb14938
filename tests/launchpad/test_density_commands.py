"""charges, esp and cube: from a study computed here, through the queue, to numbers and files."""

import json
from pathlib import Path

import numpy as np
import pytest

from alkaflow.analysis.cube import read_cube
from alkaflow.launchpad.cli import run
from alkaflow.launchpad.database import Database
from alkaflow.plans import Plan, PlanRow
from alkaflow.settings import Settings
from alkaflow.units import BOHR_ANGSTROM, HARTREE_KCAL_MOL
from alkaflow.workflows import load_study, make_plan

Capture = pytest.CaptureFixture[str]
STUDY = """
name: lithium-water
hosts: [{name: water, builtin: water}]
guests: Li
sites: lone-pair
protocol: screen
decomposition: true
properties: true
"""


@pytest.fixture
def computed(cli_environment: Settings, database: Database, tmp_path: Path) -> Plan:
    """The study, worked off by real calculations."""
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    assert run(["reproduce", str(path)]) == 0
    source = load_study(str(path))
    return make_plan(source.study, None, source.folder)


def read_json(capsys: Capture, *words: str) -> dict:
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_study_from_the_queue_to_charges_surfaces_and_cubes(
    computed: Plan, database: Database, tmp_path: Path, capsys: Capture
) -> None:
    row = computed.rows[0]
    energy, described = row.complex_leg.energy, row.complex_leg.properties
    assert described is not None
    before = database.records.count_documents({})
    _check_charges(row, capsys)
    _check_potential(row, tmp_path, capsys)
    _check_cubes(row, tmp_path, capsys)
    _check_contacts(row, database, capsys)
    _check_cycles(row, database, tmp_path, capsys)
    _check_refusals(row, tmp_path, capsys)
    assert database.records.count_documents({}) == before  # looking writes nothing
    assert read_json(capsys, "charges", described) == read_json(capsys, "charges", energy)


def _check_charges(row: PlanRow, capsys: Capture) -> None:
    """Lithium gives its electron away to no water: what it holds is between 0 and 1, whoever counts."""
    charges = read_json(capsys, "charges", row.complex_leg.energy)
    assert list(charges) == ["mulliken", "loewdin", "meta_loewdin", "iao", "hirshfeld", "cm5", "chelpg", "resp"]
    for scheme, values in charges.items():
        assert len(values) == 4, scheme
        assert sum(values) == pytest.approx(0, abs=2e-3), scheme
    spins = read_json(capsys, "charges", row.complex_leg.energy, "--spins")
    for scheme, values in spins.items():
        assert sum(values) == pytest.approx(1, abs=2e-3), scheme
    assert run(["charges", row.complex_leg.energy]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    sums = {words[0]: words[1:] for words in lines if words and words[0] in ("host", "guest", "sum")}
    assert float(sums["guest"][0]) == pytest.approx(charges["mulliken"][3], abs=1e-3)
    assert float(sums["host"][0]) == pytest.approx(sum(charges["mulliken"][:3]), abs=2e-3)


def _check_contacts(row: PlanRow, database: Database, capsys: Capture) -> None:
    """Lithium at the oxygen of water, by the distance in the record; of water alone there are none."""
    record = database.record(row.complex_leg.energy)
    assert record is not None
    places = np.array(record.positions_angstrom)
    found = read_json(capsys, "contacts", record.id)
    assert (found[0]["guest_atom"], found[0]["host_atom"]) == (3, record.symbols.index("O"))
    assert found[0]["angstrom"] == pytest.approx(np.linalg.norm(places[3] - places[found[0]["host_atom"]]))
    assert read_json(capsys, "contacts", record.id, "--within", "0.5") == []
    assert run(["contacts", row.complex_leg.ids[0]]) == 0
    assert "Li3..O0" in capsys.readouterr().out
    assert run(["contacts", row.host_leg.energy]) == 2
    assert "is not of a complex of a study" in capsys.readouterr().err


def _check_cycles(row: PlanRow, database: Database, tmp_path: Path, capsys: Capture) -> None:
    """The record has every cycle of its SCF; the last one has its energy, and the orbital gradient it ended with."""
    record = database.record(row.complex_leg.energy)
    assert record is not None
    ended, picture = record.convergence, tmp_path / "cycles.svg"
    found = read_json(capsys, "results", "convergence", record.id, "--picture", str(picture))
    assert [cycle["step"] for cycle in found["cycles"]] == list(range(1, ended.cycles + 1))
    assert found["cycles"][-1]["energy_hartree"] == pytest.approx(record.energy_hartree, abs=1e-6)
    assert found["cycles"][-1]["orbital_gradient"] == ended.orbital_gradient
    assert found["cycles"][0]["energy_hartree"] > record.energy_hartree
    assert "energy change / Hartree" in picture.read_text(encoding="utf-8")
    assert run(["results", "convergence", record.id]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + ended.cycles


def _check_potential(row: PlanRow, tmp_path: Path, capsys: Capture) -> None:
    picture, page, cube = tmp_path / "esp.svg", tmp_path / "esp.html", tmp_path / "esp.cube"
    host = row.host_leg.energy
    found = read_json(
        capsys, "esp", host, "--picture", str(picture), "--html", str(page), "--cube", str(cube), "--spacing", "0.7"
    )
    assert found["v_s_max"][0]["atom"] in (1, 2)
    assert found["v_s_min"][0]["atom"] == 0
    for name, sign in (("v_s_max", 1), ("v_s_min", -1)):
        values = [sign * point["value_kcal_mol"] for point in found[name]]
        assert values == sorted(values, reverse=True), "strongest first"
        assert len(found[name][0]["position_angstrom"]) == 3
    sites = read_json(capsys, "esp", host, "--guest", "Li+")["sites"]
    assert sites[0]["site"].startswith("lone-pair")
    assert sites[0]["value_kcal_mol"] == pytest.approx(found["v_s_min"][0]["value_kcal_mol"], abs=12)
    assert 35 < found["area_angstrom2"] < 50
    assert 20 < found["volume_angstrom3"] < 32
    assert "negative" in picture.read_text(encoding="utf-8")
    assert "<script" in page.read_text(encoding="utf-8")
    volume = read_cube(cube)
    place = np.array(found["v_s_max"][0]["position_angstrom"]) / BOHR_ANGSTROM
    nearest = tuple(np.round((place - volume.box.origin) / volume.box.spacing).astype(int))
    value = volume.values[nearest] * HARTREE_KCAL_MOL
    assert value == pytest.approx(found["v_s_max"][0]["value_kcal_mol"], abs=15)  # half a step away


def _check_cubes(row: PlanRow, tmp_path: Path, capsys: Capture) -> None:
    """Densities hold their electrons; what a bond moves adds up to nothing; two orbitals have no overlap."""
    halves = row.complex_leg.halves
    assert halves is not None
    energy, files = row.complex_leg.energy, {}
    parts = ["--part", halves.host[0], "--part", halves.guest, "--picture", str(tmp_path / "difference.png")]
    for what, more in (("density", []), ("spin", []), ("difference", parts), ("homo", []), ("lumo", [])):
        path = tmp_path / f"{what}.cube"
        assert run(["cube", energy, "--what", what, *more, "-o", str(path), "--spacing", "0.4"]) == 0, what
        files[what] = read_cube(path)
    capsys.readouterr()
    element = files["density"].box.volume_element
    spin, difference = files["spin"].values.sum() * element, files["difference"].values.sum() * element
    density = files["density"]
    assert density.values.min() >= 0
    oxygen = tuple(np.round((density.positions[0] - density.box.origin) / density.box.spacing).astype(int))
    assert np.unravel_index(density.values.argmax(), density.values.shape) == oxygen
    assert spin == pytest.approx(1, abs=0.03)
    assert difference == pytest.approx(0, abs=0.03)
    assert np.abs(files["difference"].values).max() > 1e-3
    homo, lumo = files["homo"].values, files["lumo"].values
    assert (homo**2).sum() * element == pytest.approx(1, abs=0.05)
    assert (homo * lumo).sum() * element == pytest.approx(0, abs=0.02)
    assert (tmp_path / "difference.png").stat().st_size > 10_000


def _check_refusals(row: PlanRow, tmp_path: Path, capsys: Capture) -> None:
    """One sentence, exit code 2, no file."""
    energy, host, relaxation = row.complex_leg.energy, row.host_leg.energy, row.complex_leg.ids[0]
    out = ["-o", str(tmp_path / "no.cube")]
    for words, sentence in (
        (["charges", relaxation], "is at gfn2-xtb, which keeps no electron density"),
        (["charges", "ffff"], "unknown calculation 'ffff'"),
        (["charges", host, "--spins"], "has no unpaired electrons"),
        (["charges", energy, "--picture", "x.txt"], "has to end in .png or .svg"),
        (["esp", host, "--guest", "Lithium"], "unknown guest 'Lithium'"),
        (["esp", energy, "--cube", str(tmp_path / "no" / "x.cube")], "no folder"),
        (["cube", energy, "--what", "densty", *out], "did you mean 'density'"),
        (["cube", energy, "--what", "difference", *out], "a difference needs --part"),
        (["cube", energy, "--part", host, *out], "nothing else takes it"),
        (["cube", host, "--what", "spin", *out], "no spin density"),
        (["cube", energy, "--what", "difference", "--part", host, *out], "other atoms than the whole"),
        (["cube", energy, "--spacing", "0.05", "--margin", "40", *out], "take a larger --spacing"),
    ):
        assert run(words) == 2, words
        told = capsys.readouterr().err
        assert sentence in told, told
        assert "Traceback" not in told
    assert not (tmp_path / "no.cube").exists()
