"""The command line: one sentence per error, exit codes that mean something, a traceback only with ``--debug``.

Exit codes: 0 done; 1 something was not computed or a check failed; 2 bad input; 3 a service is missing; 130 Ctrl-C.
"""

import re
import signal
import sys
import traceback
from types import FrameType, TracebackType
from typing import Any

from alkaflow.errors import AlkaflowError
from alkaflow.launchpad.drain import Terminated as _Terminated
from alkaflow.launchpad.redaction import protect_logs, redact

INTERRUPTED = 130
TERMINATED = 143
_NEGATIVE = re.compile(r"-\d+")


def main() -> None:
    """Run the ``alkaflow`` command and exit."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    signal.signal(signal.SIGTERM, _raise_terminated)
    sys.excepthook = _show_traceback
    protect_logs()
    sys.exit(run(arguments, debug))


def run(arguments: list[str], debug: bool = False) -> int:
    """Run a command line and return its exit code."""
    try:  # typer turns Ctrl-C into an exit code of its own, or lets it pass
        import typer

        from alkaflow.launchpad.cli.app import app

        arguments = _with_negative_numbers(arguments)
        code = int(typer.main.get_command(app).main(arguments, prog_name="alkaflow", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except _Terminated:
        code = TERMINATED
    except BrokenPipeError:
        code = 1
    except Exception as error:
        if debug:
            raise
        code = _explain(error)
    if code in (INTERRUPTED, TERMINATED):
        _say("stopped; finished calculations of the queue are kept, and the same command goes on from there")
    return code


def _with_negative_numbers(arguments: list[str]) -> list[str]:
    """Let a priority below zero be a number, which would be taken for an option."""
    if arguments[:1] != ["priority"] or not any(_NEGATIVE.fullmatch(argument) for argument in arguments):
        return arguments
    options = [argument for argument in arguments[1:] if argument.startswith("-") and not _NEGATIVE.fullmatch(argument)]
    return ["priority", *options, "--", *(argument for argument in arguments[1:] if argument not in options)]


_WANTED = {
    "greater_than_equal": "has to be {ge} or more",
    "greater_than": "has to be more than {gt}",
    "less_than_equal": "has to be {le} or less",
    "less_than": "has to be less than {lt}",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
}


def _put_in_words(error: Any) -> None:
    """Say what is wrong with a number of an option, where the parser uses the words of its own library."""
    refused = getattr(error.__cause__, "errors", None)
    if callable(refused) and (first := refused()[0])["type"] in _WANTED:
        wanted = _WANTED[first["type"]].format(**first.get("ctx", {}))
        error.message = f"{first['input']!r} {wanted}"


def _explain(error: Exception) -> int:
    """Say what went wrong in one sentence; returns the exit code."""
    if callable(show := getattr(error, "show", None)):  # wrong usage, whichever click raised it
        _put_in_words(error)
        show()
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    if isinstance(error, AlkaflowError):
        _say(redact(f"error: {error}"))
        return error.exit_code
    said = redact(f"{type(error).__name__}: {error}")
    _say(f"error: {said}; this is a fault in alkaflow, run again with --debug to see where")
    return 1


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _say(redact("".join(traceback.format_exception(kind, error, trace)).rstrip()))


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the way out is not interrupted again
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Terminated


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
