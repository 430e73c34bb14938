"""Values on a regular box of points, and Gaussian's cube files of them.

The format: two lines of title; number of atoms and origin; of each axis the number of points and the step; of each atom
its number, its nuclear charge and position; then the values, z fastest, six to a line. All lengths in bohr.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.analysis.grid import Box, OrbitalDensity, orbital_values
from alkaflow.analysis.potential import FittedPotential
from alkaflow.errors import BadInputError, ParseError
from alkaflow.files import write_atomically
from alkaflow.structures import FloatArray

_VALUES_IN_LINE = 6
_SAME_POSITION = 1e-3  # of an atom in two molecules [bohr]


@dataclass(frozen=True)
class Volume:
    """A quantity at the points of a box, and the atoms that it belongs to.

    Attributes
    ----------
    quantity
        What it is.
    unit
        Of the values.
    values
        With the shape of the box.
    box
        The points [bohr].
    numbers
        Atomic numbers, 0 for ghosts, shape=(n_atoms,).
    charges
        Of the nuclei, less the electrons of core potentials [e], shape=(n_atoms,).
    positions
        Of the atoms [bohr], shape=(n_atoms, 3).
    """

    quantity: str
    unit: str
    values: FloatArray
    box: Box
    numbers: tuple[int, ...]
    charges: tuple[float, ...]
    positions: FloatArray

    def __post_init__(self) -> None:
        if self.values.shape != self.box.shape:
            raise BadInputError(f"the values have shape {self.values.shape}, their box {self.box.shape}")
        if not len(self.numbers) == len(self.charges) == len(self.positions):
            raise BadInputError("numbers, charges and positions are of different atoms")


def electron_density(density: Density, box: Box) -> Volume:
    """The density of all electrons [e/bohr^3]."""
    return _volume("electron density", "e/bohr^3", density, box, box.fill(OrbitalDensity(density).values))


def spin_density(density: Density, box: Box) -> Volume:
    """The density of alpha less that of beta electrons [e/bohr^3]."""
    return _volume("spin density", "e/bohr^3", density, box, box.fill(OrbitalDensity(density, spin=True).values))


def electrostatic_potential(density: Density, box: Box, potential: FittedPotential | None = None) -> Volume:
    """The potential [Hartree/e], fitted; positive where a positive charge is repelled."""
    values = box.fill(potential or FittedPotential(density))
    return _volume("electrostatic potential", "Hartree/e", density, box, values)


def orbital(density: Density, box: Box, spin: int, number: int) -> Volume:
    """An occupied orbital [bohr^-3/2] of alpha (spin 0) or beta (1) electrons, numbered from 0."""
    coefficients = density.coefficients[spin]
    if not 0 <= number < coefficients.shape[1]:
        raise BadInputError(f"there is no occupied orbital {number}; there are 0 to {coefficients.shape[1] - 1}")
    values = box.fill(lambda points: orbital_values(density.molecule, coefficients[:, number], points))
    return _volume(f"{('alpha', 'beta')[spin]} orbital {number}", "bohr^-3/2", density, box, values)


def density_difference(whole: Density, box: Box, *parts: Density) -> Volume:
    """The density of a complex less those of its parts, where these stand in it [e/bohr^3].

    Raises
    ------
    BadInputError
        The parts together have other atoms than the whole, or other positions; ghost atoms do not count.
    """
    centres = [_real_atoms(part) for part in parts]
    atoms = _real_atoms(whole)
    if sum(len(each) for each in centres) != len(atoms):
        raise BadInputError("the parts of a density difference together have other atoms than the whole")
    for each in centres:
        for number, *position in each:
            same = atoms[atoms[:, 0] == number][:, 1:]
            if not len(same) or np.linalg.norm(same - position, axis=1).min() > _SAME_POSITION:
                raise BadInputError(
                    "an atom of a part is not where it is in the whole; a density difference needs parts with the "
                    "geometry of the complex"
                )
    values = box.fill(OrbitalDensity(whole).values)
    for part in parts:
        values -= box.fill(OrbitalDensity(part).values)
    return _volume("difference of electron densities", "e/bohr^3", whole, box, values)


def _real_atoms(density: Density) -> FloatArray:
    """Nuclear charge and position [bohr] of the atoms that are no ghosts, shape=(n, 4)."""
    molecule = density.molecule
    rows = np.column_stack([molecule.atom_charges(), molecule.atom_coords()])
    return np.asarray(rows[rows[:, 0] > 0])


def _volume(quantity: str, unit: str, density: Density, box: Box, values: FloatArray) -> Volume:
    from pyscf.data.elements import charge

    molecule = density.molecule
    charges = tuple(float(each) for each in molecule.atom_charges())
    pure = [molecule.atom_pure_symbol(atom) for atom in range(molecule.natm)]
    numbers = tuple(int(charge(symbol)) if held else 0 for symbol, held in zip(pure, charges, strict=True))
    return Volume(quantity, unit, values, box, numbers, charges, np.asarray(molecule.atom_coords()))


def write_cube(volume: Volume, path: Path) -> None:
    """Write a cube file; what was there before survives a failure."""
    box = volume.box
    steps = np.diag(box.spacing)
    lines = [
        f"{volume.quantity} [{volume.unit}]",
        "OUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z",  # ASE looks for these words
        f"{len(volume.numbers):5d}{_columns(box.origin)}",
        *(f"{count:5d}{_columns(step)}" for count, step in zip(box.shape, steps, strict=True)),
    ]
    atoms = zip(volume.numbers, volume.charges, volume.positions, strict=True)
    lines += [f"{number:5d}{_columns((charge, *position))}" for number, charge, position in atoms]
    for row in volume.values.reshape(-1, box.shape[2]):
        written = [f"{value:14.6E}" for value in row]
        lines += [
            "".join(written[begin : begin + _VALUES_IN_LINE]) for begin in range(0, len(written), _VALUES_IN_LINE)
        ]
    write_atomically(path, ("\n".join(lines) + "\n").encode(), mode=0o644)


def _columns(numbers: FloatArray | tuple[float, ...]) -> str:
    return "".join(f"{float(number):14.8f}" for number in numbers)


def read_cube(path: Path) -> Volume:
    """Read a cube file of one quantity with axes along x, y and z.

    Raises
    ------
    ParseError
        It is not such a file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParseError(path, None, f"cannot be read as a cube file: {error}") from None
    title = lines[0].strip() if lines else ""
    quantity, _, unit = title.rstrip("]").rpartition(" [") if title.endswith("]") else (title, "", "")
    head = _numbers(path, lines, 2, 4)
    count = int(head[0])
    if count < 0:
        raise ParseError(path, 3, "cube files of several orbitals are not read; write one orbital to a file")
    axes = [_numbers(path, lines, 3 + axis, 4) for axis in range(3)]
    shape = tuple(int(axis[0]) for axis in axes)
    steps = np.array([axis[1:] for axis in axes])
    if min(shape) < 1 or np.abs(steps - np.diag(np.diag(steps))).max() > 0:
        raise ParseError(path, 4, "its lengths are in Angstrom or its axes are not along x, y and z")
    atoms = np.array([_numbers(path, lines, 6 + atom, 5) for atom in range(count)]).reshape(-1, 5)
    try:
        values = np.array(" ".join(lines[6 + count :]).split(), dtype=float)
    except ValueError:
        raise ParseError(path, 7 + count, "there is something else than numbers among the values") from None
    if values.size != np.prod(shape):
        raise ParseError(path, len(lines), f"it has {values.size} values, not {' x '.join(map(str, shape))}")
    dx, dy, dz = (float(step) for step in np.diag(steps))
    x, y, z = (float(each) for each in head[1:])
    return Volume(
        quantity=quantity,
        unit=unit,
        values=values.reshape(shape),
        box=Box((x, y, z), (dx, dy, dz), (shape[0], shape[1], shape[2])),
        numbers=tuple(int(number) for number in atoms[:, 0]),
        charges=tuple(float(charge) for charge in atoms[:, 1]),
        positions=atoms[:, 2:],
    )


def _numbers(path: Path, lines: list[str], index: int, count: int) -> list[float]:
    """The numbers of a line of the head."""
    try:
        found = [float(word) for word in lines[index].split()]
    except (IndexError, ValueError):
        found = []
    if len(found) < count:
        raise ParseError(path, index + 1, f"there should be {count} numbers here")
    return found[:count]
