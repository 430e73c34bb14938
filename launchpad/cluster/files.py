"""Files that ``alkaflow cluster init`` writes: the section of our configuration, and the four of FireWorks."""

import io
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alkaflow.cluster import ClusterSettings, fault_in_words
from alkaflow.errors import BadInputError
from alkaflow.files import private_directory, write_atomically
from alkaflow.launchpad.cluster.packing import request_for
from alkaflow.launchpad.cluster.script import adapter_for, worker_command
from alkaflow.launchpad.database import database_uri
from alkaflow.settings import Settings
from alkaflow.yaml import load_yaml

_YEAR = 365 * 24 * 3600


def cluster_from(values: dict[str, Any]) -> ClusterSettings:
    """Make settings of a cluster out of what the user gave.

    Raises
    ------
    BadInputError
        A value cannot be used; names the field.
    """
    try:
        return ClusterSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        known = [str(part) for part in first["loc"][:1]]
        raise BadInputError(f"{'.'.join(['cluster', *known])}: {fault_in_words(first)}") from None


def write_section(path: Path, changes: dict[str, Any]) -> ClusterSettings:
    """Write fields of the section ``cluster`` of a configuration file; all else in it, comments too, stays.

    Parameters
    ----------
    path
        The file; a new one is made. It is readable by its user alone afterwards.
    changes
        Fields to set.

    Returns
    -------
    ClusterSettings
        What the section says now.

    Raises
    ------
    BadInputError
        The file or the fields cannot be used; then the file is as it was.
    """
    from ruamel.yaml import YAML

    path = path.resolve()  # a link to a file kept elsewhere stays a link
    old = (load_yaml(path) if path.exists() else None) or {}
    if not isinstance(old, dict):
        raise BadInputError(f"{path}: expected 'key: value' lines")
    section = old.get("cluster") or {}
    if not isinstance(section, dict):
        raise BadInputError(f"{path}: cluster: expected 'key: value' lines under it")
    cluster = cluster_from({**section, **changes})
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    document = yaml.load(before)
    text = io.StringIO()
    if not document:  # nothing, or comments alone, which the parser would not give back
        text.write(before if before.endswith("\n") or not before else before + "\n")
        document = {}
    if not isinstance(document.get("cluster"), dict):
        document["cluster"] = {}
    document["cluster"].update(changes)
    yaml.dump(document, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode(), mode=0o600)
    return cluster


def write_fireworks(settings: Settings, cluster: ClusterSettings, start: bool = True) -> list[Path]:
    """Write the four files of FireWorks into ``data_dir/fireworks``, for ``lpad -c`` and ``qlaunch -c``.

    Parameters
    ----------
    settings
        The database is theirs.
    cluster
        What jobs ask for.
    start
        Whether to start the embedded mongod.

    Returns
    -------
    list of Path
        The files; only their user can read them, as one holds the connection string.

    Raises
    ------
    ServiceError
        There is no database.
    """
    directory = settings.data_dir / "fireworks"
    private_directory(directory)
    directory.chmod(0o700)
    request = request_for(cluster, [])
    adapter = adapter_for(settings, cluster, request, worker_command(request.pack))
    launchpad = {"host": database_uri(settings, start), "port": None, "name": settings.database, "uri_mode": True,
                 "strm_lvl": "INFO", "logdir": None}  # fmt: skip
    queue = adapter.to_dict() | {"_fw_name": "CommonAdapter"}
    files: dict[str, dict[str, Any]] = {
        "my_launchpad.yaml": launchpad,
        "my_fworker.yaml": {"name": "alkaflow", "category": "", "query": "{}", "env": {}},
        "my_qadapter.yaml": queue,
        "FW_config.yaml": {
            "CONFIG_FILE_DIR": str(directory),
            # FireWorks would take a long calculation for lost; leases say what is
            "RUN_EXPIRATION_SECS": _YEAR,
        },
    }
    return [_write(directory / name, content) for name, content in files.items()]


def _write(path: Path, content: dict[str, Any]) -> Path:
    from ruamel.yaml import YAML

    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump({key: value for key, value in content.items() if value is not None}, text)
    heading = b"# Written by 'alkaflow cluster init'; change ~/.alkaflow.yaml instead and run it again.\n"
    write_atomically(path, heading + text.getvalue().encode(), mode=0o600)
    return path
