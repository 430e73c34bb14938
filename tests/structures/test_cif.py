"""CIF files: molecules out of published crystals, and crystals that have none."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from alkaflow.errors import BadInputError, ParseError
from alkaflow.structures import Structure
from alkaflow.structures.cif import read_cif
from alkaflow.structures.graph import BondGraph

# Neutron diffraction at 12 K: Swaminathan, Craven and McMullan, Acta Cryst. B40, 300 (1984),
# doi 10.1107/S0108768184002135. The molecule lies on mm2: a quarter of it is in the file.
CELL = """data_urea
_cell_length_a 5.565(1)
_cell_length_b 5.565(1)
_cell_length_c 4.684(1)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
GROUP = "_symmetry_space_group_name_H-M 'P -4 21 m'\n"
OPERATIONS = """loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
'-x,-y,z'
'y,-x,-z'
'-y,x,-z'
'1/2-x,1/2+y,-z'
'1/2+x,1/2-y,-z'
'1/2-y,1/2-x,z'
'1/2+y,1/2+x,z'
"""
ATOMS = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
C1 C 0.0 0.5 0.3260(3)
O1 O 0.0 0.5 0.5953
N1 N 0.1459 0.6459 0.1766
H1 H 0.2575 0.7575 0.2827
H2 H 0.1441 0.6441 -0.0380
"""
UREA = CELL + GROUP + OPERATIONS + ATOMS


def written(folder: Path, text: str) -> Path:
    path = folder / "it.cif"
    path.write_text(text, encoding="utf-8")
    return path


def bond_lengths(structure: Structure) -> dict[str, float]:
    found: dict[str, float] = {}
    for i, j in BondGraph(structure).bonds:
        pair = "-".join(sorted((structure.symbols[i], structure.symbols[j])))
        found[pair] = max(found.get(pair, 0), float(np.linalg.norm(structure.positions[i] - structure.positions[j])))
    return found


@pytest.mark.parametrize(
    "text",
    [
        UREA,
        CELL + GROUP + ATOMS,  # operations from the symbol
        CELL + "_space_group_IT_number 113\n" + ATOMS,  # and from the number
        UREA.replace("_atom_site_", "_atom_site.").replace("_cell_", "_cell."),  # newer dictionaries
        UREA.replace("_atom_site_fract_", "_ATOM_SITE_FRACT_").replace("loop_", "LOOP_"),
        re.sub(r"_atom_site_type_symbol\n", "", re.sub(r"^([A-Z]\d) [A-Z] ", r"\1 ", UREA, flags=re.MULTILINE)),
        UREA.replace(" C 0.0", " C4+ 0.0").replace("H2 H", "D2 D"),
        UREA.replace("data_urea", "data_global\n_publ_author_name 'A'\n\ndata_urea"),
    ],
)
def test_urea_is_whole(tmp_path: Path, text: str) -> None:
    urea = read_cif(written(tmp_path, text))
    assert urea.formula == "CH4N2O"
    assert len(urea) == 8
    # published, not corrected for motion: C-O 1.262, C-N 1.345, N-H 1.009 and 1.005 Angstrom
    lengths = bond_lengths(urea)
    assert lengths["C-O"] == pytest.approx(1.261, abs=0.003)
    assert lengths["C-N"] == pytest.approx(1.345, abs=0.003)
    assert lengths["H-N"] == pytest.approx(1.008, abs=0.005)
    assert BondGraph(urea).fragments == 1
    assert (urea.charge, urea.multiplicity, urea.name) == (0, 1, "it")
    assert np.allclose(urea.positions.mean(axis=0), 0)


def test_a_molecule_across_the_faces_is_made_whole(tmp_path: Path) -> None:
    """Benzene around the corner of a cell, written by pymatgen, has the distances it had."""
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Periodic
    from pymatgen.io.cif import CifWriter

    benzene = molecule("C6H6")
    lattice = Lattice.from_parameters(7.5, 8.0, 9.0, 80, 95, 110)
    crystal = Periodic(lattice, list(benzene.symbols), benzene.positions, coords_are_cartesian=True, to_unit_cell=True)
    read = read_cif(written(tmp_path, str(CifWriter(crystal, significant_figures=10))))
    assert read.formula == "C6H6"
    expected = np.sort(np.linalg.norm(benzene.positions[:, None] - benzene.positions, axis=2), axis=None)
    found = np.sort(np.linalg.norm(read.positions[:, None] - read.positions, axis=2), axis=None)
    assert np.abs(found - expected).max() < 1e-6


def test_special_positions_given_with_three_digits_are_one_atom(tmp_path: Path) -> None:
    """BF3 on a threefold axis at 1/3, 2/3, written as 0.333, 0.667: the images of B lie 0.008 Angstrom apart."""
    text = CELL.replace("5.565(1)", "8.0").replace("gamma 90", "gamma 120") + "_space_group_IT_number 143\n"
    text += ATOMS.split("C1 C", maxsplit=1)[0] + "B1 B 0.333 0.667 0.0\nF1 F 0.4958 0.667 0.0\n"
    read = read_cif(written(tmp_path, text))
    assert read.formula == "BF3"
    assert bond_lengths(read)["B-F"] == pytest.approx(1.30, abs=0.01)


def test_full_occupancy_is_no_disorder(tmp_path: Path) -> None:
    assert read_cif(written(tmp_path, with_column("occupancy", {"C1": "1.000", "N1": "."}))).formula == "CH4N2O"


def test_of_different_molecules_one_is_chosen_by_formula(tmp_path: Path) -> None:
    path = written(tmp_path, UREA + "O2 O 0.5 0.5 0.0\n")
    with pytest.raises(BadInputError, match=r"it\.cif: the crystal has 2 different molecules: CH4N2O, O; choose one"):
        read_cif(path)
    assert read_cif(path, molecule="CH4N2O").formula == "CH4N2O"
    assert read_cif(path, molecule="N2 C O H4").formula == "CH4N2O"
    assert read_cif(path, molecule="O", charge=-2).charge == -2
    with pytest.raises(BadInputError, match="no molecule has the formula 'C2'; the crystal has CH4N2O, O"):
        read_cif(path, molecule="C2")
    with pytest.raises(BadInputError, match="'c1ccccc1' is no formula"):
        read_cif(path, molecule="c1ccccc1")


def test_isomers_are_different(tmp_path: Path) -> None:
    text = CELL.replace("5.565(1)", "20.0").replace("4.684(1)", "20.0") + "_space_group_IT_number 1\n"
    text += ATOMS.split("C1 C", maxsplit=1)[0]
    hcn = "C1 C 0.1 0.1 0.1\nN1 N 0.1 0.1 0.158\nH1 H 0.1 0.1 0.047\n"
    hnc = "C2 C 0.6 0.6 0.6\nN2 N 0.6 0.6 0.658\nH2 H 0.6 0.6 0.708\n"
    assert read_cif(written(tmp_path, text + hcn)).formula == "CHN"
    with pytest.raises(BadInputError, match="2 different molecules: CHN, CHN"):
        read_cif(written(tmp_path, text + hcn + hnc))
    with pytest.raises(BadInputError, match="2 different molecules have the formula 'HCN'"):
        read_cif(written(tmp_path, text + hcn + hnc), molecule="HCN")


@pytest.mark.parametrize("primitive", [False, True])
def test_rock_salt_has_no_molecule(tmp_path: Path, primitive: bool) -> None:
    text = "data_NaCl\n" + CELL.split("\n", 1)[1].replace("5.565(1)", "5.64").replace("4.684(1)", "5.64")
    atoms = ATOMS.split("C1 C", maxsplit=1)[0] + "Na1 Na 0 0 0\nCl1 Cl 0.5 0.5 0.5\n"
    text += "_symmetry_space_group_name_H-M 'F m -3 m'\n" + atoms
    if primitive:
        text = text.replace("5.64", "3.988").replace("angle_alpha 90", "angle_alpha 60").replace("beta 90", "beta 60")
        text = text.replace("gamma 90", "gamma 60").replace("'F m -3 m'", "'P 1'")
    with pytest.raises(BadInputError, match=r"endless network of (ClNa|Cl4Na4), not a molecule; cut a cluster"):
        read_cif(written(tmp_path, text))


def with_column(name: str, values: dict[str, str]) -> str:
    """Urea with another column of its sites, 1 where no value is given."""
    text = UREA.replace("fract_z", f"fract_z\n_atom_site_{name}")
    return re.sub(r"^([A-Z]\d) .*$", lambda row: f"{row[0]} {values.get(row[1], '1')}", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_column("occupancy", {"N1": "0.5", "H2": "0.25(1)"}), "sites N1, H2 are occupied in part only"),
        (with_column("disorder_group", {"C1": ".", "O1": "?", "N1": "."}), "sites H1, H2 belong to disorder groups"),
        (UREA + "O2 O 0.0 0.52 0.6\n", "O1 and O2 lie on top of each other, 0.0. Angstrom"),
        (UREA + "O2 O 0.0 0.5 0.5953\n", "O1 and O2 lie on top of each other, 0.00 Angstrom"),
        (UREA + "O2 O 0.03 0.03 0.0\n", "O2 and its image lie on top of each other"),
    ],
)
def test_disorder_is_refused_with_its_sites(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        read_cif(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "no line 'data_...'"),
        ("hello\n", 1, "no CIF"),
        ("data_x\n_cell_length_a 5\n", None, "no atoms with fractional positions"),
        (CELL + GROUP.replace("'P -4 21 m'", "?") + ATOMS, None, "no symmetry operations and no space group"),
        (CELL + ATOMS, None, "no symmetry operations and no space group; add _space_group_IT_number"),
        (UREA.replace("_cell_length_b 5.565(1)\n", ""), None, "no cell: _cell_length_b is missing"),
        (UREA.replace("_cell_length_a 5.565(1)", "_cell_length_a ?"), None, "_cell_length_a is '[?]'"),
        (UREA.replace("gamma 90", "gamma 190"), None, "_cell_angle_gamma is '190'"),
        (UREA.replace("alpha 90", "alpha 10").replace("beta 90", "beta 120"), None, "contradict each other"),
        (UREA.replace("'-x,-y,z'", "'-x,-q,z'"), None, "symmetry operation"),
        (UREA.replace("'-x,-y,z'", "nonsense"), None, "symmetry operation"),
        (UREA.replace("0.1441 ", "zz "), 29, "fract_x of H2 is not a number: 'zz'"),
        (UREA.replace("0.5953", "?"), 26, "fract_z of O1 is not a number"),
        (UREA.replace("N1 N", "N1 Xx"), 27, "site 'N1' is no element"),
        (UREA.replace(" 0.2827", ""), 28, "not have a value for every column"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParseError, match=message) as caught:
        read_cif(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds 2 crystal structures"):
        read_cif(written(tmp_path, UREA + UREA.replace("data_urea", "data_again")))
    with pytest.raises(BadInputError, match="space group 'Q -4 21 m' is not known"):
        read_cif(written(tmp_path, CELL + GROUP.replace("P", "Q") + ATOMS))
    with pytest.raises(BadInputError, match=r"it\.cif: 31 electrons cannot have multiplicity 1"):
        read_cif(written(tmp_path, UREA), charge=1, multiplicity=1)
    with pytest.raises(BadInputError, match="cannot read"):
        read_cif(tmp_path / "missing.cif")
    ambiguous = re.sub(r"^([A-Z]\d) [A-Z] ", r"\1 ", UREA.replace("_atom_site_type_symbol\n", ""), flags=re.MULTILINE)
    with pytest.raises(ParseError, match="site 'CA1' may be C or Ca; see _atom_site_type_symbol"):
        read_cif(written(tmp_path, ambiguous.replace("C1 ", "CA1 ")))


def test_nothing_is_said_but_the_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_cif(written(tmp_path, CELL + GROUP + ATOMS))
    assert not said
    assert capfd.readouterr() == ("", "")
