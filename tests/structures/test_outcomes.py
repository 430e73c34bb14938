"""What became of a complex: bonds made and broken, guests that met, minima that are one."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from alkaflow.structures import (
    Candidate,
    Complex,
    Guest,
    Host,
    Member,
    Placed,
    Site,
    Structure,
    build_complex,
    changed_bonds,
    classify_complex,
    classify_guest,
    enumerate_placements,
    find_sites,
    hatcn,
    load_host,
    place_guests,
    same_minimum,
    select_place,
)

SITES = {site.id: site for site in find_sites(hatcn(), "Li")}


def at(site: Site, member: Member) -> Complex:
    return place_guests(hatcn(), [Placed("Li", site, member)])


def moved(built: Complex, positions: np.ndarray) -> Complex:
    return Complex(built.structure.with_positions(positions), built.host, built.placed, built.multiplicities)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(SITES)), st.data())
def test_equivalent_members_are_one_minimum_however_turned(seed: int, name: str, data: st.DataObject) -> None:
    site = SITES[name]
    first, second = (at(site, data.draw(st.sampled_from(site.members))) for _ in range(2))
    random = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix() * (-1 if seed % 2 else 1)
    shaken = second.structure.positions + random.normal(0, 0.02, second.structure.positions.shape)
    assert same_minimum(first, moved(second, shaken @ turn.T + random.uniform(-9, 9, 3)))


def test_distinct_sites_are_distinct_minima() -> None:
    built = [build_complex(hatcn(), "Li", site) for site in SITES.values()]
    for i, first in enumerate(built):
        for j, second in enumerate(built):
            assert same_minimum(first, second) == (i == j)


def test_like_guests_may_change_places() -> None:
    pairs = enumerate_placements(hatcn(), ["Li", "Li"], [["bay"], ["corner"]])
    swapped = [
        place_guests(hatcn(), [Placed(p.guest, p.site, p.member) for p in reversed(pair.placed)]) for pair in pairs
    ]
    for i, pair in enumerate(pairs):
        assert [same_minimum(pair.build(hatcn()), other) for other in swapped] == [i == 0, i == 1]


def test_different_guests_are_never_one_minimum() -> None:
    site = SITES["bay-1"]
    assert not same_minimum(build_complex(hatcn(), "Li", site), build_complex(hatcn(), "Na", site))


def test_a_hydrogen_that_goes_to_its_neighbour_is_a_reaction() -> None:
    host = load_host("c1c[nH]cn1")
    built = build_complex(host, "Li", select_place(find_sites(host), "face"))
    positions = built.structure.positions.copy()
    nitrogen = next(i for i, s in enumerate(host.symbols) if s == "N" and _hydrogens(host, i))
    hydrogen = _hydrogens(host, nitrogen)[0]
    carbon = min(
        (i for i, s in enumerate(host.symbols) if s == "C"),
        key=lambda i: float(np.linalg.norm(host.positions[i] - host.positions[nitrogen])),
    )
    outward = host.positions[carbon] - host.positions.mean(axis=0)
    positions[hydrogen] = host.positions[carbon] + 1.1 * np.array([0, 0, 1]) + 0.2 * outward
    said = changed_bonds(built, positions)
    assert any("broken" in sentence for sentence in said)
    assert classify_complex(built, positions)[0].verdict == "reacted"
    assert changed_bonds(built, built.structure.positions) == []


def _hydrogens(host: Structure, atom: int) -> list[int]:
    near = np.linalg.norm(host.positions - host.positions[atom], axis=1) < 1.2
    return [i for i in np.flatnonzero(near) if host.symbols[i] == "H"]


def test_a_stretched_bond_is_still_a_bond() -> None:
    built = build_complex(hatcn(), "Na", SITES["corner-1"])
    positions = built.structure.positions.copy()
    positions[:30] *= 1.10
    assert changed_bonds(built, positions) == []


def test_guests_that_meet_have_merged() -> None:
    built = enumerate_placements(hatcn(), ["Li", "Li"], [["bay"], ["bay"]])[0].build(hatcn())
    positions = built.structure.positions.copy()
    assert [f.verdict for f in classify_complex(built, positions)] == ["stayed", "stayed"]
    positions[31] = positions[30] + [0.0, 0.0, 2.6]  # Li2: 2.67 Angstrom
    assert [f.verdict for f in classify_complex(built, positions)] == ["merged", "merged"]
    assert classify_complex(built, positions)[0].label.endswith(f"bonded to Li from {built.placed[1].member.id}")


def test_two_cations_never_merge() -> None:
    built = enumerate_placements(hatcn(), ["K+", "K+"], [["bay"], ["bay"]])[0].build(hatcn())
    positions = built.structure.positions.copy()
    positions[31] = positions[30] + [0.0, 0.0, 4.0]
    assert "merged" not in [f.verdict for f in classify_complex(built, positions)]


def test_a_hydrogen_taken_by_the_guest_is_a_reaction() -> None:
    """Water that takes the acid's proton: O-H 1.50 and 1.05 Angstrom from the old and the new oxygen."""
    host = load_host("CC(=O)O")
    built = build_complex(host, "H2O", select_place(find_sites(host, "H2O"), "acidic"))
    positions = built.structure.positions.copy()
    hydrogen = built.site.anchors[0]
    acid = min(
        (i for i, s in enumerate(host.symbols) if s == "O"),
        key=lambda i: float(np.linalg.norm(positions[i] - positions[hydrogen])),
    )
    out = positions[hydrogen] - positions[acid]
    out = out / np.linalg.norm(out)
    positions[hydrogen] = positions[acid] + 1.50 * out
    positions[len(host) :] += positions[hydrogen] + 1.05 * out - positions[len(host)]
    found = classify_guest(host, positions, "H2O", built.site.id)
    assert found.verdict == "reacted"
    assert "made between host and guest" in found.label or "made between guest and host" in found.label


def test_a_molecule_that_binds_to_a_carbon_has_reacted() -> None:
    host = load_host("1,4-benzoquinone")
    built = build_complex(host, "H2O", select_place(find_sites(host, "H2O"), "face"))
    positions = built.structure.positions.copy()
    carbon = host.symbols.index("C")
    positions[len(host) :] += positions[carbon] + 1.42 * built.site.normal - positions[len(host)]
    assert classify_complex(built, positions)[0].verdict == "reacted"


def test_sites_of_another_tolerance_and_of_own_rules_are_recognised() -> None:
    noisy = hatcn().with_positions(hatcn().positions + np.random.default_rng(3).normal(0, 0.02, (30, 3)))
    fine = find_sites(noisy, tolerance=0.02)
    assert len(fine) > 4  # symmetry is lost at this tolerance
    for site in fine:
        built = build_complex(noisy, "Li", site)
        assert classify_complex(built, built.structure.positions, fine)[0].verdict == "stayed"

    def everywhere(host: Host, guest: Guest) -> Iterator[Candidate]:
        base, up = host.positions.mean(axis=0), np.array([0.0, 0.0, 1.0])
        yield Candidate("top", "over the middle", (0,), base, up, guest.reach("C"), base + 2.0 * up)

    own = find_sites(hatcn(), rules={"top": everywhere})
    built = build_complex(hatcn(), "Li", own[0])
    assert classify_complex(built, built.structure.positions, own)[0].verdict == "stayed"


def test_one_of_two_guests_migrates() -> None:
    built = enumerate_placements(hatcn(), ["Li", "Li"], [["bay"], ["central face"]])[0].build(hatcn())
    positions = built.structure.positions.copy()
    other_bay = next(m for m in SITES["bay-1"].members if m.id != built.placed[0].member.id)
    positions[31] = other_bay.position
    first, second = classify_complex(built, positions)
    assert first.verdict == "stayed"
    assert (second.verdict, second.site) == ("migrated", "bay-1")


def test_a_molecule_that_leaves_has_dissociated() -> None:
    host = load_host("pyrazine")
    built = build_complex(host, "PF6-", select_place(find_sites(host, "PF6-"), "acidic"))
    positions = built.structure.positions.copy()
    assert classify_complex(built, positions)[0].verdict == "stayed"
    positions[len(host) :] += 8.0
    assert classify_complex(built, positions)[0].verdict == "dissociated"


def test_a_guest_that_falls_apart_has_reacted() -> None:
    host = load_host("pyrazine")
    built = build_complex(host, "PF6-", select_place(find_sites(host, "PF6-"), "acidic"))
    positions = built.structure.positions.copy()
    away = positions[len(host) + 1 :] - positions[len(host)]
    farthest = int(np.argmax(np.linalg.norm(positions[len(host) + 1 :] - host.positions.mean(axis=0), axis=1)))
    positions[len(host) + 1 + farthest] += 1.5 * away[farthest]
    found = classify_complex(built, positions)[0]
    assert found.verdict == "reacted"
    assert "P10-F" in found.label
    assert "broken" in found.label
