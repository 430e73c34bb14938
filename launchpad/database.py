"""The database: our collections, FireWorks' launchpad beside them, and files by hash."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gridfs
from fireworks import LaunchPad
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError

from alkaflow.errors import MismatchError, ServiceError
from alkaflow.files import sha256_of
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.records import Record
from alkaflow.settings import Settings

Document = dict[str, Any]
SCHEMA_VERSION = 1
_SERVER_SECONDS = 10


class Database:
    """Open connections to one database.

    Collections: ``calculations`` (what is wanted, claimed, done and failed: the truth), ``records`` (write-once),
    ``attempts`` (one document per try), ``locks``; files in GridFS, their ``_id`` the SHA-256 of their bytes; and
    FireWorks' own. Open it with `open_database`.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.client: MongoClient[Document] = MongoClient(
            uri, serverSelectionTimeoutMS=_SERVER_SECONDS * 1000, w="majority", journal=True, tz_aware=True
        )
        self.db = self.client[name]
        self.calculations: Collection[Document] = self.db["calculations"]
        self.records: Collection[Document] = self.db["records"]
        self.attempts: Collection[Document] = self.db["attempts"]
        self.locks: Collection[Document] = self.db["locks"]
        self._files = gridfs.GridFSBucket(self.db, bucket_name="files")
        self.fireworks = LaunchPad(host=uri, name=name, uri_mode=True, strm_lvl="CRITICAL")

    def prepare(self) -> None:
        """Create what a new database needs; harmless on an old one."""
        self.client.admin.command("ping")
        if self.fireworks.fw_id_assigner.find_one({}) is None:
            try:
                self.fireworks.fw_id_assigner.insert_one({"_id": -1, "next_fw_id": 1, "next_launch_id": 1})
            except DuplicateKeyError:
                pass
            else:
                self.fireworks.tuneup(bkground=False)
        self.fireworks.fireworks.create_index("name")
        self.calculations.create_index([("state", 1), ("claim.expires", 1)])
        self.calculations.create_index("parent")
        self.calculations.create_index("studies")
        self.attempts.create_index("calculation")

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        self.fireworks.connection.close()

    # --- records and files -----------------------------------------------------------------------------------------

    def insert_record(self, record: Record) -> None:
        """Store a record once; storing the same id again changes nothing.

        Raises
        ------
        MismatchError
            A record of that id has another energy.
        """
        document = json.loads(record.model_dump_json())
        document["_id"] = record.id
        try:
            self.records.insert_one(document)
        except DuplicateKeyError:
            known = self.record(record.id)
            if known is not None and abs(known.energy_hartree - record.energy_hartree) > 1e-5:
                raise MismatchError(
                    f"calculation {record.id} has a record with {known.energy_hartree} Hartree; "
                    f"another try gave {record.energy_hartree}, which is not stored"
                ) from None

    def record(self, calculation: str) -> Record | None:
        """Return the record of a calculation, or None."""
        document = self.records.find_one({"_id": calculation})
        return _as_record(document) if document else None

    def has_record(self, calculation: str) -> bool:
        """Whether a calculation has a record."""
        return self.records.find_one({"_id": calculation}, {"_id": 1}) is not None

    def records_of(self, calculations: list[str]) -> dict[str, Record]:
        """Return the records that exist among the given ids."""
        return {d["_id"]: _as_record(d) for d in self.records.find({"_id": {"$in": calculations}})}

    def put_file(self, data: bytes) -> str:
        """Store bytes and return their SHA-256; storing them again changes nothing."""
        sha = sha256_of(data)
        if self.db["files.files"].find_one({"_id": sha}, {"_id": 1}) is None:
            self.db["files.chunks"].delete_many({"files_id": sha})  # of an upload that was killed
            self._files.upload_from_stream_with_id(sha, sha, data)
        return sha

    def get_file(self, sha256: str) -> bytes:
        """Return stored bytes; raise ServiceError when they are missing or damaged."""
        try:
            data: bytes = self._files.open_download_stream(sha256).read()
        except gridfs.NoFile:
            raise ServiceError(f"the database holds no file {sha256}") from None
        if sha256_of(data) != sha256:
            raise ServiceError(f"the file {sha256} in the database is damaged")
        return data


def _as_record(document: Document) -> Record:
    document.pop("_id", None)
    return Record.model_validate(document)


@contextmanager
def open_database(settings: Settings, start: bool = True) -> Iterator[Database]:
    """Connect to the configured server, or to the embedded one, which is started on demand.

    Parameters
    ----------
    settings
        Where the database is.
    start
        Whether to start the embedded mongod when it does not run.

    Raises
    ------
    ServiceError
        There is no database; says what to do.
    """
    database = None
    try:
        database = Database(database_uri(settings, start), settings.database)
        database.prepare()
        yield database
    except (ConfigurationError, InvalidURI) as error:
        raise ServiceError(f"mongodb_uri cannot be used: {error}") from None
    except PyMongoError as error:
        where = "mongodb_uri" if settings.mongodb_uri else "the embedded mongod"
        raise ServiceError(
            f"the database ({where}) does not answer ({type(error).__name__}); run: alkaflow doctor; "
            "what was computed is kept, and the same command goes on from there"
        ) from error
    finally:
        if database is not None:
            database.close()


def database_uri(settings: Settings, start: bool = True) -> str:
    """Return the connection string, the embedded mongod started where asked; raise ServiceError without one."""
    if settings.mongodb_uri is not None:
        return settings.mongodb_uri.get_secret_value()
    server = EmbeddedMongod(settings)
    if start:
        server.start()
    elif not server.is_running():
        raise ServiceError("the database is not running; start it with: alkaflow db start")
    return server.uri
