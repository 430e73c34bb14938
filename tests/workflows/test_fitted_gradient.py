"""Gradients with density fitting: PySCF's to the last digits, derivatives of the energy, and what is left to PySCF."""

from typing import Any

import numpy as np
import pytest

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure, from_smiles
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.fitted_gradient import Orbitals, fitted_gradient, fitted_repulsion_gradient, supports
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.quadrature_gradient import quadrature_gradient

WATER = Structure(("O", "H", "H"), np.array([[0.0, 0.0, 0.1], [0.8, 0.1, 0.6], [-0.7, 0.0, 0.6]]))
LITHIUM_HYDRIDE = Structure(("Li", "H"), np.array([[0.0, 0.0, 0.0], [0.3, 0.2, 1.6]]))
HYDROGEN_ION = Structure(("H", "H"), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.0]]), 1, 2)
HYDROGEN_IODIDE = Structure(("I", "H"), np.array([[0.0, 0.0, 0.0], [0.4, 0.2, 1.6]]))
BERYLLIUM_HYDRIDE = Structure(("Be", "H"), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.3]]), 0, 2)


def converged(structure: Structure, text: str, grid: int = 0, threshold: float = 1e-10) -> Any:
    """The object of a level, converged on a small grid."""
    level = parse_level(text)
    assert isinstance(level, KohnSham)
    level = level.model_copy(update={"energy_threshold": threshold, "gradient_threshold": 1e4 * threshold})
    mean_field = build_mean_field(build_molecule(structure, level, 2000), level)
    set_grid(mean_field, grid)
    mean_field.kernel()
    assert mean_field.converged
    return mean_field


def pyscf_gradient(mean_field: Any, grid_response: bool = False) -> np.ndarray:
    gradients = mean_field.nuc_grad_method()
    gradients.grid_response = grid_response
    return np.asarray(gradients.kernel())


@pytest.mark.parametrize(
    ("structure", "level"),
    [
        (WATER, "b3lyp/6-31g(d,p)"),
        (WATER, "b3lyp-d3bj/def2-svp"),
        (WATER, "b3lyp/6-31g(d,p)+cart"),
        (WATER, "b3lyp/6-31g+cpcm(water)"),
        (LITHIUM_HYDRIDE, "b3lyp/6-31g(d,p)"),
        (LITHIUM_HYDRIDE, "pbe/6-31g"),
        (BERYLLIUM_HYDRIDE, "pbe0/6-31g(d,p)"),
        (BERYLLIUM_HYDRIDE, "blyp-d3bj/6-31g"),
        (HYDROGEN_ION, "b3lyp/6-31g"),
        (HYDROGEN_IODIDE, "pbe0/def2-svp"),
    ],
)
def test_is_that_of_pyscf(structure: Structure, level: str) -> None:
    """Restricted, unrestricted, no spin down; without exact exchange; Cartesian; a core potential; D3; a solvent."""
    mean_field = converged(structure, level)
    assert supports(mean_field)
    assert fitted_gradient(mean_field) == pytest.approx(pyscf_gradient(mean_field), abs=1e-8)


@pytest.mark.parametrize("level", ["b3lyp/6-31g", "pbe/6-31g"])
@pytest.mark.parametrize("structure", [WATER, BERYLLIUM_HYDRIDE])
def test_response_of_the_grid_is_that_of_pyscf(structure: Structure, level: str) -> None:
    mean_field = converged(structure, level)
    assert fitted_gradient(mean_field, grid_response=True) == pytest.approx(
        pyscf_gradient(mean_field, grid_response=True), abs=1e-8
    )


@pytest.mark.parametrize("functional", ["svwn", "hf"])
@pytest.mark.parametrize("structure", [WATER, BERYLLIUM_HYDRIDE])
def test_a_local_functional_and_none(structure: Structure, functional: str) -> None:
    mean_field = converged(structure, "b3lyp/6-31g")
    mean_field.xc = functional
    assert fitted_gradient(mean_field) == pytest.approx(pyscf_gradient(mean_field), abs=1e-8)


def pyrazine_with_lithium() -> Structure:
    """A doublet with Li beside the ring at N, in its plane, not quite on the axis."""
    ring = from_smiles("c1cnccn1")
    donor = ring.symbols.index("N")
    outward = ring.positions[donor] - ring.positions[:6].mean(axis=0)
    place = ring.positions[donor] + 1.95 * outward / np.linalg.norm(outward) + [0.05, 0.0, 0.1]
    return Structure((*ring.symbols, "Li"), np.vstack([ring.positions, place]), 0, 2)


def test_a_complex_in_many_blocks() -> None:
    """Also with room for single functions only, and with the Cholesky vectors in a file."""
    mean_field = converged(pyrazine_with_lithium(), "b3lyp-d3bj/sto-3g", threshold=1e-6)
    expected = pyscf_gradient(mean_field)
    assert fitted_gradient(mean_field) == pytest.approx(expected, abs=1e-8)
    assert fitted_gradient(mean_field, max_memory_mb=0.5) == pytest.approx(expected, abs=1e-8)
    mean_field.with_df.reset()
    mean_field.with_df.max_memory = 0
    mean_field.with_df.build()
    assert not isinstance(mean_field.with_df._cderi, np.ndarray)
    assert fitted_gradient(mean_field) == pytest.approx(expected, abs=1e-8)


def test_is_the_derivative_of_the_energy() -> None:
    """Of that on the same grid, moving with the atoms; the forces add up to nothing."""
    step = 1e-3  # Angstrom
    gradient = fitted_gradient(converged(BERYLLIUM_HYDRIDE, "b3lyp-d3bj/6-31g(d,p)", grid=1), grid_response=True)
    assert gradient.sum(axis=0) == pytest.approx(0, abs=1e-9)
    energies = []
    for sign in (1, -1):
        positions = BERYLLIUM_HYDRIDE.positions.copy()
        positions[1, 2] += sign * step
        moved = Structure(BERYLLIUM_HYDRIDE.symbols, positions, 0, 2)
        energies.append(converged(moved, "b3lyp-d3bj/6-31g(d,p)", grid=1).e_tot)
    difference = (energies[0] - energies[1]) / (2 * step / BOHR_ANGSTROM)
    assert gradient[1, 2] == pytest.approx(difference, abs=2e-7)


def test_fitting_functions_that_depend_on_each_other() -> None:
    """The metric has no Cholesky factor; what PySCF's vectors are then made with is used."""
    from pyscf import gto

    mean_field = converged(WATER, "b3lyp/6-31g", threshold=1e-6)
    basis = {symbol: gto.basis.load("def2-universal-jkfit", symbol) for symbol in ("O", "H")}
    basis["H"] = basis["H"] + basis["H"][:3]
    mean_field.with_df.auxbasis = basis
    mean_field.with_df.build()
    assert mean_field.with_df.get_naoaux() < mean_field.with_df.auxmol.nao
    assert fitted_gradient(mean_field) == pytest.approx(pyscf_gradient(mean_field), abs=1e-7)


def test_points_far_from_every_atom() -> None:
    mean_field = converged(WATER, "pbe/6-31g")
    orbitals = Orbitals.of(mean_field).by_spin
    before = quadrature_gradient(mean_field, orbitals)
    grids = mean_field.grids
    grids.coords = np.vstack([grids.coords, np.full((4000, 3), 1e4)])
    grids.weights = np.append(grids.weights, np.ones(4000))
    assert quadrature_gradient(mean_field, orbitals) == pytest.approx(before, abs=1e-12)


def test_fractional_occupations() -> None:
    """Two-electron terms with orbitals that hold fractions of electrons."""
    mean_field = converged(BERYLLIUM_HYDRIDE, "b3lyp/6-31g")
    mean_field.mo_occ = np.where(np.arange(mean_field.mo_occ.shape[1]) < 4, 0.6, 0.0) * np.ones((2, 1))
    assert fitted_gradient(mean_field) == pytest.approx(pyscf_gradient(mean_field), abs=1e-8)


def test_shifting_everything_costs_nothing() -> None:
    mean_field = converged(WATER, "pbe0/6-31g")
    repulsion = fitted_repulsion_gradient(mean_field, Orbitals.of(mean_field))
    assert repulsion.sum(axis=0) == pytest.approx(0, abs=1e-11)
    assert np.abs(repulsion).max() > 1


def test_nothing_is_changed() -> None:
    mean_field = converged(BERYLLIUM_HYDRIDE, "b3lyp-d3bj/6-31g")
    before = {name: np.copy(getattr(mean_field, name)) for name in ("mo_coeff", "mo_occ", "mo_energy")}
    vectors, environment = mean_field.with_df._cderi.copy(), mean_field.mol._env.copy()
    orbitals = Orbitals.of(mean_field)
    fitted_repulsion_gradient(mean_field, orbitals)
    quadrature_gradient(mean_field, orbitals.by_spin, grid_response=True)
    assert all(np.array_equal(value, getattr(mean_field, name)) for name, value in before.items())
    assert np.array_equal(vectors, mean_field.with_df._cderi)
    assert np.array_equal(environment, mean_field.mol._env)


def left_to_pyscf() -> dict[str, Any]:
    """Objects, not converged, of kinds that have no gradient here."""
    from pyscf import dft, gto

    molecule = gto.M(atom="O 0 0 0; H 0 0 1", basis="sto-3g", spin=1, verbose=0)
    symmetric = gto.M(atom="O 0 0 0; H 0 0 1", basis="sto-3g", spin=1, verbose=0, symmetry=True)

    def fitted(mean_field: Any, functional: str, **settings: Any) -> Any:
        mean_field.xc = functional
        return mean_field.density_fit(auxbasis="def2-universal-jkfit", **settings)

    exact = dft.UKS(molecule)
    exact.xc = "b3lypg"
    return {
        "no fitting": exact,
        "exact exchange": fitted(dft.UKS(molecule), "b3lypg", only_dfj=True),
        "meta-GGA": fitted(dft.UKS(molecule), "tpss"),
        "range separation": fitted(dft.UKS(molecule), "camb3lyp"),
        "nonlocal correlation": fitted(dft.UKS(molecule), "wb97m-v"),
        "restricted open shell": fitted(dft.ROKS(molecule), "b3lypg"),
        "symmetry": fitted(dft.UKS(symmetric), "b3lypg"),
        "relativity": fitted(dft.UKS(molecule).x2c(), "b3lypg"),
    }


@pytest.mark.parametrize("kind", left_to_pyscf())
def test_what_is_left_to_pyscf(kind: str) -> None:
    mean_field = left_to_pyscf()[kind]
    assert not supports(mean_field)
    with pytest.raises(ValueError, match="use PySCF's"):
        fitted_gradient(mean_field)
