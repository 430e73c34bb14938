"""What each step of a calculation does, from its task to its record. Imported only by the process that computes."""

import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alkaflow.elements import is_transition_metal
from alkaflow.errors import CalculationError
from alkaflow.files import sha256_of, write_atomically
from alkaflow.levels import KohnSham, Xtb, level_hash
from alkaflow.records import Convergence, FileReference, Record, formula_of
from alkaflow.workflows import interrupt
from alkaflow.workflows.provenance import provenance_of
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE, Task

if TYPE_CHECKING:
    from alkaflow.workflows.device import Cpu
    from alkaflow.workflows.pyscf_engine import ScfResult
    from alkaflow.workflows.relaxation_history import RelaxResult
    from alkaflow.workflows.stability import Stability

ORBITAL_FORMAT = "npz: coefficients (functions, occupied), energies [Hartree], occupations, by spin"
HESSIAN_FORMAT = f"{ORBITAL_FORMAT}; hessian [Hartree/bohr^2]"
LEARNED_FORMAT = f"{ORBITAL_FORMAT}; learned_hessian [Hartree/bohr^2], the optimiser's"
SURFACE_FORMAT = "npz: vertices [bohr], faces, normals, potential [Hartree/e], nearest_atom of a surface"

_LEARNED = "learned_hessian"


def run_task(task: Task, directory: Path) -> Record:
    """Compute and describe the result; the orbitals go to a file of their own in ``directory``.

    Raises
    ------
    Interrupted
        This process was asked to stop; what it had reached is saved where it can go on from there.
    """
    import numpy as np

    from alkaflow.structures import Structure
    from alkaflow.workflows.progress import Progress

    given = task.calculation
    if given.ghosts:  # charge and multiplicity are of the rest, and need not be possible for all atoms
        structure = Structure(given.symbols, np.array(task.positions), given.charge)
    else:
        structure = Structure(given.symbols, np.array(task.positions), given.charge, given.multiplicity)
    progress = Progress(directory)
    common: dict[str, Any] = {
        "id": given.id,
        "recipe": given.recipe,
        "step": given.step,
        "level": str(given.level),
        "level_of_theory": given.level,
        "parent": given.parent,
        "formula": formula_of(given.real_symbols),
        "symbols": list(given.symbols),
        "ghosts": list(given.ghosts) if given.ghosts else None,
        "charge": given.charge,
        "multiplicity": given.multiplicity,
    }
    begin = time.monotonic()
    device = None
    interrupt.check()
    if isinstance(given.level, Xtb):
        found = _run_xtb(structure, task, progress, directory)
    elif given.step == "frequencies":
        found = _run_frequencies(structure, task, progress, directory)
    elif given.step == "properties":
        found = _run_properties(structure, task, progress, directory)
    else:
        from alkaflow.workflows.device import get_device

        device = get_device(task.device, task.fast_kernels)
        run = _run_relaxation if given.step == "relax" and len(structure) > 1 else _run_scf
        found = run(structure, task, progress, directory, device)
    seconds = {"total": time.monotonic() - begin, **found.pop("seconds", {})}
    continued = {what: count for what, count in found.pop("continued", {}).items() if count}
    found["warnings"] = [*task.notes, *found.get("warnings", [])]
    return Record.model_validate(common | found | {"provenance": provenance_of(task, seconds, continued, device)})


def _run_xtb(structure: Any, task: Task, progress: Any, directory: Path) -> dict[str, Any]:
    from alkaflow.workflows.checkpoint import fingerprint_of
    from alkaflow.workflows.xtb_engine import KeptGeometry, run_xtb

    given = task.calculation
    if not isinstance(given.level, Xtb):
        raise TypeError(given.level)
    if given.step not in ("relax", "energy"):
        raise CalculationError("bad_input", f"{given.step} are computed at Kohn-Sham levels, not at {given.level}")
    relax = given.step == "relax"
    checkpoints, fingerprint = task.checkpoints or directory, fingerprint_of(given)
    frozen = {atom for constraint in given.constraints or () for atom in constraint.atoms}
    if relax and given.level.optimiser == "geometric" and not frozen:
        from alkaflow.workflows.xtb_internals import relax_in_internals

        result = relax_in_internals(structure, given.level, progress, checkpoints, fingerprint)
    else:
        kept = KeptGeometry(checkpoints, fingerprint)
        result = run_xtb(structure, given.level, relax, progress, frozen, kept)
    return {
        "start_positions_angstrom": structure.positions.tolist() if relax else None,
        "positions_angstrom": result.positions.tolist(),
        "energy_hartree": result.energy,
        "energies_along_relaxation": result.energies if relax else [],
        "convergence": Convergence(
            cycles=result.steps, max_force=result.max_force, symmetry_operations=result.operations if relax else None
        ),
        "continued": {"gradients": result.resumed},
    }


def _run_relaxation(structure: Any, task: Task, progress: Any, directory: Path, device: "Cpu") -> dict[str, Any]:
    from alkaflow.structures.graph import BondGraph
    from alkaflow.structures.symmetry import EXACT, find_operations
    from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
    from alkaflow.workflows.basis import basis_hash
    from alkaflow.workflows.checkpoint import fingerprint_of
    from alkaflow.workflows.drift import SameCompound
    from alkaflow.workflows.model_hessian import learned_hessian, model_hessian
    from alkaflow.workflows.pyscf_engine import build_molecule
    from alkaflow.workflows.relaxation import DEFAULT_MAX_STEPS, THRESHOLDS, run_relaxation
    from alkaflow.workflows.scf_checkpoint import ScfKeeper

    given = task.calculation
    level = given.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    parts = given.fragments or ()
    start = _start(structure, level, task, progress, directory)
    checkpoints, fingerprint = task.checkpoints or directory, fingerprint_of(given)
    model = None
    if not given.constraints:
        model = learned_hessian(_stored(directory).get(_LEARNED), structure) or model_hessian(structure)
    result = run_relaxation(
        structure,
        level,
        task.memory_mb,
        progress,
        checkpoints,
        fingerprint,
        thresholds=THRESHOLDS[level.convergence or "gau"],
        max_steps=level.max_steps or DEFAULT_MAX_STEPS,
        constraints=given.constraints or (),
        operations=find_operations(BondGraph(structure), EXACT),
        judge=SameCompound(structure, parts if len(parts) > 1 else ()),
        guess=start.guess,
        model=model,
        device=device,
        keeper=ScfKeeper(checkpoints, fingerprint, moving=True),
    )
    molecule = build_molecule(structure, level, task.memory_mb)
    return {
        "start_positions_angstrom": structure.positions.tolist(),
        "positions_angstrom": result.positions.tolist(),
        "energy_hartree": result.energy,
        "energies_along_relaxation": result.energies,
        "basis_functions": int(molecule.nao),
        "basis_sha256": basis_hash(molecule._basis, molecule._ecp),  # noqa: SLF001  (no other way to the data it used)
        "convergence": Convergence(
            cycles=result.steps,
            scf_cycles=result.cycles,
            max_force=result.max_gradient * HARTREE_EV / BOHR_ANGSTROM,
            symmetry_operations=result.operations,
            corrections=result.corrections,
            stability=asdict(result.stability) if result.stability else None,
        ),
        "orbitals": _write_relaxed(result, directory) if result.guess else None,
        "states": start.states,
        "warnings": start.notes + result.notes + judge_stability(level, result.stability),
        "seconds": start.seconds,
        "continued": {"gradients": result.resumed, "scf_cycles": result.continued},
    }


@dataclass(frozen=True)
class _Start:
    """Orbitals to begin with, and what a record holds of a search for them."""

    guess: dict[str, Any] | None
    states: list[Any] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _start(structure: Any, level: KohnSham, task: Task, progress: Any, directory: Path) -> _Start:
    """The lowest electronic state where one is searched, the orbitals of the step before elsewhere."""
    before = _guess(structure, level, task, directory)
    if not task.calculation.searches_states:
        return _Start(before)
    from alkaflow.workflows.lowest_state import find_lowest_state

    begin = time.monotonic()
    try:
        guess, states = find_lowest_state(structure, level, task, progress, task.checkpoints or directory)
    except CalculationError as error:
        if error.outcome != "scf_not_converged":
            raise
        return _Start(before, notes=[f"competing electronic states were not found: {error}"])
    return _Start(guess, states, {"states": time.monotonic() - begin})


def _stored(directory: Path) -> dict[str, Any]:
    """Arrays that the step before has left, by name."""
    import numpy as np

    path = directory / GUESS_FILE
    if not path.exists():
        return {}
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _stored_orbitals(directory: Path) -> dict[str, Any] | None:
    """Orbitals of the step before, as they are, where there are some."""
    from alkaflow.workflows.guess import ORBITAL_ARRAYS

    arrays = {name: array for name, array in _stored(directory).items() if name.startswith(ORBITAL_ARRAYS)}
    return arrays or None


def _guess(structure: Any, level: KohnSham, task: Task, directory: Path) -> dict[str, Any] | None:
    """Orbitals of the step before in the basis of this one, where there are some."""
    from alkaflow.workflows.guess import orbitals_in_basis
    from alkaflow.workflows.pyscf_engine import build_molecule

    orbitals = _stored_orbitals(directory)
    if not isinstance(task.guess_level, KohnSham) or orbitals is None:
        return None
    before, now = (build_molecule(structure, each, task.memory_mb) for each in (task.guess_level, level))
    return orbitals_in_basis(orbitals, before, now)


def _run_scf(structure: Any, task: Task, progress: Any, directory: Path, device: "Cpu") -> dict[str, Any]:
    from alkaflow.workflows.checkpoint import fingerprint_of
    from alkaflow.workflows.pyscf_engine import run_scf
    from alkaflow.workflows.scf_checkpoint import ScfKeeper

    given = task.calculation
    level = given.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    start = _start(structure, level, task, progress, directory)
    result = run_scf(
        structure,
        level,
        task.memory_mb,
        progress,
        start.guess,
        ghosts=given.ghosts or (),
        charge=given.charge,
        multiplicity=given.multiplicity,
        device=device,
        keeper=ScfKeeper(task.checkpoints or directory, fingerprint_of(given)),
    )
    fields = _described(structure, level, result, directory)
    notes = start.notes
    if start.guess is None and given.multiplicity > 1 and len(structure) > 1:
        notes = notes + _metals_not_searched(given.real_symbols)
    found = {"states": start.states, "warnings": notes + fields["warnings"]}
    return fields | found | {"seconds": start.seconds | fields["seconds"]}


def _metals_not_searched(symbols: Sequence[str]) -> list[str]:
    """What a record says of d electrons that stay where a default guess puts them."""
    metals = sorted({symbol for symbol in symbols if is_transition_metal(symbol)})
    if not metals:
        return []
    advice = "composite and published search, and studies with states: true"
    return [f"competing electronic states of {', '.join(metals)} were not searched, another may be lower ({advice})"]


def _run_frequencies(structure: Any, task: Task, progress: Any, directory: Path) -> dict[str, Any]:
    from alkaflow.workflows.checkpoint import fingerprint_of
    from alkaflow.workflows.device import Cpu
    from alkaflow.workflows.frequencies import find_vibrations

    level = task.calculation.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    result, vibrations, notes = find_vibrations(
        structure,
        level,
        task.memory_mb,
        progress,
        task.checkpoints or directory,
        fingerprint_of(task.calculation),
        _guess(structure, level, task, directory),
        Cpu(task.fast_kernels),
    )
    fields = _described(structure, level, result, directory)
    return fields | {"vibrations": vibrations, "warnings": fields["warnings"] + notes}


def _run_properties(structure: Any, task: Task, progress: Any, directory: Path) -> dict[str, Any]:
    """Charges and electrostatic potential of the orbitals of the step before; without those an SCF comes first."""
    from alkaflow.analysis.density import Density
    from alkaflow.workflows.properties import describe_density
    from alkaflow.workflows.pyscf_engine import build_molecule, run_scf

    level = task.calculation.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    orbitals, energy = _stored_orbitals(directory), task.guess_energy
    before = task.guess_level if isinstance(task.guess_level, KohnSham) else None
    cycles, warnings = 0, []
    if orbitals is None or energy is None or before is None or level_hash(before) != level_hash(level):
        scf = run_scf(structure, level, task.memory_mb, progress, _guess(structure, level, task, directory))
        orbitals, energy, cycles, warnings = scf.orbitals, scf.energy, scf.convergence.cycles, scf.warnings
    density = Density.of(build_molecule(structure, level, task.memory_mb), orbitals)
    found = describe_density(density, lambda what: progress.report(what, 0, energy))
    return {
        "positions_angstrom": structure.positions.tolist(),
        "energy_hartree": energy,
        "basis_functions": int(density.molecule.nao),
        "populations": found.charges,
        "surface": found.surface,
        "convergence": Convergence(cycles=cycles),
        "orbitals": _write_arrays(found.arrays, directory, SURFACE_FORMAT),
        "warnings": warnings,
        "seconds": found.seconds,
    }


def _described(structure: Any, level: KohnSham, result: "ScfResult", directory: Path) -> dict[str, Any]:
    """What a record holds of an SCF; its orbitals go to a file."""
    return {
        "positions_angstrom": structure.positions.tolist(),
        "energy_hartree": result.energy,
        "energy_components": result.components,
        "s_squared": result.s_squared,
        "homo_lumo_ev": result.homo_lumo_ev,
        "dipole_debye": result.dipole_debye,
        "populations": result.populations,
        "basis_functions": result.basis_functions,
        "basis_sha256": result.basis_sha256,
        "convergence": result.convergence,
        "orbitals": _write_orbitals(result.orbitals, directory),
        "warnings": result.warnings + judge_stability(level, result.stability),
        "seconds": result.seconds,
        "continued": {"scf_cycles": result.continued},
    }


def judge_stability(level: KohnSham, stability: "Stability | None") -> list[str]:
    """Refuse a solution that its level wants stable and that is not; return what else a record has to say of it.

    Parameters
    ----------
    level
        With or without a wish for stability.
    stability
        None where none was asked for.

    Raises
    ------
    CalculationError
        ``scf_unstable``, with what was tried.
    """
    if stability is None:
        return []
    if level.stability and stability.unstable:
        raise CalculationError(
            "scf_unstable",
            f"{level}: the SCF solution is unstable (lowest eigenvalue of the orbital Hessian {stability.lowest:.1e} "
            f"Hartree) after {stability.rounds} repetitions from rotated orbitals, which lowered the energy by "
            f"{stability.lowering:.1e} Hartree",
        )
    if not stability.tested:
        return ["whether the SCF solution is stable is not known: its orbital Hessian did not converge"]
    return []


def _write_relaxed(result: "RelaxResult", directory: Path) -> FileReference:
    """Orbitals, and what the optimiser has learned for the next level."""
    arrays = dict(result.guess)
    if result.hessian is None:
        return _write_orbitals(arrays, directory)
    return _write_arrays(arrays | {_LEARNED: result.hessian}, directory, LEARNED_FORMAT)


def _write_orbitals(orbitals: dict[str, Any], directory: Path) -> FileReference:
    return _write_arrays(orbitals, directory, HESSIAN_FORMAT if "hessian" in orbitals else ORBITAL_FORMAT)


def _write_arrays(arrays: dict[str, Any], directory: Path, kind: str) -> FileReference:
    """Write the file of a record."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    data = buffer.getvalue()
    write_atomically(directory / ORBITAL_FILE, data)
    return FileReference(sha256=sha256_of(data), bytes=len(data), format=kind)
