from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from alkaflow.errors import CalculationError
from alkaflow.levels import Xtb
from alkaflow.structures import Structure, build_complex, classify_guest, find_sites, hatcn, load_host
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.xtb_engine import KeptGeometry, run_xtb
from alkaflow.workflows.xtb_internals import relax_in_internals


def test_water_relaxes_to_a_stationary_point(tmp_path: Path) -> None:
    """Experiment: 0.957 Angstrom and 104.5 degrees; forces at the end vanish by finite differences."""
    start = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.9, -0.5], [0, -0.9, -0.5]]))
    result = run_xtb(start, Xtb(), relax=True, progress=Progress(tmp_path))
    a, b = result.positions[1] - result.positions[0], result.positions[2] - result.positions[0]
    lengths = [np.linalg.norm(a), np.linalg.norm(b)]
    assert lengths == pytest.approx([0.957, 0.957], abs=0.02)
    angle = np.degrees(np.arccos(a @ b / np.prod(lengths)))
    assert angle == pytest.approx(104.5, abs=4)
    assert result.energy == result.energies[-1] < result.energies[0]
    step = 0.01
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            moved = result.positions.copy()
            moved[1, axis] += sign * step
            energies.append(
                run_xtb(start.with_positions(moved), Xtb(), relax=False, progress=Progress(tmp_path)).energy
            )
        assert abs(energies[0] - energies[1]) / (2 * step) < 5e-4  # Hartree/Angstrom


def test_a_single_atom_has_nothing_to_relax(tmp_path: Path) -> None:
    result = run_xtb(Structure(("Li",), np.zeros((1, 3))), Xtb(), relax=True, progress=Progress(tmp_path))
    assert (result.steps, result.max_force) == (0, pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize(("guest", "height"), [("Li", 2.03), ("Na", 2.18)])
def test_a_metal_above_a_ring_of_hatcn_keeps_its_mirror_plane(guest: str, height: float, tmp_path: Path) -> None:
    """Heights of an independent GFN2-xTB run; without its symmetry the metal slides into a bay."""
    host = hatcn()
    site = next(site for site in find_sites(host, guest) if site.label == "pyrazine face")
    placed = build_complex(host, guest, site)
    result = run_xtb(placed.structure, Xtb(), relax=True, progress=Progress(tmp_path))
    assert result.operations == 2
    assert classify_guest(host, result.positions, guest, site.id).verdict == "stayed"
    metal = result.positions[-1]
    assert metal[1] == pytest.approx(0.0, abs=1e-4)
    assert metal[2] == pytest.approx(height, abs=0.1)
    mirrored = result.positions * [1, -1, 1]
    distances = np.linalg.norm(mirrored[:, None] - result.positions[None], axis=-1)
    assert distances.min(axis=1).max() < 1e-4


def test_hatcn_stays_planar(tmp_path: Path) -> None:
    result = run_xtb(hatcn(), Xtb(), relax=True, progress=Progress(tmp_path))
    assert result.operations == 12
    assert np.abs(result.positions[:, 2]).max() < 1e-6
    assert result.max_force < 0.005
    # an independent GFN2-xTB geometry: Ca-Ca in the pyrazine 1.415, between pyrazines 1.445 Angstrom
    carbons = result.positions[[0, 5, 15]]
    assert np.linalg.norm(carbons[0] - carbons[1]) == pytest.approx(1.415, abs=2e-3)
    assert np.linalg.norm(carbons[0] - carbons[2]) == pytest.approx(1.445, abs=2e-3)


def test_too_few_steps_are_a_failure(tmp_path: Path) -> None:
    start = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.9, -0.5], [0, -0.9, -0.5]]))
    with pytest.raises(CalculationError, match="after 2 steps") as caught:
        run_xtb(start, Xtb(max_steps=2), relax=True, progress=Progress(tmp_path))
    assert caught.value.outcome == "relaxation_not_converged"


@pytest.mark.parametrize(("guest", "distance"), [("Li", 1.893), ("Na", 2.15)])
def test_metals_stay_at_the_corner_of_dicyanopyrazine(guest: str, distance: float, tmp_path: Path) -> None:
    host = load_host("dicyanopyrazine")
    placed = build_complex(host, guest, find_sites(host, guest)[0])
    result = run_xtb(placed.structure, Xtb(), relax=True, progress=Progress(tmp_path))
    anchors = result.positions[list(placed.site.anchors)]
    assert np.linalg.norm(anchors - result.positions[-1], axis=1) == pytest.approx([distance] * 2, abs=0.03)
    assert classify_guest(host, result.positions, guest, "corner-1").verdict == "stayed"


def test_frozen_atoms_stay_and_the_rest_is_stationary(tmp_path: Path) -> None:
    """The oxygen and one hydrogen of a stretched water are held: the other hydrogen finds its place alone."""
    start = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.85, -0.6], [0, -1.1, -0.3]]))
    result = run_xtb(start, Xtb(), relax=True, progress=Progress(tmp_path), frozen={0, 1})
    np.testing.assert_array_equal(result.positions[:2], start.positions[:2])
    assert result.max_force < Xtb().max_force  # of the free one
    assert np.linalg.norm(result.positions[2]) == pytest.approx(0.96, abs=0.02)
    whole = run_xtb(start, Xtb(), relax=True, progress=Progress(tmp_path))
    assert whole.energy < result.energy - 1e-4  # the held bond is too short


def test_symmetry_is_kept_where_frozen_atoms_have_it(tmp_path: Path) -> None:
    """Of a symmetric water with one frozen hydrogen only the molecular plane is left."""
    start = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.9, -0.5], [0, -0.9, -0.5]]))
    held = [run_xtb(start, Xtb(), True, Progress(tmp_path), frozen).operations for frozen in ((), {0}, {1})]
    assert held == [4, 4, 2]


def test_a_relaxation_goes_on_from_the_geometry_it_has_kept(tmp_path: Path) -> None:
    """Stopped after six steps it takes fewer than anew, to the same minimum; another calculation does not take it."""
    start = Structure(("O", "H", "H"), np.array([[0, 0, 0], [0, 0.85, -0.6], [0, -1.1, -0.3]]))
    whole = run_xtb(start, Xtb(), True, Progress(tmp_path))
    with pytest.raises(CalculationError, match="after 6 steps"):
        run_xtb(start, Xtb(max_steps=6), True, Progress(tmp_path), kept=KeptGeometry(tmp_path, "mine", seconds=0.0))
    other = run_xtb(start, Xtb(), True, Progress(tmp_path), kept=KeptGeometry(tmp_path, "other"))
    assert (other.resumed, other.steps) == (0, whole.steps)
    rest = run_xtb(start, Xtb(), True, Progress(tmp_path), kept=KeptGeometry(tmp_path, "mine"))
    assert rest.resumed == 7  # the start and six steps
    assert rest.energies[:7] == pytest.approx(whole.energies[:7], abs=1e-10)  # of sums, the last digit varies
    assert rest.energy == pytest.approx(whole.energy, abs=1e-6)
    assert np.linalg.norm(rest.positions[0] - rest.positions[1]) == pytest.approx(
        np.linalg.norm(whole.positions[0] - whole.positions[1]), abs=2e-3
    )


def test_internal_coordinates_lead_to_the_minimum_of_cartesian_ones(tmp_path: Path) -> None:
    """Another optimiser, another interface of tblite; the energy at the end is that of a fresh calculation there."""
    host = load_host("dicyanopyrazine")
    start = build_complex(host, "Li", find_sites(host, "Li")[0]).structure
    expected = run_xtb(start, Xtb(max_force=0.001), True, Progress(tmp_path))
    level = Xtb(max_force=0.001, optimiser="geometric")
    found = relax_in_internals(start, level, Progress(tmp_path), tmp_path, "mine")
    assert found.operations == expected.operations == 4
    assert found.max_force < 0.001
    assert found.energy == pytest.approx(expected.energy, abs=5e-7)
    np.testing.assert_allclose(pdist(found.positions), pdist(expected.positions), atol=2e-3)
    again = run_xtb(start.with_positions(found.positions), Xtb(), False, Progress(tmp_path))
    assert again.energy == pytest.approx(found.energy, abs=5e-7)
    assert again.max_force == pytest.approx(found.max_force, abs=1e-3)


def test_a_charged_radical_has_its_charge_and_spin_in_internal_coordinates(tmp_path: Path) -> None:
    start = Structure(("O", "H"), np.array([[0, 0, 0], [0, 0, 1.1]]), charge=1, multiplicity=3)
    expected = run_xtb(start, Xtb(max_force=0.001), True, Progress(tmp_path))
    level = Xtb(max_force=0.001, optimiser="geometric")
    found = relax_in_internals(start, level, Progress(tmp_path), tmp_path, "mine")
    assert found.energy == pytest.approx(expected.energy, abs=5e-7)
    neutral = run_xtb(replace(start, charge=0, multiplicity=2), Xtb(), True, Progress(tmp_path))
    assert abs(found.energy - neutral.energy) > 0.3


def test_internal_coordinates_go_on_from_the_checkpoint_and_end_after_their_steps(tmp_path: Path) -> None:
    host = load_host("dicyanopyrazine")
    start = build_complex(host, "Li", find_sites(host, "Li")[0]).structure
    few, many = Xtb(max_steps=3, optimiser="geometric"), Xtb(optimiser="geometric")
    with pytest.raises(CalculationError, match="in 3 steps") as caught:
        relax_in_internals(start, few, Progress(tmp_path), tmp_path, "mine")
    assert caught.value.outcome == "relaxation_not_converged"
    rest = relax_in_internals(start, many, Progress(tmp_path), tmp_path, "mine")
    assert rest.resumed == 4  # the start and three steps
    whole = relax_in_internals(start, many, Progress(tmp_path), tmp_path, "other")
    assert whole.energies == pytest.approx(rest.energies, abs=1e-7)  # charges begin anew
