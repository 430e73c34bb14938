"""Studies by name: those shipped with the package, or a path to a YAML file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from alkaflow.analysis import Table, build_table
from alkaflow.errors import BadInputError, UnknownNameError
from alkaflow.studies import Study, read_study
from alkaflow.workflows.bundle import Bundle, read_bundle

STUDY_FILE = "study.yaml"
_BEST_FIRST = ("published", "composite", "published-sp", "anion-sp", "screen", "xtb")


@dataclass(frozen=True)
class StudySource:
    """A study and the folder it came from."""

    study: Study
    folder: Path


def shipped_studies() -> Mapping[str, Path]:
    """Folders of the studies in the package, by name."""
    root = Path(str(files("alkaflow.workflows"))) / "studies"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{STUDY_FILE}"))}


def load_study(name_or_path: str) -> StudySource:
    """Read a shipped study by name or any study by path.

    Raises
    ------
    UnknownNameError
        Neither a shipped study nor a file.
    BadInputError
        The file is not a study.
    """
    shipped = shipped_studies()
    if name_or_path in shipped:
        return StudySource(read_study(shipped[name_or_path] / STUDY_FILE), shipped[name_or_path])
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):  # noqa: PTH113  (False for a name that is too long)
        return StudySource(read_study(path), path.parent)
    raise UnknownNameError("study", name_or_path, shipped, hint="(or give the path of a YAML file)")


def shipped_bundle(name: str, protocol: str | None = None) -> Bundle:
    """Return the records shipped with a study; without a protocol those at the highest level.

    Raises
    ------
    BadInputError
        The study has none for that protocol; says which there are.
    """
    shipped = shipped_studies()
    if name not in shipped:
        raise UnknownNameError("shipped study", name, shipped)
    available = {path.stem: path for path in shipped[name].glob("*.json")}
    for choice in (protocol,) if protocol else _BEST_FIRST:
        if choice in available:
            return read_bundle(available[choice])
    raise BadInputError(
        f"study {name!r} ships no records for {protocol or 'any protocol'}; "
        f"{'it has ' + ', '.join(sorted(available)) if available else 'run: alkaflow reproduce ' + name}"
    )


def shipped_table(name: str, protocol: str | None = None) -> Table:
    """Return the table of a shipped study from its shipped records, computing nothing."""
    bundle = shipped_bundle(name, protocol)
    return build_table(bundle.plan, bundle.by_id)
