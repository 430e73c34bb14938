"""A worker with the fake engine: settings from the environment, options before ``--``, the engine's after it."""

import argparse
import signal
import sys
import threading

from alkaflow.errors import AlkaflowError
from alkaflow.launchpad.cli import _raise_terminated, _Terminated
from alkaflow.launchpad.database import open_database
from alkaflow.launchpad.worker import Engine, Event, Worker
from alkaflow.settings import load_settings


def main() -> int:
    cut = sys.argv.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--stay", type=float, default=0.0)
    parser.add_argument("--module", default="alkaflow.workflows.fake_engine")
    options = parser.parse_args(sys.argv[1:cut])
    drain = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: drain.set())
    signal.signal(signal.SIGTERM, _raise_terminated)
    engine = Engine(options.module, tuple(sys.argv[cut + 1 :]))
    try:
        with open_database(load_settings(), start=False) as database:
            Worker(database, load_settings(), show, engine, drain).run(stay_seconds=options.stay)
    except _Terminated:
        return 143
    except AlkaflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def show(event: Event) -> None:
    if event.kind not in ("progress", "waiting"):
        print(event.kind, event.calculation, event.message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
