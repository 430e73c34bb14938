"""Parts of adsorption energies on real records: Li at the oxygen of a distorted water molecule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.data.cohesive_energies import cohesive_energy_kittel2005
from pyscf import dft, gto
from scipy.constants import physical_constants

from alkaflow.analysis.energies import (
    COHESIVE_ENERGY_EV,
    FragmentRecords,
    adsorption_energy_ev,
    decompose,
)
from alkaflow.calculations import CalculationInput
from alkaflow.elements import atomic_number
from alkaflow.errors import MismatchError
from alkaflow.levels import KohnSham
from alkaflow.records import Record, Vibrations
from alkaflow.workflows.steps import run_task
from alkaflow.workflows.task import Task

HARTREE = physical_constants["Hartree energy in eV"][0]
LEVEL = KohnSham(
    functional="b3lyp", dispersion="d3bj", basis="6-31g(d)", grid=2, energy_threshold=1e-10, gradient_threshold=1e-6
)
RELAXED = ((0.0, 0.0, 0.0), (0.757, 0.0, 0.586), (-0.757, 0.0, 0.586))
BOUND = ((0.0, 0.0, 0.0), (0.790, 0.0, 0.600), (-0.790, 0.0, 0.600))
LITHIUM = (0.0, 0.0, -1.9)


def compute(folder: Path, symbols: str, positions: tuple[tuple[float, ...], ...], spin: int, **more: object) -> Record:
    values = {
        "step": "energy",
        "level": LEVEL,
        "charge": 0,
        "multiplicity": spin + 1,
        "symbols": tuple(symbols.split()),
    }
    given = CalculationInput.model_validate(values | {"positions": positions} | more)
    assert given.positions is not None
    return run_task(Task(calculation=given, positions=given.positions, threads=1, memory_mb=1000), folder)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    folder = tmp_path_factory.mktemp("records")
    whole = (*BOUND, LITHIUM)
    return {
        "complex": compute(folder, "O H H Li", whole, 1),
        "host": compute(folder, "O H H", RELAXED, 0),
        "guest": compute(folder, "Li", ((0.0, 0.0, 0.0),), 1),
        "host frozen": compute(folder, "O H H", BOUND, 0),
        "host in basis": compute(folder, "O H H Li", whole, 0, ghosts=(3,)),
        "guest in basis": compute(folder, "O H H Li", whole, 1, ghosts=(0, 1, 2)),
    }


def halves(records: dict[str, Record]) -> tuple[FragmentRecords, FragmentRecords]:
    return (
        FragmentRecords(records["host"], records["host frozen"], records["host in basis"]),
        FragmentRecords(records["guest"], records["guest"], records["guest in basis"]),
    )


def energy_by_hand(atoms: str, spin: int, dispersion: bool) -> float:
    """PySCF as its manual has it, geometry as text [Hartree]."""
    molecule = gto.M(atom=atoms, basis="6-31g(d)", spin=spin, verbose=0)
    mean_field = dft.UKS(molecule, xc="b3lypg").density_fit(auxbasis="def2-universal-jkfit")
    mean_field.grids.level = 2
    mean_field.conv_tol = 1e-10
    mean_field.disp = "d3bj" if dispersion else None
    return float(mean_field.kernel())


def test_parts_add_up_and_agree_with_a_calculation_by_hand(records: dict[str, Record]) -> None:
    parts = decompose(records["complex"], *halves(records))
    whole = adsorption_energy_ev(records["complex"], records["host"], records["guest"])
    summed = parts.interaction.total + parts.host_deformation.total + parts.guest_deformation.total
    assert summed == pytest.approx(whole, abs=1e-9)
    assert parts.adsorption.total == pytest.approx(whole, abs=1e-9)

    water, stretched = ("; ".join(f"{s} {x} {y} {z}" for s, (x, y, z) in zip("OHH", at, strict=True))
                        for at in (RELAXED, BOUND))  # fmt: skip
    lithium = "Li 0 0 -1.9"
    atoms = {"complex": (f"{stretched}; {lithium}", 1), "host": (water, 0), "guest": (lithium, 1),
             "frozen": (stretched, 0)}  # fmt: skip
    by_hand = {
        part: {key: energy_by_hand(*given, dispersion) for key, given in atoms.items()}
        for part, dispersion in (("total", True), ("electronic", False))
    }
    for part, energies in by_hand.items():
        interaction = (energies["complex"] - energies["frozen"] - energies["guest"]) * HARTREE
        deformation = (energies["frozen"] - energies["host"]) * HARTREE
        assert getattr(parts.interaction, part) == pytest.approx(interaction, abs=2e-5)
        assert getattr(parts.host_deformation, part) == pytest.approx(deformation, abs=2e-5)
    assert parts.guest_deformation.total == 0
    assert parts.interaction.dispersion < 0 < parts.host_deformation.total


def test_counterpoise_agrees_with_ghosts_by_hand(records: dict[str, Record]) -> None:
    parts = decompose(records["complex"], *halves(records))
    water = "; ".join(f"{s} {x} {y} {z}" for s, (x, y, z) in zip("OHH", BOUND, strict=True))
    ghosts = "; ".join(f"ghost-{atom.strip()}" for atom in water.split(";"))
    host = energy_by_hand(water, 0, False) - energy_by_hand(f"{water}; ghost-Li 0 0 -1.9", 0, False)
    guest = energy_by_hand("Li 0 0 -1.9", 1, False) - energy_by_hand(f"{ghosts}; Li 0 0 -1.9", 1, False)
    assert parts.host_counterpoise == pytest.approx(host * HARTREE, abs=2e-5)
    assert parts.guest_counterpoise == pytest.approx(guest * HARTREE, abs=2e-5)
    assert parts.counterpoise == pytest.approx((host + guest) * HARTREE, abs=4e-5)
    # more functions never raise the energy; and the correction is no part of the sum
    assert host > 0
    assert guest > 0
    without = decompose(
        records["complex"],
        FragmentRecords(records["host"], records["host frozen"]),
        FragmentRecords(records["guest"], records["guest"]),
    )
    assert without.counterpoise is None
    assert without.adsorption == parts.adsorption


def test_parts_by_name_add_up(records: dict[str, Record]) -> None:
    parts = decompose(records["complex"], *halves(records))
    named = parts.as_dict()
    summed = named["interaction"] + named["host_deformation"] + named["guest_deformation"]
    assert summed == pytest.approx(parts.adsorption.total, abs=1e-12)
    for part in ("interaction", "host_deformation", "guest_deformation"):
        assert named[part] == pytest.approx(named[f"{part}_electronic"] + named[f"{part}_dispersion"], abs=1e-12)
    energies = [records[key].energy_components["dispersion"] for key in ("complex", "host", "guest")]
    assert named["dispersion"] == pytest.approx((energies[0] - energies[1] - energies[2]) * HARTREE, abs=1e-12)
    assert parts.dispersion_share == pytest.approx(named["dispersion"] / summed)
    assert "zero_point" not in named


def vibrating(record: Record, zero_point: float) -> Record:
    """The record of frequencies of the same structure, as far as its zero-point energy [Hartree] goes."""
    return record.model_copy(update={"vibrations": Vibrations.model_construct(zero_point_energy=zero_point)})


def test_zero_point_part(records: dict[str, Record]) -> None:
    host, guest = halves(records)
    host = replace(host, frequencies=vibrating(records["host"], 0.0210))
    whole = vibrating(records["complex"], 0.0230)
    parts = decompose(records["complex"], host, guest, whole)  # the guest is an atom, which does not vibrate
    assert parts.zero_point == pytest.approx(0.0020 * HARTREE)
    assert parts.as_dict()["zero_point"] == parts.zero_point
    assert parts.adsorption == decompose(records["complex"], host, guest).adsorption  # and it stays out of the sum
    assert decompose(records["complex"], host, guest).zero_point is None
    other = whole.model_copy(update={"level_of_theory": LEVEL.model_copy(update={"grid": 5})})
    with pytest.raises(MismatchError, match=r"frequencies of the complex .* grid 5 and 2"):
        decompose(records["complex"], host, guest, other)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        ("host frozen", {"level_of_theory": LEVEL.model_copy(update={"grid": 3})}, "frozen host .* grid 2 and 3"),
        ("host in basis", {"level_of_theory": LEVEL.model_copy(update={"dispersion": None})}, "'d3bj' and None"),
        ("host frozen", {"recipe": 2}, "recipes 1 and 2"),
        ("host frozen", {"positions_angstrom": RELAXED}, r"not at the geometry .* atom 1 \(H\) is 0.0358 Angstrom"),
        ("host frozen", {"symbols": ["H", "O", "H"]}, "atoms H O H, not those at its place"),
        ("host frozen", {"multiplicity": 3}, "frozen host .* has multiplicity 3, the relaxed one .* 1"),
        ("guest in basis", {"charge": 1}, "guest in the basis of the complex .* has charge 1, the relaxed one .* 0"),
        ("guest in basis", {"symbols": ["Li"]}, "not the basis functions of all atoms"),
        (
            "host in basis",
            {"positions_angstrom": (*BOUND, (0.0, 0.0, -2.0))},
            r"not at the geometry of complex .* atom 3 \(Li\) is 0.1000 Angstrom",
        ),
        ("guest", {"charge": 1}, r"charges \+0 and \+1 do not add up to \+0"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    records: dict[str, Record], which: str, change: dict[str, object], message: str
) -> None:
    changed = records | {which: records[which].model_copy(update=change)}
    with pytest.raises(MismatchError, match=message):
        decompose(changed["complex"], *halves(changed))


def test_a_level_without_dispersion_has_none(records: dict[str, Record]) -> None:
    bare = LEVEL.model_copy(update={"dispersion": None})
    plain = {
        key: record.model_copy(
            update={
                "level_of_theory": bare,
                "energy_components": {k: v for k, v in record.energy_components.items() if k != "dispersion"},
                "energy_hartree": record.energy_hartree - record.energy_components["dispersion"],
            }
        )
        for key, record in records.items()
    }
    with_it, without = (decompose(each["complex"], *halves(each)) for each in (records, plain))
    assert without.adsorption.dispersion == 0
    assert without.adsorption.total == pytest.approx(with_it.adsorption.electronic, abs=1e-9)


def test_several_guests_at_once(records: dict[str, Record]) -> None:
    """Twice the atoms, charges and energies: what is subtracted twice must be counted twice."""
    complex_ = records["complex"].model_copy(
        update={"symbols": ["O", "H", "H", "Li", "Li"], "energy_hartree": -91.5, "formula": "H2Li2O"}
    )
    energy = adsorption_energy_ev(complex_, records["host"], records["guest"], records["guest"])
    expected = -91.5 - records["host"].energy_hartree - 2 * records["guest"].energy_hartree
    assert energy == pytest.approx(expected * HARTREE)
    with pytest.raises(MismatchError, match="H2O and Li do not add up to H2Li2O"):
        adsorption_energy_ev(complex_, records["host"], records["guest"])


def test_cohesive_energies_are_those_that_ase_took_from_the_same_table() -> None:
    for symbol, energy in COHESIVE_ENERGY_EV.items():
        assert energy == cohesive_energy_kittel2005[atomic_number(symbol)]
    # 158 and 107 kJ/mol, as the table has them too
    joule = np.array([158.0, 107.0]) * 1e3 / physical_constants["Faraday constant"][0]
    assert [COHESIVE_ENERGY_EV["Li"], COHESIVE_ENERGY_EV["Na"]] == pytest.approx(joule, abs=0.01)
