"""contacts: which atoms of a guest touch which of its host."""

from typing import Annotated

import typer

from alkaflow.errors import BadInputError
from alkaflow.launchpad.cli.commands_density import IdArgument, JsonOption
from alkaflow.launchpad.cli.output import print_columns, print_json
from alkaflow.settings import load_settings


def contacts(
    calculation: IdArgument,
    within: Annotated[
        float, typer.Option("--within", min=0.5, max=2.0, help="Of the sum of van der Waals radii.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """List which atoms of the guest of a complex touch which of its host, with distances and hydrogen-bond angles."""
    from alkaflow.analysis.contacts import find_contacts
    from alkaflow.analysis.report_structures import structure_of_record
    from alkaflow.launchpad.database import open_database
    from alkaflow.launchpad.results import find_record

    with open_database(load_settings()) as database:
        record = find_record(database, calculation)
        place = database.places.find_one({"calculation": record.id, "part": "complex"}, {"host_atoms": 1})
    if place is None:
        raise BadInputError(
            f"calculation {record.id} ({record.formula}, {record.step}) is not of a complex of a study; "
            "give one of those that alkaflow results list --part complex shows"
        )
    structure = structure_of_record(record)
    found = find_contacts(structure, place["host_atoms"], within)
    if as_json:
        print_json([contact.model_dump() for contact in found])
        return
    print(f"{record.formula}, {record.level}, {record.step}: atoms nearer than {within:g} times their radii")
    print_columns(
        ("contact", "Angstrom", "of radii", "angle"),
        [
            (
                contact.text(structure.symbols),
                f"{contact.angstrom:.3f}",
                f"{contact.of_van_der_waals:.2f}",
                "" if contact.angle_degrees is None else f"{contact.angle_degrees:.0f}",
            )
            for contact in found
        ],
    )
