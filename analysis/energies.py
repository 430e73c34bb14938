"""Adsorption energies from linked records, refusing to subtract what does not match."""

from collections import Counter

from alkaflow.errors import MismatchError
from alkaflow.levels import level_hash
from alkaflow.records import Record
from alkaflow.units import HARTREE_EV


def adsorption_energy_ev(complex_: Record, host: Record, guest: Record) -> float:
    """Return E(complex) - E(host) - E(guest) [eV]; negative is bound.

    Raises
    ------
    MismatchError
        Levels of theory or recipes differ, or the atoms or charges of host and guest do not add up to the complex.
    """
    check_legs_match(complex_, host, guest)
    return (complex_.energy_hartree - host.energy_hartree - guest.energy_hartree) * HARTREE_EV


def check_legs_match(complex_: Record, host: Record, guest: Record) -> None:
    """Refuse legs whose energies have no common zero; the message says what differs."""
    for name, leg in (("host", host), ("guest", guest)):
        if level_hash(leg.level_of_theory) != level_hash(complex_.level_of_theory):
            detail = _difference(complex_, leg)
            raise MismatchError(
                f"complex {complex_.id} and {name} {leg.id} are at different levels of theory: {detail}"
            )
        if leg.recipe != complex_.recipe:
            raise MismatchError(
                f"complex {complex_.id} and {name} {leg.id} come from recipes {complex_.recipe} and {leg.recipe}"
            )
    if Counter(complex_.symbols) != Counter(host.symbols) + Counter(guest.symbols):
        raise MismatchError(f"{host.formula} and {guest.formula} do not add up to {complex_.formula} ({complex_.id})")
    if complex_.charge != host.charge + guest.charge:
        raise MismatchError(
            f"charges {host.charge:+d} and {guest.charge:+d} do not add up to {complex_.charge:+d} ({complex_.id})"
        )


def _difference(one: Record, other: Record) -> str:
    """Name the first setting in which two levels differ."""
    a, b = one.level_of_theory.model_dump(), other.level_of_theory.model_dump()
    keys = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    return ", ".join(f"{key} {a.get(key)!r} and {b.get(key)!r}" for key in keys[:2])
