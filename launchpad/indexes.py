"""The indexes: ours, and those of FireWorks' ``tuneup`` that its queries here use.

Each one costs time with every calculation that is added. FireWorks' own by category, by date of change, and those that
begin like another one are left out; ``lpad tuneup`` makes them for whoever wants them.
"""

from collections.abc import Iterator
from typing import Any

from pymongo import IndexModel
from pymongo.database import Database as MongoDatabase

INDEXES_VERSION = 2
"""Raised when a line below changes; a database that holds a lower one gets the new indexes when it is opened."""

Keys = str | list[tuple[str, int]]

_OURS: dict[str, list[IndexModel]] = {
    "calculations": [
        IndexModel([("state", 1), ("priority", -1), ("firework", 1)]),
        IndexModel("claim.expires", partialFilterExpression={"claim.expires": {"$exists": True}}),
        IndexModel("claim.job", partialFilterExpression={"claim.job": {"$exists": True}}),
        IndexModel("behind", partialFilterExpression={"behind": True}),
        IndexModel("firework"),
        IndexModel("parent"),
        IndexModel([("studies", 1), ("state", 1)]),
        IndexModel([("step", 1), ("level", 1), ("firework", 1)]),
        IndexModel([("formula", 1), ("firework", 1)]),
        IndexModel("failure.outcome", partialFilterExpression={"failure.outcome": {"$exists": True}}),
    ],
    "attempts": [IndexModel("calculation")],
    "records": [
        IndexModel([("step", 1), ("provenance.finished", -1)]),
        IndexModel([("_id", 1), ("energy_hartree", 1), ("provenance.finished", 1)]),  # documents of 10 kB stay unread
    ],
    "plans": [IndexModel("study.name")],
    "places": [
        IndexModel("calculation"),
        IndexModel([("guest", 1), ("names", 1), ("host", 1), ("calculation", 1)]),
        IndexModel([("names", 1), ("host", 1), ("calculation", 1)]),
        IndexModel([("host", 1), ("calculation", 1)]),
    ],
    "fireworks": [IndexModel([("state", 1), ("spec._priority", -1), ("fw_id", 1)])],
    "workflows": [IndexModel("locked", partialFilterExpression={"locked": True})],
    "files.files": [IndexModel([("filename", 1), ("uploadDate", 1)])],
    "files.chunks": [IndexModel([("files_id", 1), ("n", 1)], unique=True)],
}

_FIREWORKS: dict[str, list[Keys]] = {
    "fireworks": [
        "created_on",
        "name",
        "launches",
        [("state", -1), ("_id", -1)],
    ],
    "launches": [
        "fw_id",
        "state_history.reservation_id",
        "state",
    ],
    "workflows": ["name", "created_on", "nodes", [("state", -1), ("_id", -1)]],
}
_FIREWORKS_UNIQUE: dict[str, str] = {
    "fireworks": "fw_id",
    "launches": "launch_id",
    "fw_gridfs.files": "metadata.launch_id",
}
_GONE: dict[str, list[str]] = {"calculations": ["state_1_claim.expires_1", "studies_1"]}


def wanted_indexes() -> Iterator[tuple[str, list[IndexModel]]]:
    """Yield the name of each collection with its indexes."""
    for name in sorted({*_OURS, *_FIREWORKS, *_FIREWORKS_UNIQUE}):
        models = [IndexModel(keys) for keys in _FIREWORKS.get(name, [])] + _OURS.get(name, [])
        if name in _FIREWORKS_UNIQUE:
            models.append(IndexModel(_FIREWORKS_UNIQUE[name], unique=True))
        yield name, models


def create_indexes(db: "MongoDatabase[dict[str, Any]]") -> None:
    """Create what is missing, and drop what an older version made and nothing needs."""
    for name, models in wanted_indexes():
        db[name].create_indexes(models)
    for name, gone in _GONE.items():
        for index in set(gone) & set(db[name].index_information()):
            db[name].drop_index(index)
