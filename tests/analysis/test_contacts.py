"""Contacts against distances and angles by hand."""

import numpy as np
import pytest

from alkaflow.analysis.contacts import find_contacts
from alkaflow.structures import Structure


def test_a_bent_hydrogen_bond_by_hand() -> None:
    """H-O-H with F- at 2 Angstrom from one hydrogen, 150 degrees off its bond; radii of H 1.10 or 1.20, F 1.47."""
    bond, apart = 0.96, 2.0
    hydrogen = np.array([bond, 0, 0])
    fluoride = hydrogen + apart * np.array([np.cos(np.radians(30)), np.sin(np.radians(30)), 0])
    other = bond * np.array([np.cos(np.radians(104.5)), -np.sin(np.radians(104.5)), 0])
    complex_ = Structure(("O", "H", "H", "F"), np.array([[0, 0, 0], hydrogen, other, fluoride]), charge=-1)
    found = find_contacts(complex_, 3)
    first = found[0]
    assert (first.guest_atom, first.host_atom, first.through) == (3, 1, 0)
    assert first.angstrom == pytest.approx(apart)
    assert first.angle_degrees == pytest.approx(150)
    assert first.text(complex_.symbols) == "F3..H1-O0"
    assert apart / 2.67 - 1e-6 < first.of_van_der_waals < apart / 2.57 + 1e-6
    assert {contact.host_atom for contact in found} == {0, 1}  # O..F is within 1.52 + 1.47, the other H is not
    assert [contact.of_van_der_waals for contact in found] == sorted(c.of_van_der_waals for c in found)
    assert len(find_contacts(complex_, 3, within=0.5)) == 0


def test_the_hydrogen_may_be_the_guests() -> None:
    """H-F at water's oxygen, straight: the contact goes through fluorine."""
    places = np.array([[0, 0, 0], [-0.6, 0.75, 0], [-0.6, -0.75, 0], [1.8, 0, 0], [2.72, 0, 0]])
    complex_ = Structure(("O", "H", "H", "H", "F"), places)
    first = find_contacts(complex_, 3)[0]
    assert (first.guest_atom, first.host_atom, first.through) == (3, 0, 4)
    assert first.angle_degrees == pytest.approx(180)
    assert first.text(complex_.symbols) == "F4-H3..O0"


def test_a_metal_has_contacts_without_angles() -> None:
    complex_ = Structure(("N", "N", "Li"), np.array([[0, 0, 0], [1.1, 0, 0], [-2.0, 0, 0]]))
    nearest, *rest = find_contacts(complex_, 2)
    assert (nearest.host_atom, nearest.angle_degrees, nearest.through) == (0, None, None)
    assert [contact.host_atom for contact in rest] == [1]
