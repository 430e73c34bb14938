from pathlib import Path

import pytest
from pyscf import gto

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Xtb, level_hash, parse_level
from alkaflow.plans import Leg, Plan
from alkaflow.structures import get_guest, load_host
from alkaflow.studies import Study
from alkaflow.workflows import PROTOCOLS, calibrate, estimate, load_study, make_plan, plan_single, shipped_studies
from alkaflow.workflows.basis import check_level, count_functions
from alkaflow.workflows.constraints import read_constraints


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


@pytest.mark.parametrize("basis", ["bfd-vdz", "ccecp-cc-pvdz"])
def test_bases_whose_core_potential_is_not_there_are_refused(basis: str) -> None:
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
    unknown = "host 'HATCN': unknown site 'cornr'; did you mean 'corner.*; host 'pyrazine': unknown site 'cornr'"
    with pytest.raises(BadInputError, match=unknown):
        make_plan(study(hosts=hosts, guests=["Li"], sites=["face", "cornr"], published=[]))


def test_a_host_without_any_of_the_sites_has_no_row() -> None:
    hosts = [{"name": name, "builtin": name} for name in ("water", "pyrazine", "acetonitrile")]
    lithium = study(hosts=hosts, guests=["Li"], sites=["lone-pair"], published=[])
    plan = make_plan(lithium, sites=["face"])
    assert [(row.host, row.site_kind) for row in plan.rows] == [("pyrazine", "face")]
    assert list(plan.hosts) == ["pyrazine"]
    assert make_plan(lithium.model_copy(update={"sites": ["face"]})).rows == plan.rows
    with pytest.raises(BadInputError, match=r"host 'water': this host has no site of kind 'bay'.*host 'acetonitrile'"):
        make_plan(lithium, sites=["face", "bay"])


def test_a_published_row_at_a_site_that_its_host_lacks() -> None:
    hosts = [{"name": name, "builtin": name} for name in ("hatcn", "pyrazine")]
    row = {"label": "M2", "host": "pyrazine", "guest": "Li", "value_ev": -1.0}
    message = "published row 'M2', host 'pyrazine': this host has no site of kind 'bay'"
    with pytest.raises(BadInputError, match=message):
        make_plan(study(hosts=hosts, sites=["bay"], published=[row | {"site": "bay"}]))
    with pytest.raises(BadInputError, match="published row 'M2': site 'face' is not among"):
        make_plan(study(hosts=hosts, sites=["bay"], published=[row | {"site": "face"}]))


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


def test_a_study_may_have_single_points_search_states() -> None:
    """The complexes are other calculations then; hosts, guests and geometries stay what they were."""
    plain, searching = (make_plan(study(published=[], states=wanted), "published-sp") for wanted in (False, True))
    new = set(searching.calculations) - set(plain.calculations)
    assert new == {row.complex_leg.energy for row in searching.rows}
    for number in new:
        given = searching.calculations[number]
        assert given.searches_states
        assert [(len(f.atoms), f.charge, f.multiplicity) for f in given.fragments or ()] == [(30, 0, 1), (1, 0, 2)]
    assert not any(given.searches_states for given in plain.calculations.values())


def test_an_open_shell_host_is_searched_with_its_complexes() -> None:
    hosts = [{"name": "FeN4", "builtin": "fe-n4-pyrene", "multiplicity": 3}]
    changes = {"hosts": hosts, "guests": ["Li"], "sites": ["Fe top"], "published": [], "multiplicities": [2]}
    (row,) = make_plan(study(**changes, states=True), "published-sp").rows
    plan = make_plan(study(**changes, states=True), "published-sp")
    host, complex_ = (plan.calculations[leg.energy] for leg in (row.host_leg, row.complex_leg))
    assert host.searches_states
    assert [(len(part.atoms), part.multiplicity) for part in host.fragments or ()] == [(len(host.symbols), 3)]
    assert complex_.searches_states
    plain = make_plan(study(**changes), "published-sp")
    assert len(set(plan.calculations) - set(plain.calculations)) == 2


def test_closed_shells_are_the_same_calculations_with_and_without_a_search() -> None:
    ions = {"guests": ["Na+"], "published": []}
    plans = [make_plan(study(**ions, states=wanted), "published-sp") for wanted in (False, True)]
    assert set(plans[0].calculations) == set(plans[1].calculations)


def test_a_study_that_searches_before_its_relaxations_does_so_once() -> None:
    plain, searching = (make_plan(study(published=[], states=wanted), "composite") for wanted in (False, True))
    assert set(searching.calculations) == set(plain.calculations)


def test_published_relaxes_at_the_published_level() -> None:
    plan = make_plan(study(guests=["Li"], sites=["bay"], published=[]), "published")
    levels = [str(plan.calculations[i].level) for i in plan.rows[0].complex_leg.ids]
    assert levels == ["gfn2-xtb", "b3lyp-d3bj/6-31g(d)", "b3lyp-d3bj/6-311g(d,p)", "b3lyp-d3bj/6-311g(d,p)"]
    assert plan.level == "b3lyp-d3bj/6-311g(d,p)//b3lyp-d3bj/6-311g(d,p)"


# --- elements that the basis lacks ------------------------------------------------------------------------------------


def test_all_legs_of_a_row_have_the_level_that_its_elements_need() -> None:
    plan = make_plan(study(guests=["Li", "Zn"], sites=["bay"], published=[]), "published-sp")
    lithium, zinc = plan.rows
    levels = [
        {level_hash(plan.calculations[leg.energy].level) for leg in (row.complex_leg, row.host_leg, row.guest_leg)}
        for row in (lithium, zinc)
    ]
    assert [len(each) for each in levels] == [1, 1]
    assert levels[0] != levels[1]
    alone = make_plan(study(guests=["Li"], sites=["bay"], published=[]), "published-sp")
    assert alone.rows[0] == lithium  # what Zn needs changes nothing for Li


# --- parts of the energy ----------------------------------------------------------------------------------------------


def one(**changes: object) -> Plan:
    return make_plan(study(**({"guests": ["Li"], "sites": ["bay"], "published": []} | changes)))


def test_parts_need_the_halves_at_the_geometry_of_the_complex() -> None:
    plain, plan = one(), one(decomposition=True)
    (row,) = plan.rows
    assert set(plain.calculations) < set(plan.calculations)
    (frozen,) = set(plan.calculations) - set(plain.calculations)
    halves = row.complex_leg.halves
    assert halves is not None
    assert (halves.host, halves.guest) == ([frozen], row.guest_leg.energy)  # an atom is not deformed
    given = plan.calculations[frozen]
    assert (given.step, given.parent, given.subset) == ("energy", row.complex_leg.ids[0], tuple(range(30)))
    assert given.level == plan.calculations[row.complex_leg.energy].level
    assert (given.charge, given.multiplicity, "".join(given.symbols[:1] + given.symbols[-1:])) == (0, 1, "CN")
    assert row.complex_leg.ids == plain.rows[0].complex_leg.ids


def test_counterpoise_needs_the_basis_of_the_whole() -> None:
    apart, plan = one(decomposition=True), one(counterpoise=True)
    (row,) = plan.rows
    assert set(apart.calculations) < set(plan.calculations)
    assert len(plan.calculations) == len(apart.calculations) + 2
    halves = row.complex_leg.halves
    assert halves is not None
    host, guest = (plan.calculations[i] for i in (halves.host_in_basis[0], str(halves.guest_in_basis)))
    assert (host.ghosts, guest.ghosts) == ((30,), tuple(range(30)))
    assert (host.real_symbols, guest.real_symbols) == (host.symbols[:30], ("Li",))
    assert (host.multiplicity, guest.multiplicity) == (1, 2)
    assert {host.parent, guest.parent} == {row.complex_leg.ids[0]}
    assert (host.subset, guest.subset) == (None, None)


def test_a_molecule_is_deformed_too() -> None:
    plan = one(guests=["H2O"], sites=["acidic"], hosts=[{"name": "pyrrole", "builtin": "pyrrole"}], decomposition=True)
    halves = plan.rows[0].complex_leg.halves
    assert halves is not None
    water = plan.calculations[halves.guest]
    assert water.subset == (10, 11, 12)
    assert water.symbols == ("O", "H", "H")
    assert halves.guest != plan.rows[0].guest_leg.energy


def test_frequencies_belong_to_the_last_relaxation() -> None:
    plain = make_plan(study(guests=["Li"], sites=["bay"], published=[]), "composite")
    plan = make_plan(study(guests=["Li"], sites=["bay"], published=[], frequencies=True), "composite")
    (row,) = plan.rows
    assert row.guest_leg.frequencies is None  # an atom
    assert set(plan.calculations) - set(plain.calculations) == {row.host_leg.frequencies, row.complex_leg.frequencies}
    for leg in (row.host_leg, row.complex_leg):
        given = plan.calculations[str(leg.frequencies)]
        assert (given.step, given.parent, str(given.level)) == ("frequencies", leg.ids[1], "b3lyp-d3bj/6-31g(d)")
    with pytest.raises(BadInputError, match="there are no frequencies"):
        one(frequencies=True)
    water = get_guest("H2O").structure
    single = plan_single(water, "b3lyp/6-31g", None, relax=True, frequencies=True)
    assert [given.step for given in single.calculations.values()] == ["relax", "energy", "frequencies"]


def test_ghosts_and_a_solvent_do_not_go_together() -> None:
    with pytest.raises(BadInputError, match="counterpoise: true and a solvent"):
        one(counterpoise=True, level="b3lyp/6-31g+cpcm(dme)")


def test_subsets_are_atoms_of_a_parent() -> None:
    plan = one(decomposition=True)
    halves = plan.rows[0].complex_leg.halves
    assert halves is not None
    given = plan.calculations[halves.host[0]]
    relaxed = tuple((float(k), 0.0, 0.0) for k in range(31))
    assert given.taken_from(relaxed) == relaxed[:30]
    whole = plan.calculations[plan.rows[0].complex_leg.energy]
    assert whole.taken_from(relaxed) == relaxed
    for change, message in (
        ({"subset": (1, 0)}, "not 30 atoms of the parent, in ascending order"),
        ({"subset": (-1, *range(29))}, "not 30 atoms"),
        ({"parent": None, "positions": relaxed[:30]}, "has its own positions"),
    ):
        with pytest.raises(ValueError, match=message):
            CalculationInput.model_validate(given.model_dump() | change)


# --- what a guest is counted from -------------------------------------------------------------------------------------


def test_references() -> None:
    assert one(reference="bulk").calculations == one().calculations
    assert one(guests=["Li+"], reference="ion").calculations == one(guests=["Li+"]).calculations
    for guest, reference, message in (
        ("Li", "ion", r"guest 'Li' is neutral.* name Li\+ as the guest"),
        ("H2O", "ion", "'H2O' is neutral.* leave reference out"),
        ("Li+", "bulk", "no bulk metal to count from; reference: bulk is for Li, Na, K, Zn"),
        ("H", "bulk", "no bulk metal"),
        ("PF6-", "bulk", "no bulk metal"),
    ):
        with pytest.raises(BadInputError, match=message):
            one(guests=[guest], reference=reference)


# --- spin states ------------------------------------------------------------------------------------------------------


def multiplicities(plan: Plan, leg: Leg) -> list[int]:
    return [plan.calculations[state.energy].multiplicity for state in leg.states]


def test_spin_states_of_a_complex() -> None:
    plain = one()
    assert multiplicities(plain, plain.rows[0].complex_leg) == [2]
    assert one(multiplicities="auto").calculations == plain.calculations
    scan = one(multiplicities=[2, 4])
    assert multiplicities(scan, scan.rows[0].complex_leg) == [2, 4]
    assert multiplicities(scan, scan.rows[0].host_leg) == [1]
    assert scan.rows[0].complex_leg.ids == plain.rows[0].complex_leg.ids
    quartet = scan.rows[0].complex_leg.others[0]
    assert [scan.calculations[i].multiplicity for i in quartet.ids] == [4, 4]
    assert scan.titles[quartet.energy] == "Li at imine bay of HATCN, quartet, energy"
    ions = one(guests=["Li", "Li+"], multiplicities=[2, 3])
    assert [multiplicities(ions, row.complex_leg) for row in ions.rows] == [[2], [3]]
    with pytest.raises(BadInputError, match=r"multiplicities 1, 3: none is possible for .* 195 electrons; it can .* 2"):
        one(multiplicities=[1, 3])


def test_spin_states_that_no_number_of_electrons_allows() -> None:
    """Li and water have 13 electrons: 2, 4, ... 14 unpaired ones and no more."""
    water = {"hosts": [{"name": "W", "builtin": "water"}], "sites": ["lone-pair"]}
    plan = one(**water, multiplicities=[1, 2, 3, 14])
    assert multiplicities(plan, plan.rows[0].complex_leg) == [2, 14]
    for listed, high in (([2, 4, 100], "100"), ([2, 101, 16], "101, 16")):
        message = f"^multiplicities {high}: too high for Li at water oxygen of host 'W', which has 13 .* at most 14$"
        with pytest.raises(BadInputError, match=message):
            one(**water, multiplicities=listed)
    with pytest.raises(BadInputError, match=r"^multiplicities 3: none is possible for Li at water oxygen of host 'W'"):
        one(**water, multiplicities=[3])
    with pytest.raises(BadInputError, match="host 'W': 10 electrons cannot have multiplicity 2; leave it out of "):
        one(hosts=[water["hosts"][0] | {"multiplicities": [1, 2]}], sites=["lone-pair"])


def test_spin_states_of_a_host_with_an_open_shell_metal() -> None:
    """Fe-N4: singlet, triplet and quintet alone; with Li those couple to doublet, quartet and sextet."""
    iron = {"name": "FeN4", "builtin": "fe-n4-pyrene"}
    asked = {"hosts": [iron | {"multiplicities": "auto"}], "sites": ["top"]}
    plan = one(**asked, decomposition=True)
    row = plan.rows[0]
    assert sorted(multiplicities(plan, row.host_leg)) == [1, 3, 5]
    assert multiplicities(plan, row.complex_leg) == [2, 4, 6]
    for state in row.complex_leg.states:
        assert state.halves is not None
        frozen = [plan.calculations[i] for i in state.halves.host]
        assert [given.multiplicity for given in frozen] == multiplicities(plan, row.host_leg)
        assert {given.parent for given in frozen} == {state.ids[-2]}
    few = one(hosts=[iron | {"multiplicities": [3, 5]}], sites=["top"])
    assert multiplicities(few, few.rows[0].host_leg) == [3, 5]
    with pytest.raises(BadInputError, match=r"host 'FeN4': \d+ electrons cannot have multiplicity 2"):
        one(hosts=[iron | {"multiplicities": [1, 2]}], sites=["top"])


# --- two guests -------------------------------------------------------------------------------------------------------


def two(**changes: object) -> Plan:
    return one(**({"guests_per_complex": 2, "sites": ["bay + bay", "bay + corner"]} | changes))


def test_two_guests_stepwise() -> None:
    """The paper's 11, 12 and 13: bay + bay, and bay + the opposite and the adjacent corner."""
    rows = [
        {"label": "Li11", "host": "HATCN", "guest": "Li", "site": "bay + bay", "value_ev": -3.39},
        {"label": "Li12", "host": "HATCN", "guest": "Li", "site": "bay + corner, opposite", "value_ev": -2.54},
        {"label": "Li13", "host": "HATCN", "guest": "Li", "site": "imine bay + nitrile corner, adjacent",
         "value_ev": -2.52},
    ]  # fmt: skip
    plan = two(published=rows)
    assert {row.label: row.site_label for row in plan.rows} == {
        "Li11": "imine bay + imine bay",
        "Li12": "imine bay + nitrile corner, opposite",
        "Li13": "imine bay + nitrile corner, adjacent",
    }
    single = one()
    for row in plan.rows:
        assert multiplicities(plan, row.complex_leg) == [1, 3]
        assert row.before_leg is not None
        assert row.before_leg.ids == single.rows[0].complex_leg.ids  # the same as for one Li alone
        assert row.host_leg.ids == single.rows[0].host_leg.ids
        assert row.places[0] == "bay-1.1"
        relaxed = plan.calculations[row.complex_leg.ids[0]]
        assert relaxed.symbols[-2:] == ("Li", "Li")
    assert multiplicities(two(multiplicities=[3]), two(multiplicities=[3]).rows[0].complex_leg) == [3]


def test_two_guests_and_the_parts_of_the_second() -> None:
    plan = two(counterpoise=True, sites=["bay + bay"])
    halves = plan.rows[0].complex_leg.halves
    assert halves is not None
    host = plan.calculations[halves.host[0]]
    assert (host.subset, host.multiplicity) == (tuple(range(31)), 2)
    assert plan.calculations[halves.host_in_basis[0]].ghosts == (31,)
    assert plan.calculations[str(halves.guest_in_basis)].ghosts == tuple(range(31))


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (["bay"], "site 'bay' is not one place for each of 2 guests"),
        (["bay + bays"], "unknown site 'bays'"),
        (["bay + corner, near"], "no placement 'bay . corner, near'; this host has .*adjacent', .*opposite'"),
    ],
)
def test_places_that_two_guests_cannot_take(sites: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        two(sites=sites)


def test_published_pairs_are_unambiguous() -> None:
    row = {"label": "Li12", "host": "HATCN", "guest": "Li", "site": "bay + corner", "value_ev": -2.54}
    with pytest.raises(BadInputError, match=r"'bay \+ corner' is ambiguous; it may be .*adjacent\) or .*opposite"):
        two(published=[row])


@pytest.mark.parametrize(
    ("freeze", "hold", "message"),
    [
        (["0,1,2"], [], "every atom of H2O is frozen"),
        (["0,1"], ["distance:0-1=1.3"], "distance of atoms 0, 1 is fixed, as all are frozen"),
        ([], ["distance:0-1=1.0", "distance:1-0=1.1"], "two constraints are on atoms 1, 0"),
        (["7"], [], "names atom 7; H2O has atoms 0 to 2"),
    ],
)
def test_constraints_that_cannot_hold(freeze: list[str], hold: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        plan_single(load_host("water"), "b3lyp/sto-3g", None, relax=True, constraints=read_constraints(freeze, hold))


def test_constraints_have_a_place_in_relaxations_only() -> None:
    held = read_constraints(["0"])
    water = load_host("water")
    with pytest.raises(BadInputError, match="add --relax"):
        plan_single(water, "b3lyp/sto-3g", None, constraints=held)
    with pytest.raises(BadInputError, match="at gfn2-xtb freeze atoms but hold no distance"):
        plan_single(water, None, "composite", constraints=read_constraints([], ["distance:0-1=1.0"]))
    through = plan_single(water, None, "composite", constraints=held)
    assert [given.constraints for given in through.calculations.values()] == [held, held, None]
    run = plan_single(water, "b3lyp/sto-3g", None, relax=True, constraints=held)
    assert [given.constraints for given in run.calculations.values()] == [held, None]


def test_more_electrons_than_functions_are_refused_before_they_run() -> None:
    """Water has seven functions in STO-3G; 8 of 16 electrons would have one spin."""
    with pytest.raises(BadInputError, match="put 8 electrons of one spin into the 7 functions of sto-3g"):
        plan_single(load_host("water", -6, 1), "b3lyp/sto-3g", None)
    plan_single(load_host("water", -4, 1), "b3lyp/sto-3g", None)


def test_a_basis_that_leaves_out_light_elements_is_not_substituted() -> None:
    for basis in ("bfd-vdz", "aug-cc-pvdz-pp"):
        with pytest.raises(BadInputError, match=f"basis {basis}"):
            plan_single(load_host("water"), f"b3lyp/{basis}+nofit", None)


def test_an_atom_has_no_frequencies() -> None:
    with pytest.raises(BadInputError, match="He is one atom, which has no vibrations"):
        plan_single(load_host("[He]"), "b3lyp/6-31g", None, frequencies=True)


# --- hosts with settings of their own -------------------------------------------------------------------------------


def of_hosts(*hosts: dict[str, object], **changes: object) -> Plan:
    values: dict[str, object] = {"hosts": list(hosts), "guests": ["Li"], "sites": ["corner"], "published": []}
    return make_plan(study(**(values | changes)))


DICYANO: dict[str, object] = {"name": "dicyano", "builtin": "dicyanopyrazine"}


def test_a_host_has_a_protocol_and_a_level_of_its_own() -> None:
    plan = of_hosts(DICYANO, DICYANO | {"name": "other", "protocol": "published-sp", "level": "b3lyp/sto-3g"})
    first, second = plan.rows
    assert (plan.protocol, first.level, second.level) == ("screen", None, "b3lyp/sto-3g//gfn2-xtb")
    assert str(plan.calculations[second.complex_leg.energy].level) == "b3lyp/sto-3g"
    asked = make_plan(plan.study, "composite")
    assert [row.level for row in asked.rows] == [None, "b3lyp/sto-3g//gfn2-xtb"]
    # the study's level is not for a host with a protocol of its own
    plan = of_hosts(DICYANO, DICYANO | {"name": "other", "protocol": "published-sp"}, level="b3lyp/sto-3g")
    assert plan.rows[1].level == "b3lyp-d3bj/6-311g(d,p)//gfn2-xtb"


def test_a_rigid_host_is_never_relaxed() -> None:
    plan = of_hosts(DICYANO | {"rigid": True}, decomposition=True)
    row = plan.rows[0]
    assert [plan.calculations[i].step for i in row.host_leg.ids] == ["energy"]
    relaxation, energy = (plan.calculations[i] for i in row.complex_leg.ids)
    assert relaxation.constraints is not None
    assert relaxation.constraints[0].atoms == tuple(range(len(plan.hosts["dicyano"].symbols)))
    assert (energy.constraints, energy.parent) == (None, relaxation.id)
    assert row.complex_leg.halves is not None
    assert row.complex_leg.halves.host == [row.host_leg.energy]  # the same geometry, the same energy
    with pytest.raises(BadInputError, match="'dicyano' is rigid, and so at no stationary point"):
        of_hosts(DICYANO | {"rigid": True}, frequencies=True, protocol="composite")


def test_a_host_has_guests_and_sites_of_its_own() -> None:
    pyrazine: dict[str, object] = {"name": "pyrazine", "builtin": "pyrazine"}
    plan = of_hosts(DICYANO, pyrazine | {"guests": "Na", "sites": "face"})
    assert [(row.host, row.guest, row.site_kind) for row in plan.rows] == [
        ("dicyano", "Li", "corner"),
        ("pyrazine", "Na", "face"),
    ]
    with pytest.raises(BadInputError, match="pyrazine"):
        of_hosts(DICYANO, pyrazine | {"sites": "corner"})


def test_a_host_alone_is_computed_without_a_row() -> None:
    plan = of_hosts(DICYANO, {"name": "water", "builtin": "water", "guests": []}, properties=True)
    assert [row.host for row in plan.rows] == ["dicyano"]
    leg = plan.alone["water"]
    assert [plan.calculations[i].step for i in leg.ids] == ["relax", "energy"]
    assert leg.properties is not None
    assert plan.calculations[leg.properties].parent == leg.energy
    assert plan.hosts["water"].symbols == ["O", "H", "H"]
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_properties_follow_energies_of_molecules_at_kohn_sham_levels() -> None:
    without = of_hosts(DICYANO)
    plan = make_plan(without.study, properties=True)
    row = plan.rows[0]
    assert set(without.calculations) < set(plan.calculations)  # nothing else changed
    assert row.guest_leg.properties is None  # an atom
    for leg in (row.complex_leg, row.host_leg):
        assert leg.properties is not None
        given = plan.calculations[leg.properties]
        assert (given.step, given.parent) == ("properties", leg.energy)
        assert given.level == plan.calculations[leg.energy].level
    at_xtb = make_plan(without.study, "xtb", properties=True)
    assert {given.step for given in at_xtb.calculations.values()} == {"relax", "energy"}
