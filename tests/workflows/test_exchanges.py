"""Which electrons are moved, on orbitals small enough to see it."""

from collections.abc import Sequence

import numpy as np

from alkaflow.workflows.exchanges import Orbitals, electrons_up, holes_down, pairs_up

# spin up: a, b | b, b, a, b far above; spin down: b, a, a | b
ENERGIES = np.array([[-0.5, -0.2, 0.0, 0.02, 0.05, 0.5], [-0.6, -0.5, -0.1, 0.02, 0.3, 0.5]])
KINDS = ["abbbac", "baabcc"]
SYMMETRIC = {"a": (1,), "b": (-1,), "c": (0,)}


def orbitals(up: int, down: int) -> Orbitals:
    occupations = np.array([[1.0] * n + [0.0] * (6 - n) for n in (up, down)])
    return Orbitals(ENERGIES, np.array([np.eye(6)] * 2), occupations)


def symmetric(spin: int, columns: Sequence[int]) -> list[tuple[int, ...]]:
    return [SYMMETRIC[KINDS[spin][k]] for k in columns]


def crooked(spin: int, columns: Sequence[int]) -> list[tuple[int, ...]]:
    return [()] * len(columns)


def names(moves: list[tuple[str, np.ndarray]]) -> list[str]:
    return [name for name, _ in moves]


def test_unpaired_electrons_are_the_ones_without_a_partner() -> None:
    assert orbitals(3, 2).unpaired(1, np.eye(6)) == 2
    turned = orbitals(3, 2)
    turned.coefficients[1][:, [0, 2]] = turned.coefficients[1][:, [2, 0]]  # spin down has the third, not the first
    assert turned.unpaired(1, np.eye(6)) == 0


def test_electrons_go_up_into_the_first_orbitals_and_one_of_each_kind() -> None:
    state = orbitals(2, 1)
    moves = electrons_up(state, 1, symmetric, 1)
    assert names(moves) == ["SOMO to LUMO", "SOMO to LUMO+2"]  # that of another kind; the far one is left out
    assert [np.flatnonzero(moved[0]).tolist() for _, moved in moves] == [[0, 2], [0, 4]]
    assert all(np.array_equal(moved[1], state.occupations[1]) for _, moved in moves)
    assert names(electrons_up(state, 1, crooked, 1)) == ["SOMO to LUMO"]
    assert len(electrons_up(state, 1, symmetric, 9)) == 4  # no more than there are
    assert electrons_up(orbitals(6, 5), 5, symmetric, 2) == []


def test_holes_go_down_into_other_kinds_only() -> None:
    state = orbitals(4, 3)
    moves = holes_down(state, symmetric, 3)
    assert names(moves) == ["HOMO to SOMO, spin down"]  # the others are too deep
    assert np.flatnonzero(moves[0][1][1]).tolist() == [0, 1, 3]
    assert names(holes_down(state, crooked, 3)) == ["HOMO to SOMO, spin down"]
    assert holes_down(orbitals(6, 4), symmetric, 3) == []  # a gap of 0.28 Hartree
    assert holes_down(orbitals(1, 0), symmetric, 3) == []


def test_pairs_stay_pairs() -> None:
    moves = pairs_up(orbitals(2, 2), crooked, 2)
    assert names(moves) == ["HOMO to LUMO", "HOMO to LUMO+1"]
    for (_, moved), entered in zip(moves, (2, 3), strict=True):
        assert [np.flatnonzero(spin).tolist() for spin in moved] == [[0, entered]] * 2
    assert pairs_up(orbitals(0, 0), crooked, 2) == []
