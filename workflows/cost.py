"""What a calculation will cost: functions, memory and time, before it runs.

Operation counts of density-fitted Kohn-Sham (exchange 4 n_aux n^2 n_occ per spin, quadrature n_grid n (8 n_occ + 2 n)
per spin, fitting n_aux^2 n^2 / 2), divided by a rate per thread. `calibrate` replaces the rate by what past records
on this machine took.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

from alkaflow.calculations import CalculationInput, electron_count
from alkaflow.errors import BadInputError
from alkaflow.levels import Grid, KohnSham, Xtb
from alkaflow.records import Record
from alkaflow.workflows.basis import count_functions

_RATE = 40e9  # operations per second and thread that a current core reaches here
_CYCLES = 14
_STAGE_CYCLES = 5  # to finish on a finer grid
_GRID_POINTS = {
    0: 2_200,
    1: 5_600,
    2: 9_000,
    3: 13_000,
    4: 30_000,
    5: 46_000,
}  # pruned, per atom of the second row
_STEPS = 25  # of a relaxation
_STEP_OVER_ENERGY = 1.1  # a gradient costs about 0.6 of an energy, which begins from the orbitals before it
_START_SECONDS = 2.0  # imports and set-up of a process
_BASE_MB = 400.0


@dataclass(frozen=True)
class Cost:
    """Estimated wall time [s], memory [MB], and the number of basis functions (0 for xTB)."""

    seconds: float
    memory_mb: float
    basis_functions: int


def estimate(given: CalculationInput, threads: int, factor: float = 1.0) -> Cost:
    """Estimate the cost of a calculation.

    Parameters
    ----------
    given
        The input.
    threads
        Threads it will run with.
    factor
        Measured over estimated time on this machine, from `calibrate`.
    """
    atoms = len(given.symbols)
    if isinstance(given.level, Xtb):
        steps = 60 if given.step == "relax" else 1
        return Cost(_START_SECONDS + 0.03 * steps * (atoms / 30) ** 2, _BASE_MB, 0)
    functions = count_functions({s: given.level.basis_for(s) for s in given.symbols}, given.symbols)
    operations, memory = _kohn_sham(given, given.level, functions)
    if given.step == "relax":
        operations *= _STEPS * _STEP_OVER_ENERGY
    return Cost(_START_SECONDS + factor * operations / (_RATE * threads), _BASE_MB + memory, functions)


def _kohn_sham(given: CalculationInput, level: KohnSham, n: int) -> tuple[float, float]:
    """Operations and megabytes of an SCF."""
    spins = 1 if given.multiplicity == 1 else 2
    occupied = electron_count(given.symbols, given.charge) / 2
    if level.fitting:
        auxiliary = count_functions(level.fitting, given.symbols)
        build = auxiliary**2 * n**2 / 2 + 40 * auxiliary * n**2
        exchange = 4 * auxiliary * n**2 * occupied * spins
        memory = (auxiliary * n * (n + 1) / 2 + auxiliary**2) * 8 / 1e6
    else:
        build, exchange, memory = 0.0, 25 * n**4 / 8, 6 * n**2 * 8 / 1e6

    def cycle(grid: Grid) -> float:
        points = len(given.symbols) * _points_per_atom(grid)
        return exchange + 2 * points * n * (8 * occupied + 2 * n) * spins

    if level.scf_grid is None:
        return build + _CYCLES * cycle(level.grid), memory
    return build + _CYCLES * cycle(level.scf_grid) + _STAGE_CYCLES * cycle(level.grid), memory


def _points_per_atom(grid: Grid) -> float:
    if isinstance(grid, int):
        return _GRID_POINTS.get(grid, 60_000)
    return 0.62 * grid[0] * grid[1]


def calibrate(records: Iterable[Record]) -> float:
    """Return the median of measured over estimated SCF time of past records; 1 where there are none."""
    ratios = []
    for record in records:
        if isinstance(record.level_of_theory, KohnSham) and len(record.symbols) > 3:
            given = CalculationInput(
                step=record.step,
                level=record.level_of_theory,
                charge=record.charge,
                multiplicity=record.multiplicity,
                symbols=tuple(record.symbols),
                positions=tuple(record.positions_angstrom),
            )
            with suppress(BadInputError):  # a record at a level that is refused today says nothing about time
                expected = estimate(given, record.provenance.threads).seconds
                ratios.append(record.provenance.seconds["total"] / expected)
    return median(ratios) if ratios else 1.0
