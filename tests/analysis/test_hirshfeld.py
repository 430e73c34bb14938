"""Hirshfeld and CM5 charges against other programs."""

from typing import Any

import numpy as np
import pytest
from pyscf import dft, gto, scf
from pyscf.dft.LebedevGrid import MakeAngularGrid

from alkaflow.analysis.cm5 import cm5
from alkaflow.analysis.density import Density
from alkaflow.analysis.free_atoms import Radial, free_atoms, radial
from alkaflow.analysis.hirshfeld import hirshfeld
from alkaflow.errors import BadInputError
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.guess import occupied_orbitals

METHANOL = """O -0.046153 -0.751257 0; C -0.046153 0.658469 0; H 0.857779 -1.062372 0; H -1.086394 0.976180 0;
H 0.437376 1.072716 0.889654; H 0.437376 1.072716 -0.889654"""
FORMAMIDE = """C -0.164665 0.381599 0; O -1.179589 -0.245182 0; N 1.073259 -0.153007 0; H -0.152430 1.472206 0;
H 1.175971 -1.143194 0; H 1.888352 0.413898 0"""


def density_of(mean_field: Any) -> Density:
    mean_field.run(conv_tol=1e-10)
    return Density.of(mean_field.mol, occupied_orbitals(mean_field))


def averaged_uhf(molecule: Any, spins: dict[str, int]) -> dict[str, Radial]:
    """Free atoms as Q-Chem has them: whole electrons, the density averaged over directions afterwards."""
    radii = np.geomspace(1e-5, 40.0, 1200)
    directions = MakeAngularGrid(50)
    atoms = {}
    for symbol, spin in spins.items():
        atom = gto.M(atom=[(symbol, (0, 0, 0))], basis={symbol: molecule._basis[symbol]}, spin=spin, verbose=0)
        matrix = scf.UHF(atom).run(conv_tol=1e-9).make_rdm1().sum(axis=0)
        values = np.zeros(len(radii))
        for *direction, weight in directions:
            functions = atom.eval_gto("GTOval", np.outer(radii, direction))
            values += weight * np.einsum("gi,ij,gj->g", functions, matrix, functions, optimize=True)
        atoms[symbol] = radial(values, radii)
    return atoms


def test_with_the_free_atoms_of_q_chem() -> None:
    """LiF2- with HF: gpu4pyscf's tests quote Q-Chem to six digits (``qmmm/tests/test_hirshfeld.py``)."""
    molecule = gto.M(
        atom="F -1.2 0 0; Li 0 0 0; F 1.2 0 0", basis={"Li": "sto-6g", "F": "def2-qzvp"}, charge=-1, verbose=0
    )
    density = density_of(scf.RHF(molecule).density_fit(auxbasis="def2-universal-jkfit"))
    found = hirshfeld(density, (99, 302), averaged_uhf(molecule, {"Li": 1, "F": 1}))
    assert found.charges == pytest.approx([-0.598679, 0.197359, -0.598679], abs=2e-5)
    assert abs(found.grid_error) < 1e-5


@pytest.mark.parametrize(
    ("atom", "functional", "basis", "cart", "published", "tolerance"),
    [
        (
            METHANOL, "mPW1PW", "6-311+g(2df,2p)", False,
            [-0.250109, -0.031642, 0.164045, 0.047951, 0.034880, 0.034880], 0.01,
        ),
        (FORMAMIDE, "HF", "6-31g*", True, [0.223454, -0.370283, -0.196296, 0.053878, 0.146856, 0.142374], 0.025),
    ],
    ids=["methanol", "formamide"],
)  # fmt: skip
def test_near_gaussian(
    atom: str, functional: str, basis: str, cart: bool, published: list[float], tolerance: float
) -> None:
    """Gaussian 09 as quoted in the tests of CM5PAC; its free atoms differ from ours a little."""
    molecule = gto.M(atom=atom, basis=basis, cart=cart, verbose=0)
    found = hirshfeld(density_of(dft.RKS(molecule, functional).density_fit()), 2)
    assert found.charges == pytest.approx(published, abs=tolerance)
    assert np.sign(found.charges) == pytest.approx(np.sign(published))
    assert abs(found.grid_error) < 1e-4
    assert found.charges.sum() == pytest.approx(found.grid_error, abs=1e-12)


def test_the_deformation_is_what_is_shared_out() -> None:
    """q = Z - integral of w rho, by points and functions of another making: a finer grid without pruning."""
    molecule = gto.M(atom="Li 0 0 0; H 0 0 1.6", basis="6-311g**", verbose=0)
    density = density_of(scf.RHF(molecule))
    atoms = free_atoms(molecule, "b3lypg")
    grid = dft.gen_grid.Grids(molecule)
    grid.atom_grid, grid.prune = (150, 590), None
    grid.build()
    functions = molecule.eval_gto("GTOval", grid.coords)
    electrons = np.einsum("gi,ij,gj->g", functions, density.total, functions, optimize=True)
    far = np.linalg.norm(grid.coords[:, None] - molecule.atom_coords(), axis=2)
    lithium, hydrogen = atoms["Li"](far[:, 0]), atoms["H"](far[:, 1])
    expected = 3 - grid.weights @ (lithium / (lithium + hydrogen) * electrons)
    found = hirshfeld(density, 4)
    assert found.charges == pytest.approx([expected, -expected], abs=2e-5)


@pytest.mark.parametrize(
    ("symbol", "basis"), [("H", "sto-3g"), ("N", "6-311g**"), ("Ti", "def2-svp"), ("Fe", "def2-svp")]
)
def test_free_atoms_hold_their_electrons(symbol: str, basis: str) -> None:
    molecule = gto.M(atom=f"{symbol} 1 2 3", basis=basis, spin=None, verbose=0)
    radii = np.geomspace(1e-5, 40, 20001)
    density = free_atoms(molecule, "b3lypg")[symbol](radii)
    electrons = np.trapezoid(4 * np.pi * radii**3 * density, np.log(radii))
    assert electrons == pytest.approx(molecule.nelectron, abs=1e-5)


def test_a_free_hydrogen_atom_with_one_function() -> None:
    """With STO-3G there is nothing to converge: its density is the square of the function."""
    molecule = gto.M(atom="H 0 0 0", basis="sto-3g", spin=1, verbose=0)
    far = np.array([0.0, 0.3, 1.0, 2.7])
    values = molecule.eval_gto("GTOval", np.outer(far, [0.6, 0.0, 0.8]))[:, 0] ** 2
    assert free_atoms(molecule, "b3lypg")["H"](far) == pytest.approx(values, rel=1e-6)


def test_a_basis_too_small_for_the_atom() -> None:
    molecule = gto.M(atom="Ne 0 0 0", basis={"Ne": [[0, [1.0, 1.0]], [0, [9.0, 1.0]]]}, verbose=0)
    with pytest.raises(BadInputError, match="leave the scheme hirshfeld out"):
        free_atoms(molecule, "b3lypg")


@pytest.mark.parametrize(
    ("atom", "hirshfeld_charges", "published"),
    [
        (
            METHANOL,
            [-0.250109, -0.031642, 0.164045, 0.047951, 0.034880, 0.034880],
            [-0.474015, -0.157794, 0.338597, 0.108245, 0.092486, 0.092486],
        ),
        (
            FORMAMIDE,
            [0.223454, -0.370283, -0.196296, 0.053878, 0.146856, 0.142374],
            [0.278068, -0.421696, -0.669558, 0.128807, 0.345301, 0.339062],
        ),
    ],
    ids=["methanol", "formamide"],
)
def test_cm5_is_that_of_cm5pac(atom: str, hirshfeld_charges: list[float], published: list[float]) -> None:
    """Tests 1 and 2 of the authors' program: its CM5 charges from its Hirshfeld charges."""
    words = [line.split() for line in atom.replace("\n", "").split(";")]
    positions = np.array([[float(x) for x in xyz] for _, *xyz in words]) / BOHR_ANGSTROM
    found = cm5(np.array(hirshfeld_charges), [symbol for symbol, *_ in words], positions)
    assert found == pytest.approx(published, abs=2e-6)


def test_cm5_of_atoms_without_a_pair_of_their_own() -> None:
    """Manganese and oxygen at 1.9 Angstrom by hand: D = 0 + 0.0802, radii 1.29 and 0.64."""
    found = cm5(np.array([0.3, -0.3]), ["Mn", "O"], np.array([[0, 0, 0], [0, 0, 1.9]]) / BOHR_ANGSTROM)
    term = 0.0802 * np.exp(-2.474 * (1.9 - 1.29 - 0.64))
    assert found == pytest.approx([0.3 + term, -0.3 - term], abs=1e-12)
