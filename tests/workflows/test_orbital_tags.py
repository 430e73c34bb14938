"""A density that comes without orbitals is made of its eigenvectors, exactly, and otherwise left alone."""

import numpy as np
import pytest
from pyscf import gto, lib, scf

from alkaflow.workflows.orbital_tags import occupied, with_orbitals

MOLECULE = gto.M(atom="Li 0 0 0; O 0 0 1.7; H 0 0.3 2.6", basis="6-31g(d,p)", verbose=0, spin=0)


@pytest.mark.parametrize("spins", [1, 2])
def test_a_superposition_of_atoms_is_made_of_few_orbitals(spins: int) -> None:
    density = np.array((scf.RHF if spins == 1 else scf.UHF)(MOLECULE).get_init_guess())
    assert occupied(density) is None
    given = with_orbitals(density)
    orbitals = occupied(given)
    assert orbitals is not None
    assert len(orbitals) == spins
    np.testing.assert_array_equal(given, density)
    made = [c @ c.T for c in orbitals]
    np.testing.assert_allclose(made[0] if spins == 1 else made, density, atol=1e-7)
    assert orbitals[0].shape[1] == 2 + 5 + 1  # of 33 functions; spin down of a singlet is broken up


def test_spins_with_unlike_numbers_of_electrons() -> None:
    rng = np.random.default_rng(0)
    up, down = (rng.random((6, n)) for n in (3, 1))
    orbitals = occupied(with_orbitals(np.array([up @ up.T, down @ down.T])))
    assert orbitals is not None
    assert [c.shape[1] for c in orbitals] == [3, 1]
    for c, made_of in zip(orbitals, (up, down), strict=True):
        np.testing.assert_allclose(c @ c.T, made_of @ made_of.T, atol=1e-7)


def test_what_has_orbitals_or_cannot_have_them_stays_as_it_is() -> None:
    rng = np.random.default_rng(1)
    orbitals, occupations = rng.random((4, 2)), np.array([2.0, 2.0])
    tagged = lib.tag_array((orbitals * occupations) @ orbitals.T, mo_coeff=orbitals, mo_occ=occupations, history={})
    assert with_orbitals(tagged) is tagged
    for none in (-np.eye(3), np.triu(np.ones((3, 3))), np.eye(3) * 1j):
        assert with_orbitals(none) is none
