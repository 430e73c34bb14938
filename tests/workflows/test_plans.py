from pathlib import Path

import pytest
from pyscf import gto

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Xtb, parse_level
from alkaflow.plans import Plan
from alkaflow.studies import Study
from alkaflow.workflows import PROTOCOLS, calibrate, estimate, load_study, make_plan, shipped_studies
from alkaflow.workflows.basis import check_level, count_functions


def study(**changes: object) -> Study:
    values: dict[str, object] = {
        "name": "test",
        "hosts": [{"name": "HATCN", "builtin": "hatcn"}],
        "guests": ["Li", "Na"],
        "sites": ["bay", "corner", "pyrazine face"],
        "protocol": "screen",
        "published": [{"label": "M1", "host": "HATCN", "guest": "Li", "site": "bay", "value_ev": -3.44}],
    }
    return Study.model_validate(values | changes)


def test_every_leg_is_there_and_shared() -> None:
    plan = make_plan(study())
    assert len(plan.rows) == 6
    # six complexes and the host, two steps each; two atoms, one step each
    assert len(plan.calculations) == 16
    assert len({row.host_leg.energy for row in plan.rows}) == 1
    assert {row.site for row in plan.rows} == {"bay-1", "corner-1", "face-1"}
    assert plan.rows[0].label == "M1"
    assert plan.rows[1].published_ev is None
    levels = {type(given.level) for given in plan.calculations.values()}
    assert levels == {Xtb, KohnSham}


def test_parents_come_before_children_and_ids_are_hashes() -> None:
    plan = make_plan(study())
    seen: set[str] = set()
    for calculation, given in plan.calculations.items():
        assert given.id == calculation
        assert given.parent is None or given.parent in seen
        seen.add(calculation)


def test_plans_are_reproducible_and_protocols_share_relaxations() -> None:
    screen, single = make_plan(study()), make_plan(study(), "published-sp")
    assert make_plan(study()) == screen
    shared = set(screen.calculations) & set(single.calculations)
    assert {screen.calculations[i].step for i in shared} == {"relax"}
    assert len(shared) == 7
    assert Plan.model_validate_json(screen.model_dump_json()) == screen


def test_multiplicities_are_explicit() -> None:
    for given in make_plan(study()).calculations.values():
        assert given.multiplicity == (2 if {"Li", "Na"} & set(given.symbols) else 1)


def test_sites_asked_for_by_name() -> None:
    plan = make_plan(study(), sites=["central face"], guests=["Na"])
    assert [(row.guest, row.site_label, row.published_ev) for row in plan.rows] == [("Na", "central face", None)]


def test_a_level_of_the_studys_own() -> None:
    plan = make_plan(study(level="pbe0-d3bj/def2-svp"))
    assert plan.level == "pbe0-d3bj/def2-svp//gfn2-xtb"
    with pytest.raises(BadInputError, match="cannot give the final energy"):
        make_plan(study(level="gfn2-xtb"))


def published(label: str, site: str) -> dict[str, object]:
    return {"label": label, "host": "HATCN", "guest": "Li", "site": site, "value_ev": -1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": ["bays"]}, "unknown site 'bays'; did you mean 'bay.*this host has bay-1"),
        ({"guests": ["Li", "Xe"]}, "unknown guest 'Xe'"),
        ({"protocol": "scren"}, "did you mean 'screen'"),
        ({"level": "b3lyp/6-31gg"}, "unknown basis '6-31gg'; did you mean '6"),
        ({"level": "b3lyq/6-31g"}, "unknown functional 'b3lyq'; did you mean 'b3lyp'"),
        ({"hosts": [{"name": "HATCN", "builtin": "hatcm"}]}, "unknown built-in host 'hatcm'; did you mean 'hatcn'"),
        (
            {"hosts": [{"name": "HATCN", "builtin": "hatcn", "multiplicity": 2}]},
            "192 electrons cannot have multiplicity 2",
        ),
        ({"hosts": [{"name": "HATCN", "file": "nowhere.xyz"}]}, "cannot read nowhere.xyz"),
        ({"sites": ["bay"], "published": [published("F", "face")]},
         "site 'face' is ambiguous"),
        ({"sites": ["bay"], "published": [published("C", "corner")]},
         "not among the study's sites"),
        ({"published": [published(x, "bay") for x in "AB"]},
         "'A' and 'B' name the same site"),
    ],
)  # fmt: skip
def test_bad_studies_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        make_plan(study(**changes))


def test_hosts_from_files_are_relative_to_the_study(tmp_path: Path) -> None:
    (tmp_path / "n2.xyz").write_text("2\n\nN 0 0 0\nN 0 0 1.1\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="no site of kind 'bay'; it has lone-pair-1"):
        make_plan(study(hosts=[{"name": "HATCN", "file": "n2.xyz"}], published=[]), folder=tmp_path)


def test_elements_beyond_the_basis() -> None:
    with pytest.raises(BadInputError, match=r"6-311g\(d,p\) has no functions for Ti"):
        check_level(parse_level("b3lyp/6-311g(d,p)"), ("Ti", "O"))  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="Zr needs an effective core potential"):
        check_level(parse_level("b3lyp/def2-svp"), ("Zr",))  # type: ignore[arg-type]


@pytest.mark.parametrize("basis", ["lanl2dz", "bfd-vdz", "ccecp-cc-pvdz", "gth-dzvp"])
def test_bases_that_belong_to_core_potentials_are_refused(basis: str) -> None:
    with pytest.raises(BadInputError, match=r"effective core potential|no functions|unknown basis"):
        check_level(KohnSham(functional="b3lyp", basis=basis), ("Na",))


@pytest.mark.parametrize("basis", ["6-31g(q)", "6-31g(dd)", "6-31g()", "6-31g*(d)"])
def test_malformed_pople_names_are_refused(basis: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown basis"):
        check_level(KohnSham(functional="b3lyp", basis=basis), ("C",))


def test_a_site_that_one_host_lacks_is_taken_where_it_is() -> None:
    hosts = [{"name": "HATCN", "builtin": "hatcn"}, {"name": "pyrazine", "builtin": "pyrazine"}]
    plan = make_plan(study(hosts=hosts, guests=["Li"], published=[]))
    assert [(row.host, row.site_kind) for row in plan.rows] == [
        ("HATCN", "bay"), ("HATCN", "corner"), ("HATCN", "face"), ("pyrazine", "face")
    ]  # fmt: skip
    with pytest.raises(BadInputError, match="host 'pyrazine': this host has no site of kind 'bay'"):
        make_plan(study(hosts=hosts, guests=["Li"], sites=["bay"], published=[]))
    with pytest.raises(UnknownNameError, match="unknown site 'cornr'"):
        make_plan(study(hosts=hosts, guests=["Li"], sites=["face", "cornr"], published=[]))


def test_charges_of_hosts() -> None:
    anion = {"name": "A", "smiles": "[O-]c1cnccn1"}
    plain = make_plan(study(hosts=[anion], sites=["face"], guests=["Li"], published=[]))
    assert plain.hosts["A"].charge == -1
    with pytest.raises(BadInputError, match="host 'A': charge 0 contradicts the SMILES, which says -1"):
        make_plan(study(hosts=[anion | {"charge": 0}], sites=["face"], guests=["Li"], published=[]))


def test_basis_data_is_never_read_from_paths() -> None:
    for name in ("/etc/passwd", "6-31g\nC S", "../6-31g"):
        with pytest.raises(BadInputError):
            parse_level(f"b3lyp/{name}")
    with pytest.raises(UnknownNameError):
        check_level(KohnSham(functional="b3lyp", basis="etc"), ("C",))


@pytest.mark.parametrize("basis", ["6-31g", "6-311g(d,p)", "def2-svp"])
def test_functions_are_counted_as_pyscf_does(basis: str) -> None:
    symbols = ("C", "N", "Li", "Na", "H", "H")
    molecule = gto.M(atom=[(s, (3.0 * i, 0.0, 0.0)) for i, s in enumerate(symbols)], basis=basis, spin=1, verbose=0)
    assert count_functions(basis, symbols) == molecule.nao
    # 6-311G(d,p) by hand: C and N 18, Li 18, Na 26, H 6
    assert count_functions("6-311g(d,p)", symbols) == 18 + 18 + 18 + 26 + 6 + 6


def test_costs_grow_with_what_is_asked() -> None:
    plan, single = make_plan(study()), make_plan(study(), "published-sp")
    energy = plan.calculations[plan.rows[0].complex_leg.energy]
    fine = single.calculations[single.rows[0].complex_leg.energy]
    assert estimate(energy, 2).basis_functions == 279
    assert estimate(fine, 2).basis_functions == 558
    assert estimate(fine, 2).seconds > 3 * estimate(energy, 2).seconds > 0
    assert estimate(energy, 1).seconds > estimate(energy, 2).seconds
    # the three-index integrals of HATCN + Li at 6-311G(d,p): 2325 x 558 x 559 / 2 doubles
    assert estimate(fine, 2).memory_mb > 2325 * 558 * 559 / 2 * 8 / 1e6
    assert calibrate([]) == 1.0


def test_shipped_studies_can_be_planned() -> None:
    assert {"hatcn", "dicyanopyrazine"} <= set(shipped_studies())
    for name in shipped_studies():
        source = load_study(name)
        assert source.study.name == name
        for protocol in PROTOCOLS:
            assert make_plan(source.study, protocol, source.folder).rows


def test_unknown_study() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hatcn'"):
        load_study("hatnc")
    with pytest.raises(BadInputError, match="cannot read"):
        load_study("nowhere.yaml")


def test_composite_goes_through_a_small_basis_and_searches_states() -> None:
    plan = make_plan(study(guests=["Li"], sites=["bay"], published=[]), "composite")
    (row,) = plan.rows
    xtb, small, energy = (plan.calculations[i] for i in row.complex_leg.ids)
    assert (xtb.step, small.step, energy.step) == ("relax", "relax", "energy")
    assert (str(xtb.level), str(small.level), str(energy.level)) == (
        "gfn2-xtb", "b3lyp-d3bj/6-31g(d)", "b3lyp-d3bj/6-311g(d,p)"
    )  # fmt: skip
    assert (small.parent, energy.parent) == (xtb.id, small.id)
    assert small.fragments is not None
    assert [(len(f.atoms), f.charge, f.multiplicity) for f in small.fragments] == [(30, 0, 1), (1, 0, 2)]
    assert [len(plan.calculations[i].positions or ()) for i in row.guest_leg.ids] == [1]


def test_published_relaxes_at_the_published_level() -> None:
    plan = make_plan(study(guests=["Li"], sites=["bay"], published=[]), "published")
    levels = [str(plan.calculations[i].level) for i in plan.rows[0].complex_leg.ids]
    assert levels == ["gfn2-xtb", "b3lyp-d3bj/6-31g(d)", "b3lyp-d3bj/6-311g(d,p)", "b3lyp-d3bj/6-311g(d,p)"]
    assert plan.level == "b3lyp-d3bj/6-311g(d,p)//b3lyp-d3bj/6-311g(d,p)"
