"""Molecules at sites: they touch, do not clash, and differ from each other."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from alkaflow.errors import BadInputError
from alkaflow.structures import Structure, build_complex, find_sites, get_guest, load_host, orientations, select_place
from alkaflow.structures.orientations import MOST_ORIENTATIONS


def closest(host: Structure, pose: np.ndarray, guest: str, element: str) -> float:
    atoms = [i for i, symbol in enumerate(get_guest(guest).structure.symbols) if symbol == element]
    return float(np.linalg.norm(host.positions[:, None] - pose[None, atoms], axis=-1).min())


def test_an_octahedron_meets_a_hydrogen_by_corner_edge_and_face() -> None:
    """PF6- has one kind of corner, edge and face; one F touches at 2.0, two and three a little farther out."""
    host = load_host("pyrazine")
    site = select_place(find_sites(host, "PF6-"), "acidic")
    poses = orientations(host, get_guest("PF6-"), site)
    hydrogen = host.positions[site.anchors[0]]
    near = sorted(int((np.linalg.norm(pose[1:] - hydrogen, axis=1) < 2.6).sum()) for pose in poses)
    assert near == [1, 2, 3]
    for pose in poses:
        assert closest(host, pose, "PF6-", "F") == pytest.approx(2.0, abs=0.25)


def test_water_gives_its_hydrogen_to_a_donor_and_its_oxygen_to_an_acid() -> None:
    host = load_host("pyrazine")
    sites = find_sites(host, "H2O")
    (pose, *_) = orientations(host, get_guest("H2O"), select_place(sites, "lone-pair"))
    nitrogen = host.positions[select_place(sites, "lone-pair").anchors[0]]
    assert np.linalg.norm(pose[1:] - nitrogen, axis=1).min() == pytest.approx(2.06, abs=0.05)
    (pose, *_) = orientations(host, get_guest("H2O"), select_place(sites, "acidic"))
    hydrogen = host.positions[select_place(sites, "acidic").anchors[0]]
    assert np.linalg.norm(pose[0] - hydrogen) == pytest.approx(2.04, abs=0.05)


@pytest.mark.parametrize("guest", ["PF6-", "TFSI-", "DOL", "DME", "EC", "DMC", "H2O", "Li2S4"])
def test_poses_are_rigid_distinct_and_free_of_clashes(guest: str) -> None:
    host = load_host("bipyrimidine")
    alone = get_guest(guest).structure.positions
    shape = np.linalg.norm(alone[:, None] - alone[None], axis=-1)
    for site in find_sites(host, guest):
        poses = orientations(host, get_guest(guest), site)
        assert 1 <= len(poses) <= MOST_ORIENTATIONS
        for number, pose in enumerate(poses):
            assert np.linalg.norm(pose[:, None] - pose[None], axis=-1) == pytest.approx(shape)
            apart = np.linalg.norm(host.positions[:, None] - pose[None], axis=-1)
            assert 1.8 < apart.min() < 3.6
            for other in poses[:number]:
                assert np.abs(pose - other).max() > 0.3


@pytest.mark.parametrize(
    ("name", "guest", "query"),
    [
        ("bipyrimidine", "DME", "bay"),
        ("hatcn", "EC", "corner"),
        ("benzene", "DMC", "face"),
        ("pyrazine", "TFSI-", "acidic"),
    ],
)
def test_the_same_orientations_however_the_host_lies(name: str, guest: str, query: str) -> None:
    host = load_host(name)

    def shapes(turned: Structure) -> list[list[float]]:
        """Mean distance of every guest atom from all host atoms [Angstrom]: what no motion changes."""
        site = select_place(find_sites(turned, guest), query)
        poses = orientations(turned, get_guest(guest), site)
        sums = [cdist(pose, turned.positions).mean(axis=1) for pose in poses]
        return sorted(np.round(each, 2).tolist() for each in sums)

    reference = shapes(host)
    for seed in range(4):
        turn = Rotation.random(random_state=seed).as_matrix()
        found = shapes(host.with_positions(host.positions @ turn.T))
        assert abs(len(found) - len(reference)) <= 1  # two of nearly one shape may count as one
        apart = cdist(found, reference, "chebyshev")
        assert apart.min(axis=0).max() < 0.15
        assert apart.min(axis=1).max() < 0.15


def test_a_single_atom_has_one_place() -> None:
    host = load_host("pyrazine")
    site = find_sites(host, "Na")[0]
    assert np.array_equal(orientations(host, get_guest("Na"), site), [site.position[None]])


def test_orientations_in_complexes() -> None:
    host = load_host("pyrazine")
    site = select_place(find_sites(host, "PF6-"), "acidic")
    first, second = (build_complex(host, "PF6-", site, number) for number in (1, 2))
    assert first.structure.charge == -1
    assert first.structure.formula == "C4H4F6N2P"
    assert first.fragments["guest"] == tuple(range(10, 17))
    assert not np.allclose(first.structure.positions, second.structure.positions)
    with pytest.raises(BadInputError, match=r"has 3 orientations at acidic-1\.1; there is no number 9"):
        build_complex(host, "PF6-", site, 9)
