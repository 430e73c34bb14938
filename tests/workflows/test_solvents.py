"""Continuum solvents against Born's formula, PySCF on its own, and finite differences."""

from pathlib import Path

import numpy as np
import pytest
from pyscf import dft, gto, solvent
from pyscf.solvent import smd

from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham, parse_level
from alkaflow.solvents import SOLVENTS
from alkaflow.structures import Structure
from alkaflow.units import BOHR_ANGSTROM
from alkaflow.workflows.grids import set_grid
from alkaflow.workflows.ladder import converge, converge_second_order
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.pyscf_engine import build_mean_field, build_molecule, run_scf
from alkaflow.workflows.stability import clean_copy
from alkaflow.workflows.surface import KohnShamGradient

MEMORY = 2000
WATER = Structure(("O", "H", "H"), np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]))


def level(text: str, **changes: object) -> KohnSham:
    tight = {"grid": 1, "energy_threshold": 1e-10, "gradient_threshold": 1e-6}
    return KohnSham.model_validate(parse_level(text).model_dump() | tight | changes)


@pytest.mark.parametrize("text", ["cpcm(epsilon=7.2)", "iefpcm(dme)"])
def test_a_spherical_ion_has_borns_energy(text: str, tmp_path: Path) -> None:
    """-(1 - 1/epsilon) q^2 / 2R; R is 1.2 times Bondi's radius of lithium, 1.82 Angstrom."""
    ion = Structure(("Li",), np.zeros((1, 3)), 1, 1)
    found = run_scf(ion, level(f"b3lyp/6-31g+{text}"), MEMORY, Progress(tmp_path))
    radius = 1.2 * 1.82 / BOHR_ANGSTROM
    assert found.components["solvent"] == pytest.approx(-(1 - 1 / 7.2) / (2 * radius), rel=2e-3)


@pytest.mark.parametrize(("text", "symbols"), [("cpcm(acetonitrile)", WATER.symbols), ("smd(dmso)", WATER.symbols)])
def test_pyscf_on_its_own_agrees(text: str, symbols: tuple[str, ...], tmp_path: Path) -> None:
    given = level(f"b3lyp-d3bj/6-31g+{text}")
    found = run_scf(WATER, given, MEMORY, Progress(tmp_path))
    molecule = gto.M(atom=list(zip(symbols, WATER.positions.tolist(), strict=True)), basis="6-31g", verbose=0)
    plain = dft.RKS(molecule, xc="b3lyp").set(disp="d3bj").density_fit(auxbasis="def2-universal-jkfit")
    plain = solvent.SMD(plain) if "smd" in text else solvent.PCM(plain)
    if "smd" in text:
        plain.with_solvent.solvent = "dimethylsulfoxide"
    else:
        plain.with_solvent.eps = 35.688
    plain.grids.level = 1
    plain.chkfile = None
    plain.conv_tol = 1e-10
    plain.kernel()
    assert found.energy == pytest.approx(plain.e_tot, abs=1e-8)
    assert sum(found.components.values()) == pytest.approx(found.energy, abs=1e-9)
    assert found.components["solvent"] < -5e-3
    assert ("solvent_cavity_dispersion_structure" in found.components) == ("smd" in text)


@pytest.mark.parametrize("text", ["cpcm(dme)", "smd(water)"])
def test_gradients_contain_the_solvent(text: str, tmp_path: Path) -> None:
    molecule = Structure(("H", "F"), np.array([[0, 0, 0], [0, 0, 0.97]]))
    surface = KohnShamGradient(molecule, level(f"b3lyp/3-21g+{text}"), MEMORY, Progress(tmp_path), grid_response=True)
    centre, step = molecule.positions / BOHR_ANGSTROM, np.array([[0, 0, 0], [0, 0, 2e-3]])
    gradient = surface(centre, None).gradient
    above, below = (surface.converge(centre + sign * step, None) or surface.mean_field.e_tot for sign in (1, -1))
    assert gradient[1, 2] == pytest.approx((above - below) / 4e-3, abs=2e-6)


def test_a_clean_copy_and_the_second_order_solver_are_in_the_same_solvent() -> None:
    cation = Structure(WATER.symbols, WATER.positions, 1, 2)
    given = level("b3lyp/3-21g+cpcm(water)", gradient_threshold=1e-5)
    first = build_mean_field(build_molecule(cation, given, MEMORY), given)
    set_grid(first, 1)
    converge(first)
    copied = clean_copy(first)
    fock = copied.get_fock(dm=copied.make_rdm1())
    assert np.linalg.norm(copied.get_grad(first.mo_coeff, first.mo_occ, fock)) < 1e-4
    assert copied.with_solvent is not first.with_solvent
    energy, coefficients = float(first.e_tot), np.array(first.mo_coeff)
    turn = np.eye(coefficients.shape[-1])
    turn[4:6, 4:6] = [[np.cos(0.05), -np.sin(0.05)], [np.sin(0.05), np.cos(0.05)]]
    converge_second_order(first, coefficients @ turn, first.mo_occ)
    assert first.e_tot == pytest.approx(energy, abs=1e-8)


def test_dielectric_constants_are_those_of_smd() -> None:
    for known in SOLVENTS.values():
        if known.smd is not None:
            assert smd.solvent_db[known.smd][5] == pytest.approx(known.epsilon, rel=1e-4)


def test_ghosts_have_no_place_in_a_solvent() -> None:
    given = level("b3lyp/3-21g+cpcm(water)")
    with pytest.raises(BadInputError, match="ghost atoms and a solvent do not go together"):
        build_mean_field(build_molecule(WATER, given, MEMORY, ghosts=(1, 2), charge=0, multiplicity=3), given)
