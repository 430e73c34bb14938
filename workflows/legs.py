"""Legs: the calculations that lead to the energy of one structure, in its spin states, and to its parts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alkaflow.calculations import CalculationInput, Constraint, Fragment, rounded
from alkaflow.levels import KohnSham, Level
from alkaflow.plans import Halves, Leg
from alkaflow.structures import Structure
from alkaflow.workflows.basis import check_electrons, count_functions, element_basis
from alkaflow.workflows.fragments import likely_fragments
from alkaflow.workflows.protocols import Protocol

_SPIN_WORDS = {1: "singlet", 2: "doublet", 3: "triplet", 4: "quartet", 5: "quintet", 6: "sextet", 7: "septet"}


@dataclass(frozen=True)
class Half:
    """Host or guest of a complex: its atoms there, its charge [e], and its leg with the spin states of that.

    A rigid one has the same geometry alone and in the complex, and so the same energy.
    """

    name: str
    atoms: tuple[int, ...]
    charge: int
    states: tuple[int, ...]
    leg: Leg
    rigid: bool = False


class Calculations:
    """Collects calculations with what each is, for people; the same input is one however often it is needed."""

    def __init__(self) -> None:
        self.inputs: dict[str, CalculationInput] = {}
        self.titles: dict[str, str] = {}

    def add(self, given: CalculationInput, title: str) -> str:
        """Take a calculation in, unless it is there; returns its id.

        Raises
        ------
        BadInputError
            It has more electrons than its basis can hold.
        """
        level = given.level
        if isinstance(level, KohnSham) and given.id not in self.inputs:
            names = {symbol: element_basis(level, symbol).name for symbol in set(given.symbols)}
            functions = count_functions(names, given.symbols, bool(level.cartesian))
            check_electrons(level, given.real_symbols, given.charge, given.multiplicity, functions)
        self.inputs.setdefault(given.id, given)
        self.titles.setdefault(given.id, f"{title}, {given.step}")
        return given.id


class Legs:
    """Makes legs under a protocol; their calculations go to a collection."""

    def __init__(self, protocol: Protocol, calculations: Calculations) -> None:
        self._protocol = protocol
        self._calculations = calculations

    def in_states(
        self,
        structure: Structure,
        states: Sequence[int],
        title: str,
        fragments: tuple[Fragment, ...] | None = None,
        halves: tuple[Half, Half] | None = None,
        counterpoise: bool = False,
        constraints: tuple[Constraint, ...] | None = None,
    ) -> Leg:
        """The leg of a structure in each of its spin states: that of the first, which holds the others."""
        legs = []
        for state in states:
            words = "" if state == states[0] else f", {_SPIN_WORDS.get(state, f'2S+1 = {state}')}"
            spinning = replace(structure, multiplicity=state)
            leg = self.one(spinning, title + words, fragments, constraints)
            if halves is not None:
                taken = self._halves(spinning, leg, halves, counterpoise, title + words)
                leg = leg.model_copy(update={"halves": taken})
            legs.append(leg)
        return legs[0].model_copy(update={"others": legs[1:]})

    def one(
        self,
        structure: Structure,
        title: str,
        fragments: tuple[Fragment, ...] | None = None,
        constraints: tuple[Constraint, ...] | None = None,
    ) -> Leg:
        """Relaxations, energy and, if asked for, properties and frequencies; an atom has nothing to relax."""
        ids: list[str] = []
        parts = fragments
        if parts is None and structure.multiplicity > 1 and len(structure) > 1:
            parts = likely_fragments(structure)
        if len(structure) > 1:
            for level in self._protocol.relaxations:
                searched = parts if isinstance(level, KohnSham) and level.states else None
                given = _input("relax", level, structure, ids[-1] if ids else None, searched, constraints)
                ids.append(self._calculations.add(given, title))
        parent = ids[-1] if ids else None
        open_shell = structure.multiplicity > 1 or any(part.multiplicity > 1 for part in parts or ())
        searched = parts if self._protocol.energy_searches and open_shell else None
        ids.append(self._calculations.add(_input("energy", self._protocol.energy, structure, parent, searched), title))
        if len(structure) == 1:
            return Leg(ids=ids)
        leaves: dict[str, str] = {}
        if self._protocol.properties and isinstance(self._protocol.energy, KohnSham):
            described = _input("properties", self._protocol.energy, structure, ids[-1])
            leaves["properties"] = self._calculations.add(described, title)
        if self._protocol.frequencies:
            vibrating = _input("frequencies", self._protocol.vibrational_level, structure, parent)
            leaves["frequencies"] = self._calculations.add(vibrating, title)
        return Leg(ids=ids, **leaves)

    def _halves(
        self, complex_: Structure, leg: Leg, halves: tuple[Half, Half], counterpoise: bool, title: str
    ) -> Halves:
        """Energies of host and guest at the geometry of one leg of their complex."""
        parent = leg.ids[-2] if len(leg.ids) > 1 else None
        host, guest = halves

        def frozen(half: Half, state: int) -> str:
            given = _half_input(complex_, half, state, self._protocol.energy, parent, in_basis=False)
            return self._calculations.add(given, f"{half.name} as in {title}")

        def in_basis(half: Half, state: int) -> str:
            given = _half_input(complex_, half, state, self._protocol.energy, parent, in_basis=True)
            return self._calculations.add(given, f"{half.name} in the basis of {title}")

        is_atom = len(guest.atoms) == 1  # its energy is the same wherever it is
        corrected = counterpoise and isinstance(self._protocol.energy, KohnSham)  # GFN2-xTB has no ghosts
        return Halves(
            host=[leg.energy for leg in host.leg.states]
            if host.rigid
            else [frozen(host, state) for state in host.states],
            guest=guest.leg.energy if is_atom else frozen(guest, guest.states[0]),
            host_in_basis=[in_basis(host, state) for state in host.states] if corrected else [],
            guest_in_basis=in_basis(guest, guest.states[0]) if corrected else None,
        )


def _input(
    step: str,
    level: Level,
    structure: Structure,
    parent: str | None,
    fragments: tuple[Fragment, ...] | None = None,
    constraints: tuple[Constraint, ...] | None = None,
) -> CalculationInput:
    return CalculationInput.model_validate(
        {
            "step": step,
            "level": level,
            "charge": structure.charge,
            "multiplicity": structure.multiplicity,
            "symbols": structure.symbols,
            "positions": None if parent else rounded(structure.positions.tolist()),
            "parent": parent,
            "fragments": fragments,
            "constraints": constraints,
        }
    )


def _half_input(
    complex_: Structure, half: Half, multiplicity: int, level: Level, parent: str | None, in_basis: bool
) -> CalculationInput:
    """The energy of a half at the geometry that it has in the complex, alone or with the functions of the rest."""
    atoms = tuple(range(len(complex_))) if in_basis else half.atoms
    return CalculationInput.model_validate(
        {
            "step": "energy",
            "level": level,
            "charge": half.charge,
            "multiplicity": multiplicity,
            "symbols": tuple(complex_.symbols[atom] for atom in atoms),
            "positions": None if parent else rounded(complex_.positions[list(atoms)].tolist()),
            "parent": parent,
            "subset": half.atoms if parent and not in_basis else None,
            "ghosts": tuple(atom for atom in atoms if atom not in half.atoms) if in_basis else None,
        }
    )
