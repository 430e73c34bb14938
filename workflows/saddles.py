"""From a saddle point down to a minimum: beside it, along its lowest imaginary mode, and relaxed from there.

A relaxation keeps the symmetry of its start, so it cannot leave a symmetric saddle point. The displaced geometry has
only the operations that the mode has; gradients have them as well, so keeping those loses nothing, and where the
relaxation ends at another saddle point the next round leaves that one.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import KohnSham
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.structures import FloatArray, Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations
from alkaflow.workflows.plan import plan_steps
from alkaflow.workflows.protocols import Protocol, tightened
from alkaflow.workflows.vibrations import displaced, pull, structure_of, vibrations_of

Run = Callable[[SingleRun], list[Record]]
"""Computes what a run holds; the records in its order, or CalculationError."""

ROUNDS = 3
"""How many saddle points in a row are left by default."""

DISPLACEMENT = 0.2
"""How far the atom goes that moves most [Angstrom]."""

_SYMMETRIC = 0.02  # Angstrom; operations this exact count
_REVERSED = -0.98  # overlap of a mode with its image that is the mode the other way
_PULL = 1.5e-3  # Hartree/bohr; below three times Gaussian's threshold a relaxation could end where it begins
_HIGHER = 1e-5  # Hartree; a relaxation that goes down from a saddle point ends no higher than this above it


def to_minimum(structure: Structure, protocol: Protocol, run: Run, rounds: int = ROUNDS) -> list[Record]:
    """Take a structure through a protocol, and while that ends at a saddle point go down from there.

    Each round displaces along the lowest imaginary mode, relaxes with the last relaxation of the protocol, takes the
    energy and the frequencies. Where a symmetry operation turns the mode round, both ways lead to the same; else both
    are relaxed, and the lower end is taken.

    Parameters
    ----------
    structure
        The start.
    protocol
        With a relaxation; frequencies are added where it has none.
    run
        Computes a run, in a queue or here.
    rounds
        How many at most.

    Returns
    -------
    list
        Records of the last round, the frequencies last; these may still show imaginary modes.

    Raises
    ------
    BadInputError
        The protocol relaxes nothing, or has no level for frequencies; or the structure is an atom.
    CalculationError
        A step ended without a result, or a relaxation ended above the saddle point, in another electronic state.
    """
    if not protocol.relaxations:
        raise BadInputError(
            "only a relaxation can leave a saddle point, and none was asked for; use --relax, relax=True"
        )
    protocol = protocol.with_frequencies()
    records = run(plan_steps(structure, protocol))
    for _ in range(rounds):
        saddle = records[-1]
        name = f"{structure.name or structure.formula} off saddle point {saddle.id[:8]}"
        starts = [replace(start, name=name) for start in beside(saddle)]
        if not starts:
            break
        below = replace(protocol, relaxations=(_relaxation(protocol, saddle),))
        start = starts[0] if len(starts) == 1 else _lower(starts, replace(below, frequencies=False), run)
        records = run(plan_steps(start, below))
        rise = records[-1].energy_hartree - saddle.energy_hartree
        if rise > _HIGHER:
            raise CalculationError(
                "relaxation_not_converged",
                f"the relaxation down from the saddle point {saddle.id} ended {rise:.2e} Hartree above it "
                f"({records[-1].id}): the two are different electronic states",
            )
    return records


def beside(saddle: Record) -> Iterator[Structure]:
    """Yield the structures on either side of a saddle point along its lowest imaginary mode; one where both are alike.

    Parameters
    ----------
    saddle
        A record with vibrations; nothing is yielded for a minimum.

    Raises
    ------
    BadInputError
        It has no vibrations.
    """
    modes = vibrations_of(saddle).imaginary_modes
    if not modes:
        return
    structure, mode = structure_of(saddle), np.array(modes[0])
    for amount in (DISPLACEMENT,) if is_reversed(structure, mode) else (DISPLACEMENT, -DISPLACEMENT):
        yield structure.with_positions(displaced(structure.positions, mode, amount))


def is_reversed(structure: Structure, mode: FloatArray) -> bool:
    """Whether a symmetry operation of a structure turns a mode, shape=(n_atoms, 3), the other way round."""
    direction = mode / np.linalg.norm(mode)
    for operation in find_operations(BondGraph(structure), _SYMMETRIC):
        image = np.empty_like(direction)
        image[list(operation.permutation)] = direction @ operation.matrix.T
        if (image * direction).sum() < _REVERSED:
            return True
    return False


def _relaxation(protocol: Protocol, saddle: Record) -> KohnSham:
    """The last relaxation of a protocol, converged more tightly where the start would nearly count as converged."""
    level = protocol.relaxations[-1]
    if not isinstance(level, KohnSham):
        raise TypeError(level)
    vibrations = vibrations_of(saddle)
    mode = np.array(vibrations.imaginary_modes[0])
    step = displaced(np.zeros_like(mode), mode, DISPLACEMENT)
    gradient = pull(np.array(vibrations.masses), vibrations.wavenumbers[0], step)
    return tightened(level) if np.linalg.norm(gradient, axis=1).max() < _PULL else level


def _lower(starts: list[Structure], protocol: Protocol, run: Run) -> Structure:
    """The start whose relaxation ends lower; one that fails does not count while another does not."""
    ends: list[tuple[float, Structure]] = []
    failure: CalculationError | None = None
    for start in starts:
        try:
            relaxed = run(plan_steps(start, protocol))[0]
        except CalculationError as error:
            failure = error
        else:
            ends.append((relaxed.energy_hartree, start))
    if not ends and failure is not None:
        raise failure
    return min(ends, key=lambda end: end[0])[1]
