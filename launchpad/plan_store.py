"""What submitted studies asked for: their rows, and which calculation is of which host, guest and site.

A calculation knows its structure and nothing of hosts, guests and sites, and the same one may serve many studies. So
two collections beside ``calculations`` say that. ``plans`` holds the plans as submitted, host by host, without the
inputs, which are in ``calculations``. ``places`` has one document for every part that a calculation plays: ``complex``
(of a guest at a site of a host), ``host`` or ``guest`` (alone, or as a half of a complex). Both are only added to, and
adding again changes nothing.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pymongo import UpdateOne

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.locks import Refresh
from alkaflow.plans import PLACES_JOINT, Leg, Plan, PlanRow

_PLACES_VERSION = 1
_ROWS_TOGETHER = 200  # far below the 16 MB of a document


def keep_plan(database: Database, plan: Plan, refresh: Refresh) -> None:
    """Note rows and places of a plan that is submitted.

    Parameters
    ----------
    database
        Where to.
    plan
        Of a study.
    refresh
        Called after every batch, to keep a lock.
    """
    now = datetime.now(UTC)
    plans = [document | {"submitted": now, "number": number} for number, document in enumerate(_plan_documents(plan))]
    places = list({document["_id"]: document for document in _places(plan)}.values())
    for collection, documents in ((database.plans, plans), (database.places, places)):
        for some in pieces(documents):
            collection.bulk_write([_upsert(document) for document in some], ordered=False)
            refresh()


def _upsert(document: Document) -> UpdateOne:
    fields = {key: value for key, value in document.items() if key != "_id"}
    return UpdateOne({"_id": document["_id"]}, {"$set": fields}, upsert=True)


def _plan_documents(plan: Plan) -> Iterator[Document]:
    """The plan host by host, some rows at a time; what is the same has the same id."""
    for host in plan.hosts:
        entries = [entry for entry in plan.study.hosts if entry.name == host]
        published = [row for row in plan.study.published if row.host == host]
        study = plan.study.model_copy(update={"hosts": entries, "published": published})
        for rows in pieces([row for row in plan.rows if row.host == host], _ROWS_TOGETHER):
            part = plan.model_copy(
                update={"study": study, "hosts": {host: plan.hosts[host]}, "rows": list(rows), "calculations": {},
                        "titles": {}}
            )  # fmt: skip
            content = part.model_dump(mode="json", exclude={"calculations", "titles", "alone"})
            yield content | {"_id": sha256_of(json.dumps(content, sort_keys=True).encode())[:20]}


def _places(plan: Plan) -> Iterator[Document]:
    for host, alone in plan.alone.items():
        for leg in alone.states:
            yield from (_place(i, "host", host=host) for i in _ids(leg))
    for row in plan.rows:
        atoms = len(plan.hosts[row.host].symbols)
        for leg in row.host_leg.states:
            yield from (_place(i, "host", host=row.host) for i in _ids(leg))
        for leg in row.guest_leg.states:
            yield from (_place(i, "guest", guest=row.guest) for i in _ids(leg))
        whole = _site(row) | {"host": row.host, "guest": row.guest, "guests": len(row.places), "host_atoms": atoms}
        for leg in row.complex_leg.states:
            yield from (_place(i, "complex", **whole) for i in _ids(leg))
            if leg.halves is not None:
                yield from (_place(i, "host", host=row.host) for i in [*leg.halves.host, *leg.halves.host_in_basis])
                guests = (leg.halves.guest, leg.halves.guest_in_basis)
                yield from (_place(i, "guest", guest=row.guest) for i in guests if i is not None)
        for leg in row.before_leg.states if row.before_leg else ():
            yield from (_place(i, "complex", **whole | _site(row, first=True) | {"guests": 1}) for i in _ids(leg))


def _ids(leg: Leg) -> list[str]:
    """Those of one spin state: its steps, and whatever follows its energy."""
    return [*leg.ids, *(value for _, value in leg if isinstance(value, str))]


def _site(row: PlanRow, first: bool = False) -> Document:
    """Id, kind and label of the place of a row, or of the first of several guests."""
    site, kind, label = row.site, row.site_kind, row.site_label
    if first:
        site, kind, label = (text.split(PLACES_JOINT)[0] for text in (site, kind, label))
    return {"site": site, "site_kind": kind, "site_label": label, "names": site_names(site, kind, label)}


def site_names(site: str, kind: str, label: str) -> list[str]:
    """What a site answers to, in lower case: its id, kind and label; of several guests also those of each place."""
    names = []
    for text in (site, kind, label):
        names += [text, *(part.split(", ")[0] for part in text.split(PLACES_JOINT))]
    names += [part.partition(".")[0] for part in site.split(PLACES_JOINT)]  # bay-1 of its member bay-1.2
    return list(dict.fromkeys(name.lower() for name in names))


def _place(calculation: str, part: str, **what: Any) -> Document:
    held: Document = {"host": None, "guest": None, "site": None, "site_kind": None, "site_label": None, "names": [],
                      "guests": 0, "host_atoms": None}  # fmt: skip
    held |= what
    key = ":".join([calculation, part, *(held[key] or "" for key in ("host", "guest", "site"))])
    return {"_id": key, "schema_version": _PLACES_VERSION, "calculation": calculation, "part": part} | held


def places_of(
    database: Database, calculations: Sequence[str], guest: str | None, site: str | None, host: str | None
) -> dict[str, Document]:
    """The place of each calculation that has one; of several one that was asked for, a complex first."""

    def asked_for(place: Document) -> bool:
        return (
            (guest is None or place["guest"] == guest)
            and (host is None or place["host"] == host)
            and (site is None or site in place["names"])
        )

    found: dict[str, Document] = {}
    for some in pieces(calculations):
        places = list(database.places.find({"calculation": {"$in": list(some)}}))
        for place in sorted(places, key=lambda place: (not asked_for(place), place["part"], place["_id"])):
            found.setdefault(place["calculation"], place)
    return found


def stored_plan(database: Database, document: Document) -> Plan | None:
    """The plan that a document of ``plans`` holds, with its inputs; None where this version cannot read it.

    Rows whose calculations the database does not know, as their submission was cut short, are left out.
    """
    content = {key: value for key, value in document.items() if key not in ("_id", "submitted", "number")}
    try:
        plan = Plan.model_validate(content | {"calculations": {}, "titles": {}})
        wanted = sorted({i for row in plan.rows for i in _all_ids(row)})
        inputs: dict[str, CalculationInput] = {}
        for some in pieces(wanted):
            for held in database.calculations.find({"_id": {"$in": list(some)}}, {"input": 1}):
                inputs[held["_id"]] = CalculationInput.model_validate(held["input"])
    except ValidationError:
        return None
    rows = [row for row in plan.rows if row.complex_leg.energy in inputs]
    return plan.model_copy(update={"rows": rows, "calculations": inputs})


def row_of_complex(database: Database, calculation: str) -> tuple[Plan, PlanRow] | None:
    """The plan and the row that a calculation on a complex is of, without inputs; of several studies the last.

    A complex with the first of several guests alone comes as a row of that guest. None for anything else, and where
    this version cannot read the plan.
    """
    if database.places.find_one({"calculation": calculation, "part": "complex"}, {"_id": 1}) is None:
        return None
    legs = ("complex_leg", "before_leg")
    names = (
        "ids",
        "others.ids",
        *(f"{some}{step}" for some in ("", "others.") for step in ("frequencies", "properties")),
    )
    where = [{f"rows.{leg}.{name}": calculation} for leg in legs for name in names]
    for document in database.plans.find({"$or": where}).sort("submitted", -1):
        content = {key: value for key, value in document.items() if key not in ("_id", "submitted", "number")}
        try:
            plan = Plan.model_validate(content | {"calculations": {}, "titles": {}})
        except ValidationError:
            continue
        for row in plan.rows:
            if any(calculation in _ids(leg) for leg in row.complex_leg.states):
                return plan, row
            if row.before_leg and any(calculation in _ids(leg) for leg in row.before_leg.states):
                return plan, row.model_copy(update={"site": row.places[0], "before_leg": None})
    return None


def _all_ids(row: PlanRow) -> Iterator[str]:
    for leg in row.legs:
        yield from _ids(leg)
        if leg.halves is not None:
            yield from leg.halves.ids
