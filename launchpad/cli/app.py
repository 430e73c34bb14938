"""The commands, put together."""

from typing import Annotated

import typer

from alkaflow.launchpad.cli import (
    commands_calculate,
    commands_cluster,
    commands_contacts,
    commands_cube,
    commands_db,
    commands_density,
    commands_queue,
    commands_report,
    commands_results,
    commands_structures,
    commands_studies,
)

app = typer.Typer(
    name="alkaflow",
    help="Published adsorption-energy tables as executable tests.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from alkaflow import __version__

        typer.echo(f"alkaflow {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; works anywhere.")] = False,
) -> None:
    del version, debug  # the one acts in its callback, the other is taken out before parsing


for name, function in commands_studies.COMMANDS.items():
    app.command(name)(function)
for name, function in commands_queue.COMMANDS.items():
    app.command(name)(function)
for name, function in commands_report.COMMANDS.items():
    app.command(name)(function)
app.command("calculate")(commands_calculate.calculate)
for name, function in commands_density.COMMANDS.items():
    app.command(name)(function)
for name, function in commands_structures.COMMANDS.items():
    app.command(name)(function)
app.command("cube")(commands_cube.cube)
app.command("contacts")(commands_contacts.contacts)
app.add_typer(commands_results.app, name="results")
app.add_typer(commands_cluster.app, name="cluster")
app.add_typer(commands_db.app, name="db")
app.command("doctor")(commands_db.doctor)
