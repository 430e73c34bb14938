"""The command line: one sentence per error, exit codes that mean something, a traceback only with ``--debug``.

Exit codes: 0 done; 1 something was not computed or a check failed; 2 bad input; 3 a service is missing; 130 Ctrl-C.
"""

import signal
import sys
import traceback
from types import FrameType, TracebackType

from alkaflow.errors import AlkaflowError
from alkaflow.launchpad.redaction import protect_logs, redact

INTERRUPTED = 130
TERMINATED = 143


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that claims are given back on the way out."""


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


def _explain(error: Exception) -> int:
    """Say what went wrong in one sentence; returns the exit code."""
    if callable(show := getattr(error, "show", None)):  # wrong usage, whichever click raised it
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
