"""What the parts of a structure are that nobody has named: metal atoms on a host."""

from alkaflow.calculations import Fragment, electron_count, lowest_multiplicity
from alkaflow.structures import Structure

_ALKALI = ("Li", "Na", "K", "Rb", "Cs")
_MOST = 2  # guests; the ways to distribute electrons over more are too many to try


def likely_fragments(structure: Structure) -> tuple[Fragment, ...]:
    """One or two alkali atoms, neutral, and before them the rest with the whole charge and the lowest spin.

    Where there are none, or more, the whole structure is one fragment.
    """
    guests = [k for k, symbol in enumerate(structure.symbols) if symbol in _ALKALI]
    rest = tuple(k for k in range(len(structure)) if k not in guests)
    symbols = tuple(structure.symbols[k] for k in rest)
    if not rest or not 1 <= len(guests) <= _MOST or electron_count(symbols, structure.charge) < 0:
        whole = tuple(range(len(structure)))
        return (Fragment(atoms=whole, charge=structure.charge, multiplicity=structure.multiplicity),)
    host = Fragment(atoms=rest, charge=structure.charge, multiplicity=lowest_multiplicity(symbols, structure.charge))
    return (host, *(Fragment(atoms=(k,), charge=0, multiplicity=2) for k in guests))
