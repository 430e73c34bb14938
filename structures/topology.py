"""Checks of connectivity: what every atom is bonded to, and which bonds a relaxation broke or formed."""

from collections import Counter

from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import Structure

Bonds = frozenset[tuple[int, int]]


def coordination(structure: Structure, symbol: str) -> list[Counter[str]]:
    """Count the elements bonded to every atom of one element, in the order of atoms."""
    symbols, neighbours = structure.symbols, BondGraph(structure).neighbours
    return [Counter(symbols[j] for j in bonded) for i, bonded in enumerate(neighbours) if symbols[i] == symbol]


def changed_bonds(before: Structure, after: Structure) -> tuple[Bonds, Bonds]:
    """Return the bonds that broke and those that formed between two geometries of the same atoms."""
    old, new = BondGraph(before).bonds, BondGraph(after).bonds
    return old - new, new - old
