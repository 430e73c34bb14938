"""A plan: the rows of a table and the calculations behind them, all ids known before anything runs."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alkaflow.calculations import CalculationInput, Position
from alkaflow.studies import Study


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedHost(_Part):
    """A host as it was built [Angstrom], for finding the guest's final site."""

    symbols: list[str]
    positions_angstrom: list[Position]
    charge: int
    multiplicity: int


class Halves(_Part):
    """Energies of the two halves of a complex at its geometry, by id, to take its adsorption energy apart.

    The host may have several spin states: then there is one entry for every one, in the order of its `Leg.states`.
    """

    host: list[str] = Field(min_length=1)
    guest: str = Field(description="of an atom, the energy of its own leg")
    host_in_basis: list[str] = Field(default_factory=list, description="with the basis functions of the whole complex")
    guest_in_basis: str | None = None

    @property
    def ids(self) -> list[str]:
        """All of them."""
        return [*self.host, self.guest, *self.host_in_basis, *([self.guest_in_basis] if self.guest_in_basis else [])]


class Leg(_Part):
    """The calculations of one leg of an adsorption energy, in order; the last gives the energy."""

    ids: list[str] = Field(min_length=1)
    frequencies: str | None = None
    properties: str | None = Field(default=None, description="charges and electrostatic potential of the energy")
    halves: Halves | None = Field(default=None, description="of a complex, where the study asks for its parts")
    others: "list[Leg]" = Field(default_factory=list, description="the same structure in other spin multiplicities")

    @property
    def energy(self) -> str:
        """Id of the calculation that gives the energy."""
        return self.ids[-1]

    @property
    def states(self) -> "list[Leg]":
        """All of them, itself first; the lowest energy counts."""
        return [self, *self.others]


class PlanRow(_Part):
    """One row: a guest at a site of a host, or several of them at several sites."""

    label: str
    host: str
    guest: str
    site: str = Field(description="id of the site where the guest starts; of several guests their places, joined by +")
    site_kind: str
    site_label: str
    site_multiplicity: int
    published_ev: float | None = None
    tolerance_ev: float | None = None
    source: str | None = None
    level: str | None = Field(default=None, description="where it is not that of the plan: a substituted basis")
    complex_leg: Leg
    host_leg: Leg
    guest_leg: Leg
    before_leg: Leg | None = Field(default=None, description="of several guests: the host with all but the last")

    @property
    def places(self) -> list[str]:
        """Ids of the sites, or of their members where there are several guests, guest by guest."""
        return self.site.split(PLACES_JOINT)

    @property
    def legs(self) -> Iterator[Leg]:
        """Every leg once, in every spin state."""
        for leg in (self.complex_leg, self.before_leg, self.host_leg, self.guest_leg):
            if leg is not None:
                yield from leg.states


PLACES_JOINT = " + "
"""Between the places of several guests."""


class Plan(_Part):
    """Everything a study needs computed under a protocol."""

    schema_version: Literal[1] = 1
    study: Study
    protocol: str
    level: str
    hosts: dict[str, PlannedHost]
    rows: list[PlanRow]
    alone: dict[str, Leg] = Field(default_factory=dict, description="hosts without a row, by name")
    calculations: dict[str, CalculationInput] = Field(description="by id, parents before children")
    titles: dict[str, str] = Field(description="what each calculation is, for people")


class SingleRun(_Part):
    """The steps of one structure, outside any study."""

    study: None = None
    calculations: dict[str, CalculationInput] = Field(description="by id, parents before children")
    titles: dict[str, str] = Field(description="what each calculation is, for people")
