"""Ti6-oxo clusters: counts of the published formulas, symmetry, the bonds of the core, and whether these last."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alkaflow.errors import UnknownNameError
from alkaflow.levels import Xtb
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.oxo import OXO_HOSTS, ti6_oxo, ti6_problems
from alkaflow.structures.structure import Structure
from alkaflow.structures.symmetry import find_operations
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.xtb_engine import run_xtb


def lengths_to_oxygen(structure: Structure, titanium: int) -> list[float]:
    positions = structure.positions
    return sorted(
        float(np.linalg.norm(positions[titanium] - positions[j])) for j in BondGraph(structure).neighbours[titanium]
    )


@pytest.mark.parametrize(
    ("name", "formula", "atoms", "electrons"),
    [
        ("ti6-formate-methoxide", "C12H24O24Ti6", 66, 420),
        ("ti6-benzoate-methoxide", "C48H48O24Ti6", 126, 660),
        ("ti6-4-aminobenzoate-methoxide", "C48H54N6O24Ti6", 138, 708),
        ("ti6-hpab", "C60H78N6O24Ti6", 174, 804),
        ("ti6-acetate-isopropoxide", "C30H60O24Ti6", 120, 564),
    ],
)
def test_composition(name: str, formula: str, atoms: int, electrons: int) -> None:
    cluster = OXO_HOSTS[name]()
    assert (cluster.name, cluster.formula, len(cluster)) == (name, formula, atoms)
    assert sum(cluster.numbers) == electrons
    assert (cluster.charge, cluster.multiplicity) == (0, 1)


@pytest.mark.parametrize("name", OXO_HOSTS)
def test_every_cluster_is_well_connected(name: str) -> None:
    cluster = OXO_HOSTS[name]()
    assert cluster.name == name
    assert ti6_problems(cluster) == []
    assert BondGraph(cluster).fragments == 1
    assert BondGraph(cluster).coordination("Ti") == [Counter(O=6)] * 6
    assert {sum(c.values()) for c in BondGraph(cluster).coordination("H")} == {1}


@pytest.mark.parametrize("name", OXO_HOSTS)
def test_nothing_clashes(name: str) -> None:
    cluster = OXO_HOSTS[name]()
    bonded = BondGraph(cluster).neighbours
    hydrogens = [i for i, symbol in enumerate(cluster.symbols) if symbol == "H"]
    for i in hydrogens:
        near = {i, *bonded[i], *(j for k in bonded[i] for j in bonded[k])}
        others = [j for j in range(len(cluster)) if j not in near]
        distance = np.linalg.norm(cluster.positions[others] - cluster.positions[i], axis=1)
        assert distance.min() > 1.8


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("ti6-formate-methoxide", 12),  # D3d
        ("ti6-formate-isopropoxide", 12),
        ("ti6-benzoate-methoxide", 12),
        ("ti6-acetate-methoxide", 6),  # S6: three H on a twofold axis
        ("ti6-4-aminobenzoate-methoxide", 6),  # S6: NH2 is pyramidal
        ("ti6-hpab", 6),
    ],
)
def test_symmetry(name: str, order: int) -> None:
    graph = BondGraph(OXO_HOSTS[name]())
    operations = find_operations(graph, 1e-6)
    assert len(operations) == order
    assert max(operation.residual for operation in operations) < 1e-10
    assert len(find_operations(graph, 0.05)) == order


def test_lengths_of_the_core() -> None:
    cluster = ti6_oxo("formate", "methoxide")
    for i in (i for i, symbol in enumerate(cluster.symbols) if symbol == "Ti"):
        # OR', twice in a ring, twice carboxylate, between the rings
        assert lengths_to_oxygen(cluster, i) == pytest.approx([1.775, 1.857, 1.857, 2.04, 2.04, 2.113], abs=0.001)


def test_a_broken_cluster_is_reported() -> None:
    cluster = ti6_oxo("formate", "methoxide")
    positions = np.array(cluster.positions)
    bonded = BondGraph(cluster).neighbours
    formate = next(i for i, c in enumerate(bonded) if sorted(cluster.symbols[j] for j in c) == ["H", "O", "O"])
    away = positions[formate] / np.linalg.norm(positions[formate])
    group = [formate, *sorted(bonded[formate])]
    positions[group] += 2.0 * away
    problems = ti6_problems(cluster.with_positions(positions))
    assert f"the carboxylate of C {formate} bridges 0 Ti" in problems
    assert sum(problem.startswith("Ti ") for problem in problems) == 2
    assert ti6_problems(Structure(("Ti",), np.zeros((1, 3)))) == ["1 Ti instead of 6", "Ti 0 binds nothing"]


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown carboxylate 'formiate'; did you mean 'formate'"):
        ti6_oxo("formiate", "methoxide")
    with pytest.raises(UnknownNameError, match="unknown alkoxide 'methoxid'; did you mean 'methoxide'"):
        ti6_oxo("formate", "methoxid")


def test_relaxation_keeps_every_bond(tmp_path: Path) -> None:
    start = ti6_oxo("formate", "methoxide")
    result = run_xtb(start, Xtb(max_force=0.05), relax=True, progress=Progress(tmp_path))
    relaxed = start.with_positions(result.positions)
    assert BondGraph(relaxed).bonds == BondGraph(start).bonds
    assert len(BondGraph(relaxed).bonds) == 36 + 12 + 6 + 24  # Ti-O, C-O of formate and methoxide, C-H
    assert ti6_problems(relaxed) == []
    assert len(find_operations(BondGraph(relaxed), 0.05)) == 12
    for i in (i for i, symbol in enumerate(relaxed.symbols) if symbol == "Ti"):
        assert lengths_to_oxygen(relaxed, i) == pytest.approx([1.708, 1.762, 1.762, 2.105, 2.105, 2.335], abs=0.03)
