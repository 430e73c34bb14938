"""Sites of hosts whose answers were reasoned out by hand: (kind, multiplicity) and what holds the guest."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.structures import (
    BUILTIN,
    Structure,
    find_sites,
    from_smiles,
    hatcn,
    load_host,
    score_sites,
    select_place,
    select_sites,
)
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations, symmetrise

CH = "aryl C-H"
EXPECTED: dict[str, list[tuple[str, int]]] = {
    # three bays, three corners; three pyrazine rings and the central one, two sides each
    "hatcn": [("imine bay", 3), ("nitrile corner", 3), ("pyrazine face", 6), ("central face", 2)],
    # C2v: the two ring N are equivalent and face nothing together
    "dicyanopyrazine": [("nitrile corner", 1), ("pyridinic nitrogen", 2), ("pyrazine face", 2), (CH, 2)],
    # D2h: two N, four C-H
    "pyrazine": [("pyridinic nitrogen", 2), ("pyrazine face", 2), (CH, 4)],
    # D2h: both N,N bays equivalent, both rings equivalent; C-H beside N and opposite the bond between the rings
    "bipyrimidine": [("imine bay", 2), ("pyrimidine face", 4), (CH, 2), (CH, 4)],
    # 1,10-phenanthroline, C2v: one bay, two equivalent pyridine rings, the middle ring; eight C-H in four pairs
    "c1cnc2c(c1)ccc1cccnc12": [("imine bay", 1), ("pyridine face", 4), ("benzene face", 2), *[(CH, 2)] * 4],
    # benzonitrile: ortho, meta, para
    "N#Cc1ccccc1": [("nitrile end", 1), ("benzene face", 2), (CH, 1), (CH, 2), (CH, 2)],
    # phthalonitrile: two neighbouring nitriles are a corner, so neither is an end
    "N#Cc1ccccc1C#N": [("nitrile corner", 1), ("benzene face", 2), (CH, 2), (CH, 2)],
    # terephthalonitrile: too far apart for a corner; the two ends are equivalent
    "N#Cc1ccc(C#N)cc1": [("nitrile end", 2), ("benzene face", 2), (CH, 4)],
    # TCNE, D2h: two cis pairs, two geminal pairs, no ring
    "N#CC(C#N)=C(C#N)C#N": [("nitrile corner", 2), ("geminal nitrile corner", 2)],
    # o-benzoquinone: O,O; the two O of the p-quinone are apart
    "O=C1C=CC=CC1=O": [("carbonyl bay", 1), ("quinone face", 2), (CH, 2), (CH, 2)],
    "O=C1C=CC(=O)C=C1": [("carbonyl oxygen", 2), ("quinone face", 2), (CH, 4)],
    # coronene, D6h: six outer rings, one central, twelve C-H
    "c1cc2ccc3ccc4ccc5ccc6ccc1c1c2c3c4c5c61": [("benzene face", 12), ("central face", 2), (CH, 12)],
    # porphine, D2h: the two imine N face each other across the cavity, whose plane the two N-H fill: a metal sits over
    # it, on either side; pyrrole and azafulvene rings; C-H of both kinds of ring and of the four bridges. No fluoride
    # reaches the N-H.
    "C1=CC2=CC3=NC(=CC4=CC=C(N4)C=C5C=CC(=N5)C=C1N2)C=C3": [
        ("imine bay", 2),
        ("pyrrole face", 4),
        ("pyrrole face", 4),
        *[(CH, 4)] * 3,
    ],
    # 1,8-naphthyridine: parallel lone pairs share a place, and the two rings are equivalent
    "c1cnc2ncccc2c1": [("imine bay", 1), ("pyridine face", 4), *[(CH, 2)] * 3],
    # pyrimidine and pyridazine: lone pairs diverge, or the N are bonded: no bay
    "c1cncnc1": [("pyridinic nitrogen", 2), ("pyrimidine face", 2), (CH, 1), (CH, 1), (CH, 2)],
    "c1ccnnc1": [("pyridinic nitrogen", 2), ("pyridazine face", 2), (CH, 2), (CH, 2)],
    # imidazole: the N without H is a donor, the one with H is not
    "c1c[nH]cn1": [("imine nitrogen", 1), ("imidazole face", 2), ("N-H", 1), *[(CH, 1)] * 3],
    # ethylene carbonate, C2: one carbonyl O, two ring O
    "O=C1OCCO1": [("carbonyl oxygen", 1), ("ester oxygen", 2)],
    # acetate: the two O hold a metal together
    "CC(=O)[O-]": [("carboxylate", 1)],
    "[O-][N+](=O)c1ccccc1": [("nitro group", 1), ("benzene face", 2), (CH, 1), (CH, 2), (CH, 2)],
    "O": [("water oxygen", 1), ("O-H", 2)],
    # crowns in the conformer that binds: every O on one cavity, entered from the side that the lone pairs face; the
    # flat D3d ring of 18-crown-6 holds a metal in its plane
    "12-crown-4": [("crown bay", 1)],
    "18-crown-6": [("crown bay", 1)],
    # terpyridine, all N on one side: one bay of three; two outer rings and the middle one
    "terpyridine": [("imine bay", 1), ("pyridine face", 4), ("pyridine face", 2), *[(CH, 2)] * 5, (CH, 1)],
    # Fe-N4 in the hole of a flake, D2h: two five- and two six-membered chelate rings, as many hollows, two sides each
    "fe-n4-pyrene": [
        ("Fe top", 2),
        ("N-Fe-N hollow", 4),
        ("N-Fe-N hollow", 4),
        ("C2FeN2 ring face", 4),
        ("C3FeN2 ring face", 4),
        *[(CH, 4)] * 2,
        (CH, 2),
    ],
    # the same with two O in place of two N on one side, C2v: one hollow has both kinds of donor, and each O, bonded to
    # one carbon, has a lone pair left
    "co-n2o2-pyrene": [
        ("alkoxide oxygen", 2),
        ("Co top", 2),
        ("N-Co-N hollow", 2),
        ("N-Co-O hollow", 4),
        ("O-Co-O hollow", 2),
        ("C2CoN2 ring face", 2),
        ("C3CoNO ring face", 4),
        *[(CH, 2)] * 4,
    ],
    # D3d: three alkoxide O over either Ti3O3 ring; the lone pairs of six mu3-oxo and of twelve carboxylate O
    "ti6-formate-methoxide": [
        ("alkoxide bay", 2),
        ("mu3-oxo", 6),
        ("carboxylate oxygen", 12),
    ],
    # Al4O6, Td: four Al with an open side, six O bridging two Al, the four outer sides of the Al3O3 rings
    "al2o3-2": [("Al top", 4), ("mu2-oxo", 6), ("Al3O3 ring face", 4)],
    # small rings have lone pairs too; a nitride or carbide end that is no nitrile
    "C1CO1": [("ether oxygen", 1)],
    "[C-]#N": [("terminal nitrogen", 1), ("terminal carbon", 1)],
    # catecholate: the two O face one place, 3.0 Angstrom apart as they are
    "[O-]c1ccccc1[O-]": [("carbonyl bay", 1), ("quinone face", 2), (CH, 2), (CH, 2)],
    # 8-hydroxyquinoline: its O-H points at the N, whose lone pair is taken, and no fluoride gets between
    "Oc1cccc2cccnc12": [("hydroxyl oxygen", 1), ("pyridine face", 2), ("benzene face", 2), *[(CH, 1)] * 6],
    # succinimide: the ring is half unsaturated; its H and its two O
    "O=C1CCC(=O)N1": [("carbonyl oxygen", 2), ("N-H", 1), ("C4N ring face", 2)],
    "CCO": [("hydroxyl oxygen", 1), ("O-H", 1)],
    "CC": [],
}


@pytest.mark.parametrize("host", EXPECTED)
def test_sites_reasoned_out_by_hand(host: str) -> None:
    found = find_sites(load_host(host))
    alone = [(site.label, site.multiplicity) for site in found if "pocket" not in site.label]
    assert sorted(alone) == sorted(EXPECTED[host])


def test_hatcn_positions() -> None:
    sites = {site.label: site for site in find_sites(hatcn(), "Li")}
    bay, corner = sites["imine bay"], sites["nitrile corner"]
    # in the plane, at the azimuth of a bay (60 degrees) and of a ring (0 degrees)
    assert np.degrees(np.arctan2(bay.position[1], bay.position[0])) % 120 == pytest.approx(60)
    assert np.degrees(np.arctan2(corner.position[1], corner.position[0])) % 120 == pytest.approx(0, abs=1e-9)
    for site, distance in ((bay, 2.00), (corner, 2.10)):
        assert site.position[2] == pytest.approx(0, abs=1e-12)
        gaps = np.linalg.norm(hatcn().positions[list(site.anchors)] - site.position, axis=1)
        assert gaps == pytest.approx([distance] * 2)
    assert sites["central face"].position == pytest.approx([0, 0, 1.9], abs=1e-9)
    assert sites["pyrazine face"].position == pytest.approx([2.40, 0, 1.9], abs=0.02)


def test_members_are_numbered_and_cover_every_image() -> None:
    for site in find_sites(hatcn()):
        assert [member.id for member in site.members] == [f"{site.id}.{i + 1}" for i in range(site.multiplicity)]
        places = np.array([member.position for member in site.members])
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
        assert (gaps > 1.0).all()
        for member in site.members:
            assert np.linalg.norm(member.normal) == pytest.approx(1.0)


def transformed(host: Structure, seed: int, noise: float = 0.0) -> tuple[Structure, np.ndarray]:
    """Rotate, mirror, translate, permute and shake a host; returns it and the new place of every atom."""
    random = np.random.default_rng(seed)
    matrix = Rotation.random(random_state=seed).as_matrix() * (-1 if seed % 2 else 1)
    order = random.permutation(len(host))
    shaken = host.positions + random.normal(0, noise, host.positions.shape) if noise else host.positions
    positions = shaken[order] @ matrix.T + random.uniform(-20, 20, 3)
    place = np.empty(len(host), dtype=int)
    place[order] = np.arange(len(host))
    symbols = tuple(host.symbols[i] for i in order)
    return Structure(symbols, positions, host.charge, host.multiplicity), place


def signature(host: Structure, place: np.ndarray | None = None) -> Counter[tuple[object, ...]]:
    """Sites by id, label and the anchors of all members, in the numbering that ``place`` leads to."""
    place = np.arange(len(host)) if place is None else place
    return Counter(
        (
            site.id,
            site.label,
            frozenset(Counter(frozenset(int(place[a]) for a in m.anchors) for m in site.members).items()),
        )
        for site in find_sites(host)
    )


HOSTS = {name: load_host(name) for name in EXPECTED if EXPECTED[name]}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(HOSTS)), st.integers(0, 10_000))
def test_orientation_and_order_change_nothing(name: str, seed: int) -> None:
    host = HOSTS[name]
    moved, place = transformed(host, seed)
    assert signature(moved) == signature(host, place)


# Every second built-in host but the largest. Of 15-crown-5 and folded tetraglyme some O hardly reach; the two kinds of
# carboxylate O of the acetate cluster differ by the turn of a methyl group alone, and change names.
BUILT_IN = sorted(set(BUILTIN) - {"15-crown-5", "tetraglyme", "ti6-acetate-methoxide"})


@pytest.mark.parametrize("first", range(5))
def test_noise_changes_nothing(first: int) -> None:
    for number, name in enumerate(BUILT_IN[first::10]):
        host = load_host(name)
        if len(host) > 70:
            continue
        moved, place = transformed(host, seed=number, noise=0.02)
        assert signature(moved) == signature(host, place), name


def test_the_guest_changes_no_site() -> None:
    """Which sites there are follows from the host; larger guests lie farther off."""
    for name in ("hatcn", "18-crown-6", "ti6-formate-methoxide", "fe-n4-pyrene", "porphine", "al2o3-2", "lialo2-2"):
        host = load_host(name)
        reference = [(site.id, site.label, [m.anchors for m in site.members]) for site in find_sites(host)]
        for guest in ("Li", "Zn", "K+", "H2O", "PF6-", "DME"):  # of each size, charge and shape
            found = find_sites(host, guest)
            assert [(site.id, site.label, [m.anchors for m in site.members]) for site in found] == reference
        for small, large in zip(find_sites(host, "Li+"), find_sites(host, "K"), strict=True):
            if small.kind in ("lone-pair", "face", "end", "corner", "oxo"):
                anchors = host.positions[list(small.anchors)].mean(axis=0)
                near, far = (np.linalg.norm(site.position - anchors) for site in (small, large))
                assert near < far


def test_symmetry_counts() -> None:
    # orders of D6h, D2h, C2v and D3h
    for host, order in (
        ("c1ccccc1", 24),
        ("pyrazine", 8),
        ("dicyanopyrazine", 4),
        ("c1ncncn1", 12),
        ("C", 24),
    ):
        assert len(find_operations(BondGraph(load_host(host)))) == order, host


def test_symmetrising() -> None:
    """Projection: twice is once, symmetric vectors are kept, what is left is carried onto itself by every operation."""
    host = hatcn()
    operations = find_operations(BondGraph(host))
    noise = np.random.default_rng(1).normal(size=host.positions.shape)
    projected = symmetrise(noise, operations)
    assert np.allclose(symmetrise(projected, operations), projected)
    assert np.allclose(symmetrise(host.positions, operations), host.positions)
    for operation in operations:
        carried = np.empty_like(projected)
        carried[list(operation.permutation)] = projected @ operation.matrix.T
        assert np.allclose(carried, projected)


def test_a_broken_symmetry_is_seen() -> None:
    host = hatcn()
    positions = host.positions.copy()
    positions[4] += [0.0, 0.0, 0.5]
    assert len(find_operations(BondGraph(host.with_positions(positions)))) == 1


def test_linear_molecules_and_atoms() -> None:
    assert [(s.label, s.multiplicity) for s in find_sites(from_smiles("N#CC#N"))] == [("nitrile end", 2)]
    assert find_sites(Structure(("Li",), np.zeros((1, 3)))) == []


def test_selecting() -> None:
    sites = find_sites(hatcn())
    assert [s.id for s in select_sites(sites, "face")] == ["face-1", "face-2"]
    assert [s.label for s in select_sites(sites, "Central Face")] == ["central face"]
    assert select_place(sites, "bay-1.3").members[0].id == "bay-1.3"
    with pytest.raises(BadInputError, match=r"ambiguous: face-1 \(pyrazine face\), face-2 \(central face\)"):
        select_place(sites, "face")
    with pytest.raises(UnknownNameError, match=r"did you mean 'corner'.*this host has bay-1"):
        select_sites(sites, "cornr")
    with pytest.raises(BadInputError, match="has no site of kind 'bay'; it has no site at all"):
        select_sites(find_sites(load_host("CC")), "bay")


def test_scores_order_sites() -> None:
    """Scored by the distance from the centre of HATCN: the central ring first, the corners last."""
    host = hatcn()
    centre = host.positions.mean(axis=0)
    scored = score_sites(find_sites(host), lambda site: float(np.linalg.norm(site.position - centre)))
    assert [site.label for site in scored] == ["central face", "pyrazine face", "imine bay", "nitrile corner"]
    assert scored[0].score == pytest.approx(1.9)


def test_bad_hosts() -> None:
    with pytest.raises(BadInputError, match="in 2 pieces"):
        find_sites(Structure(("H", "H", "He"), np.array([[0, 0, 0], [0, 0, 0.74], [9.0, 0, 0]])))
    with pytest.raises(UnknownNameError, match="unknown guest 'Xx'"):
        find_sites(hatcn(), "Xx")
