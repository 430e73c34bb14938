"""Adsorption energies of the rows of all submitted studies, from what is computed so far."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from alkaflow.analysis import TableRow
from alkaflow.errors import AlkaflowError
from alkaflow.launchpad.campaign import table_of
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.plan_store import site_names, stored_plan
from alkaflow.launchpad.query_filters import SUBMIT_AGAIN, Filters, known_name
from alkaflow.launchpad.query_rows import with_known_names
from alkaflow.settings import Settings

KEYS = (
    "study", "protocol", "level", "label", "host", "guest", "site", "site_kind", "site_label", "final_site",
    "final_label", "computed_ev", "published_ev", "difference_ev", "tolerance_ev", "verdict", "multiplicity",
    "s_squared", "guest_charge", "problem", "calculations",
)  # fmt: skip
"""What is said of a row."""

_UNREADABLE = "its plan was stored by another version of alkaflow; submit the study again"


def row_energies(database: Database, settings: Settings, filters: Filters) -> Iterator[dict[str, Any]]:
    """The rows of submitted studies, study by study, each as it was submitted last; see `KEYS`.

    Parameters
    ----------
    database, settings
        Where the results are.
    filters
        Guest, site (where the guest starts), host and study of the rows, and the page; the rest is not looked at.

    Raises
    ------
    UnknownNameError
        No submitted study has such a guest, site or host, or there is no such study.
    """
    if filters.study is not None:
        known = database.plans.distinct("study.name")
        filters = replace(filters, study=known_name("submitted study", filters.study, known, SUBMIT_AGAIN))
    filters = with_known_names(database, filters)
    query: Document = {"study.name": filters.study} if filters.study is not None else {}
    order = [("study.name", 1), ("protocol", 1), ("level", 1), ("submitted", -1), ("number", 1)]
    first = (filters.page - 1) * filters.limit if filters.limit else 0
    seen: set[tuple[str, ...]] = set()
    for document in database.plans.find(query).sort(order).allow_disk_use(True):
        rows = []
        for row in document["rows"]:
            key = (document["study"]["name"], document["protocol"], row["level"] or document["level"], row["host"],
                   row["guest"], row["site"], row["label"])  # fmt: skip
            if key not in seen and _fits(row, filters):
                seen.add(key)
                if len(seen) > first and (filters.limit is None or len(seen) <= first + filters.limit):
                    rows.append(row)
        if rows:
            yield from _energies(database, settings, document | {"rows": rows})
        if filters.limit is not None and len(seen) >= first + filters.limit:
            return


def _fits(row: Document, filters: Filters) -> bool:
    return (
        filters.guest in (None, row["guest"])
        and filters.host in (None, row["host"])
        and (filters.site is None or filters.site in site_names(row["site"], row["site_kind"], row["site_label"]))
    )


def _energies(database: Database, settings: Settings, document: Document) -> list[dict[str, Any]]:
    plan = stored_plan(database, document)
    try:
        rows = table_of(database, settings, plan).rows if plan is not None else None
    except AlkaflowError:  # a guest that this version does not know
        rows = None
    if rows is None:
        return [_unreadable(document, row) for row in document["rows"]]
    return [_said(document["study"]["name"], row) for row in rows]


def _said(study: str, row: TableRow) -> dict[str, Any]:
    held = row.model_dump(mode="json") | {"study": study, "site": row.start_site}
    return {key: held[key] for key in KEYS}


def _unreadable(document: Document, row: Document) -> dict[str, Any]:
    known = row | {"study": document["study"]["name"], "protocol": document["protocol"], "verdict": "missing"}
    known |= {"level": row["level"] or document["level"], "problem": _UNREADABLE}
    known |= {"guest_charge": {}, "calculations": {}}
    return {key: known.get(key) for key in KEYS}
