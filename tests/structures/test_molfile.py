"""MOL and SDF files, written by RDKit and ASE, and broken on purpose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from alkaflow.errors import BadInputError, ParseError
from alkaflow.structures.molfile import read_molfile


def in_space(smiles: str) -> Any:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=1) == 0
    return molecule


def drawn(smiles: str) -> str:
    molecule = Chem.MolFromSmiles(smiles)
    AllChem.Compute2DCoords(molecule)
    return str(Chem.MolToMolBlock(molecule))


def written(folder: Path, text: str, name: str = "it.mol") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


ETHANOL = Chem.MolToMolBlock(in_space("CCO"))


@pytest.mark.parametrize("block", [Chem.MolToMolBlock, Chem.MolToV3KMolBlock])
def test_positions_are_kept(tmp_path: Path, block: Any) -> None:
    molecule = in_space("CCO")
    read = read_molfile(written(tmp_path, block(molecule)))
    assert read.symbols == tuple(atom.GetSymbol() for atom in molecule.GetAtoms())
    assert np.abs(read.positions - molecule.GetConformer().GetPositions()).max() < 1e-4
    assert (read.charge, read.multiplicity, read.name) == (0, 1, "it")


@pytest.mark.parametrize("block", [Chem.MolToMolBlock, Chem.MolToV3KMolBlock])
def test_formal_charges_are_kept(tmp_path: Path, block: Any) -> None:
    path = written(tmp_path, block(in_space("CC(=O)[O-]")))
    assert (read_molfile(path).charge, read_molfile(path).multiplicity) == (-1, 1)
    assert (read_molfile(path, charge=0).charge, read_molfile(path, charge=0).multiplicity) == (0, 2)


def test_a_drawing_is_embedded(tmp_path: Path) -> None:
    path = written(tmp_path, drawn("c1ccc(nc1)-c1ccccn1"))
    lowest, chelating = read_molfile(path), read_molfile(path, conformer="chelating")
    assert lowest.formula == chelating.formula == "C10H8N2"

    def between(structure: Any) -> float:
        first, second = structure.positions[[s == "N" for s in structure.symbols]]
        return float(np.linalg.norm(first - second))

    assert between(lowest) > 3.4
    assert between(chelating) < 2.9


def test_wedges_of_a_drawing_are_read(tmp_path: Path) -> None:
    assert read_molfile(written(tmp_path, drawn("C[C@H](O)[C@H](O)C"))).formula == "C4H10O2"
    with pytest.raises(BadInputError, match="leaves its stereochemistry open; give one of"):
        read_molfile(written(tmp_path, drawn("CC(O)C(O)C")))


def test_a_flat_molecule_in_space_is_no_drawing(tmp_path: Path) -> None:
    """Benzene in the plane z = 0, true to scale, where the header does not say."""
    from ase.build import molecule

    benzene = molecule("C6H6")
    rows = [
        f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3} 0  0"
        for symbol, (x, y, z) in zip(benzene.symbols, benzene.positions, strict=True)
    ]
    bonds = [f"{i + 1:3d}{(i + 1) % 6 + 1:3d}{1 + i % 2:3d}" for i in range(6)]
    bonds += [f"{i + 1:3d}{i + 7:3d}  1" for i in range(6)]
    counts = " 12 12  0  0  0  0  0  0  0  0999 V2000"
    path = written(tmp_path, "\n".join(["", "", "", counts, *rows, *bonds, "M  END"]) + "\n")
    assert np.abs(read_molfile(path).positions - benzene.positions).max() < 1e-4


def test_missing_hydrogens_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, Chem.MolToMolBlock(Chem.RemoveHs(in_space("CCO"))))
    with pytest.raises(BadInputError, match=r"it\.mol lacks 6 hydrogen atoms"):
        read_molfile(path)


def test_one_molecule_only(tmp_path: Path) -> None:
    assert read_molfile(written(tmp_path, ETHANOL + "$$$$\n", "one.sdf")).formula == "C2H6O"
    with pytest.raises(BadInputError, match=r"three\.sdf holds 3 molecules"):
        read_molfile(written(tmp_path, (ETHANOL + "$$$$\n") * 3, "three.sdf"))
    apart = Chem.CombineMols(in_space("O"), in_space("O"), Chem.rdGeometry.Point3D(0, 0, 9))
    with pytest.raises(BadInputError, match=r"it\.mol holds 2 pieces that are not bonded"):
        read_molfile(written(tmp_path, Chem.MolToMolBlock(apart)))


def test_metals_are_not_asked_for_their_valences(tmp_path: Path) -> None:
    text = "\n".join(
        [
            *("", "", ""),
            "  4  3  0  0  0  0  0  0  0  0999 V2000",
            "    0.0000    0.0000    0.0000 Ti  0  0",
            "    1.6000    0.0000    0.1000 O   0  0",
            "   -0.8000    1.4000    0.0000 O   0  0",
            "   -0.8000   -1.4000    0.0000 O   0  0",
            *("  1  2  1", "  1  3  1", "  1  4  1", "M  END", ""),
        ]
    )
    assert read_molfile(written(tmp_path, text)).formula == "O3Ti"


def test_radicals_are_refused_with_advice(tmp_path: Path) -> None:
    path = written(tmp_path, Chem.MolToMolBlock(in_space("[CH3]")))
    with pytest.raises(BadInputError, match=r"radical electrons on atom 0 \(C\).* XYZ file with its multiplicity"):
        read_molfile(path)


def lines(change: dict[int, str]) -> str:
    """Ethanol with some lines (counted from 1) changed."""
    kept = ETHANOL.splitlines()
    for number, line in change.items():
        kept[number - 1] = line
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "found nothing"),
        ("$$$$\n", 1, "found nothing"),
        ("hello\n", 1, "before line 4"),
        (lines({4: "nonsense"}), 4, "expected the numbers of atoms and bonds and V2000, found 'nonsense'"),
        (lines({4: "  0  0  0  0  0  0  0  0  0  0999 V2000"}), 4, "1 to 5000"),
        (lines({6: "        zz    0.0000    0.0000 C   0  0"}), 6, "x is not a number: 'zz'"),
        (lines({6: "    0.0000       nan    0.0000 C   0  0"}), 6, "y is not finite"),
        (lines({7: "    0.0000    0.0000    0.0000 R#  0  0"}), 7, "'R#' is no element"),
        (lines({15: "  1 99  1"}), 15, "expected a bond of two of 9 atoms"),
        (ETHANOL.replace("M  END", ""), 22, "ends without 'M  END'"),
        (ETHANOL[:300], 8, "is no element|is not a number"),
        (Chem.MolToV3KMolBlock(in_space("O")).replace(" O ", " Qq "), 8, "'Qq' is no element"),
        (Chem.MolToV3KMolBlock(in_space("O")).replace("COUNTS 3", "COUNTS 4"), None, "promises 4 atoms.* are 3"),
        (Chem.MolToV3KMolBlock(in_space("O")).replace("COUNTS", "CONUTS"), None, "no line 'M  V30 COUNTS'"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ParseError, match=message) as caught:
        read_molfile(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")


def test_impossible_valence(tmp_path: Path) -> None:
    text = "\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 C   0  0\n"
    text += "    1.2000    0.0000    0.1000 F   0  0\n  1  2  3\nM  END\n"
    with pytest.raises(BadInputError, match=r"it\.mol: Explicit valence for atom # 1 F, 3"):
        read_molfile(written(tmp_path, text))


def test_no_conformer_to_choose(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no conformer to choose"):
        read_molfile(written(tmp_path, ETHANOL), conformer="chelating")


def test_unreadable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError, match="cannot read"):
        read_molfile(tmp_path / "missing.mol")
    path = tmp_path / "binary.mol"
    path.write_bytes(b"a\nb\n\0\n")
    with pytest.raises(ParseError, match=r"binary\.mol:3: not text"):
        read_molfile(path)
    with pytest.raises(ParseError, match="RDKit cannot read"):
        read_molfile(written(tmp_path, Chem.MolToV3KMolBlock(in_space("O")).replace("M  V30 BEGIN BOND", "")))
    assert capfd.readouterr() == ("", "")
