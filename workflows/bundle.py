"""Records on disk: a JSON file with a plan and its records, and a zip of their orbital files by hash."""

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from alkaflow.errors import BadInputError
from alkaflow.files import sha256_of, write_atomically
from alkaflow.plans import Plan
from alkaflow.records import Record


class Bundle(BaseModel):
    """A plan and the records that answer it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    plan: Plan
    records: list[Record]

    @property
    def by_id(self) -> Mapping[str, Record]:
        """Records by id."""
        return {record.id: record for record in self.records}


def read_bundle(path: Path) -> Bundle:
    """Read a bundle; raise BadInputError when it is missing or not one."""
    try:
        return Bundle.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{path} is not a bundle of records: {where}: {first['msg']}") from None


def write_bundle(bundle: Bundle, path: Path, read_file: Callable[[str], bytes]) -> Path:
    """Write ``path`` (JSON) and, beside it, ``*.orbitals.zip``; returns the path of the zip.

    Parameters
    ----------
    bundle
        What to write.
    path
        Of the JSON file.
    read_file
        Gives the bytes of an orbital file by its hash.
    """
    data = bundle.model_dump(mode="json", exclude_none=True)
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode(), mode=0o644)
    wanted = sorted({record.orbitals.sha256 for record in bundle.records if record.orbitals})
    target = orbital_path(path)
    write_atomically(target, _zip((f"{sha}.npz", read_file(sha)) for sha in wanted), mode=0o644)
    return target


def orbital_path(path: Path) -> Path:
    """Where the orbitals of a bundle lie."""
    return path.with_name(path.stem + ".orbitals.zip")


def read_orbital_file(path: Path, sha256: str) -> bytes:
    """Return an orbital file out of a bundle's zip, its hash checked; raise BadInputError when it is not there."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f"{sha256}.npz")
    except (OSError, KeyError, zipfile.BadZipFile):
        raise BadInputError(f"{path} holds no orbitals {sha256}") from None
    if sha256_of(data) != sha256:
        raise BadInputError(f"{path}: the orbitals {sha256} are damaged")
    return data


def _zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip archive whose bytes depend on the files alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return buffer.getvalue()
