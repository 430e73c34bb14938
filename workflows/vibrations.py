"""Harmonic vibrations of a Hessian, and the zero-point and thermal corrections that follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.constants import physical_constants

from alkaflow.elements import atomic_number
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.records import Record, Thermochemistry, Vibrations
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations
from alkaflow.units import BOHR_ANGSTROM

Method = Literal["analytic", "differences"]

ROOM_TEMPERATURE = 298.15
"""[K]"""

ATMOSPHERE = 101325.0
"""[Pa]"""

STATIONARY = 9e-4
"""Largest gradient on an atom of a stationary point [Hartree/bohr]; twice what relaxations end with."""

_STRAIGHT = 0.01  # Angstrom; atoms this near to one line are a linear molecule
_SYMMETRIC = 0.02  # Angstrom; operations this exact count for the symmetry number

_AMU: float = physical_constants["atomic mass constant"][0] / physical_constants["electron mass"][0]
"""Atomic mass constant [electron masses]."""

_HARTREE_CM: float = physical_constants["hartree-inverse meter relationship"][0] / 100
"""Energy of one Hartree [cm-1]."""

_BOLTZMANN: float = physical_constants["kelvin-hartree relationship"][0]
"""Boltzmann's constant [Hartree/K]."""

_PASCAL: float = physical_constants["Bohr radius"][0] ** 3 / physical_constants["Hartree energy"][0]
"""One pascal [Hartree/bohr^3]."""


@dataclass(frozen=True)
class Frequencies:
    """Harmonic vibrations of a structure.

    Attributes
    ----------
    structure
        At the geometry of the Hessian.
    hessian
        [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms).
    wavenumbers
        In ascending order [cm-1], shape=(n_modes,); an imaginary one is negative.
    modes
        Cartesian displacements of each mode, of length 1 all atoms together, shape=(n_modes, n_atoms, 3).
    reduced_masses
        [amu], shape=(n_modes,)
    masses
        Of the commonest isotopes [amu], shape=(n_atoms,).
    linear
        Whether all atoms are on a line.
    symmetry_number
        Proper rotations that send the molecule onto itself.
    max_gradient
        Largest norm on an atom there [Hartree/bohr]; None where it was not computed.
    method
        How the Hessian was made.
    notes
        For the record: not stationary, checkpoints that could not be used.
    """

    structure: Structure
    hessian: FloatArray
    wavenumbers: FloatArray
    modes: FloatArray
    reduced_masses: FloatArray
    masses: FloatArray
    linear: bool
    symmetry_number: int
    max_gradient: float | None = None
    method: Method = "analytic"
    notes: list[str] = field(default_factory=list)

    @property
    def imaginary(self) -> int:
        """Number of imaginary wavenumbers: 0 at a minimum, 1 at a transition state."""
        return int((self.wavenumbers < 0).sum())

    @property
    def zero_point_energy(self) -> float:
        """Half the sum of the real ones [Hartree]."""
        return zero_point_energy(self.wavenumbers)

    def thermochemistry(self, temperature: float = ROOM_TEMPERATURE, pressure: float = ATMOSPHERE) -> Thermochemistry:
        """Corrections at a temperature [K] and a pressure [Pa]; see `thermochemistry`."""
        return thermochemistry(
            self.structure,
            self.masses,
            self.wavenumbers,
            linear=self.linear,
            symmetry_number=self.symmetry_number,
            temperature=temperature,
            pressure=pressure,
        )

    def as_part(self) -> Vibrations:
        """What a record keeps."""
        return Vibrations(
            method=self.method,
            wavenumbers=self.wavenumbers.tolist(),
            imaginary=self.imaginary,
            imaginary_modes=self.modes[: self.imaginary].tolist(),
            reduced_masses=self.reduced_masses.tolist(),
            masses=self.masses.tolist(),
            linear=self.linear,
            symmetry_number=self.symmetry_number,
            max_gradient=self.max_gradient,
            zero_point_energy=self.zero_point_energy,
            thermochemistry=self.thermochemistry(),
        )


def harmonic_analysis(
    structure: Structure,
    hessian: FloatArray,
    *,
    gradient: FloatArray | None = None,
    method: Method = "analytic",
    notes: Sequence[str] = (),
) -> Frequencies:
    """Vibrations of a Hessian, with translations and rotations projected out.

    Parameters
    ----------
    structure
        The geometry of the Hessian.
    hessian
        [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms).
    gradient
        There [Hartree/bohr], to note that the geometry is not stationary.
    method, notes
        For the result.

    Raises
    ------
    CalculationError
        ``engine_crashed`` for a Hessian that is not finite.
    """
    if not np.isfinite(hessian).all():
        raise CalculationError("engine_crashed", "the Hessian is not finite")
    masses = _masses(structure)
    linear = _is_linear(structure, masses)
    vibrations = _vibrational_space(structure.positions, masses, linear)
    weights = np.repeat(1 / np.sqrt(masses * _AMU), 3)
    weighted = weights[:, None] * (hessian + hessian.T) / 2 * weights
    curvatures, vectors = np.linalg.eigh(vibrations.T @ weighted @ vibrations)
    displacements = (weights[:, None] * (vibrations @ vectors)).T
    lengths = np.linalg.norm(displacements, axis=1)
    wavenumbers = np.sign(curvatures) * np.sqrt(np.abs(curvatures)) * _HARTREE_CM
    max_gradient = None if gradient is None else float(np.linalg.norm(gradient, axis=1).max())
    return Frequencies(
        structure=structure,
        hessian=hessian,
        wavenumbers=wavenumbers,
        modes=(displacements / lengths[:, None]).reshape(-1, len(structure), 3),
        reduced_masses=1 / (lengths**2 * _AMU),
        masses=masses,
        linear=linear,
        symmetry_number=_symmetry_number(structure, linear),
        max_gradient=max_gradient,
        method=method,
        notes=[*notes, *_notes(wavenumbers, max_gradient)],
    )


def zero_point_energy(wavenumbers: FloatArray) -> float:
    """Half the sum of the real wavenumbers [cm-1], as an energy [Hartree]; imaginary ones are negative."""
    return float(wavenumbers[wavenumbers > 0].sum()) / (2 * _HARTREE_CM)


def thermochemistry(
    structure: Structure,
    masses: FloatArray,
    wavenumbers: FloatArray,
    *,
    linear: bool,
    symmetry_number: int,
    temperature: float = ROOM_TEMPERATURE,
    pressure: float = ATMOSPHERE,
) -> Thermochemistry:
    """Corrections of an ideal gas of rigid rotors and harmonic oscillators; imaginary modes are left out.

    McQuarrie, Simon, Physical Chemistry (1997), chapters 17 and 18. Low wavenumbers are harmonic oscillators like all
    others: where they matter, the entropy is an upper estimate.

    Parameters
    ----------
    structure
        For the moments of inertia and the multiplicity.
    masses
        [amu], shape=(n_atoms,)
    wavenumbers
        [cm-1], shape=(n_modes,); imaginary ones negative.
    linear, symmetry_number
        As in `Frequencies`.
    temperature
        [K], above 0.
    pressure
        [Pa], above 0.
    """
    thermal = _BOLTZMANN * temperature
    volume = thermal / (pressure * _PASCAL)
    entropy = 2.5 + np.log((masses.sum() * _AMU * thermal / (2 * np.pi)) ** 1.5 * volume)
    entropy += np.log(structure.multiplicity)
    energy = 1.5
    if len(structure) > 1:
        freedom = 2 if linear else 3
        moments = _inertia(structure.positions, masses)[0] * _AMU / BOHR_ANGSTROM**2
        rotations = np.prod(2 * moments[-freedom:] * thermal)
        states = rotations**0.5 if linear else (np.pi * rotations) ** 0.5
        entropy += freedom / 2 + np.log(states / symmetry_number)
        energy += freedom / 2
    quanta = wavenumbers[wavenumbers > 0] / (_HARTREE_CM * thermal)
    excited = quanta / np.expm1(quanta)
    entropy += (excited - np.log1p(-np.exp(-quanta))).sum()
    zero_point = zero_point_energy(wavenumbers)
    internal = zero_point + thermal * (energy + excited.sum())
    return Thermochemistry(
        temperature=temperature,
        pressure=pressure,
        zero_point_energy=zero_point,
        thermal_energy=internal,
        enthalpy=internal + thermal,
        gibbs=internal + thermal - thermal * entropy,
        entropy=_BOLTZMANN * entropy,
    )


def thermochemistry_of(
    record: Record, temperature: float = ROOM_TEMPERATURE, pressure: float = ATMOSPHERE
) -> Thermochemistry:
    """Corrections at any temperature and pressure, from a record of the step ``frequencies`` alone.

    Parameters
    ----------
    record
        With vibrations.
    temperature
        [K]
    pressure
        [Pa]

    Raises
    ------
    BadInputError
        The record has no vibrations, or temperature or pressure is not above 0.
    """
    vibrations = vibrations_of(record)
    if not (temperature > 0 and pressure > 0):
        raise BadInputError(f"temperature {temperature} K and pressure {pressure} Pa must be above 0")
    return thermochemistry(
        structure_of(record),
        np.array(vibrations.masses),
        np.array(vibrations.wavenumbers),
        linear=vibrations.linear,
        symmetry_number=vibrations.symmetry_number,
        temperature=temperature,
        pressure=pressure,
    )


def at_conditions(record: Record, temperature: float = ROOM_TEMPERATURE, pressure: float = ATMOSPHERE) -> Record:
    """Return the record with its thermal corrections at a temperature [K] and a pressure [Pa].

    Raises
    ------
    BadInputError
        As `thermochemistry_of`.
    """
    thermal = thermochemistry_of(record, temperature, pressure)
    return record.model_copy(
        update={"vibrations": vibrations_of(record).model_copy(update={"thermochemistry": thermal})}
    )


def vibrations_of(record: Record) -> Vibrations:
    """The vibrations of a record; raises BadInputError where it has none."""
    if record.vibrations is None:
        raise BadInputError(f"record {record.id} is of the step {record.step!r} and has no vibrations")
    return record.vibrations


def structure_of(record: Record) -> Structure:
    """The structure of a record at its final geometry."""
    return Structure(tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity)


def displaced(positions: FloatArray, mode: FloatArray, amount: float) -> FloatArray:
    """Positions with the atoms moved along a mode.

    Parameters
    ----------
    positions
        [Angstrom], shape=(n_atoms, 3).
    mode
        Displacements of any length, shape=(n_atoms, 3).
    amount
        By which the atom moves that moves most [Angstrom]; negative the other way.
    """
    moved: FloatArray = positions + amount * mode / np.linalg.norm(mode, axis=1).max()
    return moved


def pull(masses: FloatArray, wavenumber: float, step: FloatArray) -> FloatArray:
    """Gradient m omega^2 x of one mode on every atom [Hartree/bohr], shape=(n_atoms, 3).

    Parameters
    ----------
    masses
        [amu], shape=(n_atoms,)
    wavenumber
        Of the mode [cm-1]; of an imaginary one, negative, the gradient points down along the step.
    step
        Along the mode [Angstrom], shape=(n_atoms, 3).
    """
    square = np.sign(wavenumber) * (wavenumber / _HARTREE_CM) ** 2
    gradient: FloatArray = square * _AMU * masses[:, None] * step / BOHR_ANGSTROM
    return gradient


def _notes(wavenumbers: FloatArray, max_gradient: float | None) -> list[str]:
    """What is wrong with a geometry, for the record."""
    told = []
    if max_gradient is not None and max_gradient > STATIONARY:
        told.append(f"not a stationary point: largest gradient {max_gradient:.1e} Hartree/bohr")
    imaginary = wavenumbers[wavenumbers < 0]
    if len(imaginary):
        modes = "mode" if len(imaginary) == 1 else "modes"
        told.append(f"not a minimum: {len(imaginary)} imaginary {modes}, the lowest {imaginary[0]:.0f} cm-1")
    return told


def _masses(structure: Structure) -> FloatArray:
    """Masses of the commonest isotopes [amu], as tabulated in PySCF."""
    from pyscf.data.elements import COMMON_ISOTOPE_MASSES

    return np.array([COMMON_ISOTOPE_MASSES[atomic_number(symbol)] for symbol in structure.symbols])


def _inertia(positions: FloatArray, masses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Principal moments, ascending [amu Angstrom^2], and axes, as columns."""
    r = positions - masses @ positions / masses.sum()
    tensor = (masses * (r**2).sum(axis=1)).sum() * np.eye(3) - (masses[:, None] * r).T @ r
    moments, axes = np.linalg.eigh(tensor)
    return moments, axes


def _is_linear(structure: Structure, masses: FloatArray) -> bool:
    """Whether all atoms are on the axis of the smallest moment; an atom is not."""
    if len(structure) == 1:
        return False
    axis = _inertia(structure.positions, masses)[1][:, 0]
    r = structure.positions - masses @ structure.positions / masses.sum()
    return float(np.linalg.norm(r - np.outer(r @ axis, axis), axis=1).max()) < _STRAIGHT


def _vibrational_space(positions: FloatArray, masses: FloatArray, linear: bool) -> FloatArray:
    """Orthonormal columns, shape=(3 n_atoms, n_modes), orthogonal to mass-weighted translations and rotations."""
    r = positions - masses @ positions / masses.sum()
    axes = _inertia(positions, masses)[1].T
    turning = axes if len(masses) > 1 else axes[:0]
    rotations = [np.cross(axis, r) for axis in (turning[1:] if linear else turning)]
    translations = [np.tile(axis, (len(masses), 1)) for axis in np.eye(3)]
    moving = np.array([(np.sqrt(masses)[:, None] * v).ravel() for v in (*translations, *rotations)])
    basis: FloatArray = np.linalg.qr(moving.T, mode="complete")[0]
    return basis[:, len(moving) :]


def _symmetry_number(structure: Structure, linear: bool) -> int:
    """Number of proper rotations; of a linear molecule, 2 where its ends are alike and 1 otherwise."""
    if len(structure) == 1:
        return 1
    operations = find_operations(BondGraph(structure), _SYMMETRIC)
    if linear:
        return 2 if any(o.permutation != operations[0].permutation for o in operations) else 1
    return sum(1 for o in operations if np.linalg.det(o.matrix) > 0)
