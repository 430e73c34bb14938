"""Densities behind records: the orbitals out of the database, put into the basis of their molecule."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.errors import BadInputError
from alkaflow.launchpad.database import Database
from alkaflow.launchpad.results import find_record
from alkaflow.levels import KohnSham
from alkaflow.records import Record
from alkaflow.structures import Structure

_MEMORY_MB = 2000  # that PySCF may plan with, where nothing large is kept


@dataclass(frozen=True)
class Found:
    """A record that an id names, and those that belong to it.

    Attributes
    ----------
    record
        The one that was asked for.
    energy
        The one with the orbitals: itself, or what its properties are of.
    properties
        Of the step properties; None where nobody computed it.
    host_atoms
        How many atoms of a complex are of its host, the first ones; None where it is not known to be one.
    """

    record: Record
    energy: Record
    properties: Record | None
    host_atoms: int | None

    @property
    def fragments(self) -> dict[str, range]:
        """Atoms of host and guest of a complex, by name; empty for anything else."""
        if self.host_atoms is None:
            return {}
        return {"host": range(self.host_atoms), "guest": range(self.host_atoms, len(self.energy.symbols))}

    @property
    def structure(self) -> Structure:
        """Atoms [Angstrom], charge and multiplicity."""
        made = self.energy
        return Structure(tuple(made.symbols), np.array(made.positions_angstrom), made.charge, made.multiplicity)


def find(database: Database, calculation: str) -> Found:
    """Find the records that belong to an id, or to the beginning of one.

    Raises
    ------
    UnknownNameError, BadInputError
        As `find_record`; or the record is of a method without orbitals, or with ghosts.
    """
    record = find_record(database, calculation)
    energy: Record = record
    properties: Record | None = None
    if record.step == "properties" and record.parent:
        energy, properties = database.record(record.parent) or record, record
    elif child := database.calculations.find_one({"parent": record.id, "step": "properties"}, {"_id": 1}):
        properties = database.record(child["_id"])
    if not isinstance(energy.level_of_theory, KohnSham):
        raise BadInputError(
            f"calculation {record.id} is at {energy.level}, which keeps no electron density; "
            "give the id of one at a Kohn-Sham level (alkaflow results list --step energy)"
        )
    if energy.ghosts:
        raise BadInputError(f"calculation {record.id} has ghost atoms, and stands for no molecule; give another")
    place = database.places.find_one({"calculation": energy.id, "part": "complex"}, {"host_atoms": 1})
    return Found(record, energy, properties, place["host_atoms"] if place else None)


def density_of_record(database: Database, record: Record) -> Density:
    """The density of a record at a Kohn-Sham level.

    Raises
    ------
    BadInputError
        It keeps no orbitals.
    ServiceError
        Their file is missing or damaged.
    """
    from alkaflow.workflows.pyscf_engine import build_molecule

    level = record.level_of_theory
    if record.orbitals is None or record.step == "properties" or not isinstance(level, KohnSham):
        raise BadInputError(f"calculation {record.id} ({record.step}) keeps no orbitals; give the id of an energy")
    structure = Structure(
        tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity
    )
    return Density.of(build_molecule(structure, level, _MEMORY_MB), arrays_of(database, record))


def arrays_of(database: Database, record: Record) -> dict[str, Any]:
    """The arrays in the file of a record, by name; none where it has no file."""
    if record.orbitals is None:
        return {}
    with np.load(io.BytesIO(database.get_file(record.orbitals.sha256))) as stored:
        return {name: stored[name] for name in stored.files}
