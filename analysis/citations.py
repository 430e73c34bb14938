"""The literature behind a calculation, as BibTeX; methods.py says what of it was used."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alkaflow.errors import UnknownNameError


@dataclass(frozen=True)
class Citation:
    """An article: authors joined by ``and``, each ``Family, Given``; characters as they are, not as TeX writes them."""

    author: str
    title: str
    journal: str
    volume: str
    pages: str
    year: int
    doi: str

    @property
    def short(self) -> str:
        """One line for people: first authors, journal, volume, first page, year."""
        families = [name.partition(",")[0] for name in self.author.split(" and ")]
        names = f"{families[0]} et al." if len(families) > 3 else ", ".join(families)
        return f"{names}, {self.journal} {self.volume}, {self.pages.partition('-')[0]} ({self.year})"


_JCP, _JCTC, _JCC = "J. Chem. Phys.", "J. Chem. Theory Comput.", "J. Comput. Chem."
_TCA, _WIRES = "Theor. Chim. Acta", "WIREs Comput. Mol. Sci."

CITATIONS: dict[str, Citation] = {
    # --- programs -----------------------------------------------------------------------------------------------------
    "pyscf2018": Citation(
        "Sun, Qiming and Berkelbach, Timothy C. and Blunt, Nick S. and Booth, George H. and Guo, Sheng and Li, "
        "Zhendong and Liu, Junzi and McClain, James D. and Sayfutyarova, Elvira R. and Sharma, Sandeep and Wouters, "
        "Sebastian and Chan, Garnet Kin-Lic",
        "PySCF: the Python-based simulations of chemistry framework",
        _WIRES, "8", "e1340", 2018, "10.1002/wcms.1340",
    ),
    "pyscf2020": Citation(
        "Sun, Qiming and Zhang, Xing and Banerjee, Samragni and Bao, Peng and Barbry, Marc and Blunt, Nick S. and "
        "Bogdanov, Nikolay A. and Booth, George H. and Chen, Jia and Cui, Zhi-Hao and Eriksen, Janus J. and Gao, Yang "
        "and Guo, Sheng and Hermann, Jan and Hermes, Matthew R. and Koh, Kevin and Koval, Peter and Lehtola, Susi and "
        "Li, Zhendong and Liu, Junzi and Mardirossian, Narbe and McClain, James D. and Motta, Mario and Mussard, "
        "Bastien and Pham, Hung Q. and Pulkin, Artem and Purwanto, Wirawan and Robinson, Paul J. and Ronca, Enrico and "
        "Sayfutyarova, Elvira R. and Scheurer, Maximilian and Schurkus, Henry F. and Smith, James E. T. and Sun, Chong "
        "and Sun, Shi-Ning and Upadhyay, Shiv and Wagner, Lucas K. and Wang, Xiao and White, Alec and Whitfield, James "
        "Daniel and Williamson, Mark J. and Wouters, Sebastian and Yang, Jun and Yu, Jason M. and Zhu, Tianyu and "
        "Berkelbach, Timothy C. and Sharma, Sandeep and Sokolov, Alexander Yu. and Chan, Garnet Kin-Lic",
        "Recent developments in the PySCF program package",
        _JCP, "153", "024109", 2020, "10.1063/5.0006074",
    ),
    "libcint": Citation(
        "Sun, Qiming",
        "Libcint: An efficient general integral library for Gaussian basis functions",
        _JCC, "36", "1664-1671", 2015, "10.1002/jcc.23981",
    ),
    "tblite": Citation(
        "Katbashev, Albert and Stahn, Marcel and Rose, Thomas and Alizadeh, V. and Friede, Marvin and Plett, "
        "Christoph and Steinbach, Pit and Ehlert, Sebastian",
        "Overview on Building Blocks and Applications of Efficient and Robust Extended Tight Binding",
        "J. Phys. Chem. A", "129", "2667-2682", 2025, "10.1021/acs.jpca.4c08263",
    ),
    "geometric": Citation(
        "Wang, Lee-Ping and Song, Chenchen",
        "Geometry optimization made simple with translation and rotation coordinates",
        _JCP, "144", "214108", 2016, "10.1063/1.4952956",
    ),
    "ase": Citation(
        "Hjorth Larsen, Ask and Mortensen, Jens Jørgen and Blomqvist, Jakob and Castelli, Ivano E. and Christensen, "
        "Rune and Dułak, Marcin and Friis, Jesper and Groves, Michael N. and Hammer, Bjørk and Hargus, Cory and "
        "Hermes, Eric D. and Jennings, Paul C. and Jensen, Peter Bjerre and Kermode, James and Kitchin, John R. and "
        "Kolsbjerg, Esben Leonhard and Kubal, Joseph and Kaasbjerg, Kristen and Lysgaard, Steen and Maronsson, Jón "
        "Bergmann and Maxson, Tristan and Olsen, Thomas and Pastewka, Lars and Peterson, Andrew and Rostgaard, Carsten "
        "and Schiøtz, Jakob and Schütt, Ole and Strange, Mikkel and Thygesen, Kristian S. and Vegge, Tejs and "
        "Vilhelmsen, Lasse and Walter, Michael and Zeng, Zhenhua and Jacobsen, Karsten W.",
        "The atomic simulation environment—a Python library for working with atoms",
        "J. Phys.: Condens. Matter", "29", "273002", 2017, "10.1088/1361-648X/aa680e",
    ),
    "fireworks": Citation(
        "Jain, Anubhav and Ong, Shyue Ping and Chen, Wei and Medasani, Bharat and Qu, Xiaohui and Kocher, Michael and "
        "Brafman, Miriam and Petretto, Guido and Rignanese, Gian-Marco and Hautier, Geoffroy and Gunter, Daniel and "
        "Persson, Kristin A.",
        "FireWorks: a dynamic workflow system designed for high-throughput applications",
        "Concurrency Computat.: Pract. Exper.", "27", "5037-5059", 2015, "10.1002/cpe.3505",
    ),
    # --- methods ------------------------------------------------------------------------------------------------------
    "becke1993": Citation(
        "Becke, Axel D.",
        "Density-functional thermochemistry. III. The role of exact exchange",
        _JCP, "98", "5648-5652", 1993, "10.1063/1.464913",
    ),
    "lyp": Citation(
        "Lee, Chengteh and Yang, Weitao and Parr, Robert G.",
        "Development of the Colle-Salvetti correlation-energy formula into a functional of the electron density",
        "Phys. Rev. B", "37", "785-789", 1988, "10.1103/PhysRevB.37.785",
    ),
    "vwn": Citation(
        "Vosko, S. H. and Wilk, L. and Nusair, M.",
        "Accurate spin-dependent electron liquid correlation energies for local spin density calculations: a critical "
        "analysis",
        "Can. J. Phys.", "58", "1200-1211", 1980, "10.1139/p80-159",
    ),
    "stephens1994": Citation(
        "Stephens, P. J. and Devlin, F. J. and Chabalowski, C. F. and Frisch, M. J.",
        "Ab Initio Calculation of Vibrational Absorption and Circular Dichroism Spectra Using Density Functional Force "
        "Fields",
        "J. Phys. Chem.", "98", "11623-11627", 1994, "10.1021/j100096a001",
    ),
    "becke1988": Citation(
        "Becke, A. D.",
        "Density-functional exchange-energy approximation with correct asymptotic behavior",
        "Phys. Rev. A", "38", "3098-3100", 1988, "10.1103/PhysRevA.38.3098",
    ),
    "perdew1986": Citation(
        "Perdew, John P.",
        "Density-functional approximation for the correlation energy of the inhomogeneous electron gas",
        "Phys. Rev. B", "33", "8822-8824", 1986, "10.1103/PhysRevB.33.8822",
    ),
    "pbe": Citation(
        "Perdew, John P. and Burke, Kieron and Ernzerhof, Matthias",
        "Generalized Gradient Approximation Made Simple",
        "Phys. Rev. Lett.", "77", "3865-3868", 1996, "10.1103/PhysRevLett.77.3865",
    ),
    "pbe0": Citation(
        "Adamo, Carlo and Barone, Vincenzo",
        "Toward reliable density functional methods without adjustable parameters: The PBE0 model",
        _JCP, "110", "6158-6170", 1999, "10.1063/1.478522",
    ),
    "tpss": Citation(
        "Tao, Jianmin and Perdew, John P. and Staroverov, Viktor N. and Scuseria, Gustavo E.",
        "Climbing the Density Functional Ladder: Nonempirical Meta-Generalized Gradient Approximation Designed for "
        "Molecules and Solids",
        "Phys. Rev. Lett.", "91", "146401", 2003, "10.1103/PhysRevLett.91.146401",
    ),
    "tpssh": Citation(
        "Staroverov, Viktor N. and Scuseria, Gustavo E. and Tao, Jianmin and Perdew, John P.",
        "Comparative assessment of a new nonempirical density functional: Molecules and hydrogen-bonded complexes",
        _JCP, "119", "12129-12137", 2003, "10.1063/1.1626543",
    ),
    "d3": Citation(
        "Grimme, Stefan and Antony, Jens and Ehrlich, Stephan and Krieg, Helge",
        "A consistent and accurate ab initio parametrization of density functional dispersion correction (DFT-D) for "
        "the 94 elements H-Pu",
        _JCP, "132", "154104", 2010, "10.1063/1.3382344",
    ),
    "bj": Citation(
        "Grimme, Stefan and Ehrlich, Stephan and Goerigk, Lars",
        "Effect of the damping function in dispersion corrected density functional theory",
        _JCC, "32", "1456-1465", 2011, "10.1002/jcc.21759",
    ),
    "d4": Citation(
        "Caldeweyher, Eike and Ehlert, Sebastian and Hansen, Andreas and Neugebauer, Hagen and Spicher, Sebastian and "
        "Bannwarth, Christoph and Grimme, Stefan",
        "A generally applicable atomic-charge dependent London dispersion correction",
        _JCP, "150", "154122", 2019, "10.1063/1.5090222",
    ),
    "gfn2": Citation(
        "Bannwarth, Christoph and Ehlert, Sebastian and Grimme, Stefan",
        "GFN2-xTB—An Accurate and Broadly Parametrized Self-Consistent Tight-Binding Quantum Chemical Method with "
        "Multipole Electrostatics and Density-Dependent Dispersion Contributions",
        _JCTC, "15", "1652-1671", 2019, "10.1021/acs.jctc.8b01176",
    ),
    "boysbernardi": Citation(
        "Boys, S. F. and Bernardi, F.",
        "The calculation of small molecular interactions by the differences of separate total energies. Some "
        "procedures with reduced errors",
        "Mol. Phys.", "19", "553-566", 1970, "10.1080/00268977000101561",
    ),
    # --- basis sets ---------------------------------------------------------------------------------------------------
    "pople631": Citation(
        "Hehre, W. J. and Ditchfield, R. and Pople, J. A.",
        "Self-Consistent Molecular Orbital Methods. XII. Further Extensions of Gaussian-Type Basis Sets for Use in "
        "Molecular Orbital Studies of Organic Molecules",
        _JCP, "56", "2257-2261", 1972, "10.1063/1.1677527",
    ),
    "pople631pol": Citation(
        "Hariharan, P. C. and Pople, J. A.",
        "The influence of polarization functions on molecular orbital hydrogenation energies",
        _TCA, "28", "213-222", 1973, "10.1007/BF00533485",
    ),
    "pople631second": Citation(
        "Francl, Michelle M. and Pietro, William J. and Hehre, Warren J. and Binkley, J. Stephen and Gordon, Mark S. "
        "and DeFrees, Douglas J. and Pople, John A.",
        "Self-consistent molecular orbital methods. XXIII. A polarization-type basis set for second-row elements",
        _JCP, "77", "3654-3665", 1982, "10.1063/1.444267",
    ),
    "pople6311": Citation(
        "Krishnan, R. and Binkley, J. S. and Seeger, R. and Pople, J. A.",
        "Self-consistent molecular orbital methods. XX. A basis set for correlated wave functions",
        _JCP, "72", "650-654", 1980, "10.1063/1.438955",
    ),
    "pople6311second": Citation(
        "McLean, A. D. and Chandler, G. S.",
        "Contracted Gaussian basis sets for molecular calculations. I. Second row atoms, Z=11-18",
        _JCP, "72", "5639-5648", 1980, "10.1063/1.438980",
    ),
    "def2": Citation(
        "Weigend, Florian and Ahlrichs, Reinhart",
        "Balanced basis sets of split valence, triple zeta valence and quadruple zeta valence quality for H to Rn: "
        "Design and assessment of accuracy",
        "Phys. Chem. Chem. Phys.", "7", "3297-3305", 2005, "10.1039/B508541A",
    ),
    "jkfit": Citation(
        "Weigend, Florian",
        "Hartree-Fock exchange fitting basis sets for H to Rn",
        _JCC, "29", "167-175", 2008, "10.1002/jcc.20702",
    ),
    # --- charges and potentials ---------------------------------------------------------------------------------------
    "mulliken": Citation(
        "Mulliken, R. S.",
        "Electronic Population Analysis on LCAO-MO Molecular Wave Functions. I",
        _JCP, "23", "1833-1840", 1955, "10.1063/1.1740588",
    ),
    "loewdin": Citation(
        "Löwdin, Per-Olov",
        "On the Non-Orthogonality Problem Connected with the Use of Atomic Wave Functions in the Theory of Molecules "
        "and Crystals",
        _JCP, "18", "365-375", 1950, "10.1063/1.1747632",
    ),
    "metaloewdin": Citation(
        "Sun, Qiming and Chan, Garnet Kin-Lic",
        "Exact and Optimal Quantum Mechanics/Molecular Mechanics Boundaries",
        _JCTC, "10", "3784-3790", 2014, "10.1021/ct500512f",
    ),
    "hirshfeld": Citation(
        "Hirshfeld, F. L.",
        "Bonded-atom fragments for describing molecular charge densities",
        _TCA, "44", "129-138", 1977, "10.1007/BF00549096",
    ),
    "cm5": Citation(
        "Marenich, Aleksandr V. and Jerome, Steven V. and Cramer, Christopher J. and Truhlar, Donald G.",
        "Charge Model 5: An Extension of Hirshfeld Population Analysis for the Accurate Description of Molecular "
        "Interactions in Gaseous and Condensed Phases",
        _JCTC, "8", "527-541", 2012, "10.1021/ct200866d",
    ),
    "iao": Citation(
        "Knizia, Gerald",
        "Intrinsic Atomic Orbitals: An Unbiased Bridge between Quantum Theory and Chemical Concepts",
        _JCTC, "9", "4834-4843", 2013, "10.1021/ct400687b",
    ),
    "chelpg": Citation(
        "Breneman, Curt M. and Wiberg, Kenneth B.",
        "Determining atom-centered monopoles from molecular electrostatic potentials. The need for high sampling "
        "density in formamide conformational analysis",
        _JCC, "11", "361-373", 1990, "10.1002/jcc.540110311",
    ),
    "resp": Citation(
        "Bayly, Christopher I. and Cieplak, Piotr and Cornell, Wendy and Kollman, Peter A.",
        "A well-behaved electrostatic potential based method using charge restraints for deriving atomic charges: the "
        "RESP model",
        "J. Phys. Chem.", "97", "10269-10280", 1993, "10.1021/j100142a004",
    ),
    "politzermurray": Citation(
        "Murray, Jane S. and Politzer, Peter",
        "The electrostatic potential: an overview",
        _WIRES, "1", "153-163", 2011, "10.1002/wcms.19",
    ),
}  # fmt: skip
"""By key. Bibliographic data as the publishers print them; compared entry by entry with public reference lists."""

SCHEME_CITATIONS: Mapping[str, str] = {
    "mulliken": "mulliken",
    "loewdin": "loewdin",
    "meta_loewdin": "metaloewdin",
    "hirshfeld": "hirshfeld",
    "cm5": "cm5",
    "iao": "iao",
    "chelpg": "chelpg",
    "resp": "resp",
}
"""Scheme of charges -> key."""

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "—": "---", "ø": r"{\o}", "ł": r"{\l}", "ó": r"{\'o}",
        "ü": r'{\"u}', "é": r"{\'e}", "ö": r'{\"o}', "ä": r'{\"a}'}  # fmt: skip


def bibtex(keys: Iterable[str], doi: str | None = None, title: str = "") -> str:
    """Return a BibTeX file.

    Parameters
    ----------
    keys
        Among `CITATIONS`; each once, in this order.
    doi
        Of the paper that a study is about, if there is one: an entry ``study``, which says no more than that.
    title
        Of the study.

    Raises
    ------
    UnknownNameError
        There is no such key.
    """
    entries = []
    if doi is not None:
        fields = {
            "title": f"{{The published study: {_tex(title)}}}" if title else "{The published study}",
            "howpublished": rf"\url{{https://doi.org/{doi}}}",
            "doi": doi,
            "note": "authors, title and journal are to be filled in from the DOI",
        }
        entries.append(_entry("misc", "study", fields))
    for key in dict.fromkeys(keys):
        if key not in CITATIONS:
            raise UnknownNameError("citation", key, CITATIONS)
        entries.append(_article(key, CITATIONS[key]))
    return "\n".join(entries)


def _article(key: str, cited: Citation) -> str:
    fields = {
        "author": _tex(cited.author),
        "title": f"{{{_tex(cited.title)}}}",  # braces keep the capitals
        "journal": _tex(cited.journal),
        "volume": cited.volume,
        "pages": re.sub(r"(?<=\d)-(?=\d)", "--", cited.pages),
        "year": str(cited.year),
        "doi": cited.doi,
    }
    return _entry("article", key, fields)


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}\n}}\n"


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
