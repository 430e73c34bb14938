"""Element symbols and atomic numbers."""

from alkaflow.errors import UnknownNameError

_SYMBOLS = """H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"""
SYMBOLS: tuple[str, ...] = tuple(_SYMBOLS.split())
ATOMIC_NUMBER: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS, start=1)}

_NON_METALS = "H He B C N O F Ne Si P S Cl Ar Ge As Se Br Kr Te I Xe At Rn Ts Og"
NON_METALS: frozenset[str] = frozenset(_NON_METALS.split())


def is_metal(symbol: str) -> bool:
    """Whether an element is a metal; the metalloids count as non-metals."""
    return symbol not in NON_METALS


def is_transition_metal(symbol: str) -> bool:
    """Whether an element is of groups 3 to 11, or a lanthanide or actinide: its d or f electrons have many states."""
    z = atomic_number(symbol)
    return any(first <= z <= last for first, last in ((21, 29), (39, 47), (57, 79), (89, 111)))


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element symbol; raise UnknownNameError for anything else."""
    try:
        return ATOMIC_NUMBER[symbol]
    except KeyError:
        raise UnknownNameError("element", symbol, SYMBOLS) from None
