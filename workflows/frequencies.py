"""Harmonic frequencies at a stationary point, and what follows from them: zero-point and thermal corrections.

The analytic Hessian of PySCF where it has one, else central differences of gradients, which continue where they were
killed. Imported only by the process that computes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.constants import physical_constants

from alkaflow.elements import atomic_number
from alkaflow.errors import CalculationError
from alkaflow.levels import Grid, KohnSham
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.checkpoint import Checkpoint, load, save
from alkaflow.workflows.guess import Guess
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.relaxation import THRESHOLDS, Evaluate, KohnShamGradient, largest

Method = Literal["analytic", "differences"]

STEP = 0.005
"""Displacement of the finite differences [bohr]."""

_CHECKPOINT = "frequencies"
_GUESS = "guess:"  # before the names of its arrays in the checkpoint
_TIGHT_ENERGY, _TIGHT_GRADIENT = 1e-10, 1e-6  # of the SCF: differences divide its noise by 0.01 bohr
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
class Thermochemistry:
    """Ideal gas, rigid rotor, harmonic oscillators; energies in Hartree, to be added to the electronic one.

    Attributes
    ----------
    temperature
        [K]
    pressure
        [Pa]
    zero_point_energy, thermal_energy, enthalpy, gibbs
        Corrections [Hartree]; the zero-point energy is part of the others.
    entropy
        [Hartree/K], with R ln(2S+1) of the spin.
    """

    temperature: float
    pressure: float
    zero_point_energy: float
    thermal_energy: float
    enthalpy: float
    gibbs: float
    entropy: float


@dataclass(frozen=True)
class Frequencies:
    """Harmonic vibrations of a structure.

    Attributes
    ----------
    structure
        At the geometry of the Hessian.
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
        return float(self.wavenumbers[self.wavenumbers > 0].sum()) / (2 * _HARTREE_CM)

    def displaced_along(self, mode: int, amount: float) -> FloatArray:
        """Positions with the atoms moved along a mode.

        Parameters
        ----------
        mode
            Its number, from 0.
        amount
            By which the atom moves that moves most [Angstrom]; negative the other way.
        """
        direction = self.modes[mode]
        moved: FloatArray = self.structure.positions + amount * direction / largest(direction)
        return moved

    def thermochemistry(self, temperature: float = 298.15, pressure: float = 101325.0) -> Thermochemistry:
        """Corrections at a temperature [K] and a pressure [Pa]; imaginary modes are left out.

        McQuarrie, Simon, Physical Chemistry (1997), chapters 17 and 18. Low wavenumbers are harmonic oscillators like
        all others: where they matter, the entropy is an upper estimate.

        Parameters
        ----------
        temperature
            Above 0.
        pressure
            Above 0.
        """
        thermal = _BOLTZMANN * temperature
        mass = self.masses.sum() * _AMU
        volume = thermal / (pressure * _PASCAL)
        entropy = 2.5 + np.log((mass * thermal / (2 * np.pi)) ** 1.5 * volume) + np.log(self.structure.multiplicity)
        energy = 1.5
        moments = _inertia(self.structure.positions, self.masses)[0] * _AMU / BOHR_ANGSTROM**2
        if len(self.structure) > 1:
            freedom = 2 if self.linear else 3
            rotations = np.prod(2 * moments[-freedom:] * thermal)
            states = rotations**0.5 if self.linear else (np.pi * rotations) ** 0.5
            entropy += freedom / 2 + np.log(states / self.symmetry_number)
            energy += freedom / 2
        quanta = self.wavenumbers[self.wavenumbers > 0] / (_HARTREE_CM * thermal)
        excited = quanta / np.expm1(quanta)
        entropy += float((excited - np.log1p(-np.exp(-quanta))).sum())
        internal = self.zero_point_energy + thermal * (energy + float(excited.sum()))
        enthalpy = internal + thermal
        return Thermochemistry(
            temperature=temperature,
            pressure=pressure,
            zero_point_energy=self.zero_point_energy,
            thermal_energy=internal,
            enthalpy=enthalpy,
            gibbs=float(enthalpy - thermal * entropy),
            entropy=float(_BOLTZMANN * entropy),
        )


def run_frequencies(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    progress: Progress,
    directory: Path,
    fingerprint: str,
    *,
    orbitals: Guess | None = None,
    method: Method | None = None,
    grid: Grid | None = None,
    grid_response: bool = False,
) -> Frequencies:
    """Harmonic frequencies at a Kohn-Sham level, dispersion included.

    The SCF is converged more tightly than the level says. Stiff modes hardly depend on the grid; soft ones between
    molecules do: for two argon atoms at 3.85 Angstrom (B3LYP-D3(BJ)/3-21G) the analytic curvature is
    -3.4e-3 Hartree/bohr^2 on the grid (50,194), where that of the energy is +2.3e-4, and 6.8e-5 on (99,590), where it
    is 6.2e-5. Differences with ``grid_response`` agree with the energy on either grid.

    Parameters
    ----------
    structure
        Relaxed at this level.
    level
        Its own grid is used, unlike in a relaxation, which may use ``level.scf_grid``.
    max_memory_mb
        That PySCF may plan with [MB].
    progress
        Told after every SCF cycle and every displaced gradient.
    directory
        Scratch of this calculation, where its checkpoints are; exists.
    fingerprint
        Of the calculation.
    orbitals
        To start the SCF from, as `relaxation.occupied_orbitals` gives them.
    method
        Analytic where PySCF has it, by default. Its dispersion is differentiated numerically, and its grid does not
        move with the atoms.
    grid
        Instead of ``level.grid``.
    grid_response
        For differences: whether their gradients contain the derivatives of the grid's weights.

    Raises
    ------
    CalculationError
        ``scf_not_converged``, or ``engine_crashed`` for a Hessian that is not finite.
    """
    if len(structure) == 1:
        return harmonic_analysis(structure, np.zeros((3, 3)))
    thresholds = {
        "energy_threshold": min(level.energy_threshold, _TIGHT_ENERGY),
        "gradient_threshold": min(level.gradient_threshold, _TIGHT_GRADIENT),
    }
    surface = KohnShamGradient(
        structure,
        level.model_copy(update=thresholds),
        max_memory_mb,
        progress,
        grid=level.grid if grid is None else grid,
        grid_response=grid_response,
    )
    if method != "differences":
        try:
            hessian, gradient = _analytic(structure, surface, orbitals)
        except NotImplementedError:
            if method == "analytic":
                raise
        else:
            return harmonic_analysis(structure, hessian, gradient=gradient)
    hessian, gradient, notes = hessian_by_differences(
        structure, surface, directory=directory, fingerprint=fingerprint, progress=progress, guess=orbitals
    )
    return harmonic_analysis(structure, hessian, gradient=gradient, method="differences", notes=notes)


def _analytic(structure: Structure, surface: KohnShamGradient, orbitals: Guess | None) -> tuple[FloatArray, FloatArray]:
    """Hessian [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms), and gradient [Hartree/bohr]."""
    found = surface(structure.positions / BOHR_ANGSTROM, orbitals)
    blocks = np.asarray(surface.mean_field.Hessian().kernel(), dtype=float)
    size = 3 * len(structure)
    return blocks.transpose(0, 2, 1, 3).reshape(size, size), found.gradient


def hessian_by_differences(
    structure: Structure,
    evaluate: Evaluate,
    *,
    directory: Path,
    fingerprint: str,
    progress: Progress,
    guess: Guess | None = None,
    step: float = STEP,
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Hessian by central differences of gradients, from its checkpoint where there is one.

    Parameters
    ----------
    structure
        The geometry.
    evaluate
        Energy and gradient at given positions; every displaced one starts from the guess of the geometry itself.
    directory, fingerprint
        As in `run_frequencies`; a checkpoint of another geometry or step is not used.
    progress
        Told after every gradient.
    guess
        Of the geometry itself.
    step
        Displacement [bohr].

    Returns
    -------
    tuple
        Hessian [Hartree/bohr^2], shape=(3 n_atoms, 3 n_atoms), symmetric; gradient of the geometry [Hartree/bohr];
        notes about checkpoints that could not be used.

    Raises
    ------
    CalculationError
        ``engine_crashed`` for a gradient that is not finite, or what `evaluate` raises.
    """
    positions = structure.positions / BOHR_ANGSTROM
    size = positions.size
    displacements = [np.zeros(size)] + [sign * step * unit for unit in np.eye(size) for sign in (1, -1)]
    checkpoint, notes = load(directory, fingerprint, _CHECKPOINT)
    gradients: list[FloatArray] = []
    if checkpoint is not None:
        arrays = dict(checkpoint.arrays)
        before, stored = arrays.pop("positions"), arrays.pop("gradients")
        if checkpoint.values["step"] == step and np.array_equal(before, positions):
            gradients = list(stored)
            guess = {name.removeprefix(_GUESS): array for name, array in arrays.items()}
        else:
            notes.append(f"the checkpoint in {directory} is not used: it has another geometry or step")
    for number in range(len(gradients), len(displacements)):
        found = evaluate(positions + displacements[number].reshape(-1, 3), guess)
        if not np.isfinite(found.gradient).all():
            raise CalculationError("engine_crashed", f"the gradient of displacement {number} is not finite")
        guess = guess if number else found.guess
        gradients.append(found.gradient)
        named = {_GUESS + name: array for name, array in (guess or {}).items()}
        content = {"positions": positions, "gradients": np.array(gradients), **named}
        save(directory, Checkpoint(fingerprint, {"step": step}, content), _CHECKPOINT)
        progress.report("displaced gradient", number, found.energy, of=len(displacements) - 1)
    flat = np.array(gradients).reshape(-1, size)
    hessian = (flat[1::2] - flat[2::2]) / (2 * step)
    return (hessian + hessian.T) / 2, gradients[0], notes


def harmonic_analysis(
    structure: Structure,
    hessian: FloatArray,
    *,
    gradient: FloatArray | None = None,
    method: Method = "analytic",
    notes: list[str] | None = None,
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
    told = list(notes or [])
    max_gradient = None if gradient is None else largest(gradient)
    if max_gradient is not None and max_gradient > 2 * THRESHOLDS["gau"].max_gradient:
        told.append(f"not a stationary point: largest gradient {max_gradient:.1e} Hartree/bohr")
    return Frequencies(
        structure=structure,
        wavenumbers=np.sign(curvatures) * np.sqrt(np.abs(curvatures)) * _HARTREE_CM,
        modes=(displacements / lengths[:, None]).reshape(-1, len(structure), 3),
        reduced_masses=1 / (lengths**2 * _AMU),
        masses=masses,
        linear=linear,
        symmetry_number=_symmetry_number(structure, linear),
        max_gradient=max_gradient,
        method=method,
        notes=told,
    )


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
