"""Energies against published numbers and against physics that holds for any code."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyscf import scf

from alkaflow.errors import CalculationError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV
from alkaflow.workflows.device import Cpu
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.progress import Progress, read_progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule, run_scf
from alkaflow.workflows.surface import KohnShamGradient

MEMORY = 4000


def level(text: str, **changes: object) -> KohnSham:
    tight = {"grid": (99, 590), "energy_threshold": 1e-9, "gradient_threshold": 1e-5}
    return KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)


def atom(symbol: str, multiplicity: int) -> Structure:
    return Structure((symbol,), np.zeros((1, 3)), 0, multiplicity)


METHYL = Structure(("C", "H", "H", "H"), np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0.0]]), 0, 2)
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]))


def test_methyl_radical_equals_gaussian(tmp_path: Path) -> None:
    # Gaussian, UB3LYP/6-31G, Int(Grid=99590), published in github.com/dftlibs/xcfun, issue 132
    result = run_scf(METHYL, level("b3lyp/6-31g+nofit"), MEMORY, Progress(tmp_path))
    assert result.energy == pytest.approx(-39.7370512431, abs=2e-6)
    assert 0.75 < result.s_squared < 0.76


@pytest.mark.parametrize(("symbol", "energy"), [("Li", -7.4912967), ("Na", -162.2866286)])
def test_alkali_atoms(symbol: str, energy: float, tmp_path: Path) -> None:
    # VWN-RPA values; with VWN5 Li would be at -7.4809370 and Na at -162.2449272
    result = run_scf(atom(symbol, 2), level("b3lyp-d3bj/6-311g(d,p)+nofit"), MEMORY, Progress(tmp_path))
    assert result.energy == pytest.approx(energy, abs=1e-6)
    assert result.populations.charges["mulliken"] == pytest.approx([0.0], abs=1e-9)
    assert result.populations.spins["mulliken"] == pytest.approx([1.0], abs=1e-9)


# 2,3-dicyanopyrazine with Li between its nitriles as GFN2-xTB relaxes it [Angstrom]
CORNER = """N 2.70386 1.56715 -0.70906
C 1.56871 1.32583 -0.55508
C 0.37028 0.72991 -0.27484
N -0.84101 1.27646 -0.38788
C -1.88876 0.56658 -0.07772
C -1.77381 -0.77729 0.37865
N -0.61549 -1.36006 0.50748
C 0.49089 -0.67999 0.20395
C 1.77890 -1.13295 0.27992
N 2.94390 -1.24261 0.24514
H -2.84991 1.04695 -0.18352
H -2.64370 -1.36322 0.63497
Li 3.98882 0.22932 -0.32768"""


def corner() -> Structure:
    fields = [line.split() for line in CORNER.splitlines()]
    return Structure(tuple(f[0] for f in fields), np.array([[float(x) for x in f[1:]] for f in fields]), 0, 2)


def test_lithium_at_the_nitrile_corner(tmp_path: Path) -> None:
    """Interaction energy of the frozen fragments without dispersion, computed independently.

    -2.656 eV with each in its own basis, -2.566 eV with each in that of the complex.
    """
    method = level("b3lyp/6-311g(d,p)", grid=1, energy_threshold=1e-6, gradient_threshold=1e-3)
    complex_ = corner()
    host = Structure(complex_.symbols[:-1], complex_.positions[:-1])
    assert np.linalg.norm(complex_.positions[[0, 9]] - complex_.positions[12], axis=1) == pytest.approx(
        [1.893] * 2, abs=1e-3
    )
    energies = [run_scf(s, method, MEMORY, Progress(tmp_path)).energy for s in (complex_, host, atom("Li", 2))]
    assert (energies[0] - energies[1] - energies[2]) * HARTREE_EV == pytest.approx(-2.656, abs=0.003)
    ligand = run_scf(complex_, method, MEMORY, Progress(tmp_path), None, (12,), 0, 1)
    lithium = run_scf(complex_, method, MEMORY, Progress(tmp_path), None, tuple(range(12)), 0, 2)
    assert (energies[0] - ligand.energy - lithium.energy) * HARTREE_EV == pytest.approx(-2.566, abs=0.003)
    assert (energies[1] - ligand.energy) * HARTREE_EV == pytest.approx(0.085, abs=0.002)  # of the 0.090 eV
    assert ligand.basis_functions == lithium.basis_functions == 210
    for alone, charge in ((ligand, 0), (lithium, 0)):
        for charges in alone.populations.charges.values():
            assert len(charges) == 13
            assert sum(charges) == pytest.approx(charge, abs=1e-7)


def test_parts_add_up_and_dispersion_is_one_of_them(tmp_path: Path) -> None:
    with_d3 = run_scf(WATER, level("b3lyp-d3bj/6-31g(d,p)", grid=3), MEMORY, Progress(tmp_path))
    without = run_scf(WATER, level("b3lyp/6-31g(d,p)", grid=3), MEMORY, Progress(tmp_path))
    assert sum(with_d3.components.values()) == pytest.approx(with_d3.energy, abs=1e-9)
    assert set(with_d3.components) == set(without.components) | {"dispersion"}
    assert with_d3.energy - without.energy == pytest.approx(with_d3.components["dispersion"], abs=1e-9)
    assert with_d3.components["dispersion"] < -1e-4
    # Coulomb's law
    positions, charges = WATER.positions / 0.529177210903, np.array([8.0, 1.0, 1.0])
    pairs = [(0, 1), (0, 2), (1, 2)]
    repulsion = sum(charges[i] * charges[j] / np.linalg.norm(positions[i] - positions[j]) for i, j in pairs)
    assert with_d3.components["nuclear"] == pytest.approx(repulsion, abs=1e-8)


def test_dispersion_is_two_body() -> None:
    """Argon has one reference state, so its pair energies add up exactly unless there is a three-body term."""
    triangle = np.array([[0, 0, 0], [3.5, 0, 0], [1.75, 3.03109, 0.0]])
    method = level("b3lyp-d3bj/6-31g")

    def dispersion(positions: np.ndarray) -> float:
        structure = Structure(("Ar",) * len(positions), positions)
        return float(build_mean_field(build_molecule(structure, method, MEMORY), method).get_dispersion())

    pairs = sum(dispersion(triangle[[i, j]]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert dispersion(triangle) == pytest.approx(pairs, abs=1e-10)


def test_three_body_dispersion_is_that_of_axilrod_and_teller() -> None:
    """C9 (1 + 3 cos^3) / r^9 for an equilateral triangle so wide that nothing is damped, with C9 = C6^(3/2)."""
    side = 12.0 / BOHR_ANGSTROM
    triangle = np.array([[0, 0, 0], [12.0, 0, 0], [6.0, 12.0 * np.sqrt(3) / 2, 0.0]])

    def dispersion(name: str, positions: np.ndarray) -> float:
        method = level(f"b3lyp-{name}/6-31g")
        structure = Structure(("Ar",) * len(positions), positions)
        return float(build_mean_field(build_molecule(structure, method, MEMORY), method).get_dispersion())

    far = 25.0
    c6 = -dispersion("d3bj", np.array([[0, 0, 0], [far, 0, 0]])) * (far / BOHR_ANGSTROM) ** 6
    three = dispersion("d3bjatm", triangle) - dispersion("d3bj", triangle)
    assert three == pytest.approx(c6**1.5 * (1 + 3 / 8) / side**9, rel=0.05)


@pytest.mark.parametrize(("name", "three_body"), [("d3bj", False), ("d3bjatm", True), ("d4", True)])
@pytest.mark.parametrize("functional", ["b3lyp", "pbe0", "tpssh"])
def test_dispersion_is_that_of_its_library(functional: str, name: str, three_body: bool) -> None:
    """Energies of simple-dftd3 and dftd4 by their own interface, by the functional's name there."""
    from pyscf.dispersion import dftd3, dftd4

    method = level(f"{functional}-{name}/3-21g")
    mean_field = build_mean_field(build_molecule(corner(), method, MEMORY), method)
    if name == "d4":
        library = dftd4.DFTD4Dispersion(mean_field.mol, xc=functional, atm=three_body)
    else:
        library = dftd3.DFTD3Dispersion(mean_field.mol, xc=functional, version="d3bj", atm=three_body)
    energy = float(library.get_dispersion()["energy"])
    assert energy < -1e-3
    assert float(mean_field.get_dispersion()) == pytest.approx(energy, abs=1e-12)


@pytest.mark.parametrize("name", ["d3bj", "d3bjatm", "d4"])
def test_gradients_contain_the_dispersion(name: str) -> None:
    """With minus without, at the same density, is the derivative of the dispersion energy."""
    gradients = []
    for text in (f"b3lyp-{name}/sto-3g", "b3lyp/sto-3g"):
        method = level(text, grid=0)
        mean_field = build_mean_field(build_molecule(WATER, method, MEMORY), method)
        set_grid(mean_field, 0)
        mean_field.kernel()
        gradients.append(mean_field.nuc_grad_method().kernel())
    method = level(f"b3lyp-{name}/sto-3g")

    def energy(step: float) -> float:
        moved = WATER.with_positions(WATER.positions + np.array([[0, 0, 0], [0, step, 0], [0, 0, 0]]))
        return float(build_mean_field(build_molecule(moved, method, MEMORY), method).get_dispersion())

    numerical = (energy(0.01) - energy(-0.01)) / (0.02 / BOHR_ANGSTROM)
    assert abs(numerical) > 1e-6
    assert (gradients[0] - gradients[1])[1, 1] == pytest.approx(numerical, rel=0.02, abs=1e-8)


def test_cartesian_functions_are_those_of_the_textbook() -> None:
    """HF/6-31G* energy of water at its geometry there, with six d functions: Hehre, Radom, Schleyer, Pople, 1986."""
    half = np.radians(105.5 / 2)
    water = Structure(
        ("O", "H", "H"),
        0.947 * np.array([[0, 0, 0], [0, np.sin(half), np.cos(half)], [0, -np.sin(half), np.cos(half)]]),
    )
    energies = {}
    for option in ("", "+cart"):
        molecule = build_molecule(water, level(f"b3lyp/6-31g(d){option}"), MEMORY)
        energies[molecule.nao] = scf.RHF(molecule).set(chkfile=None).kernel()
    assert set(energies) == {18, 19}
    assert energies[19] == pytest.approx(-76.01075, abs=2e-5)
    assert energies[18] > energies[19] + 1e-4


def test_ghosts_are_functions_and_nothing_else(tmp_path: Path) -> None:
    """Of water beside zirconium only the water is left, with what zirconium's functions add."""
    both = Structure(("Zr", *WATER.symbols), np.vstack([[0, 0, 2.3], WATER.positions]), 0, 1)
    method = level("b3lyp-d4/def2-svp", grid=1)
    molecule = build_molecule(both, method, MEMORY, (0,), 0, 1)
    assert molecule.nelectron == 10
    assert (molecule.atom_charges() == [0, 8, 1, 1]).all()
    found = run_scf(both, method, MEMORY, Progress(tmp_path), None, (0,), 0, 1)
    alone = run_scf(WATER, method, MEMORY, Progress(tmp_path))
    for part in ("nuclear", "dispersion"):
        assert found.components[part] == pytest.approx(alone.components[part], abs=1e-10)
    assert alone.energy - 0.1 < found.energy < alone.energy
    assert sum(found.components.values()) == pytest.approx(found.energy, abs=1e-9)
    assert found.populations.charges["mulliken"][0] < 0  # there are electrons in its functions, and no nucleus
    assert sum(found.populations.charges["mulliken"]) == pytest.approx(0, abs=1e-8)


HYDROGEN_IODIDE = Structure(("H", "I"), np.array([[0, 0, 0], [0, 0, 1.61]]))


def test_charges_with_core_potentials(tmp_path: Path) -> None:
    """Hydrogen iodide is hardly polar, with 28 electrons of the iodine in a potential as with all of them."""
    inside = run_scf(HYDROGEN_IODIDE, level("b3lyp/def2-svp", grid=1), MEMORY, Progress(tmp_path))
    every = run_scf(HYDROGEN_IODIDE, level("b3lyp/6-311g(d,p)+nofit", grid=1), MEMORY, Progress(tmp_path))
    for name in ("mulliken", "meta_loewdin"):
        charges = inside.populations.charges[name]
        assert sum(charges) == pytest.approx(0.0, abs=1e-8)
        assert abs(charges[1]) < 0.1
    assert inside.populations.charges["meta_loewdin"] == pytest.approx(
        every.populations.charges["meta_loewdin"], abs=0.1
    )


@pytest.mark.parametrize(("ghosts", "multiplicity"), [((2,), 1), ((0, 2), 2), ((1, 2), 2)])
def test_charges_with_core_potentials_and_ghosts(ghosts: tuple[int, ...], multiplicity: int, tmp_path: Path) -> None:
    """Every electron belongs to an atom or a ghost; where no core potential is left, to the usual reference."""
    both = Structure(("H", "I", "I"), np.vstack([HYDROGEN_IODIDE.positions, [0, 0, -3.0]]))
    found = run_scf(
        both, level("b3lyp/def2-svp", grid=1), MEMORY, Progress(tmp_path), None, ghosts, 0, multiplicity
    ).populations.charges
    for charges in found.values():
        assert sum(charges) == pytest.approx(0.0, abs=1e-8)
    assert all(-0.002 < found["meta_loewdin"][k] < 0 for k in ghosts)


def test_core_potentials_and_cartesian_functions_have_no_meta_loewdin_charges(tmp_path: Path) -> None:
    found = run_scf(
        HYDROGEN_IODIDE, level("b3lyp/def2-svp", grid=1, cartesian=True), MEMORY, Progress(tmp_path)
    ).populations.charges
    assert set(found) == {"mulliken"}


@pytest.mark.parametrize("text", ["b3lyp/lanl2dz", "b3lyp/lanl2dz+nofit"])
def test_core_potentials_have_their_gradients(text: str, tmp_path: Path) -> None:
    """On silver hydride, 19 + 1 electrons."""
    hydride = Structure(("H", "Ag"), np.array([[0, 0, 0], [0, 0, 1.7]]))
    method = level(text, grid=2, energy_threshold=1e-10, gradient_threshold=1e-6)
    surface = KohnShamGradient(hydride, method, MEMORY, Progress(tmp_path), grid_response=True)
    centre, step = hydride.positions / BOHR_ANGSTROM, np.array([[0, 0, 0], [0, 0, 2e-3]])
    gradient = surface(centre, None).gradient
    above, below = (surface.converge(centre + sign * step, None) or surface.mean_field.e_tot for sign in (1, -1))
    assert surface.mean_field.mol.nelectron == 20
    assert gradient[1, 2] == pytest.approx((above - below) / 4e-3, abs=5e-6)


@pytest.mark.parametrize("symbols", [("Zr", "O"), ("I", "H")])
def test_fitting_goes_with_core_potentials(symbols: tuple[str, str], tmp_path: Path) -> None:
    structure = Structure(symbols, np.array([[0, 0, 0], [0, 0, 1.7]]))
    fitted, exact = (
        run_scf(structure, level(text, grid=0), MEMORY, Progress(tmp_path)).energy
        for text in ("b3lyp/def2-svp", "b3lyp/def2-svp+nofit")
    )
    assert 0 < abs(fitted - exact) < 4e-5  # 1 meV


def test_a_guess_of_either_spin_keeps_its_symmetry_broken(tmp_path: Path) -> None:
    """Two hydrogen atoms far apart, spin up on one and down on the other: twice the energy of one."""
    method = level("b3lyp/6-31g", grid=3)
    lone = run_scf(atom("H", 2), method, MEMORY, Progress(tmp_path))
    orbital = lone.orbitals["coefficients_alpha"][:, 0]
    pair = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 6.0]]))
    guess = {
        "coefficients_alpha": np.pad(orbital, (0, 2))[:, None], "occupations_alpha": np.ones(1),
        "coefficients_beta": np.pad(orbital, (2, 0))[:, None], "occupations_beta": np.ones(1),
    }  # fmt: skip
    broken = run_scf(pair, method, MEMORY, Progress(tmp_path), guess)
    closed = run_scf(pair, method, MEMORY, Progress(tmp_path))
    assert broken.energy == pytest.approx(2 * lone.energy, abs=5e-5)
    assert closed.energy > broken.energy + 0.05
    assert broken.s_squared == pytest.approx(1.0, abs=1e-3)
    assert broken.populations.spins["mulliken"] == pytest.approx([1.0, -1.0], abs=1e-3)
    assert ["broken-symmetry singlet" in said for said in broken.warnings] == [True]
    assert (closed.s_squared, closed.populations.spins, closed.warnings) == (0.0, {}, [])


def test_orbitals_of_other_electrons_are_no_guess(tmp_path: Path) -> None:
    method = level("b3lyp/6-31g", grid=0)
    cation = run_scf(Structure(WATER.symbols, WATER.positions, 2, 1), method, MEMORY, Progress(tmp_path))
    found = run_scf(WATER, method, MEMORY, Progress(tmp_path), cation.orbitals)
    assert found.warnings == ["the orbitals to start from hold 8 electrons, not 10; they were not used"]
    assert found.energy == pytest.approx(run_scf(WATER, method, MEMORY, Progress(tmp_path)).energy, abs=1e-8)


def test_what_a_record_needs(tmp_path: Path) -> None:
    ion = Structure(METHYL.symbols, METHYL.positions, 1, 1)
    for structure in (METHYL, ion):
        result = run_scf(structure, level("b3lyp-d3bj/6-31g(d)", grid=3), MEMORY, Progress(tmp_path))
        electrons = 9 - structure.charge
        for charges in result.populations.charges.values():
            assert sum(charges) == pytest.approx(structure.charge, abs=1e-8)
        assert set(result.populations.charges) == {"mulliken", "meta_loewdin"}
        assert result.convergence.grid_electrons == pytest.approx(electrons, abs=2e-3)
        assert sum(o.sum() for name, o in result.orbitals.items() if name.startswith("occupations")) == electrons
        assert result.basis_functions == 20  # C: 3 s, 2 p, 1 spherical d make 14; H 2 each
    assert sum(run_scf(METHYL, level("b3lyp/6-31g"), MEMORY, Progress(tmp_path)).populations.spins["mulliken"]) == (
        pytest.approx(1.0, abs=1e-8)
    )


def test_orbitals_give_the_charges_back(tmp_path: Path) -> None:
    """Mulliken charges from the stored orbitals and PySCF's overlap, by their definition."""
    from pyscf import gto

    method = level("b3lyp/6-31g", grid=2)
    result = run_scf(METHYL, method, MEMORY, Progress(tmp_path))
    molecule: gto.Mole = build_molecule(METHYL, method, MEMORY)
    overlap = molecule.intor("int1e_ovlp")
    density = sum(
        (result.orbitals[f"coefficients_{s}"] * result.orbitals[f"occupations_{s}"])
        @ result.orbitals[f"coefficients_{s}"].T
        for s in ("alpha", "beta")
    )
    populations = np.einsum("ij,ji->i", density, overlap)
    owners = np.array([label[0] for label in molecule.ao_labels(fmt=None)])
    charges = molecule.atom_charges() - np.array([populations[owners == atom].sum() for atom in range(4)])
    assert result.populations.charges["mulliken"] == pytest.approx(charges, abs=1e-8)


def test_finishing_on_a_finer_grid_equals_starting_there(tmp_path: Path) -> None:
    staged = run_scf(METHYL, level("b3lyp/6-31g", scf_grid=1), MEMORY, Progress(tmp_path))
    direct = run_scf(METHYL, level("b3lyp/6-31g"), MEMORY, Progress(tmp_path))
    coarse = run_scf(METHYL, level("b3lyp/6-31g", grid=1), MEMORY, Progress(tmp_path))
    assert staged.energy == pytest.approx(direct.energy, abs=1e-8)
    assert abs(coarse.energy - direct.energy) > 1e-7


def test_an_scf_that_does_not_converge_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alkaflow.workflows.device.converge", partial(converge, rungs=()))
    with pytest.raises(CalculationError, match="did not converge in") as caught:
        run_scf(METHYL, level("b3lyp/6-31g", grid=0, max_cycles=2), MEMORY, Progress(tmp_path))
    assert caught.value.outcome == "scf_not_converged"
    assert "b3lyp/6-31g: the SCF" in str(caught.value)


def test_the_second_try_is_recorded(tmp_path: Path) -> None:
    result = run_scf(METHYL, level("b3lyp/6-31g", grid=0, max_cycles=4), MEMORY, Progress(tmp_path))
    assert result.convergence.corrections[0]["errors"] == ["scf_not_converged"]
    assert result.convergence.corrections[0]["actions"][0]["level_shift"] > 0


def test_progress_is_reported(tmp_path: Path) -> None:
    result = run_scf(WATER, level("b3lyp/6-31g", grid=0), MEMORY, Progress(tmp_path))
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress["stage"], progress["step"]) == ("SCF cycle", result.convergence.cycles)
    assert progress["energy_hartree"] == pytest.approx(result.energy, abs=1e-6)
    assert read_progress(tmp_path / "elsewhere") is None


class _LosesIt(Cpu):
    """Ends the SCF on the second grid, after a correction, in the solution with equal spins."""

    def __init__(self) -> None:
        self.grids = 0

    def converge(self, mean_field: Any, density: Any, watch: Any, keep: Any = None) -> list[dict[str, Any]]:
        self.grids += 1
        found = super().converge(mean_field, density, watch, keep)
        if self.grids == 1:
            return found
        up, down = mean_field.make_rdm1()
        super().converge(mean_field, np.array([up + down, up + down]) / 2, watch)
        return [{"errors": ["scf_not_converged"], "handler": "unlucky", "reason": "", "actions": []}]


def test_what_took_corrections_on_the_second_grid_is_tested_again(tmp_path: Path) -> None:
    """Stretched H2, 1.4 eV too high with equal spins."""
    stretched = Structure(("H", "H"), np.array([[0, 0, 0], [0, 0, 2.5]]))
    asked = level("b3lyp/6-31g", grid=2, scf_grid=1, stability=True)
    expected = run_scf(stretched, asked, MEMORY, Progress(tmp_path))
    assert expected.s_squared > 0.9
    found = run_scf(stretched, asked, MEMORY, Progress(tmp_path), device=_LosesIt())
    assert found.energy == pytest.approx(expected.energy, abs=1e-7)
    assert found.convergence.stability is not None
    assert found.convergence.stability["broken_symmetry"]
    assert found.convergence.stability["lowering"] > 0.05
