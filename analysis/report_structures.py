"""Geometries in a report: distances from guests to what holds them, and XYZ files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alkaflow.plans import PLACES_JOINT, Plan, PlanRow
from alkaflow.records import Record
from alkaflow.structures import FloatArray, Structure, find_sites, format_xyz, get_guest

_NEAREST = 3  # atoms of the host that are listed where a guest is at no known site
_DRAWN = 3  # distances of one guest in a picture


@dataclass(frozen=True)
class Distance:
    """Between an atom of the host and one of a guest, both numbers from 0 in the complex [Angstrom]."""

    host_atom: int
    guest_atom: int
    angstrom: float

    def text(self, symbols: Sequence[str]) -> str:
        """For people: ``N1-Li30 1.935``."""
        names = f"{symbols[self.host_atom]}{self.host_atom}-{symbols[self.guest_atom]}{self.guest_atom}"
        return f"{names} {self.angstrom:.3f}"


def structure_of_record(record: Record, name: str = "") -> Structure:
    """The atoms of a record that are there, without ghosts."""
    present = [k for k in range(len(record.symbols)) if k not in (record.ghosts or ())]
    symbols = tuple(record.symbols[k] for k in present)
    return Structure(symbols, np.array(record.positions_angstrom)[present], record.charge, record.multiplicity, name)


def fragments_of(plan: Plan, row: PlanRow, atoms: int) -> dict[str, tuple[int, ...]]:
    """Atoms by fragment of a complex of so many: the host first, then every guest."""
    first, size = len(plan.hosts[row.host].symbols), len(get_guest(row.guest).structure)
    found: dict[str, tuple[int, ...]] = {row.host: tuple(range(first))}
    guests = (atoms - first) // size
    for number in range(guests):
        name = row.guest if guests == 1 else f"{row.guest} ({number + 1})"
        found[name] = tuple(range(first + number * size, first + (number + 1) * size))
    return found


def anchor_distances(plan: Plan, row: PlanRow, record: Record, final_site: str | None) -> list[Distance]:
    """Distances from every guest to the anchors of the site where it is; to the nearest atoms where it is at none.

    Parameters
    ----------
    plan, row
        Which host and guests.
    record
        Of the complex.
    final_site
        As the table says; of several guests joined by +.
    """
    planned = plan.hosts[row.host]
    host = Structure(
        tuple(planned.symbols), np.array(planned.positions_angstrom), planned.charge, planned.multiplicity, row.host
    )
    sites = {site.id: site for site in find_sites(host, row.guest)}
    positions = np.array(record.positions_angstrom)
    guests = list(fragments_of(plan, row, len(record.symbols)).values())[1:]
    places = final_site.split(PLACES_JOINT) if final_site is not None else []
    found: list[Distance] = []
    for number, atoms in enumerate(guests):
        site = sites.get(places[number].partition(".")[0]) if number < len(places) else None
        candidates = [member.anchors for member in site.members] if site is not None else []
        apart = np.linalg.norm(positions[: len(host), None] - positions[None, list(atoms)], axis=-1).min(axis=1)
        anchors = min(candidates, key=lambda held: float(apart[list(held)].max()), default=())
        chosen = anchors or tuple(int(k) for k in np.argsort(apart)[:_NEAREST])
        found += [_shortest(positions, anchor, atoms) for anchor in chosen]
    return found


def _shortest(positions: FloatArray, anchor: int, guest: Sequence[int]) -> Distance:
    lengths = np.linalg.norm(positions[list(guest)] - positions[anchor], axis=1)
    nearest = int(lengths.argmin())
    return Distance(anchor, guest[nearest], float(lengths[nearest]))


def drawn_pairs(distances: Sequence[Distance]) -> list[tuple[int, int]]:
    """Of every guest the shortest few, as pairs for a picture."""
    by_guest: dict[int, list[Distance]] = {}
    for distance in distances:
        by_guest.setdefault(distance.guest_atom, []).append(distance)
    return [
        (one.host_atom, one.guest_atom)
        for group in by_guest.values()
        for one in sorted(group, key=lambda distance: distance.angstrom)[:_DRAWN]
    ]


def xyz_files(plan: Plan, records: Mapping[str, Record]) -> dict[str, bytes]:
    """An XYZ file for every record of the plan, by file name, with the energy in its comment line."""
    files = {}
    for calculation in plan.calculations:
        record = records.get(calculation)
        if record is None:
            continue
        state = f"charge={record.charge} multiplicity={record.multiplicity}"
        said = f"{record.id} {record.step} {record.level} {state} energy_hartree={record.energy_hartree:.10f}"
        files[f"{record.id}.xyz"] = format_xyz(structure_of_record(record), said).encode()
    return files
