"""Basis sets and their effective core potentials by name, through PySCF's own files; nothing else is ever read.

A basis made for a core potential brings it along. What PySCF would compute without a word and wrongly is refused: a
valence basis without its potential, and fitted integrals for a core that the auxiliary basis was not made for.
"""

import json
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.files import sha256_of
from alkaflow.levels import KohnSham

SUBSTITUTE = "def2-tzvp"
"""Basis of the elements that a level's own cannot describe; from Rb on with its core potential."""

# Families for core potentials that PySCF does not keep under their name; by PySCF's plain form of their names.
_VALENCE_ONLY = ("bfd", "ccecp", "minao", "sap")
_PARTS = ("d", "d,p", "2d,p", "2d,2p", "3d,3p", "df,pd", "2df,p", "2df,2p", "2df,2pd", "3df,3pd")
# Polarisation functions that may follow a Pople name.
_POLARISATION = {f"({part})" for part in _PARTS}
_LAST_ALL_ELECTRON_DEF2 = 36  # Kr
_LAST_LIGHT = 10  # Ne
# Largest exponent of an s function over Z^2. STO-3G, the smallest that describes a 1s shell, has 1.8 and more; sets
# for valence electrons have less than 1, but for some of the def2 and correlation-consistent families.
_TIGHTEST_ORBITAL, _TIGHTEST_FITTING = 1.5, 1.0
_CHEAP = {"grid": 1, "scf_grid": None, "energy_threshold": 1e-7}
_CHEAP_BASIS = "6-31g"


@dataclass(frozen=True, eq=False)
class ElementBasis:
    """What describes an element: name, shells and core potential (None: all electrons) in PySCF's internal form."""

    name: str
    shells: Any
    potential: Any | None

    @property
    def core_electrons(self) -> int:
        """Electrons that the potential stands for."""
        return int(self.potential[0]) if self.potential else 0


@cache
def load_basis(name: str, symbol: str) -> Any:
    """Return the shells of a basis for an element in PySCF's internal form.

    Raises
    ------
    UnknownNameError
        No basis of that name; suggests the nearest.
    BadInputError
        The basis has no functions for the element, or none for its core and no potential for that.
    """
    from pyscf.gto import basis as library
    from pyscf.lib.exceptions import BasisNotFoundError

    plain = library._format_basis_name(name)  # noqa: SLF001  (the normal form of PySCF's own names)
    stem, bracket, polarisation = plain.partition("(")
    polarised = stem in library.ALIAS and not stem.endswith("*") and bracket + polarisation in _POLARISATION
    if plain not in library.ALIAS and not polarised:
        raise UnknownNameError("basis", name, library.ALIAS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shells = library.load(name, symbol)
    except (BasisNotFoundError, KeyError, RuntimeError, AssertionError, OSError):
        raise BadInputError(f"basis {name} has no functions for {symbol}; {_advice(name, symbol)}") from None
    if load_potential(name, symbol) is None and _valence_only(plain, symbol, shells):
        raise BadInputError(
            f"basis {name} is for the valence electrons of {symbol}, and PySCF has no effective core potential of that "
            f"name; {_advice(name, symbol)}"
        )
    return shells


@cache
def load_potential(name: str, symbol: str) -> Any | None:
    """Return the core potential that belongs to a basis for an element, in PySCF's internal form; None without one."""
    from pyscf.gto import basis as library
    from pyscf.lib.exceptions import BasisNotFoundError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return library.load_ecp(name, symbol) or None
    except (BasisNotFoundError, KeyError, RuntimeError, AssertionError, OSError, TypeError):
        return None  # a TypeError where PySCF keeps a basis in several files: such have no potential


def _valence_only(plain: str, symbol: str, shells: Any) -> bool:
    """Whether shells, known not to have a core potential, leave out the core of an element."""
    correlation_consistent = "ccp" in plain and ("pp" in plain.partition("z")[2])
    def2 = plain.startswith(("def2", "madef2")) and "fit" not in plain
    return (
        plain.startswith(_VALENCE_ONLY)
        or correlation_consistent
        or (def2 and atomic_number(symbol) > _LAST_ALL_ELECTRON_DEF2)
        or ("fit" not in plain and not _reaches_core(symbol, shells, _TIGHTEST_ORBITAL))
    )


def _reaches_core(symbol: str, shells: Any, least: float) -> bool:
    """Whether the largest exponent of an s function is so many times Z^2."""
    exponents = [float(primitive[0]) for shell in shells if shell[0] == 0 for primitive in shell[1:]]
    return max(exponents, default=0.0) >= least * atomic_number(symbol) ** 2


def _advice(name: str, symbol: str) -> str:
    """What to do about a basis that does not serve an element."""
    if name == SUBSTITUTE:
        return f"name one that has {symbol} in basis_of_element"
    return (
        f"give {symbol} another one: +substitute({SUBSTITUTE}) after the level, or basis_of_element "
        f"{{'{symbol}': '{SUBSTITUTE}'}}"
    )


def element_basis(level: KohnSham, symbol: str) -> ElementBasis:
    """Return what describes an element at a level: the basis of its own, else that of all, else the substitute.

    Raises
    ------
    UnknownNameError
        There is no such basis, or auxiliary basis.
    BadInputError
        None of them can describe the element, or the auxiliary basis cannot fit it.
    """
    try:
        return _checked(level, level.basis_for(symbol), symbol)
    except UnknownNameError:
        raise
    except BadInputError:
        if level.substitute is None or symbol in level.basis_of_element:
            raise
        return _checked(level, level.substitute, symbol)


def _checked(level: KohnSham, name: str, symbol: str) -> ElementBasis:
    """A basis that describes an element and whose products the level's auxiliary basis fits."""
    found = ElementBasis(name, load_basis(name, symbol), load_potential(name, symbol))
    if level.fitting:
        auxiliary = load_basis(level.fitting, symbol)
        if found.potential is None and not _reaches_core(symbol, auxiliary, _TIGHTEST_FITTING):
            raise BadInputError(
                f"basis {name} has all electrons of {symbol}, but {level.fitting} fits only those that a core "
                f"potential leaves; take exact integrals (+nofit), or {_advice(name, symbol)}"
            )
    return found


def with_substitutes(level: KohnSham, symbols: tuple[str, ...]) -> KohnSham:
    """Return a level that describes all of the elements, where a substitute for its basis is enough.

    The level itself where its basis describes them all or it names a substitute; else with `SUBSTITUTE`, but for a
    basis that leaves out one of H to Ne, which is none for molecules: that is refused when it is used. One level for
    all parts of an adsorption energy needs the elements of all of them here.

    Parameters
    ----------
    level
        Of which only elements without an entry of their own are looked at.
    symbols
        Elements of all structures that belong together.

    Raises
    ------
    UnknownNameError
        There is no such basis, or auxiliary basis.
    """
    if level.substitute is not None:
        return level
    lacking = []
    for symbol in sorted(set(symbols) - set(level.basis_of_element)):
        try:
            _checked(level, level.basis, symbol)
        except UnknownNameError:
            raise
        except BadInputError:
            lacking.append(atomic_number(symbol))
    if not lacking or min(lacking) <= _LAST_LIGHT:
        return level
    return level.model_copy(update={"substitute": SUBSTITUTE})


def check_electrons(level: KohnSham, symbols: tuple[str, ...], charge: int, multiplicity: int, functions: int) -> None:
    """Refuse more electrons of one spin than there are basis functions.

    Parameters
    ----------
    level
        With its core potentials.
    symbols
        Of the atoms that are there, without ghosts.
    charge, multiplicity
        Of them.
    functions
        Number of basis functions.

    Raises
    ------
    BadInputError
        With both numbers.
    """
    up = (valence_electrons(level, symbols) - charge + multiplicity - 1) // 2
    if up > functions:
        raise BadInputError(
            f"charge {charge:+d} and multiplicity {multiplicity} put {up} electrons of one spin into the {functions} "
            f"functions of {level.basis}; correct them, or take a larger basis"
        )


def with_smaller_basis(level: KohnSham, name: str, symbols: tuple[str, ...]) -> KohnSham:
    """Return a level with a smaller basis, in which every element has the same electrons as before.

    Parameters
    ----------
    level
        Its elements with a core potential keep their basis.
    name
        The smaller basis, of all electrons; elements that it cannot describe keep theirs too.
    symbols
        Elements of the structure.

    Raises
    ------
    BadInputError
        The level itself cannot describe some element, or there is no such basis.
    """
    smaller = level.model_copy(update={"basis": name, "basis_of_element": {}, "substitute": None})
    kept = {}
    for symbol in sorted(set(symbols)):
        now = element_basis(level, symbol)
        try:
            small = element_basis(smaller, symbol)
        except UnknownNameError:
            raise
        except BadInputError:
            small = None
        if small is None or small.core_electrons != now.core_electrons:
            kept[symbol] = now.name
    return smaller.model_copy(update={"basis_of_element": kept})


def cheap_level(level: KohnSham, symbols: tuple[str, ...]) -> KohnSham:
    """Return the level at which competing electronic states are searched: 6-31G on a coarse grid.

    Parameters and errors are those of `with_smaller_basis`.
    """
    return with_smaller_basis(level.model_copy(update=_CHEAP), _CHEAP_BASIS, symbols)


def check_level(level: KohnSham, symbols: tuple[str, ...]) -> None:
    """Refuse a level that cannot describe some element, before anything runs.

    Raises
    ------
    BadInputError
        An unknown basis or auxiliary basis, an element without functions or without its core potential, one that the
        auxiliary basis cannot fit, or a core potential with SMD.
    """
    for symbol in sorted(set(symbols)):
        found = element_basis(level, symbol)
        if found.potential and level.solvent and level.solvent.model == "smd":
            raise BadInputError(
                f"smd cannot be used with the core potential of {symbol}: PySCF would take its {found.core_electrons} "
                "missing electrons for another element; use cpcm or iefpcm, or a basis of all electrons"
            )


def valence_electrons(level: KohnSham, symbols: tuple[str, ...] | list[str]) -> int:
    """Electrons of the neutral atoms that a level treats; all but those of core potentials."""
    return sum(atomic_number(symbol) - element_basis(level, symbol).core_electrons for symbol in symbols)


def count_functions(
    name_of_element: "dict[str, str] | str", symbols: tuple[str, ...] | list[str], cartesian: bool = False
) -> int:
    """Number of basis functions of a structure.

    Parameters
    ----------
    name_of_element
        One name for all elements, or a name per element.
    symbols
        Elements of all atoms.
    cartesian
        (l + 1)(l + 2) / 2 functions in a shell of angular momentum l, instead of 2 l + 1.
    """
    total = 0
    for symbol in symbols:
        name = name_of_element if isinstance(name_of_element, str) else name_of_element[symbol]
        total += sum(_components(shell[0], cartesian) * _contractions(shell) for shell in load_basis(name, symbol))
    return total


def _components(momentum: int, cartesian: bool) -> int:
    return (momentum + 1) * (momentum + 2) // 2 if cartesian else 2 * momentum + 1


def _contractions(shell: Any) -> int:
    """Contracted functions per angular component of a shell [l, (kappa), [exponent, c1, c2, ...], ...]."""
    return len(shell[-1]) - 1


def basis_hash(basis: dict[str, Any], potentials: dict[str, Any] | None = None) -> str:
    """Hash of basis-set data and core potentials as PySCF holds them, element -> shells and element -> potential."""
    content = {"basis": basis, "ecp": potentials} if potentials else basis
    return sha256_of(json.dumps(content, sort_keys=True).encode())
