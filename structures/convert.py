"""To and from the structures of ASE and pymatgen."""

from typing import Any

import numpy as np

from alkaflow.structures.structure import Structure


def to_ase(structure: Structure) -> Any:
    """Return an ``ase.Atoms``; charge and multiplicity go to its ``info``."""
    from ase import Atoms

    info = {"charge": structure.charge, "multiplicity": structure.multiplicity, "name": structure.name}
    return Atoms(structure.symbols, structure.positions, info=info)


def from_ase(atoms: Any, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """Read an ``ase.Atoms``; charge and multiplicity from the arguments, then its ``info``, then the lowest."""
    charge = int(atoms.info.get("charge", 0)) if charge is None else charge
    multiplicity = int(atoms.info.get("multiplicity", 0)) if multiplicity is None else multiplicity
    symbols = tuple(atoms.get_chemical_symbols())
    return Structure(symbols, np.array(atoms.positions), charge, multiplicity, str(atoms.info.get("name", "")))


def to_pymatgen(structure: Structure) -> Any:
    """Return a pymatgen ``Molecule`` with charge and spin multiplicity."""
    from pymatgen.core import Molecule

    return Molecule(
        structure.symbols,
        structure.positions,
        charge=structure.charge,
        spin_multiplicity=structure.multiplicity,
    )


def from_pymatgen(molecule: Any) -> Structure:
    """Read a pymatgen ``Molecule``."""
    symbols = tuple(site.specie.symbol for site in molecule)
    return Structure(symbols, np.array(molecule.cart_coords), int(molecule.charge), int(molecule.spin_multiplicity))
