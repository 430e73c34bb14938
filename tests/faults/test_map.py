"""The map of faults and tests is true."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent


def test_every_test_on_the_map_exists() -> None:
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^def {name}\(", (TESTS / path).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []
    points = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert points == list(range(1, 26))
    assert len(named) > len(points)
