"""The record: the write-once document of a calculation that succeeded."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from alkaflow.calculations import Position, Step
from alkaflow.levels import Level


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileReference(_Part):
    """A file kept apart from the record, found by the hash of its bytes."""

    sha256: str
    bytes: int
    format: str


class Convergence(_Part):
    """How an SCF or a relaxation ended. Energies in Hartree; forces in eV/Angstrom."""

    converged: Literal[True] = True
    cycles: int = Field(description="SCF cycles of all stages in the attempt that finished, or relaxation steps")
    energy_change: float | None = Field(default=None, description="of the last cycle [Hartree]")
    orbital_gradient: float | None = Field(default=None, description="norm after the last cycle")
    cycle_energies: list[float] = Field(
        default_factory=list, description="after every SCF cycle of the attempt that finished [Hartree]"
    )
    cycle_gradients: list[float] = Field(default_factory=list, description="norm of the orbital gradient, the same")
    scf_cycles: list[int] = Field(
        default_factory=list, description="SCF cycles at every geometry of a relaxation, in order; 0: not known"
    )
    max_force: float | None = Field(default=None, description="largest force on an atom [eV/Angstrom]")
    symmetry_operations: int | None = Field(
        default=None,
        description="kept by a relaxation, identity included; more than 1: a stationary point among "
        "structures of that symmetry, not shown to be a minimum among all",
    )
    grid_electrons: float | None = Field(default=None, description="electrons found on the integration grid")
    corrections: list[dict[str, Any]] = Field(default_factory=list, description="what was tried, custodian's shape")
    stability: dict[str, Any] | None = Field(
        default=None, description="of the SCF solution: tested, stable, external_stable, broken_symmetry, rounds, "
        "lowering [Hartree], lowest eigenvalues of the orbital Hessian [Hartree]; none: not tested"
    )  # fmt: skip


class ElectronicState(_Part):
    """A state that the search at a cheap level found."""

    label: str
    energy_hartree: float = Field(description="at the cheap level")
    refined_hartree: float | None = Field(
        default=None, description="at the level of the calculation, on the grid of its SCF; of states near the lowest"
    )
    s_squared: float = Field(description="<S2> at the cheap level")
    guest_charges: list[float] = Field(description="Mulliken charge of each guest at the cheap level [e]")
    restricted: bool


class Charges(_Part):
    """Atomic charges [e] and spin populations by scheme, in atom order."""

    charges: dict[str, list[float]]
    spins: dict[str, list[float]] = Field(default_factory=dict)


class SurfaceExtremum(_Part):
    """A place on a molecular surface where the electrostatic potential is largest or smallest around."""

    value_kcal_mol: float = Field(description="potential, as energy of a unit charge [kcal/mol]")
    position_angstrom: Position
    atom: int = Field(description="that the place belongs to, from 0")


class Surface(_Part):
    """The electrostatic potential on a surface of constant electron density (Politzer and Murray).

    Energies are those of a positive unit charge [kcal/mol]; the surface itself, with the potential at its vertices, is
    in the file of the record.
    """

    isovalue: float = Field(description="electron density of the surface [e/bohr^3]")
    area_angstrom2: float
    volume_angstrom3: float
    positive_area_angstrom2: float
    negative_area_angstrom2: float
    mean_kcal_mol: float
    mean_positive_kcal_mol: float | None = Field(
        default=None, description="over the positive area; none where there is none"
    )
    mean_negative_kcal_mol: float | None = None
    average_deviation_kcal_mol: float = Field(description="Pi, mean absolute deviation from the mean")
    variance_positive: float = Field(description="of the positive values from their mean [(kcal/mol)^2]")
    variance_negative: float
    variance: float = Field(description="sum of both")
    balance: float = Field(description="nu = variance_positive variance_negative / variance^2, 0.25 at most")
    v_s_max: list[SurfaceExtremum] = Field(description="local maxima, strongest first")
    v_s_min: list[SurfaceExtremum] = Field(description="local minima, strongest first")
    fit_error_kcal_mol: float | None = Field(
        default=None, description="largest deviation of the fitted potential from the exact one at points of a sample"
    )


class Thermochemistry(_Part):
    """Corrections to the electronic energy [Hartree]: ideal gas, rigid rotor, harmonic oscillators.

    The zero-point energy is part of the three energies that follow it.
    """

    temperature: float = Field(description="[K]")
    pressure: float = Field(description="[Pa]")
    zero_point_energy: float
    thermal_energy: float
    enthalpy: float
    gibbs: float
    entropy: float = Field(description="[Hartree/K], with R ln(2S+1) of the spin")


class Vibrations(_Part):
    """Harmonic vibrations at a geometry. The Hessian itself is in the file of the orbitals."""

    method: Literal["analytic", "differences"] = Field(description="of the Hessian")
    wavenumbers: list[float] = Field(description="ascending [cm-1]; an imaginary one is negative")
    imaginary: int = Field(description="how many are: 0 at a minimum, 1 at a transition state")
    imaginary_modes: list[list[Position]] = Field(
        description="displacements of the imaginary ones by atom, of length 1 all atoms together"
    )
    reduced_masses: list[float] = Field(description="of the modes [amu]")
    masses: list[float] = Field(description="of the atoms, commonest isotopes [amu]")
    linear: bool
    symmetry_number: int
    max_gradient: float | None = Field(default=None, description="largest norm on an atom [Hartree/bohr]")
    zero_point_energy: float = Field(description="of the real modes [Hartree]")
    thermochemistry: Thermochemistry = Field(description="at 298.15 K and 101325 Pa; imaginary modes are left out")


class Provenance(_Part):
    """With what, on what and how long."""

    versions: dict[str, str]
    blas: list[dict[str, Any]] = Field(description="every BLAS in the process: library, version, kernel, threads")
    threads: int
    device: Literal["cpu", "gpu"] = "cpu"
    fast_kernels: bool | None = Field(
        default=None, description="whether potentials and gradients came from alkaflow's own loops on the CPU where it "
        "has them; null: it had none, or no SCF was made"
    )  # fmt: skip
    sentinel: dict[str, Any] | None = Field(
        default=None, description="how far a GPU was from the CPU for a small molecule: level, energy_difference "
        "[Hartree], gradient_difference [Hartree/bohr]"
    )  # fmt: skip
    cpu: str
    peak_memory_mb: float
    seconds: dict[str, float] = Field(description="wall time by part, of the attempt that finished [s]")
    continued: dict[str, int] | None = Field(
        default=None, description="what it took from earlier attempts that ended before: scf_cycles, gradients"
    )
    finished: datetime


class Record(_Part):
    """What a calculation found. Energies in Hartree, positions in Angstrom, dipole in debye."""

    schema_version: Literal[1] = 1
    id: str
    recipe: int
    step: Step
    level: str = Field(description="the written form; level_of_theory has every detail")
    level_of_theory: Level
    parent: str | None = None
    formula: str
    symbols: list[str]
    ghosts: list[int] | None = Field(
        default=None, description="atoms, from 0, of which only the basis functions are there"
    )
    charge: int
    multiplicity: int
    start_positions_angstrom: list[Position] | None = Field(default=None, description="of a relaxation")
    positions_angstrom: list[Position] = Field(description="the geometry the energy belongs to")
    energy_hartree: float
    energy_components: dict[str, float] = Field(default_factory=dict, description="parts of the energy [Hartree]")
    energies_along_relaxation: list[float] = Field(default_factory=list, description="[Hartree]")
    s_squared: float | None = None
    homo_lumo_ev: dict[str, list[float | None]] = Field(default_factory=dict, description="spin -> [HOMO, LUMO]")
    dipole_debye: list[float] | None = None
    populations: Charges | None = None
    basis_functions: int | None = None
    basis_sha256: str | None = Field(default=None, description="of the basis-set data as used")
    convergence: Convergence
    orbitals: FileReference | None = Field(
        default=None, description="the file of the record: orbitals; of the step properties the surface, without them"
    )
    surface: Surface | None = Field(default=None, description="of the step properties")
    states: list[ElectronicState] = Field(
        default_factory=list, description="found by the search that preceded, lowest first; the first was carried on"
    )
    vibrations: Vibrations | None = Field(default=None, description="of the step frequencies")
    warnings: list[str] = Field(default_factory=list)
    provenance: Provenance


def formula_of(symbols: tuple[str, ...] | list[str]) -> str:
    """Return the Hill formula: C, H, then the rest by alphabet; without C all by alphabet."""
    counts: dict[str, int] = {}
    for symbol in symbols:
        counts[symbol] = counts.get(symbol, 0) + 1
    first = ["C", "H"] if "C" in counts else []
    order = [s for s in first if s in counts] + sorted(s for s in counts if s not in first)
    return "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in order)
