"""A plan: the rows of a table and the calculations behind them, all ids known before anything runs."""

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


class Leg(_Part):
    """The calculations of one leg of an adsorption energy, in order; the last gives the energy."""

    ids: list[str] = Field(min_length=1)

    @property
    def energy(self) -> str:
        """Id of the calculation that gives the energy."""
        return self.ids[-1]


class PlanRow(_Part):
    """One row: a guest at a site of a host."""

    label: str
    host: str
    guest: str
    site: str = Field(description="id of the site where the guest starts")
    site_kind: str
    site_label: str
    site_multiplicity: int
    published_ev: float | None = None
    tolerance_ev: float | None = None
    source: str | None = None
    complex_leg: Leg
    host_leg: Leg
    guest_leg: Leg


class Plan(_Part):
    """Everything a study needs computed under a protocol."""

    schema_version: Literal[1] = 1
    study: Study
    protocol: str
    level: str
    hosts: dict[str, PlannedHost]
    rows: list[PlanRow]
    calculations: dict[str, CalculationInput] = Field(description="by id, parents before children")
    titles: dict[str, str] = Field(description="what each calculation is, for people")


class SingleRun(_Part):
    """The steps of one structure, outside any study."""

    study: None = None
    calculations: dict[str, CalculationInput] = Field(description="by id, parents before children")
    titles: dict[str, str] = Field(description="what each calculation is, for people")
