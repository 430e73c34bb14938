"""The projected energy against the wave function's singlet part, taken out of the determinant itself."""

import numpy as np
import pytest

from alkaflow.analysis.spin_projection import projected_singlet_energy
from alkaflow.errors import BadInputError


def test_two_distant_doublets() -> None:
    """Half singlet, half triplet: the singlet lies as far below the mixture as the triplet above."""
    assert projected_singlet_energy(-1.0, 1.0, -0.99, 2.0) == pytest.approx(-1.01, abs=1e-14)


def test_two_distant_quartets() -> None:
    """Heisenberg's H = J S^2: the antiparallel product of two spins 3/2 has 3 J, the septet 12 J, the singlet 0."""
    coupling = 0.003
    assert projected_singlet_energy(3 * coupling, 3.0, 12 * coupling, 12.0) == pytest.approx(0.0, abs=1e-14)


def test_a_pure_singlet_stays() -> None:
    assert projected_singlet_energy(-1.5, 0.0, -1.2, 2.0) == -1.5


@pytest.mark.parametrize("distance", [1.4, 2.5])
def test_hydrogen_in_a_minimal_basis(distance: float) -> None:
    """There is one triplet, so the formula is exact: the energy of the singlet part of the UHF determinant."""
    from pyscf import ao2mo, fci, gto, scf

    build = {"atom": [("H", (0, 0, 0)), ("H", (0, 0, distance))], "basis": "sto-3g", "verbose": 0}
    broken = scf.UHF(gto.M(**build)).set(conv_tol=1e-12)
    broken.kernel(dm0=np.array([np.diag([1.0, 0.0]), np.diag([0.0, 1.0])]))
    triplet = scf.UHF(gto.M(**build, spin=2))
    triplet.kernel()
    restricted = scf.RHF(broken.mol).run()
    orbitals = restricted.mo_coeff
    one = orbitals.T @ restricted.get_hcore() @ orbitals
    two = ao2mo.kernel(broken.mol, orbitals)
    up, down = (orbitals.T @ broken.get_ovlp() @ c[:, 0] for c in broken.mo_coeff)
    singlet = (np.outer(up, down) + np.outer(down, up)) / 2
    total = fci.direct_spin1.energy(one, two, singlet, 2, (1, 1)) / np.sum(singlet**2) + broken.mol.energy_nuc()
    spins = [state.spin_square()[0] for state in (broken, triplet)]
    assert 0.1 < spins[0] < 1.01
    assert projected_singlet_energy(broken.e_tot, spins[0], triplet.e_tot, spins[1]) == pytest.approx(total, abs=1e-9)
    exact = fci.direct_spin0.kernel(one, two, 2, 2)[0] + broken.mol.energy_nuc()
    assert exact - 1e-10 < total < broken.e_tot


def test_states_that_leave_nothing_to_project() -> None:
    with pytest.raises(BadInputError, match="check which record is which"):
        projected_singlet_energy(-1.0, 2.0, -0.9, 2.0)
    with pytest.raises(BadInputError, match="cannot be projected"):
        projected_singlet_energy(-1.0, -0.1, -0.9, 2.0)
