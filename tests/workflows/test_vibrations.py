"""Vibrations in records and protocols, and the way down from a saddle point."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.errors import BadInputError, CalculationError
from alkaflow.levels import KohnSham
from alkaflow.plans import SingleRun
from alkaflow.records import Record
from alkaflow.structures import Structure, from_smiles
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.frequencies import run_frequencies
from alkaflow.workflows.plan import plan_single, plan_steps
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.protocols import Protocol, choose_protocol
from alkaflow.workflows.relaxation import THRESHOLDS
from alkaflow.workflows.saddles import DISPLACEMENT, Run, beside, to_minimum
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.surface import KohnShamGradient
from alkaflow.workflows.task import GUESS_FILE, ORBITAL_FILE, Task
from alkaflow.workflows.vibrations import harmonic_analysis, pull, structure_of, thermochemistry_of

MEMORY = 2000
ANGLES = np.radians([0, 120, 240])
PLANAR = Structure(
    ("N", "H", "H", "H"), np.array([[0, 0, 0], *([1.03 * np.cos(a), 1.03 * np.sin(a), 0] for a in ANGLES)])
)
COARSE = KohnSham(functional="b3lyp", basis="sto-3g", grid=(50, 194))
RELAXED = Protocol("coarse", (COARSE,), COARSE, "one level, on a grid that is enough for stiff modes", frequencies=True)


def runner(directory: Path) -> Run:
    """Computes runs here and now, each calculation once, as a worker's children do."""
    records: dict[str, Record] = {}

    def compute(identity: str, run: SingleRun) -> Record:
        given = run.calculations[identity]
        folder = directory / identity
        folder.mkdir()
        parent = records[given.parent] if given.parent else None
        if parent is not None and parent.orbitals is not None:
            (folder / GUESS_FILE).write_bytes((directory / parent.id / ORBITAL_FILE).read_bytes())
        task = Task(
            calculation=given,
            positions=given.positions or tuple(parent.positions_angstrom if parent else ()),
            threads=1,
            memory_mb=MEMORY,
            guess_level=parent.level_of_theory if parent is not None else None,
        )
        return run_task(task, folder)

    def run(steps: SingleRun) -> list[Record]:
        for identity in steps.calculations:
            if identity not in records:
                records[identity] = compute(identity, steps)
        return [records[identity] for identity in steps.calculations]

    return run


# --- values -----------------------------------------------------------------------------------------------------------


def test_water_equals_psi4(tmp_path: Path) -> None:
    """B3LYP/6-31G* with Cartesian d functions, Psi4's test dft-freq at its geometry: within 5 cm-1."""
    published = [1713.34, 3728.49, 3850.07]
    bond, half = 0.96864, np.radians(103.586 / 2)
    water = Structure(
        ("O", "H", "H"), bond * np.array([[0, 0, 0], *([0, s * np.sin(half), np.cos(half)] for s in (1, -1))])
    )
    level = choose_protocol("b3lyp/6-31g(d)+cart", None).vibrational_level
    found = run_frequencies(water, level, MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert found.wavenumbers == pytest.approx(published, abs=5)
    assert (found.method, found.symmetry_number) == ("analytic", 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_thermochemistry_from_a_record_alone(tmp_path: Path) -> None:
    """BeH, a doublet, at two temperatures: PySCF's own numbers from the Hessian in the file of the orbitals."""
    from pyscf.hessian import thermo

    from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule

    radical = Structure(("Be", "H"), np.array([[0, 0, 0], [0, 0, 1.3]]), 0, 2)
    record = runner(tmp_path)(plan_steps(radical, RELAXED))[-1]
    vibrations, level = record.vibrations, record.level_of_theory
    assert vibrations is not None
    assert isinstance(level, KohnSham)
    masses = np.array(vibrations.masses)
    with np.load(io.BytesIO((tmp_path / record.id / ORBITAL_FILE).read_bytes())) as arrays:
        blocks = arrays["hessian"].reshape(2, 3, 2, 3).transpose(0, 2, 1, 3)
    mean_field = build_mean_field(build_molecule(structure_of(record), level, MEMORY), level)
    mean_field.e_tot = record.energy_hartree
    mean_field.mol.atom_mass_list = lambda *_, **__: masses  # PySCF would average over isotopes
    theirs = thermo.harmonic_analysis(mean_field.mol, blocks, mass=masses)
    assert vibrations.wavenumbers == pytest.approx(theirs["freq_wavenumber"], rel=1e-6)
    for temperature in (298.15, 800.0):
        reference = thermo.thermo(mean_field, theirs["freq_au"], temperature, 2e5)
        ours = thermochemistry_of(record, temperature, 2e5)
        assert ours.zero_point_energy == pytest.approx(reference["ZPE"][0], rel=1e-6)
        assert ours.enthalpy == pytest.approx(reference["H_tot"][0] - record.energy_hartree, abs=1e-8)
        assert ours.gibbs == pytest.approx(reference["G_tot"][0] - record.energy_hartree, abs=1e-7)
        assert ours.entropy == pytest.approx(reference["S_tot"][0], rel=1e-5)
    assert thermochemistry_of(record) == vibrations.thermochemistry
    with pytest.raises(BadInputError, match="must be above 0"):
        thermochemistry_of(record, 0.0)


def test_where_there_is_no_analytic_hessian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySCF has none for a doublet with VV10: differences, whose curvature is that of the energy."""

    class NonLocal(KohnShamGradient):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.mean_field.nlc = "vv10"
            self.mean_field.nlcgrids.level = 0

    monkeypatch.setattr("alkaflow.workflows.frequencies.KohnShamGradient", NonLocal)
    level = KohnSham(functional="pbe", basis="3-21g", grid=3)
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.1]]), 1, 2)
    found = run_frequencies(pair, level, MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert found.method == "differences"
    surface = NonLocal(pair, level, MEMORY, Progress(tmp_path))
    energies = []
    for amount in (-0.02, 0, 0.02):
        surface.converge(pair.positions / BOHR_ANGSTROM + [[0, 0, 0], [0, 0, amount]], None)
        energies.append(float(surface.mean_field.e_tot))
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / 0.02**2
    reduced = found.masses[0] / 2 * 1822.888486
    assert found.wavenumbers[0] == pytest.approx((curvature / reduced) ** 0.5 * 219474.63, rel=3e-3)


def test_the_pull_of_a_mode_is_that_of_its_hessian() -> None:
    hessian = np.random.default_rng(3).normal(size=(12, 12))
    found = harmonic_analysis(PLANAR, hessian + hessian.T)
    projected = found.modes.reshape(6, 12)
    for mode, wavenumber in zip(projected, found.wavenumbers, strict=True):
        step = 0.1 * mode.reshape(4, 3)
        expected = projected @ (found.hessian @ step.ravel()) / BOHR_ANGSTROM
        gradient = pull(found.masses, wavenumber, step).ravel()
        assert projected @ gradient == pytest.approx(expected, abs=1e-9)


# --- protocols --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["composite", "published"])
def test_frequencies_change_no_other_step(name: str) -> None:
    water = from_smiles("O")
    without = plan_single(water, None, name).calculations
    given = plan_single(water, None, name, frequencies=True).calculations
    assert list(given)[:-1] == list(without)
    frequencies, relaxed = list(given.values())[-1], list(without.values())[-2]
    assert (frequencies.step, frequencies.parent) == ("frequencies", relaxed.id)
    assert isinstance(frequencies.level, KohnSham)
    assert isinstance(relaxed.level, KohnSham)
    assert (frequencies.level.grid, frequencies.level.basis) == ((99, 590), relaxed.level.basis)


@pytest.mark.parametrize("given", [("gfn2-xtb", None), (None, "screen"), (None, "published-sp")])
def test_no_frequencies_at_xtb_geometries(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(BadInputError, match="composite and published can have them"):
        choose_protocol(*given, frequencies=True)


def test_an_atom_has_no_vibrations(tmp_path: Path) -> None:
    atom = Structure(("Li",), np.zeros((1, 3)), 0, 2)
    with pytest.raises(BadInputError, match="Li is one atom, which has no vibrations"):
        to_minimum(atom, RELAXED, runner(tmp_path))
    (energy,) = runner(tmp_path)(plan_steps(atom, replace(RELAXED, frequencies=False)))
    with pytest.raises(BadInputError, match="of the step 'energy' and has no vibrations"):
        thermochemistry_of(energy)


# --- saddle points ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runner(tmp_path_factory.mktemp("ammonia"))


@pytest.fixture(scope="module")
def saddle(run: Run) -> Record:
    """Planar ammonia: its relaxation keeps the plane."""
    return run(plan_steps(PLANAR, RELAXED))[-1]


def test_planar_ammonia_becomes_a_pyramid(run: Run, saddle: Record) -> None:
    """The umbrella mode leads out of the plane, and the energy falls."""
    assert saddle.vibrations is not None
    assert (saddle.vibrations.imaginary, saddle.vibrations.symmetry_number) == (1, 6)
    assert any("not a minimum: 1 imaginary mode" in warning for warning in saddle.warnings)
    assert np.abs(np.array(saddle.vibrations.imaginary_modes[0])[:, :2]).max() < 1e-5

    relaxed, energy, minimum = to_minimum(PLANAR, RELAXED, run)
    assert minimum.vibrations is not None
    assert (minimum.vibrations.imaginary, minimum.vibrations.symmetry_number) == (0, 3)
    assert minimum.vibrations.wavenumbers[0] > 500
    assert minimum.energy_hartree < saddle.energy_hartree - 0.01
    assert relaxed.positions_angstrom == energy.positions_angstrom == minimum.positions_angstrom
    nitrogen, *hydrogens = np.array(minimum.positions_angstrom)
    normal = np.cross(hydrogens[1] - hydrogens[0], hydrogens[2] - hydrogens[0])
    assert abs((nitrogen - hydrogens[0]) @ normal) / np.linalg.norm(normal) > 0.2  # Angstrom above their plane
    assert minimum.warnings == []


def with_mode(saddle: Record, wavenumber: float, mode: Sequence[Sequence[float]]) -> Record:
    """The same record with another imaginary mode."""
    assert saddle.vibrations is not None
    changed = {"wavenumbers": [wavenumber, *saddle.vibrations.wavenumbers[1:]], "imaginary_modes": [mode]}
    return saddle.model_copy(update={"vibrations": saddle.vibrations.model_copy(update=changed)})


UMBRELLA = [[0, 0, 0.2], *[[0, 0, -0.9]] * 3]
BREATHING = [[0, 0, 0], *([np.cos(a), np.sin(a), 0] for a in ANGLES)]
ROCKING = [[0, 0.1, 0], *([-0.5 * np.sin(a), 0.5 * np.cos(a), 0] for a in ANGLES)]


@pytest.mark.parametrize(("mode", "sides"), [(UMBRELLA, 1), (BREATHING, 2), (ROCKING, 1)])
def test_both_ways_unless_symmetry_makes_them_one(saddle: Record, mode: list[list[float]], sides: int) -> None:
    starts = list(beside(with_mode(saddle, -500.0, mode)))
    assert len(starts) == sides
    moves = [start.positions - structure_of(saddle).positions for start in starts]
    assert [np.linalg.norm(move, axis=1).max() for move in moves] == pytest.approx([DISPLACEMENT] * sides)
    if sides == 2:
        assert moves[0] == pytest.approx(-moves[1])
        assert np.linalg.norm(starts[0].positions[1] - starts[0].positions[0]) > np.linalg.norm(
            starts[1].positions[1] - starts[1].positions[0]
        )


class Surface:
    """Ends of relaxations on a made-up surface: the longer the first bond, the lower; what is asked is noted."""

    def __init__(self, saddle: Record, fails_beyond: float, slope: float = 0.1) -> None:
        self._saddle, self._fails_beyond, self._slope = saddle, fails_beyond, slope
        self.asked: list[SingleRun] = []

    def __call__(self, steps: SingleRun) -> list[Record]:
        self.asked.append(steps)
        given = list(steps.calculations.values())
        if len(self.asked) == 1:
            return [self._saddle]
        positions = np.array(given[0].positions)
        bond = float(np.linalg.norm(positions[1] - positions[0]))
        if bond > self._fails_beyond:
            raise CalculationError("dissociated", "as asked")
        assert self._saddle.vibrations is not None
        nothing = self._saddle.vibrations.model_copy(update={"imaginary": 0, "imaginary_modes": []})
        changed = {
            "positions_angstrom": given[0].positions,
            "energy_hartree": self._saddle.energy_hartree - self._slope * bond,
            "vibrations": nothing,
        }
        return [self._saddle.model_copy(update=changed)] * len(given)


@pytest.mark.parametrize(("fails_beyond", "longer"), [(9.0, True), (1.05, False)])
def test_the_lower_end_is_taken(saddle: Record, fails_beyond: float, longer: bool) -> None:
    """Both ways are relaxed, frequencies are taken of one, and a way that ends nowhere does not count."""
    surface = Surface(with_mode(saddle, -500.0, BREATHING), fails_beyond)
    end = to_minimum(PLANAR, RELAXED, surface)[-1]
    bond = np.linalg.norm(np.subtract(*end.positions_angstrom[:2]))
    before = np.linalg.norm(np.subtract(*saddle.positions_angstrom[:2]))
    assert (bond > before) == longer
    steps = [[given.step for given in asked.calculations.values()] for asked in surface.asked]
    assert steps == [["relax", "energy", "frequencies"], *[["relax", "energy"]] * 2, ["relax", "energy", "frequencies"]]


def test_an_end_above_the_saddle_point_is_refused(saddle: Record) -> None:
    with pytest.raises(CalculationError, match=r"ended .* Hartree above it .*different electronic states"):
        to_minimum(PLANAR, RELAXED, Surface(saddle, 9.0, slope=-0.1))
    with pytest.raises(CalculationError, match="as asked"):
        to_minimum(PLANAR, RELAXED, Surface(with_mode(saddle, -500.0, BREATHING), 0.1))


@pytest.mark.parametrize(("wavenumber", "convergence"), [(-900.0, None), (-50.0, "gau-tight")])
def test_soft_modes_are_left_with_tighter_thresholds(
    saddle: Record, wavenumber: float, convergence: str | None
) -> None:
    """Where the start would nearly count as converged: m omega^2 x on a hydrogen, below 3 x 4.5e-4 Hartree/bohr."""
    surface = Surface(with_mode(saddle, wavenumber, UMBRELLA), 9.0)
    to_minimum(PLANAR, RELAXED, surface)
    relaxation = next(iter(surface.asked[-1].calculations.values()))
    assert isinstance(relaxation.level, KohnSham)
    assert relaxation.level.convergence == convergence
    omega = wavenumber / 219474.63
    force = 1.00783 * 1822.888 * omega**2 * DISPLACEMENT / BOHR_ANGSTROM
    assert (force < 3.3 * THRESHOLDS["gau"].max_gradient) == (convergence is not None)


def test_without_a_relaxation_there_is_no_way_down() -> None:
    with pytest.raises(BadInputError, match="only a relaxation can leave a saddle point"):
        to_minimum(PLANAR, choose_protocol("b3lyp/sto-3g", None), Surface)  # type: ignore[arg-type]
