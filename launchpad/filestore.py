"""Files by the SHA-256 of their bytes, in the GridFS bucket ``files``.

The ``_id`` of a file is its hash. Its chunks are written first, under a name that no other upload has; the file is
there from the moment when its one document is inserted, and that document says which chunks are its own. So an upload
that was killed leaves nothing that is taken for the file, and uploads of the same bytes do not meet. A note in
``files.uploads`` tells the collector of garbage that somebody is at work.
"""

import uuid
import zlib
from typing import Any

import bson
from pymongo.database import Database as MongoDatabase
from pymongo.errors import DuplicateKeyError

from alkaflow.errors import CalculationError, ServiceError
from alkaflow.files import sha256_of
from alkaflow.launchpad.schema import FILE_VERSION

Document = dict[str, Any]

MOST_BYTES = 12_000_000
"""No document larger than this is sent; MongoDB takes 16 MiB."""

_CHUNK = 1 << 20
_TOGETHER = 4  # chunks in one request
_WORTH = 0.9  # what compression has to leave at most
_SAMPLE = 1 << 16
_LEVEL = 6
_TRIES = 5


class FileStore:
    """The files of a database."""

    def __init__(self, db: "MongoDatabase[Document]") -> None:
        self.files = db["files.files"]
        self.chunks = db["files.chunks"]
        self.uploads = db["files.uploads"]

    def put(self, data: bytes) -> str:
        """Store bytes and return their SHA-256; storing them again renews their date and changes nothing else.

        Raises
        ------
        ServiceError
            The collector of garbage took the upload away, again and again.
        """
        sha = sha256_of(data)
        for _ in range(_TRIES):
            if self._renew(sha) or self._upload(sha, data):
                return sha
        raise ServiceError(f"the file {sha} cannot be stored: its upload is always taken for garbage; try again")

    def get(self, sha256: str) -> bytes:
        """Return stored bytes, their length and hash checked.

        Raises
        ------
        ServiceError
            They are missing or damaged.
        """
        found = self.files.find_one({"_id": sha256})
        if found is None:
            raise ServiceError(f"the database holds no file {sha256}")
        chunks = self.chunks.find({"files_id": chunks_of(found)}).sort("n", 1)
        stored = b"".join(chunk["data"] for chunk in chunks)
        data = _decoded(stored, found) if len(stored) == found["length"] else None
        if data is None or sha256_of(data) != sha256:
            raise ServiceError(
                f"the file {sha256} in the database is damaged; restore it from a dump, or compute what made it again"
            )
        return data

    def has(self, sha256: str) -> bool:
        """Whether a file is there."""
        return self.files.find_one({"_id": sha256}, {"_id": 1}) is not None

    def _renew(self, sha: str) -> bool:
        """Make a file that is there young again; False where there is none."""
        return self.files.update_one({"_id": sha}, {"$currentDate": {"uploadDate": True}}).matched_count == 1

    def _upload(self, sha: str, data: bytes) -> bool:
        """Write the chunks and publish the file; False where another upload was first or the chunks are gone."""
        upload = f"{sha}.{uuid.uuid4().hex}"
        encoding, stored = _encoded(data)
        self.uploads.update_one({"_id": upload}, {"$currentDate": {"renewed": True}}, upsert=True)
        for first in range(0, len(stored), _CHUNK * _TOGETHER):
            self._send(upload, stored, first)
        about = {"schema_version": FILE_VERSION, "encoding": encoding, "sha256": sha, "bytes": len(data),
                 "chunks": upload}  # fmt: skip
        document = {"filename": sha, "length": len(stored), "chunkSize": _CHUNK, "metadata": about}
        published = self._owns(upload) and self._publish(sha, upload, document)
        if published and self.uploads.delete_one({"_id": upload}).deleted_count:
            return True
        # Another upload was first, or this one slept so long that its chunks were taken for garbage.
        self.files.delete_one({"_id": sha, "metadata.chunks": upload})
        self.chunks.delete_many({"files_id": upload})
        self.uploads.delete_one({"_id": upload})
        return False

    def _send(self, upload: str, stored: bytes, first: int) -> None:
        last = min(first + _CHUNK * _TOGETHER, len(stored))
        self.chunks.insert_many(
            [
                {"files_id": upload, "n": at // _CHUNK, "data": stored[at : at + _CHUNK]}
                for at in range(first, last, _CHUNK)
            ]
        )

    def _owns(self, upload: str) -> bool:
        """Whether the note of an upload is still there; it is young again then."""
        return self.uploads.update_one({"_id": upload}, {"$currentDate": {"renewed": True}}).matched_count == 1

    def _publish(self, sha: str, upload: str, document: Document) -> bool:
        """Insert the document of a file, dated by the server; False where the file is there already."""
        fields = {key: {"$literal": value} for key, value in document.items()} | {"uploadDate": "$$NOW"}
        try:
            self.files.update_one({"_id": sha, "metadata.chunks": upload}, [{"$set": fields}], upsert=True)
        except DuplicateKeyError:
            return False
        return True


def chunks_of(file: Document) -> str:
    """The ``files_id`` of a file's chunks; that of a file of the first version is its own."""
    return str((file.get("metadata") or {}).get("chunks", file["_id"]))


def checked_size(document: Document, what: str) -> Document:
    """Return a document that is small enough to be sent.

    Parameters
    ----------
    document
        As it would be sent.
    what
        Names it in the message.

    Raises
    ------
    CalculationError
        It is larger than `MOST_BYTES`; says how large.
    """
    size = len(bson.encode(document))
    if size > MOST_BYTES:
        raise CalculationError(
            "bad_input",
            f"{what} has {size / 1e6:.1f} MB, more than the {MOST_BYTES / 1e6:.0f} MB of a document; "
            "make the structure smaller, or the relaxation shorter",
        )
    return document


def _encoded(data: bytes) -> tuple[str, bytes]:
    """How bytes are stored: compressed where that is worth it."""
    sample = b"".join(data[at : at + _SAMPLE] for at in range(0, len(data), max(len(data) // 4, _SAMPLE)))
    if len(zlib.compress(sample, _LEVEL)) <= _WORTH * len(sample):
        compressed = zlib.compress(data, _LEVEL)
        if len(compressed) <= _WORTH * len(data):
            return "zlib", compressed
    return "plain", data


def _decoded(stored: bytes, file: Document) -> bytes | None:
    """Bytes as they were given; None where they cannot be what the document says."""
    about = file.get("metadata") or {}
    encoding = about.get("encoding", "plain")
    if encoding == "plain":
        return stored
    if encoding != "zlib":
        raise ServiceError(
            f"the file {file['_id']} is stored as {encoding!r}, which this alkaflow cannot read; upgrade"
        )
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(stored, int(about["bytes"]) + 1)  # never more than was promised
    except zlib.error:
        return None
    return data if inflate.eof and len(data) == about["bytes"] else None
