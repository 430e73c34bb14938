"""Where a guest prefers to be: for every host and guest the places where rows ended, with Boltzmann weights.

With the energy E, the number g of equivalent places and the multiplicity 2S+1 of every state i of every place::

    w(i) = g(i) (2S(i)+1) exp(-E(i)/kT) / sum over j of g(j) (2S(j)+1) exp(-E(j)/kT)
    <E>  = sum over i of w(i) E(i)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from alkaflow.analysis.states import NOT_YET
from alkaflow.analysis.table import Table, TableRow
from alkaflow.errors import BadInputError
from alkaflow.units import BOLTZMANN_EV

TEMPERATURE = 298.15
"""Of Boltzmann weights, where no other is asked for [K]."""

_LEAST = 0.005  # weight that a line names


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlaceState(_Frozen):
    """One spin multiplicity at a place: the lowest energy of all rows that ended there."""

    multiplicity: int
    energy_ev: float
    weight: float
    row: str = Field(description="label of the row that has it")
    calculation: str


class Place(_Frozen):
    """A place where guests ended, from whichever rows; ``above_ev`` counts from the best place."""

    place: str = Field(description="as start_site of a row")
    label: str
    rows: list[str] = Field(description="labels of the rows that ended there")
    site_multiplicity: int = Field(description="number of equivalent places")
    energy_ev: float
    above_ev: float
    published_above_ev: float | None = Field(
        description="the same of the published energies of the rows that start at these two places and stay"
    )
    difference_ev: float | None = Field(description="computed less published")
    weight: float = Field(description="of all its spin states")
    states: list[PlaceState]


class LeftOut(_Frozen):
    """A row, or one of its spin states, that no weight counts."""

    row: str
    multiplicity: int | None = Field(default=None, description="2S+1 of the state; null for the whole row")
    reason: str
    energy_ev: float | None = Field(default=None, description="where it has one, but no known place")

    @property
    def name(self) -> str:
        """The row, and which of its states."""
        return self.row if self.multiplicity is None else f"{self.row} with 2S+1 = {self.multiplicity}"


class Preference(_Frozen):
    """All places of a guest on a host, the best first; of several guests the energies of all together."""

    host: str
    guest: str
    guests: int
    level: str
    rows: int = Field(description="number of rows, also of those left out")
    temperature_k: float
    lowest_ev: float | None
    average_ev: float | None
    places: list[Place]
    left_out: list[LeftOut]


def site_preferences(table: Table, temperature: float = TEMPERATURE) -> list[Preference]:
    """Compare the places of every guest on every host of a table.

    Parameters
    ----------
    table
        With whatever rows there are; what has no energy or ended at no known place is left out and named.
    temperature
        Of the weights [K].

    Raises
    ------
    BadInputError
        The temperature is not positive.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise BadInputError(f"weights need a positive temperature, not {temperature:g} K")
    groups: dict[tuple[str, str, int, str], list[TableRow]] = {}
    for row in table.rows:
        groups.setdefault((row.host, row.guest, row.guests, row.level), []).append(row)
    return [_preference(rows, temperature, table.energies == "total") for rows in groups.values()]


@dataclass(frozen=True)
class _State:
    """A spin state of a row at a place; energy [eV]."""

    row: TableRow
    multiplicity: int
    energy: float
    place: str
    places: int
    calculation: str


def _preference(rows: Sequence[TableRow], temperature: float, totals: bool) -> Preference:
    found = [one for row in rows for one in _states_of(row)]
    states: dict[tuple[str, int], _State] = {}
    ended: dict[str, list[str]] = {}
    for state in (one for one in found if isinstance(one, _State)):
        key = (state.place, state.multiplicity)
        states[key] = min(states.get(key, state), state, key=lambda one: one.energy)
        ended.setdefault(state.place, []).append(state.row.label)
    weights = _weights(list(states.values()), temperature)
    average = sum(weight * state.energy for weight, state in zip(weights, states.values(), strict=True))
    weighted = list(zip(states.values(), weights, strict=True))
    starts = {row.start_site: row for row in rows if row.final_place == row.start_site}
    grouped = [[one for one in weighted if one[0].place == place] for place in ended]
    grouped = sorted((sorted(group, key=_energy) for group in grouped), key=lambda group: _energy(group[0]))
    best = grouped[0][0][0] if grouped else None
    first = rows[0]
    return Preference(
        host=first.host,
        guest=first.guest,
        guests=first.guests,
        level=first.level,
        rows=len(rows),
        temperature_k=temperature,
        lowest_ev=best.energy if best else None,
        average_ev=average if best else None,
        places=[_place(group, best, ended[group[0][0].place], starts, totals) for group in grouped if best],
        left_out=[one for one in found if isinstance(one, LeftOut)],
    )


def _energy(weighted: tuple[_State, float]) -> float:
    return weighted[0].energy


def _weights(states: Sequence[_State], temperature: float) -> list[float]:
    lowest = min((state.energy for state in states), default=0.0)
    shares = [
        state.places * state.multiplicity * math.exp(-(state.energy - lowest) / (BOLTZMANN_EV * temperature))
        for state in states
    ]
    return [share / sum(shares) for share in shares]


def _states_of(row: TableRow) -> Iterator[_State | LeftOut]:
    """The spin states of a row, each with its energy and place, or why it has none."""
    energy = row.total_ev if row.guests > 1 else row.computed_ev
    if energy is None or row.multiplicity is None:
        yield LeftOut(row=row.label, reason=row.problem or NOT_YET)
        return
    several = [state for state in row.states if state.part == "complex"]
    if len(several) < 2:
        yield _state(
            row, row.multiplicity, energy, row.final_place, row.final_multiplicity, row.calculations["complex"]
        )
        return
    for state in several:
        if state.above_lowest_ev is None:
            yield LeftOut(row=row.label, multiplicity=state.multiplicity, reason=state.problem or NOT_YET)
        else:
            height, place, places = state.above_lowest_ev, state.final_place, state.final_multiplicity
            yield _state(row, state.multiplicity, energy + height, place, places, state.calculation)


def _state(
    row: TableRow, multiplicity: int, energy: float, place: str | None, places: int | None, calculation: str
) -> _State | LeftOut:
    if place is not None and places is not None:
        return _State(row, multiplicity, energy, place, places, calculation)
    if multiplicity == row.multiplicity:
        return LeftOut(row=row.label, reason=row.final_label, energy_ev=energy)
    return LeftOut(row=row.label, multiplicity=multiplicity, reason="at no known place", energy_ev=energy)


def _place(
    group: list[tuple[_State, float]], best: _State, ended: list[str], starts: dict[str, TableRow], totals: bool
) -> Place:
    lowest = group[0][0]
    start, above = starts.get(lowest.place), lowest.energy - best.energy
    published = _published_above(start, starts.get(best.place), totals)
    return Place(
        place=lowest.place,
        label=start.site_label if start else lowest.row.final_label,
        rows=list(dict.fromkeys(ended)),
        site_multiplicity=lowest.places,
        energy_ev=lowest.energy,
        above_ev=above,
        published_above_ev=published,
        difference_ev=None if published is None else above - published,
        weight=sum(weight for _, weight in group),
        states=[
            PlaceState(
                multiplicity=state.multiplicity,
                energy_ev=state.energy,
                weight=weight,
                row=state.row.label,
                calculation=state.calculation,
            )
            for state, weight in group
        ],
    )


def _published_above(row: TableRow | None, best: TableRow | None, totals: bool) -> float | None:
    """Difference of two published energies [eV]; None where they have no common zero.

    Stepwise energies of several guests have one where both add to the same complex.
    """
    if row is None or best is None or row.published_ev is None or best.published_ev is None:
        return None
    if row.guests > 1 and not totals and row.calculations.get("before") != best.calculations.get("before"):
        return None
    return row.published_ev - best.published_ev


# --- in words --------------------------------------------------------------------------------------------------------


def preference_line(preference: Preference) -> str | None:
    """One line on the places of a guest; None where there is but one row, or nothing to compare."""
    if preference.rows < 2 or preference.average_ev is None:
        return None
    several = "" if preference.guests == 1 else f"{preference.guests} "
    names = place_names(preference)
    best, *others = names
    shares = [
        f"{name} {100 * place.weight:.0f}%"
        for name, place in zip(names, preference.places, strict=True)
        if place.weight >= _LEAST
    ]
    line = f"at {preference.temperature_k:g} K: {several}{preference.guest} on {preference.host} "
    line += f"{preference.average_ev:.2f} eV ({', '.join(shares)})"
    above = [
        f"{name} {place.above_ev:+.2f}{_published(place)}"
        for name, place in zip(others, preference.places[1:], strict=True)
    ]
    line += f"; above {best}: {', '.join(above)}" if above else ""
    moved = [f"{', '.join(place.rows)} at {name}" for name, place in zip(names, preference.places, strict=True)
             if len(place.rows) > 1]  # fmt: skip
    line += f"; ended: {'; '.join(moved)}" if moved else ""
    without = [
        one.name if one.energy_ev is None else f"{one.name} ({one.reason}, {one.energy_ev:.2f} eV)"
        for one in preference.left_out
    ]
    return line + (f"; without {', '.join(without)}" if without else "")


def place_names(preference: Preference) -> list[str]:
    """The label of each place, with its id where labels repeat."""
    labels = [place.label for place in preference.places]
    return [
        label if labels.count(label) == 1 else f"{place.place} {label}"
        for label, place in zip(labels, preference.places, strict=True)
    ]


def _published(place: Place) -> str:
    return "" if place.published_above_ev is None else f" (published {place.published_above_ev:+.2f})"
