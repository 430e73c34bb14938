"""Who may look: servers that ask for no password, and files that others can read."""

import ipaddress
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from alkaflow.errors import ServiceError
from alkaflow.launchpad.redaction import protect_logs, redact, remember_secrets, uri_fault

__all__ = [
    "AUTHENTICATION_FAILED",
    "answers_without_authentication",
    "exposed",
    "is_loopback",
    "protect_logs",
    "readable_by_others",
    "redact",
    "refuse_open_server",
    "remember_secrets",
    "uri_fault",
]

AUTHENTICATION_FAILED = {18, 8000}  # the second is Atlas' own


# --- servers --------------------------------------------------------------------------------------------------------


def is_loopback(uri: str) -> bool:
    """Whether a connection string leads to one server on this machine, by a Unix socket or the loopback interface.

    Names are not looked up: anything but ``localhost`` and loopback addresses counts as elsewhere, and so do several
    hosts, replica sets (which name their members themselves) and ``mongodb+srv``.
    """
    if not uri.startswith("mongodb://"):
        return False
    try:
        parsed = parse_uri(uri, validate=False, warn=False)
    except (PyMongoError, ValueError):
        return False
    if len(parsed["nodelist"]) != 1 or parsed["options"].get("replicaSet"):
        return False
    host = str(parsed["nodelist"][0][0])
    if host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_server(client: "MongoClient[dict[str, Any]]", name: str, loopback: bool, allowed: bool) -> None:
    """Refuse a server on another host that let us in without asking who we are.

    Parameters
    ----------
    client
        Connected to it.
    name
        Of the database.
    loopback
        Whether only this machine can reach the server; see `is_loopback`.
    allowed
        The setting ``allow_unauthenticated_server``.

    Raises
    ------
    ServiceError
        The server asks for no password; names the setting.
    """
    if loopback or allowed or not _is_let_in_unknown(client, name):
        return
    raise ServiceError(
        "the server of mongodb_uri asks for no user and password, so whoever reaches it can change results and run "
        "code as your workers; turn its access control on and give user and password in mongodb_uri, or, where the "
        "network is closed to others, set allow_unauthenticated_server: true"
    )


def answers_without_authentication(uri: str, name: str, seconds: float = 5.0) -> bool:
    """Whether a server shows a database to somebody who gives no user and password, even if we give them."""
    client: MongoClient[dict[str, Any]] = MongoClient(
        _without_credentials(uri), serverSelectionTimeoutMS=int(seconds * 1000)
    )
    with client:
        return _is_let_in_unknown(client, name)


def _is_let_in_unknown(client: "MongoClient[dict[str, Any]]", name: str) -> bool:
    try:
        status = client.admin.command("connectionStatus")
        if status["authInfo"]["authenticatedUsers"]:
            return False
        client[name]["meta"].find_one({}, {"_id": 1})
    except OperationFailure as error:
        if error.code in AUTHENTICATION_FAILED:  # what the user gave is wrong, which is to be told
            raise
        return False  # it wants to know who asks
    return True


def _without_credentials(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    place, mark, options = rest.rpartition("@")[2].partition("?")
    kept = [o for o in options.split("&") if o and not o.lower().startswith("auth")]
    return f"{scheme}://{place}" + (f"{mark}{'&'.join(kept)}" if kept else "")


# --- files ----------------------------------------------------------------------------------------------------------


def readable_by_others(path: Path) -> bool:
    """Whether group or others may do anything with a file or directory."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def exposed(data_dir: Path, others: Iterable[Path] = ()) -> list[Path]:
    """Find what others could read of a data directory, and files with credentials elsewhere.

    What lies deeper in it than a directory that only its owner can enter is safe, whatever its own mode.

    Parameters
    ----------
    data_dir
        Of the settings.
    others
        Files, such as FireWorks' own, that count when they hold a connection string or a password.
    """
    found = [path for path in others if path.is_file() and readable_by_others(path) and _holds_secret(path)]
    if data_dir.is_dir() and readable_by_others(data_dir):
        found += [p for p in sorted(data_dir.iterdir()) if not p.is_symlink() and readable_by_others(p)]
    return list(dict.fromkeys(found))


def _holds_secret(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return bool(re.search(r"mongodb(\+srv)?://|mongodb_uri\s*:|password\s*:\s*(?!null\b|~)\S", text, re.IGNORECASE))
