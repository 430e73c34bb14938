"""Archives: the plan and records of a study in one zip that others can cite, check, read and import.

An archive is an RO-Crate (https://w3id.org/ro/crate/1.1): ``ro-crate-metadata.json`` says what every file is, with its
size and SHA-256. ``bundle.json`` holds plan and records, as `alkaflow.workflows.bundle` writes them; ``files/SHA.npz``
the orbitals and surfaces that records refer to, where they were asked for; the rest is for people. Reading trusts
nothing: a name that leads out, a link, a file that is not what the metadata says, a record that does not belong to
its calculation, each is refused before anything else happens.
"""

import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alkaflow.calculations import CalculationInput
from alkaflow.errors import BadInputError
from alkaflow.files import sha256_of
from alkaflow.plans import Leg, Plan
from alkaflow.records import Record
from alkaflow.workflows.bundle import Bundle, orbital_path, read_bundle, read_orbital_file

NAME = "archive.zip"
"""Of an archive in a report."""

METADATA, BUNDLE, FILES = "ro-crate-metadata.json", "bundle.json", "files"
CRATE = "https://w3id.org/ro/crate/1.1"

_LICENCE = "#licence"
_SHA = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_MOST_FILES = 100_000
_MOST_BYTES = 8 << 30  # of all files of an archive together
_LARGEST = 1 << 30  # of one of them, which is read whole
_SAME_GEOMETRY = 1e-3  # Angstrom
_SAME_ENERGY = 1e-4  # Hartree; parts of an energy add up to it
_TYPES = {".json": "application/json", ".xyz": "chemical/x-xyz", ".csv": "text/csv", ".tex": "text/x-tex",
          ".bib": "text/x-bibtex", ".md": "text/markdown", ".npz": "application/x-npz"}  # fmt: skip


# --- writing ---------------------------------------------------------------------------------------------------------


def make_archive(
    bundle: Bundle,
    extra: Mapping[str, bytes],
    read_file: Callable[[str], bytes] | None = None,
    warnings: Iterable[str] = (),
) -> bytes:
    """Return an archive; the same records give the same bytes.

    Parameters
    ----------
    bundle
        Plan and records.
    extra
        More files by path, such as the table and geometries.
    read_file
        Gives orbitals and surfaces by their hash; None leaves them out.
    warnings
        Sentences for the description.
    """
    content = bundle.model_dump(mode="json", exclude_none=True)
    files = {BUNDLE: (json.dumps(content, indent=1) + "\n").encode(), **extra}
    if read_file is not None:
        wanted = sorted({record.orbitals.sha256 for record in bundle.records if record.orbitals})
        files |= {f"{FILES}/{sha}.npz": read_file(sha) for sha in wanted}
    metadata = json.dumps(_crate(bundle, files, warnings), indent=1, ensure_ascii=False) + "\n"
    return _zip({METADATA: metadata.encode(), **dict(sorted(files.items()))})


def _crate(bundle: Bundle, files: Mapping[str, bytes], warnings: Iterable[str]) -> dict[str, Any]:
    """The metadata: an RO-Crate 1.1 descriptor, the dataset, its files, the paper and the programs."""
    study = bundle.plan.study
    title = study.title or study.name
    finished = max((record.provenance.finished for record in bundle.records), default=None)
    versions = sorted({(n, v) for record in bundle.records for n, v in record.provenance.versions.items()})
    programs = [
        {"@id": f"#{name}-{version}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version in versions
    ]
    said = [f"Records of the study {study.name}, protocol {bundle.plan.protocol}: {bundle.plan.level}.", *warnings]
    dataset: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{title}: computed adsorption energies",
        "description": " ".join(said),
        "datePublished": f"{finished:%Y-%m-%d}" if finished else "1970-01-01",
        "license": {"@id": _LICENCE},
        "hasPart": [{"@id": name} for name in sorted(files)],
        "mentions": [{"@id": program["@id"]} for program in programs],
    }
    paper = []
    if study.doi:
        link = f"https://doi.org/{study.doi}"
        dataset["isBasedOn"] = {"@id": link}
        name = f"the paper that the study is about: {title}"
        paper = [{"@id": link, "@type": "ScholarlyArticle", "name": name, "identifier": link}]
    descriptor = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": CRATE},
        "about": {"@id": "./"},
    }
    licence = {
        "@id": _LICENCE,
        "@type": "CreativeWork",
        "name": "not stated",
        "description": "Whoever made this archive has not stated a licence; state one here before publishing it.",
    }
    entries = [_file(name, files[name]) for name in sorted(files)]
    return {
        "@context": [f"{CRATE}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}],
        "@graph": [descriptor, dataset, *entries, *paper, *programs, licence],
    }


def _file(name: str, data: bytes) -> dict[str, Any]:
    suffix = Path(name).suffix
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "contentSize": str(len(data)),
        "sha256": sha256_of(data),
        "encodingFormat": _TYPES.get(suffix, "application/octet-stream"),
    }


def _zip(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on the files alone."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """An archive that was checked: its bundle, and the files of records by their hash.

    ``read_file`` raises BadInputError for what is not there.
    """

    path: Path
    bundle: Bundle
    read_file: Callable[[str], bytes]
    hashes: frozenset[str]


def is_archive(text: str) -> bool:
    """Whether a word on the command line is an archive rather than a study: a zip, a bundle, or a folder of one."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return False
    try:
        return path.suffix in (".zip", ".json") or (path.is_dir() and _inside(path) is not None)
    except OSError:  # a name that is too long
        return False


def open_archive(path: Path) -> Archive:
    """Read and check an archive: a zip, a folder that one was unpacked into, or a bundle with its orbitals beside it.

    Raises
    ------
    BadInputError
        It is missing, damaged, unsafe, or its records do not belong to its plan; says what is wrong.
    """
    if path.is_dir():
        inside = _inside(path)
        if inside is None:
            raise BadInputError(f"{path} holds no archive; give one, a folder that one was unpacked into, or a report")
        found = _from_folder(path) if inside == path else _from_zip(inside)
    elif path.suffix == ".json":
        found = _from_bundle(path)
    else:
        found = _from_zip(path)
    check_bundle(found.bundle, str(path))
    return replace(found, bundle=_in_order(found.bundle))


def _in_order(bundle: Bundle) -> Bundle:
    """With parents before children, as plans have them; a bundle whose keys were sorted has lost that."""
    inputs = bundle.plan.calculations
    left = dict.fromkeys([*(record.id for record in bundle.records), *inputs])
    ordered: dict[str, CalculationInput] = {}
    while left:
        for calculation in left:  # an id is a hash of that of its parent, so there is no circle
            if inputs[calculation].parent is None or inputs[calculation].parent in ordered:
                ordered[calculation] = inputs[calculation]
        left = {i: None for i in left if i not in ordered}
    titles = {i: bundle.plan.titles[i] for i in ordered}
    return bundle.model_copy(
        update={"plan": bundle.plan.model_copy(update={"calculations": ordered, "titles": titles})}
    )


def _inside(path: Path) -> Path | None:
    """The archive that a folder is, or that lies in it as reports have it; None where there is none."""
    if (path / METADATA).is_file():
        return path
    return path / NAME if (path / NAME).is_file() else None


def _from_bundle(path: Path) -> Archive:
    bundle = read_bundle(path)
    orbitals = orbital_path(path)
    hashes: frozenset[str] = frozenset()
    if orbitals.is_file():
        with _opened(orbitals) as archive:
            _check_names(archive, orbitals)
            hashes = frozenset(name.removesuffix(".npz") for name in archive.namelist())
    return Archive(path, bundle, lambda sha: read_orbital_file(orbitals, sha), hashes)


def _from_folder(path: Path) -> Archive:
    def read(name: str, size: int) -> bytes:
        where = path / name
        for part in (where, *where.parents):
            if part == path:
                break
            if part.is_symlink():
                raise BadInputError(f"{part} is a link, which is not followed")
        try:
            if not where.is_file() or where.stat().st_size != size:
                raise BadInputError(f"{where} is missing, or is not what {METADATA} says")
            return where.read_bytes()
        except OSError as error:
            raise BadInputError(f"cannot read {where}: {error.strerror}") from None

    try:
        metadata = (path / METADATA).read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path / METADATA}: {error.strerror}") from None
    return _checked(path, metadata, read)


def _from_zip(path: Path) -> Archive:
    with _opened(path) as archive:
        sizes = _check_names(archive, path)
        if METADATA not in sizes:
            raise BadInputError(f"{path} is no archive of a study: it has no {METADATA}")
        metadata = _read_entry(archive, METADATA, path)

    def read(name: str, size: int) -> bytes:
        if sizes.get(name) != size:
            raise BadInputError(f"{path}: {name} is missing, or is not what {METADATA} says")
        with _opened(path) as again:
            return _read_entry(again, name, path)

    return _checked(path, metadata, read)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BadInputError(f"{path} is no zip archive, or is damaged: {error}") from None


def _read_entry(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return archive.read(name)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise BadInputError(f"{path}: {name} cannot be read: {error}") from None
    except Exception as error:
        if type(error).__module__ != "zlib":
            raise
        raise BadInputError(f"{path}: {name} is damaged: {error}") from None


def _check_names(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    """Sizes of the files by name; refuses names that lead out, links, duplicates, and what is too large."""
    sizes: dict[str, int] = {}
    entries = archive.infolist()
    if len(entries) > _MOST_FILES:
        raise BadInputError(f"{path} holds {len(entries)} files, more than the {_MOST_FILES} that are read")
    for entry in entries:
        if entry.is_dir():
            continue
        if not _PLAIN_NAME.fullmatch(entry.filename):
            raise BadInputError(f"{path}: the name {entry.filename!r} leads out of the archive, or is no plain name")
        mode = entry.external_attr >> 16
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise BadInputError(f"{path}: {entry.filename} is a link or no plain file")
        if entry.filename in sizes:
            raise BadInputError(f"{path}: {entry.filename} is there twice")
        sizes[entry.filename] = entry.file_size
    if sum(sizes.values()) > _MOST_BYTES:
        raise BadInputError(f"{path} unpacks to {sum(sizes.values())} bytes, more than the {_MOST_BYTES} that are read")
    largest = max(sizes, key=lambda name: sizes[name], default=None)
    if largest is not None and sizes[largest] > _LARGEST:
        raise BadInputError(f"{path}: {largest} has {sizes[largest]} bytes, more than the {_LARGEST} that are read")
    return sizes


def _checked(path: Path, metadata: bytes, read: Callable[[str, int], bytes]) -> Archive:
    """Compare every file with the metadata, and read the bundle."""
    notes = _notes(path, metadata)
    if BUNDLE not in notes:
        raise BadInputError(f"{path}: {METADATA} names no {BUNDLE}, so there are no records to read")

    def verified(name: str) -> bytes:
        size, sha = notes[name]
        data = read(name, size)
        if sha256_of(data) != sha:
            raise BadInputError(f"{path}: {name} is damaged, or was changed: its SHA-256 is not the one in {METADATA}")
        return data

    hashes = set()
    for name, (_, sha) in notes.items():
        verified(name)
        if name.startswith(f"{FILES}/"):
            if name != f"{FILES}/{sha}.npz":
                raise BadInputError(f"{path}: {name} is not called by its SHA-256, {sha}")
            hashes.add(sha)

    def read_file(sha256: str) -> bytes:
        if sha256 not in hashes:
            raise BadInputError(f"{path} holds no file {sha256}; it was made without --with-orbitals")
        return verified(f"{FILES}/{sha256}.npz")

    return Archive(path, _bundle_from(path, verified(BUNDLE)), read_file, frozenset(hashes))


def _bundle_from(path: Path, content: bytes) -> Bundle:
    try:
        return Bundle.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{path}: {BUNDLE} is no bundle of records: {where}: {first['msg']}") from None


def _notes(path: Path, metadata: bytes) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file that the metadata names."""
    try:
        graph = json.loads(metadata)["@graph"]
        files = [entry for entry in graph if entry["@type"] == "File"]
        notes = {str(entry["@id"]): (int(entry["contentSize"]), str(entry["sha256"])) for entry in files}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInputError(f"{path}: {METADATA} cannot be read: {type(error).__name__} {error}") from None
    for name, (size, sha) in notes.items():
        if not _PLAIN_NAME.fullmatch(name) or not _SHA.fullmatch(sha) or not 0 <= size <= _LARGEST:
            raise BadInputError(f"{path}: {METADATA} says of {name!r} what cannot be")
    return notes


# --- checking --------------------------------------------------------------------------------------------------------


def check_bundle(bundle: Bundle, where: str) -> None:
    """Refuse a bundle whose ids, plan and records do not belong together.

    Raises
    ------
    BadInputError
        An id is not the hash of its input, the plan names what is not there, or a record is none of its calculation;
        begins with ``where``.
    """
    for problem in (*_plan_problems(bundle.plan), *_record_problems(bundle)):
        raise BadInputError(f"{where}: {problem}")


def _plan_problems(plan: Plan) -> Iterator[str]:
    for calculation, given in plan.calculations.items():
        if given.id != calculation:
            yield f"the id {calculation} is not that of its input, which is {given.id}"
        if given.parent is not None and given.parent not in plan.calculations:
            yield f"{calculation} needs {given.parent}, which is not in the plan"
        if calculation not in plan.titles:
            yield f"{calculation} has no title"
    for calculation in _named(plan):
        if calculation not in plan.calculations:
            yield f"a row needs {calculation}, which is not in the plan"
    for row in plan.rows:
        if row.host not in plan.hosts:
            yield f"the row {row.label!r} is on {row.host}, which is no host of the plan"


def _record_problems(bundle: Bundle) -> Iterator[str]:
    inputs, records = bundle.plan.calculations, bundle.by_id
    if len(records) < len(bundle.records):
        yield "a record is there twice"
    for record in bundle.records:
        if record.id not in inputs:
            yield f"the record {record.id} belongs to no calculation of the plan"
            continue
        given = inputs[record.id]
        parent = records.get(given.parent) if given.parent is not None else None
        if given.parent is not None and parent is None:
            yield f"the record {record.id} is there without that of {given.parent}, its parent"
        wrong = what_differs(record, given, parent)
        if wrong is not None:
            yield f"the record {record.id} is none of its calculation: its {wrong} is another one"


def _named(plan: Plan) -> Iterator[str]:
    """Every id that rows and hosts alone name."""
    for row in plan.rows:
        for leg in row.legs:
            yield from _of_leg(leg)
    for alone in plan.alone.values():
        for leg in alone.states:
            yield from _of_leg(leg)


def _of_leg(leg: Leg) -> Iterator[str]:
    yield from leg.ids
    yield from (one for one in (leg.frequencies, leg.properties) if one is not None)
    if leg.halves is not None:
        yield from leg.halves.ids


def what_differs(record: Record, given: CalculationInput, parent: Record | None) -> str | None:
    """Name what of a record is not as its calculation asks, or does not fit together; None where all does.

    Parameters
    ----------
    record
        To be checked.
    given
        The input of its calculation.
    parent
        The record whose geometry it was to take, where there is one.
    """
    pairs = {
        "recipe": (record.recipe, given.recipe),
        "step": (record.step, given.step),
        "level": (record.level_of_theory, given.level),
        "charge": (record.charge, given.charge),
        "multiplicity": (record.multiplicity, given.multiplicity),
        "parent": (record.parent, given.parent),
        "list of atoms": (tuple(record.symbols), given.symbols),
        "list of ghosts": (tuple(record.ghosts or ()), given.ghosts or ()),
        "number of positions": (len(record.positions_angstrom), len(given.symbols)),
    }
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            return name
    if _elsewhere(record, given, parent):
        return "geometry"
    if not math.isfinite(record.energy_hartree):
        return "energy, which is no number,"
    return None if _adds_up(record) else "energy, which is not the sum of its parts,"


def _elsewhere(record: Record, given: CalculationInput, parent: Record | None) -> bool:
    """Whether a record begins at another geometry than its calculation."""
    begin = record.start_positions_angstrom if given.step == "relax" else record.positions_angstrom
    wanted = given.positions
    if parent is not None:
        if max(given.subset or (0,)) >= len(parent.positions_angstrom):
            return True
        wanted = given.taken_from(parent.positions_angstrom)
    if begin is None or wanted is None:
        return False
    if len(begin) != len(wanted):
        return True
    return any(abs(a - b) > _SAME_GEOMETRY for one, two in zip(begin, wanted, strict=True)
               for a, b in zip(one, two, strict=True))  # fmt: skip


def _adds_up(record: Record) -> bool:
    """Whether the parts of an energy in vacuum add up to it; so where there are none."""
    parts = record.energy_components
    if not {"one_electron", "coulomb", "exchange_correlation", "nuclear"} <= parts.keys() or "solvent" in parts:
        return True
    return abs(sum(parts.values()) - record.energy_hartree) < _SAME_ENERGY
