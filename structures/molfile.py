"""MOL and SDF files (V2000 and V3000), read by RDKit after a check that can name the line."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alkaflow.elements import ATOMIC_NUMBER, is_metal
from alkaflow.errors import BadInputError, ParseError
from alkaflow.structures.embedding import search
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.smiles import check_closed_shell, complete
from alkaflow.structures.structure import MAX_ATOMS, FloatArray, Structure
from alkaflow.structures.textfiles import read_text

_COUNTS_LINE = 3  # from 0; three lines of header come before it
_LARGEST_CHARGE = 8  # of one atom
_FLAT = 1e-3  # Angstrom
_TRUE_LENGTHS = (0.75, 1.35)  # of a bond, times the sum of the covalent radii


def read_molfile(
    path: Path | str,
    charge: int | None = None,
    multiplicity: int | None = None,
    conformer: str | int | None = None,
) -> Structure:
    """Read the one molecule of a MOL or SDF file.

    Positions in space are kept as they are. A drawing, which has no z, is embedded like SMILES, hydrogens added.

    Parameters
    ----------
    path
        The file, V2000 or V3000.
    charge, multiplicity
        Override the formal charge of the file, and the lowest multiplicity.
    conformer
        Of a drawing, as in :func:`alkaflow.structures.smiles.from_smiles`.

    Raises
    ------
    ParseError
        The file breaks the format; names file and, where known, line.
    BadInputError
        It cannot be read, holds several molecules or pieces, lacks hydrogens, or has radical electrons.
    """
    path = Path(path)
    lines = _only_record(read_text(path).splitlines(), path)
    _check_lines(lines, path)
    molecule = _parsed(lines)
    if molecule is None or not molecule.GetNumAtoms():
        raise ParseError(path, None, "RDKit cannot read this molecule; write it again, as V2000")
    for atom in molecule.GetAtoms():
        if abs(atom.GetFormalCharge()) > _LARGEST_CHARGE:
            raise ParseError(path, None, f"atom {atom.GetIdx()} has the formal charge {atom.GetFormalCharge()}")
    if _is_drawing(molecule, lines[1][20:22]):
        structure = _embedded(lines, path, conformer)
    elif conformer in {None, "lowest"}:
        structure = _as_it_is(molecule, path)
    else:
        raise BadInputError(f"{path} has positions in space, so there is no conformer to choose")
    if charge is None:
        charge = structure.charge
    return _structure(structure.symbols, structure.positions, charge, multiplicity or 0, path)


def _structure(
    symbols: tuple[str, ...], positions: FloatArray, charge: int, multiplicity: int, path: Path
) -> Structure:
    """Build a structure; its errors name the file."""
    try:
        return Structure(symbols, positions, charge, multiplicity, path.stem)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _only_record(lines: list[str], path: Path) -> list[str]:
    """Return the lines of the only molecule of an SDF."""
    records: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("$$$$"):
            records.append([])
        else:
            records[-1].append(line)
    filled = [record for record in records if any(line.strip() for line in record)]
    if not filled:
        raise ParseError(path, 1, "expected a molecule, found nothing")
    if len(filled) > 1:
        raise BadInputError(f"{path} holds {len(filled)} molecules; a host is one, so give it a file of its own")
    return filled[0]


def _check_lines(lines: list[str], path: Path) -> None:
    """Find what breaks the format, by line."""
    if len(lines) <= _COUNTS_LINE:
        raise ParseError(path, len(lines), "the file ends before line 4, which counts atoms and bonds")
    counts = lines[_COUNTS_LINE]
    if "V3000" in counts:
        _check_v3000(lines, path)
        return
    atoms, bonds = counts[:3].strip(), counts[3:6].strip()
    if not (atoms.isdecimal() and bonds.isdecimal() and "V2000" in counts):
        raise ParseError(path, 4, f"expected the numbers of atoms and bonds and V2000, found {counts.strip()[:60]!r}")
    first_bond = _COUNTS_LINE + 1 + _checked_number(atoms, path, 4)
    for index, line in enumerate(lines[_COUNTS_LINE + 1 : first_bond], start=_COUNTS_LINE + 1):
        _check_atom(line[31:34].strip(), [line[0:10], line[10:20], line[20:30]], path, index + 1)
    for index, line in enumerate(lines[first_bond : first_bond + int(bonds)], start=first_bond):
        ends = [line[:3].strip(), line[3:6].strip()]
        if not all(end.isdecimal() and 1 <= int(end) <= int(atoms) for end in ends):
            raise ParseError(path, index + 1, f"expected a bond of two of {atoms} atoms, found {line.strip()[:40]!r}")
    if not any(line.startswith("M  END") for line in lines[first_bond + int(bonds) :]):
        promised = f"line 4 promises {atoms} atoms and {bonds} bonds"
        raise ParseError(path, len(lines), f"the file ends without 'M  END'; {promised}")


def _check_v3000(lines: list[str], path: Path) -> None:
    within, promised, found = False, -1, 0
    for number, line in enumerate(lines, start=1):
        fields = line.removeprefix("M  V30").split()
        if fields[:1] == ["COUNTS"]:
            promised = _checked_number("".join(fields[1:2]), path, number)
        elif fields[:2] == ["BEGIN", "ATOM"]:
            within = True
        elif fields[:2] == ["END", "ATOM"]:
            within = False
        elif within and fields[:1] and fields[0].isdecimal() and len(fields) >= 5:
            _check_atom(fields[1], fields[2:5], path, number)
            found += 1
    if promised < 0:
        raise ParseError(path, None, "no line 'M  V30 COUNTS' in a V3000 file")
    if found != promised:
        raise ParseError(path, None, f"'M  V30 COUNTS' promises {promised} atoms, but there are {found}")


def _checked_number(text: str, path: Path, line: int) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_ATOMS:
        raise ParseError(path, line, f"{text[:20]!r} atoms; 1 to {MAX_ATOMS} are handled")
    return int(text)


def _check_atom(symbol: str, position: Sequence[str], path: Path, number: int) -> None:
    if symbol not in ATOMIC_NUMBER and symbol not in {"D", "T"}:
        raise ParseError(path, number, f"{symbol[:20]!r} is no element; a host has no placeholders")
    for axis, field in zip("xyz", position, strict=True):
        try:
            value = float(field)
        except ValueError:
            raise ParseError(path, number, f"{axis} is not a number: {field.strip()[:40]!r}") from None
        if not math.isfinite(value):
            raise ParseError(path, number, f"{axis} is not finite: {field.strip()[:40]!r}")


def _parsed(lines: list[str], sanitize: bool = False, remove_hydrogens: bool = False) -> Any:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolFromMolBlock("\n".join(lines) + "\n", sanitize=sanitize, removeHs=remove_hydrogens)


def _positions(molecule: Any) -> FloatArray:
    positions: FloatArray = molecule.GetConformer().GetPositions()
    return positions


def _is_drawing(molecule: Any, flag: str) -> bool:
    """Whether a molecule is drawn in a plane: all z are zero, and it is not a flat molecule in space."""
    if not molecule.GetNumConformers():
        return True
    if np.abs(_positions(molecule)[:, 2]).max() > _FLAT or flag.upper() == "3D":
        return False
    return flag.upper() == "2D" or not _is_true_to_scale(molecule)


def _is_true_to_scale(molecule: Any) -> bool:
    """Whether all hydrogens are there and every bond has a length that a bond has."""
    from ase.data import covalent_radii

    positions = _positions(molecule)
    for bond in molecule.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        radii = covalent_radii[bond.GetBeginAtom().GetAtomicNum()] + covalent_radii[bond.GetEndAtom().GetAtomicNum()]
        length = float(np.linalg.norm(positions[i] - positions[j]))
        if not _TRUE_LENGTHS[0] * radii <= length <= _TRUE_LENGTHS[1] * radii:
            return False
    return _missing_hydrogens(molecule) == 0


def _as_it_is(molecule: Any, path: Path) -> Structure:
    """Keep the positions; refuse missing hydrogens and radical electrons."""
    from rdkit import Chem

    _refuse_nonsense(molecule, path)
    missing = _missing_hydrogens(molecule)
    if missing:
        raise BadInputError(
            f"{path} lacks {missing} hydrogen atom{'s' if missing > 1 else ''} by the valences of its atoms; "
            "add them where they belong (in an editor or with Open Babel)"
        )
    symbols = tuple(atom.GetSymbol() for atom in molecule.GetAtoms())
    structure = _structure(symbols, _positions(molecule), Chem.GetFormalCharge(molecule), 0, path)
    if len(Chem.GetMolFrags(molecule)) > 1 and (pieces := BondGraph(structure).fragments) > 1:
        raise BadInputError(f"{path} holds {pieces} pieces that are not bonded; a host is one, so keep that alone")
    return structure


def _embedded(lines: list[str], path: Path, conformer: str | int | None) -> Structure:
    """Embed a drawing."""
    molecule = _parsed(lines, sanitize=True, remove_hydrogens=True)
    if molecule is None:
        _refuse_nonsense(_parsed(lines), path)
        raise ParseError(path, None, "RDKit cannot read this drawing")
    molecule.RemoveAllConformers()
    pool = search(complete(molecule, str(path)), str(path), path.stem)
    return pool.choose("lowest" if conformer is None else conformer)


def _refuse_nonsense(molecule: Any, path: Path) -> None:
    """Refuse impossible valences and radical electrons; nobody counts the valences of metals."""
    from rdkit import Chem, rdBase

    if _metals(molecule):
        return
    copy = Chem.Mol(molecule)
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(copy)
        if problems:
            raise BadInputError(
                f"{path}: {problems[0].Message()} (atoms counted from 0); mend the bonds or the charges"
            )
        Chem.SanitizeMol(copy)
    check_closed_shell(copy, str(path))


def _missing_hydrogens(molecule: Any) -> int:
    """Hydrogens that valences ask for and the file lacks; none of metals and their neighbours."""
    from rdkit import Chem, rdBase

    copy = Chem.Mol(molecule)
    with rdBase.BlockLogs():
        copy.UpdatePropertyCache(strict=False)
        Chem.SanitizeMol(copy, catchErrors=True)
    metals = _metals(copy)
    return sum(
        atom.GetTotalNumHs()
        for atom in copy.GetAtoms()
        if atom.GetIdx() not in metals and metals.isdisjoint(n.GetIdx() for n in atom.GetNeighbors())
    )


def _metals(molecule: Any) -> set[int]:
    return {atom.GetIdx() for atom in molecule.GetAtoms() if is_metal(atom.GetSymbol())}
