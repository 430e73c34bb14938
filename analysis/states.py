"""Which spin state of a leg counts, and what there is to say about the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from alkaflow.plans import Leg, Plan
from alkaflow.records import ElectronicState, Record
from alkaflow.units import HARTREE_EV

NOT_YET = "not computed yet"


class SpinState(BaseModel):
    """One spin multiplicity of a complex or a host that was computed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: str = Field(description="complex, before (all guests but the last) or host")
    multiplicity: int
    above_lowest_ev: float | None = Field(description="energy over the lowest computed multiplicity [eV]")
    s_squared: float | None = None
    calculation: str
    problem: str | None = None
    final_place: str | None = Field(default=None, description="of a complex: where its guests ended")
    final_multiplicity: int | None = Field(default=None, description="number of places equivalent to it")
    searched: list[ElectronicState] = Field(
        default_factory=list, description="electronic states of this multiplicity that a search found"
    )


@dataclass(frozen=True)
class Chosen:
    """The lowest spin state of a leg: its number among `Leg.states`, the leg, and the record of its energy."""

    number: int
    leg: Leg
    record: Record


def choose_lowest(leg: Leg, records: Mapping[str, Record]) -> Chosen | None:
    """The state of lowest energy among those that have a record; None where none has."""
    there = [Chosen(k, state, records[state.energy]) for k, state in enumerate(leg.states) if state.energy in records]
    return min(there, key=lambda chosen: chosen.record.energy_hartree, default=None)


def failure_of(leg: Leg, problems: Mapping[str, str]) -> str | None:
    """The sentence on the first calculation of one state that failed."""
    return next((f"{calculation}: {problems[calculation]}" for calculation in leg.ids if calculation in problems), None)


def problem_of(legs: list[Leg], records: Mapping[str, Record], problems: Mapping[str, str]) -> str | None:
    """Why some leg has no energy: none of its states has a record, or one has neither record nor failure."""
    open_states = []
    for leg in legs:
        missing = [state for state in leg.states if state.energy not in records]
        failures = [failure_of(state, problems) for state in missing]
        if failures and failures[0] and len(missing) == len(leg.states):
            return failures[0]
        open_states += [failure for failure in failures if failure is None]
    return NOT_YET if open_states else None


def heights_ev(states: Sequence[ElectronicState]) -> list[float]:
    """Energies of states above the first [eV]: at the level of the calculation where both were computed there.

    One that is lower at the cheap level and did not converge at that of the calculation is left out.
    """
    first = states[0]

    def height(state: ElectronicState) -> float:
        if state.refined_hartree is None or first.refined_hartree is None:
            return state.energy_hartree - first.energy_hartree
        return state.refined_hartree - first.refined_hartree

    return [height(state) * HARTREE_EV for state in states if height(state) >= 0]


def spin_states_of(
    part: str, leg: Leg, plan: Plan, records: Mapping[str, Record], problems: Mapping[str, str]
) -> list[SpinState]:
    """Every spin state of a leg with its energy; empty for a leg of one, unless its electronic states were searched."""
    lowest = choose_lowest(leg, records)
    found = [_state(part, state, lowest, plan, records, problems) for state in leg.states]
    return found if len(found) > 1 or found[0].searched else []


def _state(
    part: str,
    leg: Leg,
    lowest: Chosen | None,
    plan: Plan,
    records: Mapping[str, Record],
    problems: Mapping[str, str],
) -> SpinState:
    record = records.get(leg.energy)
    above = None
    if record is not None and lowest is not None:
        above = (record.energy_hartree - lowest.record.energy_hartree) * HARTREE_EV
    return SpinState(
        part=part,
        multiplicity=plan.calculations[leg.energy].multiplicity,
        above_lowest_ev=above,
        s_squared=record.s_squared if record else None,
        calculation=leg.energy,
        problem=None if record else failure_of(leg, problems) or NOT_YET,
        searched=[state for calculation in leg.ids if calculation in records for state in records[calculation].states],
    )
