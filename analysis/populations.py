"""Charges and unpaired electrons of the atoms by several schemes, side by side."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alkaflow.analysis import esp_charges, orbital_populations
from alkaflow.analysis.cm5 import cm5
from alkaflow.analysis.density import Density
from alkaflow.analysis.hirshfeld import hirshfeld
from alkaflow.analysis.orbital_populations import Populations
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.records import Charges
from alkaflow.structures import FloatArray


@dataclass(frozen=True)
class Scheme:
    """A way to share out the electrons of a molecule among its atoms."""

    name: str
    title: str
    """Of a column."""
    description: str
    """Of one line."""
    fits_potential: bool = False


SCHEMES: tuple[Scheme, ...] = (
    Scheme("mulliken", "Mulliken", "overlap populations halved between two functions; changes with the basis"),
    Scheme("loewdin", "Löwdin", "populations of symmetrically orthogonal functions; changes with the basis"),
    Scheme("meta_loewdin", "meta-Löwdin", "as Löwdin's, core, valence and Rydberg functions apart"),
    Scheme("iao", "IAO", "populations of intrinsic atomic orbitals, a minimal basis that holds every electron"),
    Scheme("hirshfeld", "Hirshfeld", "the density at every point shared out as free atoms share it"),
    Scheme("cm5", "CM5", "Hirshfeld's, corrected pair by pair for dipole moments"),
    Scheme("chelpg", "CHELPG", "fitted to the electrostatic potential on a cubic grid", fits_potential=True),
    Scheme("resp", "RESP", "fitted to the potential on shells, restrained in two stages", fits_potential=True),
)
"""Every scheme, in the order in which tables show them."""

_BY_NAME = {scheme.name: scheme for scheme in SCHEMES}
_IN_ORBITALS: Mapping[str, Callable[[Density], Populations]] = {
    "mulliken": orbital_populations.mulliken,
    "loewdin": orbital_populations.loewdin,
    "meta_loewdin": orbital_populations.meta_loewdin,
    "iao": orbital_populations.iao,
}
_FITS: Mapping[str, Callable[[Density, esp_charges.Potential], esp_charges.Fit]] = {
    "chelpg": esp_charges.chelpg,
    "resp": esp_charges.resp,
}


def atomic_charges(
    density: Density,
    schemes: Sequence[str] | None = None,
    potential: esp_charges.Potential | None = None,
    progress: Callable[[str], None] | None = None,
) -> Charges:
    """Compute charges by several schemes, and the unpaired electrons by those that have them if the spins differ.

    Parameters
    ----------
    density
        Of the molecule.
    schemes
        Names out of `SCHEMES`; by default all that can be computed: without ``potential`` none that fits it, with
        effective core potentials no ``iao``, and no ``meta_loewdin`` if functions are Cartesian.
    potential
        Electrostatic potential of the density and the nuclei [Hartree/e] at points [bohr].
    progress
        Told the name of each scheme before it is computed.

    Raises
    ------
    BadInputError
        A scheme that was asked for cannot be computed, or nobody knows it.
    """
    if schemes is None:
        schemes = possible_schemes(density, potential is not None)
    for name in schemes:
        if name not in _BY_NAME:
            raise UnknownNameError("scheme of charges", name, _BY_NAME)
        if _BY_NAME[name].fits_potential and potential is None:
            raise BadInputError(f"{name} charges are fitted to the electrostatic potential, which was not given")
    charges: dict[str, FloatArray] = {}
    spins: dict[str, FloatArray] = {}
    by_points: Populations | None = None  # Hirshfeld's, which CM5 begins with
    for name in schemes:
        if progress is not None:
            progress(name)
        if name in _FITS and potential is not None:
            charges[name] = _FITS[name](density, potential).charges
            continue
        if name in _IN_ORBITALS:
            found = _IN_ORBITALS[name](density)
        else:
            found = by_points = by_points or hirshfeld(density)
        if name == "cm5":
            charges[name] = _corrected(density, found.charges)
        else:
            charges[name], spins[name] = found.charges, found.spins
    return Charges(charges=_lists(charges), spins=_lists(spins) if density.is_polarised else {})


def in_order(values: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Values by scheme in the order of `SCHEMES`; of schemes that are none of ours after them, as they are."""
    known = [scheme.name for scheme in SCHEMES if scheme.name in values]
    return {name: values[name] for name in [*known, *(name for name in values if name not in _BY_NAME)]}


def possible_schemes(density: Density, with_potential: bool) -> list[str]:
    """Names of the schemes that can be computed of a density, in the order of `SCHEMES`."""
    left_out = set()
    if density.molecule.has_ecp():
        left_out = {"iao", "meta_loewdin"} if density.molecule.cart else {"iao"}
    return [s.name for s in SCHEMES if s.name not in left_out and (with_potential or not s.fits_potential)]


def fragment_sums(
    charges: Mapping[str, Sequence[float]], fragments: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """Sums over the atoms (numbers from 0) of every fragment: scheme -> fragment -> sum, of charges or of spins.

    Raises
    ------
    BadInputError
        A fragment has an atom that is not there.
    """
    atoms = min((len(values) for values in charges.values()), default=0)
    for name, members in fragments.items():
        for atom in members:
            if not 0 <= atom < atoms and charges:
                raise BadInputError(f"fragment {name!r} has atom {atom}, and there are atoms 0 to {atoms - 1}")
    return {
        scheme: {name: float(sum(values[atom] for atom in members)) for name, members in fragments.items()}
        for scheme, values in charges.items()
    }


def sign_conflicts(charges: Mapping[str, Sequence[float]], threshold: float) -> list[int]:
    """Atoms (numbers from 0) that one scheme has above ``threshold`` and another below its negative [e]."""
    by_atom = zip(*charges.values(), strict=True)
    return [k for k, values in enumerate(by_atom) if max(values) > threshold and min(values) < -threshold]


def _corrected(density: Density, charges: FloatArray) -> FloatArray:
    """CM5 charges of the atoms; of ghosts 0."""
    molecule, corrected = density.molecule, charges.copy()
    real = orbital_populations.real_atoms(molecule)
    symbols = [molecule.atom_pure_symbol(k) for k in real]
    corrected[real] = cm5(charges[real], symbols, molecule.atom_coords()[real])
    return corrected


def _lists(arrays: Mapping[str, FloatArray]) -> dict[str, list[float]]:
    return {scheme: [float(value) for value in values] for scheme, values in arrays.items()}
