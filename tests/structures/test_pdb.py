"""PDB text, read back by ASE and by RDKit."""

import io

import numpy as np
import pytest
from ase.io import read
from rdkit import Chem

from alkaflow.errors import BadInputError
from alkaflow.structures import Structure, from_smiles, hatcn
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.pdb import format_pdb

SODIUM = Structure((*hatcn().symbols, "Na"), np.vstack([hatcn().positions, [[0.0, 5.0, 0.0]]]), 0, 2, "Na@HATCN")
TITANIUM = Structure(
    ("Ti", "O", "O", "Cl", "Cl"),
    np.array([[0, 0, 0], [1.8, 0, 0], [-1.8, 0, 0], [0, 2.2, 0], [0, -2.2, 0.0]]) - [120.0, 0, -1000.5],
    -2,
)
CASES = [
    (SODIUM, {"host": range(30), "Na": [30]}),
    (TITANIUM, None),
    (from_smiles("CCO"), None),
    (Structure(("Li",), np.zeros((1, 3))), {"Li": [0]}),
]


@pytest.mark.parametrize(("structure", "fragments"), CASES)
def test_read_back_by_ase(structure: Structure, fragments: dict[str, list[int]] | None) -> None:
    atoms = read(io.StringIO(format_pdb(structure, fragments)), format="proteindatabank")
    assert tuple(atoms.symbols) == structure.symbols
    assert np.abs(atoms.positions - structure.positions).max() < 1e-3


@pytest.mark.parametrize(("structure", "fragments"), CASES)
def test_read_back_by_rdkit(structure: Structure, fragments: dict[str, list[int]] | None) -> None:
    molecule = Chem.MolFromPDBBlock(
        format_pdb(structure, fragments), sanitize=False, removeHs=False, proximityBonding=False
    )
    assert tuple(atom.GetSymbol() for atom in molecule.GetAtoms()) == structure.symbols
    assert np.abs(molecule.GetConformer().GetPositions() - structure.positions).max() < 1e-3
    bonds = {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds()}
    assert bonds == BondGraph(structure).bonds


def test_fragments_are_residues() -> None:
    molecule = Chem.MolFromPDBBlock(format_pdb(*CASES[0]), sanitize=False, removeHs=False, proximityBonding=False)
    residues = [atom.GetPDBResidueInfo() for atom in molecule.GetAtoms()]
    assert {r.GetResidueName().strip() for r in residues[:30]} == {"HST"}
    assert (residues[30].GetResidueName().strip(), residues[30].GetResidueNumber()) == ("NA", 2)
    assert len({r.GetName() for r in residues}) == len(residues)


def test_atoms_of_a_fragment_stay_together() -> None:
    """Serial numbers follow the residues; bonds follow the numbers."""
    text = format_pdb(from_smiles("CCO"), {"guest": [2, 8]})
    rows = [line for line in text.splitlines() if line.startswith("HETATM")]
    assert [row[17:20] for row in rows] == ["HST"] * 7 + ["GUE"] * 2
    assert [int(row[6:11]) for row in rows] == list(range(1, 10))
    molecule = Chem.MolFromPDBBlock(text, sanitize=False, removeHs=False, proximityBonding=False)
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule)) == "CCO"


def test_columns() -> None:
    """Format 3.3: name 13-16, residue 18-20, chain 22, number 23-26, x 31-38, element 77-78; all lines fit 80."""
    lines = format_pdb(TITANIUM).splitlines()
    atom = next(line for line in lines if line.startswith("HETATM"))
    assert (atom[12:16], atom[17:20], atom[21], atom[22:26]) == ("TI1 ", "HST", "A", "   1")
    assert (float(atom[30:38]), float(atom[46:54])) == (-120.0, 1000.5)
    assert atom[76:78] == "TI"
    oxygen = next(line for line in lines if line[12:16] == " O1 ")
    assert oxygen[76:78] == " O"
    assert lines[-1] == "END"
    assert max(map(len, lines)) <= 80
    assert [len(line) for line in lines if line.startswith("HETATM")] == [80] * 5
    assert sum(line.startswith("CONECT") for line in lines) == 5


def test_names_stay_unique_in_large_structures() -> None:
    grid = np.array(np.meshgrid(*[np.arange(11) * 4.0] * 3)).reshape(3, -1).T
    structure = Structure(("C", "Ca") * 665, grid[:1330])
    text = format_pdb(structure)
    names = [line[12:16] for line in text.splitlines() if line.startswith("HETATM")]
    assert len(set(names)) == 1330
    atoms = read(io.StringIO(text), format="proteindatabank")
    assert tuple(atoms.symbols) == structure.symbols


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        ({"guest": [31]}, "fragment 'guest' names atom 31; the structure has atoms 0 to 30"),
        ({"guest": [-1]}, "names atom -1"),
        ({"a": [1, 2], "b": [2]}, "atom 2 belongs to the fragments 'a' and 'b'"),
    ],
)
def test_wrong_fragments(fragments: dict[str, list[int]], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        format_pdb(SODIUM, fragments)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"atom 1 \(He\) is too far away for a PDB file"):
        format_pdb(Structure(("He", "He"), np.array([[0, 0, 0], [0, -1000.0, 0]])))
