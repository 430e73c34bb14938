"""Which multiplicities to compute for a complex: what the spins of its fragments can couple to."""

from collections.abc import Iterable

from alkaflow.structures.graph import BondGraph
from alkaflow.structures.structure import Structure

METAL_MULTIPLICITIES: dict[str, tuple[int, ...]] = {
    "Mn": (4, 2, 6),
    "Fe": (3, 1, 5),
    "Co": (2, 4),
    "Ni": (1, 3),
    "Cu": (2,),
    "Zn": (1,),
    "Zr": (1, 3, 5),
}
"""2S+1 to scan for a host with one divalent metal atom that four donors hold (M-N4, M-N2O2, M-O4), the likely first."""

_HIGHEST_COUPLED = {"Zr": 4}  # a quintet Zr(II) does not bring a sextet worth computing with an alkali atom


def host_multiplicities(host: Structure) -> tuple[int, ...]:
    """Multiplicities 2S+1 of a host that may be its ground state, the host's own among them.

    One for most hosts: the one that they have. A host around one open-shell metal has a list, that of the divalent
    metal; with an electron more or less, what that list couples to with one more unpaired electron.
    """
    listed = set(METAL_MULTIPLICITIES.get(_central_metal(host) or "", ()))
    if any(state % 2 != host.multiplicity % 2 for state in listed):
        listed = {state + change for state in listed for change in (-1, 1)} - {0}
    return tuple(sorted({*listed, host.multiplicity}))


def multiplicities_to_scan(host: Structure, guests: Iterable[int]) -> tuple[int, ...]:
    """Multiplicities of a complex that couple those of its fragments.

    A doublet for one alkali atom on a closed-shell host, singlet and triplet for two.

    Parameters
    ----------
    host
        The host.
    guests
        Multiplicity 2S+1 of every guest alone.
    """
    states = set(host_multiplicities(host))
    guests = list(guests)
    for guest in guests:
        states = {coupled for state in states for coupled in range(abs(state - guest) + 1, state + guest, 2)}
    highest = _HIGHEST_COUPLED.get(_central_metal(host) or "")
    if highest is not None and any(guest > 1 for guest in guests):
        states = {state for state in states if state <= highest} or states
    return tuple(sorted(states))


def _central_metal(host: Structure) -> str | None:
    """Element of the one atom of the table above that four N or O hold; None where there is no such atom or several."""
    graph = BondGraph(host)
    found = [
        symbol
        for atom, symbol in enumerate(host.symbols)
        if symbol in METAL_MULTIPLICITIES
        and len(graph.neighbours[atom]) == 4
        and all(host.symbols[j] in ("N", "O") for j in graph.neighbours[atom])
    ]
    return found[0] if len(found) == 1 else None
