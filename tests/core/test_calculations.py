import pytest
from hypothesis import given
from hypothesis import strategies as st

from alkaflow.calculations import CalculationInput, check_multiplicity, lowest_multiplicity, rounded
from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham, Xtb
from alkaflow.records import formula_of

LIH = {"symbols": ("Li", "H"), "positions": ((0.0, 0.0, 0.0), (0.0, 0.0, 1.6))}


def relax(**changes: object) -> CalculationInput:
    values = {"step": "relax", "level": Xtb(), "charge": 0, "multiplicity": 1, **LIH} | changes
    return CalculationInput.model_validate(values)


def test_id_is_stable() -> None:
    # Written down once: an id must not change between versions while the recipe stays.
    assert relax().id == "d9aa590b1221d359396f"


def test_id_ignores_noise_below_the_resolution_and_negative_zero() -> None:
    noisy = relax(positions=((0.0, -0.0, 4e-8), (1e-9, 0.0, 1.6 - 3e-8)))
    assert noisy.id == relax().id


@pytest.mark.parametrize(
    "change",
    [
        {"positions": ((0.0, 0.0, 0.0), (0.0, 0.0, 1.600002))},
        {"symbols": ("H", "Li")},
        {"charge": 2},
        {"multiplicity": 3},
        {"step": "energy"},
        {"level": Xtb(max_force=0.01)},
        {"recipe": 2},
        {"positions": None, "parent": "0" * 20},
    ],
)
def test_id_sees_every_part(change: dict[str, object]) -> None:
    assert relax(**change).id != relax().id


def test_id_of_a_child_depends_on_its_parent_only() -> None:
    level = KohnSham(functional="b3lyp", basis="6-31g")
    one = relax(step="energy", level=level, positions=None, parent="a" * 20)
    other = relax(step="energy", level=level, positions=None, parent="b" * 20)
    assert one.id != other.id


@given(st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_rounding_twice_is_rounding_once(positions: list[tuple[float, float, float]]) -> None:
    once = rounded(tuple(positions))
    assert rounded(once) == once


@pytest.mark.parametrize(
    ("symbols", "charge", "multiplicity", "sentence"),
    [
        (("O", "H", "H"), 0, 2, "10 electrons cannot have multiplicity 2"),
        (("Cl", "N", "N"), 0, 1, "31 electrons cannot have multiplicity 1"),
        (("H",), 0, 3, "1 electrons cannot have multiplicity 3"),
        (("H", "H"), 0, 0, "cannot have multiplicity 0"),
        (("H", "H"), 2, 1, "leaves 0 electrons"),
    ],
)
def test_impossible_spin(symbols: tuple[str, ...], charge: int, multiplicity: int, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        check_multiplicity(symbols, charge, multiplicity)


def test_lowest_multiplicity() -> None:
    assert lowest_multiplicity(("O", "H", "H"), 0) == 1
    assert lowest_multiplicity(("O", "H", "H"), 1) == 2
    check_multiplicity(("O", "O"), 0, 3)


def test_hill_formula() -> None:
    assert formula_of(("N", "C", "H", "Li", "C")) == "C2HLiN"
    assert formula_of(("O", "H", "H")) == "H2O"
