"""Answers of the database: which calculations fit some filters, in which order, and what is known of each.

First the ids are found, from indexes as far as they go, and put in order; then what is known of those on the page is
read, some at a time. What spans several collections is joined here, as the server would join it a document at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.database import Database, Document
from alkaflow.launchpad.plan_store import places_of
from alkaflow.launchpad.query_filters import STEPS, SUBMIT_AGAIN, Filters, elements_of, known_name

_IN_THE_DOCUMENT = {"submitted": [], "formula": ["formula"], "level": ["level"], "step": ["step"], "state": ["state"]}
_CONVERGED = "converged"
_PIECE = 5000
_ANSWER = [("_id", 1), ("energy_hartree", 1), ("provenance.finished", 1)]
_FIELDS = {"input.positions": 0, "input.symbols": 0, "input.level": 0, "input.fragments": 0, "claim": 0, "progress": 0}


def with_known_names(database: Database, filters: Filters) -> Filters:
    """The same with names as the database has them.

    Raises
    ------
    UnknownNameError
        No submitted study has such a guest, site or host, or there is no such study.
    """
    names: dict[str, Any] = {}
    if filters.study is not None:
        known = [name for name in database.calculations.distinct("studies") if name]
        names["study"] = known_name("submitted study", filters.study, known)
    for key, field in (("guest", "guest"), ("site", "names"), ("host", "host")):
        value = getattr(filters, key)
        if value is not None:
            known = [name for name in database.places.distinct(field) if name is not None]
            names[key] = known_name(f"{key} of the submitted studies:", value, known, "" if known else SUBMIT_AGAIN)
    return replace(filters, **names)


def count(database: Database, filters: Filters) -> int:
    """How many calculations fit, whatever the page; see `with_known_names` for the errors."""
    match, only = _resolved(database, with_known_names(database, filters))
    if only is None:
        return database.calculations.count_documents(match)
    return sum(
        database.calculations.count_documents(match | {"_id": {"$in": list(some)}}) for some in pieces(only, _PIECE)
    )


def ordered_ids(database: Database, filters: Filters) -> list[str]:
    """Ids of the calculations that fit, in order, those of the page alone; see `with_known_names` for the errors."""
    return _ordered(database, with_known_names(database, filters))


def _ordered(database: Database, filters: Filters) -> list[str]:
    match, only = _resolved(database, filters)
    first = (filters.page - 1) * filters.limit if filters.limit else 0
    last = first + filters.limit if filters.limit else None
    few = only is not None and (filters.limit is None or len(only) <= _PIECE)
    if few or filters.sort not in _IN_THE_DOCUMENT:
        return _in_order(database, filters, _fitting(database, match, only))[first:last]
    way = -1 if filters.reverse else 1
    keys = [(key, way) for key in (*_IN_THE_DOCUMENT[filters.sort], "firework")]
    cursor = database.calculations.find(match, {"_id": 1}).sort(keys)
    if only is None:
        return [d["_id"] for d in cursor.skip(first).limit(filters.limit or 0)]
    wanted = set(only)  # among so many the page is soon full
    with cursor:
        return list(islice((d["_id"] for d in cursor if d["_id"] in wanted), first, last))


def rows_of(database: Database, filters: Filters) -> Iterator[dict[str, Any]]:
    """What is known of the calculations that fit, in order, those of the page alone; times are points in time."""
    filters = with_known_names(database, filters)
    for some in pieces(_ordered(database, filters)):
        wanted = {"_id": {"$in": list(some)}}
        found = {d["_id"]: d for d in database.calculations.find(wanted, _FIELDS)}
        fields = {"energy_hartree": 1, "s_squared": 1, "populations.charges": 1, "provenance.finished": 1}
        records = {d["_id"]: d for d in database.records.find(wanted, fields)}
        places = places_of(database, some, filters.guest, filters.site, filters.host)
        failed = _ends(database, [i for i in some if i in found and i not in records])
        for i in some:
            if i in found:
                yield _row(found[i], records.get(i), places.get(i), failed.get(i))


def _row(document: Document, record: Document | None, place: Document | None, ended: datetime | None) -> dict[str, Any]:
    where: Document = place or {}
    failure = document["failure"]
    outcome = _CONVERGED if document["state"] == "COMPLETED" else failure["outcome"] if failure else None
    finished = _point(record["provenance"]["finished"]) if record else ended if outcome else None
    return (
        {"id": document["_id"]}
        | {key: document[key] for key in ("step", "state", "level", "formula", "title", "studies", "parent")}
        | {key: document["input"].get(key) for key in ("charge", "multiplicity", "constraints")}
        | {"energy_hartree": record["energy_hartree"] if record else None, "outcome": outcome}
        | {"part": where.get("part")}
        | {key: where.get(key) for key in ("host", "guest", "site", "site_kind", "site_label")}
        | {"s_squared": record.get("s_squared") if record else None, "guest_charge": _guest_charge(record, where)}
        | {"submitted": document["created"], "finished": finished}
    )


def _guest_charge(record: Document | None, place: Document) -> dict[str, float]:
    """Charge of the guests, whose atoms come after those of the host, by scheme [e]."""
    populations = record.get("populations") if record else None
    if not populations or place.get("part") != "complex":
        return {}
    return {scheme: float(sum(values[place["host_atoms"] :])) for scheme, values in populations["charges"].items()}


def _resolved(database: Database, filters: Filters) -> tuple[Document, list[str] | None]:
    """A query on ``calculations``, and the ids among which it is asked, None for all."""
    match = _query(filters)
    if filters.element is not None:
        formulas = [f for f in database.calculations.distinct("formula") if filters.element in elements_of(f)]
        match = {"$and": [match, {"formula": {"$in": formulas}}]}
    only = _ids_of_places(database, filters) if filters.asks_for_places else None
    if filters.since is not None or filters.until is not None:
        only = _ended_between(database, filters, match, only)
    return match, only


def _query(filters: Filters) -> Document:
    """What a document of ``calculations`` says of itself."""
    asked = {
        "studies": filters.study,
        "level": filters.level,
        "step": filters.step,
        "state": filters.state,
        "formula": filters.formula,
        "input.charge": filters.charge,
        "input.multiplicity": filters.multiplicity,
        "failure.outcome": None if filters.outcome == _CONVERGED else filters.outcome,
    }
    match: Document = {field: value for field, value in asked.items() if value is not None}
    if filters.level is not None and filters.step is None:
        match["step"] = {"$in": list(STEPS)}  # so that the index by step and level serves
    return {"$and": [match, {"state": "COMPLETED"}]} if filters.outcome == _CONVERGED else match


def _ids_of_places(database: Database, filters: Filters) -> list[str]:
    asked = {"guest": filters.guest, "host": filters.host, "names": filters.site}
    query = {field: value for field, value in asked.items() if value is not None}
    found = database.places.find(query, {"calculation": 1, "_id": 0})
    return sorted({d["calculation"] for d in found})


def _ended_between(database: Database, filters: Filters, match: Document, only: list[str] | None) -> list[str]:
    """Ids of the calculations that were done, or failed, in a time; of those given."""
    since, until = filters.since or datetime.min.replace(tzinfo=UTC), filters.until or datetime.max.replace(tzinfo=UTC)
    # Records keep times as ISO text in UTC, which orders as the times do to the second; then it is looked at closely.
    rough: Document = {"step": {"$in": list(STEPS)}, "provenance.finished": {}}
    if filters.since is not None:
        rough["provenance.finished"]["$gte"] = f"{since:%Y-%m-%dT%H:%M:%S}"
    if filters.until is not None:
        rough["provenance.finished"]["$lte"] = f"{until:%Y-%m-%dT%H:%M:%S}~"
    found = {
        d["_id"]
        for d in database.records.find(rough, {"provenance.finished": 1})
        if since <= _point(d["provenance"]["finished"]) <= until
    }
    failed = [d["_id"] for d in database.calculations.find({"$and": [match, {"state": "FIZZLED"}]}, {"_id": 1})]
    found |= {i for i, ended in _ends(database, failed).items() if since <= ended <= until}
    return sorted(found if only is None else found & set(only))


def _ends(database: Database, calculations: Sequence[str]) -> dict[str, datetime]:
    """When the last try of each calculation ended."""
    ends: dict[str, datetime] = {}
    for some in pieces(calculations, _PIECE):
        fields = {"calculation": 1, "ended": 1}
        for attempt in database.attempts.find({"calculation": {"$in": list(some)}}, fields):
            name, ended = attempt["calculation"], attempt["ended"]
            ends[name] = max(ended, ends.get(name, ended))
    return ends


def _fitting(database: Database, match: Document, only: list[str] | None) -> Iterator[Document]:
    fields = {"firework": 1, "formula": 1, "level": 1, "step": 1, "state": 1}
    if only is None:
        yield from database.calculations.find(match, fields)
        return
    for some in pieces(only, _PIECE):
        yield from database.calculations.find({"$and": [match, {"_id": {"$in": list(some)}}]}, fields)


def _in_order(database: Database, filters: Filters, documents: Iterable[Document]) -> list[str]:
    """Ids sorted by what was asked for, then by submission; those without a value last, whichever way."""
    numbers = {d["_id"]: (d, d["firework"] or 0) for d in documents}
    if filters.sort in _IN_THE_DOCUMENT:
        keys = _IN_THE_DOCUMENT[filters.sort]
        values = {i: tuple(d[key] for key in keys) for i, (d, _) in numbers.items()}
    elif filters.sort == "energy":
        values = {i: (record["energy_hartree"],) for i, record in _answers(database, list(numbers))}
    else:
        values = {i: (_point(record["provenance"]["finished"]),) for i, record in _answers(database, list(numbers))}
        failed = [i for i, (d, _) in numbers.items() if d["state"] == "FIZZLED" and i not in values]
        values |= {i: (ended,) for i, ended in _ends(database, failed).items()}
    with_value = sorted(values, key=lambda i: (values[i], numbers[i][1], i), reverse=filters.reverse)
    without = sorted(set(numbers) - set(values), key=lambda i: (numbers[i][1], i), reverse=filters.reverse)
    return with_value + without


def _answers(database: Database, ids: Sequence[str]) -> Iterator[tuple[str, Document]]:
    """Energy and end of the records among some ids, from an index alone."""
    fields = {"energy_hartree": 1, "provenance.finished": 1}
    for some in pieces(ids, _PIECE):
        for record in database.records.find({"_id": {"$in": list(some)}}, fields).hint(_ANSWER):
            yield record["_id"], record


def _point(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
