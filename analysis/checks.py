"""What a published table claims beyond its numbers: the order of sites, and whose gaps are smaller."""

from itertools import combinations, pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict

Entry = tuple[str, str, str, float | None, float | None]
"""Host, guest, site label, computed and published adsorption energy [eV]."""


class Check(BaseModel):
    """A claim of the published table, and whether the computed numbers bear it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str
    verdict: Literal["holds", "fails", "open"]
    computed: str


def published_checks(entries: list[Entry]) -> list[Check]:
    """Derive the claims from the published values and judge each by the computed ones.

    For every host and guest: the sites bind in the published order. For every two guests: the gap between the two
    best published sites is smaller for the same guest. ``open`` where a number is missing or
    its guest moved to another site.
    """
    published = [entry for entry in entries if entry[4] is not None]
    checks = [check for group in _groups(published) if (check := _order_check(group)) is not None]
    for one, other in combinations(_groups(published), 2):
        if one[0][0] == other[0][0] and (check := _gap_check(one, other)) is not None:
            checks.append(check)
    return checks


def _groups(entries: list[Entry]) -> list[list[Entry]]:
    """Entries of one host and guest, most strongly bound (published) first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry[:2], []).append(entry)
    return [sorted(group, key=lambda entry: entry[4] or 0.0) for group in groups.values()]


def _order_check(group: list[Entry]) -> Check | None:
    if len(group) < 2:
        return None
    host, guest = group[0][:2]
    claim = f"{guest} on {host}: {' < '.join(entry[2] for entry in group)}"
    values = [entry[3] for entry in group]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Check(claim=claim, verdict="open", computed="not all there")
    holds = all(a < b for a, b in pairwise(known))
    return Check(
        claim=claim,
        verdict="holds" if holds else "fails",
        computed=" < ".join(f"{v:.2f}" for v in known) if holds else ", ".join(f"{v:.2f}" for v in known),
    )


def _gap_check(one: list[Entry], other: list[Entry]) -> Check | None:
    """Compare the gap between the two best sites of two guests on one host, where both name the same sites."""
    if len(one) < 2 or len(other) < 2 or [e[2] for e in one[:2]] != [e[2] for e in other[:2]]:
        return None
    small, large = sorted((one, other), key=lambda group: _gap(group, 4) or 0.0)
    host, sites = small[0][0], f"{small[0][2]} and {small[1][2]}"
    claim = f"{host}: gap between {sites} is smaller for {small[0][1]} than for {large[0][1]}"
    gap_small, gap_large = _gap(small, 3), _gap(large, 3)
    if gap_small is None or gap_large is None:
        return Check(claim=claim, verdict="open", computed="not all there")
    holds = gap_small < gap_large
    return Check(claim=claim, verdict="holds" if holds else "fails", computed=f"{gap_small:.2f} and {gap_large:.2f}")


def _gap(group: list[Entry], column: Literal[3, 4]) -> float | None:
    first, second = group[0][column], group[1][column]
    return None if first is None or second is None else second - first
