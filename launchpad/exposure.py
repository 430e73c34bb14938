"""What others could reach: open servers, open ports, and files with passwords that others can read."""

from pathlib import Path

import psutil
from pymongo.errors import PyMongoError

from alkaflow.launchpad.findings import Finding, Verdict, shortened
from alkaflow.launchpad.mongod import EmbeddedMongod
from alkaflow.launchpad.security import answers_without_authentication, exposed, is_loopback
from alkaflow.settings import Settings, config_file


def look_at_secrets(settings: Settings) -> Finding:
    """Files with credentials and directories of results that others can read."""
    return _finding(exposed(settings.data_dir, _with_credentials(settings)))


def look_at_config_file() -> Finding | None:
    """The configuration file alone, which is not read while others can read it; None where nothing is wrong."""
    found = exposed(Path("/nonexistent"), [config_file()])
    return _finding(found) if found else None


def _with_credentials(settings: Settings) -> list[Path]:
    """Where connection strings and passwords are kept: our file, FireWorks' files that we wrote, and its user's own."""
    from fireworks import fw_config

    ours = [*settings.data_dir.glob("*.yaml"), *settings.data_dir.glob("*/*.yaml")]
    return [config_file(), *ours, *(Path(path) for path in [fw_config.LAUNCHPAD_LOC] if path)]


def _finding(found: list[Path]) -> Finding:
    if not found:
        return Finding("secrets", "ok", "nobody else can read them")

    def mend() -> str:
        for path in found:
            path.chmod(0o700 if path.is_dir() else 0o600)
        return "only you can read them now"

    names = [str(path) for path in found]
    advice = f"run: alkaflow doctor --mend, or: chmod go= {shortened(names, 1)}"
    verdict: Verdict = "problem" if any(path.is_file() for path in found) else "warning"
    return Finding("secrets", verdict, f"others can read {shortened(names)}", advice, mend)


def look_at_access(settings: Settings) -> Finding:
    """Who can reach the database: nobody but us by the embedded one, nobody without a password by a server."""
    if settings.mongodb_uri is None:
        return _embedded(EmbeddedMongod(settings))
    uri = settings.mongodb_uri.get_secret_value()
    try:
        is_open = answers_without_authentication(uri, settings.database)
    except (PyMongoError, ValueError) as error:
        return Finding("access", "warning", f"whether the server is open cannot be told ({type(error).__name__})")
    if not is_open:
        return Finding("access", "ok", "the server asks for user and password")
    advice = "turn its access control on (mongod --auth), and give user and password in mongodb_uri"
    if is_loopback(uri):
        return Finding("access", "warning", "the server lets every user of this machine in", advice)
    return Finding("access", "problem", "the server lets everybody in who reaches it", advice)


def _embedded(server: EmbeddedMongod) -> Finding:
    pid = server.pid()
    try:
        connections = psutil.Process(pid).net_connections("inet") if pid is not None else []
    except psutil.Error as error:
        return Finding("access", "warning", f"the ports of mongod cannot be seen ({type(error).__name__})")
    ports = sorted({c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN})
    if ports:
        detail = f"the embedded mongod (process {pid}) listens on TCP port {', '.join(map(str, ports))}"
        return Finding("access", "problem", detail, "run: alkaflow db stop, then: alkaflow db start")
    return Finding("access", "ok", "no TCP port; the socket is in a directory of yours")
