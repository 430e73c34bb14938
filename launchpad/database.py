"""The database: our collections, FireWorks' launchpad beside them, and files by hash."""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pymongo
from fireworks import LaunchPad
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError

from alkaflow.errors import MismatchError, ServiceError
from alkaflow.launchpad import schema
from alkaflow.launchpad.filestore import FileStore, checked_size
from alkaflow.launchpad.full_disk import FREE_DISK_MB, FREE_IT
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.redaction import cause_of, hosts_of, redact, remember_secrets, uri_fault
from alkaflow.launchpad.schema import SCHEMA_VERSION
from alkaflow.launchpad.security import AUTHENTICATION_FAILED, is_loopback, refuse_open_server
from alkaflow.records import Record
from alkaflow.settings import Settings

__all__ = ["SCHEMA_VERSION", "Database", "Document", "database_uri", "open_database"]

Document = dict[str, Any]
_SERVER_SECONDS = 10
_CLOSE_SECONDS = 1
_UNAUTHORIZED = 13


class Database:
    """Open connections to one database.

    Collections: ``calculations`` (what is wanted, claimed, done and failed: the truth), ``records`` (write-once),
    ``attempts`` (one document per try), ``plans`` and ``places`` (what studies asked for), ``jobs`` (of a cluster's
    scheduler), ``locks``, ``meta`` (the version of it all); ``files``, by the SHA-256 of their bytes; and FireWorks'
    own. Open it with `open_database`.
    """

    def __init__(self, uri: str, name: str) -> None:
        self.client: MongoClient[Document] = MongoClient(
            uri, serverSelectionTimeoutMS=_SERVER_SECONDS * 1000, w="majority", journal=True, tz_aware=True
        )
        self.db = self.client[name]
        self.calculations: Collection[Document] = self.db["calculations"]
        self.records: Collection[Document] = self.db["records"]
        self.attempts: Collection[Document] = self.db["attempts"]
        self.plans: Collection[Document] = self.db["plans"]
        self.places: Collection[Document] = self.db["places"]
        self.jobs: Collection[Document] = self.db["jobs"]
        self.locks: Collection[Document] = self.db["locks"]
        self.meta: Collection[Document] = self.db["meta"]
        self.files = FileStore(self.db)
        patience = {"serverSelectionTimeoutMS": _SERVER_SECONDS * 1000}
        self.fireworks = LaunchPad(host=uri, name=name, uri_mode=True, strm_lvl="CRITICAL", mongoclient_kwargs=patience)
        self.fireworks.host = redact(uri)  # it is kept for its repr alone

    def prepare(self) -> None:
        """Check the version and create what a new database needs; one round trip where that is done.

        Raises
        ------
        ServiceError
            The database is of another version; nothing was changed.
        """
        schema.prepare(self)

    def server_time(self) -> datetime:
        """The server's clock, which is the one that counts."""
        found: datetime = self.client.admin.command("hello", codec_options=self.client.codec_options)["localTime"]
        return found

    def close(self) -> None:
        """Close all connections; a server that does not answer is not waited for."""
        with pymongo.timeout(_CLOSE_SECONDS):
            self.client.close()
            self.fireworks.connection.close()

    # --- records and files -----------------------------------------------------------------------------------------

    def insert_record(self, record: Record) -> None:
        """Store a record once; storing the same id again changes nothing.

        Raises
        ------
        MismatchError
            A record of that id has another energy.
        CalculationError
            It is too large for a document.
        """
        document = json.loads(record.model_dump_json())
        document["_id"] = record.id
        checked_size(document, f"the record of calculation {record.id}")
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
        return self.files.put(data)

    def get_file(self, sha256: str) -> bytes:
        """Return stored bytes; raise ServiceError when they are missing or damaged."""
        return self.files.get(sha256)


def _as_record(document: Document) -> Record:
    document.pop("_id", None)
    return Record.model_validate(document)


@contextmanager
def open_database(settings: Settings, start: bool = True, any_version: bool = False) -> Iterator[Database]:
    """Connect to the configured server, or to the embedded one, which is started on demand.

    Parameters
    ----------
    settings
        Where the database is.
    start
        Whether to start the embedded mongod when it does not run.
    any_version
        Open a database of an older or newer alkaflow too, as it is: to be read, or to be migrated.

    Raises
    ------
    ServiceError
        There is no database, it is of another version, or its server asks for no password; says what to do.
    """
    uri = database_uri(settings, start)
    database = None
    try:
        database = _connected(uri, settings.database)
        if settings.mongodb_uri is not None:
            allowed = settings.allow_unauthenticated_server
            refuse_open_server(database.client, settings.database, is_loopback(uri), allowed)
        if not any_version:
            database.prepare()
        yield database
    except PyMongoError as error:
        raise ServiceError(_trouble(error, settings, uri)) from error
    finally:
        if database is not None:
            database.close()


def _connected(uri: str, name: str) -> Database:
    try:
        if not uri.startswith(("mongodb://", "mongodb+srv://")):
            raise InvalidURI("mongodb_uri")  # the driver would take it for the name of a host
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # options that the driver does not know or leaves out
            return Database(uri, name)
    except (ConfigurationError, UserWarning, ValueError, OSError) as error:  # OSError: a certificate that is not there
        raise ServiceError(f"mongodb_uri cannot be used: {uri_fault(error, uri)}") from None


def _trouble(error: PyMongoError, settings: Settings, uri: str) -> str:
    """One sentence about an error of the driver, with the next step."""
    where = f"mongodb_uri, {hosts_of(uri)}" if settings.mongodb_uri else "the embedded mongod"
    if isinstance(error, OperationFailure) and error.code in {_UNAUTHORIZED, *AUTHENTICATION_FAILED}:
        return (
            f"the database ({where}) does not let us in: {redact(str(error.details and error.details['errmsg']))}; "
            "check user, password and authSource in mongodb_uri"
        )
    cause, step = cause_of(error)
    if not settings.mongodb_uri:
        free = shutil.disk_usage(settings.data_dir).free / 1e6
        step = f"its log: {EmbeddedMongod(settings).log}"
        if free < FREE_DISK_MB:
            step = f"{settings.data_dir} has {free:.0f} MB of disk left: {FREE_IT}; {step}"
    return (
        f"the database ({where}) does not answer: {redact(cause)}; {step}; what was computed is kept, and the same "
        "command goes on from there"
    )


def database_uri(settings: Settings, start: bool = True) -> str:
    """Return the connection string, the embedded mongod started where asked; raise ServiceError without one."""
    if settings.mongodb_uri is not None:
        return remember_secrets(settings.mongodb_uri.get_secret_value())
    server = EmbeddedMongod(settings)
    if start:
        server.start()
    elif not server.is_running():
        raise ServiceError("the database is not running; start it with: alkaflow db start")
    return server.uri
