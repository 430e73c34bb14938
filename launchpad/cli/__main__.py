"""``python -m alkaflow.launchpad.cli``."""

from alkaflow.launchpad.cli import main

main()
