"""Potentials in dense blocks against PySCF's own, for all that they are used for, and left to it elsewhere."""

import numpy as np
import pytest
from pyscf import dft, gto, lib
from pyscf.dft import numint

from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import build_complex, find_sites, load_host
from alkaflow.workflows.device import Cpu
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.quadrature import Quadrature, dense_quadrature

WATER = "O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587"


def mean_field_of(atoms: str, functional: str, spin: int = 0, **settings: object) -> dft.rks.RKS:
    molecule = gto.M(atom=atoms, basis="6-31g(d,p)", spin=spin, verbose=0, **settings)
    mean_field = (dft.UKS if spin else dft.RKS)(molecule)
    mean_field.xc = functional
    mean_field.grids.level = 1
    mean_field.grids.build(with_non0tab=True)
    return mean_field


def both(mean_field: dft.rks.RKS, density: np.ndarray) -> list[tuple]:
    given = (mean_field.mol, mean_field.grids, mean_field.xc, density)
    restricted = np.ndim(density) == 2
    found = []
    for quadrature in (numint.NumInt(), Quadrature()):
        integrate = quadrature.nr_rks if restricted else quadrature.nr_uks
        integrate(*given, max_memory=500)  # values are kept from the second pass on
        integrate(*given, max_memory=500)
        found.append(integrate(*given, max_memory=500))
    return found


@pytest.mark.parametrize("functional", ["lda,vwn", "pbe", "b3lypg"])
@pytest.mark.parametrize(("atoms", "spin"), [(WATER, 0), ("Li 0 0 0; H 0 0 1.6", 0), ("O 0 0 0; H 0 0 0.97", 1)])
def test_electrons_energy_and_potential_are_pyscfs(functional: str, atoms: str, spin: int) -> None:
    mean_field = mean_field_of(atoms, functional, spin)
    mean_field.max_cycle = 2
    mean_field.kernel()
    pyscf, ours = both(mean_field, mean_field.make_rdm1())
    np.testing.assert_allclose(ours[0], pyscf[0], atol=1e-10)
    assert ours[1] == pytest.approx(pyscf[1], abs=1e-10)
    np.testing.assert_allclose(ours[2], pyscf[2], atol=1e-10)
    electrons = np.sum(ours[0])
    assert electrons == pytest.approx(mean_field.mol.nelectron, abs=2e-3)


def test_an_scf_ends_where_pyscfs_does_and_leaves_the_object_as_it_was() -> None:
    """A complex in many blocks, fitted, on two grids of atoms of three kinds."""
    host = load_host("pyrazine")
    structure = build_complex(host, "Li", find_sites(host, "Li")[0]).structure
    level = parse_level("b3lyp-d3bj/sto-3g")
    assert isinstance(level, KohnSham)
    energies, gradients = [], []
    for fast in (False, True):
        mean_field = build_mean_field(build_molecule(structure, level, 2000), level)
        mean_field.grids.level = 1
        device = Cpu(fast_kernels=fast)
        device.converge(mean_field, None, None)
        assert type(mean_field._numint) is numint.NumInt
        energies.append(mean_field.e_tot)
        gradients.append(device.gradient(mean_field))
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-6)  # of two SCFs, each with its own last digits


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    mean_field = mean_field_of(WATER, "pbe")
    mean_field.kernel()
    with lib.with_omp_threads(threads):
        pyscf, ours = both(mean_field, mean_field.make_rdm1())
    np.testing.assert_allclose(ours[2], pyscf[2], atol=1e-10)
    assert lib.num_threads() >= 1


def test_what_it_cannot_do_is_left_to_pyscf() -> None:
    """Meta-GGAs, and densities that come without their orbitals."""
    meta = mean_field_of(WATER, "tpss")
    meta.kernel()
    pyscf, ours = both(meta, meta.make_rdm1())
    np.testing.assert_allclose(ours[2], pyscf[2], atol=1e-12)
    plain = mean_field_of(WATER, "pbe")
    plain.kernel()
    pyscf, ours = both(plain, np.asarray(plain.make_rdm1()))
    np.testing.assert_allclose(ours[2], pyscf[2], atol=1e-12)


def test_values_are_kept_only_where_there_is_room_and_not_longer_than_an_scf() -> None:
    mean_field = mean_field_of(WATER, "pbe")
    mean_field.kernel()
    given = (mean_field.mol, mean_field.grids, "pbe", mean_field.make_rdm1())
    for room, kept in ((0.0, False), (500.0, True)):
        quadrature = Quadrature()
        for _ in range(2):
            quadrature.nr_rks(*given, max_memory=room)
        assert bool(quadrature.kept_mb) is kept
        assert quadrature.kept_mb <= room
    with dense_quadrature(mean_field):
        assert isinstance(mean_field._numint, Quadrature)
    assert type(mean_field._numint) is numint.NumInt


@pytest.mark.parametrize("spin", [0, 1])
def test_an_scf_uses_it(spin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySCF's own integration is not called in an SCF whose densities have orbitals."""
    mean_field = mean_field_of("O 0 0 0; H 0 0 0.97", "pbe", spin, charge=spin - 1)
    mean_field.kernel()
    energy, density = mean_field.e_tot, mean_field.make_rdm1()

    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("PySCF integrated")

    monkeypatch.setattr(numint.NumInt, "nr_uks", nobody)
    monkeypatch.setattr(numint.NumInt, "nr_rks", nobody)
    with dense_quadrature(mean_field):
        mean_field.kernel(dm0=density)
    assert mean_field.e_tot == pytest.approx(energy, abs=1e-8)
