"""Complexes: a guest placed at a site of a host, and where it is found after a relaxation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alkaflow.calculations import lowest_multiplicity
from alkaflow.errors import BadInputError
from alkaflow.structures.guests import get_guest
from alkaflow.structures.sites import Site, find_sites
from alkaflow.structures.structure import FloatArray, Structure

_STAYS_WITHIN = 1.3  # of the ideal position of a site [Angstrom]
_BOUND_WITHIN = 1.6  # times the donor distance, from the nearest host atom


@dataclass(frozen=True)
class Complex:
    """A host with a guest at a site. The host's atoms come first, in the host's order.

    ``structure`` holds all atoms; ``fragments`` names the atoms (0-based) of each fragment.
    """

    structure: Structure
    host: Structure
    guest: str
    site: Site

    @property
    def fragments(self) -> dict[str, tuple[int, ...]]:
        """Atom indices by fragment."""
        n = len(self.host)
        return {"host": tuple(range(n)), "guest": tuple(range(n, len(self.structure)))}


@dataclass(frozen=True)
class FinalSite:
    """Where a guest ended: ``stayed``, ``migrated`` (to a known site or elsewhere) or ``dissociated``."""

    verdict: Literal["stayed", "migrated", "dissociated"]
    site: str | None
    label: str


def build_complex(host: Structure, guest: str, site: Site) -> Complex:
    """Place a guest at a site.

    Raises
    ------
    UnknownNameError
        The guest is not known.
    BadInputError
        The guest would overlap the host.
    """
    atom = get_guest(guest)
    symbols = (*host.symbols, atom.symbol)
    positions = np.vstack([host.positions, site.position])
    charge = host.charge + atom.charge
    # The guest's spin adds to the host's; a closed-shell host leaves the guest's own multiplicity.
    multiplicity = host.multiplicity + atom.multiplicity - 1 if host.multiplicity == 1 else 0
    name = f"{guest}@{host.name or host.formula}/{site.id}"
    try:
        structure = Structure(symbols, positions, charge, multiplicity or lowest_multiplicity(symbols, charge), name)
    except BadInputError as error:
        raise BadInputError(f"cannot place {guest} at {site.id} of {host.name or host.formula}: {error}") from None
    return Complex(structure, host, guest, site)


def classify_guest(host: Structure, positions: FloatArray, guest: str, start: str) -> FinalSite:
    """Say at which site of the host a guest sits after a relaxation.

    The sites are those of the undistorted host; their places are computed again from where their anchors are now.

    Parameters
    ----------
    host
        The host as it was built.
    positions
        Of the relaxed complex [Angstrom], host atoms first, the guest last, shape=(n_host + 1, 3).
    guest
        Name of the guest.
    start
        Id of the site where it started.

    Raises
    ------
    BadInputError
        The number of positions is not that of host and guest.
    """
    if len(positions) != len(host) + 1:
        raise BadInputError(f"expected {len(host) + 1} positions, host and one guest; got {len(positions)}")
    metal, atoms = positions[-1], positions[:-1]
    reach = get_guest(guest).donor_distance
    nearest = float(np.linalg.norm(atoms - metal, axis=1).min())
    if nearest > _BOUND_WITHIN * reach:
        return FinalSite("dissociated", None, f"dissociated ({nearest:.2f} Angstrom from the nearest atom)")
    best, best_distance = None, np.inf
    for site in find_sites(host, guest):
        for member in site.members:
            distance = _distance_from_ideal(host, atoms, metal, member.anchors, member.position)
            if distance < best_distance:
                best, best_distance = site, distance
    if best is None or best_distance > _STAYS_WITHIN:
        return FinalSite("migrated", None, "at no known site")
    return FinalSite("stayed" if best.id == start else "migrated", best.id, best.label)


def _distance_from_ideal(
    host: Structure,
    atoms: FloatArray,
    metal: FloatArray,
    anchors: tuple[int, ...],
    position: FloatArray,
) -> float:
    """Distance of the metal from a place that moves with its anchors and their neighbourhood [Angstrom]."""
    from alkaflow.structures.symmetry import best_rotation

    near = np.argsort(np.linalg.norm(host.positions - position, axis=1))[: max(8, len(anchors) + 4)]
    frame = np.union1d(near, anchors)
    before, after = host.positions[frame], atoms[frame]
    rotation = best_rotation(before - before.mean(axis=0), after - after.mean(axis=0))
    ideal = after.mean(axis=0) + rotation @ (position - before.mean(axis=0))
    return float(np.linalg.norm(metal - ideal))
