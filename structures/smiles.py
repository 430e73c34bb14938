"""Structures from SMILES by RDKit: read, checked, hydrogens added, and a conformer chosen."""

from typing import Any

from alkaflow.errors import BadInputError
from alkaflow.structures.embedding import Conformer, conformer_number, search
from alkaflow.structures.structure import MAX_ATOMS, Structure

_LISTED = 8  # stereoisomers
_CENTRES = 5  # unspecified ones, up to which all stereoisomers are looked at


def from_smiles(smiles: str, name: str = "", flatten: bool = False, conformer: str | int = "lowest") -> Structure:
    """Build a structure with all hydrogens from a SMILES string.

    Parameters
    ----------
    smiles
        One connected molecule; charges are taken from it. With one stereocentre left open, one of the two mirror
        images is taken, always the same.
    name
        For people; the SMILES without one.
    flatten
        The same as ``conformer="flattest"``.
    conformer
        ``lowest`` by force field, ``flattest``, ``chelating`` (the most donor atoms around one common point), or a
        number as in :func:`conformers`, 1 for the lowest.

    Raises
    ------
    BadInputError
        RDKit cannot read it, it has radical electrons, several pieces or several stereoisomers that are no mirror
        images, or there is no such conformer.
    """
    choice = "flattest" if flatten else conformer
    conformer_number(choice)  # an unknown one is refused before the work
    return search(read_smiles(smiles), f"SMILES {smiles!r}", name or smiles).choose(choice)


def conformers(smiles: str, name: str = "") -> list[Conformer]:
    """Return the distinct conformers of a SMILES string, the lowest first.

    Embedded many times (by rotors, flexible rings and size), relaxed with MMFF94 (UFF where it has no types); mirror
    images count as one. The force field orders conformers roughly: a few kJ/mol mean nothing.

    Raises
    ------
    BadInputError
        As :func:`from_smiles`.
    """
    return search(read_smiles(smiles), f"SMILES {smiles!r}", name or smiles).conformers


def is_smiles(text: str) -> bool:
    """Whether RDKit can read a text as SMILES of at least one atom."""
    return _parse(text) is not None


def read_smiles(smiles: str) -> Any:
    """Read SMILES into an RDKit molecule with hydrogens, every stereocentre given; raises as :func:`from_smiles`."""
    molecule = _parse(smiles)
    if molecule is None:
        raise BadInputError(f"{smiles[:200]!r} is not a SMILES string that RDKit can read")
    return complete(molecule, f"SMILES {smiles[:200]!r}")


def _parse(text: str) -> Any:
    from rdkit import Chem, rdBase

    # RDKit takes what follows a space for a name and stops at a zero byte.
    if not text.strip() or len(text.split()) > 1 or "\0" in text:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(text.strip())
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def complete(molecule: Any, source: str) -> Any:
    """Check that an RDKit molecule is one closed-shell molecule of one shape; return it with all hydrogens.

    Parameters
    ----------
    molecule
        An RDKit molecule.
    source
        What it came from, for messages.

    Raises
    ------
    BadInputError
        It has several pieces, radical electrons, placeholder atoms, too many atoms or several stereoisomers.
    """
    from rdkit import Chem, rdBase

    if len(Chem.GetMolFrags(molecule)) > 1:
        raise BadInputError(f"{source} has several pieces; a host is one")
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0:
            raise BadInputError(f"{source}: atom {atom.GetIdx()} is a placeholder; every atom needs an element")
    check_closed_shell(molecule, source)
    if molecule.GetNumAtoms() > MAX_ATOMS // 4:
        raise BadInputError(f"{source[:60]}... has {molecule.GetNumAtoms()} heavy atoms, which is too many")
    with rdBase.BlockLogs():
        return Chem.AddHs(_one_stereoisomer(molecule, source))


def check_closed_shell(molecule: Any, source: str) -> None:
    """Refuse radical electrons, naming the first atom that has one."""
    for atom in molecule.GetAtoms():
        if atom.GetNumRadicalElectrons():
            raise BadInputError(
                f"{source} leaves radical electrons on atom {atom.GetIdx()} ({atom.GetSymbol()}); "
                "add the hydrogens, or give the structure as an XYZ file with its multiplicity"
            )


def _one_stereoisomer(molecule: Any, source: str) -> Any:
    """Return the molecule with its stereochemistry complete; refuse when that is a choice between diastereomers."""
    from rdkit import Chem
    from rdkit.Chem import EnumerateStereoisomers

    stereo: Any = EnumerateStereoisomers
    left_open = [
        element
        for element in Chem.FindPotentialStereo(Chem.Mol(molecule), cleanIt=True)
        if element.specified != Chem.StereoSpecified.Specified and not _in_conjugated_ring(molecule, element)
    ]
    if not left_open:
        return molecule
    most = 0 if len(left_open) <= _CENTRES else 2 * _LISTED
    options = stereo.StereoEnumerationOptions(tryEmbedding=True, unique=True, maxIsomers=most, rand=1)
    isomers = {Chem.MolToSmiles(isomer): isomer for isomer in stereo.EnumerateStereoisomers(molecule, options=options)}
    if not isomers:
        raise BadInputError(f"RDKit finds no conformer of {source}; give the structure as an XYZ file")
    chosen: dict[str, Any] = {}
    for text in sorted(isomers):
        if _mirrored(isomers[text]) not in chosen:
            chosen[text] = isomers[text]
    if len(chosen) > 1:
        shown = ", ".join(list(chosen)[:_LISTED]) + (", ..." if most or len(chosen) > _LISTED else "")
        raise BadInputError(f"{source} leaves its stereochemistry open; give one of: {shown} (or a mirror image)")
    return next(iter(chosen.values()))


def _in_conjugated_ring(molecule: Any, element: Any) -> bool:
    """Whether a stereo element is a double bond of a macrocycle like phthalocyanine, which allows one way only."""
    from rdkit import Chem

    if element.type != Chem.StereoType.Bond_Double:
        return False
    rings = molecule.GetRingInfo().BondRings()
    conjugated = {bond.GetIdx() for bond in molecule.GetBonds() if bond.GetIsConjugated()}
    return any(element.centeredOn in ring and conjugated.issuperset(ring) for ring in rings)


def _mirrored(molecule: Any) -> str:
    """Canonical SMILES of the mirror image."""
    from rdkit import Chem

    mirror = Chem.Mol(molecule)
    for atom in mirror.GetAtoms():
        atom.InvertChirality()
    return str(Chem.MolToSmiles(mirror))
