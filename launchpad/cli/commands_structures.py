"""sites, build."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.cli.output import print_columns, print_json, write_text

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="A built-in name, an XYZ file or a SMILES string.")]
ChargeOption = Annotated[int | None, typer.Option("--charge", help="Charge of the host, instead of its source's.")]
MultiplicityOption = Annotated[int | None, typer.Option("--multiplicity", min=1, help="2S+1 of the host.")]
_BUILD_FORMATS = ("xyz", "json")


def sites(
    host: HostArgument,
    guest: Annotated[str, typer.Option("--guest", help="Whose distances place the sites.")] = "Li",
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.001, max=1.0, help="Of the symmetry detection [Angstrom].")
    ] = 0.15,
    charge: ChargeOption = None,
    multiplicity: MultiplicityOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the symmetry-distinct places of a host where a guest binds."""
    from alkaflow.structures import find_sites, load_host
    from alkaflow.structures.sites import RULES

    structure = load_host(host, charge, multiplicity)
    found = find_sites(structure, guest, tolerance)
    if as_json:
        print_json([_site_data(site) for site in found])
        return
    print(f"{structure.name or host}, {structure.formula}: symmetry-distinct sites: {len(found)}")
    if not found:
        print(f"it has none of the kinds that are looked for: {', '.join(RULES)}")
    if found:
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


def build(
    host: HostArgument,
    guest: Annotated[str | None, typer.Option("--guest", help="Place this guest.")] = None,
    site: Annotated[str | None, typer.Option("--site", help="At this site: id, member id, kind or label.")] = None,
    charge: ChargeOption = None,
    multiplicity: MultiplicityOption = None,
    style: Annotated[str, typer.Option("--format", help=f"One of: {', '.join(_BUILD_FORMATS)}.")] = "xyz",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")] = None,
) -> None:
    """Write the structure of a host, or of a host with a guest at a site."""
    from alkaflow.structures import build_complex, find_sites, format_xyz, load_host, select_place

    if style not in _BUILD_FORMATS:
        raise UnknownNameError("format", style, _BUILD_FORMATS)
    if (guest is None) != (site is None):
        raise BadInputError("give both --guest and --site, or neither for the bare host")
    structure = load_host(host, charge, multiplicity)
    fragments = {"host": list(range(len(structure)))}
    if guest is not None and site is not None:
        built = build_complex(structure, guest, select_place(find_sites(structure, guest), site))
        structure, fragments = built.structure, {name: list(atoms) for name, atoms in built.fragments.items()}
    comment = f"{structure.name} charge={structure.charge} multiplicity={structure.multiplicity}"
    if style == "xyz":
        write_text(format_xyz(structure, comment), output)
        return
    data = {
        "name": structure.name,
        "formula": structure.formula,
        "symbols": list(structure.symbols),
        "positions_angstrom": structure.positions.tolist(),
        "charge": structure.charge,
        "multiplicity": structure.multiplicity,
        "fragments": fragments,
    }
    write_text(json.dumps(data, indent=2) + "\n", output)


COMMANDS: dict[str, Callable[..., Any]] = {"sites": sites, "build": build}
