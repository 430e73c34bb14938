"""Multiplicities to compute, against lists written down for M-N4 flakes with and without lithium."""

import numpy as np
import pytest

from alkaflow.structures import Structure, hatcn, host_multiplicities, load_host, multiplicities_to_scan


def square_planar(metal: str) -> Structure:
    """M(NH2)4 with charge -2: a divalent metal in a square of four N."""
    symbols, positions = [metal], [np.zeros(3)]
    for turn in range(4):
        angle = turn * np.pi / 2
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        across = np.array([-np.sin(angle), np.cos(angle), 0.0])
        symbols += ["N", "H", "H"]
        positions += [1.95 * out, 2.5 * out + 0.8 * across, 2.5 * out - 0.8 * across]
    return Structure(tuple(symbols), np.array(positions), charge=-2)


# 2S+1 of the host, and with one lithium atom
LISTS = {
    "Mn": ((2, 4, 6), (1, 3, 5, 7)),
    "Fe": ((1, 3, 5), (2, 4, 6)),
    "Co": ((2, 4), (1, 3, 5)),
    "Ni": ((1, 3), (2, 4)),
    "Cu": ((2,), (1, 3)),
    "Zn": ((1,), (2,)),
    "Zr": ((1, 3, 5), (2, 4)),
}


@pytest.mark.parametrize("metal", LISTS)
def test_metal_hosts(metal: str) -> None:
    host = square_planar(metal)
    assert (host_multiplicities(host), multiplicities_to_scan(host, [2])) == LISTS[metal]


def test_closed_shell_hosts_couple_their_guests() -> None:
    assert multiplicities_to_scan(hatcn(), []) == (1,)
    assert multiplicities_to_scan(hatcn(), [2]) == (2,)
    assert multiplicities_to_scan(hatcn(), [2, 2]) == (1, 3)
    assert multiplicities_to_scan(hatcn(), [2, 2, 2]) == (2, 4)
    assert multiplicities_to_scan(hatcn(), [1]) == (1,)


def test_a_metal_with_an_electron_less_or_more() -> None:
    """Fe(III): d5, doublet, quartet, sextet."""
    divalent = square_planar("Fe")
    trivalent = Structure(divalent.symbols, divalent.positions, charge=-1)
    assert host_multiplicities(trivalent) == (2, 4, 6)


def test_an_anion_radical_with_an_atom() -> None:
    assert multiplicities_to_scan(load_host("pyrazine", charge=-1), [2]) == (1, 3)
