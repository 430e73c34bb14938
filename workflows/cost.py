"""What a calculation will cost: functions, memory, disk and time, before it runs.

Operation counts of density-fitted Kohn-Sham (exchange 4 n_aux n^2 n_occ per spin, quadrature n_grid n (8 n_occ + 2 n)
per spin, of which screening leaves a part, fitting n_aux^2 n^2 / 2; a continuum 60 n^2 n_surface and
2 n_surface^3 / 3 each cycle), divided by a rate per thread. `calibrate` replaces the rate by what past records on this
machine took.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError
from alkaflow.levels import Grid, KohnSham, Xtb
from alkaflow.records import Record
from alkaflow.workflows.basis import cheap_level, count_functions, element_basis, valence_electrons

_RATE = 40e9  # operations per second and thread that a current core reaches here
_CYCLES = 14
_STAGE_CYCLES = 2  # to finish on a finer grid: a Fock matrix, for which functions are evaluated anew
_QUADRATURE = 0.2  # of its operations: blocks of points leave out the rest
_META_GGAS = ("tpss", "tpssh")  # PySCF's loops integrate these, and leave out little
_GRID_POINTS = {
    0: 2_200,
    1: 5_600,
    2: 9_000,
    3: 13_000,
    4: 30_000,
    5: 46_000,
}  # pruned, per atom of the second row
_STEPS = 10  # of a relaxation from a GFN2-xTB minimum with its Hessian: 6 to 9 for the benchmarks'
_XTB_STEPS, _XTB_STEPS_PER_ATOM = 60, 0.6
_XTB_SECONDS, _INTERNALS_SECONDS = 0.03, 0.07  # of an energy, and of a step in internal coordinates, for 30 atoms
_STEP_OVER_ENERGY = 0.5  # a gradient of 3 cycles, and as many of an SCF that goes on from the one before; fitting
_HESSIAN_PER_ATOM = 1.8  # over an energy: 1.3 for H2O to 1.9 for C2H4 with B3LYP-D3(BJ)/6-31G(d) on (99,590)
_PROPERTIES = 0.3  # of an energy: charges by several schemes, a potential at some ten thousand points
_SEARCHED = 15  # SCFs at the cheap level of a search of electronic states
_ORDERED = 2  # of those at the level itself, for states that are near the lowest
_START_SECONDS = 2.0  # imports and set-up of a process
_BASE_MB = 400.0
_MB = 8e-6  # of a double
_IN_MEMORY = 0.9  # of what is left of its memory that PySCF gives to fitted integrals before they go to disk
_SURFACE_POINTS = 130  # of a continuum's cavity, per atom that is not buried
_CHECKPOINTS = 2  # generations of geometries, gradients and orbitals that a relaxation keeps


@dataclass(frozen=True)
class Cost:
    """Estimated wall time [s], memory and scratch on disk [MB], and the number of basis functions (0 for xTB)."""

    seconds: float
    memory_mb: float
    basis_functions: int
    disk_mb: float = 0.0


def estimate(given: CalculationInput, threads: int, factor: float = 1.0, available_mb: float = float("inf")) -> Cost:
    """Estimate the cost of a calculation.

    Parameters
    ----------
    given
        The input.
    threads
        Threads it will run with.
    factor
        Measured over estimated time on this machine, from `calibrate`.
    available_mb
        Memory that PySCF may plan with [MB]; fitted integrals that need more go to disk.

    Raises
    ------
    BadInputError
        The level cannot describe some element.
    """
    atoms = len(given.symbols)
    if isinstance(given.level, Xtb):
        steps = max(_XTB_STEPS, _XTB_STEPS_PER_ATOM * atoms) if given.step == "relax" else 1.0
        internals = given.step == "relax" and given.level.optimiser == "geometric"
        seconds = _XTB_SECONDS + (_INTERNALS_SECONDS if internals else 0.0)
        return Cost(_START_SECONDS + seconds * steps * (atoms / 30) ** 2, _BASE_MB, 0)
    level = given.level
    functions, auxiliary, occupied = _sizes(given, level)
    operations = _operations(given, level)
    if given.step == "relax":
        operations *= 1 + _STEPS * _STEP_OVER_ENERGY
    elif given.step == "frequencies":
        operations *= 1 + _HESSIAN_PER_ATOM * atoms
    elif given.step == "properties":
        operations *= _PROPERTIES
    if given.searches_states:
        operations += _SEARCHED * _operations(given, cheap_level(level, given.symbols))
        operations += _ORDERED * _operations(given, level)
    integrals = auxiliary * functions * (functions + 1) / 2 * _MB
    left = max(available_mb - _BASE_MB, 0.0)
    on_disk = bool(auxiliary) and integrals > _IN_MEMORY * left
    matrices = (auxiliary**2 if auxiliary else 6 * functions**2) * _MB
    orbitals = 2 * functions * max(occupied, 1) * _MB  # both spins
    disk = orbitals * (1 + _CHECKPOINTS) + (integrals if on_disk else 0.0)
    if given.step in ("relax", "frequencies"):
        disk += auxiliary * functions * occupied * _spins(given) * _MB  # PySCF's fitted gradients always put that there
    return Cost(
        seconds=_START_SECONDS + factor * operations / (_RATE * threads),
        memory_mb=_BASE_MB + matrices + (left if on_disk else integrals),
        basis_functions=functions,
        disk_mb=disk,
    )


def _spins(given: CalculationInput) -> int:
    """Sets of orbitals, as far as the input tells."""
    return 1 if given.multiplicity == 1 else 2


def _sizes(given: CalculationInput, level: KohnSham) -> tuple[int, int, float]:
    """Functions, auxiliary functions, and occupied orbitals of either spin."""
    names = {symbol: element_basis(level, symbol).name for symbol in set(given.symbols)}
    functions = count_functions(names, given.symbols, bool(level.cartesian))
    auxiliary = count_functions(level.fitting, given.symbols, bool(level.cartesian)) if level.fitting else 0
    return functions, auxiliary, (valence_electrons(level, given.real_symbols) - given.charge) / 2


def _operations(given: CalculationInput, level: KohnSham) -> float:
    """Operations of an SCF."""
    n, auxiliary, occupied = _sizes(given, level)
    spins, atoms = _spins(given), len(given.symbols)
    if level.fitting:
        build = auxiliary**2 * n**2 / 2 + 40 * auxiliary * n**2
        every = 4 * auxiliary * n**2 * occupied * spins
    else:
        build, every = 0.0, 25 * n**4 / 8
    if level.solvent:
        surface = atoms * _SURFACE_POINTS
        every += 60 * n**2 * surface + 2 * surface**3 / 3

    share = 1.0 if level.functional in _META_GGAS else _QUADRATURE

    def cycle(grid: Grid) -> float:
        return every + share * 2 * atoms * _points_per_atom(grid) * n * (8 * occupied + 2 * n) * spins

    if level.scf_grid is None:
        return build + _CYCLES * cycle(level.grid)
    return build + _CYCLES * cycle(level.scf_grid) + _STAGE_CYCLES * cycle(level.grid)


def _points_per_atom(grid: Grid) -> float:
    if isinstance(grid, int):
        return _GRID_POINTS.get(grid, 60_000)
    return 0.62 * grid[0] * grid[1]


def calibrate(records: Iterable[Record]) -> float:
    """Return the median of measured over estimated SCF time of past records; 1 where there are none."""
    ratios = []
    for record in records:
        costly = record.step != "properties" and len(record.symbols) > 3
        if isinstance(record.level_of_theory, KohnSham) and costly:
            with suppress(BadInputError):  # a record that would be refused today says nothing about time
                given = CalculationInput(
                    step=record.step,
                    level=record.level_of_theory,
                    charge=record.charge,
                    multiplicity=record.multiplicity,
                    symbols=tuple(record.symbols),
                    ghosts=tuple(record.ghosts) if record.ghosts else None,
                    positions=tuple(record.positions_angstrom),
                )
                expected = estimate(given, record.provenance.threads).seconds
                seconds = record.provenance.seconds
                ratios.append((seconds["total"] - seconds.get("states", 0.0)) / expected)
    return median(ratios) if ratios else 1.0
