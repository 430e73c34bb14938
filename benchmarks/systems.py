"""What is measured: Li on hosts, as the structure builder places it."""

from collections.abc import Callable

from alkaflow.levels import KohnSham
from alkaflow.structures import Structure, build_complex, find_sites, hatcn, load_host
from alkaflow.workflows.protocols import get_protocol

FITTING = "def2-universal-jkfit"


def with_li(host: Structure, kind: str) -> Structure:
    """Li at the first site of a kind."""
    return build_complex(host, "Li", next(site for site in find_sites(host, "Li") if site.kind == kind)).structure


SYSTEMS: dict[str, Callable[[], Structure]] = {
    "dicyanopyrazine": lambda: with_li(load_host("dicyanopyrazine"), "corner"),
    "bipyrimidine": lambda: with_li(load_host("bipyrimidine"), "bay"),
    "hexaazatriphenylene": lambda: with_li(load_host("hexaazatriphenylene"), "bay"),
    "hatcn": lambda: with_li(hatcn(), "bay"),
}
"""Hosts of 10, 12, 18 and 30 heavy atoms with Li."""


def published() -> KohnSham:
    """Level of the published energies: B3LYP-D3(BJ)/6-311G(d,p), the pruned (99,590) grid after grid level 3."""
    level = get_protocol("published-sp").energy
    assert isinstance(level, KohnSham)
    return level
