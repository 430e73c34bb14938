"""Several guests on one host, counted by hand."""

import pytest

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import HATCN_PAIR_LABELS, enumerate_placements, hatcn, load_host

SITES = ["bay", "corner", "face"]


def test_the_six_pairs_of_the_paper() -> None:
    """The first atom at a bay: one other bay, an adjacent and the opposite corner, three kinds of ring."""
    found = {p.label: p for p in enumerate_placements(hatcn(), ["Li", "Li"], [["bay"], SITES])}
    assert set(found) == set(HATCN_PAIR_LABELS)
    # 3 pairs of bays; 3 bays x 2 adjacent, 1 opposite corner; x 2 adjacent, 1 opposite ring, 1 centre, two sides each
    counts = {HATCN_PAIR_LABELS[label]: placement.multiplicity for label, placement in found.items()}
    assert counts == {"11": 3, "12": 3, "13": 6, "14": 6, "15": 12, "16": 6}
    near, far = found["imine bay + nitrile corner, adjacent"], found["imine bay + nitrile corner, opposite"]
    assert near.distance < 6.0
    assert far.distance > 10.0


def test_charge_spin_and_fragments_of_a_pair() -> None:
    placement = enumerate_placements(hatcn(), ["Li", "Na+"], [["bay"], ["bay"]])[0]
    built = placement.build(hatcn())
    assert built.structure.formula == "C18LiN12Na"
    assert built.structure.charge == 1
    assert built.multiplicities == (2,)
    assert built.fragments == {"host": tuple(range(30)), "guest-1": (30,), "guest-2": (31,)}
    assert built.fragment_charges == {"host": 0, "guest-1": 0, "guest-2": 1}
    two_atoms = enumerate_placements(hatcn(), ["Li", "Li"], [["bay"], ["bay"]])[0].build(hatcn())
    assert two_atoms.multiplicities == (1, 3)
    assert two_atoms.structure.multiplicity == 1


def test_different_guests_may_not_change_places() -> None:
    like = enumerate_placements(hatcn(), ["Li", "Li"], [["bay", "corner"]] * 2)
    unlike = enumerate_placements(hatcn(), ["Li", "Na"], [["bay", "corner"]] * 2)
    # like: bay+bay, corner+corner, bay+corner near and far; unlike: bay+corner and corner+bay are two
    assert len(like) == 4
    assert len(unlike) == 6


def test_three_guests_fill_the_three_bays_in_one_way() -> None:
    (only,) = enumerate_placements(hatcn(), ["Na"] * 3, [["bay"]] * 3)
    assert only.multiplicity == 1
    assert only.build(hatcn()).multiplicities == (2, 4)


def test_one_guest_is_one_placement_per_site() -> None:
    found = enumerate_placements(hatcn(), ["Li"])
    assert [(p.label, p.multiplicity) for p in found] == [
        ("imine bay", 3),
        ("nitrile corner", 3),
        ("pyrazine face", 6),
        ("central face", 2),
    ]


def test_both_sides_of_a_ring() -> None:
    # pyrazine: the two faces with each other; the same place twice is none
    found = enumerate_placements(load_host("pyrazine"), ["Li", "Li"], [["face"], ["face"]])
    assert [(p.label, p.multiplicity) for p in found] == [("pyrazine face + pyrazine face", 1)]


def test_rings_of_one_site_are_told_apart_by_distance() -> None:
    """Naphthalene, two atoms over its two equivalent rings: same side of both, across, and both sides of one ring."""
    found = enumerate_placements(load_host("naphthalene"), ["Li", "Li"], [["face"], ["face"]])
    assert sum(p.multiplicity for p in found) == 6
    assert all("Angstrom apart" in p.label for p in found)
    assert sorted(p.multiplicity for p in found) == [2, 2, 2]


def test_bad_requests() -> None:
    with pytest.raises(BadInputError, match="at least one guest"):
        enumerate_placements(hatcn(), [])
    with pytest.raises(BadInputError, match="2 guests but sites for 1"):
        enumerate_placements(hatcn(), ["Li", "Li"], [["bay"]])
    with pytest.raises(BadInputError, match="combinations are too many"):
        enumerate_placements(hatcn(), ["Li"] * 6)
    with pytest.raises(BadInputError, match="no site of kind 'oxo'; it has bay-1"):
        enumerate_placements(hatcn(), ["Li"], [["oxo"]])
    with pytest.raises(UnknownNameError, match="did you mean 'bay'"):
        enumerate_placements(hatcn(), ["Li"], [["bai"]])
