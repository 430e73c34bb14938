"""A molecule, cluster or complex: symbols, positions, charge and multiplicity."""

from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from alkaflow.calculations import check_multiplicity, lowest_multiplicity
from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError
from alkaflow.records import formula_of

FloatArray = NDArray[np.float64]

MAX_ATOMS = 5000
_CLOSEST = 0.4  # Angstrom; nothing bonds at less (H2: 0.74)


@dataclass(frozen=True)
class Structure:
    """Atoms in space.

    Attributes
    ----------
    symbols
        Element symbols.
    positions
        Positions [Angstrom], shape=(n_atoms, 3); read-only.
    charge
        Total charge [e].
    multiplicity
        2S+1; the lowest possible where it is not given.
    name
        For people; plays no role in any identity.

    Raises
    ------
    BadInputError
        Shapes disagree, a position is not finite, atoms overlap, or charge and multiplicity are impossible or no whole
        numbers.
    """

    symbols: tuple[str, ...]
    positions: FloatArray = field(repr=False)
    charge: int = 0
    multiplicity: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=float)
        if not self.symbols:
            raise BadInputError("a structure needs at least one atom")
        if len(self.symbols) > MAX_ATOMS:
            raise BadInputError(f"{len(self.symbols)} atoms; at most {MAX_ATOMS} are handled")
        if positions.shape != (len(self.symbols), 3):
            raise BadInputError(f"{len(self.symbols)} symbols but positions of shape {positions.shape}")
        for symbol in self.symbols:
            atomic_number(symbol)
        if not np.isfinite(positions).all():
            atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            raise BadInputError(f"atom {atom} ({self.symbols[atom]}) has a position that is not finite")
        positions.setflags(write=False)
        object.__setattr__(self, "symbols", tuple(self.symbols))
        object.__setattr__(self, "positions", positions)
        check_no_overlap(self.symbols, positions)
        for name in ("charge", "multiplicity"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        if self.multiplicity == 0:
            object.__setattr__(self, "multiplicity", lowest_multiplicity(self.symbols, self.charge))
        check_multiplicity(self.symbols, self.charge, self.multiplicity)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def formula(self) -> str:
        """Hill formula."""
        return formula_of(self.symbols)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic numbers, shape=(n_atoms,)."""
        return np.array([atomic_number(symbol) for symbol in self.symbols])

    def with_positions(self, positions: FloatArray) -> "Structure":
        """Return the same atoms elsewhere; positions [Angstrom], shape=(n_atoms, 3)."""
        return replace(self, positions=positions)


def whole_number(what: str, value: Any) -> int:
    """Return an integer, or a float that is one, as an int; refuse anything else with a sentence about ``what``."""
    if not isinstance(value, bool):
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real) and float(value).is_integer():
            return int(float(value))
    raise BadInputError(f"{what} is {str(value)[:40]!r}; it must be a whole number")


def check_no_overlap(symbols: tuple[str, ...], positions: FloatArray) -> None:
    """Refuse atoms closer than 0.4 Angstrom, naming the pair."""
    pairs = cKDTree(positions).query_pairs(_CLOSEST, output_type="ndarray")
    if len(pairs):
        i, j = min(map(tuple, pairs.tolist()))
        distance = float(np.linalg.norm(positions[i] - positions[j]))
        raise BadInputError(
            f"atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) overlap: {distance:.3f} Angstrom apart (counted from 0)"
        )
