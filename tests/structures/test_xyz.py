from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from alkaflow.errors import BadInputError, ParseError
from alkaflow.structures import Structure, format_xyz, hatcn, parse_xyz, read_xyz, write_xyz

WATER = "3\nwater\nO 0 0 0.1173\nH 0 0.7572 -0.4692\nH 0 -0.7572 -0.4692\n"


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "water.xyz"
    path.write_text(WATER, encoding="utf-8")
    water = read_xyz(path)
    assert water.symbols == ("O", "H", "H")
    assert water.positions[1] == pytest.approx([0, 0.7572, -0.4692])
    assert (water.name, water.multiplicity) == ("water", 1)
    assert read_xyz(path, charge=1).multiplicity == 2


@given(
    st.lists(st.tuples(*[st.floats(-1e4, 1e4, allow_subnormal=False)] * 3), min_size=1, max_size=6, unique=True),
    st.data(),
)
def test_round_trip(positions: list[tuple[float, float, float]], data: st.DataObject) -> None:
    symbols = tuple(data.draw(st.sampled_from(["H", "Li", "Na", "C", "Ti"])) for _ in positions)
    text = "\n".join(
        [
            str(len(symbols)),
            "",
            *(f"{s} {x!r} {y!r} {z!r}" for s, (x, y, z) in zip(symbols, positions, strict=True)),
        ]
    )
    read_symbols, read_positions = parse_xyz(text)
    assert read_symbols == symbols
    assert read_positions == pytest.approx(np.array(positions))


def test_write_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "hatcn.xyz"
    write_xyz(hatcn(), path, "two\nlines become one")
    back = read_xyz(path)
    assert back.symbols == hatcn().symbols
    assert np.abs(back.positions - hatcn().positions).max() < 1e-9
    assert len(format_xyz(back).splitlines()) == 32


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "number of atoms"),
        ("three\n\n", 1, "found 'three'"),
        ("-3\n\n", 1, "found '-3'"),
        ("9" * 5000 + "\n\n", 1, "expected the number of atoms"),
        ("0\n\n", 1, "0 atoms"),
        ("1000000\n\n", 1, "1000000 atoms"),
        ("2\n\nH 0 0 0\n", 3, "promises 2 atoms, but the file ends after 1"),
        ("1\n\nH 0 0 0\nH 0 0 1\n", 4, "there is more"),
        ("1\n\nH 0 0\n", 3, "expected 'symbol x y z'"),
        ("1\n\nXx 0 0 0\n", 3, "unknown element 'Xx'"),
        ("1\n\nH 0 zero 0\n", 3, "y is not a number: 'zero'"),
        ("1\n\nH 0 0 nan\n", 3, "z is not finite"),
        ("1\n\nH 0 0 inf\n", 3, "z is not finite"),
        ("1\ncharge=1.5\nH 0 0 0\n", 2, "charge is not a whole number: '1.5'"),
        ("1\ncharge=foo\nH 0 0 0\n", 2, "charge is not a whole number: 'foo'"),
        ("1\ncharge= \nH 0 0 0\n", 2, "charge is not a whole number: ''"),
        ("1\ncharge=--1\nH 0 0 0\n", 2, "charge is not a whole number: '--1'"),
        ("1\nCharge = 1e0\nH 0 0 0\n", 2, "charge is not a whole number: '1e0'"),
        ("1\nmultiplicity=1.2\nH 0 0 0\n", 2, "multiplicity is not a whole number: '1.2'"),
        ("1\nmultiplicity=x\nH 0 0 0\n", 2, "multiplicity is not a whole number: 'x'"),
        ("1\nmultiplicity=0\nH 0 0 0\n", 2, "multiplicity is 0; it is 2S+1"),
        ("1\ncharge=0 charge=-1\nH 0 0 0\n", 2, "charge is given twice, as 0 and as -1"),
        ("1\n\nH 0 0 __import__('os').system('touch_canary')\n", 3, "z is not a number"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "broken.xyz"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParseError) as caught:
        read_xyz(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)


def test_charge_and_multiplicity_travel_in_the_comment(tmp_path: Path) -> None:
    path = tmp_path / "oxide.xyz"
    path.write_text("1\nname charge=-1 multiplicity=2 energy=3\nO 0 0 0\n", encoding="utf-8")
    assert (read_xyz(path).charge, read_xyz(path).multiplicity) == (-1, 2)
    assert (read_xyz(path, charge=0).charge, read_xyz(path, charge=0).multiplicity) == (0, 1)


@pytest.mark.parametrize(
    ("comment", "charge", "multiplicity"),
    [
        ("charge=+1 multiplicity=1", 1, 1),
        ("charge=1.0, multiplicity=3.", 1, 3),
        ('Properties=species:S:1:pos:R:3 charge="-1" multiplicity=3 pbc="F F F"', -1, 3),
        ("Charge = -1; Multiplicity = 1", -1, 1),
        ("(charge=0,multiplicity=4)", 0, 4),
        ("charge=1 charge=+1", 1, 1),
        ("total_charge=2 partial-charge=0.3 recharge=0.7 discharge", 0, 2),
    ],
)
def test_spellings_of_the_state(tmp_path: Path, comment: str, charge: int, multiplicity: int) -> None:
    """What the comment of a nitrogen atom says; names that only end like these say nothing."""
    path = tmp_path / "nitrogen.xyz"
    path.write_text(f"1\n{comment}\nN 0 0 0\n", encoding="utf-8")
    assert (read_xyz(path).charge, read_xyz(path).multiplicity) == (charge, multiplicity)
    assert read_xyz(path, charge=charge).multiplicity == multiplicity  # the same charge once more changes nothing


def test_overlap_names_both_atoms(tmp_path: Path) -> None:
    path = tmp_path / "overlap.xyz"
    path.write_text("3\n\nH 0 0 0\nO 0 0 3\nH 0 0 0.001\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"overlap\.xyz: atoms 0 \(H\) and 2 \(H\) overlap: 0\.001 Angstrom"):
        read_xyz(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_xyz(tmp_path / "missing.xyz")
    with pytest.raises(BadInputError, match="cannot read"):
        read_xyz(tmp_path)
    path = tmp_path / "latin.xyz"
    path.write_bytes(b"1\nna\xefve\nH 0 0 0\n")
    assert read_xyz(path).symbols == ("H",)  # a comment of an old editor
    path.write_bytes(b"1\n\0\nH 0 0 0\n")
    with pytest.raises(ParseError, match=r"latin\.xyz:2: not text"):
        read_xyz(path)


def test_structure_refuses_nonsense() -> None:
    with pytest.raises(BadInputError, match="at least one atom"):
        Structure((), np.zeros((0, 3)))
    with pytest.raises(BadInputError, match="shape"):
        Structure(("H",), np.zeros((2, 3)))
    with pytest.raises(BadInputError, match=r"atom 0 \(H\) has a position that is not finite"):
        Structure(("H",), np.array([[np.nan, 0, 0]]))
    with pytest.raises(BadInputError, match=r"charge is '0\.5'; it must be a whole number"):
        Structure(("H",), np.zeros((1, 3)), charge=0.5)  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="multiplicity is 'two'; it must be a whole number"):
        Structure(("H",), np.zeros((1, 3)), multiplicity="two")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        Structure(("H",), np.zeros((1, 3))).positions[0, 0] = 1.0


@pytest.mark.parametrize("atoms", [Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=[1, 1]), Atoms("Li", charges=[1])])
def test_what_ase_writes_into_columns_is_not_lost_without_a_word(atoms: Atoms, tmp_path: Path) -> None:
    path = tmp_path / "written.xyz"
    atoms.write(path, format="extxyz")
    with pytest.raises(ParseError, match=r"written.xyz:2: the column initial_\w+ is not read; write charge="):
        read_xyz(path)
    atoms.info |= {"charge": 0, "multiplicity": 3 if len(atoms) > 1 else 2}
    atoms.write(path, format="extxyz")
    assert read_xyz(path).multiplicity == atoms.info["multiplicity"]


def test_crystals_and_molecules_as_ase_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "written.xyz"
    Atoms("Li", cell=[3, 3, 3], pbc=[False, False, True]).write(path, format="extxyz")
    with pytest.raises(ParseError, match="pbc says that this is a crystal"):
        read_xyz(path)
    Atoms("Li", cell=[3, 3, 3]).write(path, format="extxyz")
    assert read_xyz(path).symbols == ("Li",)
