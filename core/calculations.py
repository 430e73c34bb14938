"""A calculation: one step on one structure. The hash of its canonical input is its id."""

import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError
from alkaflow.files import sha256_of
from alkaflow.levels import KohnSham, Level

RECIPE_VERSION = 1
"""Raised by hand when the meaning of a step changes, so that old records are not taken for new ones."""

ID_LENGTH = 20
_RESOLUTION = 1e-6  # Angstrom

Step = Literal["relax", "energy", "frequencies", "properties"]
Position = tuple[float, float, float]


class Fragment(BaseModel):
    """Atoms (numbers from 0) of a host or a guest, with the charge [e] and multiplicity 2S+1 that it has alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    atoms: tuple[int, ...]
    charge: int
    multiplicity: int


class Constraint(BaseModel):
    """What a relaxation holds fixed: where some atoms are, or one distance, angle or dihedral between atoms.

    ``atoms`` are numbers from 0: any number of them to ``freeze``, and 2, 3 or 4 in the order of the bonds for the
    others. ``value`` is a distance [Angstrom], or an angle or dihedral [degrees], that the relaxation goes to; without
    it, what the start has is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["freeze", "distance", "angle", "dihedral"]
    atoms: tuple[int, ...]
    value: float | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Constraint":
        if len(set(self.atoms)) != len(self.atoms) or min(self.atoms, default=-1) < 0:
            raise ValueError(f"atoms {self.atoms} of a constraint are not different numbers from 0")
        if self.kind == "freeze":
            if self.value is not None:
                raise ValueError("atoms are frozen where they are; leave out the value")
            return self
        wanted = {"distance": 2, "angle": 3, "dihedral": 4}[self.kind]
        if len(self.atoms) != wanted:
            raise ValueError(f"a constraint of the kind {self.kind} needs {wanted} atoms, not {len(self.atoms)}")
        low, high, unit = {"distance": (0.4, 100.0, "Angstrom"), "angle": (5.0, 175.0, "degrees")}.get(
            self.kind, (-180.0, 180.0, "degrees")
        )
        if self.value is not None and not low <= self.value <= high:
            raise ValueError(f"{self.kind} {self.value} {unit} is not between {low} and {high}")
        return self


class CalculationInput(BaseModel):
    """The canonical input of a calculation.

    Exactly one of ``positions`` (Angstrom, rounded to 1e-6) and ``parent`` (the id of the calculation whose final
    geometry is used) is given. ``fragments``, the host first, are for searches of electronic states. ``ghosts`` are
    atoms (numbers from 0, ascending) of which only the basis functions are there: no nuclei, no electrons; charge and
    multiplicity are those of the rest. ``constraints`` hold in a relaxation; at GFN2-xTB only those
    that freeze atoms. ``subset`` are the
    atoms (numbers from 0, ascending) of the parent's geometry that are taken, one per symbol; all of them without it.
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
    constraints: tuple[Constraint, ...] | None = None
    subset: tuple[int, ...] | None = None

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
        if self.ghosts is not None and not isinstance(self.level, KohnSham):
            raise ValueError(f"there are no ghost atoms at {self.level}")
        self._check_constraints()
        if self.subset is not None:
            self._check_subset(self.subset)
        check_multiplicity(self.real_symbols, self.charge, self.multiplicity)
        return self

    def _check_subset(self, atoms: tuple[int, ...]) -> None:
        if self.parent is None:
            raise ValueError("a subset is taken from the geometry of a parent; this calculation has its own positions")
        if list(atoms) != sorted(set(atoms)) or atoms[:1] < (0,) or len(atoms) != len(self.symbols):
            raise ValueError(f"subset {atoms} is not {len(self.symbols)} atoms of the parent, in ascending order")

    def _check_constraints(self) -> None:
        if self.constraints is None:
            return
        if self.step != "relax":
            raise ValueError(f"only relaxations take constraints, not the step {self.step!r}")
        other = [constraint.kind for constraint in self.constraints if constraint.kind != "freeze"]
        if other and not isinstance(self.level, KohnSham):
            raise ValueError(f"a relaxation at {self.level} can freeze atoms, but not hold a {other[0]}")
        highest = max((atom for constraint in self.constraints for atom in constraint.atoms), default=-1)
        if not 0 <= highest < len(self.symbols):
            raise ValueError(f"constraints on atom {highest} of {len(self.symbols)}, counted from 0")
        frozen = {atom for constraint in self.constraints if constraint.kind == "freeze" for atom in constraint.atoms}
        if len(frozen) == len(self.symbols):
            raise ValueError("every atom is frozen; nothing is left to relax")

    @property
    def searches_states(self) -> bool:
        """Whether competing electronic states are searched first: with fragments, and where electrons are unpaired.

        In a relaxation the level has to say so, too.
        """
        spins = [self.multiplicity, *(part.multiplicity for part in self.fragments or ())]
        if self.fragments is None or max(spins) == 1:
            return False
        return self.step == "energy" or (isinstance(self.level, KohnSham) and bool(self.level.states))

    @property
    def real_symbols(self) -> tuple[str, ...]:
        """Symbols of the atoms that are there, in order; all but the ghosts."""
        absent = set(self.ghosts or ())
        return tuple(symbol for k, symbol in enumerate(self.symbols) if k not in absent)

    def taken_from(self, positions: Sequence[Position]) -> tuple[Position, ...]:
        """The geometry of this calculation, from the final one of its parent; both in Angstrom."""
        return tuple(positions) if self.subset is None else tuple(positions[atom] for atom in self.subset)

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
