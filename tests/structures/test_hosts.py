from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.records import formula_of
from alkaflow.structures import (
    BUILTIN,
    Structure,
    from_ase,
    from_pymatgen,
    from_smiles,
    hatcn,
    load_host,
    to_ase,
    to_pymatgen,
    write_xyz,
)
from alkaflow.structures.coatings import COATING_HOSTS
from alkaflow.structures.embedding import thickness
from alkaflow.structures.flakes import FLAKE_HOSTS
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.hosts import load_file
from alkaflow.structures.molecules import MOLECULES, name_key
from alkaflow.structures.oxo import OXO_HOSTS
from alkaflow.structures.smiles import is_smiles, read_smiles

MOLECULES_BY_HAND = {
    "pyridine": "C5H5N",
    "pyrazine": "C4H4N2",
    "pyrimidine": "C4H4N2",
    "pyridazine": "C4H4N2",
    "1,3,5-triazine": "C3H3N3",
    "pyrrole": "C4H5N",
    "imidazole": "C3H4N2",
    "quinoxaline": "C8H6N2",
    "phenazine": "C12H8N2",
    "1,10-phenanthroline": "C12H8N2",
    "2,2'-bipyridine": "C10H8N2",
    "4,4'-bipyridine": "C10H8N2",
    "bipyrimidine": "C8H6N4",
    "terpyridine": "C15H11N3",
    "hexaazatriphenylene": "C12H6N6",
    "hexaazatrinaphthylene": "C24H12N6",
    "acetonitrile": "C2H3N",
    "succinonitrile": "C4H4N2",
    "adiponitrile": "C6H8N2",
    "benzonitrile": "C7H5N",
    "phthalonitrile": "C8H4N2",
    "terephthalonitrile": "C8H4N2",
    "tetracyanobenzene": "C10H2N4",
    "dicyanopyrazine": "C6H2N4",
    "tcne": "C6N4",
    "tcnq": "C12H4N4",
    "1,4-benzoquinone": "C6H4O2",
    "1,2-benzoquinone": "C6H4O2",
    "1,4-naphthoquinone": "C10H6O2",
    "9,10-anthraquinone": "C14H8O2",
    "phenanthrenequinone": "C14H8O2",
    "pyrenetetraone": "C16H6O4",
    "chloranil": "C6Cl4O2",
    "pmda": "C10H2O6",
    "ntcda": "C14H4O6",
    "ptcda": "C24H8O6",
    "ntcdi": "C14H6N2O4",
    "ptcdi": "C24H10N2O4",
    "formic acid": "CH2O2",
    "acetic acid": "C2H4O2",
    "acetate": "C2H3O2",
    "oxalic acid": "C2H2O4",
    "benzoic acid": "C7H6O2",
    "benzoate": "C7H5O2",
    "terephthalic acid": "C8H6O4",
    "catechol": "C6H6O2",
    "12-crown-4": "C8H16O4",
    "15-crown-5": "C10H20O5",
    "18-crown-6": "C12H24O6",
    "porphine": "C20H14N4",
    "phthalocyanine": "C32H18N8",
    "dme": "C4H10O2",
    "diglyme": "C6H14O3",
    "triglyme": "C8H18O4",
    "tetraglyme": "C10H22O5",
    "dol": "C3H6O2",
    "1,4-dioxane": "C4H8O2",
    "thf": "C4H8O",
    "diethyl ether": "C4H10O",
    "furan": "C4H4O",
    "ec": "C3H4O3",
    "pc": "C4H6O3",
    "vc": "C3H2O3",
    "fec": "C3H3FO3",
    "dmc": "C3H6O3",
    "emc": "C4H8O3",
    "dec": "C5H10O3",
    "gbl": "C4H6O2",
    "water": "H2O",
    "methanol": "CH4O",
    "ethanol": "C2H6O",
    "acetone": "C3H6O",
    "dmso": "C2H6OS",
    "sulfolane": "C4H8O2S",
    "dmf": "C3H7NO",
    "nmp": "C5H9NO",
    "trimethyl phosphate": "C3H9O4P",
    "benzene": "C6H6",
    "naphthalene": "C10H8",
    "anthracene": "C14H10",
    "phenanthrene": "C14H10",
    "triphenylene": "C18H12",
    "perylene": "C20H12",
    "thiophene": "C4H4S",
    "tetrathiafulvalene": "C6H4S4",
}


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_have_their_formulas(name: str) -> None:
    symbols = [atom.GetSymbol() for atom in read_smiles(MOLECULES[name].smiles).GetAtoms()]
    assert formula_of(symbols) == MOLECULES_BY_HAND[name]


def test_built_hosts() -> None:
    assert load_host("hatcn").formula == "C18N12"
    assert np.array_equal(load_host("HATCN").positions, hatcn().positions)
    assert {"ti6-hpab", "coronene", *COATING_HOSTS} <= set(BUILTIN)
    assert load_host("Ti6 HPAB").formula == OXO_HOSTS["ti6-hpab"]().formula
    assert set(MOLECULES) | {"hatcn"} | set(OXO_HOSTS) | set(FLAKE_HOSTS) | set(COATING_HOSTS) == set(BUILTIN)


def test_every_name_means_one_host() -> None:
    names = [*BUILTIN, *(synonym for molecule in MOLECULES.values() for synonym in molecule.synonyms)]
    keys = [name_key(name) for name in names]
    assert [key for key in keys if keys.count(key) > 1] == []


def test_no_name_hides_a_smiles() -> None:
    """But PC, which is propylene carbonate to battery chemists; methylphosphine can be written CP."""
    names = [*BUILTIN, *(synonym for molecule in MOLECULES.values() for synonym in molecule.synonyms)]
    forms = {form for name in names for key in (name, name_key(name)) for form in (key, key.upper(), key.title())}
    assert {form for form in forms if is_smiles(form)} <= {"pc", "PC"}
    assert load_host("PC").formula == "C4H6O3"
    assert load_host("CP").formula == "CH5P"


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("1,10-phenanthroline", "C12H8N2"),
        ("Phenanthroline", "C12H8N2"),
        ("1,10_PHENANTHROLINE", "C12H8N2"),
        ("ethylene carbonate", "C3H4O3"),
        ("Ethylene_Carbonate", "C3H4O3"),
        ("EC", "C3H4O3"),
        ("benzoic acid", "C7H6O2"),
        ("2,2′-bipyrimidine", "C8H6N4"),
        ("CO", "CH4O"),  # SMILES: methanol, no name of carbon monoxide
        ("P-C", "CH5P"),  # SMILES, although PC is a name
    ],
)
def test_names_and_smiles(text: str, formula: str) -> None:
    assert load_host(text).formula == formula


def test_shipped_positions_stay_as_they_are() -> None:
    """To the bit, for calculations are identified by them: the lowest of ten embeddings by MMFF94."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    for name in ("dicyanopyrazine", "pyrazine", "bipyrimidine"):
        molecule = Chem.AddHs(Chem.MolFromSmiles(MOLECULES[name].smiles))
        parameters = rdDistGeom.ETKDGv3()
        parameters.randomSeed = 20240229
        embedded = list(rdDistGeom.EmbedMultipleConfs(molecule, 10, parameters))
        energies = [e for _, e in rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(molecule, maxIters=5000)]
        positions = [molecule.GetConformer(c).GetPositions() for c in embedded]
        cost = [thickness(p) for p in positions] if name == "bipyrimidine" else energies
        best = positions[int(np.argmin(np.round(cost, 6)))]
        assert np.array_equal(load_host(name).positions, best - best.mean(axis=0))


def test_conformers_of_hosts(tmp_path: Path) -> None:
    def between_nitrogens(structure: Structure) -> float:
        first, second = structure.positions[[s == "N" for s in structure.symbols]]
        return float(np.linalg.norm(first - second))

    assert between_nitrogens(load_host("bipyridine")) < 2.9  # made to chelate
    assert between_nitrogens(load_host("bipyridine", conformer="lowest")) > 3.4
    assert between_nitrogens(load_host("c1ccc(nc1)-c1ccccn1")) > 3.4
    assert between_nitrogens(load_host("c1ccc(nc1)-c1ccccn1", conformer="chelating")) < 2.9
    assert load_host("hatcn", conformer=1).formula == "C18N12"
    with pytest.raises(BadInputError, match="'hatcn' has one geometry"):
        load_host("HATCN", conformer="chelating")
    path = tmp_path / "it.xyz"
    write_xyz(hatcn(), path)
    with pytest.raises(BadInputError, match=r"it\.xyz has one geometry"):
        load_host(str(path), conformer="flattest")


def test_every_kind_of_file(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles("O"))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    (tmp_path / "it.MOL").write_text(Chem.MolToMolBlock(molecule), encoding="utf-8")
    (tmp_path / "it.sdf").write_text(Chem.MolToMolBlock(molecule) + "$$$$\n", encoding="utf-8")
    (tmp_path / "it.xyz").write_text(Chem.MolToXYZBlock(molecule), encoding="utf-8")
    (tmp_path / "it.cif").write_text(
        "data_x\n_space_group_IT_number 1\n"
        + "".join(f"_cell_length_{i} 8\n" for i in "abc")
        + "".join(f"_cell_angle_{i} 90\n" for i in ("alpha", "beta", "gamma"))
        + "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        + "O1 0 0 0\nH1 0.1 0.07 0\nH2 -0.1 0.07 0\n",
        encoding="utf-8",
    )
    for name in ("it.MOL", "it.sdf", "it.xyz", "it.cif"):
        assert load_host(str(tmp_path / name)).formula == "H2O"
        assert load_file(tmp_path / name, charge=1).multiplicity == 2
    assert load_file(tmp_path / "it.cif", molecule="H2O").formula == "H2O"
    with pytest.raises(BadInputError, match="chosen by its formula from a CIF only"):
        load_file(tmp_path / "it.xyz", molecule="H2O")
    (tmp_path / "it.pdb").write_text("END\n", encoding="utf-8")
    with pytest.raises(
        BadInputError, match=r"it\.pdb: files that end in \.pdb are not read; \.xyz, \.mol, \.sdf, \.cif"
    ):
        load_host(str(tmp_path / "it.pdb"))
    (tmp_path / "bare").write_text("", encoding="utf-8")
    with pytest.raises(BadInputError, match="files that end in nothing are not read"):
        load_host(str(tmp_path / "bare"))


def test_a_charge_leaves_the_multiplicity_of_a_source_alone_only_if_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "o2.xyz"
    path.write_text("2\ncharge=0 multiplicity=3\nO 0 0 0\nO 0 0 1.2\n", encoding="utf-8")
    assert load_host(str(path)).multiplicity == 3
    assert load_host("water", charge=1).multiplicity == 2
    assert load_host("water", charge=0).multiplicity == 1


def test_bipyrimidine_is_planar() -> None:
    positions = load_host("bipyrimidine").positions
    assert np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)[2] < 0.3


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my host.xyz"
    write_xyz(hatcn(), path)
    assert load_host(str(path)).formula == "C18N12"
    assert load_host(str(path), charge=-1).multiplicity == 2
    assert load_host(str(path), multiplicity=3).multiplicity == 3


def test_smiles_gives_known_bond_lengths() -> None:
    # benzene, experiment: C-C 1.397, C-H 1.084 Angstrom (Pliva et al. 1991, doi 10.1016/0022-2852(91)90249-R)
    benzene = from_smiles("c1ccccc1")
    graph = BondGraph(benzene)
    lengths = [float(np.linalg.norm(benzene.positions[i] - benzene.positions[j])) for i, j in graph.bonds]
    assert len(lengths) == 12
    assert min(lengths) == pytest.approx(1.084, abs=0.02)
    assert max(lengths) == pytest.approx(1.397, abs=0.02)


def test_smiles_is_reproducible_and_carries_its_charge() -> None:
    assert np.array_equal(from_smiles("CCO").positions, from_smiles("CCO").positions)
    ion = from_smiles("[O-]C(=O)c1ccccc1")
    assert (ion.charge, ion.multiplicity) == (-1, 1)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("hatcm", "unknown host 'hatcm'; did you mean 'hatcn'"),
        ("cc", "unknown host 'cc'; did you mean"),
        ("anthraquinon", "did you mean 'anthraquinone'"),
        ("2,2 bipyridin", 'did you mean "2,2\'-bipyridine"'),
        ("name.cif", "cannot read name.cif: No such file"),
        ("folder/name.mol", "cannot read folder/name.mol: No such file"),
        ("name.SDF", "cannot read name.SDF: No such file"),
        ("name.pdb", r"'name.pdb' is no file, name or SMILES; files end in .xyz, .mol, .sdf, .cif"),
        ("[Na+].[Cl-]", "several pieces"),
        ("C\0C", "not a SMILES"),
        ("missing.xyz", "cannot read missing.xyz"),
        ("C1CC(", "not a SMILES"),
        ("C.C", "several pieces"),
        ("[CH3]", "radical electrons on atom 0"),
        ("", "not a SMILES"),
        ("C" * 300 + "(", "not a SMILES"),
    ],
)
def test_bad_hosts(host: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_host(host)


def test_unknown_builtin() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pyrazine'"):
        load_host("pyrazin")


@pytest.mark.parametrize("name", ["LiH", "CH3", "H2O"])
def test_ase_and_pymatgen_round_trips(name: str) -> None:
    atoms = molecule(name)
    structure = from_ase(atoms, multiplicity=2 if name == "CH3" else 1)
    for back in (from_ase(to_ase(structure)), from_pymatgen(to_pymatgen(structure))):
        assert back.symbols == structure.symbols
        assert np.allclose(back.positions, atoms.positions)
        assert (back.charge, back.multiplicity) == (structure.charge, structure.multiplicity)


def test_impossible_spin_is_refused() -> None:
    with pytest.raises(BadInputError, match="192 electrons cannot have multiplicity 2"):
        load_host("hatcn", multiplicity=2)
    with pytest.raises(BadInputError, match="3 electrons cannot have multiplicity 6"):
        Structure(("Li",), np.zeros((1, 3)), multiplicity=6)
