"""A database in one file and back: a zip of BSON, one member per collection, every member's hash in a manifest."""

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson

from alkaflow.errors import BadInputError, ServiceError
from alkaflow.files import sha256_of, write_atomically
from alkaflow.launchpad.database import SCHEMA_VERSION, Database
from alkaflow.launchpad.schema import set_version, version_of

_MANIFEST = "manifest.json"
_SKIPPED = {"locks", "meta"}  # whose holders are not restored; what the manifest and the new database know
_LAST = ("calculations", "records")  # with them a database counts as not empty
_BATCH = 500


def dump(database: Database, path: Path) -> dict[str, int]:
    """Write all collections to a file, whatever their version; returns the number of documents of each.

    Raises
    ------
    BadInputError
        The file exists already or cannot be written.
    """
    if path.exists():
        raise BadInputError(f"{path} exists already; choose another name")
    counts: dict[str, int] = {}
    members: dict[str, dict[str, object]] = {}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(database.db.list_collection_names()):
            if name in _SKIPPED or name.startswith("system."):
                continue
            batches: Any = database.db[name].find_raw_batches({})
            data = b"".join(batches)
            counts[name] = sum(1 for _ in bson.decode_iter(data))
            members[name] = {"documents": counts[name], "sha256": sha256_of(data)}
            archive.writestr(f"{name}.bson", data)
        version = version_of(database) or SCHEMA_VERSION
        manifest = {"alkaflow_dump": 1, "schema_version": version, "created": datetime.now(UTC).isoformat(),
                    "collections": members}  # fmt: skip
        archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}") from None
    return counts


def restore(database: Database, path: Path) -> dict[str, int]:
    """Fill an empty database from a dump; returns the number of documents of each collection.

    What an older alkaflow dumped is restored as it was, and has to be migrated then.

    Raises
    ------
    BadInputError
        The file is not a dump, is damaged, or comes from a newer alkaflow.
    ServiceError
        The database is not empty.
    """
    version, collections = _read(path)
    held = database.calculations.estimated_document_count() + database.records.estimated_document_count()
    if held:
        raise ServiceError(
            "the database is not empty; restore into a fresh one: set ALKAFLOW_DATA_DIR or ALKAFLOW_DATABASE"
        )
    counts: dict[str, int] = {}
    # The last ones come last: a restore that was killed before can be repeated.
    for name in sorted(collections.keys() - _SKIPPED, key=lambda name: (name in _LAST, name)):
        if name in _LAST:
            set_version(database, version)
        documents = list(bson.decode_iter(collections[name]))
        database.db[name].delete_many({})
        for first in range(0, len(documents), _BATCH):
            database.db[name].insert_many(documents[first : first + _BATCH])
        counts[name] = len(documents)
    return counts


def _read(path: Path) -> tuple[int, dict[str, bytes]]:
    """Version and members of a dump, every hash checked before anything is written."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            members = manifest["collections"]
            collections = {name: archive.read(f"{name}.bson") for name in members}
            hashes = {name: str(members[name]["sha256"]) for name in members}
            version = int(manifest["schema_version"])
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
        raise BadInputError(f"{path} is not a dump of an alkaflow database") from None
    if version > SCHEMA_VERSION:
        raise BadInputError(f"{path} was written by a newer alkaflow; update this one first")
    for name, data in collections.items():
        if sha256_of(data) != hashes[name]:
            raise BadInputError(f"{path} is damaged: collection {name} does not match its hash")
    return version, collections
