"""The rows of a plan, each with all legs of its adsorption energy."""

from dataclasses import replace

from alkaflow.calculations import Constraint, Fragment, rounded
from alkaflow.plans import Leg, Plan, PlannedHost, PlanRow
from alkaflow.structures import Structure, build_complex, get_guest
from alkaflow.structures.complexes import Complex
from alkaflow.studies import HostEntry, PublishedRow, Study
from alkaflow.workflows.legs import Calculations, Half, Legs
from alkaflow.workflows.protocols import Protocol
from alkaflow.workflows.starts import Start, host_spin_states, spin_states


class Rows:
    """Collects the rows of a study."""

    def __init__(self, study: Study, level: str) -> None:
        self._study, self._level = study, level
        self._hosts: dict[str, PlannedHost] = {}
        self._rows: list[PlanRow] = []
        self._alone: dict[str, Leg] = {}
        self._calculations = Calculations()

    def add(self, entry: HostEntry, start: Start, protocol: Protocol, published: PublishedRow | None) -> None:
        """Add the guests of a start, with all legs of their adsorption energy at the levels of a protocol."""
        guest, name = start.placed[0].guest, entry.name
        self._hosts[name] = _planned(start.host)
        legs = Legs(protocol, self._calculations)
        complex_ = start.build()
        held = _held(start.host) if entry.rigid else None
        several = f"{len(start.placed)} " if len(start.placed) > 1 else ""
        host_half = self._host_half(start.host, entry, protocol)
        guest_half = _guest_half(legs, guest, complex_)
        before = _before_half(legs, start, host_half.states, self._study, held) if len(start.placed) > 1 else None
        complex_leg = legs.in_states(
            complex_.structure,
            spin_states(complex_, host_half.states, self._study.multiplicities),
            f"{several}{guest} at {start.label} of {name}",
            _fragments(complex_),
            (before or host_half, guest_half) if self._study.takes_apart else None,
            self._study.counterpoise,
            held,
        )
        self._rows.append(
            PlanRow(
                label=published.label if published else f"{several}{guest} {start.label}",
                host=name,
                guest=guest,
                site=start.id,
                site_kind=start.kind,
                site_label=start.label,
                site_multiplicity=start.multiplicity,
                published_ev=published.value_ev if published else None,
                tolerance_ev=published.tolerance if published else None,
                source=published.source if published else None,
                level=protocol.level if protocol.level != self._level else None,
                host_leg=host_half.leg,
                guest_leg=guest_half.leg,
                before_leg=before.leg if before else None,
                complex_leg=complex_leg,
            )
        )

    def add_host(self, entry: HostEntry, host: Structure, protocol: Protocol) -> None:
        """Add a host that has no guest."""
        self._hosts[entry.name] = _planned(host)
        self._alone[entry.name] = self._host_half(host, entry, protocol).leg

    def _host_half(self, host: Structure, entry: HostEntry, protocol: Protocol) -> Half:
        legs = Legs(replace(protocol, relaxations=()) if entry.rigid else protocol, self._calculations)
        states = host_spin_states(host, entry.multiplicities)
        leg = legs.in_states(host, states, entry.name)
        return Half(entry.name, tuple(range(len(host))), host.charge, states, leg, entry.rigid)

    def plan(self, protocol: Protocol) -> Plan:
        """Return what was collected; the protocol as people know it."""
        return Plan(
            study=self._study,
            protocol=protocol.name,
            level=protocol.level,
            hosts=self._hosts,
            rows=self._rows,
            alone=self._alone,
            calculations=self._calculations.inputs,
            titles=self._calculations.titles,
        )


def _planned(host: Structure) -> PlannedHost:
    return PlannedHost(
        symbols=list(host.symbols),
        positions_angstrom=list(rounded(host.positions.tolist())),
        charge=host.charge,
        multiplicity=host.multiplicity,
    )


def _held(host: Structure) -> tuple[Constraint, ...]:
    """What keeps a host as it is in its complexes, where its atoms come first."""
    return (Constraint(kind="freeze", atoms=tuple(range(len(host)))),)


def _guest_half(legs: Legs, guest: str, complex_: Complex) -> Half:
    """The last guest of a complex."""
    alone = get_guest(guest).structure
    leg = legs.one(alone, f"{guest} atom" if len(alone) == 1 else guest)
    last = tuple(complex_.fragments.values())[-1]
    return Half(guest, last, alone.charge, (alone.multiplicity,), leg)


def _before_half(
    legs: Legs, start: Start, host_states: tuple[int, ...], study: Study, held: tuple[Constraint, ...] | None
) -> Half:
    """The host with the first of two guests, at the first member of its site, as where it is the only one."""
    first = start.placed[0]
    before = build_complex(start.host, first.guest, first.site)
    states = spin_states(before, host_states, study.multiplicities, strict=False)
    title = f"{first.guest} at {first.site.label} of {start.host.name}"
    leg = legs.in_states(before.structure, states, title, _fragments(before), constraints=held)
    return Half(title, tuple(range(len(before.structure))), before.structure.charge, states, leg)


def _fragments(complex_: Complex) -> tuple[Fragment, ...]:
    """Host and guests of a complex, with what they have alone."""
    parts = (complex_.host, *(get_guest(placed.guest).structure for placed in complex_.placed))
    return tuple(
        Fragment(atoms=atoms, charge=part.charge, multiplicity=part.multiplicity)
        for atoms, part in zip(complex_.fragments.values(), parts, strict=True)
    )
