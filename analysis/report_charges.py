"""Charges by all schemes in a report: sums over fragments, and where schemes disagree in sign."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alkaflow.analysis.plot_charges import scheme_name
from alkaflow.analysis.populations import in_order
from alkaflow.records import Record

_NO_CHARGE = 0.05  # e; a smaller one has no sign worth a word
_SHOWN = 12  # atoms that a sentence names
_DRAWN = 4  # schemes in a picture
_KINDS = ("mulliken", "iao", "hirshfeld", "resp")  # by functions, by atomic orbitals, by space, by potential


@dataclass(frozen=True)
class ChargePanel:
    """Charges of one complex.

    Attributes
    ----------
    record
        That they are of.
    fragments
        Atoms by fragment.
    atoms
        Numbers of the atoms to show: guests and what holds them.
    """

    record: Record
    fragments: Mapping[str, tuple[int, ...]]
    atoms: Sequence[int]

    @property
    def charges(self) -> Mapping[str, list[float]]:
        """By scheme, in atom order [e]."""
        return in_order(self.record.populations.charges) if self.record.populations else {}

    @property
    def drawn(self) -> Mapping[str, list[float]]:
        """Those that a picture shows: of many schemes one of each kind."""
        held = self.charges
        return held if len(held) <= _DRAWN else {name: held[name] for name in _KINDS if name in held}

    @property
    def spins(self) -> Mapping[str, list[float]]:
        """Spin populations by scheme."""
        return in_order(self.record.populations.spins) if self.record.populations else {}

    @property
    def sums(self) -> dict[str, dict[str, float]]:
        """Scheme -> fragment -> charge [e]."""
        return {
            scheme: {name: float(sum(values[k] for k in atoms)) for name, atoms in self.fragments.items()}
            for scheme, values in self.charges.items()
        }

    def name(self, atom: int) -> str:
        """Of an atom for people: element and number from 0."""
        return f"{self.record.symbols[atom]}{atom}"

    @property
    def disagreements(self) -> list[str]:
        """Sentences on fragments and atoms where schemes differ in sign."""
        said = []
        sums = self.sums
        for fragment in self.fragments:
            values = {scheme: of[fragment] for scheme, of in sums.items()}
            if differ_in_sign(values.values()):
                said.append(f"the charge of {fragment} has no clear sign: {_listed(values)}")
        of_atoms = {k: {scheme: values[k] for scheme, values in self.charges.items()} for k in self._all_atoms}
        unclear = [k for k, values in of_atoms.items() if differ_in_sign(values.values())]
        for which, there in (("listed", True), ("other", False)):
            names = [self.name(k) for k in unclear if (k in self.atoms) is there]
            if names:
                shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
                said.append(f"schemes differ in sign on {which} atoms: {shown}")
        return said

    @property
    def _all_atoms(self) -> range:
        return range(len(self.record.symbols))


def differ_in_sign(values: Iterable[float]) -> bool:
    """Whether some charges [e] are clearly positive and others clearly negative."""
    found = list(values)
    return bool(found) and min(found) < -_NO_CHARGE and max(found) > _NO_CHARGE


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{scheme_name(scheme)} {value:+.2f}" for scheme, value in values.items())


def charges_csv(panels: Mapping[str, ChargePanel]) -> str:
    """Charges and spins of all atoms of all rows, by label, as CSV; a scheme that a record lacks stays empty."""
    schemes = list(dict.fromkeys(scheme for panel in panels.values() for scheme in panel.charges))
    spins = list(dict.fromkeys(scheme for panel in panels.values() for scheme in panel.spins))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [*(f"charge_{scheme}" for scheme in schemes), *(f"spin_{scheme}" for scheme in spins)]
    writer.writerow(["label", "calculation", "fragment", "atom", "element", *names, "signs_differ"])
    for label, panel in panels.items():
        for fragment, atoms in panel.fragments.items():
            for k in atoms:
                charges = [panel.charges[s][k] if s in panel.charges else "" for s in schemes]
                polarised = [panel.spins[s][k] if s in panel.spins else "" for s in spins]
                differ = differ_in_sign(values[k] for values in panel.charges.values())
                where = [label, panel.record.id, fragment, k, panel.record.symbols[k]]
                writer.writerow([*where, *charges, *polarised, "yes" if differ else "no"])
    return buffer.getvalue()
