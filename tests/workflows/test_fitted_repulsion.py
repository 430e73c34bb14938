"""Coulomb and exchange matrices against their definition and PySCF's."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from pyscf import dft, gto, lib
from pyscf.df import df_jk

from alkaflow.workflows.fitted_repulsion import coulomb_and_exchange, symmetric_exchange
from alkaflow.workflows.orbital_tags import occupied


def radical(spin: int = 1) -> dft.uks.UKS:
    molecule = gto.M(atom="O 0 0 0; H 0 0 0.97", basis="6-31g(d,p)", spin=spin, charge=1 - spin, verbose=0)
    mean_field = (dft.UKS if spin else dft.RKS)(molecule, xc="b3lypg").density_fit(auxbasis="def2-universal-jkfit")
    mean_field.grids.level = 0
    return mean_field.run()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_they_are_their_definition(threads: int) -> None:
    mean_field = radical()
    density = mean_field.make_rdm1()
    vectors = lib.unpack_tril(mean_field.with_df._cderi)
    whole = np.einsum("Qmn,Qkl,skl->smn", vectors, vectors, density, optimize=True)
    swapped = np.einsum("Qmk,Qln,skl->smn", vectors, vectors, density, optimize=True)
    with lib.with_omp_threads(threads):
        found = coulomb_and_exchange(mean_field.with_df._cderi, np.asarray(density), occupied(density))
    np.testing.assert_allclose(found[0], whole, atol=1e-11)
    np.testing.assert_allclose(found[1], swapped, atol=1e-11)


def test_an_scf_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """PySCF's own function is not called in an SCF whose densities have orbitals."""
    mean_field = radical()
    density, energy = mean_field.make_rdm1(), mean_field.e_tot

    def nobody(*_: object) -> None:
        raise AssertionError("PySCF built exchange")

    monkeypatch.setattr(df_jk, "get_jk", nobody)
    with symmetric_exchange(mean_field):
        mean_field.kernel(dm0=density)
    assert mean_field.e_tot == pytest.approx(energy, abs=1e-9)


@pytest.mark.parametrize("spin", [0, 1])
def test_they_are_pyscfs_and_the_object_is_as_before_afterwards(spin: int) -> None:
    mean_field = radical(spin)
    density = mean_field.make_rdm1()
    expected = mean_field.with_df.get_jk(density)
    with symmetric_exchange(mean_field):
        assert "get_jk" in vars(mean_field.with_df)
        found = mean_field.with_df.get_jk(density)
        through = mean_field.get_jk(mean_field.mol, density)
        plain = mean_field.with_df.get_jk(np.asarray(density))  # without orbitals
    assert "get_jk" not in vars(mean_field.with_df)
    for ours in (found, through, plain):
        for matrix, reference in zip(ours, expected, strict=True):
            assert matrix.shape == density.shape
            np.testing.assert_allclose(matrix, reference, atol=1e-10)


def test_a_spin_without_electrons_has_no_exchange() -> None:
    molecule = gto.M(atom="H 0 0 0", basis="6-31g", spin=1, verbose=0)
    mean_field = dft.UKS(molecule, xc="b3lypg").density_fit(auxbasis="def2-universal-jkfit").run()
    density = mean_field.make_rdm1()
    found = coulomb_and_exchange(mean_field.with_df._cderi, np.asarray(density), occupied(density))
    np.testing.assert_allclose(found[1][1], 0, atol=1e-14)
    np.testing.assert_allclose(found[1][0], mean_field.with_df.get_jk(density)[1][0], atol=1e-11)


def test_vectors_on_disk_are_left_to_pyscf(tmp_path: Path) -> None:
    mean_field = radical()
    density = mean_field.make_rdm1()
    expected = mean_field.with_df.get_jk(density)
    path = tmp_path / "vectors.h5"
    with h5py.File(path, "w") as file:
        file["j3c"] = mean_field.with_df._cderi
    mean_field.with_df._cderi = str(path)
    with symmetric_exchange(mean_field):
        found = mean_field.with_df.get_jk(density)
    for matrix, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(matrix, reference, atol=1e-12)


def test_densities_of_other_kinds_have_no_orbitals_here() -> None:
    density = radical().make_rdm1()
    assert [c.shape[1] for c in occupied(density)] == [5, 4]
    assert occupied(np.asarray(density)) is None
    assert occupied(lib.tag_array(density[0], mo_coeff=density.mo_coeff, mo_occ=density.mo_occ)) is None
    made = [c @ c.T for c in occupied(density)]
    np.testing.assert_allclose(made, density, atol=1e-12)
