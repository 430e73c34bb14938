"""Populations against formulas, other programs and symmetry; the schemes side by side."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from pyscf import gto, scf
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from alkaflow.analysis import orbital_populations
from alkaflow.analysis.density import Density
from alkaflow.analysis.esp_charges import Potential
from alkaflow.analysis.populations import SCHEMES, atomic_charges, fragment_sums, sign_conflicts
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import FloatArray
from alkaflow.workflows.guess import occupied_orbitals

WATER = "O 0 0 0.1174; H -0.757 0 -0.4696; H 0.757 0 -0.4696"
RADICAL = "Li 0.1 0.2 0; O 0 0 1.7; H 0.3 0 2.6"
IN_ORBITALS = ["mulliken", "loewdin", "meta_loewdin", "iao"]


def solved(**molecule: Any) -> Any:
    built = gto.M(verbose=0, **molecule)
    method = scf.UHF if built.spin else scf.RHF
    return method(built).run(conv_tol=1e-11)


@cache
def density_of(atom: str, basis: str = "6-31g*", charge: int = 0, spin: int = 0, cart: bool = False) -> Density:
    mean_field = solved(atom=atom, basis=basis, charge=charge, spin=spin, cart=cart)
    return Density.of(mean_field.mol, occupied_orbitals(mean_field))


def exact_potential(density: Density) -> Potential:
    molecule = density.molecule

    def at(points: FloatArray) -> FloatArray:
        electrons = np.einsum("gij,ij->g", molecule.intor("int1e_grids", grids=points), density.total)
        return (molecule.atom_charges() / cdist(points, molecule.atom_coords())).sum(axis=1) - electrons

    return at


@pytest.mark.parametrize("name", IN_ORBITALS)
@pytest.mark.parametrize("cart", [False, True])
def test_sums(name: str, cart: bool) -> None:
    """Charges add up to the charge, spins to the number of unpaired electrons."""
    found = getattr(orbital_populations, name)(density_of(RADICAL, charge=1, spin=1, cart=cart))
    assert found.charges.sum() == pytest.approx(1, abs=1e-9)
    assert found.spins.sum() == pytest.approx(1, abs=1e-9)


def test_loewdin_is_the_formula() -> None:
    density = density_of(RADICAL, charge=1, spin=1)
    overlap = density.molecule.intor("int1e_ovlp")
    values, vectors = np.linalg.eigh(overlap)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    alpha, beta = (np.diag(root @ matrix @ root) for matrix in density.by_spin)
    found = orbital_populations.loewdin(density)
    for atom, (_, _, first, last) in enumerate(density.molecule.aoslice_by_atom()):
        electrons = (alpha + beta)[first:last].sum()
        assert found.charges[atom] == pytest.approx(density.molecule.atom_charge(atom) - electrons, abs=1e-9)
        assert found.spins[atom] == pytest.approx((alpha - beta)[first:last].sum(), abs=1e-9)


@pytest.mark.parametrize("cart", [False, True])
def test_mulliken_and_meta_loewdin_are_pyscfs(cart: bool) -> None:
    mean_field = solved(atom=RADICAL, basis="6-311g**", charge=1, spin=1, cart=cart)
    density = Density.of(mean_field.mol, occupied_orbitals(mean_field))
    matrices = mean_field.make_rdm1()
    for name in ("pop", "meta"):
        ours = getattr(orbital_populations, {"pop": "mulliken", "meta": "meta_loewdin"}[name])(density)
        assert ours.charges == pytest.approx(
            getattr(mean_field, f"mulliken_{name}")(dm=matrices, verbose=0)[1], abs=1e-8
        )
    theirs = mean_field.mulliken_spin_pop(dm=matrices, verbose=0)[1]
    assert orbital_populations.mulliken(density).spins == pytest.approx(theirs, abs=1e-8)


def test_iao_of_another_program() -> None:
    """HCN with HF/cc-pVTZ: a test of forte2 (tests of its ``orbitals/iao.py``), which fits integrals."""
    found = orbital_populations.iao(density_of("C 0 0 0; H 0 0 1.064; N 0 0 -1.156", "cc-pvtz"))
    assert found.charges == pytest.approx([-0.007844869, 0.217555584, -0.209710715], abs=2e-4)


def test_iao_barely_change_with_the_basis() -> None:
    """What they were made for; Mulliken's change by far more."""
    small, large = (density_of(WATER, basis) for basis in ("6-31g*", "aug-cc-pvtz"))
    move = {
        name: abs(
            getattr(orbital_populations, name)(small).charges[0] - getattr(orbital_populations, name)(large).charges[0]
        )
        for name in ("iao", "mulliken")
    }
    assert move["iao"] < 0.05
    assert move["mulliken"] > 0.2


def test_spin_of_an_atom_is_its_own() -> None:
    """Of a far lithium atom beside helium, every scheme leaves the electron on lithium."""
    found = atomic_charges(density_of("Li 0 0 0; He 0 0 15", spin=1))
    assert set(found.spins) == {"mulliken", "loewdin", "meta_loewdin", "iao", "hirshfeld"}
    for spins in found.spins.values():
        assert spins == pytest.approx([1, 0], abs=1e-3)


def test_charges_turn_with_the_molecule() -> None:
    density = density_of(RADICAL, charge=1, spin=1)
    turned_positions = (
        density.molecule.atom_coords() @ Rotation.from_euler("zyx", [25, 40, 65], degrees=True).as_matrix()
    )
    symbols = [density.molecule.atom_symbol(k) for k in range(3)]
    mean_field = solved(
        atom=list(zip(symbols, turned_positions, strict=True)), unit="Bohr", basis="6-31g*", charge=1, spin=1
    )
    turned = Density.of(mean_field.mol, occupied_orbitals(mean_field))
    one = atomic_charges(density, potential=exact_potential(density))
    other = atomic_charges(turned, potential=exact_potential(turned))
    assert list(one.charges) == [scheme.name for scheme in SCHEMES]
    for scheme, charges in one.charges.items():
        tolerance = 2e-4 if scheme in {"hirshfeld", "cm5"} else 1e-6  # the grid of points stays as it lies
        assert other.charges[scheme] == pytest.approx(charges, abs=tolerance), scheme
        assert sum(charges) == pytest.approx(1, abs=1e-4 if scheme in {"hirshfeld", "cm5"} else 1e-6), scheme
    assert one.charges["loewdin"] != pytest.approx(one.charges["mulliken"], abs=1e-2)


def test_like_atoms_are_alike() -> None:
    density = density_of(WATER)
    found = atomic_charges(density, potential=exact_potential(density))
    assert found.spins == {}
    for scheme, (oxygen, one, other) in found.charges.items():
        assert one == pytest.approx(other, abs=1e-6), scheme
        assert oxygen < 0 < one or scheme == "loewdin", scheme


def test_ghosts() -> None:
    """They keep the electrons in their functions where functions have atoms, and have charge 0 elsewhere."""
    density = density_of("H 0 0 0; F 0 0 0.92; ghost-O 0 0 -2")
    found = atomic_charges(density, potential=exact_potential(density)).charges
    assert found["mulliken"][2] != 0.0
    for scheme in ("iao", "hirshfeld", "cm5", "chelpg", "resp"):
        assert found[scheme][2] == 0.0
        assert sum(found[scheme]) == pytest.approx(0.0, abs=1e-5)
        assert found[scheme][0] > 0.2


def test_core_potentials() -> None:
    """Iodine with 28 electrons in its potential: as with all of them, hydrogen iodide is hardly polar."""
    mean_field = solved(atom="H 0 0 0; I 0 0 1.61", basis="def2-svp", ecp={"I": "def2-svp"})
    density = Density.of(mean_field.mol, occupied_orbitals(mean_field))
    every_electron = atomic_charges(
        density_of("H 0 0 0; I 0 0 1.61", "6-311g**"), ["meta_loewdin", "hirshfeld"]
    ).charges
    found = atomic_charges(density).charges
    assert "iao" not in found
    for scheme, charges in found.items():
        assert sum(charges) == pytest.approx(0.0, abs=1e-4), scheme
    for scheme, charges in every_electron.items():
        assert found[scheme] == pytest.approx(charges, abs=0.03), scheme
    with pytest.raises(BadInputError, match="leave the scheme iao out"):
        atomic_charges(density, ["iao"])


def test_core_potentials_and_cartesian_functions() -> None:
    mean_field = solved(atom="H 0 0 0; I 0 0 1.61", basis="def2-svp", ecp={"I": "def2-svp"}, cart=True)
    density = Density.of(mean_field.mol, occupied_orbitals(mean_field))
    assert set(atomic_charges(density).charges) == {"mulliken", "loewdin", "hirshfeld", "cm5"}
    with pytest.raises(BadInputError, match="leave the scheme meta_loewdin out"):
        atomic_charges(density, ["meta_loewdin"])


def test_what_was_asked_for() -> None:
    density = density_of(WATER)
    told: list[str] = []
    found = atomic_charges(density, ["cm5", "mulliken"], progress=told.append)
    assert list(found.charges) == told == ["cm5", "mulliken"]
    assert set(atomic_charges(density).charges) == {s.name for s in SCHEMES if not s.fits_potential}
    with pytest.raises(BadInputError, match="electrostatic potential, which was not given"):
        atomic_charges(density, ["resp"])
    with pytest.raises(UnknownNameError, match="did you mean 'mulliken'"):
        atomic_charges(density, ["muliken"])


def test_fragments_and_signs() -> None:
    charges = {"one": [0.5, -0.2, -0.3], "other": [0.6, 0.04, -0.64]}
    assert fragment_sums(charges, {"host": [1, 2], "guest": [0]}) == {
        "one": {"host": -0.5, "guest": 0.5},
        "other": {"host": pytest.approx(-0.6), "guest": 0.6},
    }
    assert sign_conflicts(charges, 0.05) == []
    assert sign_conflicts(charges, 0.03) == [1]
    with pytest.raises(BadInputError, match="'guest' has atom 3, and there are atoms 0 to 2"):
        fragment_sums(charges, {"guest": [3]})
