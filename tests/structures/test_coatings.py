"""Pieces of coatings: formulas, saturated valences, coordination of Al, and whether clusters hold together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.levels import Xtb
from alkaflow.structures.coatings import COATING_HOSTS, alucone, aluminate_cluster
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.symmetry import find_operations
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.xtb_engine import run_xtb


@pytest.mark.parametrize(
    ("units", "formula"), [(1, "C2H7AlO4"), (2, "C4H12Al2O7"), (4, "C8H22Al4O13"), (12, "C24H62Al12O37")]
)
def test_alucone(units: int, formula: str) -> None:
    chain = alucone(units)
    assert (chain.name, chain.formula) == (f"alucone-{units}", formula)
    assert (chain.charge, chain.multiplicity) == (0, 1)
    assert BondGraph(chain).fragments == 1
    assert len(BondGraph(chain).bonds) == len(chain) - 1  # no ring
    assert BondGraph(chain).coordination("Al") == [Counter(O=3)] * units
    assert BondGraph(chain).coordination("C") == [Counter(C=1, O=1, H=2)] * (2 * units)
    assert {sum(c.values()) for c in BondGraph(chain).coordination("O")} == {2}
    assert {sum(c.values()) for c in BondGraph(chain).coordination("H")} == {1}


def test_alucone_has_the_lengths_asked_for_and_is_extended() -> None:
    chain = alucone(6)
    symbols, positions = chain.symbols, chain.positions
    lengths: dict[str, set[float]] = {}
    for i, j in BondGraph(chain).bonds:
        pair = "".join(sorted((symbols[i], symbols[j])))
        lengths.setdefault(pair, set()).add(round(float(np.linalg.norm(positions[i] - positions[j])), 9))
    assert lengths == {"AlO": {1.72}, "CO": {1.41}, "CC": {1.52}, "CH": {1.09}, "HO": {0.96}}
    x, y, z = np.ptp(positions, axis=0)
    assert x > 6 * 6.0
    assert max(y, z) < 7.0


@pytest.mark.parametrize("units", [1, 2, 12])
def test_nothing_in_alucone_clashes(units: int) -> None:
    chain = alucone(units)
    bonded = BondGraph(chain).neighbours
    for i in (i for i, symbol in enumerate(chain.symbols) if symbol == "H"):
        near = {i, *bonded[i], *(j for k in bonded[i] for j in bonded[k])}
        others = [j for j in range(len(chain)) if j not in near]
        assert np.linalg.norm(chain.positions[others] - chain.positions[i], axis=1).min() > 1.8


@pytest.mark.parametrize("units", [0, -1, 13])
def test_alucone_of_impossible_length(units: int) -> None:
    with pytest.raises(BadInputError, match=f"an alucone chain of {units} units; 1 to 12"):
        alucone(units)


@pytest.mark.parametrize(("units", "formula", "order"), [(2, "Al4O6", 24), (3, "Al6O9", 12), (4, "Al8O12", 48)])
def test_alumina_cages(units: int, formula: str, order: int) -> None:
    cage = aluminate_cluster("al2o3", units)
    assert cage.formula == formula
    assert BondGraph(cage).coordination("Al") == [Counter(O=3)] * (2 * units)
    assert BondGraph(cage).coordination("O") == [Counter(Al=2)] * (3 * units)
    assert len(find_operations(BondGraph(cage), 1e-6)) == order  # Td, D3h, Oh
    lengths = [np.linalg.norm(cage.positions[i] - cage.positions[j]) for i, j in BondGraph(cage).bonds]
    assert lengths == pytest.approx([1.72] * len(lengths))


@pytest.mark.parametrize("metal", ["Li", "Na"])
def test_aluminates(metal: str) -> None:
    kind = f"{metal.lower()}alo2"
    assert [BondGraph(aluminate_cluster(kind, n)).coordination("Al") for n in (1, 2, 3)] == [
        [Counter(O=2)],
        [Counter(O=3)] * 2,
        [Counter(O=3)] * 3,
    ]
    assert [BondGraph(aluminate_cluster(kind, n)).coordination(metal) for n in (1, 2, 3)] == [
        [Counter(O=1)],
        [Counter(O=2)] * 2,
        [Counter(O=3)] * 3,
    ]
    assert [len(find_operations(BondGraph(aluminate_cluster(kind, n)), 1e-6)) for n in (2, 3)] == [4, 6]  # C2h, C3v


@pytest.mark.parametrize("name", COATING_HOSTS)
def test_names_of_the_table(name: str) -> None:
    host = COATING_HOSTS[name]()
    assert host.name == name
    assert (host.charge, host.multiplicity) == (0, 1)
    assert BondGraph(host).fragments == 1
    assert BondGraph(host).fragments == 1


@pytest.mark.parametrize("name", [name for name in COATING_HOSTS if "alucone" not in name])
def test_clusters_stay_in_one_piece(name: str, tmp_path: Path) -> None:
    start = COATING_HOSTS[name]()
    result = run_xtb(start, Xtb(), relax=True, progress=Progress(tmp_path))
    relaxed = start.with_positions(result.positions)
    assert BondGraph(relaxed).fragments == 1
    assert not BondGraph(relaxed).bonds - BondGraph(start).bonds
    assert {sum(c.values()) for c in BondGraph(relaxed).coordination("Al")} <= {2, 3}


def test_relaxed_chain_keeps_every_bond(tmp_path: Path) -> None:
    start = alucone(1)
    result = run_xtb(start, Xtb(max_force=0.05), relax=True, progress=Progress(tmp_path))
    assert BondGraph(start.with_positions(result.positions)).bonds == BondGraph(start).bonds


def test_unknown_clusters() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'al2o3'"):
        aluminate_cluster("al203", 1)
    with pytest.raises(BadInputError, match="a cluster of 4 units of lialo2; 1 to 3"):
        aluminate_cluster("lialo2", 4)
