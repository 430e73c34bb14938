"""Conformers of SMILES: facts that do not come from the code, and what is refused."""

import time

import numpy as np
import pytest
from rdkit import Chem

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import FloatArray, Structure, embedding, from_smiles
from alkaflow.structures.embedding import donor_atoms, embedding_count, pocket, thickness
from alkaflow.structures.smiles import conformers, is_smiles, read_smiles

BIPYRIDINE = "c1ccc(nc1)-c1ccccn1"


def distances(structure: Structure, symbol: str) -> FloatArray:
    """Distances between all atoms of an element, shortest first."""
    at = structure.positions[[s == symbol for s in structure.symbols]]
    first, second = np.triu_indices(len(at), 1)
    return np.sort(np.linalg.norm(at[first] - at[second], axis=1))


def dihedral(positions: FloatArray) -> float:
    """Of four atoms [degree], without its sign."""
    b = np.diff(positions, axis=0)
    n, m = np.cross(b[0], b[1]), np.cross(b[1], b[2])
    return float(np.degrees(np.arccos(np.clip(n @ m / np.linalg.norm(n) / np.linalg.norm(m), -1, 1))))


def test_butane_is_anti_then_gauche() -> None:
    """Two conformers, as mirror images are one; gauche lies 2.5 to 4 kJ/mol higher by experiment and theory."""
    anti, gauche = conformers("CCCC")
    assert anti.energy == 0.0
    assert gauche.energy == pytest.approx(3.3, abs=0.8)
    assert dihedral(anti.structure.positions[:4]) == pytest.approx(180, abs=2)
    assert dihedral(gauche.structure.positions[:4]) == pytest.approx(65, abs=6)


def test_pentane_has_four_conformers() -> None:
    """tt, tg, gg and g+g-: the textbook's four, all symmetry equivalents and mirror images counted once."""
    found = conformers("CCCCC")
    turns = [
        sorted(round(dihedral(c.structure.positions[[i, i + 1, i + 2, i + 3]]) / 60) for i in (0, 1)) for c in found
    ]
    assert turns[0] == [3, 3]
    assert sorted(map(tuple, turns[:3])) == [(1, 1), (1, 3), (3, 3)]
    assert len(found) == 4
    assert [c.energy for c in found] == sorted(c.energy for c in found)


def test_chair_before_twist_boat() -> None:
    chair, twist = conformers("C1CCCCC1")
    assert twist.energy == pytest.approx(23, abs=4)  # kJ/mol, experiment: 23 (doi 10.1021/ja00833a014 and textbooks)
    assert chair.structure.formula == twist.structure.formula == "C6H12"


@pytest.mark.parametrize("smiles", ["c1ccccc1", "N#Cc1nccnc1C#N", "O", "[Na+]", "[Ti]", "N#N", "C1CC1"])
def test_rigid_molecules_have_one(smiles: str) -> None:
    assert len(conformers(smiles)) == 1


def test_bipyridine_chelates_when_asked() -> None:
    """The free molecule is trans, N..N 3.6 Angstrom; the chelating one cis, N..N at most 2.9."""
    assert distances(from_smiles(BIPYRIDINE), "N")[0] > 3.4
    chelating = from_smiles(BIPYRIDINE, conformer="chelating")
    assert distances(chelating, "N")[0] < 2.9
    assert np.array_equal(chelating.positions, from_smiles(BIPYRIDINE, conformer=2).positions)


def test_terpyridine_turns_three_nitrogens_one_way() -> None:
    found = distances(from_smiles("c1ccc(nc1)-c1cccc(n1)-c1ccccn1", conformer="chelating"), "N")
    assert found[1] < 2.9
    assert found[2] < 5.0  # 4.5 to 4.8 in its complexes


def test_glymes_and_crowns_wrap_around_one_point() -> None:
    assert distances(from_smiles("COCCOC"), "O")[0] > 3.4  # all trans
    assert distances(from_smiles("COCCOC", conformer="chelating"), "O")[0] == pytest.approx(2.9, abs=0.15)  # gauche
    for smiles, number, reach in (("C1COCCOCCOCCO1", 4, 2.5), ("C1COCCOCCOCCOCCOCCO1", 6, 3.0)):
        crown = from_smiles(smiles, conformer="chelating")
        oxygens = crown.positions[[s == "O" for s in crown.symbols]]
        molecule = read_smiles(smiles)
        reached, distance = pocket(molecule, crown.positions, donor_atoms(molecule))
        assert reached == len(oxygens) == number
        assert distance < reach
        # neighbours along the ring: 2.8 to 2.9 Angstrom in crystals, 3.0 by MMFF94
        assert np.allclose(distances(crown, "O")[: number - 1], 3.0, atol=0.2)


def test_twelve_crown_four_faces_a_point_on_one_side() -> None:
    crown = from_smiles("C1COCCOCCOCCO1", conformer="chelating")
    oxygen = np.array([s == "O" for s in crown.symbols])
    centre = crown.positions[oxygen].mean(axis=0)
    normal = np.linalg.svd(crown.positions[oxygen] - centre)[2][2]
    carbons = (crown.positions[[s == "C" for s in crown.symbols]] - centre) @ normal
    assert abs(carbons.mean()) > 0.3  # the carbons lie on the other side


def test_flattest_is_flat() -> None:
    assert thickness(from_smiles(BIPYRIDINE, conformer="flattest").positions) < 0.05
    flat = from_smiles("c1cnc(nc1)-c1ncccn1", flatten=True)
    assert np.array_equal(flat.positions, from_smiles("c1cnc(nc1)-c1ncccn1", conformer="flattest").positions)


def test_the_same_on_every_run_and_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 3, 3):
        monkeypatch.setattr(embedding, "_threads", lambda threads=threads: threads)
        found.append(np.array([c.structure.positions for c in conformers("COCCOCCO")]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[1], found[2])


def test_the_order_of_writing_changes_nothing_but_the_order() -> None:
    energies = [c.energy for c in conformers("OCCO")[:3]]
    assert energies == pytest.approx([c.energy for c in conformers("C(O)CO")[:3]], abs=0.1)


def test_thirty_heavy_atoms_take_seconds() -> None:
    drug = "CC(C)Cc1ccc(cc1)CC(=O)NCCc1ccc(OC)c(OC)c1CCCC#N"  # 29 heavy atoms, 12 rotors
    molecule = read_smiles(drug)
    assert 10 <= embedding_count(molecule) <= 40
    start = time.process_time()
    from_smiles(drug)
    assert time.process_time() - start < 20  # 3 on an idle core; a busy machine is no fault in the code


def test_what_mmff_lacks_falls_back_to_uff() -> None:
    """MMFF94 has no aluminium; UFF has. By experiment Al-C of the monomer is 1.957 Angstrom and its skeleton flat."""
    trimethyl = from_smiles("C[Al](C)C")
    carbons = trimethyl.positions[[s == "C" for s in trimethyl.symbols]]
    lengths = np.linalg.norm(carbons - trimethyl.positions[trimethyl.symbols.index("Al")], axis=1)
    assert lengths == pytest.approx([1.957] * 3, abs=0.06)


def test_one_open_centre_is_chosen_and_always_the_same() -> None:
    """Propylene carbonate without its centre is one of its enantiomers."""
    open_one = from_smiles("CC1COC(=O)O1")
    written = [from_smiles(s) for s in ("C[C@@H]1COC(=O)O1", "C[C@H]1COC(=O)O1")]
    assert any(np.allclose(open_one.positions, w.positions) for w in written)
    assert np.array_equal(open_one.positions, from_smiles("CC1COC(=O)O1").positions)


def test_bridgeheads_leave_no_choice() -> None:
    assert from_smiles("C1CC2CCC1C2").formula == "C7H12"  # norbornane


@pytest.mark.parametrize(
    ("smiles", "isomers"),
    [
        ("CC=CC", 2),
        ("CC1CCC(C)CC1", 2),
        ("OC(C(O)C(=O)O)C(=O)O", 2),  # tartaric acid: meso, and one of the pair
    ],
)
def test_open_diastereomers_are_listed(smiles: str, isomers: int) -> None:
    with pytest.raises(BadInputError, match="leaves its stereochemistry open; give one of: ") as caught:
        from_smiles(smiles)
    listed = str(caught.value).split("give one of: ")[1].removesuffix(" (or a mirror image)").split(", ")
    assert len(listed) == isomers
    for text in listed:
        assert from_smiles(text).formula == Chem.rdMolDescriptors.CalcMolFormula(Chem.MolFromSmiles(smiles))


def test_at_most_eight_isomers_are_listed() -> None:
    with pytest.raises(BadInputError, match=r", \.\.\. \(or a mirror image\)") as caught:
        from_smiles("CC(O)C(O)C(O)C(O)C(O)C(O)C(F)Cl")
    assert str(caught.value).count("@H](F)Cl") + str(caught.value).count("@@H](F)Cl") <= 9 * 2


@pytest.mark.parametrize(
    ("smiles", "conformer", "message"),
    [
        ("CCCC", 3, "conformers 1 to 2, none is number 3"),
        ("CCCC", 0, "none is number 0"),
        ("CCCC", "chelating", "has 0 donor atoms"),
        ("N#N", "chelating", "no two donor atoms of 'N#N' face one point"),
        ("*CC", "lowest", "atom 0 is a placeholder"),
        ("C" * 1300, "lowest", "1300 heavy atoms, which is too many"),
        ("C C", "lowest", "not a SMILES"),
        ("C[U]", "lowest", "no force field knows"),
    ],
)
def test_refused(smiles: str, conformer: str | int, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        from_smiles(smiles, conformer=conformer)


def test_unknown_choice() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown conformer 'lowset'; did you mean 'lowest'.*or a number"):
        from_smiles("CCCC", conformer="lowset")
    assert from_smiles("CCCC", conformer="2").formula == "C4H10"


@pytest.mark.parametrize(("text", "is_one"), [("CO", True), ("cc", False), ("", False), (" ", False), ("C\0", False)])
def test_is_smiles(text: str, is_one: bool) -> None:
    assert is_smiles(text) is is_one


def test_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    from_smiles("C[Al](C)C")
    with pytest.raises(BadInputError):
        from_smiles("C(C")
    assert capfd.readouterr() == ("", "")
