"""The parts of a report in order, as blocks that every format of it renders in its own way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alkaflow.analysis.contacts import Contact
from alkaflow.analysis.formats import parts_cells, table_cells
from alkaflow.analysis.methods import reference_list
from alkaflow.analysis.plot_charges import scheme_name
from alkaflow.analysis.preference import TEMPERATURE, Preference, place_names
from alkaflow.analysis.report_charges import ChargePanel
from alkaflow.analysis.report_data import (
    Report,
    RowReport,
    SurfaceEntry,
    missing_titles,
    why_no_number,
)
from alkaflow.analysis.states import heights_ev
from alkaflow.studies import NOT_STATED

_FEW = 2  # schemes of charges whose picture is shown at once
_CONTACTS_SHOWN = 12
_EXTREMA = 5  # of a potential that are listed
_LEAST = 0.001  # weight that is written as a number
_DIFFERS = {True: "differs", False: "same", None: "not known"}


@dataclass(frozen=True)
class Heading:
    """Of a section (level 2) or a part of one (3); the anchor is for links within the page."""

    level: int
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; an empty one is left out."""

    items: Sequence[str]


@dataclass(frozen=True)
class Numbered:
    """A numbered list of references; each with its DOI."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Commands:
    """Commands to type."""

    commands: Sequence[str]


@dataclass(frozen=True)
class Cells:
    """A table, its first row the heading; ``ragged`` where columns are of words and numbers."""

    rows: Sequence[Sequence[str]]
    caption: str = ""
    ragged: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture by the name of its file without suffix, and what it shows.

    With ``folded``, a few words, it is shown to who asks for it.
    """

    name: str
    alt: str
    folded: str = ""


@dataclass(frozen=True)
class Paragraph:
    """The methods paragraph, as a page and as Markdown with citations write it."""

    plain: str
    markdown: str


@dataclass(frozen=True)
class Files:
    """Links to files beside the report: name and what it is."""

    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Beside:
    """Blocks that may stand side by side."""

    columns: "Sequence[Sequence[Block]]"


Block = Heading | Text | Items | Numbered | Commands | Cells | Picture | Paragraph | Files | Beside


def blocks_of(report: Report, pictures: Mapping[str, str], files: Sequence[tuple[str, str]]) -> list[Block]:
    """The whole report.

    Parameters
    ----------
    report
        What it says.
    pictures
        Descriptions of the pictures there are, by the name of their file without suffix.
    files
        What lies beside it: name and what it is.
    """
    return [
        *_summary(report),
        *_table(report),
        *_charts(pictures),
        *_preferences(report),
        *_failures(report),
        *_notes(report),
        *_differences(report),
        *_rows(report, pictures),
        *_alone(report, pictures),
        *_states(report),
        *_potentials(report, pictures),
        *_methods(report),
        Heading(2, "Files", "files"),
        Files(files),
    ]


# --- first things ----------------------------------------------------------------------------------------------------


def _summary(report: Report) -> Iterator[Block]:
    table = report.table
    counts: dict[str, int] = {}
    for row in table.rows:
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    verdicts = ", ".join(f"{verdict} {number}" for verdict, number in counts.items())
    rows = "1 row" if len(table.rows) == 1 else f"{len(table.rows)} rows"
    said = f"{rows}: {verdicts}. " if table.rows else "No rows. "
    yield Text(f"{said}Protocol {table.protocol}: {table.level}.")
    if report.source.origin:
        yield Text(report.source.origin)


def _table(report: Report) -> Iterator[Block]:
    table = report.table
    if table.rows:
        yield Heading(2, "Computed and published", "table")
        yield Cells(
            table_cells(table),
            "Adsorption energies in eV, negative = bound; q: Mulliken charge in e, of all guests together where there "
            "are several.",
        )
    if table.checks:
        checks = [(check.verdict, check.claim, check.computed) for check in table.checks]
        yield Heading(3, "Checks", "checks")
        yield Cells([("verdict", "published claim", "computed / eV"), *checks])


def _charts(pictures: Mapping[str, str]) -> Iterator[Block]:
    for name in ("comparison", "ladder"):
        if name in pictures:
            yield Picture(name, pictures[name])


def _preferences(report: Report) -> Iterator[Block]:
    """Where each guest prefers to be, for those with several rows."""
    if not report.preferences:
        return
    yield Heading(2, "Preferred places", "preference")
    rows = [cells for one in report.preferences for cells in _place_cells(one)]
    yield Cells(
        [("guest", "place", "2S+1", "E(ads) / eV", "above best / eV", "published", "diff.", "equivalent places",
          "weight"), *rows],
        f"Weights are Boltzmann's at {TEMPERATURE} K by electronic energies, g (2S+1) exp(-E/kT) with g equivalent "
        "places; averages are weighted so. Of several guests the energy is that of all together.",
    )  # fmt: skip
    yield Items([
        f"left out: {left.name}, {left.reason}" + ("" if left.energy_ev is None else f", {left.energy_ev:.2f} eV")
        for one in report.preferences for left in one.left_out
    ])  # fmt: skip


def _place_cells(preference: Preference) -> Iterator[tuple[str, ...]]:
    """A row per spin state of every place, and their average."""
    of = f"{preference.guest} on {preference.host}"
    of = of if preference.guests == 1 else f"{preference.guests} {of}"
    for name, place in zip(place_names(preference), preference.places, strict=True):
        for state in place.states:
            lowest = state is place.states[0]
            above = place.above_ev + state.energy_ev - place.energy_ev
            moved = [row for row in place.rows if row != state.row]
            yield (
                of,
                f"{name} ({', '.join([state.row, *moved])})",
                str(state.multiplicity),
                f"{state.energy_ev:.2f}",
                f"{above:.3f}",
                f"{place.published_above_ev:.2f}" if lowest and place.published_above_ev is not None else "-",
                f"{place.difference_ev:+.2f}" if lowest and place.above_ev and place.difference_ev is not None else "-",
                str(place.site_multiplicity),
                _weight(state.weight),
            )
    if preference.average_ev is not None:
        yield of, "average", "", f"{preference.average_ev:.2f}", "", "", "", "", ""


def _weight(weight: float | None) -> str:
    return "-" if weight is None else f"< {_LEAST}" if weight < _LEAST else f"{weight:.3f}"


def _failures(report: Report) -> Iterator[Block]:
    if report.failures:
        yield Heading(2, "What failed", "failures")
        for failure in report.failures:
            yield Heading(3, failure.title)
            yield Items([f"calculation {failure.calculation}", failure.cause, f"next: {failure.advice}"])
            yield Commands([f"alkaflow why {failure.calculation[:8]}", failure.command])
    if report.missing:
        yield Heading(2, "What is not computed yet", "missing")
        yield Items(missing_titles(report))
        yield Commands([f"alkaflow reproduce {report.source.command or report.table.study}"])
    if report.warnings:
        yield Heading(2, "Warnings of the calculations", "warnings")
        yield Items(report.warnings)


def _notes(report: Report) -> Iterator[Block]:
    if report.source.plan.study.notes:
        yield Heading(2, "To know about the published numbers", "notes")
        yield Items(report.source.plan.study.notes)


def _differences(report: Report) -> Iterator[Block]:
    if not report.differences:
        return
    yield Heading(2, "What differs from the published method", "differences")
    taken = (
        "The paper does not state its level of theory."
        if report.source.plan.study.published_level == NOT_STATED
        else "The published method is taken to be one level throughout, geometries included, on Gaussian's default "
        "grid with exact integrals, without corrections; where the paper says otherwise, the paper is right."
    )
    yield Text(f"{taken} The list is made from the records; what differs comes first.")
    rows = [(_DIFFERS[one.differs], one.aspect, one.published, one.here, one.remark) for one in report.differences]
    yield Cells([("", "aspect", "published", "here", "may matter because"), *rows])


# --- rows ------------------------------------------------------------------------------------------------------------


def _rows(report: Report, pictures: Mapping[str, str]) -> Iterator[Block]:
    if report.rows:
        yield Heading(2, "Row by row", "rows")
    parts = parts_cells(report.table)
    for number, one in enumerate(report.rows):
        row = one.row
        place = row.site_label if row.guests > 1 else f"{row.site_label} ({row.start_site})"
        yield Heading(3, f"{row.label}: {row.guest} on {row.host}, {place}", row_anchor(number))
        yield Text(_sentence(one))
        if one.record is None:
            continue
        stem = row_stem(number, row.label)
        left: list[Block] = [Picture(f"{stem}-structure", pictures[f"{stem}-structure"])] if (
            f"{stem}-structure" in pictures) else []  # fmt: skip
        right = list(_numbers(one))
        yield Beside((left, right)) if left else Beside((right,))
        of_row = [cells for cells in parts[1:] if cells[0] == row.label]
        if of_row:
            yield Cells(
                [parts[0][1:], *(cells[1:] for cells in of_row)],
                "Parts of the energy in eV: columns before computed add up to it, those after it are not part of it.",
            )
        if one.charges is not None and one.charges.charges:
            yield from _charges(one.charges, f"{stem}-charges", pictures)


def _alone(report: Report, pictures: Mapping[str, str]) -> Iterator[Block]:
    """Hosts without rows."""
    if report.alone:
        yield Heading(2, "Hosts alone", "alone")
    for number, host in enumerate(report.alone):
        stem = host_stem(number, host.name)
        yield Heading(3, host.name)
        facts = Cells([("what", "value"), *host.facts, ("calculation", host.record.id)], ragged=True)
        name = f"{stem}-structure"
        yield Beside(([Picture(name, pictures[name])], [facts])) if name in pictures else facts
        if host.charges is not None and host.charges.charges:
            yield from _charges(host.charges, f"{stem}-charges", pictures)


def row_anchor(number: int) -> str:
    """Of a row within the page."""
    return f"row-{number + 1}"


def row_stem(number: int, label: str) -> str:
    """How file names of a row begin: its number and what of its label is plain."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in label)
    return f"{number + 1:02d}-{plain[:40]}"


def host_stem(number: int, name: str) -> str:
    """The same of a host alone."""
    return f"host-{row_stem(number, name)}"


def _sentence(one: RowReport) -> str:
    row = one.row
    said = []
    if row.computed_ev is not None:
        said.append(f"Computed {row.computed_ev:.3f} eV")
        if row.published_ev is not None:
            said.append(f"published {row.published_ev:.2f} eV")
        if row.difference_ev is not None:
            said.append(f"difference {row.difference_ev:+.3f} eV")
        sentence = f"{', '.join(said)}: {row.verdict}."
    else:
        published = f" Published: {row.published_ev:.2f} eV." if row.published_ev is not None else ""
        sentence = f"No number: {why_no_number(row)}.{published}"
    if row.final_site != row.start_site and one.record is not None:
        sentence += f" The guest ended at {row.final_site or row.final_label}."
    source = f' In the paper: "{row.source}".' if row.source else ""
    return sentence + source


def _numbers(one: RowReport) -> Iterator[Block]:
    record = one.record
    if record is None:
        return
    apart = ", ".join(distance.text(record.symbols) for distance in one.distances)
    distances = [("distances / Angstrom", apart)] if apart else []
    ids = [(f"calculation, {leg}", calculation) for leg, calculation in one.row.calculations.items()]
    yield Cells([("what", "value"), *distances, *one.facts, *ids], ragged=True)
    if one.contacts:
        caption = (
            "Contacts: atoms of guest and host nearer than their van der Waals radii, with the angle at the hydrogen"
        )
        yield Cells(_contact_cells(one.contacts, tuple(record.symbols)), caption)
    searched = [state for state in one.row.states if len(state.searched) > 1 and state.part == "complex"]
    for state in searched:
        heights = ", ".join(f"{height:+.3f}" for height in heights_ev(state.searched)[1:])
        yield Text(f"Electronic states that a search found, 2S+1 = {state.multiplicity}: {heights} eV above this one.")


def _contact_cells(contacts: Sequence[Contact], symbols: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The nearest contacts of a guest, and how many more there are."""
    cells: list[tuple[str, ...]] = [("contact", "distance / Angstrom", "of the radii", "angle / degrees")]
    for contact in contacts[:_CONTACTS_SHOWN]:
        angle = "" if contact.angle_degrees is None else f"{contact.angle_degrees:.0f}"
        cells.append((contact.text(symbols), f"{contact.angstrom:.3f}", f"{contact.of_van_der_waals:.2f}", angle))
    if len(contacts) > _CONTACTS_SHOWN:
        cells.append((f"and {len(contacts) - _CONTACTS_SHOWN} more", "", "", ""))
    return cells


def _charges(panel: ChargePanel, name: str, pictures: Mapping[str, str]) -> Iterator[Block]:
    fragments = list(panel.fragments)
    heading = ("scheme", *(f"q({name})" for name in fragments), *(panel.name(k) for k in panel.atoms))
    rows = [
        (
            scheme_name(scheme),
            *(f"{panel.sums[scheme][name]:+.3f}" for name in fragments),
            *(f"{values[k]:+.3f}" for k in panel.atoms),
        )
        for scheme, values in panel.charges.items()
    ]
    yield Cells([heading, *rows], "Charges in e: sums over host and guests, then guests and anchors, counted from 0.")
    yield Items(panel.disagreements)
    if name in pictures:
        few = len(panel.charges) <= _FEW
        yield Picture(name, pictures[name], "" if few else f"charges of all atoms by {len(panel.drawn)} schemes")


# --- spin states -----------------------------------------------------------------------------------------------------


def _states(report: Report) -> Iterator[Block]:
    if not report.states:
        return
    yield Heading(2, "Spin states", "states")
    rows = [
        (
            line.of,
            str(line.state.multiplicity),
            "-" if line.state.above_lowest_ev is None else f"{line.state.above_lowest_ev:+.3f}",
            _weight(line.weight),
            "-" if line.state.s_squared is None else f"{line.state.s_squared:.3f}",
            line.state.problem or "",
        )
        for line in report.states
    ]
    yield Cells(
        [("of", "2S+1", "above the lowest / eV", "weight", "<S2>", ""), *rows],
        f"Weights are Boltzmann's at {TEMPERATURE} K by electronic energies, (2S+1) exp(-E/kT); none where an energy "
        "is missing.",
    )


# --- potentials ------------------------------------------------------------------------------------------------------


def _potentials(report: Report, pictures: Mapping[str, str]) -> Iterator[Block]:
    yield Heading(2, "Electrostatic potential", "potential")
    if not report.surfaces:
        yield Text("No electrostatic potential was computed; this computes it, and charges by all schemes:")
        yield Commands([f"alkaflow reproduce {report.source.command or report.table.study} --properties"])
        return
    drawn = [entry for entry in report.surfaces if surface_stem(entry) in pictures]
    if len(drawn) > 1:
        yield Text("All surfaces have the same colours for the same potential.")
    yield Cells(
        [("of", "V_S,max", "V_S,min", "mean +", "mean -", "Pi", "sigma2", "nu", "area / Angstrom2"),
         *(_surface_cells(entry) for entry in report.surfaces)],
        "Potentials in kcal/mol on the surface of electron density "
        f"{report.surfaces[0].surface.isovalue:g} e/bohr^3; Pi: average deviation; sigma2: variance, (kcal/mol)^2; "
        "nu: balance.",
    )  # fmt: skip
    for entry in report.surfaces:
        yield Heading(3, entry.name)
        extrema = [
            (kind, f"{e.value_kcal_mol:+.1f}", f"{entry.record.symbols[e.atom]}{e.atom}",
             " ".join(f"{x:.2f}" for x in e.position_angstrom))
            for kind, found in (("maximum", entry.surface.v_s_max), ("minimum", entry.surface.v_s_min))
            for e in found[:_EXTREMA]
        ]  # fmt: skip
        cells = Cells([("", "V / kcal mol-1", "at", "position / Angstrom"), *extrema], "The strongest local extrema.")
        stem = surface_stem(entry)
        if stem in pictures:
            yield Beside(([Picture(stem, pictures[stem])], [cells]))
        else:
            yield cells
            yield Text("Its surface is not at hand, so there is no picture.")


def surface_stem(entry: SurfaceEntry) -> str:
    """Name of the picture of a potential without suffix."""
    return f"potential-{entry.record.id}"


def _surface_cells(entry: SurfaceEntry) -> tuple[str, ...]:
    surface = entry.surface
    highest, lowest = (found[0].value_kcal_mol if found else None for found in (surface.v_s_max, surface.v_s_min))
    values = (highest, lowest, surface.mean_positive_kcal_mol, surface.mean_negative_kcal_mol)
    return (
        entry.name,
        *("-" if value is None else f"{value:+.1f}" for value in values),
        f"{surface.average_deviation_kcal_mol:.1f}",
        f"{surface.variance:.1f}",
        f"{surface.balance:.3f}",
        f"{surface.area_angstrom2:.1f}",
    )


# --- methods ---------------------------------------------------------------------------------------------------------


def _methods(report: Report) -> Iterator[Block]:
    from alkaflow.analysis.citations import CITATIONS

    keys = report.methods.keys
    yield Heading(2, "Methods", "methods")
    yield Text("A paragraph for a paper, made from the records:")
    yield Paragraph(report.methods.plain(), report.methods.markdown())
    if keys:
        yield Heading(3, "References")
        yield Numbered([(text, CITATIONS[key].doi) for key, text in zip(keys, reference_list(keys), strict=True)])
    yield Heading(3, "Versions")
    versions = [(name, ", ".join(found)) for name, found in report.versions.items()]
    yield Cells([("program or library", "version"), *versions], ragged=True)
