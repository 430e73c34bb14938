"""CIF files: one whole molecule or cluster out of a crystal.

pymatgen splits the file into its values and knows the symmetry operations of space groups; sites are expanded here,
because what tells disorder (labels, occupancies, groups) must be seen before atoms are merged.
"""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alkaflow.elements import ATOMIC_NUMBER
from alkaflow.errors import BadInputError, ParseError
from alkaflow.records import formula_of
from alkaflow.structures.graph import bond_reach
from alkaflow.structures.structure import MAX_ATOMS, FloatArray, Structure
from alkaflow.structures.textfiles import read_text

_SAME_ATOM = 0.3  # symmetry images of a site this close are one atom on a special position [Angstrom]
_ON_TOP = 0.6  # no two atoms are closer than this [Angstrom]; the shortest X-H from X-rays are 0.75
_MOST_IN_CELL = 20_000
_LONGEST_CELL = 1000.0  # Angstrom
_SHOWN = 6  # labels or formulas in a message
_COLUMNS = ("label", "type_symbol", "occupancy", "disorder_group", "calc_flag", "fract_x", "fract_y", "fract_z")
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")


@dataclass(frozen=True)
class _Crystal:
    """All atoms of a cell.

    Attributes
    ----------
    symbols, labels
        Element and site label of every atom.
    fractional
        Fractional positions, shape=(n_atoms, 3).
    lattice
        Vectors [Angstrom] as rows, shape=(3, 3).
    """

    symbols: tuple[str, ...]
    labels: tuple[str, ...]
    fractional: FloatArray
    lattice: FloatArray


@dataclass(frozen=True)
class _Piece:
    """Bonded atoms: their indices, Cartesian positions made whole [Angstrom], and whether they go on forever."""

    atoms: tuple[int, ...]
    positions: FloatArray
    endless: bool
    formula: str
    identity: str


def read_cif(
    path: Path | str, charge: int | None = None, multiplicity: int | None = None, molecule: str | None = None
) -> Structure:
    """Read the molecule or cluster of a crystal, made whole across the cell's faces.

    Atoms are bonded as everywhere: closer than the sum of their covalent radii plus 0.4 Angstrom.

    Parameters
    ----------
    path
        A CIF file with one crystal structure.
    charge, multiplicity
        Of the molecule; neutral and the lowest multiplicity by default, as a CIF does not say.
    molecule
        Formula of the one to take where the crystal has several, like ``C18N12``.

    Raises
    ------
    ParseError
        The file breaks the format; names the file and, where one is to blame, the line.
    BadInputError
        Disorder, an endless network, several different molecules and no choice among them, or an impossible charge.
    """
    path = Path(path)
    with _no_warnings():
        crystal = _crystal(read_text(path), path)
        pieces = _pieces(crystal)
    piece = _chosen(pieces, molecule, path)
    symbols = tuple(crystal.symbols[atom] for atom in piece.atoms)
    try:
        positions = piece.positions - piece.positions.mean(axis=0)
        return Structure(symbols, positions, charge or 0, multiplicity or 0, path.stem)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _crystal(text: str, path: Path) -> _Crystal:
    """Read, check and expand the only crystal structure of a file."""
    data, parser = _block(text, path)
    lattice = _lattice(data, parser, path)
    sites = _sites(data, text, path)
    _refuse_disorder(sites, path)
    operations = _operations(data, parser, path)
    if len(sites) * len(operations) > _MOST_IN_CELL:
        raise BadInputError(f"{path}: {len(sites)} sites times {len(operations)} operations are too many atoms")
    symbols: list[str] = []
    labels: list[str] = []
    fractional: list[FloatArray] = []
    for site in sites:
        images = _images(site.position, operations, lattice)
        symbols += [site.symbol] * len(images)
        labels += [site.label] * len(images)
        fractional += images
    crystal = _Crystal(tuple(symbols), tuple(labels), np.array(fractional), lattice)
    _refuse_overlap(crystal, path)
    return crystal


def _block(text: str, path: Path) -> tuple[dict[str, Any], Any]:
    """Return the values of the only block with atoms, keys in lower case, and a parser for its symmetry."""
    from pymatgen.io.cif import CifFile, CifParser

    if not re.search(r"^\s*data_", text, re.MULTILINE | re.IGNORECASE):
        raise ParseError(path, 1, "no line 'data_...', so this is no CIF")
    text = re.sub(r"^\s*(data_|loop_)", lambda match: match[0].lower(), text, flags=re.MULTILINE | re.IGNORECASE)
    try:
        blocks = CifFile.from_str(text).data
        parser = CifParser.from_str("data_none\n_cell_length_a 1\n")
    except (ValueError, KeyError, IndexError, ZeroDivisionError, TypeError, AttributeError):
        raise ParseError(path, _ragged_line(text), "a loop does not have a value for every column") from None
    # Keys know no case, and newer dictionaries write _atom_site.label for _atom_site_label.
    found = [{key.lower().replace(".", "_"): value for key, value in block.data.items()} for block in blocks.values()]
    with_atoms = [data for data in found if _listed(data, "_atom_site_fract_x")]
    if not with_atoms:
        raise ParseError(path, None, "no atoms with fractional positions (_atom_site_fract_x, _y and _z)")
    if len(with_atoms) > 1:
        raise BadInputError(f"{path} holds {len(with_atoms)} crystal structures; keep one of its data_ blocks")
    return with_atoms[0], parser


def _ragged_line(text: str) -> int | None:
    """The first row of a loop with more or fewer values than the loop has columns."""
    columns, in_loop = 0, False
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if word.startswith("loop_"):
            columns, in_loop = 0, True
        elif word.startswith("_"):
            columns += 1
            in_loop = in_loop and len(word.split()) == 1
        elif in_loop and word and not word.startswith(("#", ";")):
            values = re.findall(r"""'.*?'(?!\S)|".*?"(?!\S)|\S+""", word)
            if len(values) != columns:
                return number
    return None


def _listed(data: dict[str, Any], key: str) -> list[str]:
    """The values of a column; one value outside a loop is a column of one."""
    value = data.get(key, [])
    return [value] if isinstance(value, str) else list(value)


def _lattice(data: dict[str, Any], parser: Any, path: Path) -> FloatArray:
    """Vectors of the cell [Angstrom] as rows, shape=(3, 3)."""
    from pymatgen.io.cif import CifBlock

    keys = [f"_cell_length_{i}" for i in "abc"] + [f"_cell_angle_{i}" for i in ("alpha", "beta", "gamma")]
    given = {key: _number(data[key]) for key in keys if isinstance(data.get(key), str)}
    for key, value in given.items():
        if value is None or not 0 < value < (180 if "angle" in key else _LONGEST_CELL):
            raise ParseError(path, None, f"{key} is {data[key]!r}, which no cell has")
    try:
        lattice = parser.get_lattice(CifBlock(data, [], "block"))
    except (ValueError, TypeError, RecursionError):
        lattice = None
    if lattice is None:
        missing = next((key for key in keys if key not in given), keys[0])
        raise ParseError(path, None, f"no cell: {missing} is missing")
    matrix: FloatArray = np.array(lattice.matrix)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1:
        raise ParseError(path, None, "the lengths and angles of the cell contradict each other")
    return matrix


@dataclass(frozen=True)
class _Site:
    label: str
    symbol: str
    position: FloatArray
    occupancy: float
    disordered: bool


def _sites(data: dict[str, Any], text: str, path: Path) -> list[_Site]:
    columns = {name: _listed(data, f"_atom_site_{name}") for name in _COLUMNS}
    number = len(columns["fract_x"])
    for name, values in columns.items():
        if len(values) not in ({number} if name.startswith("fract") else {0, number}):
            raise ParseError(path, None, f"_atom_site_{name} has {len(values)} values for {number} atoms")
    rows = [{name: values[i] for name, values in columns.items() if values} for i in range(number)]
    return [_site(row, text, path) for row in rows if row.get("calc_flag") != "dum"]


def _site(row: dict[str, str], text: str, path: Path) -> _Site:
    label = row.get("label") or row.get("type_symbol", "?")
    position = [_number(row[f"fract_{axis}"]) for axis in "xyz"]
    for axis, value in zip("xyz", position, strict=True):
        if value is None:
            found = row[f"fract_{axis}"]
            raise ParseError(path, _line_of(label, text), f"fract_{axis} of {label} is not a number: {found[:40]!r}")
    occupancy = _number(row["occupancy"]) if row.get("occupancy", "?") not in {"?", "."} else 1.0
    if occupancy is None:
        raise ParseError(
            path, _line_of(label, text), f"occupancy of {label} is not a number: {row['occupancy'][:40]!r}"
        )
    symbol = _element(row, text, path)
    group = row.get("disorder_group", ".")
    return _Site(label, symbol, np.array(position, dtype=float), occupancy, group not in {".", "?", "", "0"})


def _number(text: str) -> float | None:
    """A number, with or without its uncertainty in parentheses; None for anything else."""
    try:
        value = float(re.sub(r"\(\d*\)$", "", text.strip()))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _element(row: dict[str, str], text: str, path: Path) -> str:
    """Element of a site: of its type symbol (``Ti4+``), else of its label (``Ti1``)."""
    label = row.get("label", "")
    kind = row.get("type_symbol", "")
    letters = re.match(r"[A-Za-z]+", label if kind in {"", "?", "."} else kind)
    word = letters[0] if letters else ""
    readings = {word.capitalize()} if word else set()
    if kind in {"", "?", "."} and len(word) > 1 and not word[1].islower():
        readings = {word[:2].capitalize(), word[0].upper()}  # CA1 may be calcium or a carbon
    known = sorted(reading for reading in readings if reading in ATOMIC_NUMBER or reading in {"D", "T"})
    if len(known) == 1:
        return "H" if known[0] in {"D", "T"} else known[0]
    what = f"may be {' or '.join(known)}" if known else f"is no element ({kind or label!r})"
    raise ParseError(path, _line_of(label or kind, text), f"site {label or kind!r} {what}; see _atom_site_type_symbol")


def _line_of(label: str, text: str) -> int | None:
    """The line that begins with a label."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.split()[:1] == [label]:
            return number
    return None


def _refuse_disorder(sites: Sequence[_Site], path: Path) -> None:
    partial = [site.label for site in sites if site.occupancy < 0.999]
    grouped = [site.label for site in sites if site.disordered]
    for labels, reason in ((partial, "are occupied in part only"), (grouped, "belong to disorder groups")):
        if labels:
            raise BadInputError(
                f"{path}: the crystal is disordered: sites {_some(labels)} {reason}; "
                "keep one of the alternatives in the file, with occupancy 1 and no group"
            )


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")


def _operations(data: dict[str, Any], parser: Any, path: Path) -> list[tuple[FloatArray, FloatArray]]:
    """Rotations and translations, in fractions of the cell."""
    from pymatgen.io.cif import CifBlock

    # pymatgen asks for these names in these cases
    spelt = {key.replace("h-m", "H-M").replace("h_m", "H_M").replace("hall", "Hall"): data[key] for key in data}
    spelt = {key.replace("_it_number", "_IT_number").replace("int_tables", "Int_Tables"): spelt[key] for key in spelt}
    names = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
    listed = next((_listed(data, name) for name in names if _listed(data, name)), [])
    try:
        found = parser.get_symops(CifBlock(data | spelt, [], "block"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError) as error:
        raise ParseError(path, None, f"the symmetry operations cannot be read ({error})") from None
    operations = [(np.array(o.rotation_matrix), np.array(o.translation_vector)) for o in found]
    if listed and len(operations) != len(listed):
        raise ParseError(path, None, f"the symmetry operations cannot be read, the first being {listed[0][:40]!r}")
    for rotation, _ in operations:
        if abs(abs(np.linalg.det(rotation)) - 1) > 1e-6:
            raise ParseError(path, None, "a symmetry operation changes volumes; mend the list of operations")
    if not listed:
        _refuse_unknown_group(spelt, len(operations), path)
    return operations


def _refuse_unknown_group(data: dict[str, Any], operations: int, path: Path) -> None:
    """Refuse a crystal whose symmetry is not said, or said by a name that gave no operations."""
    groups = [v for k, v in data.items() if isinstance(v, str) and _names_group(k) and v not in {"?", "."}]
    if not groups:
        raise ParseError(
            path, None, "no symmetry operations and no space group; add _space_group_IT_number, 1 for none"
        )
    unknown = [group for group in groups if group.replace(" ", "").lower() not in {"p1", "1"}]
    if unknown and operations == 1:
        raise BadInputError(
            f"{path}: space group {unknown[0]!r} is not known; add its operations (_symmetry_equiv_pos_as_xyz)"
        )


def _names_group(key: str) -> bool:
    return key.startswith(("_symmetry_", "_space_group_")) and key.lower().rstrip("_").endswith(
        ("name_h-m", "name_h_m", "name_h-m_alt", "name_hall", "_it_number", "_int_tables_number")
    )


def _images(
    position: FloatArray, operations: Sequence[tuple[FloatArray, FloatArray]], lattice: FloatArray
) -> list[FloatArray]:
    """Images of a site in the cell; those that nearly coincide are one atom, at their mean."""
    groups: list[list[FloatArray]] = []
    for rotation, translation in operations:
        image: FloatArray = rotation @ position + translation
        for group in groups:
            away = image - group[0]
            away -= np.round(away)
            if np.linalg.norm(away @ lattice) < _SAME_ATOM:
                group.append(group[0] + away)
                break
        else:
            groups.append([image])
    means = [np.mean(group, axis=0) for group in groups]
    return [mean - np.floor(mean) for mean in means]


def _neighbours(crystal: _Crystal, reach: float) -> tuple[Any, Any, Any, Any]:
    """Pairs of atoms within reach [Angstrom]: first, second, the second's cell, and the distance."""
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Periodic

    periodic = Periodic(Lattice(crystal.lattice), crystal.symbols, crystal.fractional)
    first, second, cells, distances = periodic.get_neighbor_list(reach)
    return first, second, np.round(cells).astype(int), distances


def _refuse_overlap(crystal: _Crystal, path: Path) -> None:
    first, second, _, distances = _neighbours(crystal, _ON_TOP)
    if len(first):
        closest = int(np.argmin(distances))
        one, other = sorted((crystal.labels[first[closest]], crystal.labels[second[closest]]))
        pair = f"{one} and {other}" if one != other else f"{one} and its image"
        raise BadInputError(
            f"{path}: {pair} lie on top of each other, {distances[closest]:.2f} Angstrom apart: "
            "disorder, or a wrong space group; keep one of the alternatives in the file"
        )


def _pieces(crystal: _Crystal) -> list[_Piece]:
    """Connected pieces, in the order of their first atoms."""
    numbers = np.array([ATOMIC_NUMBER[symbol] for symbol in crystal.symbols])
    first, second, cells, distances = _neighbours(crystal, float(bond_reach(numbers, numbers).max()))
    bonded = distances < bond_reach(numbers[first], numbers[second])
    bonds: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in crystal.symbols]
    for i, j, cell in zip(first[bonded].tolist(), second[bonded].tolist(), cells[bonded].tolist(), strict=True):
        bonds[i].append((j, tuple(cell)))
    seen: set[int] = set()
    pieces = []
    for start in range(len(crystal.symbols)):
        if start not in seen:
            places, endless = _walk(start, bonds)
            seen |= set(places)
            pieces.append(_piece(places, endless, bonds, crystal))
    return pieces


def _walk(start: int, bonds: list[list[tuple[int, tuple[int, ...]]]]) -> tuple[dict[int, tuple[int, ...]], bool]:
    """The cell of every atom bonded to the first, and whether one is met again in another cell."""
    places: dict[int, tuple[int, ...]] = {start: (0, 0, 0)}
    endless = False
    waiting = [start]
    while waiting:
        atom = waiting.pop()
        for other, cell in bonds[atom]:
            place = tuple(a + b for a, b in zip(places[atom], cell, strict=True))
            if other not in places:
                places[other] = place
                waiting.append(other)
            endless |= places[other] != place
    return places, endless


def _piece(
    places: dict[int, tuple[int, ...]], endless: bool, bonds: list[list[tuple[int, tuple[int, ...]]]], crystal: _Crystal
) -> _Piece:
    atoms = tuple(sorted(places))
    positions = (crystal.fractional[list(atoms)] + np.array([places[atom] for atom in atoms])) @ crystal.lattice
    symbols = [crystal.symbols[atom] for atom in atoms]
    return _Piece(atoms, positions, endless, formula_of(symbols), _identity(atoms, bonds, crystal.symbols))


def _identity(atoms: Sequence[int], bonds: list[list[tuple[int, tuple[int, ...]]]], symbols: Sequence[str]) -> str:
    """A hash that equal molecules share, whatever the order of their atoms (Weisfeiler-Lehman)."""
    names = {atom: symbols[atom] for atom in atoms}
    count = 0
    while len(set(names.values())) > count:
        count = len(set(names.values()))
        names = {
            atom: hashlib.sha256(
                "|".join([names[atom], *sorted(names[j] for j, _ in bonds[atom])]).encode()
            ).hexdigest()
            for atom in atoms
        }
    return hashlib.sha256("".join(sorted(names.values())).encode()).hexdigest()


def _chosen(pieces: Sequence[_Piece], molecule: str | None, path: Path) -> _Piece:
    """The first piece of the only kind, or of the formula that is asked for."""
    kinds = list({piece.identity: piece for piece in reversed(pieces)}.values())[::-1]
    listed = ", ".join(_described(kind) for kind in kinds[:_SHOWN]) + (", ..." if len(kinds) > _SHOWN else "")
    if molecule is not None:
        wanted = _parse_formula(molecule)
        kinds = [kind for kind in kinds if Counter(_parse_formula(kind.formula)) == wanted]
        if not kinds:
            raise BadInputError(f"{path}: no molecule has the formula {molecule!r}; the crystal has {listed}")
        if len(kinds) > 1:
            raise BadInputError(f"{path}: {len(kinds)} different molecules have the formula {molecule!r}; keep one")
    if len(kinds) > 1:
        raise BadInputError(
            f"{path}: the crystal has {len(kinds)} different molecules: {listed}; choose one by its formula "
            "(`molecule` in Python and in a study, --molecule on the command line)"
        )
    chosen = kinds[0]
    if chosen.endless:
        raise BadInputError(
            f"{path}: the atoms are an endless network of {chosen.formula}, not a molecule; "
            "cut a cluster out of it and give that as an XYZ file"
        )
    if len(chosen.atoms) > MAX_ATOMS:
        raise BadInputError(f"{path}: the molecule has {len(chosen.atoms)} atoms; at most {MAX_ATOMS} are handled")
    return chosen


def _described(kind: _Piece) -> str:
    return f"an endless network of {kind.formula}" if kind.endless else kind.formula


def _parse_formula(text: str) -> Counter[str]:
    """Count the elements of a formula like C18N12."""
    word = re.sub(r"\s", "", text)
    if not word or not re.fullmatch(f"(?:{_FORMULA.pattern})+", word):
        raise BadInputError(f"{text!r} is no formula; write it like C18N12")
    counts: Counter[str] = Counter()
    for symbol, number in _FORMULA.findall(word):
        counts[symbol] += int(number or 1)
    return counts
