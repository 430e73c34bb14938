"""Checkpoints of long calculations: two generations of one file, each either whole and ours or not used.

A file is a line that names the format, the SHA-256 of all that follows, a line of JSON, and the bytes of the arrays.
Saving writes under a temporary name, waits for the disk, renames the newest generation to the previous one, and the
temporary file to the newest: whatever moment a process dies at, one whole generation is there. Loading verifies, and
falls back to the previous generation; a checkpoint of another calculation is not used. Nothing is ever unpickled.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alkaflow.calculations import CalculationInput
from alkaflow.files import sha256_of
from alkaflow.levels import level_hash
from alkaflow.units import BOHR_ANGSTROM, HARTREE_EV

RELAXATION = "relaxation"
"""Name under which a relaxation saves ``positions`` [bohr], ``gradients`` and ``energies`` [Hartree] of all steps."""

_MAGIC = b"alkaflow checkpoint 1\n"
_FAMILY = b"alkaflow checkpoint "
_DIGEST = 64  # hexadecimal digits of a SHA-256
_KINDS = {"<f8": np.dtype("<f8"), "<i8": np.dtype("<i8")}


@dataclass(frozen=True)
class Checkpoint:
    """The state of a calculation.

    Attributes
    ----------
    fingerprint
        Of the calculation that it belongs to.
    values
        What JSON can hold.
    arrays
        Floats or integers of 64 bits, any shape.
    """

    fingerprint: str
    values: dict[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Loaded(NamedTuple):
    """What `load` found: a checkpoint or None, and a sentence for every file that could not be used."""

    checkpoint: Checkpoint | None
    notes: list[str]


class LastGeometry(NamedTuple):
    """Where a relaxation is: positions [Angstrom], shape=(n_atoms, 3), their energy [Hartree], and the step, from 0."""

    positions: NDArray[np.float64]
    energy: float
    step: int


class StepsSoFar(NamedTuple):
    """What a relaxation has computed: per step, from 0, energy [Hartree], largest force [eV/Angstrom] and SCF cycles.

    Forces and cycles are empty where the checkpoint keeps none.
    """

    energies: list[float]
    max_forces: list[float]
    scf_cycles: list[int]


def fingerprint_of(calculation: CalculationInput) -> str:
    """Return the hash of a calculation's id, its level with all thresholds, and its symbols."""
    content = [calculation.id, level_hash(calculation.level), calculation.symbols]
    return sha256_of(json.dumps(content).encode())


def save(directory: Path, checkpoint: Checkpoint, name: str = "state") -> None:
    """Make a checkpoint the newest generation; the newest so far becomes the previous one.

    Parameters
    ----------
    directory
        Of one calculation; exists.
    checkpoint
        The state; arrays must be of float64 or int64.
    name
        Several calculations may share a directory under different names.

    Raises
    ------
    OSError
        The disk is full or cannot be written; the generations so far are untouched.
    """
    newest, previous = generations(directory, name)
    temporary = newest.with_name(f".{newest.name}.{os.getpid()}.tmp")  # a process that was thought dead may save, too
    try:
        with temporary.open("wb") as stream:
            stream.write(_encoded(checkpoint))
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with suppress(FileNotFoundError):
        newest.replace(previous)
    temporary.replace(newest)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(
    directory: Path, fingerprint: str, name: str = "state", unfit: Callable[[Checkpoint], str | None] = lambda _: None
) -> Loaded:
    """Return the newest checkpoint that is whole and belongs to a calculation; never raises for what files hold.

    Parameters
    ----------
    directory
        Where `save` put it.
    fingerprint
        Of the calculation; a checkpoint with another one is not used.
    name
        As given to `save`.
    unfit
        Says why a whole checkpoint of the calculation is of no use, or None.
    """
    notes: list[str] = []
    for path in generations(directory, name):
        try:
            checkpoint = _decoded(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            notes.append(f"checkpoint {path} is not used: {error}")
            continue
        reason = "it belongs to another calculation" if checkpoint.fingerprint != fingerprint else unfit(checkpoint)
        if reason is None:
            return Loaded(checkpoint, notes)
        notes.append(f"checkpoint {path} is not used: {reason}")
    return Loaded(None, notes)


def last_geometry(directory: Path, calculation: CalculationInput) -> LastGeometry | None:
    """Read where an unfinished relaxation is, as it runs or after its end; None where it saved nothing that serves.

    Parameters
    ----------
    directory
        Where it saves its checkpoints; nothing is written there.
    calculation
        The relaxation.
    """
    checkpoint = load(directory, fingerprint_of(calculation), RELAXATION).checkpoint
    if checkpoint is None:
        return None
    positions, energies = checkpoint.arrays["positions"], checkpoint.arrays["energies"]
    return LastGeometry(positions[-1] * BOHR_ANGSTROM, float(energies[-1]), len(energies) - 1)


def steps_so_far(directory: Path, calculation: CalculationInput) -> StepsSoFar | None:
    """Read what an unfinished relaxation has computed; None where it saved nothing that serves. See `last_geometry`."""
    checkpoint = load(directory, fingerprint_of(calculation), RELAXATION).checkpoint
    if checkpoint is None:
        return None
    gradients = checkpoint.arrays.get("gradients")
    norms = [] if gradients is None else np.linalg.norm(gradients, axis=2).max(axis=1) * HARTREE_EV / BOHR_ANGSTROM
    energies, cycles = checkpoint.arrays["energies"], checkpoint.arrays.get("cycles", ())
    return StepsSoFar([float(energy) for energy in energies], [float(norm) for norm in norms], [int(n) for n in cycles])


def saved(directory: Path) -> bool:
    """Whether a calculation has left a checkpoint of any name in a directory."""
    return any(directory.glob("*.checkpoint"))


def generations(directory: Path, name: str = "state") -> tuple[Path, Path]:
    """Return the paths of the newest and the previous generation."""
    return directory / f"{name}.checkpoint", directory / f"{name}.previous.checkpoint"


def _encoded(checkpoint: Checkpoint) -> bytes:
    blocks, shapes = [], []
    for key, array in checkpoint.arrays.items():
        plain = np.ascontiguousarray(array)
        kind = plain.dtype.newbyteorder("<").str
        if kind not in _KINDS:
            raise TypeError(f"array {key!r} is of {plain.dtype}; checkpoints hold float64 and int64")
        shapes.append([key, kind, list(np.shape(array))])
        blocks.append(plain.astype(kind).tobytes())
    header = {"fingerprint": checkpoint.fingerprint, "values": checkpoint.values, "arrays": shapes}
    body = b"".join([json.dumps(header).encode(), b"\n", *blocks])
    return b"".join([_MAGIC, sha256_of(body).encode(), b"\n", body])


def _decoded(data: bytes) -> Checkpoint:
    """Read a checkpoint; ValueError says why it is none."""
    if not data.startswith(_MAGIC):
        known = data.startswith(_FAMILY) and b"\n" in data[: len(_MAGIC) + 8]
        raise ValueError("it was written by another version of alkaflow" if known else "it is damaged")
    start = len(_MAGIC) + _DIGEST + 1
    body = data[start:]
    if data[len(_MAGIC) : start] != sha256_of(body).encode() + b"\n":
        raise ValueError("it is damaged")
    line, _, content = body.partition(b"\n")
    try:
        header = json.loads(line)
        fingerprint, values = header["fingerprint"], header["values"]
        arrays, offset = {}, 0
        for key, kind, shape in header["arrays"]:
            size = int(np.prod(shape, dtype=np.int64)) * _KINDS[kind].itemsize
            arrays[str(key)] = np.frombuffer(content[offset : offset + size], _KINDS[kind]).reshape(shape).copy()
            offset += size
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    return Checkpoint(str(fingerprint), values, arrays)
