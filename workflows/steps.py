"""What each step of a calculation does, from its task to its record. Imported only by the process that computes."""

import io
import resource
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of, write_atomically
from alkaflow.levels import KohnSham, Xtb
from alkaflow.records import Convergence, FileReference, Provenance, Record, formula_of
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE, Task

ORBITAL_FORMAT = "npz: coefficients (functions, occupied), energies [Hartree], occupations, by spin"

CHEAP = {"basis": "6-31g", "basis_of_element": {}, "grid": 1, "scf_grid": None, "energy_threshold": 1e-7}
"""What a search of electronic states takes instead of its level's own."""

_PACKAGES = ("alkaflow", "numpy", "scipy", "ase", "pyscf", "pyscf-dispersion", "geometric", "tblite")


def run_task(task: Task, directory: Path) -> Record:
    """Compute and describe the result; the orbitals go to a file of their own in ``directory``."""
    import numpy as np

    from alkaflow.structures import Structure
    from alkaflow.workflows.progress import Progress

    given = task.calculation
    structure = Structure(given.symbols, np.array(task.positions), given.charge, given.multiplicity)
    progress = Progress(directory)
    common: dict[str, Any] = {
        "id": given.id,
        "recipe": given.recipe,
        "step": given.step,
        "level": str(given.level),
        "level_of_theory": given.level,
        "parent": given.parent,
        "formula": formula_of(given.symbols),
        "symbols": list(given.symbols),
        "charge": given.charge,
        "multiplicity": given.multiplicity,
    }
    begin = time.monotonic()
    if isinstance(given.level, Xtb):
        found = _run_xtb(structure, given, progress)
    elif given.step == "relax" and len(structure) > 1:
        found = _run_relaxation(structure, task, progress, directory)
    else:
        found = _run_scf(structure, task, progress, directory)
    seconds = {"total": time.monotonic() - begin, **found.pop("seconds", {})}
    return Record.model_validate(common | found | {"provenance": _provenance(task, seconds)})


def _run_xtb(structure: Any, given: CalculationInput, progress: Any) -> dict[str, Any]:
    from alkaflow.workflows.xtb_engine import run_xtb

    if not isinstance(given.level, Xtb):
        raise TypeError(given.level)
    relax = given.step == "relax"
    result = run_xtb(structure, given.level, relax, progress)
    return {
        "start_positions_angstrom": structure.positions.tolist() if relax else None,
        "positions_angstrom": result.positions.tolist(),
        "energy_hartree": result.energy,
        "energies_along_relaxation": result.energies if relax else [],
        "convergence": Convergence(
            cycles=result.steps, max_force=result.max_force, symmetry_operations=result.operations if relax else None
        ),
    }


def _run_relaxation(structure: Any, task: Task, progress: Any, directory: Path) -> dict[str, Any]:
    from alkaflow.structures.graph import BondGraph
    from alkaflow.structures.symmetry import EXACT, find_operations
    from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
    from alkaflow.workflows.basis import basis_hash
    from alkaflow.workflows.checkpoint import fingerprint_of
    from alkaflow.workflows.drift import drifted_apart
    from alkaflow.workflows.pyscf_engine import build_molecule
    from alkaflow.workflows.relaxation import DEFAULT_MAX_STEPS, THRESHOLDS, run_relaxation

    level = task.calculation.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    states: list[Any] = []
    guess = _guess(structure, level, task, directory)
    if level.states and task.calculation.fragments and structure.multiplicity > 1:
        guess, states = _lowest_state(structure, level, task, progress)
    result = run_relaxation(
        structure,
        level,
        task.memory_mb,
        progress,
        task.checkpoints or directory,
        fingerprint_of(task.calculation),
        thresholds=THRESHOLDS[level.convergence or "gau"],
        max_steps=level.max_steps or DEFAULT_MAX_STEPS,
        operations=find_operations(BondGraph(structure), EXACT),
        judge=drifted_apart,
        guess=guess,
    )
    molecule = build_molecule(structure, level, task.memory_mb)
    return {
        "start_positions_angstrom": structure.positions.tolist(),
        "positions_angstrom": result.positions.tolist(),
        "energy_hartree": result.energy,
        "energies_along_relaxation": result.energies,
        "basis_functions": int(molecule.nao),
        "basis_sha256": basis_hash(molecule._basis),  # noqa: SLF001  (PySCF has no other way to the data it used)
        "convergence": Convergence(
            cycles=result.steps,
            max_force=result.max_gradient * HARTREE_EV / BOHR_ANGSTROM,
            symmetry_operations=result.operations,
            corrections=result.corrections,
        ),
        "orbitals": _write_orbitals(dict(result.guess), directory) if result.guess else None,
        "states": states,
        "warnings": result.notes,
    }


def _guess(structure: Any, level: KohnSham, task: Task, directory: Path) -> dict[str, Any] | None:
    """Orbitals of the step before in the basis of this one, where there are some."""
    import numpy as np

    from alkaflow.workflows.guess import orbitals_in_basis
    from alkaflow.workflows.pyscf_engine import build_molecule

    path = directory / GUESS_FILE
    if not isinstance(task.guess_level, KohnSham) or not path.exists():
        return None
    with np.load(path) as stored:
        orbitals = {name: stored[name] for name in stored.files}
    before, now = (build_molecule(structure, each, task.memory_mb) for each in (task.guess_level, level))
    return orbitals_in_basis(orbitals, before, now)


def _lowest_state(structure: Any, level: KohnSham, task: Task, progress: Any) -> tuple[dict[str, Any], list[Any]]:
    """Orbitals of the lowest state that a search at a cheap level finds, and all of its states."""
    from alkaflow.records import ElectronicState
    from alkaflow.workflows.guess import orbitals_in_basis
    from alkaflow.workflows.pyscf_engine import build_molecule
    from alkaflow.workflows.states import search_states

    cheap = level.model_copy(update=CHEAP)
    states = search_states(structure, cheap, task.calculation.fragments or (), task.memory_mb, progress.report)
    orbitals: dict[str, Any] = {}
    for spin, orbital, occupation in zip(("alpha", "beta"), states[0].coefficients, states[0].occupations, strict=True):
        orbitals |= {
            f"coefficients_{spin}": orbital[:, occupation > 0],
            f"occupations_{spin}": occupation[occupation > 0],
        }
    molecules = (build_molecule(structure, each, task.memory_mb) for each in (cheap, level))
    found = [
        ElectronicState(
            label=state.label,
            energy_hartree=state.energy,
            s_squared=state.s_squared,
            guest_charges=list(state.guest_charges),
            restricted=state.restricted,
        )
        for state in states
    ]
    return orbitals_in_basis(orbitals, *molecules), found


def _run_scf(structure: Any, task: Task, progress: Any, directory: Path) -> dict[str, Any]:
    from alkaflow.workflows.pyscf_engine import run_scf

    level = task.calculation.level
    if isinstance(level, Xtb):
        raise TypeError(level)
    result = run_scf(structure, level, task.memory_mb, progress, _guess(structure, level, task, directory))
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
        "warnings": result.warnings,
        "seconds": result.seconds,
    }


def _write_orbitals(orbitals: dict[str, Any], directory: Path) -> FileReference:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **orbitals)
    data = buffer.getvalue()
    write_atomically(directory / ORBITAL_FILE, data)
    return FileReference(sha256=sha256_of(data), bytes=len(data), format=ORBITAL_FORMAT)


def _provenance(task: Task, seconds: dict[str, float]) -> Provenance:
    from alkaflow.workflows.blas import cpu_model, loaded_blas

    return Provenance(
        versions={"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        blas=loaded_blas(),
        threads=task.threads,
        cpu=cpu_model(),
        peak_memory_mb=round(peak_memory_mb(), 1),
        seconds={part: round(value, 3) for part, value in seconds.items()},
        finished=datetime.now(UTC),
    )


def peak_memory_mb() -> float:
    """Largest resident memory of this process [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
