"""Adsorption energies from linked records, and their parts, refusing to subtract what does not match.

With the fragments A (host) and B (guest), a name after the slash for the geometry and one in brackets for the basis::

    adsorption    E(AB/AB) - E(A/A) - E(B/B)
    interaction   E(AB/AB) - E(A/AB) - E(B/AB)
    deformation   E(A/AB) - E(A/A), and the same for B
    counterpoise  E(A/AB)[A] - E(A/AB)[AB], and the same for B

Interaction and both deformations add up to the adsorption energy. The counterpoise correction (Boys, Bernardi,
Mol. Phys. 19, 553 (1970), doi 10.1080/00268977000101561) is what a user may add to it; nothing adds it silently.
"""

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np

from alkaflow.errors import MismatchError
from alkaflow.levels import KohnSham, level_hash
from alkaflow.records import Record
from alkaflow.structures.structure import FloatArray
from alkaflow.units import HARTREE_EV

COHESIVE_ENERGY_EV: dict[str, float] = {"Li": 1.63, "Na": 1.113, "K": 0.934, "Zn": 1.35}
"""Experimental energy [eV/atom] that parts the metal, at 0 K and 1 atm, into neutral atoms in their ground state.

C. Kittel, Introduction to Solid State Physics, 8th ed., Wiley 2005, chapter 3, table 1.
"""

_NOISE_EV = 1e-3  # of a counterpoise correction
_DEFORMATION_NOISE_EV = 0.1  # where the geometry is of another level a deformation may come out below zero
_SAME_PLACE = 1e-4  # Angstrom; geometries are handed on with more digits than this


def adsorption_energy_ev(complex_: Record, host: Record, *guests: Record) -> float:
    """Return E(complex) - E(host) - sum of E(guest) [eV]; negative is bound.

    Raises
    ------
    MismatchError
        Levels of theory or recipes differ, or the atoms or charges of host and guests do not add up to the complex.
    """
    check_legs_match(complex_, host, *guests)
    return (complex_.energy_hartree - host.energy_hartree - sum(g.energy_hartree for g in guests)) * HARTREE_EV


def bulk_reference_ev(symbol: str) -> float:
    """What the adsorption energy of an atom grows by when counted from its bulk metal: the cohesive energy [eV].

    E(bulk, per atom) = E(atom) - E_coh, so that E(complex) - E(host) - E(bulk) = adsorption energy + E_coh.

    Raises
    ------
    KeyError
        No cohesive energy is tabulated for the element.
    """
    return COHESIVE_ENERGY_EV[symbol]


def check_legs_match(complex_: Record, host: Record, *guests: Record) -> None:
    """Refuse legs whose energies have no common zero; the message says what differs."""
    for name, leg in (("host", host), *(("guest", guest) for guest in guests)):
        _check_level(("complex", complex_), (name, leg))
    symbols = sum((Counter(leg.symbols) for leg in (host, *guests)), Counter[str]())
    if Counter(complex_.symbols) != symbols:
        formulas = " and ".join(leg.formula for leg in (host, *guests))
        raise MismatchError(f"{formulas} do not add up to {complex_.formula} ({complex_.id})")
    if complex_.charge != host.charge + sum(guest.charge for guest in guests):
        charges = " and ".join(f"{leg.charge:+d}" for leg in (host, *guests))
        raise MismatchError(f"charges {charges} do not add up to {complex_.charge:+d} ({complex_.id})")


@dataclass(frozen=True)
class Part:
    """A difference of energies [eV], and how much of it is the dispersion term; NaN at GFN2-xTB, which does not say."""

    total: float
    dispersion: float

    @property
    def electronic(self) -> float:
        """Without the dispersion term [eV]."""
        return self.total - self.dispersion

    def __add__(self, other: "Part") -> "Part":
        return Part(self.total + other.total, self.dispersion + other.dispersion)


@dataclass(frozen=True)
class FragmentRecords:
    """The records of one fragment of a complex.

    Attributes
    ----------
    relaxed
        The fragment alone at its own geometry.
    frozen
        Alone, at the geometry that it has in the complex; of an atom the same record as `relaxed`.
    in_basis
        As frozen, with the basis functions of the rest of the complex.
    frequencies
        Of the relaxed fragment; an atom needs none.
    """

    relaxed: Record
    frozen: Record
    in_basis: Record | None = None
    frequencies: Record | None = None


@dataclass(frozen=True)
class Decomposition:
    """The parts of an adsorption energy [eV].

    Attributes
    ----------
    interaction
        Of host and guest as they are in the complex.
    host_deformation, guest_deformation
        From the relaxed fragment to what it is in the complex; zero for an atom.
    host_counterpoise, guest_counterpoise
        The corrections for the functions that each borrows from the other, not part of the sum; positive. None where
        they were not computed.
    zero_point
        Zero-point energy of the complex less those of host and guest, not part of the sum; None where not computed.
    """

    interaction: Part
    host_deformation: Part
    guest_deformation: Part
    host_counterpoise: float | None = None
    guest_counterpoise: float | None = None
    zero_point: float | None = None

    @property
    def adsorption(self) -> Part:
        """The adsorption energy: interaction and both deformations."""
        return self.interaction + self.host_deformation + self.guest_deformation

    @property
    def dispersion_share(self) -> float:
        """Fraction of the adsorption energy that is dispersion; NaN for an energy of zero."""
        whole = self.adsorption
        return whole.dispersion / whole.total if whole.total else float("nan")

    @property
    def counterpoise(self) -> float | None:
        """What the adsorption energy grows by when both fragments are computed in the basis of the complex [eV]."""
        if self.host_counterpoise is None or self.guest_counterpoise is None:
            return None
        return self.host_counterpoise + self.guest_counterpoise

    @property
    def doubts(self) -> list[str]:
        """What the signs of the parts say against them: energies of one fragment that belong to different states.

        More functions cannot raise an energy, and a geometry of the same level other than the relaxed cannot lower it.
        """
        parts = (
            ("host", self.host_deformation, self.host_counterpoise),
            ("guest", self.guest_deformation, self.guest_counterpoise),
        )
        said = []
        for name, deformation, counterpoise in parts:
            if counterpoise is not None and counterpoise < -_NOISE_EV:
                said.append(f"the {name} is {-counterpoise:.3f} eV higher with more basis functions")
            if deformation.total < -_DEFORMATION_NOISE_EV:
                said.append(f"the {name} is {-deformation.total:.3f} eV lower as in the complex than relaxed alone")
        return [f"{each}: the parts of the energy are of different electronic states" for each in said]

    def as_dict(self) -> dict[str, float]:
        """Every number by name [eV], for tables and JSON; what was not computed is left out."""
        found: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                part: Part = getattr(self, name)
                found |= {
                    name: part.total,
                    f"{name}_electronic": part.electronic,
                    f"{name}_dispersion": part.dispersion,
                }
            elif value is not None:
                found[name] = value
        found["dispersion"] = self.adsorption.dispersion
        if self.counterpoise is not None:
            found["counterpoise"] = self.counterpoise
        return {name: value for name, value in found.items() if not np.isnan(value)}


def decompose(
    complex_: Record, host: FragmentRecords, guest: FragmentRecords, frequencies: Record | None = None
) -> Decomposition:
    """Take an adsorption energy apart; the parts add up to `adsorption_energy_ev` of the relaxed records.

    Parameters
    ----------
    complex_
        The energy of the complex, the atoms of the host first.
    host, guest
        Records of the fragments. The counterpoise correction needs ``in_basis`` of both.
    frequencies
        Of the complex. The zero-point part needs those of every fragment of more than one atom as well.

    Raises
    ------
    MismatchError
        Levels of theory, recipes, atoms, charges, multiplicities or geometries do not belong together; says which.
    """
    check_legs_match(complex_, host.relaxed, guest.relaxed)
    split = len(host.relaxed.symbols)
    places = (("host", host, range(split)), ("guest", guest, range(split, len(complex_.symbols))))
    for name, records, atoms in places:
        _check_fragment(complex_, name, records, atoms)
    whole, apart = _energies(complex_), (_energies(host.frozen), _energies(guest.frozen))
    relaxed = _energies(host.relaxed), _energies(guest.relaxed)
    return Decomposition(
        interaction=_part(whole - apart[0] - apart[1]),
        host_deformation=_part(apart[0] - relaxed[0]),
        guest_deformation=_part(apart[1] - relaxed[1]),
        host_counterpoise=_counterpoise(host),
        guest_counterpoise=_counterpoise(guest),
        zero_point=_zero_point(frequencies, host, guest),
    )


def _energies(record: Record) -> FloatArray:
    """Energy and its dispersion term [Hartree]."""
    without = 0.0 if isinstance(record.level_of_theory, KohnSham) else np.nan
    return np.array([record.energy_hartree, record.energy_components.get("dispersion", without)])


def _part(energies: FloatArray) -> Part:
    return Part(float(energies[0]) * HARTREE_EV, float(energies[1]) * HARTREE_EV)


def _counterpoise(fragment: FragmentRecords) -> float | None:
    if fragment.in_basis is None:
        return None
    return (fragment.frozen.energy_hartree - fragment.in_basis.energy_hartree) * HARTREE_EV


def _zero_point(complex_: Record | None, host: FragmentRecords, guest: FragmentRecords) -> float | None:
    """Difference of the zero-point energies [eV]; None where some are not there. An atom has none."""
    molecules = [fragment for fragment in (host, guest) if len(fragment.relaxed.symbols) > 1]
    records = [complex_, *(fragment.frequencies for fragment in molecules)]
    there = [record for record in records if record is not None and record.vibrations is not None]
    if len(there) < len(records):
        return None
    for record in there[1:]:
        _check_level(("frequencies of the complex", there[0]), ("frequencies of a fragment", record))
    energies = [record.vibrations.zero_point_energy for record in there if record.vibrations is not None]
    return float(energies[0] - sum(energies[1:])) * HARTREE_EV


# --- what must match -------------------------------------------------------------------------------------------------


def _check_level(one: tuple[str, Record], other: tuple[str, Record]) -> None:
    """Refuse records of different levels of theory or recipes; each with what it is, for people."""
    (name, record), (name_other, leg) = one, other
    if level_hash(leg.level_of_theory) != level_hash(record.level_of_theory):
        detail = _difference(record, leg)
        raise MismatchError(f"{name} {record.id} and {name_other} {leg.id} are at different levels of theory: {detail}")
    if leg.recipe != record.recipe:
        raise MismatchError(
            f"{name} {record.id} and {name_other} {leg.id} come from recipes {record.recipe} and {leg.recipe}"
        )


def _check_fragment(complex_: Record, name: str, records: FragmentRecords, atoms: range) -> None:
    """Refuse records that are not this fragment as it is in the complex."""
    frozen, relaxed = records.frozen, records.relaxed
    where = np.array(complex_.positions_angstrom)[atoms.start : atoms.stop]
    _check_level(("complex", complex_), (f"frozen {name}", frozen))
    _check_state(f"frozen {name}", frozen, relaxed)
    if frozen.symbols != [complex_.symbols[k] for k in atoms]:
        raise MismatchError(
            f"frozen {name} {frozen.id} has the atoms {' '.join(frozen.symbols)}, not those at its place in the "
            f"complex {complex_.id}"
        )
    if len(atoms) > 1:  # an atom has the same energy anywhere
        _check_geometry(f"frozen {name}", frozen, complex_, where)
    if records.in_basis is None:
        return
    extended = records.in_basis
    _check_level(("complex", complex_), (f"{name} in the basis of the complex", extended))
    _check_state(f"{name} in the basis of the complex", extended, relaxed)
    if extended.symbols != complex_.symbols:
        raise MismatchError(f"{name} {extended.id} has not the basis functions of all atoms of complex {complex_.id}")
    ghosts = [k for k in range(len(complex_.symbols)) if k not in atoms]
    if extended.ghosts != ghosts:
        raise MismatchError(f"{name} {extended.id} has ghosts {extended.ghosts}, not all other atoms {ghosts}")
    _check_geometry(f"{name} in the basis of the complex", extended, complex_, np.array(complex_.positions_angstrom))


def _check_state(name: str, record: Record, relaxed: Record) -> None:
    for what in ("charge", "multiplicity"):
        mine, other = getattr(record, what), getattr(relaxed, what)
        if mine != other:
            raise MismatchError(f"{name} {record.id} has {what} {mine}, the relaxed one {relaxed.id} {other}")


def _check_geometry(name: str, record: Record, complex_: Record, expected: FloatArray) -> None:
    """Refuse positions [Angstrom] that are not those in the complex, naming the first atom elsewhere."""
    apart = np.linalg.norm(np.array(record.positions_angstrom) - expected, axis=1)
    if (apart > _SAME_PLACE).any():
        atom = int(np.argmax(apart > _SAME_PLACE))
        raise MismatchError(
            f"{name} {record.id} is not at the geometry of complex {complex_.id}: atom {atom} "
            f"({record.symbols[atom]}) is {apart[atom]:.4f} Angstrom from its place there"
        )


def _difference(one: Record, other: Record) -> str:
    """Name the first settings in which two levels differ."""
    a, b = one.level_of_theory.model_dump(), other.level_of_theory.model_dump()
    keys = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    return ", ".join(f"{key} {a.get(key)!r} and {b.get(key)!r}" for key in keys[:2])
