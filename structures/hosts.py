"""Hosts: by name, from a file, or from a SMILES string."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.cif import read_cif
from alkaflow.structures.coatings import COATING_HOSTS
from alkaflow.structures.embedding import conformer_number
from alkaflow.structures.flakes import FLAKE_HOSTS
from alkaflow.structures.hatcn import hatcn
from alkaflow.structures.molecules import MOLECULES, find_molecule, name_key
from alkaflow.structures.molfile import read_molfile
from alkaflow.structures.oxo import OXO_HOSTS
from alkaflow.structures.smiles import from_smiles, is_smiles
from alkaflow.structures.structure import Structure
from alkaflow.structures.xyz import read_xyz

SUFFIXES = (".xyz", ".mol", ".sdf", ".cif")
"""Files that hosts are read from."""

_BUILT = {"hatcn": hatcn, **OXO_HOSTS, **FLAKE_HOSTS, **COATING_HOSTS}  # of one geometry each

BUILTIN: dict[str, Callable[[], Structure]] = {
    **{name: partial(molecule.build, None) for name, molecule in MOLECULES.items()},
    **_BUILT,
}
"""Hosts by name; synonyms of molecules are in :data:`alkaflow.structures.molecules.MOLECULES`."""

_BY_KEY = {name_key(name): name for name in _BUILT}
_LIKE_A_NAME = re.compile(r"[\w\s,'’′+-]+", re.ASCII)
_LIKE_A_FILE = re.compile(r".*[\w)]\.[A-Za-z][A-Za-z0-9]{0,7}", re.DOTALL)


def builtin_host(name: str, conformer: str | int | None = None) -> Structure:
    """Build a host by its name; capitals, spaces, underscores and hyphens do not matter.

    Parameters
    ----------
    name
        A key of ``BUILTIN`` or a synonym.
    conformer
        As in :func:`alkaflow.structures.smiles.from_smiles`; by default the usual one, which is the chelating one of
        ligands like 2,2'-bipyridine and 12-crown-4, and the lowest of others.

    Raises
    ------
    UnknownNameError
        With the nearest names.
    BadInputError
        There is no such conformer.
    """
    if name_key(name) in _BY_KEY:
        built = _BY_KEY[name_key(name)]
        _refuse_choice(conformer, repr(built))
        return _BUILT[built]()
    molecule = find_molecule(name)
    if molecule is None:
        raise _unknown("built-in host", name)
    return molecule.build(conformer)


def load_host(
    text: str,
    charge: int | None = None,
    multiplicity: int | None = None,
    conformer: str | int | None = None,
    molecule: str | None = None,
) -> Structure:
    """Turn a name, the path of a file or a SMILES string into a structure.

    Parameters
    ----------
    text
        Tried in this order: name, file (that exists, or has a suffix of ``SUFFIXES``), SMILES.
    charge, multiplicity
        Override what the source says; the lowest multiplicity where none is given.
    conformer
        Of a name, SMILES or drawing: ``lowest``, ``flattest``, ``chelating`` or a number from 1; by default the usual
        one of a name, and the lowest.
    molecule
        Formula of the one to take from a CIF with several.

    Raises
    ------
    BadInputError
        It is none of the three, or the source is broken; says why.
    """
    is_name = name_key(text) in _BY_KEY or find_molecule(text)
    if molecule is not None and (is_name or not text.lower().endswith(".cif")):
        raise BadInputError(f"{text[:200]!r}: a molecule is chosen by its formula from a CIF only")
    if is_name:
        return _with_state(builtin_host(text, conformer), charge, multiplicity)
    if Path(text).suffix.lower() in SUFFIXES or os.path.isfile(text):  # noqa: PTH113  (False for a long SMILES)
        return load_file(text, charge, multiplicity, conformer, molecule)
    if not is_smiles(text):
        if _LIKE_A_FILE.fullmatch(text):
            raise BadInputError(f"{text[:200]!r} is no file, name or SMILES; files end in {', '.join(SUFFIXES)}")
        if text.strip() and _LIKE_A_NAME.fullmatch(text):
            raise _unreadable(text)
    return _with_state(from_smiles(text, conformer="lowest" if conformer is None else conformer), charge, multiplicity)


def load_file(
    path: Path | str,
    charge: int | None = None,
    multiplicity: int | None = None,
    conformer: str | int | None = None,
    molecule: str | None = None,
) -> Structure:
    """Read a host from a file, by its suffix.

    Parameters
    ----------
    path
        An XYZ, MOL (V2000 or V3000), SDF or CIF file.
    charge, multiplicity
        Override what the file says.
    conformer
        Of a drawing in a MOL or SDF file; all other files have one geometry.
    molecule
        Formula of the one to take from a CIF with several.

    Raises
    ------
    BadInputError
        The suffix is not served, or the file is missing or broken; names it, and the line where one is to blame.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInputError(f"{path}: files that end in {suffix or 'nothing'} are not read; {', '.join(SUFFIXES)} are")
    if molecule is not None and suffix != ".cif":
        raise BadInputError(f"{path}: a molecule is chosen by its formula from a CIF only")
    if suffix in {".mol", ".sdf"}:
        return read_molfile(path, charge, multiplicity, conformer)
    _refuse_choice(conformer, str(path))
    if suffix == ".cif":
        return read_cif(path, charge, multiplicity, molecule)
    return read_xyz(path, charge, multiplicity)


def _refuse_choice(conformer: str | int | None, what: str) -> None:
    """Refuse the choice of a conformer where there is one geometry."""
    if conformer is not None and conformer_number(conformer) != 1 and conformer != "lowest":
        raise BadInputError(f"{what} has one geometry; conformers are chosen of names of molecules and SMILES")


def _with_state(host: Structure, charge: int | None, multiplicity: int | None) -> Structure:
    """Override charge and multiplicity; the source's multiplicity stays with its charge only."""
    if charge is None and multiplicity is None:
        return host
    if charge is None:
        charge = host.charge
    if multiplicity is None:
        multiplicity = host.multiplicity if charge == host.charge else 0
    return replace(host, charge=charge, multiplicity=multiplicity)


def _unreadable(text: str) -> BadInputError:
    """A text that is neither name nor file nor SMILES: the nearest names, where some are near."""
    error = _unknown("host", text, hint="(nor a file, nor a SMILES string that RDKit can read)")
    if "did you mean" in str(error):
        return error
    return BadInputError(
        f"{text[:200]!r} is no host that `alkaflow hosts` lists, no file and no SMILES string that RDKit can read"
    )


def _unknown(what: str, name: str, hint: str = "") -> UnknownNameError:
    synonyms = [synonym for molecule in MOLECULES.values() for synonym in molecule.synonyms]
    return UnknownNameError(what, name[:200], [*BUILTIN, *synonyms], hint)
