"""GFN2-xTB by tblite: energies and relaxations. Imported only by the process that computes."""

from dataclasses import dataclass, field

import numpy as np

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import FloatArray, Structure
from alkaflow.units import HARTREE_EV
from alkaflow.workflows.progress import Progress


@dataclass(frozen=True)
class XtbResult:
    """Final geometry [Angstrom], energy [Hartree], largest force [eV/Angstrom], energies along the way [Hartree]."""

    positions: FloatArray
    energy: float
    max_force: float
    steps: int
    energies: list[float] = field(default_factory=list)


def run_xtb(structure: Structure, level: Xtb, relax: bool, progress: Progress) -> XtbResult:
    """Compute an energy, or relax first with ASE's L-BFGS.

    Raises
    ------
    CalculationError
        ``scf_not_converged``, ``relaxation_not_converged``, or ``engine_crashed`` for a value that is not finite.
    """
    from ase.calculators.calculator import CalculationFailed, SCFError
    from ase.optimize import LBFGS
    from tblite.ase import TBLite

    from alkaflow.structures import to_ase

    atoms = to_ase(structure)
    atoms.calc = TBLite(
        method="GFN2-xTB",
        charge=structure.charge,
        multiplicity=structure.multiplicity,
        accuracy=level.accuracy,
        verbosity=0,
    )
    energies: list[float] = []

    def watch() -> None:
        energy = float(atoms.get_potential_energy()) / HARTREE_EV
        force = _max_force(atoms.get_forces())
        if not (np.isfinite(energy) and np.isfinite(force)):
            raise CalculationError("engine_crashed", f"energy or force is not finite at step {len(energies)}")
        energies.append(energy)
        progress.report("relaxation step", len(energies) - 1, energy, max_force=force)

    try:
        if relax and len(structure) > 1:
            optimiser = LBFGS(atoms, logfile=None)
            optimiser.attach(watch)
            converged = optimiser.run(fmax=level.max_force, steps=level.max_steps)
            if not converged:
                raise CalculationError(
                    "relaxation_not_converged",
                    f"forces above {level.max_force} eV/Angstrom after {level.max_steps} steps of {level}",
                )
        else:
            watch()
        max_force = _max_force(atoms.get_forces())
    except (CalculationFailed, SCFError) as error:
        raise CalculationError("scf_not_converged", f"{level}: {error}") from error
    return XtbResult(np.array(atoms.positions), energies[-1], max_force, len(energies) - 1, energies)


def _max_force(forces: FloatArray) -> float:
    """Largest force on an atom, forces with shape=(n_atoms, 3)."""
    return float(np.linalg.norm(forces, axis=1).max())
