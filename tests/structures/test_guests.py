"""Guests and the distances at which they start, against measured and computed geometries."""

import numpy as np
import pytest

from alkaflow.errors import UnknownNameError
from alkaflow.structures import GUESTS, get_guest
from alkaflow.structures.distances import contact_distance
from alkaflow.structures.graph import BondGraph

FORMULAS = {
    "Li": ("Li", 0, 2),
    "Na": ("Na", 0, 2),
    "K": ("K", 0, 2),
    "Zn": ("Zn", 0, 1),
    "Li+": ("Li", 1, 1),
    "Na+": ("Na", 1, 1),
    "K+": ("K", 1, 1),
    "Zn2+": ("Zn", 2, 1),
    "H": ("H", 0, 2),
    "PF6-": ("F6P", -1, 1),
    "TFSI-": ("C2F6NO4S2", -1, 1),
    "FSI-": ("F2NO4S2", -1, 1),
    "DOL": ("C3H6O2", 0, 1),
    "DME": ("C4H10O2", 0, 1),
    "EC": ("C3H4O3", 0, 1),
    "DMC": ("C3H6O3", 0, 1),
    "H2O": ("H2O", 0, 1),
    "Li2S4": ("Li2S4", 0, 1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_composition_charge_and_spin(name: str) -> None:
    guest = get_guest(name).structure
    assert (guest.formula, guest.charge, guest.multiplicity) == FORMULAS[name]
    assert BondGraph(guest).fragments == 1
    assert guest.positions.mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)


def test_every_guest_is_checked() -> None:
    assert set(FORMULAS) == set(GUESTS)


def test_unknown_guests_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'PF6-'"):
        get_guest("PF6")
    with pytest.raises(UnknownNameError, match="did you mean"):
        get_guest("TFSI")


# Metal-oxygen distances of M(H2O)+ in the gas phase (experiment and coupled cluster), to 0.1 Angstrom
@pytest.mark.parametrize(("ion", "distance"), [("Li+", 1.85), ("Na+", 2.24), ("K+", 2.62)])
def test_ions_start_where_water_holds_them(ion: str, distance: float) -> None:
    assert get_guest(ion).reach("O") == pytest.approx(distance, abs=0.1)


def test_an_ion_comes_closer_than_its_atom() -> None:
    for metal in ("Li", "Na", "K"):
        for donor in ("N", "O", "S"):
            assert get_guest(f"{metal}+").reach(donor) < get_guest(metal).reach(donor)


def test_other_contacts() -> None:
    # N-H..F of ammonium fluorides and aminobenzoates with PF6-: 1.9-2.3; hydrogen on nitrogen: 1.01-1.03
    assert 1.9 < get_guest("PF6-").reach("H", donates=False) < 2.3
    assert get_guest("H").reach("N") == pytest.approx(1.02, abs=0.05)
    # Li-Fe: sum of covalent radii 1.28 + 1.32
    assert contact_distance("Fe", "Li") == pytest.approx(2.60)
    # Ti-F in hexafluorotitanates 1.86, longer to a weak donor
    assert 1.8 < contact_distance("Ti", "F") < 2.4


def test_which_atoms_touch() -> None:
    symbols = {name: get_guest(name).structure.symbols for name in ("PF6-", "H2O", "TFSI-", "Li2S4", "EC")}

    def touching(name: str, donates: bool) -> set[str]:
        return {symbols[name][atom] for atom in get_guest(name).contacts(donates)}

    assert touching("PF6-", donates=False) == {"F"}
    assert touching("H2O", donates=True) == {"H"}
    assert touching("H2O", donates=False) == {"O"}
    assert touching("TFSI-", donates=False) == {"N", "O"}
    assert touching("Li2S4", donates=True) == {"Li"}
    assert touching("Li2S4", donates=False) == {"S"}
    assert touching("EC", donates=False) == {"O"}
    assert touching("EC", donates=True) == {"H"}


def test_hexafluorophosphate_is_an_octahedron() -> None:
    positions = get_guest("PF6-").structure.positions
    apart = np.linalg.norm(positions[1:, None] - positions[None, 1:], axis=-1)
    assert np.linalg.norm(positions[1:] - positions[0], axis=1) == pytest.approx([1.61] * 6)
    assert sorted(apart[0])[1:5] == pytest.approx([1.61 * np.sqrt(2)] * 4)
