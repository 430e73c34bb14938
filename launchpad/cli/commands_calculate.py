"""calculate: one structure through the queue, and its record for people."""

import math
import os
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli.output import print_columns, say
from alkaflow.plans import SingleRun
from alkaflow.records import Record, Vibrations
from alkaflow.settings import load_settings


def calculate(
    structure: Annotated[str, typer.Argument(metavar="STRUCTURE", help="A file, a name or a SMILES string.")],
    level: Annotated[str | None, typer.Option("--level", help="Such as 'b3lyp-d3bj/6-31g(d)', or gfn2-xtb.")] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="Instead of a level: several steps.")] = None,
    relax: Annotated[bool, typer.Option("--relax", help="At that level, before the energy.")] = False,
    frequencies: Annotated[
        bool, typer.Option("--frequencies", help="Also vibrations, zero-point and thermal corrections.")
    ] = False,
    leave_saddle: Annotated[
        bool,
        typer.Option("--leave-saddle", help="The same, and relax on along imaginary modes until there are none."),
    ] = False,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of the thermal corrections [K]; 298.15 without it.")
    ] = None,
    pressure: Annotated[
        float | None, typer.Option("--pressure", help="Of the thermal corrections [Pa]; 101325 without it.")
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Atoms, from 0, that a relaxation leaves alone: 0,1,2.")
    ] = None,
    constrain: Annotated[
        list[str] | None,
        typer.Option("--constrain", help="What a relaxation holds: distance:0-5=2.1, angle:1-0-2, dihedral:2-0-1-3."),
    ] = None,
    charge: Annotated[int | None, typer.Option("--charge", help="Instead of what the source says.")] = None,
    multiplicity: Annotated[int | None, typer.Option("--multiplicity", min=1, help="2S+1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compute one structure and print its record, with --frequencies that of these.

    Exit code 1 where --leave-saddle has not led to a minimum.
    """
    from alkaflow.workflows.protocols import choose_protocol

    conditions = _conditions(temperature, pressure, frequencies or leave_saddle)
    chosen = choose_protocol(level, protocol, relax, frequencies or leave_saddle)  # before what takes long to import
    from alkaflow.launchpad.cli.display import Display
    from alkaflow.launchpad.single import SADDLE_WITH_CONSTRAINTS, run_single
    from alkaflow.launchpad.worker import check_device
    from alkaflow.structures import load_host
    from alkaflow.workflows import estimate, plan_single
    from alkaflow.workflows.constraints import read_constraints
    from alkaflow.workflows.vibrations import at_conditions

    constraints = read_constraints(freeze or (), constrain or ())
    if constraints and leave_saddle:
        raise BadInputError(SADDLE_WITH_CONSTRAINTS)
    molecule = load_host(structure, charge, multiplicity)
    settings = load_settings()
    check_device(settings)
    cores = settings.threads or len(os.sched_getaffinity(0))

    def run(steps: SingleRun) -> list[Record]:
        left = {i: estimate(given, cores).seconds for i, given in steps.calculations.items()}
        with Display(left, len(left)) as display:
            return run_single(steps, settings, display)

    if leave_saddle:
        from alkaflow.workflows.saddles import to_minimum

        records = to_minimum(molecule, chosen, run)
    else:
        records = run(plan_single(molecule, level, protocol, relax, frequencies, constraints))
    if conditions:
        records[-1] = at_conditions(records[-1], **conditions)
    if as_json:
        print(records[-1].model_dump_json(indent=2))
    else:
        print_columns(("", ""), _rows(records))
    vibrations = records[-1].vibrations
    if vibrations is not None and vibrations.imaginary:
        say(_on_imaginary(records[-1].symbols, vibrations, leave_saddle))
        if leave_saddle:
            raise typer.Exit(1)


def _conditions(temperature: float | None, pressure: float | None, vibrates: bool) -> dict[str, float]:
    """What was asked for of the thermal corrections; refused where there are none, or where it is impossible."""
    given = {name: x for name, x in (("temperature", temperature), ("pressure", pressure)) if x is not None}
    for name, x in given.items():
        if not vibrates:
            raise BadInputError(f"--{name} is of thermal corrections; add --frequencies")
        if not 0 < x < math.inf:
            raise BadInputError(f"--{name} {x:g} is not above 0")
    return given


def _rows(records: list[Record]) -> list[tuple[str, Any]]:
    """What people want to see of the energy, and of the frequencies where they come last."""
    from alkaflow.analysis.states import heights_ev

    last = records[-1]
    record = next(r for r in reversed(records) if r.step == "energy")
    rows = [
        ("id", record.id),
        ("formula, charge, 2S+1", f"{record.formula}, {record.charge:+d}, {record.multiplicity}"),
        ("level", record.level),
        ("energy / Eh", f"{record.energy_hartree:.8f}"),
        ("<S2>", None if record.s_squared is None else f"{record.s_squared:.3f}"),
        ("dipole / D", None if record.dipole_debye is None else " ".join(f"{x:.3f}" for x in record.dipole_debye)),
    ]
    if searched := [state for r in records for state in r.states]:
        found = ", ".join(f"{height:.3f}" for height in heights_ev(searched))
        rows.append(("electronic states / eV", f"{found} (by a search; the first was carried on)"))
    if last.vibrations is not None:
        rows += _vibration_rows(last, last.vibrations, record.energy_hartree)
    said = dict.fromkeys(warning for r in (record, last) for warning in r.warnings)
    return [*rows, *(("warning", warning) for warning in said)]


def _vibration_rows(record: Record, vibrations: Vibrations, energy: float) -> list[tuple[str, Any]]:
    """Wavenumbers, eight in a row, and what they add to an energy [Hartree]."""
    thermal = vibrations.thermochemistry
    numbers = [f"{wavenumber:.1f}" for wavenumber in vibrations.wavenumbers]
    lines = [" ".join(numbers[first : first + 8]) for first in range(0, len(numbers), 8)]
    heads = ["wavenumbers / cm-1", *[""] * len(lines)]
    return [
        ("id of the frequencies", record.id),
        ("their level", record.level),
        *zip(heads, lines, strict=False),
        ("imaginary modes", vibrations.imaginary),
        ("zero-point energy / Eh", f"{vibrations.zero_point_energy:.6f}"),
        ("at", f"{thermal.temperature:.2f} K, {thermal.pressure:.0f} Pa, symmetry number {vibrations.symmetry_number}"),
        ("correction to H / Eh", f"{thermal.enthalpy:.6f}"),
        ("correction to G / Eh", f"{thermal.gibbs:.6f}"),
        ("H / Eh", f"{energy + thermal.enthalpy:.6f}"),
        ("G / Eh", f"{energy + thermal.gibbs:.6f}"),
    ]


def _on_imaginary(symbols: list[str], vibrations: Vibrations, leave_saddle: bool) -> str:
    """What imaginary modes mean, and what to do."""
    from alkaflow.workflows.vibrations import STATIONARY

    lengths = [sum(x * x for x in step) for step in vibrations.imaginary_modes[0]]
    moving = sorted(range(len(lengths)), key=lambda k: -lengths[k])[:3]
    where = ", ".join(f"{symbols[k]}{k}" for k in moving)
    found = (
        f"{vibrations.imaginary} imaginary: the energy falls along {'it' if vibrations.imaginary == 1 else 'them'}, so "
        f"this is no minimum; the lowest ({vibrations.wavenumbers[0]:.0f} cm-1) moves {where} most"
    )
    if vibrations.max_gradient is not None and vibrations.max_gradient > STATIONARY:
        return f"{found}. The geometry is not stationary at this level either: relax it first, with --relax"
    if not leave_saddle:
        return f"{found}. To relax on from there: the same command with --leave-saddle"
    return f"{found}. That is still so after the last round; below some 30 cm-1 it may be noise of the grid"
