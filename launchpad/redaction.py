"""Texts without passwords: errors, logs and tracebacks."""

import logging
import re
import traceback
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
_URI_CREDENTIALS = re.compile(r"(mongodb(?:\+srv)?://)[^\s\"'<>]*@", re.IGNORECASE)
_URI_OPTIONS = re.compile(
    r"((?:tlsCertificateKeyFilePassword|ssl_pem_passphrase|proxyPassword|authMechanismProperties)=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"([\"']).*\1")
_SHORT = 6
_secrets: set[str] = set()


def remember_secrets(uri: str) -> str:
    """Let `redact` know the password of a connection string; returns the string."""
    credentials = uri.partition("://")[2].rpartition("@")[0]  # also of a string that breaks the rules
    password = credentials.partition(":")[2]
    _secrets.update(form for form in (password, unquote(password), unquote_plus(password)) if form)
    for plain in (unquote(password), unquote_plus(password)):
        _secrets.update(form for form in (quote(plain, safe=""), quote_plus(plain)) if form)
    _secrets.update(unquote(option.partition("=")[2]) for option in _options_of(uri))
    return uri


def redact(text: str) -> str:
    """Return a text without the credentials of connection strings, and without the configured password anywhere."""
    text = _URI_CREDENTIALS.sub(rf"\1{HIDDEN}@", text)
    text = _URI_OPTIONS.sub(rf"\1{HIDDEN}", text)
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) < _SHORT:  # as a word of its own, or no text would be readable
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", HIDDEN, text)
        else:
            text = text.replace(secret, HIDDEN)
    return text


def _options_of(uri: str) -> list[str]:
    return [match.group(0) for match in _URI_OPTIONS.finditer(uri)]


def uri_fault(error: Exception, uri: str) -> str:
    """Say what is wrong with a connection string that the driver refuses, without a piece of its password."""
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        return "it has to begin with mongodb:// or mongodb+srv://"
    if isinstance(error, OSError):
        return redact(f"{error.filename}: {error.strerror}")
    said = redact(str(error))
    if "@" in uri:  # the driver quotes what follows a slash in a password as the name of a database
        said = _QUOTED.sub(HIDDEN, said)
    return said


def hosts_of(uri: str) -> str:
    """Hosts and ports of a connection string, and nothing else of it."""
    place = uri.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0]
    hosts = [host for host in unquote(place).split(",") if host]
    if uri.startswith("mongodb+srv://"):
        return ", ".join(hosts)
    return ", ".join(host if host.startswith("/") or _PORT.search(host) else f"{host}:27017" for host in hosts)


def cause_of(error: Exception) -> tuple[str, str]:
    """Why a server cannot be used, in words, and what to do.

    Parameters
    ----------
    error
        Of the driver, which tells the cause only in its text.
    """
    said = _TAIL.split(redact(str(error)))[0].strip()
    for pattern, cause, step in _CAUSES:
        if pattern.search(said):
            return cause, step
    return said[:200] or type(error).__name__, "check that the server runs, and mongodb_uri"


_PORT = re.compile(r":\d+$")
_TAIL = re.compile(r" \(configured timeouts|, Timeout: |, Topology Description")
_CAUSES = [
    (re.compile(pattern, re.IGNORECASE), cause, step)
    for pattern, cause, step in (
        ("connection refused", "the connection was refused", "check that the server runs, and the port in mongodb_uri"),
        (
            "name or service not known|nodename nor servname|name resolution|getaddrinfo|no address associated",
            "there is no host of that name",
            "check the name in mongodb_uri",
        ),
        (
            "certificate|ssl|tls",
            "TLS was not agreed on",
            "check tls, tlsCAFile and tlsCertificateKeyFile in mongodb_uri, and whether the server uses TLS at all",
        ),
        (
            "no route to host|network is unreachable|host is down",
            "its network cannot be reached from here",
            "check the name in mongodb_uri and the network",
        ),
        (
            "connection closed|connection reset|broken pipe",
            "the connection was closed by the server",
            "check whether it asks for TLS (tls=true in mongodb_uri), and its log",
        ),
        ("no replica set members|replica set", "no member of the replica set can be used",
         "check replicaSet in mongodb_uri, and the members"),
        ("timed out|time out", "there was no answer in time", "check the host in mongodb_uri, and firewalls before it"),
    )
]  # fmt: skip


class RedactingFilter(logging.Filter):
    """Takes credentials out of what is logged, arguments and traceback included."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always let through."""
        try:
            said = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a broken call is to harm nobody
            said = f"{record.msg} {record.args}"
        record.msg, record.args = redact(said), ()
        if record.exc_info:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return True


def protect_logs() -> None:
    """Let no logger of this process, whoever made it, print credentials."""
    made, redacting = logging.getLogRecordFactory(), RedactingFilter()
    if getattr(made, "redacts", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        redacting.filter(record)
        return record

    factory.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)
