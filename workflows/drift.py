"""Whether the atoms of a relaxation have drifted apart in groups."""

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from alkaflow.structures import FloatArray

_PARTED = 6.0  # parts of a structure farther from each other than this have nothing to do with each other [Angstrom]


def drifted_apart(positions: FloatArray) -> str | None:
    """A sentence that begins with ``dissociated`` when some atoms are far from all others; positions [Angstrom]."""
    parts, names = connected_components(cdist(positions, positions) < _PARTED, directed=False)
    if parts == 1:
        return None
    smallest = int(np.argmin(np.bincount(names)))
    gap = float(cdist(positions[names == smallest], positions[names != smallest]).min())
    atom = int(np.flatnonzero(names == smallest)[0])
    return f"dissociated: atom {atom} and what is with it is {gap:.1f} Angstrom from the rest"
