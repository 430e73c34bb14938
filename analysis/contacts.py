"""What a guest touches: pairs of atoms nearer than their van der Waals radii, with angles at hydrogens.

Radii are those of Bondi 1964 and Alvarez 2013 (`van_der_waals_distance`). For hydrogen bonds see E. Arunan and others,
Pure Appl. Chem. 83, 1637 (2011), doi 10.1351/PAC-REC-10-01-02: the nearer X-H...Y is to 180 degrees, the stronger.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial.distance import cdist

from alkaflow.structures import Structure
from alkaflow.structures.distances import van_der_waals_distance
from alkaflow.structures.graph import BondGraph

WITHIN = 1.0
"""Of the sum of van der Waals radii."""


class Contact(BaseModel):
    """An atom of a guest and one of its host, numbers from 0 in the complex."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    guest_atom: int
    host_atom: int
    angstrom: float
    of_van_der_waals: float = Field(description="distance over the sum of the van der Waals radii")
    through: int | None = Field(default=None, description="the atom that a hydrogen of the contact is bonded to")
    angle_degrees: float | None = Field(default=None, description="at that hydrogen; 180 is straight")

    def text(self, symbols: tuple[str, ...]) -> str:
        """For people: ``F178..H86-N85``."""
        guest, host = (f"{symbols[k]}{k}" for k in (self.guest_atom, self.host_atom))
        if self.through is None:
            return f"{guest}..{host}"
        other = f"{symbols[self.through]}{self.through}"
        return f"{guest}..{host}-{other}" if symbols[self.host_atom] == "H" else f"{other}-{guest}..{host}"


def find_contacts(structure: Structure, host_atoms: int, within: float = WITHIN) -> list[Contact]:
    """Find what the guests of a complex touch, the shortest first against the radii.

    Parameters
    ----------
    structure
        The complex.
    host_atoms
        How many atoms are of the host, the first ones.
    within
        Share of the sum of van der Waals radii up to which two atoms touch.
    """
    symbols, places = structure.symbols, structure.positions
    guests = range(host_atoms, len(structure))
    apart = cdist(places[host_atoms:], places[:host_atoms])
    sums = np.array([[van_der_waals_distance(symbols[g], symbols[h]) for h in range(host_atoms)] for g in guests])
    neighbours = BondGraph(structure).neighbours
    found = []
    for row, column in np.argwhere(apart < within * sums).tolist():
        guest, host = host_atoms + row, column
        hydrogen = next((k for k in (host, guest) if symbols[k] == "H"), None)
        heavy = [k for k in neighbours[hydrogen] if k not in (guest, host)] if hydrogen is not None else []
        through = min(heavy, default=None)
        angle = None
        if hydrogen is not None and through is not None:
            other = guest if hydrogen == host else host
            angle = _angle(places[through] - places[hydrogen], places[other] - places[hydrogen])
        share = float(apart[row, column] / sums[row, column])
        found.append(
            Contact(
                guest_atom=guest,
                host_atom=host,
                angstrom=float(apart[row, column]),
                of_van_der_waals=share,
                through=through,
                angle_degrees=angle,
            )
        )
    return sorted(found, key=lambda contact: contact.of_van_der_waals)


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    cosine = first @ second / np.sqrt((first @ first) * (second @ second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
