"""Hosts: built in by name, from an XYZ file, or from a SMILES string."""

import os
from collections.abc import Callable

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures.hatcn import hatcn
from alkaflow.structures.smiles import from_smiles
from alkaflow.structures.structure import Structure
from alkaflow.structures.xyz import read_xyz

BUILTIN: dict[str, Callable[[], Structure]] = {
    "hatcn": hatcn,
    "dicyanopyrazine": lambda: from_smiles("N#Cc1nccnc1C#N", name="dicyanopyrazine"),
    "pyrazine": lambda: from_smiles("c1cnccn1", name="pyrazine"),
    "bipyrimidine": lambda: from_smiles("c1cnc(nc1)-c1ncccn1", name="bipyrimidine", flatten=True),
}
"""Built-in hosts; dicyanopyrazine is the 2,3 isomer, bipyrimidine 2,2'-bipyrimidine, planar."""


def builtin_host(name: str) -> Structure:
    """Build a built-in host; raise UnknownNameError with the known ones."""
    if name.lower() not in BUILTIN:
        raise UnknownNameError("built-in host", name, BUILTIN)
    return BUILTIN[name.lower()]()


def load_host(text: str, charge: int | None = None, multiplicity: int | None = None) -> Structure:
    """Turn a built-in name, the path of an XYZ file or a SMILES string into a structure.

    Parameters
    ----------
    text
        Tried in this order: built-in name, existing file or anything that ends in ``.xyz``, SMILES.
    charge, multiplicity
        Override what the source says; the lowest multiplicity where none is given.

    Raises
    ------
    BadInputError
        It is none of the three, or the source is broken; says why.
    """
    from dataclasses import replace

    if text.lower() in BUILTIN:
        host = builtin_host(text)
    elif text.lower().endswith(".xyz") or os.path.isfile(text):  # noqa: PTH113  (False for a long SMILES)
        host = read_xyz(text, charge, multiplicity)
    else:
        try:
            host = from_smiles(text)
        except BadInputError as error:
            if not text.isalnum():
                raise
            raise UnknownNameError("host", text, BUILTIN, hint=f"(nor a file; {error})") from None
    if charge is None and multiplicity is None:
        return host
    return replace(host, charge=host.charge if charge is None else charge, multiplicity=multiplicity or 0)
