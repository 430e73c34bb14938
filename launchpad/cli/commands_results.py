"""results list, energies, show, export, geometry, convergence."""

import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli.commands_density import check_writable
from alkaflow.launchpad.cli.output import print_columns, print_json, say, study_name, write_text
from alkaflow.settings import load_settings

app = typer.Typer(help="Look at and export what was computed.", no_args_is_help=True, rich_markup_mode=None)

_STATES = ("WAITING", "READY", "RUNNING", "COMPLETED", "FIZZLED")
_WHEN = "an ISO date or time, or a span back: 30min, 12h, 2d, 1w"
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
GuestOption = Annotated[str | None, typer.Option("--guest", help="Of this guest.")]
SiteOption = Annotated[str | None, typer.Option("--site", help="Where the guest starts: id, kind or label.")]
HostOption = Annotated[str | None, typer.Option("--host", help="On this host, by its name in the study.")]
LimitOption = Annotated[int | None, typer.Option("--limit", help="So many lines at the most.")]
PageOption = Annotated[int, typer.Option("--page", help="With --limit: the second, third, ... so many.")]
StudyOption = Annotated[str | None, typer.Option("--study", help="Only of this study.")]


@app.command("list")
def list_(
    guest: GuestOption = None,
    site: SiteOption = None,
    host: HostOption = None,
    study: StudyOption = None,
    level: Annotated[str | None, typer.Option("--level", help="Level of theory, in any written form.")] = None,
    step: Annotated[str | None, typer.Option("--step", help="relax, energy, frequencies, ...")] = None,
    state: Annotated[str | None, typer.Option("--state", help=f"Only these: {', '.join(_STATES)}, ...")] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="converged, scf_not_converged, ...")] = None,
    formula: Annotated[str | None, typer.Option("--formula", help="Sum formula, such as C18LiN12.")] = None,
    element: Annotated[str | None, typer.Option("--element", help="With at least one atom of it.")] = None,
    charge: Annotated[int | None, typer.Option("--charge", help="In e.")] = None,
    multiplicity: Annotated[int | None, typer.Option("--multiplicity", help="2S+1.")] = None,
    since: Annotated[str | None, typer.Option("--since", help=f"Done or failed since: {_WHEN}.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="The same; a date counts to its end.")] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="By submitted, energy, finished, formula, level, step or state.")
    ] = "submitted",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: LimitOption = None,
    page: PageOption = 1,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List calculations with their states and energies; "held" are relaxations with constraints."""
    from alkaflow.launchpad.query import columns_of, flat, results

    _check_output(as_json, as_csv, limit, page)
    query = results(load_settings())
    given = {"guest": guest, "site": site, "host": host, "study": _study(study), "level": level, "step": step,
             "state": state, "outcome": outcome, "formula": formula, "element": element, "charge": charge,
             "multiplicity": multiplicity, "since": since, "until": until}  # fmt: skip
    for name, value in given.items():
        if value is not None:
            query = getattr(query, name)(value)
    query = query.sorted_by(sort, reverse)
    if limit is not None:
        query = query.limit(limit, page)
    found = [row | {key: _iso(row[key]) for key in ("submitted", "finished")} for row in query.rows()]
    if as_json:
        print_json(found)
    elif as_csv:
        lines = [flat(row) for row in found]
        _print_csv(columns_of(lines), lines)
    else:
        _print_list(found)


def _print_list(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            r["id"],
            f"{r['step']}, held" if r["constraints"] else r["step"],
            r["state"],
            r["level"],
            r["formula"],
            f"{r['charge']:+d}" if r["charge"] else "0",
            r["multiplicity"],
            _energy(r["energy_hartree"]),
            r["title"],
        )
        for r in found
    ]
    print_columns(("id", "step", "state", "level", "formula", "charge", "2S+1", "energy / Eh", "title"), rows)


@app.command()
def energies(
    guest: GuestOption = None,
    site: SiteOption = None,
    host: HostOption = None,
    study: StudyOption = None,
    limit: LimitOption = None,
    page: PageOption = 1,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List adsorption energies of all submitted studies, from what is computed so far, beside the published ones."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.query_filters import SUBMIT_AGAIN, Filters, checked
    from alkaflow.launchpad.row_energies import KEYS, row_energies

    _check_output(as_json, as_csv, limit, page)
    given = {"guest": guest, "site": site, "host": host, "study": _study(study), "limit": limit, "page": page}
    filters = Filters(**{name: checked(name, value) for name, value in given.items() if value is not None})
    settings = load_settings()
    with open_database(settings) as database:
        rows = list(row_energies(database, settings, filters))
        if not rows and database.plans.find_one({}, {"_id": 1}) is None:
            say(f"no study has rows here; {SUBMIT_AGAIN}")
    if as_json:
        print_json(rows)
        return
    if as_csv:
        lines = [_flat_energy(row) for row in rows]
        plain = [key for key in KEYS if key not in ("guest_charge", "calculations")]
        _print_csv([*plain, *sorted({key for line in lines for key in line} - set(plain))], lines)
        return
    heading = ("study", "protocol", "label", "host", "guest", "site", "computed / eV", "published / eV", "diff.",
               "verdict")  # fmt: skip
    print_columns(heading, [_energy_cells(row) for row in rows])


def _flat_energy(row: dict[str, Any]) -> dict[str, Any]:
    line = {key: value for key, value in row.items() if key not in ("guest_charge", "calculations")}
    line |= {f"guest_charge_{scheme}": value for scheme, value in row["guest_charge"].items()}
    return line | {f"{part}_id": calculation for part, calculation in row["calculations"].items()}


def _energy_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    site = row["site_label"] if " + " in row["site"] else f"{row['site']} {row['site_label']}"
    forms = {"computed_ev": ".2f", "published_ev": ".2f", "difference_ev": "+.2f"}
    numbers = [None if row[key] is None else format(row[key], form) for key, form in forms.items()]
    return (*(row[key] for key in ("study", "protocol", "label", "host", "guest")), site, *numbers, row["verdict"])


@app.command()
def show(
    calculation: Annotated[str, typer.Argument(metavar="ID", help="Id of a calculation, or its beginning.")],
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw the structure, with distances of guests: a PNG or SVG file."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the record of a calculation."""
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import find_record

    check_writable(picture, (".png", ".svg"))
    with open_database(load_settings()) as database:
        record = find_record(database, calculation)
        if picture is not None:
            _draw_structure(database, record, picture)
    data = json.loads(record.model_dump_json())
    if as_json:
        print_json(data)
    else:
        _print_record(data)


def _draw_structure(database: Any, record: Any, path: Path) -> None:
    """Draw a record, and for a complex the shortest distances from every guest to the anchors of its site."""
    from alkaflow.analysis.final_places import ended_at
    from alkaflow.analysis.plot_structure import structure_picture
    from alkaflow.analysis.plot_style import save_figure
    from alkaflow.analysis.report_structures import anchor_distances, drawn_pairs, structure_of_record
    from alkaflow.launchpad.plan_store import row_of_complex

    structure, found = structure_of_record(record), row_of_complex(database, record.id)
    title, pairs = f"{record.formula}, {record.level}", []
    if found is not None:
        plan, row = found
        ended = ended_at(plan, row, record)
        title = f"{row.guest} on {row.host}, {ended.label}"
        pairs = drawn_pairs(anchor_distances(plan, row, record, ended.site))
    save_figure(structure_picture(structure, pairs, title), path)
    say(f"written: {path}")


@app.command()
def convergence(
    calculation: Annotated[str, typer.Argument(metavar="ID", help="Id of a calculation, or its beginning.")],
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw its steps or cycles: a PNG or SVG file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print how a calculation converged: the steps of a relaxation, or the cycles of an SCF.

    Of a relaxation also where it runs or has failed.
    """
    from alkaflow.launchpad.courses import find_course
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import find_calculation

    check_writable(picture, (".png", ".svg"))
    settings = load_settings()
    with open_database(settings) as database:
        document = find_calculation(database, calculation)
        course = find_course(database, settings, document)
    if picture is not None:
        _draw_course(course, document, picture)
    forces: Sequence[float | None] = course.max_forces or [None] * len(course.energies)
    counts: Sequence[int | None] = course.scf_cycles or [None] * len(course.energies)
    steps = [
        {"step": step, "energy_hartree": energy, "max_force_ev_angstrom": force, "scf_cycles": count or None}
        for step, (energy, force, count) in enumerate(zip(course.energies, forces, counts, strict=True))
    ]
    cycles = [{key: value for key, value in each.items() if key != "stage"} for each in course.cycles]
    if as_json:
        known = {key: document[key] for key in ("title", "step", "level", "formula", "state")}
        print_json({"id": document["_id"], **known, "ended": course.ending, "steps": steps, "cycles": cycles})
        return
    print(f"{course.title}: {course.ending}")
    if steps:
        _print_steps(steps)
    if cycles:
        rows = [(c["step"], f"{c['energy_hartree']:.8f}", f"{c['orbital_gradient']:.1e}") for c in cycles]
        print_columns(("cycle", "energy / Eh", "orbital gradient"), rows)


def _draw_course(course: Any, document: dict[str, Any], path: Path) -> None:
    from alkaflow.analysis.plot_convergence import course_chart
    from alkaflow.analysis.plot_style import save_figure

    if len(course.energies) < 2 and not course.cycles:
        raise BadInputError(
            f"calculation {document['_id']} ({document['title']}) has no steps to draw; give the id of a relaxation "
            "(alkaflow results list --step relax) or of an energy whose record has its SCF cycles"
        )
    save_figure(course_chart(course), path)
    say(f"written: {path}")


def _print_steps(steps: list[dict[str, Any]]) -> None:
    from alkaflow.units import HARTREE_EV

    last = steps[-1]["energy_hartree"]
    columns = {
        "step": [each["step"] for each in steps],
        "energy / Eh": [f"{each['energy_hartree']:.8f}" for each in steps],
        "above the last / meV": [f"{(each['energy_hartree'] - last) * HARTREE_EV * 1000:.2f}" for each in steps],
    }
    if all(each["max_force_ev_angstrom"] is not None for each in steps):
        columns["largest force / eV/Angstrom"] = [f"{each['max_force_ev_angstrom']:.4f}" for each in steps]
    if any(each["scf_cycles"] for each in steps):
        columns["SCF cycles"] = [each["scf_cycles"] or "" for each in steps]
    print_columns(tuple(columns), list(zip(*columns.values(), strict=True)))


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="A directory; created where it is missing.")],
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Calculations; or give --study.")] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="A study: one bundle that a table can be made from.")
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="Of the study, instead of its own.")] = None,
) -> None:
    """Write records, geometries and orbitals to files."""
    from alkaflow.launchpad.database import open_database

    if bool(ids) == bool(study):
        raise BadInputError("give either ids or --study")
    if output.exists() and not output.is_dir():
        raise BadInputError(f"{output} is not a directory")
    with open_database(load_settings()) as database:
        if study:
            _export_study(database, study, protocol, output)
        else:
            _export_records(database, ids or [], output)


@app.command()
def geometry(
    calculation: Annotated[str, typer.Argument(metavar="ID", help="Id of a calculation, or its beginning.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="An XYZ file instead of standard output.")
    ] = None,
) -> None:
    """Write the geometry of a calculation: the final one, or the last of a relaxation that runs or has failed.

    It is in the XYZ format, as alkaflow calculate reads it.
    """
    import numpy as np

    from alkaflow.calculations import CalculationInput
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import find_calculation
    from alkaflow.launchpad.worker import checkpoints_of
    from alkaflow.structures import Structure, format_xyz
    from alkaflow.workflows.checkpoint import last_geometry

    settings = load_settings()
    with open_database(settings) as database:
        document = find_calculation(database, calculation)
        record = database.record(document["_id"])
    given = CalculationInput.model_validate(document["input"])
    if record is not None:
        positions, energy, which = np.array(record.positions_angstrom), record.energy_hartree, "final"
    else:
        folder = checkpoints_of(settings, given.id)
        last = last_geometry(folder, given)
        if last is None:
            raise BadInputError(
                f"calculation {given.id} ({document['title']}) is {document['state']} and has left no geometry "
                f"in {folder} on this host"
            )
        positions, energy, which = last.positions, last.energy, f"relaxation step {last.step}"
    present = [k for k in range(len(given.symbols)) if k not in (given.ghosts or ())]
    structure = Structure(given.real_symbols, positions[present], given.charge, given.multiplicity)
    if output is not None and not output.absolute().parent.is_dir():
        raise BadInputError(f"cannot write {output}: there is no directory {output.absolute().parent}")
    state = f"charge={given.charge} multiplicity={given.multiplicity}"
    comment = f"{given.id} {given.level} {state} energy_hartree={energy:.10f} {which}"
    write_text(format_xyz(structure, comment), output)
    say(f"{which} geometry, {energy:.8f} Hartree")


def _export_study(database: Any, name: str, protocol: str | None, output: Path) -> None:
    from alkaflow.launchpad.campaign import bundle_of, has_properties
    from alkaflow.workflows import load_study, make_plan, write_bundle

    source = load_study(name)
    plan = make_plan(source.study, protocol, source.folder)
    described = make_plan(source.study, protocol, source.folder, properties=True)
    if has_properties(database, described):
        plan = described
    bundle = bundle_of(database, plan)
    missing = len(plan.calculations) - len(bundle.records)
    if missing:
        raise BadInputError(
            f"{missing} of {len(plan.calculations)} calculations have no record yet; reproduce it first"
        )
    _make_directory(output)
    path = output / f"{plan.protocol}.json"
    orbitals = write_bundle(bundle, path, database.get_file)
    say(f"written: {path} ({len(bundle.records)} records), {orbitals}")


def _export_records(database: Any, ids: list[str], output: Path) -> None:
    import numpy as np

    from alkaflow.files import write_atomically
    from alkaflow.launchpad.results import find_record
    from alkaflow.structures import Structure, write_xyz

    records = [find_record(database, calculation) for calculation in ids]
    _make_directory(output)
    for record in records:
        write_atomically(output / f"{record.id}.json", record.model_dump_json(indent=1).encode(), mode=0o644)
        structure = Structure(
            tuple(record.symbols), np.array(record.positions_angstrom), record.charge, record.multiplicity
        )
        comment = f"{record.id} {record.level} charge={record.charge} multiplicity={record.multiplicity}"
        write_xyz(structure, output / f"{record.id}.xyz", f"{comment} energy_hartree={record.energy_hartree:.10f}")
        if record.orbitals:
            data = database.get_file(record.orbitals.sha256)
            write_atomically(output / f"{record.id}.orbitals.npz", data, mode=0o644)
    say(f"written: {len(records)} records to {output}")


def _check_output(as_json: bool, as_csv: bool, limit: int | None, page: int) -> None:
    if as_json and as_csv:
        raise BadInputError("give one of --json and --csv")
    if page != 1 and limit is None:
        raise BadInputError("--page goes with --limit")


def _study(given: str | None) -> str | None:
    return study_name(given) if given is not None else None


def _iso(when: datetime | None) -> str | None:
    return when.isoformat() if when is not None else None


def _print_csv(columns: Sequence[str], lines: Sequence[dict[str, Any]]) -> None:
    """Print lines with a heading; what is not known stays empty."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"cannot create {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise BadInputError(f"cannot write to {path}")


def _energy(value: float | None) -> str | None:
    return None if value is None else f"{value:.8f}"


def _print_record(data: dict[str, Any]) -> None:
    """Print a record for people: first what it is and found, then atoms and charges, then with what."""
    for key in ("id", "step", "level", "formula", "charge", "multiplicity", "energy_hartree", "s_squared"):
        if data[key] is not None:
            print(f"{key:<16} {data[key]}")
    for name, value in data["energy_components"].items():
        print(f"  {name:<22} {value:.8f} Eh")
    long = ("cycle_energies", "cycle_gradients")
    convergence = {k: v for k, v in data["convergence"].items() if v not in (None, []) and k not in long}
    print(f"{'convergence':<16} {', '.join(f'{k} {v}' for k, v in convergence.items())}")
    populations = data["populations"] or {"charges": {}, "spins": {}}
    columns = {f"q {scheme}": values for scheme, values in populations["charges"].items()}
    columns |= {f"spin {scheme}": values for scheme, values in populations["spins"].items()}
    rows = [
        (i, symbol, *(f"{x:11.6f}" for x in xyz), *(f"{values[i]:+.3f}" for values in columns.values()))
        for i, (symbol, xyz) in enumerate(zip(data["symbols"], data["positions_angstrom"], strict=True))
    ]
    print_columns(("atom", "", "x / Angstrom", "y", "z", *columns), rows)
    for warning in data["warnings"]:
        print(f"{'warning':<16} {warning}")
    made = data["provenance"]
    print(f"{'computed with':<16} {', '.join(f'{k} {v}' for k, v in made['versions'].items())}")
    print(
        f"{'on':<16} {made['cpu']}, {made['threads']} threads, {made['peak_memory_mb']:.0f} MB, "
        f"{made['seconds']['total']} s"
    )
