"""The lowest electronic state of a complex, found at a cheap level, as orbitals at its own.

Every state is kept with the checkpoints as it is found: a calculation that is killed and begins again repeats the
start that it was at, and none once its search was over.
"""

from pathlib import Path
from typing import Any

from alkaflow.calculations import Fragment, electron_count, lowest_multiplicity
from alkaflow.levels import KohnSham
from alkaflow.records import ElectronicState
from alkaflow.structures import FloatArray, Structure
from alkaflow.workflows.basis import cheap_level
from alkaflow.workflows.checkpoint import Checkpoint, fingerprint_of, load, save
from alkaflow.workflows.guess import orbitals_in_basis
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_molecule
from alkaflow.workflows.states import Found, State, search_states
from alkaflow.workflows.task import Task

_ALKALI = ("Li", "Na", "K", "Rb", "Cs")
_SEARCH, _LOWEST = "search", "states"  # names of checkpoints


def find_lowest_state(
    structure: Structure, level: KohnSham, task: Task, progress: Progress, checkpoints: Path
) -> tuple[dict[str, FloatArray], list[ElectronicState]]:
    """Return the orbitals of the lowest state in the basis of a level, and all states that the search found.

    Parameters
    ----------
    structure
        The complex.
    level
        Of the calculation; the search takes `cheap_level` of it.
    task
        Has the fragments; without them they are guessed.
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
    cheap = cheap_level(level, structure.symbols)
    states = search_states(
        structure,
        cheap,
        task.calculation.fragments or likely_fragments(structure),
        task.memory_mb,
        progress.report,
        found=found_in(unfinished) if unfinished else None,
        keep=lambda found: save(checkpoints, checkpoint_of(found, fingerprint), _SEARCH),
    )
    molecules = (build_molecule(structure, each, task.memory_mb) for each in (cheap, level))
    orbitals = orbitals_in_basis(orbitals_of(states[0]), *molecules)
    described = [_described(state) for state in states]
    values = {"states": [state.model_dump() for state in described]}
    save(checkpoints, Checkpoint(fingerprint, values, orbitals), _LOWEST)
    return orbitals, described


def likely_fragments(structure: Structure) -> tuple[Fragment, ...]:
    """Alkali atoms, neutral, and the rest with the whole charge and the lowest spin, first; or all as one."""
    guests = [k for k, symbol in enumerate(structure.symbols) if symbol in _ALKALI]
    rest = tuple(k for k in range(len(structure)) if k not in guests)
    symbols = tuple(structure.symbols[k] for k in rest)
    if not rest or not guests or electron_count(symbols, structure.charge) < 0:
        whole = tuple(range(len(structure)))
        return (Fragment(atoms=whole, charge=structure.charge, multiplicity=structure.multiplicity),)
    host = Fragment(atoms=rest, charge=structure.charge, multiplicity=lowest_multiplicity(symbols, structure.charge))
    return (host, *(Fragment(atoms=(k,), charge=0, multiplicity=2) for k in guests))


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


def _described(state: State) -> ElectronicState:
    return ElectronicState(
        label=state.label,
        energy_hartree=state.energy,
        s_squared=state.s_squared,
        guest_charges=list(state.guest_charges),
        restricted=state.restricted,
    )
