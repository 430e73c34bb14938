"""sites, placements, build, hosts, guests."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.cli.output import print_columns, print_json, say, write_text

HostArgument = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="A name (see `alkaflow hosts`), an xyz, mol, sdf or cif file, or a SMILES string."
    ),
]
ChargeOption = Annotated[int | None, typer.Option("--charge", help="Charge of the host, instead of its source's.")]
MultiplicityOption = Annotated[int | None, typer.Option("--multiplicity", min=1, help="2S+1 of the host.")]
ConformerOption = Annotated[
    str | None,
    typer.Option("--conformer", help="Of a SMILES string or name: lowest, flattest, chelating, or a number from 1."),
]
MoleculeOption = Annotated[
    str | None, typer.Option("--molecule", metavar="FORMULA", help="The one to take from a CIF with several.")
]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", min=0.001, max=1.0, help="Of the symmetry detection [Angstrom].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_BUILD_FORMATS = ("xyz", "pdb", "json")
_RANKINGS = ("xtb",)


def sites(
    host: HostArgument,
    guest: Annotated[str, typer.Option("--guest", help="Whose distances place the sites.")] = "Li",
    kind: Annotated[
        list[str] | None, typer.Option("--kind", "--site", help="Only these: a kind, label or id; may be repeated.")
    ] = None,
    rank: Annotated[
        str | None, typer.Option("--rank", help="xtb: relax the guest from every site at GFN2-xTB and rank the minima.")
    ] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw host and sites: a .png or .svg file.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="An interactive view in one page that needs no network.")
    ] = None,
    tolerance: ToleranceOption = 0.15,
    charge: ChargeOption = None,
    multiplicity: MultiplicityOption = None,
    conformer: ConformerOption = None,
    molecule: MoleculeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the symmetry-distinct places of a host where a guest binds."""
    from alkaflow.structures import RULES, find_sites, load_host, select_sites

    if rank is not None and rank not in _RANKINGS:
        raise UnknownNameError("ranking", rank, _RANKINGS)
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"cannot write {html}: the name of a page ends in .html")
    if picture is not None:
        from alkaflow.analysis.picture import draw_sites
        from alkaflow.analysis.plot_style import check_picture_path

        check_picture_path(picture)
    structure = load_host(host, charge, multiplicity, conformer, molecule)
    everything = find_sites(structure, guest, tolerance)
    found = select_sites(everything, *kind) if kind else everything
    name = structure.name or host
    if picture is not None:
        draw_sites(structure, found, picture, title=name)
        say(f"written: {picture}")
    if html is not None:
        from alkaflow.analysis.page import sites_page

        write_text(sites_page(structure, found, title=name), html)
    if rank is not None:
        _print_ranking(structure, guest, everything, kind, as_json)
    elif as_json:
        print_json([_site_data(site) for site in found])
    else:
        print(f"{name}, {structure.formula}: symmetry-distinct sites: {len(found)}")
        if not found:
            print(f"it has none of the kinds that are looked for: {', '.join(RULES)}")
        else:
            _print_sites(structure, found)


def _print_sites(structure: Any, found: Sequence[Any]) -> None:
    print_columns(
        ("id", "label", "multiplicity", "anchors (from 0)", "position / Angstrom"),
        [
            (
                site.id,
                site.label,
                site.multiplicity,
                " ".join(f"{structure.symbols[a]}{a}" for a in site.anchors),
                " ".join(f"{x:8.3f}" for x in site.position + 0.0),
            )
            for site in found
        ],
    )


def _site_data(site: Any) -> dict[str, Any]:
    def place(of: Any) -> dict[str, Any]:
        return {
            "id": of.id,
            "anchors": list(of.anchors),
            "position": [float(x) for x in of.position],
            "normal": [float(x) for x in of.normal],
        }

    return {
        **place(site),
        "kind": site.kind,
        "label": site.label,
        "multiplicity": site.multiplicity,
        "members": [place(member) for member in site.members],
    }


def _print_ranking(structure: Any, guest: str, known: list[Any], at: list[str] | None, as_json: bool) -> None:
    from alkaflow.workflows import rank_sites

    ranking = rank_sites(structure, guest, sites=known, at=at, report=say)
    if as_json:
        print_json(_ranking_data(ranking))
        return
    count = len(ranking.minima)
    print(
        f"{guest} on {structure.name or structure.formula}: distinct minima at gfn2-xtb: {count} (trust the order only)"
    )
    if ranking.minima:
        best = ranking.minima[0].adsorption_ev
        rows = [
            (
                number,
                minimum.start.name,
                f"{minimum.final.site or ''} {minimum.final.label}".strip(),
                f"{minimum.adsorption_ev:.3f}",
                f"{minimum.adsorption_ev - best:.3f}",
            )
            for number, minimum in enumerate(ranking.minima, start=1)
        ]
        print_columns(("rank", "start", "ends at", "E_ads / eV", "above the lowest / eV"), rows)
    for dropped in ranking.dropped:
        energy = "" if dropped.adsorption_ev is None else f", {dropped.adsorption_ev:.3f} eV"
        print(f"dropped: {dropped.start.name} ({dropped.start.site.label}{energy}): {dropped.reason}")


def _ranking_data(ranking: Any) -> dict[str, Any]:
    def begin(of: Any) -> dict[str, Any]:
        return {"site": of.start.site.id, "label": of.start.site.label, "orientation": of.start.orientation}

    return {
        "level": "gfn2-xtb",
        "minima": [
            {
                "start": begin(minimum),
                "adsorption_ev": minimum.adsorption_ev,
                "verdict": minimum.final.verdict,
                "final_site": minimum.final.site,
                "final_label": minimum.final.label,
                "symbols": list(minimum.complex.structure.symbols),
                "positions_angstrom": minimum.complex.structure.positions.tolist(),
            }
            for minimum in ranking.minima
        ],
        "dropped": [
            {"start": begin(dropped), "reason": dropped.reason, "adsorption_ev": dropped.adsorption_ev}
            for dropped in ranking.dropped
        ],
    }


def placements(
    host: HostArgument,
    guest: Annotated[list[str], typer.Option("--guest", help="One for every guest to place; repeat it.")],
    first: Annotated[
        list[str] | None, typer.Option("--first", help="Where the first guest sits: a kind, label or id; repeatable.")
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Sites of the other guests (or of all); repeatable.")
    ] = None,
    tolerance: ToleranceOption = 0.15,
    charge: ChargeOption = None,
    multiplicity: MultiplicityOption = None,
    conformer: ConformerOption = None,
    molecule: MoleculeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the symmetry-distinct ways to place several guests on a host."""
    from alkaflow.structures import HATCN_PAIR_LABELS, enumerate_placements, load_host

    structure = load_host(host, charge, multiplicity, conformer, molecule)
    at = [first or site, *[site] * (len(guest) - 1)]
    found = enumerate_placements(structure, guest, at, tolerance)
    built = [placement.build(structure) for placement in found]
    as_published = host.lower() == "hatcn" and guest in (["Li", "Li"], ["Na", "Na"])
    published = HATCN_PAIR_LABELS if as_published else {}
    rows: list[dict[str, Any]] = [
        {
            "label": placement.label,
            "published_label": published.get(placement.label),
            "multiplicity": placement.multiplicity,
            "members": [placed.member.id for placed in placement.placed],
            "charge": made.structure.charge,
            "spin_multiplicities": list(made.multiplicities),
        }
        for placement, made in zip(found, built, strict=True)
    ]
    if as_json:
        print_json(rows)
        return
    print(f"{'+'.join(guest)} on {structure.name or host}: symmetry-distinct placements: {len(found)}")
    if found:
        print_columns(
            ("published", "placement", "equivalent", "members", "charge", "2S+1 to compute"),
            [
                (
                    row["published_label"],
                    row["label"],
                    row["multiplicity"],
                    " ".join(row["members"]),
                    row["charge"],
                    " ".join(str(m) for m in row["spin_multiplicities"]),
                )
                for row in rows
            ],
        )


def build(
    host: HostArgument,
    guest: Annotated[list[str] | None, typer.Option("--guest", help="Place this guest; repeat for several.")] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="At this site (id, member id, kind, label); one for every guest.")
    ] = None,
    orientation: Annotated[
        list[int] | None, typer.Option("--orientation", min=1, help="Of a guest of several atoms, from 1.")
    ] = None,
    charge: ChargeOption = None,
    multiplicity: MultiplicityOption = None,
    conformer: ConformerOption = None,
    molecule: MoleculeOption = None,
    style: Annotated[
        str | None,
        typer.Option("--format", help=f"One of: {', '.join(_BUILD_FORMATS)}; by default as the file is called."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
) -> None:
    """Write the structure of a host, or of a host with guests at sites."""
    from alkaflow.structures import find_sites, format_pdb, format_xyz, load_host, place_guests, select_place
    from alkaflow.structures.complexes import Placed

    style = _build_format(style, output)
    guests, places = guest or [], site or []
    if len(guests) != len(places):
        raise BadInputError(
            f"give both --guest and --site, one for one ({len(guests)} and {len(places)} given), "
            "or neither for the bare host"
        )
    turns = (orientation or []) + [1] * len(guests)
    if len(orientation or []) > len(guests):
        raise BadInputError(f"{len(orientation or [])} orientations for {len(guests)} guests")
    structure = load_host(host, charge, multiplicity, conformer, molecule)
    fragments: dict[str, Sequence[int]] = {"host": range(len(structure))}
    multiplicities = [structure.multiplicity]
    if guests:
        chosen = [
            Placed(name, found := select_place(find_sites(structure, name), query), found.members[0], turn)
            for name, query, turn in zip(guests, places, turns, strict=False)
        ]
        built = place_guests(structure, chosen)
        structure, multiplicities = built.structure, list(built.multiplicities)
        fragments = {name: list(atoms) for name, atoms in built.fragments.items()}
    comment = f"{structure.name} charge={structure.charge} multiplicity={structure.multiplicity}"
    if style == "xyz":
        write_text(format_xyz(structure, comment), output)
    elif style == "pdb":
        write_text(format_pdb(structure, fragments), output)
    else:
        data = {
            "name": structure.name,
            "formula": structure.formula,
            "symbols": list(structure.symbols),
            "positions_angstrom": structure.positions.tolist(),
            "charge": structure.charge,
            "multiplicity": structure.multiplicity,
            "multiplicities_to_compute": multiplicities,
            "fragments": {name: list(atoms) for name, atoms in fragments.items()},
        }
        write_text(json.dumps(data, indent=2) + "\n", output)


def _build_format(style: str | None, output: Path | None) -> str:
    """The format asked for, or that of the file's name; refused where the two disagree."""
    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    if suffix and suffix not in _BUILD_FORMATS:
        raise BadInputError(f"cannot write {output}: files that end in {', '.join(_BUILD_FORMATS)} are written")
    chosen = style or suffix or "xyz"
    if chosen not in _BUILD_FORMATS:
        raise UnknownNameError("format", chosen, _BUILD_FORMATS)
    if suffix and suffix != chosen:
        raise BadInputError(f"--format {chosen} does not go with the name of the file {output}")
    return chosen


def hosts(
    pattern: Annotated[str, typer.Argument(help="Only names that contain this.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the hosts that have a name."""
    from alkaflow.structures import BUILTIN

    names = sorted(name for name in BUILTIN if pattern.lower() in name)
    if as_json:
        print_json(names)
    elif not names:
        raise UnknownNameError("host", pattern, BUILTIN)
    else:
        print("\n".join(names))


def guests(as_json: JsonOption = False) -> None:
    """List the guests that can be placed."""
    from alkaflow.structures import GUESTS

    rows = [(g.name, g.structure.formula, g.charge, g.multiplicity) for g in GUESTS.values()]
    if as_json:
        keys = ("name", "formula", "charge", "multiplicity")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        print_columns(("guest", "formula", "charge", "2S+1"), rows)


COMMANDS: dict[str, Callable[..., Any]] = {
    "sites": sites,
    "placements": placements,
    "build": build,
    "hosts": hosts,
    "guests": guests,
}
