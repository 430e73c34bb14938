"""Kohn-Sham energies by PySCF. Imported only by the process that computes.

Geometry goes in as floats, never as text; PySCF's own checkpoint file is off; every energy is checked to be finite.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from alkaflow.analysis.density import Density
from alkaflow.analysis.orbital_populations import meta_loewdin, mulliken
from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import FUNCTIONALS, KohnSham
from alkaflow.records import Charges, Convergence
from alkaflow.solvents import SOLVENTS, Solvent
from alkaflow.structures import FloatArray, Structure
from alkaflow.units import BOHR_ANGSTROM, DEBYE_AU, HARTREE_EV
from alkaflow.workflows.basis import basis_hash, check_level, element_basis, valence_electrons
from alkaflow.workflows.device import CPU, Cpu
from alkaflow.workflows.grids import converge_on_grids
from alkaflow.workflows.guess import occupied_orbitals, unusable
from alkaflow.workflows.orbital_tags import occupied
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.quadrature import electrons_on
from alkaflow.workflows.scf_checkpoint import Resumed, ScfKeeper, Situation
from alkaflow.workflows.stability import Stability

# PySCF's summary -> our names; these parts add up to the energy.
_COMPONENTS = (
    ("nuc", "nuclear"),
    ("e1", "one_electron"),
    ("coul", "coulomb"),
    ("exc", "exchange_correlation"),
    ("dispersion", "dispersion"),
    ("e_solvent", "solvent"),
    ("e_cds", "solvent_cavity_dispersion_structure"),
)
_PCM_METHODS = {"cpcm": "C-PCM", "iefpcm": "IEF-PCM"}
_SPIN_EXCESS = 0.05  # of <S2> over that of a pure state, from which a record says so


@dataclass(frozen=True)
class ScfResult:
    """What a converged SCF gives. Energies in Hartree; orbitals with shape=(spins, n_functions, n_occupied).

    Charges and spins of ghost atoms, in atom order with the others, are those of the electrons in their functions.
    ``continued`` is the number of cycles of earlier attempts, which the convergence does not count.
    """

    energy: float
    components: dict[str, float]
    s_squared: float
    homo_lumo_ev: dict[str, list[float | None]]
    dipole_debye: list[float]
    populations: Charges
    convergence: Convergence
    orbitals: dict[str, FloatArray]
    basis_functions: int
    basis_sha256: str
    warnings: list[str]
    seconds: dict[str, float]
    stability: Stability | None = None
    continued: int = 0


def build_molecule(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    ghosts: Sequence[int] = (),
    charge: int | None = None,
    multiplicity: int | None = None,
) -> Any:
    """Return the PySCF ``Mole`` of a structure: positions in bohr, core potentials where the basis has them, C1.

    Parameters
    ----------
    structure
        All atoms, ghosts too.
    level
        For the basis.
    max_memory_mb
        That PySCF may plan with [MB].
    ghosts
        Atoms (numbers from 0) of which only the basis functions, and those for fitting, are there.
    charge, multiplicity
        Of the atoms that are no ghosts; those of the structure without them.

    Raises
    ------
    BadInputError
        The level cannot describe an element, or the core potentials leave too few electrons.
    """
    from pyscf import gto

    absent = set(ghosts)
    labels = [f"ghost-{symbol}" if k in absent else symbol for k, symbol in enumerate(structure.symbols)]
    real = tuple(symbol for k, symbol in enumerate(structure.symbols) if k not in absent)
    elements = {symbol: element_basis(level, symbol) for symbol in set(structure.symbols)}
    check_level(level, real)
    molecule = gto.Mole()
    molecule.charge = structure.charge if charge is None else charge
    molecule.spin = (structure.multiplicity if multiplicity is None else multiplicity) - 1
    electrons = valence_electrons(level, real) - molecule.charge
    if electrons < max(1, molecule.spin):
        raise BadInputError(
            f"{level} leaves {electrons} electrons of {structure.formula} outside its core potentials, too few for "
            f"charge {molecule.charge:+d} and multiplicity {molecule.spin + 1}; use a basis of all electrons"
        )
    molecule.build(
        atom=[
            (label, tuple(float(x) for x in xyz / BOHR_ANGSTROM))
            for label, xyz in zip(labels, structure.positions, strict=True)
        ],
        unit="Bohr",
        basis={label: elements[symbol].shells for label, symbol in zip(labels, structure.symbols, strict=True)},
        ecp={symbol: elements[symbol].potential for symbol in set(real) if elements[symbol].potential},
        cart=bool(level.cartesian),
        symmetry=False,
        verbose=0,
        max_memory=max_memory_mb,
    )
    return molecule


def build_mean_field(molecule: Any, level: KohnSham, unrestricted: bool = False) -> Any:
    """Return the Kohn-Sham object of a level: restricted for singlets unless asked otherwise, else unrestricted.

    Raises
    ------
    BadInputError
        Ghost atoms in a solvent.
    """
    from pyscf import dft

    mean_field = dft.UKS(molecule) if unrestricted or molecule.spin else dft.RKS(molecule)
    mean_field.xc = FUNCTIONALS[level.functional]
    if level.fitting:
        mean_field = mean_field.density_fit(auxbasis=level.fitting)
    if level.dispersion:
        mean_field.disp = f"{level.dispersion}:{level.functional}"  # d3bj is two-body in PySCF, as in Gaussian
        _leave_ghosts_out(mean_field)
    if level.solvent:
        mean_field = _in_solvent(mean_field, level.solvent)
    mean_field.chkfile = None
    mean_field.conv_tol = level.energy_threshold
    mean_field.conv_tol_grad = level.gradient_threshold
    mean_field.max_cycle = level.max_cycles
    return mean_field


def _real_atoms(molecule: Any) -> list[int]:
    return [k for k in range(molecule.natm) if not molecule.atom_symbol(k).upper().startswith("GHOST")]


def _leave_ghosts_out(mean_field: Any) -> None:
    """Take the dispersion energy of the real atoms alone; PySCF would hand the ghosts over as atoms of number 0."""
    from pyscf import dft, gto

    molecule = mean_field.mol
    real = _real_atoms(molecule)
    if len(real) == molecule.natm:
        return
    atoms = [(molecule.atom_symbol(k), molecule.atom_coord(k)) for k in real]
    alone = gto.Mole().build(atom=atoms, unit="Bohr", charge=molecule.charge, spin=None, basis={}, verbose=0)
    plain = dft.RKS(alone)
    plain.disp = mean_field.disp
    energy = float(plain.get_dispersion())
    mean_field.get_dispersion = lambda *_, **__: energy


def _in_solvent(mean_field: Any, solvent: Solvent) -> Any:
    """Put a continuum around a mean field, density fitted or not, with PySCF's radii and 302 or 590 points a sphere."""
    from pyscf import solvent as models

    if len(_real_atoms(mean_field.mol)) < mean_field.mol.natm:
        raise BadInputError(
            "ghost atoms and a solvent do not go together: PySCF would give every ghost a cavity of its own; take the "
            "counterpoise correction without the solvent"
        )
    if solvent.model == "smd":
        from pyscf.solvent import smd

        if smd.libsolvent is None:
            raise BadInputError("this PySCF was built without SMD (ENABLE_SMD); use cpcm or iefpcm instead of smd")
        mean_field = models.SMD(mean_field)
        mean_field.with_solvent.solvent = SOLVENTS[str(solvent.name)].smd
        return mean_field
    mean_field = models.PCM(mean_field)
    mean_field.with_solvent.method = _PCM_METHODS[solvent.model]
    mean_field.with_solvent.eps = solvent.epsilon
    return mean_field


def run_scf(
    structure: Structure,
    level: KohnSham,
    max_memory_mb: int,
    progress: Progress,
    guess: Mapping[str, FloatArray] | None = None,
    ghosts: Sequence[int] = (),
    charge: int | None = None,
    multiplicity: int | None = None,
    device: Cpu = CPU,
    keeper: ScfKeeper | None = None,
) -> ScfResult:
    """Converge the SCF and evaluate what a record holds.

    The SCF converges on ``level.scf_grid`` (where given) and finishes on ``level.grid``. DIIS is tried first; where
    it does not converge, the ladder of corrections follows. A solution that took corrections, and any at a level that
    asks for it, is tested for stability and left where it is unstable.

    Parameters
    ----------
    structure, level
        What to compute.
    max_memory_mb
        That PySCF may plan with [MB].
    progress
        Told after every cycle.
    guess
        Occupied orbitals to begin with, in this level's basis, as records hold them. A singlet whose guess has
        orbitals of either spin is computed unrestricted, so that its symmetry may stay broken.
    ghosts, charge, multiplicity
        As for `build_molecule`.
    device
        Where SCF cycles are computed.
    keeper
        Saves the orbitals on the way; what an earlier attempt saved is gone on with, instead of the guess.

    Raises
    ------
    BadInputError
        As `build_molecule` and `build_mean_field`.
    CalculationError
        ``scf_not_converged``, or ``engine_crashed`` for an energy that is not finite.
    """
    begin = time.monotonic()
    molecule = build_molecule(structure, level, max_memory_mb, ghosts, charge, multiplicity)
    warnings = unusable(guess, molecule)
    before = keeper.begin(molecule) if keeper else Resumed()
    start = before.orbitals or (None if warnings else guess)
    mean_field = build_mean_field(molecule, level, unrestricted=start is not None and "coefficients_alpha" in start)
    watch = _Watch(progress)
    mean_field, reached = converge_on_grids(mean_field, level, start, watch, device, keeper, before.situation)
    converged = time.monotonic()
    result = replace(_describe(mean_field, watch, reached, warnings + before.notes), continued=before.cycles)
    result.seconds.update(scf=converged - begin, properties=time.monotonic() - converged)
    return result


def _describe(mean_field: Any, watch: "_Watch", reached: Situation, warnings: list[str]) -> ScfResult:
    """What a record holds of a converged object."""
    molecule, stability = mean_field.mol, reached.stability
    energy = float(mean_field.e_tot)
    _require_finite(energy)
    spin_square = float(mean_field.spin_square()[0]) if np.ndim(mean_field.mo_occ) == 2 else 0.0
    return ScfResult(
        energy=energy,
        components={
            name: float(mean_field.scf_summary[key]) for key, name in _COMPONENTS if key in mean_field.scf_summary
        },
        s_squared=spin_square,
        homo_lumo_ev=_frontier(mean_field),
        dipole_debye=[float(x) / DEBYE_AU for x in mean_field.dip_moment(unit="AU", verbose=0)],
        populations=_populations(mean_field),
        convergence=Convergence(
            cycles=len(watch.energies),
            energy_change=watch.energy_change,
            orbital_gradient=watch.gradients[-1] if watch.gradients else float("nan"),
            cycle_energies=watch.energies,
            cycle_gradients=watch.gradients,
            grid_electrons=electrons_on(molecule, mean_field.grids, occupied(mean_field.make_rdm1()) or []),
            corrections=reached.corrections,
            stability=asdict(stability) if stability else None,
        ),
        orbitals=occupied_orbitals(mean_field),
        basis_functions=int(molecule.nao),
        basis_sha256=basis_hash(molecule._basis, molecule._ecp),  # noqa: SLF001  (no other way to the data it used)
        warnings=warnings + _warnings(molecule.spin, spin_square, stability),
        seconds={},
        stability=stability,
    )


class _Watch:
    """Callback of the SCF: counts cycles and keeps the last changes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.energies: list[float] = []
        self.gradients: list[float] = []
        self.energy_change = float("nan")

    def __call__(self, state: dict[str, Any]) -> None:
        energy = float(state["e_tot"])
        self.energies.append(energy)
        self.gradients.append(float(state["norm_gorb"]))
        self.energy_change = energy - float(state["last_hf_e"])
        self._progress.report("SCF cycle", len(self.energies), energy, orbital_gradient=self.gradients[-1])


def _require_finite(energy: float) -> None:
    if not np.isfinite(energy):
        raise CalculationError("engine_crashed", "the SCF energy is not finite")


def _by_spin(values: Any) -> list[Any]:
    """Split a spin-resolved array into its spins; a restricted one is a single entry."""
    array = np.asarray(values)
    return list(array) if array.ndim > 1 else [array]


def _spin_names(mean_field: Any) -> tuple[str, ...]:
    return ("alpha", "beta") if np.ndim(mean_field.mo_occ) == 2 else ("restricted",)


def _frontier(mean_field: Any) -> dict[str, list[float | None]]:
    """Energies of HOMO and LUMO [eV] for each spin; None where there is none."""
    result: dict[str, list[float | None]] = {}
    occupations, energies = _by_spin(mean_field.mo_occ), _by_spin(mean_field.mo_energy)
    for name, occupation, energy in zip(_spin_names(mean_field), occupations, energies, strict=True):
        filled, empty = energy[occupation > 0], energy[occupation == 0]
        result[name] = [
            float(filled.max()) * HARTREE_EV if len(filled) else None,
            float(empty.min()) * HARTREE_EV if len(empty) else None,
        ]
    return result


def _populations(mean_field: Any) -> Charges:
    """Mulliken and meta-Loewdin charges [e], and Mulliken's spin populations of an unrestricted solution.

    No meta-Loewdin charges with core potentials and Cartesian functions, for which there are none.
    """
    molecule = mean_field.mol
    density = Density.of(molecule, occupied_orbitals(mean_field))
    found = {"mulliken": mulliken(density)}
    if not (molecule.has_ecp() and molecule.cart):
        found["meta_loewdin"] = meta_loewdin(density)
    spins = {"mulliken": found["mulliken"].spins.tolist()} if np.ndim(mean_field.mo_occ) == 2 else {}
    return Charges(charges={name: each.charges.tolist() for name, each in found.items()}, spins=spins)


def _warnings(unpaired: int, s_squared: float, stability: Stability | None) -> list[str]:
    """What to know of a solution with so many more spins up than down; a pure state has <S2> = S (S + 1)."""
    exact = unpaired / 2 * (unpaired / 2 + 1)
    said = []
    if s_squared - exact > _SPIN_EXCESS and not unpaired:
        said.append(
            f"<S2> is {s_squared:.3f}: a broken-symmetry singlet, between a pure singlet (0) and a triplet (2), whose "
            "energy is neither's"
        )
    elif s_squared - exact > _SPIN_EXCESS:
        said.append(f"<S2> is {s_squared:.3f}, {s_squared - exact:.3f} above that of a pure spin state")
    if stability is not None and stability.tested and not stability.stable:
        said.append(f"the SCF solution is unstable, also after {stability.rounds} rounds from rotated orbitals")
    if stability is not None and stability.external_stable is False:
        said.append("the restricted singlet is unstable towards different orbitals for the two spins")
    return said
