"""Names of molecules that battery chemists use as hosts and solvents, and their SMILES."""

import re
from dataclasses import dataclass
from functools import cache

from alkaflow.structures.smiles import from_smiles
from alkaflow.structures.structure import Structure


@dataclass(frozen=True)
class Molecule:
    """A named molecule.

    Attributes
    ----------
    name
        The name it is listed under.
    smiles
        What it is.
    synonyms
        Other names.
    conformer
        The one that is built where none is asked for: ``chelating`` for ligands that are made to chelate.
    """

    name: str
    smiles: str
    synonyms: tuple[str, ...] = ()
    conformer: str = "lowest"

    def build(self, conformer: str | int | None = None) -> Structure:
        """Build it, in its usual conformer where none is given."""
        return from_smiles(self.smiles, self.name, conformer=self.conformer if conformer is None else conformer)


_TABLE = (
    # Rings with nitrogen
    Molecule("pyridine", "c1ccncc1"),
    Molecule("pyrazine", "c1cnccn1", ("1,4-diazine",)),
    Molecule("pyrimidine", "c1cncnc1", ("1,3-diazine",)),
    Molecule("pyridazine", "c1ccnnc1", ("1,2-diazine",)),
    Molecule("1,3,5-triazine", "c1ncncn1", ("triazine", "s-triazine")),
    Molecule("pyrrole", "c1cc[nH]c1"),
    Molecule("imidazole", "c1c[nH]cn1"),
    Molecule("quinoxaline", "c1ccc2nccnc2c1"),
    Molecule("phenazine", "c1ccc2nc3ccccc3nc2c1"),
    Molecule("1,10-phenanthroline", "c1cnc2c(c1)ccc1cccnc12", ("phenanthroline", "phen", "o-phenanthroline")),
    Molecule("2,2'-bipyridine", "c1ccc(nc1)-c1ccccn1", ("bipyridine", "bipy", "bpy", "2,2'-bipyridyl"), "chelating"),
    Molecule("4,4'-bipyridine", "c1cc(ccn1)-c1ccncc1", ("4,4'-bipyridyl",)),
    Molecule("bipyrimidine", "c1cnc(nc1)-c1ncccn1", ("2,2'-bipyrimidine", "bpym"), "flattest"),
    Molecule(
        "terpyridine",
        "c1ccc(nc1)-c1cccc(n1)-c1ccccn1",
        ("2,2':6',2''-terpyridine", "terpy", "tpy"),
        "chelating",
    ),
    Molecule("hexaazatriphenylene", "c1cnc2c(n1)c1nccnc1c1nccnc21", ("1,4,5,8,9,12-hexaazatriphenylene",)),
    Molecule(
        "hexaazatrinaphthylene",
        "c1ccc2nc3c(nc2c1)c1nc2ccccc2nc1c1nc2ccccc2nc31",
        ("hatn", "diquinoxalino[2,3-a:2',3'-c]phenazine"),
    ),
    # Nitriles
    Molecule("acetonitrile", "CC#N", ("mecn", "acn", "methyl cyanide")),
    Molecule("succinonitrile", "N#CCCC#N", ("butanedinitrile",)),
    Molecule("adiponitrile", "N#CCCCCC#N", ("hexanedinitrile",)),
    Molecule("benzonitrile", "N#Cc1ccccc1", ("cyanobenzene",)),
    Molecule("phthalonitrile", "N#Cc1ccccc1C#N", ("1,2-dicyanobenzene",)),
    Molecule("terephthalonitrile", "N#Cc1ccc(cc1)C#N", ("1,4-dicyanobenzene",)),
    Molecule("tetracyanobenzene", "N#Cc1cc(C#N)c(cc1C#N)C#N", ("1,2,4,5-tetracyanobenzene", "tcnb")),
    Molecule("dicyanopyrazine", "N#Cc1nccnc1C#N", ("2,3-dicyanopyrazine", "pyrazine-2,3-dicarbonitrile")),
    Molecule("tcne", "N#CC(C#N)=C(C#N)C#N", ("tetracyanoethylene", "tetracyanoethene")),
    Molecule("tcnq", "N#CC(C#N)=C1C=CC(=C(C#N)C#N)C=C1", ("tetracyanoquinodimethane",)),
    # Quinones, anhydrides, imides
    Molecule("1,4-benzoquinone", "O=C1C=CC(=O)C=C1", ("benzoquinone", "p-benzoquinone", "bq")),
    Molecule("1,2-benzoquinone", "O=C1C=CC=CC1=O", ("o-benzoquinone",)),
    Molecule("1,4-naphthoquinone", "O=C1C=CC(=O)c2ccccc12", ("naphthoquinone",)),
    Molecule("9,10-anthraquinone", "O=C1c2ccccc2C(=O)c2ccccc12", ("anthraquinone", "aq")),
    Molecule("phenanthrenequinone", "O=C1C(=O)c2ccccc2-c2ccccc12", ("9,10-phenanthrenequinone", "pq")),
    Molecule("pyrenetetraone", "O=C1C(=O)c2cccc3c2-c2c1cccc2C(=O)C3=O", ("pyrene-4,5,9,10-tetraone",)),
    Molecule("chloranil", "O=C1C(Cl)=C(Cl)C(=O)C(Cl)=C1Cl", ("tetrachloro-1,4-benzoquinone",)),
    Molecule("pmda", "O=c1oc(=O)c2cc3c(=O)oc(=O)c3cc12", ("pyromellitic dianhydride",)),
    Molecule(
        "ntcda", "O=C1OC(=O)c2ccc3C(=O)OC(=O)c4ccc1c2c34", ("1,4,5,8-naphthalenetetracarboxylic dianhydride", "nda")
    ),
    Molecule(
        "ptcda",
        "O=C1OC(=O)c2ccc3c4ccc5C(=O)OC(=O)c6ccc(c7ccc1c2c37)c4c56",
        ("3,4,9,10-perylenetetracarboxylic dianhydride", "perylene dianhydride"),
    ),
    Molecule("ntcdi", "O=C1NC(=O)c2ccc3C(=O)NC(=O)c4ccc1c2c34", ("1,4,5,8-naphthalenetetracarboxylic diimide",)),
    Molecule(
        "ptcdi",
        "O=C1NC(=O)c2ccc3c4ccc5C(=O)NC(=O)c6ccc(c7ccc1c2c37)c4c56",
        ("3,4,9,10-perylenetetracarboxylic diimide", "perylene diimide"),
    ),
    # Acids and their anions
    Molecule("formic acid", "OC=O"),
    Molecule("acetic acid", "CC(=O)O", ("ethanoic acid",)),
    Molecule("acetate", "CC(=O)[O-]", ("acetate anion",)),
    Molecule("oxalic acid", "OC(=O)C(=O)O", ("ethanedioic acid",)),
    Molecule("benzoic acid", "OC(=O)c1ccccc1"),
    Molecule("benzoate", "[O-]C(=O)c1ccccc1", ("benzoate anion",)),
    Molecule("terephthalic acid", "OC(=O)c1ccc(cc1)C(=O)O", ("1,4-benzenedicarboxylic acid",)),
    Molecule("catechol", "Oc1ccccc1O", ("1,2-dihydroxybenzene",)),
    # Macrocycles
    Molecule("12-crown-4", "C1COCCOCCOCCO1", ("12c4",), "chelating"),
    Molecule("15-crown-5", "C1COCCOCCOCCOCCO1", ("15c5",), "chelating"),
    Molecule("18-crown-6", "C1COCCOCCOCCOCCOCCO1", ("18c6",), "chelating"),
    Molecule("porphine", "c1cc2cc3ccc(cc4ccc(cc5ccc(cc1n2)[nH]5)n4)[nH]3", ("porphin", "porphyrin")),
    Molecule(
        "phthalocyanine",
        "c1ccc2c(c1)-c1nc-2nc2[nH]c(nc3nc(nc4[nH]c(n1)c1ccccc41)-c1ccccc1-3)c1ccccc21",
        ("h2pc", "29h,31h-phthalocyanine"),
    ),
    # Ethers
    Molecule("dme", "COCCOC", ("1,2-dimethoxyethane", "dimethoxyethane", "monoglyme", "glyme")),
    Molecule("diglyme", "COCCOCCOC", ("g2", "diethylene glycol dimethyl ether")),
    Molecule("triglyme", "COCCOCCOCCOC", ("g3", "triethylene glycol dimethyl ether")),
    Molecule("tetraglyme", "COCCOCCOCCOCCOC", ("g4", "tegdme", "tetraethylene glycol dimethyl ether")),
    Molecule("dol", "C1OCCO1", ("1,3-dioxolane", "dioxolane")),
    Molecule("1,4-dioxane", "C1COCCO1", ("dioxane",)),
    Molecule("thf", "C1CCOC1", ("tetrahydrofuran", "oxolane")),
    Molecule("diethyl ether", "CCOCC", ("ethoxyethane",)),
    Molecule("furan", "c1ccoc1"),
    # Carbonates and esters
    Molecule("ec", "O=C1OCCO1", ("ethylene carbonate",)),
    Molecule("pc", "C[C@@H]1COC(=O)O1", ("propylene carbonate",)),
    Molecule("vc", "O=c1occo1", ("vinylene carbonate",)),
    Molecule("fec", "O=C1OC[C@@H](F)O1", ("fluoroethylene carbonate",)),
    Molecule("dmc", "COC(=O)OC", ("dimethyl carbonate",)),
    Molecule("emc", "CCOC(=O)OC", ("ethyl methyl carbonate",)),
    Molecule("dec", "CCOC(=O)OCC", ("diethyl carbonate",)),
    Molecule("gbl", "O=C1CCCO1", ("gamma-butyrolactone", "butyrolactone")),
    # Other solvents
    Molecule("water", "O"),
    Molecule("methanol", "CO"),
    Molecule("ethanol", "CCO"),
    Molecule("acetone", "CC(C)=O", ("propanone",)),
    Molecule("dmso", "CS(C)=O", ("dimethyl sulfoxide", "dimethyl sulphoxide")),
    Molecule("sulfolane", "O=S1(=O)CCCC1", ("tetramethylene sulfone",)),
    Molecule("dmf", "CN(C)C=O", ("dimethylformamide", "n,n-dimethylformamide")),
    Molecule("nmp", "CN1CCCC1=O", ("n-methylpyrrolidone", "n-methyl-2-pyrrolidone")),
    Molecule("trimethyl phosphate", "COP(=O)(OC)OC", ("tmp",)),
    # Hydrocarbons, sulfur
    Molecule("benzene", "c1ccccc1"),
    Molecule("naphthalene", "c1ccc2ccccc2c1"),
    Molecule("anthracene", "c1ccc2cc3ccccc3cc2c1"),
    Molecule("phenanthrene", "c1ccc2c(c1)ccc1ccccc12"),
    Molecule("triphenylene", "c1ccc2c(c1)c1ccccc1c1ccccc21"),
    Molecule("perylene", "c1cc2cccc3c4cccc5cccc(c(c1)c23)c45"),
    Molecule("thiophene", "c1ccsc1"),
    Molecule("tetrathiafulvalene", "C1=CSC(=C2SC=CS2)S1", ("ttf",)),
)

MOLECULES: dict[str, Molecule] = {molecule.name: molecule for molecule in _TABLE}
"""Molecules by name. Of a chiral one, one of the two mirror images."""


def name_key(name: str) -> str:
    """Reduce a name to what tells it from others: letters and digits, no case, spaces, underscores, hyphens, primes.

    A text with anything else, or with hyphens or primes among two or three letters, is no name but may be SMILES.
    """
    key = re.sub(r"[\s_]", "", name.casefold())
    short = re.sub(r"[-,'’′]", "", key)
    return short if len(short) > 3 else key


def find_molecule(name: str) -> Molecule | None:
    """Return the molecule of a name or synonym, None where there is none."""
    return _by_key().get(name_key(name))


@cache
def _by_key() -> dict[str, Molecule]:
    return {name_key(name): molecule for molecule in _TABLE for name in (molecule.name, *molecule.synonyms)}
