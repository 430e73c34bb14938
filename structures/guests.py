"""Guests that alkaflow can place, with the distances at which they are placed."""

from dataclasses import dataclass

import numpy as np

from alkaflow.errors import UnknownNameError
from alkaflow.structures.structure import Structure


@dataclass(frozen=True)
class Guest:
    """A guest atom.

    ``donor_distance`` is where it starts from a donor atom, ``face_height`` from the plane of a ring [Angstrom]:
    typical B3LYP minima of the metal on N-heteroaromatics, rounded (Li-N 2.0, Na-N 2.35).
    """

    symbol: str
    charge: int
    multiplicity: int
    donor_distance: float
    face_height: float

    @property
    def structure(self) -> Structure:
        """The guest alone, at the origin."""
        return Structure((self.symbol,), np.zeros((1, 3)), self.charge, self.multiplicity, self.symbol)


GUESTS: dict[str, Guest] = {
    guest.symbol: guest for guest in (Guest("Li", 0, 2, 2.00, 1.90), Guest("Na", 0, 2, 2.35, 2.30))
}


def get_guest(name: str) -> Guest:
    """Return a guest by name; raise UnknownNameError with the known ones."""
    if name not in GUESTS:
        raise UnknownNameError("guest", name, GUESTS)
    return GUESTS[name]
