import pytest

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import PRESETS, KohnSham, Xtb, level_hash, normalise_basis, parse_level
from alkaflow.solvents import Solvent


@pytest.mark.parametrize(
    ("text", "functional", "dispersion", "basis", "fitted"),
    [
        ("b3lyp-d3bj/6-311g(d,p)", "b3lyp", "d3bj", "6-311g(d,p)", True),
        ("B3LYP-D3BJ/6-311G(d,p)", "b3lyp", "d3bj", "6-311g(d,p)", True),
        ("pbe0/def2-svp+nofit", "pbe0", None, "def2-svp", False),
        ("b3lyp/6-31+g(d)+nofit", "b3lyp", None, "6-31+g(d)", False),
        ("b3lyp/6-311++g**", "b3lyp", None, "6-311++g(d,p)", True),
        ("b3lyp-d3bjatm/6-31+g*", "b3lyp", "d3bjatm", "6-31+g(d)", True),
        ("pbe0-D4/def2-TZVP+NOFIT", "pbe0", "d4", "def2-tzvp", False),
    ],
)
def test_written_form(text: str, functional: str, dispersion: str | None, basis: str, fitted: bool) -> None:
    level = parse_level(text)
    assert isinstance(level, KohnSham)
    assert (level.functional, level.dispersion, level.basis) == (functional, dispersion, basis)
    assert (level.fitting is not None) == fitted
    assert parse_level(str(level)) == level


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("b3lyp/6-31g*+CART", "b3lyp/6-31g(d)+cart"),
        ("b3lyp/6-31+g(d)+cpcm( DME )", "b3lyp/6-31+g(d)+cpcm(dme)"),
        ("b3lyp/6-31++g(d)+cpcm(epsilon=7.20)+nofit", "b3lyp/6-31++g(d)+nofit+cpcm(epsilon=7.2)"),
        ("b3lyp-d4/def2-svp+iefpcm(epsilon=80)", "b3lyp-d4/def2-svp+iefpcm(epsilon=80)"),
        ("b3lyp/def2-svp+cpcm(dme,epsilon=7.3)", "b3lyp/def2-svp+cpcm(dme,epsilon=7.3)"),
        ("b3lyp/def2-svp+cpcm(name=dme,epsilon=7.2)", "b3lyp/def2-svp+cpcm(dme)"),
        ("b3lyp/def2-svp+smd(acetonitrile)", "b3lyp/def2-svp+smd(acetonitrile)"),
        ("b3lyp/6-311g**+substitute(6-31+g*)+cart", "b3lyp/6-311g(d,p)+cart+substitute(6-31+g(d))"),
        (
            "b3lyp-d3bjatm/6-311++g**+substitute(def2-svp)+smd(water)+nofit+cart",
            "b3lyp-d3bjatm/6-311++g(d,p)+nofit+cart+smd(water)+substitute(def2-svp)",
        ),
    ],
)
def test_options_have_one_order(text: str, written: str) -> None:
    level = parse_level(text)
    assert str(level) == written
    assert parse_level(written) == level


def test_a_named_solvent_brings_its_dielectric_constant() -> None:
    level = parse_level("b3lyp/def2-svp+cpcm(dme)")
    assert isinstance(level, KohnSham)
    assert level.solvent == Solvent(model="cpcm", name="dme", epsilon=7.2)
    assert KohnSham.model_validate_json(level.model_dump_json()) == level
    named, numbered = level, parse_level("b3lyp/def2-svp+cpcm(epsilon=7.2)")
    assert len({level_hash(one) for one in (named, numbered, parse_level("b3lyp/def2-svp"))}) == 3


def test_presets() -> None:
    for name, preset in PRESETS.items():
        assert parse_level(name.upper()) == preset
        again = parse_level(str(preset), like=preset)
        assert again == preset
    like = KohnSham(functional="pbe", basis="6-31g", stability=True, scf_grid=2, grid=4, dispersion="d4")
    level = parse_level("b3lyp-svp", like=like)
    assert isinstance(level, KohnSham)
    assert (str(level), level.grid, level.scf_grid, level.stability) == ("b3lyp-d3bj/def2-svp", 3, None, True)
    gaussian = PRESETS["gaussian-b3lyp"]
    assert (str(gaussian), gaussian.grid) == ("b3lyp-d3bj/6-311g(d,p)+nofit", (99, 590))


def test_xtb_form() -> None:
    assert parse_level("GFN2-xTB") == Xtb()
    assert str(Xtb()) == "gfn2-xtb"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b3lip/6-31g", "did you mean 'b3lyp'"),
        ("b3lyp-d5/6-31g", "unknown dispersion 'd5'"),
        ("b3lyp", "not of the form"),
        ("b3lyp/../../etc/passwd", "not"),
        ("b3lyp/C S 1 0", "not the name of a basis"),
        ("b3lyp/6-31g+nofti", "did you mean 'nofit'"),
        ("b3lyp/6-31g+pcm(dme)", "did you mean 'cpcm' or 'iefpcm'"),
        ("b3lyp/6-31g+cpcm", "needs brackets"),
        ("b3lyp/6-31g+cart(6d)", "takes no brackets"),
        ("b3lyp/6-31g+cpcm()", "needs a solvent or a dielectric constant"),
        ("b3lyp/6-31g+cpcm(dmr)", "unknown solvent 'dmr'"),
        ("b3lyp/6-31g+cpcm(epsilon=0.5)", "a number above 1"),
        ("b3lyp/6-31g+cpcm(epsilon=nan)", "a number above 1"),
        ("b3lyp/6-31g+cpcm(eps=3)", "is neither"),
        ("b3lyp/6-31g+smd(dme)", r"smd has no parameters for dme; use cpcm\(dme\)"),
        ("b3lyp/6-31g+smd(epsilon=7.2)", "smd takes the name"),
        ("b3lyp/6-31g+cpcm(dme)+smd(water)", "says twice what its solvent is"),
        ("b3lyp/6-31g+", "not of the form"),
        ("gaussian", "none of gfn2-xtb, gaussian-b3lyp, .* not of the form .*; did you mean 'gaussian-b3lyp'"),
        ("gfn1-xtb", r"did you mean 'gfn2-xtb'\?"),
        ("GFN1-xTB+cpcm(water)", r"did you mean 'gfn2-xtb'\?"),
        ("b3lyp-svpp", "did you mean 'b3lyp-svp'"),
        ("hf", r"none of gfn2-xtb, .* or pbe0/def2-svp\+nofit\+cpcm\(dme\)$"),
        ("gfn2-xtb+cpcm(water)", "gfn2-xtb takes no options, nor a solvent; write gfn2-xtb alone"),
        ("b3lyp-tzvp+foo(dme)", "b3lyp-tzvp, .* takes no options; unknown option of a level 'foo'"),
        ("gaussian-b3lyp+nofit", "gaussian-b3lyp, .* takes no options; .* says twice what its fitting is"),
    ],
)
def test_bad_levels_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        parse_level(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("b3lyp-tzvp+cpcm(dme)", "b3lyp-d3bj/def2-tzvp+cpcm(dme)"),
        ("Gaussian-B3LYP+cart", "b3lyp-d3bj/6-311g(d,p)+nofit+cart"),
    ],
)
def test_a_name_with_options_is_written_out(text: str, written: str) -> None:
    with pytest.raises(BadInputError, match="takes no options; write the level out") as caught:
        parse_level(text)
    advised = str(caught.value).rpartition(" ")[2]
    assert advised == written
    assert str(parse_level(advised)) == written


def test_bases_are_of_elements() -> None:
    level = KohnSham(functional="b3lyp", basis="6-31g", basis_of_element={"Li": "6-311G**"})
    assert (level.basis_for("Li"), level.basis_for("C")) == ("6-311g(d,p)", "6-31g")
    for symbol in ("Tx", "li", "3"):
        with pytest.raises(UnknownNameError, match=f"unknown element '{symbol}'"):
            KohnSham(functional="b3lyp", basis="6-31g", basis_of_element={symbol: "6-31g"})


def test_unknown_functional_is_refused_by_the_model() -> None:
    with pytest.raises(UnknownNameError, match="b3lyp"):
        KohnSham(functional="b3lypp", basis="6-31g")


def test_stars_and_letters_are_one_basis() -> None:
    assert normalise_basis("6-31G**") == normalise_basis("6-31g(d,p)")
    assert normalise_basis("6-31G*") == "6-31g(d)"


def test_hash_sees_every_threshold() -> None:
    level = KohnSham(functional="b3lyp", basis="6-31g")
    changed = [
        level.model_copy(update=update)
        for update in ({"grid": 4}, {"dispersion": "d3bj"}, {"fitting": None}, {"energy_threshold": 1e-9},
                       {"basis": "6-31g(d)"}, {"scf_grid": 1}, {"cartesian": True}, {"substitute": "def2-svp"},
                       {"dispersion": "d4"}, {"solvent": Solvent(model="smd", name="water")})
    ]  # fmt: skip
    assert len({level_hash(one) for one in (level, *changed)}) == 11
