"""Frequencies against another code and against differences; thermochemistry against measured entropies and PySCF."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.frequencies import hessian_by_differences, run_frequencies
from alkaflow.workflows.progress import Progress, read_progress
from alkaflow.workflows.relaxation import run_relaxation
from alkaflow.workflows.surface import Evaluation, KohnShamGradient
from alkaflow.workflows.vibrations import Frequencies, displaced, harmonic_analysis

MEMORY = 2000
GAS_CONSTANT = 8.31446261815324  # J/mol/K
HARTREE_JOULE_PER_MOL = 2625499.6394799  # CODATA 2018
BOLTZMANN_HARTREE = GAS_CONSTANT / HARTREE_JOULE_PER_MOL


def level(text: str, **changes: object) -> KohnSham:
    tight = {"energy_threshold": 1e-11, "gradient_threshold": 1e-7}
    return KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)


def built(name: str) -> Structure:
    from ase.build import molecule

    atoms = molecule(name)
    return Structure(tuple(atoms.get_chemical_symbols()), atoms.positions)


def hartree_fock(structure: Structure, basis: str) -> Any:
    from pyscf import gto, scf

    atoms = list(zip(structure.symbols, structure.positions / BOHR_ANGSTROM, strict=True))
    molecule = gto.M(atom=[(s, tuple(x)) for s, x in atoms], unit="Bohr", basis=basis, verbose=0)
    return scf.RHF(molecule).set(conv_tol=1e-12, chkfile=None).run()


def gradients(structure: Structure, basis: str) -> Any:
    def evaluate(positions: np.ndarray, _: Any) -> Evaluation:
        mean_field = hartree_fock(structure.with_positions(positions * BOHR_ANGSTROM), basis)
        return Evaluation(float(mean_field.e_tot), mean_field.nuc_grad_method().kernel())

    return evaluate


def analytic(structure: Structure, basis: str) -> np.ndarray:
    size = 3 * len(structure)
    return hartree_fock(structure, basis).Hessian().kernel().transpose(0, 2, 1, 3).reshape(size, size)


# HF/cc-pVDZ minimum of water
WATER = Structure(
    ("O", "H", "H"),
    np.array([[0, 0, 0], [0, 0.74879, 0.57863], [0, -0.74879, 0.57863]]) * (0.9462932 / np.hypot(0.74879, 0.57863)),
)


# --- frequencies ------------------------------------------------------------------------------------------------------


def test_water_equals_psi4(tmp_path: Path) -> None:
    """HF/cc-pVDZ at a tightly optimised geometry; numbers of Psi4's test optking with tu4-h2o-freq."""
    published = [1776.15, 4113.69, 4212.12]
    found = harmonic_analysis(WATER, analytic(WATER, "cc-pvdz"))
    assert found.wavenumbers == pytest.approx(published, abs=2)
    hessian, gradient, notes = hessian_by_differences(
        WATER, gradients(WATER, "cc-pvdz"), directory=tmp_path, fingerprint="mine", progress=Progress(tmp_path)
    )
    numeric = harmonic_analysis(WATER, hessian, gradient=gradient, method="differences", notes=notes)
    assert numeric.wavenumbers == pytest.approx(found.wavenumbers, abs=0.5)
    assert numeric.max_gradient is not None
    assert (numeric.imaginary, numeric.linear, numeric.symmetry_number, numeric.notes) == (0, False, 2, [])
    assert numeric.max_gradient < 1e-3
    assert found.zero_point_energy == pytest.approx(sum(published) / 2 / 219474.63, abs=1e-5)


@pytest.mark.parametrize(
    ("symbols", "bond", "multiplicity", "text", "grid"),
    [
        (("Be", "H"), 1.35, 2, "b3lyp-d3bj/3-21g", 1),
        (("Li", "H"), 1.62, 1, "tpss/3-21g+nofit", 3),
    ],
)
def test_analytic_equals_differences(
    symbols: tuple[str, ...], bond: float, multiplicity: int, text: str, grid: int, tmp_path: Path
) -> None:
    """Density fitting, spin, dispersion and a meta-GGA, from a level with the usual thresholds."""
    method = KohnSham.model_validate(parse_level(text).model_dump() | {"grid": grid})
    start = Structure(symbols, np.array([[0, 0, 0], [0, 0, bond]]), 0, multiplicity)
    relaxed = run_relaxation(start, method, MEMORY, Progress(tmp_path), tmp_path, "mine")
    minimum = start.with_positions(relaxed.positions)
    found = [
        run_frequencies(
            minimum, method, MEMORY, Progress(tmp_path), tmp_path, "mine", orbitals=relaxed.guess, method=how
        )
        for how in ("analytic", "differences")
    ]
    assert [f.method for f in found] == ["analytic", "differences"]
    assert len(found[0].wavenumbers) == 1
    assert found[0].wavenumbers == pytest.approx(found[1].wavenumbers, abs=5)
    assert found[0].wavenumbers[0] > 5
    assert found[0].notes == found[1].notes == []


def test_soft_modes_need_the_response_of_the_grid(tmp_path: Path) -> None:
    """Two argon atoms on a small grid: with it, differences of gradients are the curvature of the energy."""
    method, bond, step = level("b3lyp-d3bj/3-21g", grid=(50, 194)), 3.85, 0.02
    pair = Structure(("Ar", "Ar"), np.array([[0, 0, 0], [0, 0, bond]]))
    found = run_frequencies(
        pair, method, MEMORY, Progress(tmp_path), tmp_path, "mine", method="differences", grid_response=True
    )
    surface = KohnShamGradient(pair, method, MEMORY, Progress(tmp_path))
    energies = []
    for sign in (-1, 0, 1):
        moved = np.array([[0, 0, 0], [0, 0, bond / BOHR_ANGSTROM + sign * step]])
        surface.converge(moved, None)
        energies.append(float(surface.mean_field.e_tot))
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / step**2
    reduced = found.masses[0] / 2 * 1822.888486
    assert found.wavenumbers[0] == pytest.approx((curvature / reduced) ** 0.5 * 219474.63, rel=0.03)


def test_dispersion_is_in_the_hessian(tmp_path: Path) -> None:
    """With minus without is the second difference of the dispersion energy of the pair."""
    bond = 4.0
    pair = Structure(("Ar", "Ar"), np.array([[0, 0, 0], [0, 0, bond]]))
    hessians = []
    for text in ("b3lyp-d3bj/3-21g", "b3lyp/3-21g"):
        surface = KohnShamGradient(pair, level(text, grid=1), MEMORY, Progress(tmp_path))
        surface.converge(pair.positions / BOHR_ANGSTROM, None)
        hessians.append(surface.mean_field.Hessian().kernel())
        if text == "b3lyp-d3bj/3-21g":
            step, energies = 0.02, []
            for sign in (-1, 0, 1):
                moved = np.array([[0, 0, 0], [0, 0, bond / BOHR_ANGSTROM + sign * step]])
                surface.mean_field.mol.set_geom_(moved, unit="Bohr")
                energies.append(float(surface.mean_field.get_dispersion()))
            curvature = (energies[0] - 2 * energies[1] + energies[2]) / step**2
    assert abs(curvature) > 1e-5
    assert (hessians[0] - hessians[1])[1, 1, 2, 2] == pytest.approx(curvature, rel=0.02)


@pytest.mark.parametrize("turned", [False, True])
def test_a_linear_molecule_has_one_mode_more(turned: bool) -> None:
    """HCN: a degenerate bend and two stretches, wherever it points."""
    positions = np.array([[0, 0, 0.0], [0, 0, 1.0701], [0, 0, 2.2230]])  # HF/STO-3G minimum
    if turned:
        rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
        positions = positions @ rotation.T + [1, 2, 3]
    molecule = Structure(("H", "C", "N"), positions)
    found = harmonic_analysis(molecule, analytic(molecule, "sto-3g"))
    assert found.linear
    assert len(found.wavenumbers) == 4
    assert found.wavenumbers[0] == pytest.approx(found.wavenumbers[1], abs=0.1)
    assert found.wavenumbers[2] > 1.5 * found.wavenumbers[1]
    assert (found.imaginary, found.symmetry_number) == (0, 1)


def test_modes_of_a_saddle_point(tmp_path: Path) -> None:
    """Planar ammonia: one imaginary mode, the umbrella; both ways along it the energy falls."""
    bond = 1.006
    corners = [[bond * np.cos(a), bond * np.sin(a), 0] for a in np.radians([0, 120, 240])]
    planar = Structure(("N", "H", "H", "H"), np.array([[0, 0, 0], *corners]))
    found = harmonic_analysis(planar, analytic(planar, "sto-3g"))
    assert (found.imaginary, found.symmetry_number) == (1, 6)
    assert found.wavenumbers[0] < -300
    assert np.abs(found.modes[0][:, :2]).max() < 1e-6
    energy = hartree_fock(planar, "sto-3g").e_tot
    for amount in (0.1, -0.1):
        moved = displaced(planar.positions, found.modes[0], amount)
        assert np.linalg.norm(moved - planar.positions, axis=1).max() == pytest.approx(0.1)
        assert hartree_fock(planar.with_positions(moved), "sto-3g").e_tot < energy
    # no mode moves the centre of mass or turns the molecule; modes are orthogonal in mass-weighted coordinates
    momenta = found.masses[:, None] * found.modes
    assert np.abs(momenta.sum(axis=1)).max() < 1e-9
    centred = planar.positions - found.masses @ planar.positions / found.masses.sum()
    assert np.abs(np.cross(centred, momenta).sum(axis=1)).max() < 1e-9
    overlaps = np.einsum("aik,bik->ab", momenta, found.modes)
    assert overlaps == pytest.approx(np.diag(found.reduced_masses), abs=1e-9)
    assert found.zero_point_energy == pytest.approx(found.wavenumbers[1:].sum() / 2 / 219474.63, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "number"),
    [("N2", 2), ("CO2", 2), ("HCN", 1), ("H2O", 2), ("NH3", 3), ("CH4", 12), ("C2H4", 4), ("C6H6", 12), ("CH3OH", 1)],
)
def test_symmetry_numbers(name: str, number: int) -> None:
    """Textbook values, on geometries as ASE has them."""
    molecule = built(name)
    size = 3 * len(molecule)
    assert harmonic_analysis(molecule, np.eye(size)).symmetry_number == number


def test_a_geometry_off_the_minimum_is_noted(tmp_path: Path) -> None:
    stretched = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 0.9]]))
    found = run_frequencies(stretched, level("pbe/3-21g", grid=0), MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert "not a stationary point" in found.notes[0]
    progress = read_progress(tmp_path)
    assert progress is not None


def test_a_hessian_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(CalculationError, match="Hessian is not finite"):
        harmonic_analysis(WATER, np.full((9, 9), np.nan))

    def breaks(positions: np.ndarray, _: Any) -> Evaluation:
        return Evaluation(0.0, np.full_like(positions, np.nan))

    with pytest.raises(CalculationError, match="displacement 0 is not finite") as caught:
        hessian_by_differences(WATER, breaks, directory=tmp_path, fingerprint="mine", progress=Progress(tmp_path))
    assert caught.value.outcome == "engine_crashed"
    assert list(tmp_path.iterdir()) == []


# --- differences that are interrupted ---------------------------------------------------------------------------------

SPRINGS = np.random.default_rng(8).normal(size=(9, 9))
SPRINGS = SPRINGS + SPRINGS.T


def test_differences_continue_where_they_ended(tmp_path: Path) -> None:
    """A quadratic surface, whose Hessian differences give exactly."""
    origin = WATER.positions / BOHR_ANGSTROM
    calls = []

    def quadratic(positions: np.ndarray, guess: Any) -> Evaluation:
        calls.append(guess)
        if len(calls) in (7, 13):
            raise CalculationError("scf_not_converged", "as asked")
        shift = (positions - origin).ravel()
        return Evaluation(
            float(shift @ SPRINGS @ shift / 2), (SPRINGS @ shift).reshape(-1, 3), {"of": np.full(2, float(len(calls)))}
        )

    def run(structure: Structure = WATER, fingerprint: str = "mine") -> Any:
        return hessian_by_differences(
            structure, quadratic, directory=tmp_path, fingerprint=fingerprint, progress=Progress(tmp_path)
        )

    for _ in range(2):
        with pytest.raises(CalculationError):
            run()
    hessian, gradient, notes = run()
    assert len(calls) == 19 + 2  # one and twice nine, and the two that failed
    assert hessian == pytest.approx(SPRINGS, abs=1e-9)
    assert gradient == pytest.approx(0, abs=1e-12)
    assert notes == []
    assert calls[0] is None
    assert all(np.array_equal(guess["of"], [1, 1]) for guess in calls[1:])  # always that of the geometry itself
    run()
    assert len(calls) == 21  # all known
    moved = WATER.with_positions(WATER.positions + 0.001)
    assert "another geometry" in run(moved)[2][0]
    assert "another calculation" in run(moved, "other")[2][0]


# --- thermochemistry --------------------------------------------------------------------------------------------------


def vibrating(structure: Structure, wavenumbers: list[float]) -> Frequencies:
    """A molecule with given wavenumbers [cm-1]."""
    analysed = harmonic_analysis(structure, np.zeros((3 * len(structure),) * 2))
    return replace(analysed, wavenumbers=np.array(wavenumbers))


# place of the first atom on the axis where ASE has a computed bond [Angstrom]: bonds of 1.0977 (N2)
MEASURED = {"N2": 1.0977 / 2}


@pytest.mark.parametrize(
    ("name", "wavenumbers", "entropy", "tolerance"),
    [
        ("N2", [2329.9], 191.609, 0.1),
        ("CO2", [667.4, 667.4, 1333.0, 2349.1], 213.785, 0.3),
        ("H2O", [1594.7, 3657.1, 3755.9], 188.835, 0.2),
        ("NH3", [950.0, 1627.0, 1627.0, 3337.0, 3444.0, 3444.0], 192.77, 0.4),
    ],
)
def test_entropies_equal_calorimetry(name: str, wavenumbers: list[float], entropy: float, tolerance: float) -> None:
    """CODATA key values, S(298.15 K, 1 bar) [J/mol/K], from observed fundamentals."""
    molecule = built(name)
    if name in MEASURED:
        molecule = molecule.with_positions(molecule.positions * MEASURED[name] / molecule.positions[0, 2])
    found = vibrating(molecule, wavenumbers).thermochemistry(pressure=1e5)
    assert found.entropy * HARTREE_JOULE_PER_MOL == pytest.approx(entropy, abs=tolerance)


@pytest.mark.parametrize(
    ("symbol", "multiplicity", "entropy"),
    [("Ar", 1, 154.846), ("Li", 2, 138.782), ("Na", 2, 153.718)],
)
def test_atoms_only_fly(symbol: str, multiplicity: int, entropy: float, tmp_path: Path) -> None:
    """CODATA key values of atoms, the spin's R ln 2 included; isotopes differ from the average by little."""
    atom = Structure((symbol,), np.zeros((1, 3)), 0, multiplicity)
    found = run_frequencies(atom, level("pbe/3-21g"), MEMORY, Progress(tmp_path), tmp_path, "mine")
    assert len(found.wavenumbers) == 0
    thermal = found.thermochemistry(pressure=1e5)
    assert thermal.entropy * HARTREE_JOULE_PER_MOL == pytest.approx(entropy, abs=0.15)
    assert thermal.enthalpy == pytest.approx(2.5 * BOLTZMANN_HARTREE * 298.15)


def test_a_diatomic_by_hand() -> None:
    """N2 at 500 K and 2 atm, every partition function written out in SI units."""
    h, k, c, u = 6.62607015e-34, 1.380649e-23, 299792458.0, 1.66053906660e-27
    bond, wavenumber, temperature, pressure = 1.0977e-10, 2358.57, 500.0, 202650.0
    mass = 2 * 14.003074 * u
    translational = (2 * np.pi * mass * k * temperature / h**2) ** 1.5 * k * temperature / pressure
    rotational = 8 * np.pi**2 * (mass / 4 * bond**2) * k * temperature / (2 * h**2)
    x = h * c * 100 * wavenumber / (k * temperature)
    entropy = 2.5 + np.log(translational) + 1 + np.log(rotational) + x / np.expm1(x) - np.log(1 - np.exp(-x))
    energy = 1.5 + 1 + x / 2 + x / np.expm1(x)
    molecule = Structure(("N", "N"), np.array([[0, 0, 0], [0, 0, bond * 1e10]]))
    found = vibrating(molecule, [wavenumber]).thermochemistry(temperature, pressure)
    scale = BOLTZMANN_HARTREE * temperature
    assert found.zero_point_energy == pytest.approx(x / 2 * scale, rel=1e-7)
    assert found.thermal_energy == pytest.approx(energy * scale, rel=1e-7)
    assert found.enthalpy == pytest.approx((energy + 1) * scale, rel=1e-7)
    assert found.entropy == pytest.approx(entropy * BOLTZMANN_HARTREE, rel=1e-7)
    assert found.gibbs == pytest.approx((energy + 1 - entropy) * scale, rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pyscf_agrees_on_water() -> None:
    """PySCF's thermochemistry takes averaged masses; with ours it gives the same numbers."""
    from pyscf.hessian import thermo

    mean_field = hartree_fock(WATER, "sto-3g")
    hessian = mean_field.Hessian().kernel()
    ours = harmonic_analysis(WATER, hessian.transpose(0, 2, 1, 3).reshape(9, 9))
    theirs = thermo.harmonic_analysis(mean_field.mol, hessian, mass=ours.masses)
    assert ours.wavenumbers == pytest.approx(theirs["freq_wavenumber"], rel=1e-6)
    assert ours.reduced_masses == pytest.approx(theirs["reduced_mass"], rel=1e-6)
    averaged = replace(ours, masses=mean_field.mol.atom_mass_list(isotope_avg=True)).thermochemistry()
    reference = thermo.thermo(mean_field, theirs["freq_au"])
    energy = mean_field.e_tot
    assert averaged.zero_point_energy == pytest.approx(reference["ZPE"][0], rel=1e-6)
    assert averaged.enthalpy == pytest.approx(reference["H_tot"][0] - energy, abs=1e-8)
    assert averaged.gibbs == pytest.approx(reference["G_tot"][0] - energy, abs=1e-7)
    assert averaged.entropy == pytest.approx(reference["S_tot"][0], rel=1e-5)
