import numpy as np
import pytest

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import build_complex, classify_guest, find_sites, hatcn, load_host

SITES = {site.id: site for site in find_sites(hatcn(), "Li")}


def final(positions: np.ndarray, start: str, guest: str = "Li") -> tuple[str, str | None]:
    found = classify_guest(hatcn(), positions, guest, start)
    return found.verdict, found.site


def test_complex_remembers_its_fragments() -> None:
    built = build_complex(hatcn(), "Na", SITES["bay-1"])
    assert built.structure.formula == "C18N12Na"
    assert built.structure.multiplicity == 2
    assert built.fragments == {"host": tuple(range(30)), "guest": (30,)}
    assert np.array_equal(built.structure.positions[:30], hatcn().positions)


@pytest.mark.parametrize("guest", ["Li", "Na"])
@pytest.mark.parametrize("site", sorted(SITES))
def test_an_unrelaxed_guest_stays_at_every_member(guest: str, site: str) -> None:
    for member in next(s for s in find_sites(hatcn(), guest) if s.id == site).members:
        positions = np.vstack([hatcn().positions, member.position])
        assert final(positions, site, guest) == ("stayed", site)


def test_the_relaxed_bay_of_the_literature() -> None:
    # GFN2: Li 1.935 Angstrom from both ring N, in the plane; the whole complex turned and moved
    bay = SITES["bay-1"]
    anchors = hatcn().positions[list(bay.anchors)]
    middle = anchors.mean(axis=0)
    height = np.sqrt(1.935**2 - (np.linalg.norm(anchors[0] - anchors[1]) / 2) ** 2)
    positions = np.vstack([hatcn().positions, middle + height * bay.normal])
    turn = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])
    assert final(positions @ turn.T + 7.0, "bay-1") == ("stayed", "bay-1")
    assert final(positions @ turn.T + 7.0, "face-1") == ("migrated", "bay-1")


def test_migration_to_nowhere_and_dissociation() -> None:
    above_a_bond = np.vstack([hatcn().positions, [4.1, 0.0, 2.2]])
    assert final(above_a_bond, "face-1")[0] == "migrated"
    far = np.vstack([hatcn().positions, [0.0, 0.0, 6.0]])
    assert final(far, "face-2") == ("dissociated", None)


def test_a_distorted_host_takes_its_sites_along() -> None:
    # nitriles bend inwards by 0.3 Angstrom when a metal sits between them
    corner = SITES["corner-1"]
    positions = hatcn().positions.copy()
    for anchor in corner.anchors:
        positions[anchor] += [0.1, -0.3 * np.sign(positions[anchor][1]), 0.0]
    metal = positions[list(corner.anchors)].mean(axis=0) + np.array([1.0, 0.0, 0.0])
    assert final(np.vstack([positions, metal]), "corner-1") == ("stayed", "corner-1")


def test_wrong_number_of_atoms() -> None:
    with pytest.raises(BadInputError, match="expected 31 positions"):
        classify_guest(hatcn(), hatcn().positions, "Li", "bay-1")


def test_unknown_guest() -> None:
    with pytest.raises(UnknownNameError, match="unknown guest 'Li2'; did you mean 'Li'"):
        build_complex(hatcn(), "Li2", SITES["bay-1"])


def test_an_open_shell_host_with_an_alkali_atom_takes_the_lowest_multiplicity() -> None:
    radical = load_host("pyrazine", charge=-1)
    assert radical.multiplicity == 2
    assert build_complex(radical, "Li", find_sites(radical)[0]).structure.multiplicity == 1
