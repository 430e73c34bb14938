"""The records in the package: whole, consistent with the code, and close to an independent run and to the paper."""

import io

import numpy as np
import pytest

from alkaflow.errors import BadInputError
from alkaflow.levels import KohnSham
from alkaflow.structures import Structure, classify_guest, hatcn
from alkaflow.workflows import load_study, make_plan, read_orbital_file, shipped_bundle, shipped_studies, shipped_table
from alkaflow.workflows.bundle import orbital_path

# The same method run by hand with PySCF and tblite, before alkaflow existed [eV].
INDEPENDENT = {"Li1": -3.43, "Li2": -2.71, "Li3": -1.42, "Na1": -2.50, "Na2": -2.11}


def test_the_shipped_table() -> None:
    table = shipped_table("hatcn", "published-sp")
    assert table.complete
    computed = {row.label: row.computed_ev for row in table.rows}
    assert {label: computed[label] for label in INDEPENDENT} == pytest.approx(INDEPENDENT, abs=0.03)
    assert [check.verdict for check in table.checks] == ["holds"] * 3
    for row in table.rows:
        assert row.final_site == row.start_site
        assert row.s_squared == pytest.approx(0.76, abs=0.02)
        assert 0.4 < row.guest_charge["mulliken"] < 0.9  # charge goes from the metal to HATCN, as the paper says


@pytest.mark.parametrize("protocol", ["published-sp", "screen"])
def test_shipped_records_belong_to_todays_plan(protocol: str) -> None:
    source = load_study("hatcn")
    bundle = shipped_bundle("hatcn", protocol)
    plan = make_plan(source.study, protocol, source.folder)
    assert bundle.plan == plan
    assert [record.id for record in bundle.records] == list(plan.calculations)


@pytest.mark.parametrize("protocol", ["published-sp", "screen"])
def test_shipped_orbitals_give_the_charges(protocol: str) -> None:
    """Electrons and Mulliken charges from the stored orbitals, by their definition."""
    from alkaflow.workflows.pyscf_engine import build_molecule

    bundle = shipped_bundle("hatcn", protocol)
    path = orbital_path(shipped_studies()["hatcn"] / f"{protocol}.json")
    for record in bundle.records:
        if record.step == "relax":
            assert record.orbitals is None
            continue
        assert record.orbitals is not None
        assert isinstance(record.level_of_theory, KohnSham)
        with np.load(io.BytesIO(read_orbital_file(path, record.orbitals.sha256)), allow_pickle=False) as arrays:
            orbitals = {name: arrays[name] for name in arrays.files}
        if record.formula != "C18LiN12":
            continue
        structure = Structure(tuple(record.symbols), np.array(record.positions_angstrom), 0, 2)
        molecule = build_molecule(structure, record.level_of_theory, 1000)
        overlap = molecule.intor("int1e_ovlp")
        populations = np.zeros(molecule.nao)
        for spin in ("alpha", "beta"):
            occupied = orbitals[f"coefficients_{spin}"]
            assert np.abs(occupied.T @ overlap @ occupied - np.eye(occupied.shape[1])).max() < 1e-8
            populations += np.einsum("pi,pi->p", occupied, overlap @ occupied)
        assert populations.sum() == pytest.approx(195, abs=1e-6)
        lithium = [label[0] == 30 for label in molecule.ao_labels(fmt=None)]
        assert record.populations is not None
        assert 3 - populations[lithium].sum() == pytest.approx(record.populations.charges["mulliken"][30], abs=1e-4)


def test_metals_sit_where_gfn2_puts_them() -> None:
    """Distances of an independent GFN2-xTB run: Li-N 1.935 and 1.927, Na-N 2.242 and 2.176 Angstrom, in the plane."""
    expected = {"Li1": 1.935, "Li2": 1.927, "Na1": 2.242, "Na2": 2.176}
    bundle = shipped_bundle("hatcn", "published-sp")
    for row in bundle.plan.rows:
        positions = np.array(bundle.by_id[row.complex_leg.energy].positions_angstrom)
        assert classify_guest(hatcn(), positions, row.guest, row.site).verdict == "stayed"
        if row.label in expected:
            nearest = np.sort(np.linalg.norm(positions[:30] - positions[30], axis=1))[:2]
            assert nearest == pytest.approx([expected[row.label]] * 2, abs=0.02)


def test_what_is_not_shipped_is_said() -> None:
    with pytest.raises(BadInputError, match="ships no records for composite; it has published-sp, screen"):
        shipped_table("hatcn", "composite")
    with pytest.raises(BadInputError, match="run: alkaflow reproduce dicyanopyrazine"):
        shipped_table("dicyanopyrazine")
