"""Basis sets by name, through PySCF's own files; nothing else is ever read or evaluated."""

import json
import warnings
from functools import cache
from typing import Any

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.files import sha256_of
from alkaflow.levels import KohnSham

_NO_POTENTIALS = "levels carry none yet, use an all-electron basis"
# Families made for pseudopotentials, by PySCF's plain form of their names.
_VALENCE_ONLY = ("gth", "bfd", "ccecp", "lanl", "crenb", "sbkjc", "stuttgart", "stugart", "def2ecp")
_PARTS = ("d", "d,p", "2d,p", "2d,2p", "3d,3p", "df,pd", "2df,p", "2df,2p", "2df,2pd", "3df,3pd")
# Polarisation functions that may follow a Pople name.
_POLARISATION = {f"({part})" for part in _PARTS}
_LAST_ALL_ELECTRON = 36  # Kr; heavier elements need an effective core potential in most families


@cache
def load_basis(name: str, symbol: str) -> Any:
    """Return the shells of a basis for an element in PySCF's internal form.

    Raises
    ------
    UnknownNameError
        No basis of that name; suggests the nearest.
    BadInputError
        The basis has no functions for the element.
    """
    from pyscf.gto import basis as library
    from pyscf.lib.exceptions import BasisNotFoundError

    plain = library._format_basis_name(name)  # noqa: SLF001  (the normal form of PySCF's own names)
    stem, bracket, polarisation = plain.partition("(")
    polarised = stem in library.ALIAS and not stem.endswith("*") and bracket + polarisation in _POLARISATION
    if plain not in library.ALIAS and not polarised:
        raise UnknownNameError("basis", name, library.ALIAS)
    if plain.startswith(_VALENCE_ONLY) or _has_core_potential(name, symbol):
        raise BadInputError(f"basis {name} comes with an effective core potential for {symbol}; {_NO_POTENTIALS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return library.load(name, symbol)
    except (BasisNotFoundError, KeyError, RuntimeError, AssertionError, OSError):
        raise BadInputError(f"basis {name} has no functions for {symbol}; give that element another one") from None


def _has_core_potential(name: str, symbol: str) -> bool:
    """Whether PySCF knows a core potential that belongs to the basis of an element."""
    from pyscf.gto import basis as library
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(library.load_ecp(name, symbol))
    except (BasisNotFoundError, KeyError, RuntimeError, AssertionError, OSError):
        return False


def check_level(level: KohnSham, symbols: tuple[str, ...]) -> None:
    """Refuse a level that cannot describe some element, before anything runs.

    Raises
    ------
    BadInputError
        An unknown basis or auxiliary basis, an element without functions, or one that needs a core potential.
    """
    for symbol in sorted(set(symbols)):
        if atomic_number(symbol) > _LAST_ALL_ELECTRON:
            raise BadInputError(f"{symbol} needs an effective core potential; {_NO_POTENTIALS}, up to Kr")
        load_basis(level.basis_for(symbol), symbol)
        if level.fitting:
            load_basis(level.fitting, symbol)


def count_functions(name_of_element: "dict[str, str] | str", symbols: tuple[str, ...]) -> int:
    """Number of spherical basis functions of a structure; one name for all elements, or a name per element."""
    total = 0
    for symbol in symbols:
        name = name_of_element if isinstance(name_of_element, str) else name_of_element[symbol]
        total += sum((2 * shell[0] + 1) * _contractions(shell) for shell in load_basis(name, symbol))
    return total


def _contractions(shell: Any) -> int:
    """Contracted functions per angular component of a shell [l, (kappa), [exponent, c1, c2, ...], ...]."""
    return len(shell[-1]) - 1


def basis_hash(basis: dict[str, Any]) -> str:
    """Hash of basis-set data as PySCF holds it, element -> shells."""
    return sha256_of(json.dumps(basis, sort_keys=True).encode())
