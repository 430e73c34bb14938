"""Reports: every number against the table and the records, every file against what reads such files."""

import csv
import io
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from alkaflow.analysis import build_table
from alkaflow.analysis.citations import CITATIONS, bibtex
from alkaflow.analysis.energies import adsorption_energy_ev
from alkaflow.analysis.methods import methods_of
from alkaflow.analysis.populations import SCHEMES
from alkaflow.analysis.report import ReportSource, make_report, report_files
from alkaflow.analysis.report_blocks import row_stem
from alkaflow.analysis.report_charges import ChargePanel, differ_in_sign
from alkaflow.analysis.report_data import Report, state_lines
from alkaflow.analysis.report_differences import differences
from alkaflow.analysis.report_structures import anchor_distances, fragments_of
from alkaflow.analysis.states import SpinState
from alkaflow.errors import UnknownNameError
from alkaflow.files import sha256_of
from alkaflow.levels import KohnSham
from alkaflow.plans import Leg, Plan
from alkaflow.records import Charges, FileReference, Record, Surface, SurfaceExtremum
from alkaflow.structures import parse_xyz
from alkaflow.workflows import Bundle, load_study, make_plan, shipped_bundle, shipped_studies
from alkaflow.workflows.bundle import read_orbital_file

NASTY = '</style><script>alert(1)</script> & "quoted" | `x` $_{^ \\end'


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return shipped_bundle("hatcn", "published-sp")


@pytest.fixture(scope="module")
def bundle(shipped: Bundle) -> Bundle:
    """The shipped records of energies and geometries alone, as where nobody asked for properties."""

    def bare(leg: Leg) -> Leg:
        return leg.model_copy(update={"properties": None})

    rows = [
        row.model_copy(update={name: bare(getattr(row, name)) for name in ("complex_leg", "host_leg", "guest_leg")})
        for row in shipped.plan.rows
    ]
    calculations = {i: given for i, given in shipped.plan.calculations.items() if given.step != "properties"}
    study = shipped.plan.study.model_copy(update={"properties": False})
    plan = shipped.plan.model_copy(update={"rows": rows, "calculations": calculations, "study": study})
    return Bundle(plan=plan, records=[record for record in shipped.records if record.step != "properties"])


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> Report:
    return make_report(ReportSource(bundle.plan, bundle.by_id, command="hatcn --protocol published-sp"))


@pytest.fixture(scope="module")
def files(report: Report) -> dict[str, bytes]:
    return report_files(report, [("archive.zip", "all of it")])


# --- tables and charges ----------------------------------------------------------------------------------------------


def test_the_csv_is_the_table(bundle: Bundle, files: dict[str, bytes]) -> None:
    table = build_table(bundle.plan, bundle.by_id)
    lines = list(csv.DictReader(io.StringIO(files["table.csv"].decode())))
    assert [line["label"] for line in lines] == [row.label for row in table.rows]
    for line, row in zip(lines, table.rows, strict=True):
        assert row.computed_ev is not None
        assert float(line["computed_ev"]) == row.computed_ev
        assert line["verdict"] == row.verdict
        legs = [bundle.by_id[row.calculations[leg]] for leg in ("complex", "host", "guest")]
        assert float(line["computed_ev"]) == pytest.approx(adsorption_energy_ev(*legs), abs=1e-12)


def test_the_latex_table_is_balanced(files: dict[str, bytes]) -> None:
    """As far as can be told without TeX: environments close, every line has as many columns, nothing is left raw."""
    lines = [line for line in files["table.tex"].decode().splitlines() if not line.startswith("%")]
    text = "\n".join(lines)
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1
    assert text.count("{") == text.count("}")
    columns = len(re.findall(r"tabular}{(l+)}", text)[0])
    assert {line.count("&") for line in lines if line.endswith(r"\\")} == {columns - 1}
    assert not re.search(r"(?<!\\)[%#_]", text)


def test_charges_add_up(bundle: Bundle, files: dict[str, bytes]) -> None:
    lines = list(csv.DictReader(io.StringIO(files["charges.csv"].decode())))
    assert len(lines) == 6 * 31
    for row in bundle.plan.rows:
        record = bundle.by_id[row.complex_leg.energy]
        assert record.populations is not None
        mine = [line for line in lines if line["label"] == row.label]
        assert [line["element"] for line in mine] == record.symbols
        for scheme, values in record.populations.charges.items():
            found = [float(line[f"charge_{scheme}"]) for line in mine]
            assert found == values
            assert sum(found) == pytest.approx(record.charge, abs=1e-6)
        guests = [line for line in mine if line["fragment"] == row.guest]
        assert [line["element"] for line in guests] == [row.guest]


def test_disagreements_of_schemes_are_said(bundle: Bundle) -> None:
    record = bundle.by_id[bundle.plan.rows[0].complex_leg.energy]
    assert record.populations is not None
    values = [0.0] * 31
    charges = {
        "mulliken": [*values[:30], 0.6],
        "resp": [*values[:5], 0.3, *values[6:30], -0.2],
        "iao": [*values[:5], -0.3, *values[6:30], 0.1],
    }
    twisted = record.model_copy(update={"populations": Charges(charges=charges)})
    panel = ChargePanel(twisted, {"HATCN": tuple(range(30)), "Li": (30,)}, [1, 30])
    said = panel.disagreements
    assert said[0].startswith("the charge of HATCN has no clear sign")
    assert any(
        text.startswith("the charge of Li has no clear sign: Mulliken +0.60, IAO +0.10, RESP -0.20") for text in said
    )
    assert said[-2:] == ["schemes differ in sign on listed atoms: Li30", "schemes differ in sign on other atoms: C5"]
    assert not differ_in_sign([0.04, -0.5])
    assert differ_in_sign([0.06, -0.5])


# --- geometries ------------------------------------------------------------------------------------------------------


def test_geometries_read_back(bundle: Bundle, files: dict[str, bytes]) -> None:
    names = {name.removeprefix("geometries/").removesuffix(".xyz") for name in files if name.startswith("geometries/")}
    assert names == set(bundle.by_id)
    for record in bundle.records:
        text = files[f"geometries/{record.id}.xyz"].decode()
        symbols, positions = parse_xyz(text)
        assert list(symbols) == record.symbols
        assert positions == pytest.approx(np.array(record.positions_angstrom), abs=1e-8)
        assert f"energy_hartree={record.energy_hartree:.10f}" in text.splitlines()[1]


def test_distances_are_those_of_the_geometry(bundle: Bundle, report: Report) -> None:
    for planned, one in zip(bundle.plan.rows, report.rows, strict=True):
        positions = np.array(bundle.by_id[planned.complex_leg.energy].positions_angstrom)
        assert one.distances
        for distance in one.distances:
            apart = np.linalg.norm(positions[distance.host_atom] - positions[distance.guest_atom])
            assert distance.angstrom == pytest.approx(apart, abs=1e-12)
        wanted = 6 if planned.site_kind == "face" else 2
        assert len(one.distances) == wanted
        if wanted == 2:  # the anchors are the two nearest atoms
            nearest = np.sort(np.linalg.norm(positions[:30] - positions[30], axis=1))[:2]
            assert sorted(d.angstrom for d in one.distances) == pytest.approx(nearest, abs=1e-12)


def test_every_guest_of_several_has_its_distances(bundle: Bundle) -> None:
    source = load_study("hatcn")
    study = source.study.model_copy(update={"guests_per_complex": 2, "published": []})
    plan = make_plan(study, "screen", source.folder, sites=["bay + bay"], guests=["Li"])
    (row,) = plan.rows
    given = plan.calculations[row.complex_leg.ids[0]]
    assert given.positions is not None
    record = bundle.records[0].model_copy(
        update={"symbols": list(given.symbols), "positions_angstrom": list(given.positions)}
    )
    assert fragments_of(plan, row, 32) == {"HATCN": tuple(range(30)), "Li (1)": (30,), "Li (2)": (31,)}
    found = anchor_distances(plan, row, record, row.site)
    assert [distance.guest_atom for distance in found] == [30, 30, 31, 31]
    assert len({distance.host_atom for distance in found}) == 4
    assert [distance.angstrom for distance in found] == pytest.approx([found[0].angstrom] * 4, abs=1e-3)
    away = [*given.positions[:31], (0.0, 0.0, 5.0)]
    moved = record.model_copy(update={"positions_angstrom": away})
    nearest = [one for one in anchor_distances(plan, row, moved, None) if one.guest_atom == 31]
    assert len(nearest) == 3  # of the ring in the middle, as it is at no site
    assert all(5.0 < one.angstrom < 5.4 for one in nearest)


def test_hosts_without_rows_are_shown(bundle: Bundle) -> None:
    plan = bundle.plan.model_copy(update={"rows": [], "alone": {"HATCN": bundle.plan.rows[0].host_leg}})
    report = make_report(ReportSource(plan, bundle.by_id))
    (host,) = report.alone
    assert host.record.formula == "C18N12"
    files = report_files(report)
    page = files["index.html"].decode()
    assert "Hosts alone" in page
    assert "table.csv" not in files
    assert {"pictures/host-01-HATCN-structure.png", "pictures/host-01-HATCN-charges.svg"} <= set(files)
    assert Page(page).open == []


# --- spin states -----------------------------------------------------------------------------------------------------


def test_boltzmann_weights(report: Report) -> None:
    """25.69 meV is kT at 298.15 K: a triplet as high as that over a singlet has 3/e of its weight."""
    kt = 0.0256926
    states = [
        SpinState(part="complex", multiplicity=3, above_lowest_ev=kt, calculation="b"),
        SpinState(part="complex", multiplicity=1, above_lowest_ev=0.0, calculation="a"),
    ]
    row = report.table.rows[0].model_copy(update={"states": states})
    lines = state_lines(report.table.model_copy(update={"rows": [row]}))
    assert [line.state.multiplicity for line in lines] == [1, 3]
    assert lines[0].weight is not None
    assert lines[1].weight is not None
    assert lines[0].weight + lines[1].weight == pytest.approx(1.0)
    assert lines[1].weight / lines[0].weight == pytest.approx(3 / np.e, rel=1e-4)
    open_state = states[0].model_copy(update={"above_lowest_ev": None, "problem": "not computed yet"})
    row = report.table.rows[0].model_copy(update={"states": [open_state, states[1]]})
    assert [line.weight for line in state_lines(report.table.model_copy(update={"rows": [row]}))] == [None, None]


def test_preferred_places(report: Report, files: dict[str, bytes]) -> None:
    assert [one.guest for one in report.preferences] == ["Li", "Na"]
    text = files["report.md"].decode()
    assert "| Li on HATCN | nitrile corner (Li2) | 2 | -2.72 | 0.712 | 0.63 | +0.08 | 3 |" in text
    assert "| Na on HATCN | average |  | -2.50 |" in text
    assert 'id="preference"' in files["index.html"].decode()


# --- methods, references, differences --------------------------------------------------------------------------------


def parsed(text: str) -> list[dict[str, str]]:
    """Entries as an independent reader of BibTeX has them."""
    import bibtexparser

    parser = bibtexparser.bparser.BibTexParser(common_strings=True, ignore_nonstandard_types=False)
    found: list[dict[str, str]] = bibtexparser.loads(text, parser).entries
    return found


def test_every_citation_is_bibtex() -> None:
    entries = {entry["ID"]: entry for entry in parsed(bibtex(CITATIONS, "10.1/x", "A & B"))}
    assert set(entries) == {*CITATIONS, "study"}
    for key, cited in CITATIONS.items():
        entry = entries[key]
        assert entry["ENTRYTYPE"] == "article"
        assert entry["doi"] == cited.doi
        assert re.fullmatch(r"10\.\d{4,9}/\S+", cited.doi)
        assert int(entry["year"]) == cited.year
        assert 1950 <= cited.year <= 2026
        assert all(", " in name for name in cited.author.split(" and ")), key
        assert re.fullmatch(r"\w+(-\d+)?", cited.pages)
    assert len({cited.doi for cited in CITATIONS.values()}) == len(CITATIONS)
    assert entries["study"]["doi"] == "10.1/x"
    assert r"A \& B" in entries["study"]["title"]
    with pytest.raises(UnknownNameError, match="unknown citation 'd33'; did you mean 'd3'"):
        bibtex(["d33"])


def test_only_what_was_used_is_cited(bundle: Bundle, files: dict[str, bytes]) -> None:
    keys = {entry["ID"] for entry in parsed(files["references.bib"].decode())}
    assert {"study", "becke1993", "lyp", "stephens1994", "d3", "bj", "pople6311", "jkfit", "gfn2", "tblite", "ase",
            "pyscf2018", "pyscf2020", "libcint", "fireworks", "mulliken"} <= keys  # fmt: skip
    assert not keys & {"geometric", "boysbernardi", "chelpg", "resp", "def2", "pbe", "d4", "pople631", "politzermurray"}
    methods = methods_of(bundle.plan, bundle.by_id)
    assert keys == {*methods.keys, "study"}
    assert set(re.findall(r"@(\w+)", methods.markdown())) == set(methods.keys)


def test_the_paragraph_says_what_the_records_say(bundle: Bundle) -> None:
    text = methods_of(bundle.plan, bundle.by_id).plain()
    for words in ("GFN2-xTB", "0.005 eV/Angstrom", "VWN-RPA", "Becke-Johnson", "6-311G(d,p) basis (Li, C, N, Na)",
                  "fitted with def2-universal-jkfit", "pruned (99,590) grid", "1e-07 Hartree",
                  "not tested for stability", "PySCF 2.14.0", "No counterpoise correction"):  # fmt: skip
        assert words in text
    level = next(r.level_of_theory for r in bundle.records if isinstance(r.level_of_theory, KohnSham))
    other = level.model_copy(update={"fitting": None, "dispersion": "d4", "functional": "pbe0", "basis": "def2-svp"})
    changed = {
        record.id: record.model_copy(update={"level_of_theory": other}) if record.step == "energy" else record
        for record in bundle.records
    }
    methods = methods_of(bundle.plan, changed)
    assert "exact (no density fitting)" in methods.plain()
    assert {"pbe0", "d4", "def2"} <= set(methods.keys)
    assert not {"becke1993", "d3", "jkfit", "pople6311"} & set(methods.keys)
    assert methods_of(bundle.plan, {}).plain() == "Nothing is computed yet."


def test_differences_are_computed(bundle: Bundle) -> None:
    found = {one.aspect: one for one in differences(bundle.plan, bundle.by_id)}
    assert found["geometries"].differs
    assert found["geometries"].here == "relaxed at gfn2-xtb"
    assert found["two-electron integrals"].differs
    same = ("functional", "dispersion", "basis", "integration grid", "solvent", "counterpoise correction")
    assert [found[aspect].differs for aspect in same] == [False] * len(same)
    small = shipped_bundle("hatcn", "screen")
    screened = {one.aspect: one for one in differences(small.plan, small.by_id)}
    assert screened["basis"].differs
    assert (screened["basis"].published, screened["basis"].here) == ("6-311g(d,p)", "6-31g")
    assert screened["integration grid"].differs
    silent = bundle.plan.model_copy(
        update={"study": bundle.plan.study.model_copy(update={"published_level": "not stated"})}
    )
    unknown = {one.aspect: one for one in differences(silent, bundle.by_id)}
    assert [(unknown[name].published, unknown[name].differs) for name in ("geometries", "energies")] == [
        ("not stated", None)
    ] * 2
    assert "basis" not in unknown
    stated = bundle.plan.study.model_copy(update={"published_level": "pbe0/def2-svp"})
    other = differences(bundle.plan.model_copy(update={"study": stated}), bundle.by_id)
    assert next(one for one in other if one.aspect == "functional").published == "pbe0"
    order = [one.differs for one in differences(bundle.plan, bundle.by_id)]
    assert order == sorted(order, key=(True, None, False).index)
    unpublished = [row.model_copy(update={"published_ev": None}) for row in bundle.plan.rows]
    assert differences(bundle.plan.model_copy(update={"rows": unpublished}), bundle.by_id) == []


# --- failures --------------------------------------------------------------------------------------------------------


def test_failures_and_what_is_missing(bundle: Bundle) -> None:
    failed = bundle.plan.rows[1].complex_leg.energy
    missing = bundle.plan.rows[2].complex_leg.energy
    records = {i: record for i, record in bundle.by_id.items() if i not in (failed, missing)}
    problems = {failed: "scf_not_converged: 80 cycles and no end"}
    plan = bundle.plan.model_copy(update={"rows": bundle.plan.rows[:3]})
    report = make_report(ReportSource(plan, records, problems, command="hatcn --protocol published-sp"))
    (failure,) = report.failures
    assert (failure.calculation, failure.command) == (failed, f"alkaflow retry {failed[:8]}")
    assert "check charge and multiplicity" in failure.advice
    assert list(report.missing) == [missing]
    page = report_files(report)["index.html"].decode()
    for words in ("scf_not_converged: 80 cycles and no end", f"alkaflow why {failed[:8]}",
                  "alkaflow reproduce hatcn --protocol published-sp", "No number: not computed yet"):  # fmt: skip
        assert words in page


def test_a_report_on_nothing_yet(bundle: Bundle) -> None:
    files = report_files(make_report(ReportSource(bundle.plan, {}, command="hatcn")))
    assert "Nothing is computed yet." in files["report.md"].decode()
    assert not any(name.startswith("geometries/") for name in files)


# --- page and Markdown -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Elements, and cells of tables."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def test_the_page_loads_nothing(files: dict[str, bytes]) -> None:
    page = Page(files["index.html"].decode())
    assert page.open == []
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        assert (attributes.get("src") or "data:").startswith("data:")
        if tag == "a":
            target = attributes["href"] or ""
            assert target.startswith(("#", "https://doi.org/")) or target.rstrip("/") in beside(files), target
        if tag == "img":
            assert attributes["alt"]
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "connect-src" not in policy
    assert "script-src 'unsafe-inline';" in policy  # what is in the page, and nothing else


def beside(files: dict[str, bytes]) -> set[str]:
    return {"archive.zip", *(name.split("/")[0] for name in files)}


def test_page_and_markdown_show_the_table(report: Report, files: dict[str, bytes]) -> None:
    page, markdown = Page(files["index.html"].decode()), files["report.md"].decode()
    body = page.tables[0][1:]
    assert [(row[0], row[4], row[7]) for row in body] == [
        (row.label, f"{row.computed_ev:.2f}", row.verdict) for row in report.table.rows
    ]
    for row in report.table.rows:
        assert re.search(rf"^\| {row.label} \|.* {row.computed_ev:.2f} \|", markdown, re.MULTILINE)
    for note in report.source.plan.study.notes:
        assert note.split(";")[0][:40].replace("_", r"\_") in markdown
    targets = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown)
    assert len(targets) == 14
    assert set(targets) <= set(files)


def test_names_are_escaped(bundle: Bundle) -> None:
    study = bundle.plan.study.model_copy(update={"title": NASTY, "notes": [NASTY]})
    rows = [bundle.plan.rows[0].model_copy(update={"label": NASTY[:60], "source": NASTY})]
    plan = bundle.plan.model_copy(update={"study": study, "rows": rows})
    files = report_files(make_report(ReportSource(plan, bundle.by_id)))
    page = Page(files["index.html"].decode())
    assert page.open == []
    scripts = [attributes.get("type") for tag, attributes in page.elements if tag == "script"]
    assert scripts == [None, "application/json", None]  # the library, one view, and what draws it
    assert page.tables[0][1][0] == NASTY[:60]
    assert all(re.fullmatch(r"(\w+/)?[A-Za-z0-9._-]+", name) for name in files)
    assert len(parsed(files["references.bib"].decode())) > 10
    assert row_stem(0, "../../etc/passwd") == "01-..-..-etc-passwd"


def test_pictures_are_whole(files: dict[str, bytes]) -> None:
    names = {name.rpartition(".")[0] for name in files if name.startswith("pictures/")}
    assert len(names) == 14
    for name in names:
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert ET.fromstring(files[f"{name}.svg"]).tag.endswith("svg")  # noqa: S314  (made a moment ago)


def browser() -> str:
    """The path of a Chromium; skips on a user's machine without one, fails in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        reason = f"no browser on this machine: none of {', '.join(names)}"
        (pytest.fail if os.environ.get("ALKAFLOW_CI") == "1" else pytest.skip)(reason)
    return found


def test_a_browser_without_network_shows_the_page(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(files["index.html"])
    command = [
        browser(), "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'p'}",
        "--proxy-server=127.0.0.1:9", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        "--window-size=1200,2000", f"--screenshot={tmp_path / 'page.png'}", "--dump-dom",
        (tmp_path / "index.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    seen = Page(done.stdout)
    assert 8 <= sum(tag == "img" for tag, _ in seen.elements) <= 14  # stills of what is drawn may be gone
    states = [attributes.get("data-view") for tag, attributes in seen.elements if tag == "figure"]
    assert states.count(None) < len(states), "there are views"
    assert "failed" not in states
    from matplotlib import image

    pixels = image.imread(tmp_path / "page.png")[..., :3]
    assert (pixels < 0.5).any(axis=-1).mean() > 0.01


# --- potentials ------------------------------------------------------------------------------------------------------


def sphere(shift: float) -> dict[str, np.ndarray]:
    """An octahedron about the first atom with a potential along x [bohr, Hartree/e]."""
    corners = np.vstack([np.eye(3), -np.eye(3)])
    faces = [(0, 1, 2), (1, 3, 2), (3, 4, 2), (4, 0, 2), (1, 0, 5), (3, 1, 5), (4, 3, 5), (0, 4, 5)]
    return {"vertices": 4.0 * corners, "faces": np.array(faces), "normals": corners,
            "potential": 0.05 * corners[:, 0] + shift, "nearest_atom": np.zeros(6, dtype=int)}  # fmt: skip


def with_surface(bundle: Bundle) -> tuple[Plan, dict[str, Record], dict[str, bytes]]:
    """The first row with a record of the step properties, as it would be."""
    row = bundle.plan.rows[0]
    energy = bundle.by_id[row.complex_leg.energy]
    buffer = io.BytesIO()
    np.savez(buffer, **sphere(0.01))
    data = buffer.getvalue()
    extremum = SurfaceExtremum(value_kcal_mol=37.7, position_angstrom=(2.1, 0.0, 0.0), atom=0)
    surface = Surface(
        isovalue=0.001, area_angstrom2=300.0, volume_angstrom3=400.0, positive_area_angstrom2=200.0,
        negative_area_angstrom2=100.0, mean_kcal_mol=5.0, mean_positive_kcal_mol=12.0, mean_negative_kcal_mol=-8.0,
        average_deviation_kcal_mol=9.0, variance_positive=40.0, variance_negative=20.0, variance=60.0, balance=0.2222,
        v_s_max=[extremum], v_s_min=[extremum.model_copy(update={"value_kcal_mol": -25.1})],
    )  # fmt: skip
    assert energy.populations is not None
    charges = energy.populations.charges
    described = energy.model_copy(
        update={
            "id": "f" * 20, "step": "properties", "surface": surface,
            "orbitals": FileReference(sha256=sha256_of(data), bytes=len(data), format="npz"),
            "populations": Charges(charges={**charges, "chelpg": charges["mulliken"]}),
        }
    )  # fmt: skip
    leg = row.complex_leg.model_copy(update={"properties": described.id})
    given = bundle.plan.calculations[energy.id].model_copy(update={"step": "properties"})
    plan = bundle.plan.model_copy(
        update={
            "rows": [row.model_copy(update={"complex_leg": leg})],
            "calculations": {**bundle.plan.calculations, described.id: given},
            "titles": {**bundle.plan.titles, described.id: "Li at imine bay of HATCN, properties"},
        }
    )
    return plan, {**bundle.by_id, described.id: described}, {sha256_of(data): data}


def test_potentials_are_shown_where_they_are(bundle: Bundle, files: dict[str, bytes]) -> None:
    assert "alkaflow reproduce hatcn --protocol published-sp --properties" in files["index.html"].decode()
    plan, records, kept = with_surface(bundle)
    report = make_report(ReportSource(plan, records, read_file=kept.__getitem__))
    (entry,) = report.surfaces
    assert entry.mesh is not None
    made = report_files(report)
    page = made["index.html"].decode()
    assert "--properties" not in page
    assert f"pictures/potential-{'f' * 20}.png" in made
    for number in ("+37.7", "-25.1", "0.222"):
        assert number in page
    assert "CHELPG" in page
    keys = set(report.methods.keys)
    assert {"chelpg", "politzermurray"} <= keys
    assert page.count('class="view3d"') == len(plan.rows) + 1
    without = make_report(ReportSource(plan, records))
    assert without.surfaces[0].mesh is None
    assert "Its surface is not at hand" in report_files(without)["report.md"].decode()


def test_files_of_the_same_records_are_the_same(bundle: Bundle) -> None:
    plan = bundle.plan.model_copy(update={"rows": bundle.plan.rows[:1]})
    first, second = (report_files(make_report(ReportSource(plan, bundle.by_id))) for _ in range(2))
    assert {name: sha256_of(data) for name, data in first.items()} == {n: sha256_of(d) for n, d in second.items()}


def test_the_shipped_report_shows_charges_in_order_and_surfaces_to_turn(shipped: Bundle) -> None:
    files = shipped_studies()["hatcn"] / "published-sp.orbitals.zip"
    source = ReportSource(shipped.plan, shipped.by_id, read_file=lambda sha256: read_orbital_file(files, sha256))
    report = make_report(source)
    assert len(report.surfaces) == 7
    assert all(entry.mesh is not None for entry in report.surfaces)
    panel = report.rows[0].charges
    assert panel is not None
    assert list(panel.charges) == [scheme.name for scheme in SCHEMES]
    for scheme, sums in panel.sums.items():
        assert sum(sums.values()) == pytest.approx(0, abs=2e-3), scheme
    minima = [entry.surface.v_s_min[0] for entry in report.surfaces if entry.name == "HATCN"]
    assert shipped.plan.hosts["HATCN"].symbols[minima[0].atom] == "N"
