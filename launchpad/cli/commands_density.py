"""charges, esp: what the electron density of a calculation says."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli.output import print_columns, print_json, say
from alkaflow.settings import load_settings

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a calculation, or its beginning.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_CONFLICT = 0.05  # of charges of two signs, from which a table says so [e]


def charges(
    calculation: IdArgument,
    spins: Annotated[bool, typer.Option("--spins", help="Unpaired electrons on atoms instead of charges.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw them on the structure: a PNG or SVG file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print atomic charges by all schemes side by side, with the sums over host and guest.

    From the record of the step properties where there is one (reproduce --properties), computed here otherwise.
    """
    from alkaflow.analysis.populations import SCHEMES, atomic_charges, in_order
    from alkaflow.analysis.potential import FittedPotential
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.densities import density_of_record, find

    check_writable(picture, (".png", ".svg"))
    with open_database(load_settings()) as database:
        found = find(database, calculation)
        known = found.properties.populations if found.properties else None
        if known is None:
            density = density_of_record(database, found.energy)
            known = atomic_charges(
                density, potential=FittedPotential(density), progress=lambda name: say(f"{name} ...")
            )
    values = known.spins if spins else known.charges
    if spins and not values:
        raise BadInputError(f"calculation {found.energy.id} has no unpaired electrons; leave out --spins")
    ordered = in_order(values)
    if picture is not None:
        _draw_charges(found, ordered, spins, picture)
    if as_json:
        print_json(ordered)
        return
    titles = {scheme.name: scheme.title for scheme in SCHEMES}
    _print_charges(found, {titles.get(name, name): column for name, column in ordered.items()}, spins)


def _print_charges(found: Any, columns: dict[str, list[float]], spins: bool) -> None:
    """One row for each atom, the sums over fragments, and where schemes contradict each other."""
    from alkaflow.analysis.populations import fragment_sums, sign_conflicts

    symbols = found.energy.symbols
    doubtful = set() if spins else set(sign_conflicts(columns, _CONFLICT))
    rows = [
        (k, symbol, *(f"{column[k]:+.3f}" for column in columns.values()), "signs differ" if k in doubtful else "")
        for k, symbol in enumerate(symbols)
    ]
    sums = fragment_sums(columns, found.fragments)
    rows += [
        ("", fragment, *(f"{sums[title][fragment]:+.3f}" for title in columns), "") for fragment in found.fragments
    ]
    rows.append(("", "sum", *(f"{sum(column):+.3f}" for column in columns.values()), ""))
    what = "unpaired electrons" if spins else "charges / e"
    print(f"{found.energy.formula}, {found.energy.level}: {what}")
    print_columns(("atom", "", *columns, ""), rows)
    if doubtful:
        print(f"signs differ: one scheme has more than +{_CONFLICT} e there, another less than -{_CONFLICT} e")


def _draw_charges(found: Any, values: dict[str, list[float]], spins: bool, path: Path) -> None:
    from alkaflow.analysis.plot_charges import charges_picture
    from alkaflow.analysis.plot_style import save_figure

    title = f"{found.energy.formula}, {found.energy.level}"
    save_figure(charges_picture(found.structure, values, "spin" if spins else "charge", title=title), path)
    say(f"written: {path}")


def esp(
    calculation: IdArgument,
    cube: Annotated[Path | None, typer.Option("--cube", help="Write the potential to this cube file.")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the surface: a PNG or SVG file.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with the surface to turn.")] = None,
    spacing: Annotated[
        float, typer.Option("--spacing", min=0.05, max=2.0, help="Of the points of the cube [bohr].")
    ] = 0.3,
    guest: Annotated[
        str | None, typer.Option("--guest", help="Also the potential above the sites of this guest, the best first.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the electrostatic potential on the surface of 0.001 e/bohr^3: its extrema, areas and averages.

    From the record of the step properties where there is one (reproduce --properties), computed here otherwise.
    """
    from alkaflow.analysis.potential import FittedPotential
    from alkaflow.analysis.surface_record import mesh_of_arrays
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.densities import arrays_of, density_of_record, find
    from alkaflow.workflows.properties import describe_surface

    for path, suffixes in ((cube, (".cube", ".cub")), (picture, (".png", ".svg")), (html, (".html", ".htm"))):
        check_writable(path, suffixes)
    with open_database(load_settings()) as database:
        found = find(database, calculation)
        known = found.properties
        needed = known is None or cube is not None or guest is not None
        density = density_of_record(database, found.energy) if needed else None
        mesh, surface = None, known.surface if known else None
        if known is not None and surface is not None:
            mesh = mesh_of_arrays(arrays_of(database, known), surface.isovalue)
        if mesh is None or surface is None:
            density = density or density_of_record(database, found.energy)
            surface, mesh = describe_surface(density, FittedPotential(density), lambda what: say(f"{what} ..."))
    if cube is not None and density is not None:
        _write_potential(density, spacing, cube)
    sites = _sites(density, found.structure, guest) if guest is not None else []
    title = f"{found.energy.formula}, {found.energy.level}"
    _draw_surface(mesh, surface, found.structure, title, picture, html)
    data = surface.model_dump(mode="json")
    if as_json:
        data = {"id": found.energy.id, "formula": found.energy.formula, "level": found.energy.level} | data
        print_json(data | ({"sites": sites} if guest is not None else {}))
    else:
        _print_surface(title, found.energy.symbols, data)
        _print_sites(sites, guest)


def _write_potential(density: Any, spacing: float, path: Path) -> None:
    from alkaflow.analysis.cube import electrostatic_potential, write_cube
    from alkaflow.analysis.grid import Box

    write_cube(electrostatic_potential(density, Box.around(density.molecule.atom_coords(), 6.0, spacing)), path)
    say(f"written: {path}")


def _draw_surface(mesh: Any, surface: Any, structure: Any, title: str, picture: Path | None, html: Path | None) -> None:
    """The surface with its extrema: a picture, a page to turn it in, or both."""
    from alkaflow.analysis.surface_record import marks_of_surface

    extrema = marks_of_surface(surface)
    if picture is not None:
        from alkaflow.analysis.plot_style import save_figure
        from alkaflow.analysis.surface_picture import surface_picture

        save_figure(surface_picture(mesh, structure, extrema, title=title, isovalue=mesh.isovalue), picture)
        say(f"written: {picture}")
    if html is not None:
        from alkaflow.analysis.viewer import page, surface_view
        from alkaflow.launchpad.cli.output import write_text

        view = surface_view(mesh, structure, extrema, caption=title, isovalue=mesh.isovalue)
        write_text(page(title, view), html)


def _sites(density: Any, structure: Any, guest: str) -> list[dict[str, Any]]:
    """The potential on the surface above each site of a guest [kcal/mol], where it attracts the guest most first.

    Anions, and neutral molecules that are placed as such, go where it is positive; whatever else where it is negative.
    """
    import numpy as np

    from alkaflow.analysis.surface import site_values
    from alkaflow.structures import find_sites, get_guest

    sites = find_sites(structure, guest)
    if not sites:
        return []
    sign = -1.0 if get_guest(guest).charge < 0 else 1.0
    positions, normals = (np.array([getattr(site, name) for site in sites]) for name in ("position", "normal"))
    points = site_values(density, positions, normals)
    rows = [
        {
            "site": site.id,
            "label": site.label,
            "multiplicity": site.multiplicity,
            "value_kcal_mol": point.value_kcal_mol,
            "position_angstrom": list(point.position_angstrom),
            "atom": point.atom,
        }
        for site, point in zip(sites, points, strict=True)
    ]
    return sorted(rows, key=lambda row: sign * row["value_kcal_mol"])


def _print_sites(sites: list[dict[str, Any]], guest: str | None) -> None:
    if guest is None:
        return
    print(f"on the surface above the sites of {guest}, the most attractive first:")
    print_columns(
        ("site", "label", "multiplicity", "kcal/mol"),
        [(row["site"], row["label"], row["multiplicity"], f"{row['value_kcal_mol']:+.2f}") for row in sites],
    )


def _print_surface(title: str, symbols: list[str], data: dict[str, Any]) -> None:
    print(f"{title}: potential on the surface of {data['isovalue']} e/bohr^3; positive repels a cation")
    rows = [
        (name, f"{point['value_kcal_mol']:+.2f}", f"{symbols[point['atom']]}{point['atom']}",
         *(f"{x:9.3f}" for x in point["position_angstrom"]))
        for name, points in (("V_S,max", data["v_s_max"]), ("V_S,min", data["v_s_min"]))
        for point in points
    ]  # fmt: skip
    print_columns(("", "kcal/mol", "atom", "x / Angstrom", "y", "z"), rows)
    print(
        f"area {data['area_angstrom2']:.1f} Angstrom^2 ({data['positive_area_angstrom2']:.1f} positive, "
        f"{data['negative_area_angstrom2']:.1f} negative), volume {data['volume_angstrom3']:.1f} Angstrom^3"
    )
    print(
        f"mean {data['mean_kcal_mol']:+.2f}, average deviation {data['average_deviation_kcal_mol']:.2f} kcal/mol; "
        f"variance {data['variance']:.1f} (kcal/mol)^2 ({data['variance_positive']:.1f} positive, "
        f"{data['variance_negative']:.1f} negative), balance {data['balance']:.3f}"
    )
    if data["fit_error_kcal_mol"] is not None:
        print(
            f"fitted potential; off the exact one by at most {data['fit_error_kcal_mol']:.3f} kcal/mol; extrema exact"
        )


def check_writable(path: Path | None, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that could not be written after the work is done."""
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise BadInputError(f"cannot write {path}: its name has to end in {' or '.join(suffixes)}")
    folder = path.absolute().parent
    if not folder.is_dir() or path.is_dir():
        raise BadInputError(f"cannot write {path}: {'it is a directory' if path.is_dir() else f'no folder {folder}'}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"cannot write {path}: no permission")


COMMANDS: dict[str, Callable[..., Any]] = {"charges": charges, "esp": esp}
