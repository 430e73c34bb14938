"""The lowest electronic state of a complex: searched at a cheap level, near ones compared at the level itself.

Two doublets of sodium on HATCN are 0.03 eV apart at B3LYP/6-31G, and as far apart in the other order with 6-311G(d,p).

Every state is kept with the checkpoints as it is found, and as it is converged at the level: a calculation that is
killed and begins again repeats the one that it was at, and none once its search was over.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham
from alkaflow.records import ElectronicState
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows.basis import cheap_level
from alkaflow.workflows.checkpoint import Checkpoint, fingerprint_of, load, save
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.guess import density_of, occupied_orbitals, orbitals_in_basis
from alkaflow.workflows.ladder import RUNGS, converge
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.states import (
    SAME_ENERGY,
    Found,
    Report,
    State,
    search_states,
)
from alkaflow.workflows.task import Task

_NEAR = 0.004  # above the lowest at the cheap level [Hartree]; 0.1 eV
_SEARCH, _ORDER, _LOWEST = "search", "order", "states"  # names of checkpoints
_RUNGS = RUNGS[:3]  # the later ones begin anew, in whatever state


def find_lowest_state(
    structure: Structure, level: KohnSham, task: Task, progress: Progress, checkpoints: Path
) -> tuple[dict[str, FloatArray], list[ElectronicState]]:
    """Return the orbitals of the lowest state in the basis of a level, and all states that the search found.

    States within 0.1 eV at the cheap level are converged at the level itself, and the lowest of these is taken.

    Parameters
    ----------
    structure
        The complex.
    level
        Of the calculation; the search takes `cheap_level` of it.
    task
        Has the fragments.
    progress
        Told of every state.
    checkpoints
        Directory; what is found is kept there.

    Raises
    ------
    BadInputError, CalculationError
        As `search_states`.
    """
    fingerprint = fingerprint_of(task.calculation)
    if (before := load(checkpoints, fingerprint, _LOWEST).checkpoint) is not None:
        return dict(before.arrays), [ElectronicState.model_validate(state) for state in before.values["states"]]
    unfinished = load(checkpoints, fingerprint, _SEARCH).checkpoint
    cheap, device = cheap_level(level, structure.symbols), Cpu(task.fast_kernels)
    states = search_states(
        structure,
        cheap,
        task.calculation.fragments or (),
        task.memory_mb,
        progress.report,
        found=found_in(unfinished) if unfinished else None,
        keep=lambda found: save(checkpoints, checkpoint_of(found, fingerprint), _SEARCH),
        device=device,
    )
    half_ordered = load(checkpoints, fingerprint, _ORDER).checkpoint
    ordered = order_states(
        states,
        structure,
        cheap,
        level,
        task.memory_mb,
        progress.report,
        done=ordered_in(half_ordered) if half_ordered else None,
        keep=lambda done: save(checkpoints, checkpoint_of_ordered(done, fingerprint), _ORDER),
        device=device,
    )
    orbitals, described = ordered[0].orbitals, [each.described for each in ordered]
    values = {"states": [state.model_dump() for state in described]}
    save(checkpoints, Checkpoint(fingerprint, values, orbitals), _LOWEST)
    return orbitals, described


@dataclass(frozen=True, eq=False)
class Ordered:
    """A state as a record has it, and its occupied orbitals in the basis of the level."""

    described: ElectronicState
    orbitals: dict[str, FloatArray]


def order_states(
    states: Sequence[State],
    structure: Structure,
    cheap: KohnSham,
    level: KohnSham,
    max_memory_mb: int,
    report: Report | None = None,
    done: dict[str, Ordered] | None = None,
    keep: Callable[[dict[str, Ordered]], None] | None = None,
    device: Cpu = CPU,
) -> list[Ordered]:
    """Converge the states near the lowest at another level, and put them in the order of their energies there.

    Parameters
    ----------
    states
        By energy, found at the cheap level.
    structure
        The complex.
    cheap, level
        Where they were found, and where their order counts; on the grid that its SCF takes.
    max_memory_mb
        For PySCF [MB].
    report
        Told of every SCF cycle.
    done, keep
        What was converged before the calculation was cut short, by label, and what is to be called with that after
        every state.
    device
        For its loops.

    Returns
    -------
    list of Ordered
        The lowest first; then what did not converge, and what was too high to be compared, as it was found.
    """
    molecules = [build_molecule(structure, each, max_memory_mb) for each in (cheap, level)]
    found = [Ordered(_described(state), orbitals_in_basis(orbitals_of(state), *molecules)) for state in states]
    near = [each for each in found if each.described.energy_hartree < states[0].energy + _NEAR]
    if len(near) == 1:
        return found
    finished = dict(done or {})
    refined: list[Ordered] = []
    # of two states that become one the first stays, and that shall be the restricted one
    for each in sorted(near, key=lambda each: not each.described.restricted):
        label = each.described.label
        if label not in finished:
            finished[label] = _converged(each, molecules[1], level, report, device)
            if keep is not None:
                keep(finished)
        if not any(_same(finished[label].described, other.described) for other in refined):
            refined.append(finished[label])
    return sorted(refined, key=_height) + found[len(near) :]


def _height(ordered: Ordered) -> float:
    energy = ordered.described.refined_hartree
    return math.inf if energy is None else energy


def _same(one: ElectronicState, other: ElectronicState) -> bool:
    """Whether two states have become one at the level, or mirror images of each other: their energies agree."""
    first, second = one.refined_hartree, other.refined_hartree
    return first is not None and second is not None and abs(first - second) < SAME_ENERGY


def _converged(found: Ordered, molecule: Any, level: KohnSham, report: Report | None, device: Cpu) -> Ordered:
    """The state with its energy and orbitals at a level; as it was where its SCF does not converge."""

    def watch(now: dict[str, Any]) -> None:
        if report is not None:
            report("SCF cycle", now["cycle"], now["e_tot"])

    mean_field = build_mean_field(molecule, level, unrestricted=not found.described.restricted)
    set_grid(mean_field, level.grid if level.scf_grid is None else level.scf_grid)
    try:
        with device.kernels(mean_field):
            converge(mean_field, density_of(mean_field, found.orbitals), watch, _RUNGS)
    except CalculationError as error:
        if error.outcome != "scf_not_converged":
            raise
        return found
    described = found.described.model_copy(update={"refined_hartree": float(mean_field.e_tot)})
    orbitals = {name: array for name, array in occupied_orbitals(mean_field).items() if not name.startswith("energies")}
    return Ordered(described, orbitals)


def checkpoint_of(found: Found, fingerprint: str) -> Checkpoint:
    """What a search has found so far, to be saved; `found_in` is the inverse."""
    starts: dict[str, list[dict[str, Any]]] = {}
    arrays: dict[str, FloatArray] = {}
    for start, states in found.items():
        starts[start] = []
        for state in states:
            number = str(len(arrays) // 2)
            starts[start].append({"number": number, **_described(state).model_dump()})
            arrays[f"coefficients {number}"] = state.coefficients
            arrays[f"occupations {number}"] = state.occupations
    return Checkpoint(fingerprint, {"starts": starts}, arrays)


def found_in(checkpoint: Checkpoint) -> Found:
    """What a search had found when it was cut short."""
    return {
        start: [
            State(
                label=state["label"],
                energy=state["energy_hartree"],
                s_squared=state["s_squared"],
                guest_charges=tuple(state["guest_charges"]),
                restricted=state["restricted"],
                coefficients=checkpoint.arrays[f"coefficients {state['number']}"],
                occupations=checkpoint.arrays[f"occupations {state['number']}"],
                starts=(state["label"],),
            )
            for state in states
        ]
        for start, states in checkpoint.values["starts"].items()
    }


def orbitals_of(state: State) -> dict[str, FloatArray]:
    """Occupied orbitals of a state as records hold them, without the columns that fill up the shorter spin."""
    if state.restricted:
        return {"coefficients_restricted": state.coefficients, "occupations_restricted": state.occupations}
    orbitals = {}
    for spin, orbital, occupation in zip(("alpha", "beta"), state.coefficients, state.occupations, strict=True):
        orbitals[f"coefficients_{spin}"] = orbital[:, occupation > 0]
        orbitals[f"occupations_{spin}"] = occupation[occupation > 0]
    return orbitals


def checkpoint_of_ordered(done: dict[str, Ordered], fingerprint: str) -> Checkpoint:
    """States that were converged at the level so far, by label, to be saved; `ordered_in` is the inverse."""
    arrays = {f"{k} {name}": a for k, each in enumerate(done.values()) for name, a in each.orbitals.items()}
    return Checkpoint(fingerprint, {"states": [each.described.model_dump() for each in done.values()]}, arrays)


def ordered_in(checkpoint: Checkpoint) -> dict[str, Ordered]:
    """States that had been converged at the level when the calculation was cut short."""
    done = {}
    for k, values in enumerate(checkpoint.values["states"]):
        arrays = {name.split(" ", 1)[1]: a for name, a in checkpoint.arrays.items() if name.startswith(f"{k} ")}
        described = ElectronicState.model_validate(values)
        done[described.label] = Ordered(described, arrays)
    return done


def _described(state: State) -> ElectronicState:
    return ElectronicState(
        label=state.label,
        energy_hartree=state.energy,
        s_squared=state.s_squared,
        guest_charges=list(state.guest_charges),
        restricted=state.restricted,
    )
