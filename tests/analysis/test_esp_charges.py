"""Fitted charges against the programs of their authors and others, and against potentials of known charges."""

from functools import cache

import numpy as np
import pytest
from pyscf import gto, scf
from scipy.spatial.distance import cdist

from alkaflow.analysis.density import Density
from alkaflow.analysis.esp_charges import Potential, chelpg, resp
from alkaflow.structures import FloatArray
from alkaflow.workflows.guess import occupied_orbitals

HALF = np.radians(104.5 / 2)
WATER = [("O", (0, 0, 0))] + [("H", (sign * 0.956 * np.sin(HALF), 0, 0.956 * np.cos(HALF))) for sign in (1, -1)]
METHANOL = """H 1.2001 0.0363 0.8431; C 0.7031 0.0083 -0.1305; H 0.9877 0.8943 -0.7114; H 1.0155 -0.8918 -0.6742;
O -0.6582 -0.0067 0.1730; H -1.1326 -0.0311 -0.6482"""
ACETIC_ACID = """C 1.45051389 -0.06628932 0; H 1.75521613 -0.62865986 -0.87500146; H 1.75521613 -0.62865986 0.87500146;
H 1.92173244 0.90485897 0; C -0.04233122 0.09849378 0; O -0.67064817 -1.07620915 0; H -1.60837259 -0.91016601 0;
O -0.62675864 1.13160510 0"""


@cache
def density_of(name: str, basis: str, cart: bool = False) -> Density:
    atom = {"water": WATER, "methanol": METHANOL, "acetic acid": ACETIC_ACID}[name]
    mean_field = scf.RHF(gto.M(atom=atom, basis=basis, cart=cart, verbose=0)).run(conv_tol=1e-10)
    return Density.of(mean_field.mol, occupied_orbitals(mean_field))


def exact_potential(density: Density) -> Potential:
    molecule = density.molecule

    def at(points: FloatArray) -> FloatArray:
        electrons = [
            np.einsum("gij,ij->g", molecule.intor("int1e_grids", grids=block), density.total)
            for block in np.array_split(points, 1 + len(points) // 1000)
        ]
        return (molecule.atom_charges() / cdist(points, molecule.atom_coords())).sum(axis=1) - np.concatenate(electrons)

    return at


def test_chelpg_of_its_authors() -> None:
    """Water with HF/STO-3G in the manual of Breneman's CHELPG (1990): 3953 points, O -0.6182, H 0.3091 and 0.3092."""
    density = density_of("water", "sto-3g")
    found = chelpg(density, exact_potential(density))
    assert found.charges == pytest.approx([-0.6182, 0.3091, 0.3092], abs=1e-3)
    assert found.points == pytest.approx(3953, rel=0.02)


def test_chelpg_of_another_program() -> None:
    """Methanol with HF/6-31G* in the eChem book (VeloxChem), the methyl's hydrogens alike."""
    density = density_of("methanol", "6-31g*")
    found = chelpg(density, exact_potential(density), alike=[[0, 2, 3]])
    assert found.charges == pytest.approx([0.003200, 0.225480, 0.003200, 0.003200, -0.611345, 0.376265], abs=3e-3)
    assert found.relative_rms == pytest.approx(0.1868, abs=2e-3)
    assert found.charges[0] == pytest.approx(found.charges[2], abs=1e-10)


def test_resp_of_another_program() -> None:
    """Both stages of acetic acid with HF/6-31G*: R.E.D. III.5 with GAMESS, quoted in the tests of cdsgroup's resp."""
    density = density_of("acetic acid", "6-31g*", cart=True)
    found = resp(density, exact_potential(density), 1.0, np.eye(3))
    published = [-0.290893, 0.098314, 0.098314, 0.098314, 0.803999, -0.661279, 0.453270, -0.600039]
    assert found.charges == pytest.approx(published, abs=1e-5)
    finer = resp(density, exact_potential(density))
    assert finer.points > 5 * found.points
    assert finer.charges == pytest.approx(published, abs=1e-2)


def charges_in(atom: str, charge: float) -> tuple[Density, FloatArray, Potential]:
    """A molecule of which only the atoms matter, charges on them, and the potential of these."""
    molecule = gto.M(atom=atom, basis="sto-3g", charge=int(charge), spin=None, verbose=0)
    rng = np.random.default_rng(3)
    charges = rng.uniform(-0.6, 0.6, molecule.natm)
    charges += (charge - charges.sum()) / molecule.natm
    nothing = np.zeros((molecule.nao, 0))
    density = Density(molecule, (nothing, nothing), (np.zeros(0), np.zeros(0)))
    return density, charges, lambda points: (charges / cdist(points, molecule.atom_coords())).sum(axis=1)


@pytest.mark.parametrize("charge", [0, 1])
def test_chelpg_finds_the_charges_that_made_a_potential(charge: int) -> None:
    density, charges, potential = charges_in("Li 0 0 2; O 0 0 0; H 0.9 0 -0.5; Ti 0 2.2 0.4", charge)
    found = chelpg(density, potential)
    assert found.charges == pytest.approx(charges, abs=1e-9)
    assert found.rms < 1e-10


def test_resp_finds_the_charges_of_hydrogens_that_made_a_potential() -> None:
    """Hydrogen is not restrained; with a restraint on carbon, its charge comes out nearer to 0."""
    density, charges, potential = charges_in("H 0 0 0; H 0 0 0.9; H 1 0.3 0", 0)
    assert resp(density, potential).charges == pytest.approx(charges, abs=1e-9)


def test_resp_leaves_a_molecule_without_methyls_alone_after_the_first_stage() -> None:
    """No shift of charge between atoms lowers fit and restraint, 2 a sqrt(q^2 + b^2) as the program resp has it."""
    density, charges, potential = charges_in("O 0 0 0; C 0 0 1.2; N 0 1.1 1.9", 0)
    found = resp(density, potential, 2.0)
    assert 0 < np.abs(found.charges - charges).max() < 0.1

    def objective(values: FloatArray) -> float:
        from alkaflow.analysis.esp_charges import _frame, shells

        points = shells(density.molecule, 2.0, _frame(density.molecule)[1])
        left = potential(points) - (values / cdist(points, density.molecule.atom_coords())).sum(axis=1)
        return float(left @ left + 2.0 * 2 * 0.0005 * np.sqrt(values**2 + 0.1**2).sum())

    best = objective(found.charges)
    for one, other in ((0, 1), (1, 2), (2, 0)):
        for step in (1e-3, -1e-3):
            moved = found.charges.copy()
            moved[one] += step
            moved[other] -= step
            assert objective(moved) > best


def test_points_keep_their_distance() -> None:
    """No point of CHELPG is inside a radius (1.45 of H, 1.7 of O) or further than 2.8 Angstrom from every atom."""
    density = density_of("water", "sto-3g")
    seen = []

    def potential(points: FloatArray) -> FloatArray:
        seen.append(points)
        return exact_potential(density)(points)

    chelpg(density, potential)
    away = cdist(seen[0], density.molecule.atom_coords()) * 0.529177
    assert (away > np.array([1.7, 1.45, 1.45]) - 1e-4).all()
    assert away.min(axis=1).max() < 2.8 + 1e-4
    spacing = cdist(seen[0][:400], seen[0][:400]) * 0.529177
    assert spacing[spacing > 1e-6].min() == pytest.approx(0.3, abs=1e-4)
