"""The PDB format: atoms, a residue per fragment, and bonds, for viewers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from alkaflow.errors import BadInputError
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import Structure

HOST_RESIDUE = "HST"
"""Residue name of a host, and of every atom that belongs to no fragment."""

_LEAST, _MOST = -999.999, 9999.999  # Angstrom; what eight columns with three decimals hold
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def format_pdb(structure: Structure, fragments: Mapping[str, Sequence[int]] | None = None) -> str:
    """Return PDB text with three decimals [Angstrom].

    Parameters
    ----------
    structure
        What to write; its bonds are those of :class:`alkaflow.structures.graph.BondGraph`.
    fragments
        Atoms (0-based) by the name of their fragment. Each is a residue, named after the first three letters and
        digits of its name; ``host``, and the atoms of no fragment, are the residue ``HST``.

    Raises
    ------
    BadInputError
        A fragment names an atom that is not there or belongs to another, or a position does not fit the format.
    """
    residues = _residues(len(structure), fragments or {})
    positions = structure.positions
    if positions.min() < _LEAST or positions.max() > _MOST:
        atom = int(np.flatnonzero(((positions < _LEAST) | (positions > _MOST)).any(axis=1))[0])
        raise BadInputError(
            f"atom {atom} ({structure.symbols[atom]}) is too far away for a PDB file: {positions[atom]}"
        )
    lines = [f"TITLE     {_ascii(structure.name or structure.formula)[:70]}"]
    lines.append(f"REMARK   1 CHARGE {structure.charge} MULTIPLICITY {structure.multiplicity}")
    names = _atom_names(structure.symbols)
    order = [atom for _, atoms in residues for atom in atoms]
    serial = {atom: number for number, atom in enumerate(order, start=1)}
    for number, (residue, atoms) in enumerate(residues, start=1):
        for atom in atoms:
            x, y, z = positions[atom] + 0.0
            lines.append(
                f"HETATM{serial[atom]:5d} {names[atom]} {residue:>3} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
                f"  1.00  0.00          {structure.symbols[atom].upper():>2}  "
            )
    neighbours = BondGraph(structure).neighbours
    for atom in order:
        bonded = sorted(serial[other] for other in neighbours[atom])
        rows = [bonded[start : start + 4] for start in range(0, len(bonded), 4)]
        lines += ["".join([f"CONECT{serial[atom]:5d}", *(f"{other:5d}" for other in row)]) for row in rows]
    return "\n".join([*lines, "END"]) + "\n"


def _residues(number: int, fragments: Mapping[str, Sequence[int]]) -> list[tuple[str, list[int]]]:
    """Residue names and their atoms, in order of the first atoms."""
    owner: dict[int, str] = {}
    for name, atoms in fragments.items():
        for atom in atoms:
            if not 0 <= atom < number:
                raise BadInputError(f"fragment {name!r} names atom {atom}; the structure has atoms 0 to {number - 1}")
            if atom in owner:
                raise BadInputError(f"atom {atom} belongs to the fragments {owner[atom]!r} and {name!r}")
            owner[atom] = name
    residues = [(_residue_name(name), sorted(atoms)) for name, atoms in fragments.items() if len(atoms)]
    rest = [atom for atom in range(number) if atom not in owner]
    if rest:
        residues.append((HOST_RESIDUE, rest))
    return sorted(residues, key=lambda residue: residue[1][0])


def _residue_name(name: str) -> str:
    word = re.sub(r"[^A-Z0-9]", "", name.upper())
    return HOST_RESIDUE if word in {"", "HOST"} else word[:3]


def _atom_names(symbols: Sequence[str]) -> list[str]:
    """Names of four columns, each once: element and number; one-letter elements begin in the second column."""
    numbers = {symbol: _numbers(4 - len(symbol)) for symbol in set(symbols)}
    taken: set[str] = set()
    names = []
    for symbol in symbols:
        word = next(word for word in (symbol.upper() + number for number in numbers[symbol]) if word not in taken)
        taken.add(word)
        names.append(f" {word:<3}" if len(symbol) == 1 and len(word) < 4 else f"{word:<4}")
    return names


def _numbers(width: int) -> Iterator[str]:
    """Count in as many characters: 1 to 99, then with letters, A0 to ZZ."""
    for number in range(1, 10**width):
        yield str(number)
    for first, *rest in product(_DIGITS[10:], *[_DIGITS] * (width - 1)):
        yield "".join([first, *rest])


def _ascii(text: str) -> str:
    return " ".join(text.encode("ascii", "replace").decode().split())
