"""Relaxations against other optimisers and codes, killed at any moment, and what ends them otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from alkaflow.calculations import Constraint
from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
from alkaflow.workflows.checkpoint import Checkpoint, generations, load, save
from alkaflow.workflows.constraints import agreeing
from alkaflow.workflows.guess import density_of
from alkaflow.workflows.progress import Progress, read_progress
from alkaflow.workflows.pyscf_engine import build_molecule, run_scf
from alkaflow.workflows.relaxation import THRESHOLDS, oscillates, relax, run_relaxation
from alkaflow.workflows.relaxation_history import RelaxResult, largest
from alkaflow.workflows.surface import Evaluation, KohnShamGradient

MEMORY = 2000
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]]))
BENT = WATER.with_positions(np.array([[0, 0, 0.1], [0.2, 0.80, -0.55], [0.1, -0.95, -0.3]]))
PEROXIDE = Structure(
    ("O", "O", "H", "H"), np.array([[0.75, 0, 0], [-0.72, 0.05, 0], [0.9, 0.8, 0.4], [-0.85, -0.6, 0.75]])
)


def level(text: str, **changes: object) -> KohnSham:
    tight = {"energy_threshold": 1e-10, "gradient_threshold": 1e-6}
    return KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)


def hartree_fock(structure: Structure, basis: str) -> Callable[..., Evaluation]:
    """An engine apart from ours: PySCF's RHF with exact integrals."""
    from pyscf import gto, scf

    def evaluate(positions: np.ndarray, guess: Any) -> Evaluation:
        atoms = list(zip(structure.symbols, positions.tolist(), strict=True))
        molecule = gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0, charge=structure.charge)
        mean_field = scf.RHF(molecule).set(conv_tol=1e-11, chkfile=None)
        mean_field.kernel(dm0=None if guess is None else guess["density"])
        assert mean_field.converged
        gradient = mean_field.nuc_grad_method().kernel()
        return Evaluation(float(mean_field.e_tot), gradient, {"density": np.asarray(mean_field.make_rdm1())})

    return evaluate


def gfn2(structure: Structure) -> Callable[..., Evaluation]:
    from tblite.interface import Calculator

    def evaluate(positions: np.ndarray, _: Any) -> Evaluation:
        calculator = Calculator("GFN2-xTB", structure.numbers, positions)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", 0.01)
        found = calculator.singlepoint()
        return Evaluation(float(found.get("energy")), np.array(found.get("gradient")), {"seen": positions.copy()})

    return evaluate


class Counted:
    """An engine whose calls are counted, and which may fail at one of them."""

    def __init__(self, evaluate: Callable[..., Evaluation], fails_at: int | None = None) -> None:
        self.evaluate, self.fails_at, self.calls = evaluate, fails_at, 0

    def __call__(self, positions: np.ndarray, guess: Any) -> Evaluation:
        self.calls += 1
        if self.calls == self.fails_at:
            raise CalculationError("scf_not_converged", "as asked")
        return self.evaluate(positions, guess)


def run(structure: Structure, evaluate: Callable[..., Evaluation], directory: Path, **options: Any) -> RelaxResult:
    common = {"directory": directory, "fingerprint": "mine", "progress": Progress(directory)}
    return relax(structure, evaluate, **(common | options))


def distance(positions: np.ndarray, i: int, j: int) -> float:
    return float(np.linalg.norm(positions[i] - positions[j]))


def angle(positions: np.ndarray, i: int, j: int, k: int) -> float:
    a, b = positions[i] - positions[j], positions[k] - positions[j]
    return float(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


# --- right minima -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [WATER, BENT])
def test_water_from_two_starts_equals_psi4(start: Structure, tmp_path: Path) -> None:
    """HF/cc-pVDZ; energy and geometry of Psi4's test tu4-h2o-freq, whose angle is not tightly converged."""
    result = run(start, hartree_fock(start, "cc-pvdz"), tmp_path, thresholds=THRESHOLDS["gau-tight"])
    assert result.energy == pytest.approx(-76.0270535127645, abs=1e-7)
    assert [distance(result.positions, 0, i) for i in (1, 2)] == pytest.approx([0.9462932] * 2, abs=1e-4)
    assert angle(result.positions, 1, 0, 2) == pytest.approx(104.657, abs=0.06)
    assert result.max_gradient < THRESHOLDS["gau-tight"].max_gradient
    assert result.energies[-1] == result.energy < result.energies[0]
    assert result.steps < 10


def test_peroxide_equals_psi4(tmp_path: Path) -> None:
    """HF/cc-pVDZ; energy of Psi4's test opt-hooh, optimised there by optking."""
    result = run(PEROXIDE, hartree_fock(PEROXIDE, "cc-pvdz"), tmp_path, thresholds=THRESHOLDS["gau-tight"])
    assert result.energy == pytest.approx(-150.786766850, abs=1e-6)


def test_kohn_sham_water_equals_another_optimiser(tmp_path: Path) -> None:
    """DF-B3LYP-D3(BJ)/3-21G: ASE's BFGS on the energies and forces of a fresh SCF at each geometry."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize import BFGS

    method = level("b3lyp-d3bj/3-21g", grid=3)  # a coarser one is not the same for every orientation

    class Fresh(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms: Any = None, *_: Any) -> None:
            surface = KohnShamGradient(BENT, method, MEMORY, Progress(tmp_path))
            found = surface(atoms.positions / BOHR_ANGSTROM, None)
            self.results = {"energy": found.energy, "forces": -found.gradient / BOHR_ANGSTROM}

    atoms = Atoms("OHH", WATER.positions, calculator=Fresh())
    assert BFGS(atoms, logfile=None, alpha=3.0).run(fmax=5e-5, steps=60)
    result = run_relaxation(BENT, method, MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=2e-6)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert distance(result.positions, i, j) == pytest.approx(distance(atoms.positions, i, j), abs=2e-3)
    assert result.energy == pytest.approx(
        run_scf(BENT.with_positions(result.positions), method, MEMORY, Progress(tmp_path)).energy, abs=1e-8
    )
    assert set(result.guess) == {"coefficients_restricted", "energies_restricted", "occupations_restricted"}
    assert result.guess["occupations_restricted"].sum() == 10
    progress = read_progress(tmp_path)
    assert progress is not None


def test_the_grid_to_relax_on(tmp_path: Path) -> None:
    staged = level("b3lyp/sto-3g", grid=3, scf_grid=0)
    result = run_relaxation(WATER, staged, MEMORY, Progress(tmp_path), tmp_path, "mine")
    final = WATER.with_positions(result.positions)
    energies = [run_scf(final, level("b3lyp/sto-3g", grid=grid), MEMORY, Progress(tmp_path)).energy for grid in (0, 3)]
    assert result.energy == pytest.approx(energies[0], abs=1e-8)
    assert abs(result.energy - energies[1]) > 1e-6


# --- gradients and guesses --------------------------------------------------------------------------------------------

ARGON = Structure(("Ar", "Ar"), np.array([[0, 0, 0], [0, 0, 3.6]]))
HYDROXYL = Structure(("O", "H"), np.array([[0, 0, 0], [0.1, 0.2, 1.0]]), 0, 2)


@pytest.mark.parametrize(
    ("structure", "text"),
    [
        (BENT, "b3lyp-d3bj/6-31g(d)"),
        (HYDROXYL, "b3lyp-d3bj/6-31g"),
        (HYDROXYL, "pbe/6-31g+nofit"),
        (ARGON, "blyp-d3bj/3-21g"),
    ],
)
def test_gradients_are_derivatives_of_the_energy(structure: Structure, text: str, tmp_path: Path) -> None:
    """Central differences; density fitting, spin and dispersion included. The grid's response makes it exact."""
    surface = KohnShamGradient(structure, level(text, grid=0), MEMORY, Progress(tmp_path), grid_response=True)
    positions = structure.positions / BOHR_ANGSTROM
    centre = surface(positions, None)
    rng, step = np.random.default_rng(5), 5e-4
    direction = rng.normal(size=positions.shape)
    energies = [surface(positions + sign * step * direction, centre.guess).energy for sign in (1, -1)]
    numeric = (energies[0] - energies[1]) / (2 * step)
    assert float((centre.gradient * direction).sum()) == pytest.approx(numeric, abs=2e-6)


def test_dispersion_is_in_the_gradient(tmp_path: Path) -> None:
    """With minus without is the derivative of the dispersion energy, which pulls two argon atoms together."""
    positions = ARGON.positions / BOHR_ANGSTROM
    surfaces = [
        KohnShamGradient(ARGON, level(text, grid=1), MEMORY, Progress(tmp_path))
        for text in ("b3lyp-d3bj/3-21g", "b3lyp/3-21g")
    ]
    gradients = [surface(positions, None).gradient for surface in surfaces]
    step, pair = 1e-3, []
    for sign in (1, -1):
        moved = ARGON.with_positions((positions + np.array([[0, 0, 0], [0, 0, sign * step]])) * BOHR_ANGSTROM)
        surfaces[0].mean_field.reset(build_molecule(moved, level("b3lyp/3-21g"), MEMORY))
        pair.append(float(surfaces[0].mean_field.get_dispersion()))
    pull = (pair[0] - pair[1]) / (2 * step)
    assert pull > 1e-4
    assert (gradients[0] - gradients[1])[1] == pytest.approx([0, 0, pull], abs=1e-7)


@pytest.mark.parametrize("multiplicity", [2, 4])
def test_orbitals_of_another_geometry_make_a_density_here(multiplicity: int, tmp_path: Path) -> None:
    """It has the electrons of either spin and is idempotent: D S D = D."""
    radical = Structure(("O", "H"), HYDROXYL.positions, 0, multiplicity)
    surface = KohnShamGradient(radical, level("b3lyp/6-31g", grid=0), MEMORY, Progress(tmp_path))
    before = surface(radical.positions / BOHR_ANGSTROM, None)
    moved = radical.positions.copy()
    moved[1] += [0.1, -0.2, 0.1]
    surface.mean_field.reset(build_molecule(radical.with_positions(moved), level("b3lyp/6-31g"), MEMORY))
    density = density_of(surface.mean_field, before.guess)
    overlap = surface.mean_field.get_ovlp()
    counts = [float(np.trace(d @ overlap)) for d in density]
    assert counts == pytest.approx([(9 + multiplicity - 1) / 2, (9 - multiplicity + 1) / 2], abs=1e-9)
    for spin in density:
        assert np.abs(spin @ overlap @ spin - spin).max() < 1e-9


def test_the_orbitals_of_the_step_before_save_cycles(tmp_path: Path) -> None:
    surface = KohnShamGradient(BENT, level("b3lyp/6-31g", grid=0), MEMORY, Progress(tmp_path))
    before = surface(BENT.positions / BOHR_ANGSTROM, None)
    moved, cycles = BENT.positions / BOHR_ANGSTROM, []
    moved[1, 1] += 0.02
    for guess in (None, before.guess):
        surface.converge(moved, guess)
        cycles.append(surface.cycles)
    assert cycles[1] < cycles[0]


def test_a_spin_without_electrons(tmp_path: Path) -> None:
    """H2+: 1.057 Angstrom exactly; the self-repulsion of PBE makes it longer."""
    ion = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.0]]), 1, 2)
    result = run_relaxation(ion, level("pbe/6-31g(d,p)", grid=2), MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert 1.06 < distance(result.positions, 0, 1) < 1.20
    assert result.guess["coefficients_beta"].shape[1] == 0


HYDROGEN = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 2.0]]))
BROKEN_SYMMETRY = {
    "coefficients_alpha": np.array([[1.0], [0.0]]),
    "coefficients_beta": np.array([[0.0], [1.0]]),
    "occupations_alpha": np.array([1.0]),
    "occupations_beta": np.array([1.0]),
}
"""One electron on each atom of H2 in a minimal basis."""


def test_a_singlet_keeps_the_broken_symmetry_of_its_guess(tmp_path: Path) -> None:
    """Stretched H2: far below the restricted solution, near two atoms, and its gradient is the energy's derivative."""
    method = level("b3lyp/sto-3g", grid=2)
    surface = KohnShamGradient(HYDROGEN, method, MEMORY, Progress(tmp_path), grid_response=True)
    positions = HYDROGEN.positions / BOHR_ANGSTROM
    restricted = surface(positions, None)
    assert set(restricted.guess) == {"coefficients_restricted", "energies_restricted", "occupations_restricted"}
    broken = surface(positions, BROKEN_SYMMETRY)
    assert broken.energy < restricted.energy - 0.02
    assert surface.mean_field.spin_square()[0] > 0.8
    atom = run_scf(Structure(("H",), np.zeros((1, 3)), 0, 2), method, MEMORY, Progress(tmp_path))
    assert broken.energy == pytest.approx(2 * atom.energy, abs=0.02)
    step = np.array([[0, 0, 0], [0, 0, 1e-3]])
    ends = [surface(positions + sign * step, broken.guess).energy for sign in (1, -1)]
    assert broken.gradient[1, 2] == pytest.approx((ends[0] - ends[1]) / 2e-3, abs=2e-6)
    assert surface(positions, restricted.guess).energy == pytest.approx(restricted.energy, abs=1e-9)


def test_broken_symmetry_survives_a_new_beginning(tmp_path: Path) -> None:
    """H2 on its way from 2.4 Angstrom, stopped twice while it is longer than 1.5, where its spins part."""
    method = level("b3lyp/sto-3g", grid=0)
    far = HYDROGEN.with_positions(np.array([[0, 0, 0], [0, 0, 2.4]]))
    common = (far, method, MEMORY, Progress(tmp_path), tmp_path, "mine")
    with pytest.raises(CalculationError, match="no convergence in 1 steps"):
        run_relaxation(*common, guess=BROKEN_SYMMETRY, max_steps=1)
    with pytest.raises(CalculationError, match="no convergence in 2 steps"):
        run_relaxation(*common, max_steps=2)
    found = load(tmp_path, "mine", "relaxation").checkpoint
    assert found is not None
    final = found.arrays["positions"][2]
    assert distance(final * BOHR_ANGSTROM, 0, 1) > 1.5
    surface = KohnShamGradient(far, method, MEMORY, Progress(tmp_path))
    assert surface(final, BROKEN_SYMMETRY).energy == pytest.approx(found.arrays["energies"][2], abs=1e-7)
    assert surface(final, None).energy > found.arrays["energies"][2] + 0.01


@pytest.mark.parametrize("asked", [None, True])
def test_stability_is_tested_where_the_level_asks(asked: bool | None, tmp_path: Path) -> None:
    method = level("b3lyp/sto-3g", grid=1, stability=asked)
    result = run_relaxation(WATER, method, MEMORY, Progress(tmp_path), tmp_path, "mine")
    if asked is None:
        assert result.stability is None
    else:
        assert result.stability is not None
        assert result.stability.tested
        assert result.stability.stable


def test_an_unstable_start_is_left(tmp_path: Path) -> None:
    """Equal orbitals for both spins solve the unrestricted equations of stretched H2, at a saddle point."""
    method = level("b3lyp/sto-3g", grid=1)
    plain = KohnShamGradient(HYDROGEN, method, MEMORY, Progress(tmp_path))
    asked = KohnShamGradient(HYDROGEN, method, MEMORY, Progress(tmp_path), stabilised=True)
    positions = HYDROGEN.positions / BOHR_ANGSTROM
    restricted = plain(positions, None).guess["coefficients_restricted"]
    one = np.ones(1)
    equal = {"coefficients_alpha": restricted, "coefficients_beta": restricted}
    equal |= {"occupations_alpha": one, "occupations_beta": one}
    saddle, minimum = (surface(positions, equal) for surface in (plain, asked))
    assert saddle.energy == pytest.approx(plain(positions, None).energy, abs=1e-7)
    assert minimum.energy == pytest.approx(plain(positions, BROKEN_SYMMETRY).energy, abs=1e-7)


# --- symmetry and constraints -----------------------------------------------------------------------------------------


def test_the_symmetry_of_the_start_is_kept(tmp_path: Path) -> None:
    """Noise on the gradients breaks the symmetry; projected, it cannot."""
    rng = np.random.default_rng(3)
    exact = gfn2(WATER)

    def noisy(positions: np.ndarray, guess: Any) -> Evaluation:
        found = exact(positions, guess)
        return Evaluation(found.energy, found.gradient + rng.normal(scale=2e-5, size=positions.shape))

    operations = find_operations(BondGraph(WATER), 1e-3)
    assert len(operations) == 4
    result = run(WATER, noisy, tmp_path, operations=operations)
    assert result.operations == 4
    assert distance(result.positions, 0, 1) == pytest.approx(distance(result.positions, 0, 2), abs=1e-9)
    assert np.abs(result.positions[:, 0]).max() < 1e-9
    (tmp_path / "free").mkdir()
    free = run(WATER, noisy, tmp_path / "free")
    assert free.operations == 1
    assert abs(distance(free.positions, 0, 1) - distance(free.positions, 0, 2)) > 1e-9


def test_a_distance_is_held_at_the_minimum_of_all_else(tmp_path: Path) -> None:
    """Against a simplex search over the other bond and the angle of water."""
    engine = gfn2(WATER)

    def water(bond: float, degrees: float) -> np.ndarray:
        turn = np.radians(degrees)
        return np.array([[0, 0, 0], [1.10, 0, 0], [bond * np.cos(turn), bond * np.sin(turn), 0]])

    def energy(shape: np.ndarray) -> float:
        return engine(water(*shape) / BOHR_ANGSTROM, None).energy

    lowest = minimize(energy, [0.96, 105.0], method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10})
    held = Constraint(kind="distance", atoms=(0, 1), value=1.10)
    result = run(BENT, engine, tmp_path, constraints=[held], thresholds=THRESHOLDS["gau-tight"])
    assert distance(result.positions, 0, 1) == pytest.approx(1.10, abs=1e-5)
    assert distance(result.positions, 0, 2) == pytest.approx(lowest.x[0], abs=1e-3)
    assert angle(result.positions, 1, 0, 2) == pytest.approx(lowest.x[1], abs=0.05)
    assert result.energy == pytest.approx(lowest.fun, abs=1e-6)
    # the force that holds it is none that is left
    assert result.max_gradient < THRESHOLDS["gau-tight"].max_gradient
    assert largest(engine(result.positions / BOHR_ANGSTROM, None).gradient) > 0.01


def test_frozen_atoms_stay_and_the_rest_relaxes(tmp_path: Path) -> None:
    """Against ASE's BFGS with FixAtoms."""
    from ase import Atoms
    from ase.constraints import FixAtoms
    from ase.optimize import BFGS
    from tblite.ase import TBLite

    atoms = Atoms("OOHH", PEROXIDE.positions, calculator=TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01))
    atoms.set_constraint(FixAtoms([0, 1]))
    assert BFGS(atoms, logfile=None).run(fmax=1e-4, steps=300)
    frozen = Constraint(kind="freeze", atoms=(0, 1))
    result = run(PEROXIDE, gfn2(PEROXIDE), tmp_path, constraints=[frozen], thresholds=THRESHOLDS["gau-tight"])
    assert result.positions[:2] == pytest.approx(PEROXIDE.positions[:2], abs=1e-6)
    assert result.energy == pytest.approx(float(atoms.get_potential_energy()) / HARTREE_EV, abs=1e-6)


@pytest.mark.parametrize(("kind", "atoms", "value"), [("angle", (1, 0, 2), 112.0), ("dihedral", (2, 0, 1, 3), 90.0)])
def test_angles_are_set_or_kept(kind: str, atoms: tuple[int, ...], value: float, tmp_path: Path) -> None:
    from ase import Atoms

    def measured(positions: np.ndarray) -> float:
        system = Atoms("OOHH", positions)
        return float(system.get_angle(*atoms) if kind == "angle" else system.get_dihedral(*atoms))

    for asked, expected in ((value, value), (None, measured(PEROXIDE.positions))):
        directory = tmp_path / str(asked)
        directory.mkdir()
        held = Constraint.model_validate({"kind": kind, "atoms": atoms, "value": asked})
        result = run(PEROXIDE, gfn2(PEROXIDE), directory, constraints=[held])
        assert measured(result.positions) % 360 == pytest.approx(expected % 360, abs=0.01)
    free = run(PEROXIDE, gfn2(PEROXIDE), tmp_path)
    assert abs(measured(free.positions) - value) > 2.0
    assert free.energy < result.energy


def test_symmetry_is_kept_where_the_constraints_have_it(tmp_path: Path) -> None:
    """Water has the identity, a rotation and two mirrors; one bond held leaves the identity and its own plane."""
    operations = find_operations(BondGraph(WATER), 1e-3)
    one, other = (Constraint(kind="distance", atoms=atoms, value=1.0) for atoms in ((0, 1), (2, 0)))
    longer = other.model_copy(update={"value": 1.1})
    left = [len(agreeing(operations, held)) for held in ([], [one], [one, other], [one, longer])]
    assert left == [4, 2, 4, 2]
    assert len(agreeing(operations, [Constraint(kind="freeze", atoms=(1, 2))])) == 4
    assert len(agreeing(operations, [Constraint(kind="freeze", atoms=(1,))])) == 2
    result = run(WATER, gfn2(WATER), tmp_path, constraints=[one], operations=operations)
    assert result.operations == 2
    assert distance(result.positions, 0, 1) == pytest.approx(1.0, abs=1e-4)
    assert abs(distance(result.positions, 0, 2) - 1.0) > 0.02


def test_a_mirror_turns_a_dihedral_over() -> None:
    """Trans peroxide, flat: a dihedral of 180 degrees is its own mirror image, one of 90 is not."""
    flat = Structure(("O", "O", "H", "H"), np.array([[0.73, 0, 0], [-0.73, 0, 0], [0.9, 0.95, 0], [-0.9, -0.95, 0]]))
    operations = find_operations(BondGraph(flat), 1e-3)
    assert len(operations) == 4  # C2h
    held = [Constraint(kind="dihedral", atoms=(2, 0, 1, 3), value=value) for value in (180.0, -180.0, 90.0)]
    assert [len(agreeing(operations, [each])) for each in held] == [4, 4, 2]
    assert len(agreeing(operations, [held[0].model_copy(update={"value": None})])) == 4


# --- other ends -------------------------------------------------------------------------------------------------------


def test_a_single_atom_is_evaluated_once(tmp_path: Path) -> None:
    atom = Structure(("He",), np.array([[0.1, 0.2, 0.3]]))
    result = run(atom, engine := Counted(hartree_fock(atom, "cc-pvdz")), tmp_path)
    assert (result.steps, result.energies, engine.calls) == (0, [result.energy], 1)
    assert result.positions == pytest.approx(atom.positions)
    assert run(atom, engine, tmp_path).energy == result.energy
    assert engine.calls == 1


def test_too_few_steps_fail_and_more_continue(tmp_path: Path) -> None:
    engine = Counted(gfn2(PEROXIDE))
    with pytest.raises(
        CalculationError, match=r"no convergence in 3 steps: last energy -\d+.*largest gradient"
    ) as caught:
        run(PEROXIDE, engine, tmp_path, max_steps=3)
    assert caught.value.outcome == "relaxation_not_converged"
    assert "oscillates" not in str(caught.value)
    calls = engine.calls
    with pytest.raises(CalculationError):
        run(PEROXIDE, engine, tmp_path, max_steps=3)
    assert engine.calls == calls  # what is known is not computed again
    result = run(PEROXIDE, engine, tmp_path)
    assert (result.resumed, engine.calls) == (calls, len(result.energies))


def test_oscillation_is_named(tmp_path: Path) -> None:
    """A potential with an edge at its minimum, |r - r0|: every step crosses it, and no force gets small."""
    hydrogen = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.9]]))

    def edge(positions: np.ndarray, _: Any) -> Evaluation:
        bond = positions[1] - positions[0]
        length = float(np.linalg.norm(bond))
        pull = 0.1 * np.sign(length - 1.4) * bond / length
        return Evaluation(0.1 * abs(length - 1.4), np.array([-pull, pull]))

    with pytest.raises(CalculationError, match="its energy oscillates") as caught:
        run(hydrogen, edge, tmp_path, max_steps=40)
    assert caught.value.outcome == "relaxation_not_converged"


def test_what_oscillates() -> None:
    assert oscillates([0.0, 1.0] * 6)
    assert not oscillates([0.0, 1.0])
    assert not oscillates([-float(i) for i in range(20)])
    assert not oscillates([0.1 * (i % 2) - i for i in range(20)])  # up and down, but lower and lower


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["energy", "gradient"])
def test_what_is_not_finite_ends_it(where: str, value: float, tmp_path: Path) -> None:
    exact = gfn2(BENT)

    def breaks(positions: np.ndarray, guess: Any) -> Evaluation:
        found = exact(positions, guess)
        if engine.calls < 3:
            return found
        gradient = found.gradient.copy()
        gradient[1, 2] = value
        return Evaluation(value, found.gradient) if where == "energy" else Evaluation(found.energy, gradient)

    engine = Counted(breaks)
    with pytest.raises(CalculationError, match="not finite at relaxation step 2; the last energy was -") as caught:
        run(BENT, engine, tmp_path)
    assert caught.value.outcome == "engine_crashed"
    found = load(tmp_path, "mine", "relaxation").checkpoint
    assert found is not None
    assert len(found.arrays["energies"]) == 2


@pytest.mark.parametrize("verdict", ["dissociated (9.9 Angstrom from the nearest atom)", "reacted: O0-H1 broken"])
def test_a_judge_ends_it(verdict: str, tmp_path: Path) -> None:
    engine = Counted(gfn2(BENT))
    asked: list[np.ndarray] = []

    def judge(positions: np.ndarray, converged: bool) -> str | None:
        assert not converged
        asked.append(positions)
        return verdict if len(asked) == 2 else None

    with pytest.raises(CalculationError, match="after 2 relaxation steps") as caught:
        run(BENT, engine, tmp_path, judge=judge)
    assert caught.value.outcome == verdict.partition(" ")[0].rstrip(":")
    assert 0.7 < distance(asked[0], 0, 1) < 1.3  # Angstrom
    asked.clear()
    calls = engine.calls
    with pytest.raises(CalculationError):
        run(BENT, engine, tmp_path, judge=judge)
    assert engine.calls == calls  # the checkpoint tells the judge as well


def test_a_judge_has_the_last_word(tmp_path: Path) -> None:
    """The converged geometry is shown as such, once."""
    shown: list[bool] = []

    def judge(_: np.ndarray, converged: bool) -> str | None:
        shown.append(converged)
        return "reacted: O0-H1 broken" if converged else None

    with pytest.raises(CalculationError, match="relaxation steps: reacted") as caught:
        run(BENT, gfn2(BENT), tmp_path, judge=judge)
    assert caught.value.outcome == "reacted"
    assert shown.count(True) == 1
    assert shown[-1]


# --- killed and begun again -------------------------------------------------------------------------------------------


def test_it_continues_where_an_error_ended_it(tmp_path: Path) -> None:
    whole = run(PEROXIDE, Counted(gfn2(PEROXIDE)), tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    engine = Counted(gfn2(PEROXIDE), fails_at=5)
    with pytest.raises(CalculationError, match="as asked"):
        run(PEROXIDE, engine, broken)
    result = run(PEROXIDE, engine, broken)
    assert result.resumed == 4
    assert engine.calls == len(whole.energies) + 1  # the one that failed
    assert result.energies == pytest.approx(whole.energies, abs=1e-9)
    assert result.positions == pytest.approx(whole.positions, abs=1e-6)
    assert result.notes == []


def test_a_guess_survives(tmp_path: Path) -> None:
    seen: list[Any] = []
    exact = gfn2(BENT)

    def watching(positions: np.ndarray, guess: Any) -> Evaluation:
        seen.append(None if guess is None else (len(seen), guess["seen"].copy()))
        return exact(positions, guess)

    with pytest.raises(CalculationError):
        run(BENT, Counted(watching, fails_at=4), tmp_path)
    run(BENT, watching, tmp_path)
    assert seen[0] is None
    checkpoint = load(tmp_path, "mine", "relaxation").checkpoint
    assert checkpoint is not None
    for number, guess in seen[1:]:
        assert np.array_equal(guess, checkpoint.arrays["positions"][number - 1])  # that of the geometry before


def test_a_damaged_checkpoint_costs_one_gradient(tmp_path: Path) -> None:
    engine = Counted(gfn2(PEROXIDE), fails_at=6)
    with pytest.raises(CalculationError):
        run(PEROXIDE, engine, tmp_path)
    newest = generations(tmp_path, "relaxation")[0]
    newest.write_bytes(newest.read_bytes()[:-7])
    result = run(PEROXIDE, engine, tmp_path)
    assert result.resumed == 4
    assert engine.calls == len(result.energies) + 2  # the one that failed, and the one that was lost
    assert "damaged" in result.notes[0]


def test_a_checkpoint_of_something_else_is_not_used(tmp_path: Path) -> None:
    run(BENT, gfn2(BENT), tmp_path)
    engine = Counted(gfn2(BENT))
    result = run(BENT, engine, tmp_path, fingerprint="another")
    assert (result.resumed, engine.calls) == (0, len(result.energies))
    assert "another calculation" in result.notes[0]
    result = run(WATER, Counted(gfn2(WATER)), tmp_path, fingerprint="another")
    assert result.resumed == 0
    assert "another geometry" in result.notes[0]


def test_rounding_of_another_machine_does_not_derail_it(tmp_path: Path) -> None:
    """The path so far is that of the checkpoint, even where the optimiser would now go a little elsewhere."""
    engine = Counted(gfn2(PEROXIDE), fails_at=9)
    with pytest.raises(CalculationError):
        run(PEROXIDE, engine, tmp_path)
    found = load(tmp_path, "mine", "relaxation").checkpoint
    assert found is not None
    noise = np.random.default_rng(1).normal(scale=1e-7, size=found.arrays["gradients"].shape)
    changed = {**found.arrays, "gradients": found.arrays["gradients"] + noise}
    save(tmp_path, Checkpoint("mine", found.values, changed), "relaxation")
    result = run(PEROXIDE, engine, tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = run(PEROXIDE, gfn2(PEROXIDE), whole)
    assert result.resumed == 8
    assert engine.calls == len(result.energies) + 1
    assert result.energy == pytest.approx(expected.energy, abs=1e-6)


def test_a_kohn_sham_relaxation_continues_from_its_orbitals(tmp_path: Path) -> None:
    method = level("b3lyp-d3bj/sto-3g", grid=1)
    whole = run_relaxation(BENT, method, MEMORY, Progress(tmp_path), tmp_path, "mine")
    with pytest.raises(CalculationError):
        run_relaxation(BENT, method, MEMORY, Progress(tmp_path), tmp_path, "again", max_steps=2)
    result = run_relaxation(BENT, method, MEMORY, Progress(tmp_path), tmp_path, "again")
    assert result.resumed == 3
    assert result.energy == pytest.approx(whole.energy, abs=1e-7)
    assert largest(result.gradient) == result.max_gradient
    assert result.guess["coefficients_restricted"].shape == (7, 5)
