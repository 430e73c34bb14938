"""A calculation: one step on one structure. The hash of its canonical input is its id."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError
from alkaflow.files import sha256_of
from alkaflow.levels import Level

RECIPE_VERSION = 1
"""Raised by hand when the meaning of a step changes, so that old records are not taken for new ones."""

ID_LENGTH = 20
_RESOLUTION = 1e-6  # Angstrom

Step = Literal["relax", "energy", "frequencies"]
Position = tuple[float, float, float]


class Fragment(BaseModel):
    """Atoms (numbers from 0) of a host or a guest, with the charge [e] and multiplicity 2S+1 that it has alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    atoms: tuple[int, ...]
    charge: int
    multiplicity: int


class CalculationInput(BaseModel):
    """The canonical input of a calculation.

    Exactly one of ``positions`` (Angstrom, rounded to 1e-6) and ``parent`` (the id of the calculation whose final
    geometry is used) is given. ``fragments``, the host first, are for levels that search electronic states.
    ``ghosts`` are atoms (numbers from 0, ascending) of which only the basis functions are there: no nuclei, no
    electrons; charge and multiplicity are those of the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: int = RECIPE_VERSION
    step: Step
    level: Level
    charge: int
    multiplicity: int
    symbols: tuple[str, ...]
    positions: tuple[Position, ...] | None = None
    parent: str | None = None
    fragments: tuple[Fragment, ...] | None = None
    ghosts: tuple[int, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "CalculationInput":
        if (self.positions is None) == (self.parent is None):
            raise ValueError("give either positions or a parent")
        if self.positions is not None and len(self.positions) != len(self.symbols):
            raise ValueError(f"{len(self.symbols)} symbols but {len(self.positions)} positions")
        if self.ghosts is not None and (
            list(self.ghosts) != sorted(set(self.ghosts)) or not set(self.ghosts) < set(range(len(self.symbols)))
        ):
            raise ValueError(f"ghosts {self.ghosts} are not some, in ascending order, of {len(self.symbols)} atoms")
        if self.ghosts is not None and self.step != "energy":
            raise ValueError(f"ghost atoms have a place in an energy, not in the step {self.step!r}")
        check_multiplicity(self.real_symbols, self.charge, self.multiplicity)
        return self

    @property
    def real_symbols(self) -> tuple[str, ...]:
        """Symbols of the atoms that are there, in order; all but the ghosts."""
        absent = set(self.ghosts or ())
        return tuple(symbol for k, symbol in enumerate(self.symbols) if k not in absent)

    @property
    def id(self) -> str:
        """Hash of recipe, step, level, charge, multiplicity and (geometry or parent).

        What is None is left out, so that a later optional setting changes no id of today.
        """
        content = self.model_dump(mode="json", exclude={"symbols", "positions"}, exclude_none=True)
        if self.positions is not None:
            grid = [[round(x / _RESOLUTION) for x in position] for position in self.positions]
            content["atoms"] = [[symbol, *xyz] for symbol, xyz in zip(self.symbols, grid, strict=True)]
        return sha256_of(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())[:ID_LENGTH]


def rounded(positions: "list[list[float]] | tuple[Position, ...]") -> tuple[Position, ...]:
    """Round positions [Angstrom] to the resolution that identifies a geometry; no negative zeros."""
    return tuple((round(x, 6) + 0.0, round(y, 6) + 0.0, round(z, 6) + 0.0) for x, y, z in positions)


def electron_count(symbols: tuple[str, ...] | list[str], charge: int) -> int:
    """Return the number of electrons of the neutral atoms less the charge."""
    return sum(atomic_number(symbol) for symbol in symbols) - charge


def lowest_multiplicity(symbols: tuple[str, ...] | list[str], charge: int) -> int:
    """Return 1 for an even number of electrons and 2 for an odd one."""
    return 1 + electron_count(symbols, charge) % 2


def check_multiplicity(symbols: tuple[str, ...] | list[str], charge: int, multiplicity: int) -> None:
    """Refuse what no wave function has: too few electrons, or the wrong parity.

    Raises
    ------
    BadInputError
        With the sentence "n electrons cannot have multiplicity m".
    """
    electrons = electron_count(symbols, charge)
    if electrons < 1:
        raise BadInputError(f"charge {charge:+d} leaves {electrons} electrons; at least one is needed")
    if multiplicity < 1 or multiplicity > electrons + 1 or (electrons + multiplicity) % 2 == 0:
        raise BadInputError(f"{electrons} electrons cannot have multiplicity {multiplicity}")
