"""Systems whose SCF is known to end in a wrong state: ours is the lowest that PySCF alone finds, or lower."""

from typing import Any

import numpy as np
import pytest

from alkaflow.calculations import Fragment
from alkaflow.levels import KohnSham, parse_level
from alkaflow.structures import Structure
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule
from alkaflow.workflows.stability import check_stability, stabilise
from alkaflow.workflows.states import search_states

MEMORY = 2000


def level(text: str, **changes: Any) -> KohnSham:
    usual = {"grid": 0, "energy_threshold": 1e-8, "gradient_threshold": 1e-4}
    return KohnSham.model_validate(parse_level(text).model_dump() | usual | changes)


def fresh(structure: Structure, method: KohnSham, unrestricted: bool = False) -> Any:
    built = build_mean_field(build_molecule(structure, method, MEMORY), method, unrestricted)
    set_grid(built, method.grid)
    return built


def by_pyscf(structure: Structure, method: KohnSham, guess: str = "minao", density: Any = None) -> float:
    """Energy of PySCF's second-order solver, repeated from what its own stability analysis rotates, until stable."""
    first = fresh(structure, method, unrestricted=True)
    first.init_guess, first.max_cycle = guess, 10
    first.kernel(dm0=density)
    solver = first.newton()
    solver.conv_tol, solver.max_cycle = 1e-10, 60
    solver.kernel(first.mo_coeff, first.mo_occ)
    for _ in range(4):
        rotated, _, stable, _ = solver.stability(return_status=True)
        if stable:
            break
        solver.kernel(rotated, solver.mo_occ)
    assert solver.converged
    return float(solver.e_tot)


def line(symbols: str, *places: float, charge: int = 0, multiplicity: int = 1) -> Structure:
    """Atoms along z [Angstrom]."""
    positions = np.column_stack([np.zeros((len(places), 2)), places])
    return Structure(tuple(symbols.split()), positions, charge, multiplicity)


def atoms_apart(built: Any) -> Any:
    """Density of two N atoms, the one with three electrons up, the other with three down, from an atom alone."""
    atom = fresh(line("N", 0.0, multiplicity=4), level("b3lyp/6-31g"))
    atom.kernel()
    up, down = atom.make_rdm1()
    nothing = np.zeros_like(up)
    density = np.array([np.block([[a, nothing], [nothing, b]]) for a, b in ((up, down), (down, up))])
    assert density.shape[1] == built.mol.nao
    return density


def test_nitrogen_far_apart_is_two_quartets() -> None:
    """The restricted singlet is 10 eV too high; in a minimum 2.4 eV too high spins on an atom defy Hund's rule."""
    method = level("b3lyp/6-31g", grid=2)
    built = fresh(line("N N", 0.0, 6.0), method)
    converge(built)
    assert check_stability(built).external_stable is False
    high = built.e_tot
    found, stability = stabilise(built, break_symmetry=True)
    atom = fresh(line("N", 0.0, multiplicity=4), method)
    atom.kernel()
    assert found.e_tot == pytest.approx(2 * atom.e_tot, abs=5e-5)
    assert stability.stable
    assert stability.broken_symmetry
    assert stability.external_stable is None
    assert stability.lowering == pytest.approx(high - found.e_tot, abs=1e-9)
    assert found.spin_square()[0] == pytest.approx(3.0, abs=0.01)
    up, down = found.make_rdm1()
    half, overlap = built.mol.nao // 2, built.get_ovlp()
    on_one = np.einsum("ij,ji->i", up - down, overlap)[:half].sum()
    assert abs(on_one) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(("distance", "breaks"), [(1.1, False), (2.0, True)])
def test_nitrogen_stretched(distance: float, breaks: bool) -> None:
    method = level("b3lyp/6-31g")
    structure = line("N N", 0.0, distance)
    built = fresh(structure, method)
    converge(built)
    found, stability = stabilise(built, break_symmetry=True)
    assert (stability.stable, stability.broken_symmetry, found is built) == (True, breaks, not breaks)
    assert found.e_tot == pytest.approx(by_pyscf(structure, method, density=atoms_apart(built)), abs=1e-6)


def test_nickel_oxide_is_not_left_on_the_saddle_point_that_diis_finds() -> None:
    method = level("b3lyp/sto-3g")
    structure = line("Ni O", 0.0, 1.63, multiplicity=3)
    built = fresh(structure, method)
    converge(built)
    default = built.e_tot
    found, stability = stabilise(built)
    assert stability.stable
    assert stability.lowering == pytest.approx(default - found.e_tot, abs=1e-9)
    assert stability.lowering > 1e-3
    assert found.e_tot < by_pyscf(structure, method) + 1e-4  # a soft mode: both end with gradients below 1e-4


def test_an_anion_with_diffuse_functions() -> None:
    """Hydroxide: DIIS from the default guess, against the second-order solver from another one."""
    method = level("b3lyp/6-311++g(d,p)", grid=1)
    structure = line("O H", 0.0, 0.964, charge=-1)
    built = fresh(structure, method)
    assert converge(built) == []
    found, stability = stabilise(built, break_symmetry=True)
    assert (stability.tested, stability.stable, stability.external_stable) == (True, True, True)
    assert found.e_tot == pytest.approx(by_pyscf(structure, method, "huckel"), abs=1e-6)


def test_sodium_on_hydrogen_cyanide() -> None:
    """Neutral and with the electron on the host: both are tried, and the lowest is carried on."""
    method = level("b3lyp/sto-3g")
    structure = line("N C H Na", 0.0, 1.156, 2.222, -2.35, multiplicity=2)
    parts = (Fragment(atoms=(0, 1, 2), charge=0, multiplicity=1), Fragment(atoms=(3,), charge=0, multiplicity=2))
    states = search_states(structure, method, parts, MEMORY, swaps=0)
    assert {"neutral fragments", "electron on the host"} <= {start for state in states for start in state.starts}
    assert states[0].energy < by_pyscf(structure, method) + 1e-5


def diazene(multiplicity: int) -> Structure:
    """trans-N2H2 with Li on either lone pair."""
    half = [("N", 0.62, 0.0), ("H", 0.95, 0.98), ("Li", 1.68, -1.52)]
    atoms = [(symbol, sign * x, sign * y) for symbol, x, y in half for sign in (1, -1)]
    return Structure(tuple(a[0] for a in atoms), np.array([[x, y, 0.0] for _, x, y in atoms]), 0, multiplicity)


def test_two_lithium_atoms_in_three_spin_states() -> None:
    method = level("b3lyp/sto-3g", energy_threshold=1e-7, gradient_threshold=2e-4)
    parts = (
        Fragment(atoms=(0, 1, 2, 3), charge=0, multiplicity=1),
        *(Fragment(atoms=(k,), charge=0, multiplicity=2) for k in (4, 5)),
    )
    singlets = search_states(diazene(1), method, parts, MEMORY, swaps=0)
    triplet = search_states(diazene(3), method, parts, MEMORY, swaps=0)[0]
    broken = singlets[0]
    restricted = next(state for state in singlets if state.restricted)
    assert not broken.restricted
    assert broken.s_squared == pytest.approx(1.0, abs=0.05)
    assert triplet.s_squared == pytest.approx(2.0, abs=0.05)
    assert broken.energy < restricted.energy - 0.01
    assert broken.energy < by_pyscf(diazene(1), method) + 1e-5
    assert triplet.energy < by_pyscf(diazene(3), method) + 1e-5
    plain = fresh(diazene(1), method)
    converge(plain)
    assert restricted.energy == pytest.approx(plain.e_tot, abs=1e-5)
