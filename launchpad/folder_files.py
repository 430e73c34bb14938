"""The files of a job folder: what each says, and reading them without trust."""

import errno
import json
import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from alkaflow.files import sha256_of, write_atomically
from alkaflow.launchpad.outbox import DamagedError

FOLDER_FILE = "folder.json"
SETTLED_FILE = "settled.json"

ATTEMPT_NAME = re.compile(r"^(\d{3,6})-[0-9a-f]{8}$")
"""Name of the directory of a try."""

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{20}$")]
Token = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^(inputs/[0-9a-f]{20}\.json|parents/[0-9a-f]{20}\.(json|npz))$")]
AttemptName = Annotated[str, StringConstraints(pattern=r"^\d{3,6}-[0-9a-f]{8}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
Settled = Literal["delivered", "failed", "given back", "superseded"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileNote(_Part):
    """Size and hash of a file."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class Item(_Part):
    """A calculation of a folder: ``attempt`` is the number of its next try, ``deaths`` those of tries so far.

    ``launch`` is FireWorks' number of it, ``seconds`` what it is expected to take.
    """

    id: Id
    title: str
    parent: Id | None
    attempt: int = Field(ge=1)
    deaths: tuple[Word, ...] = ()
    launch: int | None = None
    seconds: float | None = None


class Carried(_Part):
    """Settings that go with the calculations; what the node's own configuration says wins."""

    device: Literal["cpu", "gpu"] = "cpu"
    blas_kernel: str = "auto"
    fast_kernels: bool = True
    time_limit: float | None = None


class Contents(_Part):
    """What ``folder.json`` says: parents come before their children."""

    format: Literal["alkaflow job folder"] = "alkaflow job folder"
    schema_version: Literal[1] = 1
    id: Token
    made: datetime
    host: str
    expires: datetime
    alkaflow: str
    settings: Carried
    calculations: tuple[Item, ...]
    files: dict[FileName, FileNote]

    @model_validator(mode="after")
    def _in_order(self) -> "Contents":
        known: set[str] = set()
        for item in self.calculations:
            if item.id in known:
                raise ValueError(f"{item.id} is there twice")
            if f"inputs/{item.id}.json" not in self.files:
                raise ValueError(f"{item.id} has no input")
            if item.parent is not None and item.parent not in known and f"parents/{item.parent}.json" not in self.files:
                raise ValueError(f"{item.id} comes before {item.parent}, which it needs")
            known.add(item.id)
        return self


class Try(_Part):
    """How a try ended: with a result, with a failure of its own, by dying, or told to stop.

    ``further`` says of one without a result that it had brought the calculation further than it was.
    """

    calculation: Id
    attempt: int = Field(ge=1)
    kind: Literal["done", "failed", "died", "stopped"]
    outcome: Word
    message: Annotated[str, StringConstraints(max_length=20_000)]
    directory: AttemptName
    host: Annotated[str, StringConstraints(max_length=300)]
    job: Annotated[str, StringConstraints(max_length=300)] | None = None
    peak_memory_mb: float | None = None
    ended: datetime
    further: bool = False


class SettledNote(_Part):
    """What ``settled.json`` says."""

    calculations: dict[Id, Settled]


def read_plain(root: Path, name: str, size: int | None = None) -> bytes:
    """Read a plain file below a folder, following no link.

    Parameters
    ----------
    root
        The folder, resolved.
    name
        Relative, with slashes, no part of it ``..``.
    size
        That it must have [bytes].

    Raises
    ------
    DamagedError
        It is not there, not a plain file of that size, or reached through a link.
    """
    path = root
    parts = name.split("/")
    for part in parts[:-1]:
        path /= part
        if part in ("", ".", "..") or path.is_symlink():
            raise DamagedError(f"{path} leads out of the folder; it is not followed")
    path /= parts[-1]
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        why = "it is a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise DamagedError(f"{path} cannot be read: {why}") from None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{path} is no plain file")
        if size is not None and status.st_size != size:
            raise DamagedError(f"{path} has {status.st_size} bytes, not {size}; copy it again")
        return stream.read()


def write_contents(path: Path, contents: Contents) -> None:
    """Write ``folder.json``, which makes a job folder of a directory that holds all else."""
    body = json.dumps(contents.model_dump(mode="json"), sort_keys=True)
    content = {"sha256": sha256_of(body.encode()), "contents": json.loads(body)}
    write_atomically(path / FOLDER_FILE, json.dumps(content, indent=1, sort_keys=True).encode())


def contents_from(data: bytes) -> Contents:
    """Read ``folder.json``; DamagedError says why it cannot be used."""
    try:
        found: dict[str, Any] = json.loads(data)
        body = json.dumps(found["contents"], sort_keys=True).encode()
        if sha256_of(body) != found["sha256"]:
            raise DamagedError(f"{FOLDER_FILE} is torn, or was changed")
        return Contents.model_validate(found["contents"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{FOLDER_FILE} cannot be read: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What a reader of a file needs of an error."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")
    return str(error).partition("\n")[0]
