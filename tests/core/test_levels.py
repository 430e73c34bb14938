import pytest

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import KohnSham, Xtb, level_hash, normalise_basis, parse_level


@pytest.mark.parametrize(
    ("text", "functional", "dispersion", "basis", "fitted"),
    [
        ("b3lyp-d3bj/6-311g(d,p)", "b3lyp", "d3bj", "6-311g(d,p)", True),
        ("B3LYP-D3BJ/6-311G(d,p)", "b3lyp", "d3bj", "6-311g(d,p)", True),
        ("pbe0/def2-svp+nofit", "pbe0", None, "def2-svp", False),
        ("b3lyp/6-31+g(d)+nofit", "b3lyp", None, "6-31+g(d)", False),
        ("b3lyp/6-311++g**", "b3lyp", None, "6-311++g(d,p)", True),
    ],
)
def test_written_form(text: str, functional: str, dispersion: str | None, basis: str, fitted: bool) -> None:
    level = parse_level(text)
    assert isinstance(level, KohnSham)
    assert (level.functional, level.dispersion, level.basis) == (functional, dispersion, basis)
    assert (level.fitting is not None) == fitted
    assert parse_level(str(level)) == level


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
    ],
)
def test_bad_levels_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        parse_level(text)


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
                       {"basis": "6-31g(d)"}, {"scf_grid": 1})
    ]  # fmt: skip
    assert len({level_hash(one) for one in (level, *changed)}) == 7
