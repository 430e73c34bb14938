"""cube: volumetric data of a calculation."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.launchpad.cli.commands_density import IdArgument, check_writable
from alkaflow.launchpad.cli.output import say
from alkaflow.settings import load_settings

QUANTITIES = ("density", "spin", "esp", "homo", "lumo", "difference")
Spin = Literal["alpha", "beta"]
_MOST_POINTS = 20_000_000  # 160 MB of numbers, 280 MB of text


def cube(
    calculation: IdArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="A file that ends in .cube.")],
    what: Annotated[str, typer.Option("--what", help=f"One of: {', '.join(QUANTITIES)}.")] = "density",
    part: Annotated[
        list[str] | None,
        typer.Option("--part", help="Of a difference: what is taken off, at the geometry it has there; repeat it."),
    ] = None,
    spin: Annotated[str, typer.Option("--spin", help="Of an orbital: alpha or beta.")] = "alpha",
    spacing: Annotated[float, typer.Option("--spacing", min=0.05, max=2.0, help="Of the points [bohr].")] = 0.3,
    margin: Annotated[float, typer.Option("--margin", min=0.0, max=50.0, help="Around the atoms [bohr].")] = 6.0,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw a difference or a spin density: a PNG or SVG file.")
    ] = None,
) -> None:
    """Write a quantity at the points of a box as a cube file, as VMD, Multiwfn and ASE read it.

    A difference shows where electrons go when a guest binds: the complex less host and guest as they are in it. Studies
    with decomposition: true compute both; an atom may stand anywhere.
    """
    from alkaflow.analysis.cube import write_cube
    from alkaflow.analysis.grid import Box
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.densities import density_of_record, find

    _check(what, part or [], spin, output, picture)
    with open_database(load_settings()) as database:
        found = find(database, calculation)
        density = density_of_record(database, found.energy)
        box = Box.around(density.molecule.atom_coords(), margin, spacing)
        if box.size > _MOST_POINTS:
            raise BadInputError(f"{box.size} points are too many; take a larger --spacing than {spacing} bohr")
        say(f"{what} of {found.energy.formula} at {' x '.join(str(count) for count in box.shape)} points ...")
        volume = _volume(database, found, density, box, what, part or [], ("alpha", "beta").index(spin))
    write_cube(volume, output)
    say(f"written: {output}")
    if picture is not None:
        _draw(volume, found, picture)


def _check(what: str, parts: list[str], spin: str, output: Path, picture: Path | None) -> None:
    """Refuse what would fail after the work is done."""
    if what not in QUANTITIES:
        raise UnknownNameError("quantity", what, QUANTITIES)
    if spin not in ("alpha", "beta"):
        raise UnknownNameError("spin", spin, ("alpha", "beta"))
    if (what == "difference") != bool(parts):
        raise BadInputError("a difference needs --part ID for what is taken off, and nothing else takes it")
    if picture is not None and what not in ("difference", "spin"):
        raise BadInputError("--picture draws a difference or a spin density; a potential is drawn by alkaflow esp")
    check_writable(output, (".cube", ".cub"))
    check_writable(picture, (".png", ".svg"))


def _volume(database: Any, found: Any, density: Any, box: Any, what: str, parts: list[str], spin: int) -> Any:
    from alkaflow.analysis import cube as volumes
    from alkaflow.launchpad.densities import arrays_of, density_of_record, find
    from alkaflow.workflows.frontier import frontier_orbital

    if what == "density":
        return volumes.electron_density(density, box)
    if what == "spin":
        if not density.is_polarised:
            raise BadInputError(f"calculation {found.energy.id} has no unpaired electrons, and so no spin density")
        return volumes.spin_density(density, box)
    if what == "esp":
        return volumes.electrostatic_potential(density, box)
    if what in ("homo", "lumo"):
        arrays = arrays_of(database, found.energy)
        energies = arrays.get(f"energies_{('alpha', 'beta')[spin]}", arrays.get("energies_restricted"))
        wanted = frontier_orbital(density, found.energy.level_of_theory, what, spin, energies)
        return volumes.orbital(wanted, box, spin, wanted.coefficients[spin].shape[1] - 1)
    pieces = [density_of_record(database, find(database, name).energy) for name in parts]
    return volumes.density_difference(density, box, *_in_place(density, pieces))


def _in_place(whole: Any, parts: list[Any]) -> list[Any]:
    """The parts, a single atom moved to where the complex has one that no other part has."""
    from dataclasses import replace

    import numpy as np

    places, symbols = whole.molecule.atom_coords(), whole.molecule.elements
    taken = [part.molecule.atom_coords() for part in parts if part.molecule.natm > 1]
    free = [
        k for k, place in enumerate(places) if all(np.linalg.norm(each - place, axis=1).min() > 1e-3 for each in taken)
    ]
    moved = []
    for part in parts:
        fitting = [k for k in free if symbols[k] == part.molecule.elements[0]]
        if part.molecule.natm == 1 and fitting:
            free.remove(fitting[0])
            atom = part.molecule.copy()
            atom.set_geom_(places[[fitting[0]]], unit="Bohr")
            moved.append(replace(part, molecule=atom))
        else:
            moved.append(part)
    return moved


def _draw(volume: Any, found: Any, path: Path) -> None:
    import numpy as np

    from alkaflow.analysis.plot_style import save_figure
    from alkaflow.analysis.surface_picture import difference_picture

    box, title = volume.box, f"{volume.quantity}, {found.energy.formula}, {found.energy.level}"
    figure = difference_picture(volume.values, np.array(box.origin), np.diag(box.spacing), found.structure, title=title)
    save_figure(figure, path)
    say(f"written: {path}")
