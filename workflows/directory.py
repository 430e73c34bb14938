"""The directory of an attempt: names of its files, and the MANIFEST that makes a result of them. Imports little."""

import json
from collections.abc import Iterable
from pathlib import Path

from alkaflow.files import sha256_of, write_atomically

TASK_FILE = "task.json"
RECORD_FILE = "record.json"
FAILURE_FILE = "failure.json"
ORBITAL_FILE = "orbitals.npz"
GUESS_FILE = "guess.npz"
MANIFEST_FILE = "MANIFEST.json"

INTERRUPTED = 75
"""Exit code of a process that computes and was asked to stop (``EX_TEMPFAIL`` of sysexits.h: try again later)."""


def write_manifest(directory: Path, calculation: str, names: Iterable[str]) -> None:
    """Write the MANIFEST of a result, after all other files: the result is whole when each has the hash given there.

    Parameters
    ----------
    directory
        Of the attempt.
    calculation
        Its id.
    names
        Of the files, each on disk already.

    Raises
    ------
    OSError
        A file is not there, or the MANIFEST cannot be written.
    """
    files = {}
    for name in names:
        data = (directory / name).read_bytes()
        files[name] = {"sha256": sha256_of(data), "bytes": len(data)}
    content = {"schema_version": 1, "calculation": calculation, "files": files}
    write_atomically(directory / MANIFEST_FILE, json.dumps(content).encode())
