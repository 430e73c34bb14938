"""To and from the structures of ASE and pymatgen."""

from typing import Any

import numpy as np

from alkaflow.calculations import check_multiplicity
from alkaflow.errors import BadInputError
from alkaflow.structures.structure import Structure, whole_number

_WHOLE = 1e-3  # what atomic charges or moments, written with a few decimals, may add up to beside a whole number


def to_ase(structure: Structure) -> Any:
    """Return an ``ase.Atoms``; charge and multiplicity go to its ``info``."""
    from ase import Atoms

    info = {"charge": structure.charge, "multiplicity": structure.multiplicity, "name": structure.name}
    return Atoms(structure.symbols, structure.positions, info=info)


def from_ase(atoms: Any, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """Read an ``ase.Atoms``.

    Parameters
    ----------
    atoms
        Without periodic boundaries. Its charge is ``info["charge"]``, else the sum of the initial charges, else 0. Its
        multiplicity 2S+1 is ``info["multiplicity"]``, ``info["spin_multiplicity"]`` or ``info["spin"]``, else the sum
        of the initial magnetic moments, without its sign, plus 1; else the lowest. What pymatgen's ``AseAtomsAdaptor``
        sets, the attributes ``charge`` and ``spin_multiplicity``, counts as ``info`` does.
    charge, multiplicity
        Override what the atoms say.

    Raises
    ------
    BadInputError
        There are periodic boundaries, what the atoms say of charge or multiplicity is no whole number, contradicts
        itself or is impossible, or atoms overlap.
    """
    if np.any(atoms.pbc):
        raise BadInputError(
            "ase.Atoms with periodic boundaries are a crystal, and only molecules are computed; "
            "if they are a molecule in a box, set atoms.pbc = False"
        )
    symbols = tuple(atoms.get_chemical_symbols())
    if charge is None:
        charge = _charge_of(atoms)
    if multiplicity is None:
        multiplicity = _multiplicity_of(atoms, symbols, charge)
    return Structure(symbols, np.array(atoms.positions), charge, multiplicity, str(atoms.info.get("name", "")))


def _charge_of(atoms: Any) -> int:
    said = _said(atoms, "charge")
    return said[1] if said else _sum_of(atoms.arrays.get("initial_charges", 0), "initial charges", "charge")


def _multiplicity_of(atoms: Any, symbols: tuple[str, ...], charge: int) -> int:
    """What the atoms say that suits their electrons, or 0, which is the lowest."""
    said, moments = _said(atoms, "multiplicity", "spin_multiplicity", "spin"), atoms.arrays.get("initial_magmoms", 0)
    if said is not None:
        where, multiplicity = said
    elif np.any(moments):
        total = _sum_of(moments, "initial magnetic moments", "multiplicity")
        where, multiplicity = f"initial magnetic moments of the ase.Atoms, which sum to {total}", abs(total) + 1
    else:
        return 0
    try:
        check_multiplicity(symbols, charge, multiplicity)
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}; give the multiplicity, 2S+1") from None
    return multiplicity


def _said(atoms: Any, *names: str) -> tuple[str, int] | None:
    """Where one of the names is said of all atoms together, and the number; None where none is."""
    given = {f"atoms.info[{name!r}]": atoms.info.get(name) for name in names}
    given |= {f"atoms.{name}": getattr(atoms, name, None) for name in names}
    numbers = {where: whole_number(where, value) for where, value in given.items() if value is not None}
    if len(set(numbers.values())) > 1:
        raise BadInputError(f"{' but '.join(f'{k} is {v}' for k, v in numbers.items())}; leave out all but one")
    return next(iter(numbers.items()), None)


def _sum_of(values: Any, what: str, instead: str) -> int:
    """Sum of a number per atom, shape=(n_atoms,), that must be whole; ``what`` and ``instead`` are for messages."""
    if np.ndim(values) > 1:
        raise BadInputError(f"{what} of the ase.Atoms are vectors; set atoms.info[{instead!r}]")
    total = float(np.sum(values))
    if not np.isfinite(total) or abs(total - round(total)) > _WHOLE:
        raise BadInputError(
            f"{what} of the ase.Atoms sum to {total:.4f}, which is no whole number; set atoms.info[{instead!r}]"
        )
    return round(total)


def to_pymatgen(structure: Structure) -> Any:
    """Return a pymatgen ``Molecule`` with charge and spin multiplicity."""
    from pymatgen.core import Molecule

    return Molecule(
        structure.symbols,
        structure.positions,
        charge=structure.charge,
        spin_multiplicity=structure.multiplicity,
    )


def from_pymatgen(molecule: Any, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """Read a pymatgen ``Molecule``.

    Parameters
    ----------
    molecule
        With charge and spin multiplicity.
    charge, multiplicity
        Override those of the molecule; another charge alone goes with the lowest multiplicity.

    Raises
    ------
    BadInputError
        The charge is no whole number, charge and multiplicity are impossible, or atoms overlap.
    """
    if multiplicity is None:
        multiplicity = molecule.spin_multiplicity if charge is None or charge == molecule.charge else 0
    if charge is None:
        charge = whole_number("charge of the pymatgen Molecule", molecule.charge)
    symbols = tuple(site.specie.symbol for site in molecule)
    return Structure(symbols, np.array(molecule.cart_coords), charge, multiplicity)
