"""SCFs that converge on one integration grid after the other, coarse ones first.

Imported only by the process that computes.
"""

from dataclasses import replace
from typing import Any

from pyscf import lib

from alkaflow.errors import CalculationError
from alkaflow.levels import Grid, KohnSham
from alkaflow.workflows.device import Cpu, Watch
from alkaflow.workflows.guess import Guess, density_of
from alkaflow.workflows.ladder import changed
from alkaflow.workflows.orbital_tags import with_orbitals
from alkaflow.workflows.recycled_diis import Pair, learned
from alkaflow.workflows.scf_checkpoint import ScfKeeper, Situation
from alkaflow.workflows.stability import stabilise

_COARSE = 1  # level of the grid that an SCF without a guess begins on
_COARSE_ENERGY, _COARSE_GRADIENT = 100.0, 2.0  # times the thresholds of the level: what a finer grid changes anyway
_WORTH_IT = 100  # functions; of smaller molecules the cycles that are saved cost less than another grid


def set_grid(mean_field: Any, grid: Grid) -> None:
    """Set level or (radial, angular) points of every atom; NWChem pruning in both cases."""
    mean_field.grids.reset()
    if isinstance(grid, int):
        mean_field.grids.atom_grid = {}
        mean_field.grids.level = grid
    else:
        mean_field.grids.atom_grid = tuple(grid)


def converge_on_grids(
    mean_field: Any,
    level: KohnSham,
    guess: Guess | None,
    watch: Watch,
    device: Cpu,
    keeper: ScfKeeper | None,
    reached: Situation,
) -> tuple[Any, Situation]:
    """Converge on the grids of a level, one after the other, from where an earlier attempt was.

    Without a guess a coarse grid comes first, to looser thresholds. Orbitals that are converged on one grid are
    evaluated on the next; where they do not meet the thresholds there, DIIS goes on with what it has learned.

    Returns
    -------
    tuple
        The object, which is another one where a solution was left for a stable one, and how it came there.

    Raises
    ------
    CalculationError
        As `ladder.converge`.
    """
    grids = ([level.scf_grid] if level.scf_grid is not None else []) + [level.grid]
    begin = min(max(reached.stage, 0), len(grids) - 1)
    density = density_of(mean_field, guess) if guess else with_orbitals(mean_field.get_init_guess())
    density = lib.tag_array(density, pairs=[])
    coarse = not guess and device.name == "cpu" and mean_field.mol.nao >= _WORTH_IT and grids[begin] not in (0, _COARSE)
    pairs: list[Pair] = []

    def listen(state: dict[str, Any]) -> None:
        pairs[:] = learned(state) or pairs
        watch(state)

    for stage in range(-1 if coarse else begin, len(grids)):
        reached = replace(reached, stage=stage)
        if keeper is not None:
            keeper.know(reached)
        set_grid(mean_field, _COARSE if stage < 0 else grids[stage])
        looser = (_COARSE_ENERGY, _COARSE_GRADIENT) if stage < 0 else (1.0, 1.0)
        thresholds = {
            "conv_tol": level.energy_threshold * looser[0],
            "conv_tol_grad": level.gradient_threshold * looser[1],
        }
        try:
            with changed(mean_field, **thresholds):
                needed = device.converge(mean_field, density, listen, keeper)
        except CalculationError as error:
            if keeper is not None:
                keeper.forget()
            raise CalculationError(error.outcome, f"{level}: {error}") from error
        reached = replace(reached, corrections=reached.corrections + needed)
        untested = len(reached.corrections) > reached.tested or (level.stability and reached.stability is None)
        if untested and stage >= 0:
            mean_field, reached = _made_stable(mean_field, level, reached, keeper)
            pairs = []
        density = lib.tag_array(mean_field.make_rdm1(), pairs=list(pairs), settled=True)
    return mean_field, reached


def _made_stable(
    mean_field: Any, level: KohnSham, reached: Situation, keeper: ScfKeeper | None
) -> tuple[Any, Situation]:
    """Leave the solution where it is unstable; saved before, as that may take long, and after."""
    if keeper is not None:
        keeper.know(reached)
        keeper.save(mean_field)
    mean_field, found = stabilise(mean_field, break_symmetry=bool(level.stability))
    if reached.stability is not None:
        found = found.after(reached.stability)
    reached = replace(reached, tested=len(reached.corrections), stability=found)
    if keeper is not None:
        keeper.know(reached)
        keeper.save(mean_field)
    return mean_field, reached
