"""Graphene flakes: formulas, bond lengths, symmetry, and the four donors of a metal."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alkaflow.errors import UnknownNameError
from alkaflow.levels import Xtb
from alkaflow.structures.flakes import FLAKE_HOSTS, doped_flake, flake, metal_flake
from alkaflow.structures.graph import BondGraph
from alkaflow.structures.spin import METAL_MULTIPLICITIES
from alkaflow.structures.structure import Structure
from alkaflow.structures.symmetry import find_operations
from alkaflow.workflows.progress import Progress
from alkaflow.workflows.xtb_engine import run_xtb


def symmetry_order(structure: Structure) -> int:
    return len(find_operations(BondGraph(structure), 1e-6))


@pytest.mark.parametrize(
    ("name", "formula", "rings", "order"),
    [
        ("pyrene", "C16H10", 4, 8),
        ("coronene", "C24H12", 7, 24),
        ("ovalene", "C32H14", 10, 8),
        ("circumpyrene", "C42H16", 14, 8),
        ("circumovalene", "C66H20", 24, 8),
    ],
)
def test_pristine(name: str, formula: str, rings: int, order: int) -> None:
    host = flake(name)
    assert (host.name, host.formula, host.multiplicity) == (name, formula, 1)
    assert len(BondGraph(host).rings) == rings
    assert symmetry_order(host) == order  # D2h, D6h for coronene
    assert np.abs(host.positions[:, 2]).max() == 0.0
    assert np.allclose(host.positions.mean(axis=0), 0.0, atol=1e-12)
    lengths = {
        (host.symbols[j], round(float(np.linalg.norm(host.positions[i] - host.positions[j])), 9))
        for i, j in BondGraph(host).bonds
    }
    assert lengths == {("C", 1.42), ("H", 1.09)}


@pytest.mark.parametrize(
    ("name", "doping", "formula", "multiplicity", "neighbours"),
    [
        ("coronene", "graphitic-n", "C23H12N", 2, 3),
        ("pyrene", "graphitic-n", "C15H10N", 2, 3),
        ("coronene", "pyridinic-n", "C23H11N", 1, 2),
        ("circumpyrene", "pyridinic-n", "C41H15N", 1, 2),
    ],
)
def test_one_nitrogen(name: str, doping: str, formula: str, multiplicity: int, neighbours: int) -> None:
    host = doped_flake(name, doping)
    assert (host.name, host.formula, host.multiplicity) == (f"{name}-{doping}", formula, multiplicity)
    assert BondGraph(host).coordination("N") == [Counter(C=neighbours)]
    radii = np.linalg.norm(host.positions, axis=1)
    if doping == "graphitic-n":
        assert radii[host.symbols.index("N")] == pytest.approx(radii.min())


@pytest.mark.parametrize(
    ("name", "formula", "atoms"),
    [
        ("pyrene", "C10H10FeN4", 25),
        ("ovalene", "C26H14FeN4", 45),
        ("circumpyrene", "C36H16FeN4", 57),
        ("circumovalene", "C60H20FeN4", 85),
    ],
)
def test_iron_in_four_nitrogens(name: str, formula: str, atoms: int) -> None:
    host = metal_flake("Fe", "n4", name)
    assert (host.formula, len(host), host.multiplicity) == (formula, atoms, 3)
    graph = BondGraph(host)
    assert sorted(host.symbols[j] for j in graph.neighbours[0]) == ["N"] * 4
    assert [np.linalg.norm(host.positions[j]) for j in graph.neighbours[0]] == pytest.approx(
        [1.323 * 1.42] * 4, abs=1e-3
    )
    assert BondGraph(host).coordination("N") == [Counter(C=2, Fe=1)] * 4
    assert symmetry_order(host) == 8


@pytest.mark.parametrize(
    ("coordination_name", "name", "formula", "order"),
    [
        ("n2o2", "pyrene", "C8H8N2NiO2", 4),
        ("n2o2", "ovalene", "C24H16N2NiO2", 4),
        ("o4", "pyrene", "C6H6NiO4", 8),  # bis(malonaldehyde enolate)
        ("o4", "ovalene", "C22H18NiO4", 8),
        ("o4", "circumovalene", "C56H24NiO4", 8),
    ],
)
def test_oxygen_has_one_carbon(coordination_name: str, name: str, formula: str, order: int) -> None:
    host = metal_flake("Ni", coordination_name, name)
    assert host.formula == formula
    oxygens = BondGraph(host).coordination("O")
    assert oxygens == [Counter(C=1, Ni=1)] * len(oxygens)
    assert symmetry_order(host) == order  # C2v: both N on one side; D2h
    assert all(sum(c.values()) == 3 for c in BondGraph(host).coordination("C"))


def test_the_nitrogens_of_n2o2_share_a_chelate_ring() -> None:
    host = metal_flake("Co", "n2o2", "circumpyrene")
    chelates = [ring for ring in BondGraph(host).rings if 0 in ring and len(ring) <= 6]
    elements = sorted("".join(sorted(host.symbols[i] for i in ring)) for ring in chelates)
    assert elements == ["CCCCoNO", "CCCCoNO", "CCCoNN"]


@pytest.mark.parametrize("metal", METAL_MULTIPLICITIES)
@pytest.mark.parametrize("donors", ["n4", "n2o2", "o4"])
def test_every_metal(metal: str, donors: str) -> None:
    for name in ("pyrene", "ovalene", "circumpyrene", "circumovalene"):
        host = FLAKE_HOSTS[f"{metal.lower()}-{donors}-{name}"]()
        assert host.name == f"{metal.lower()}-{donors}-{name}"
        assert host.multiplicity == METAL_MULTIPLICITIES[metal][0]
        assert host.charge == 0
        expected = {"n4": Counter(N=4), "n2o2": Counter(N=2, O=2), "o4": Counter(O=4)}[donors]
        assert BondGraph(host).coordination(metal) == [expected]
        assert BondGraph(host).fragments == 1
        assert host.positions[0].tolist() == [0.0, 0.0, 0.9 if metal == "Zr" else 0.0]


def test_names_of_the_table() -> None:
    assert len(FLAKE_HOSTS) == 5 + 10 + 7 * 3 * 4
    assert all(build().name == name for name, build in FLAKE_HOSTS.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Fa", "n4", "pyrene"), "unknown metal in a flake 'Fa'"),
        (("Fe", "n5", "pyrene"), "did you mean 'n4'"),
        (("Fe", "n4", "coronene"), "unknown flake with a bond at its centre 'coronene'"),
    ],
)
def test_unknown_metal_flakes(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        metal_flake(*arguments)


def test_unknown_flakes() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pyrene'"):
        flake("pyrenne")
    with pytest.raises(UnknownNameError, match="did you mean 'graphitic-n'"):
        doped_flake("pyrene", "graphitic")


@pytest.mark.parametrize("name", ["zn-n4-pyrene", "zn-n2o2-pyrene", "zn-o4-ovalene", "coronene-graphitic-n"])
def test_relaxation_keeps_every_bond(name: str, tmp_path: Path) -> None:
    start = FLAKE_HOSTS[name]()
    result = run_xtb(start, Xtb(max_force=0.05), relax=True, progress=Progress(tmp_path))
    assert BondGraph(start.with_positions(result.positions)).bonds == BondGraph(start).bonds
