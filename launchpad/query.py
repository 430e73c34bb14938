"""Asking the results database from Python.

from alkaflow import results

stable = results().guest("Li").site("bay").step("energy").sorted_by("energy")
stable.to_dataframe()
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alkaflow.errors import BadInputError
from alkaflow.launchpad import query_rows
from alkaflow.launchpad.batches import pieces
from alkaflow.launchpad.database import Database, open_database
from alkaflow.launchpad.query_filters import Filters, checked
from alkaflow.records import Record
from alkaflow.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "id", "step", "state", "outcome", "level", "formula", "charge", "multiplicity", "host", "guest", "site",
    "site_kind", "site_label", "part", "energy_hartree", "s_squared", "held", "studies", "title", "parent",
    "submitted", "finished",
)  # fmt: skip
"""Of a table with one line per calculation; after them come the charges of the guests, by scheme."""

_SHOWN = 20
_RECORDS_TOGETHER = 100


@dataclass(frozen=True)
class Results:
    """Calculations that fit, in an order; every method returns another one and leaves this one as it is.

    Nothing is read before `records`, `one`, `count`, `rows` or `to_dataframe` is called, which open the database and
    close it again. Values are checked at once where they come from a fixed list; names of hosts, guests, sites and
    studies are checked against those that were submitted.
    """

    _where: Database | Settings | None = None
    _filters: Filters = field(default_factory=Filters)

    def _with(self, **values: Any) -> "Results":
        kept = {name: checked(name, value) for name, value in values.items()}
        return replace(self, _filters=replace(self._filters, **kept))

    def guest(self, name: str) -> "Results":
        """Of this guest: its complexes, and it alone."""
        return self._with(guest=name)

    def site(self, name: str) -> "Results":
        """Complexes whose guest starts at this site: an id, kind or label."""
        return self._with(site=name)

    def host(self, name: str) -> "Results":
        """On this host: its complexes, and it alone. The name is the one that the study gives it."""
        return self._with(host=name)

    def study(self, name: str) -> "Results":
        """Of this study."""
        return self._with(study=name)

    def level(self, written: str) -> "Results":
        """At this level of theory, in any of its written forms."""
        return self._with(level=written)

    def step(self, name: str) -> "Results":
        """Of this step: relax, energy, frequencies or another."""
        return self._with(step=name)

    def state(self, name: str) -> "Results":
        """In this state: COMPLETED, READY, FIZZLED or another."""
        return self._with(state=name)

    def outcome(self, name: str) -> "Results":
        """That ended so: converged, scf_not_converged or another."""
        return self._with(outcome=name)

    def formula(self, formula: str) -> "Results":
        """Of this sum formula, its elements in any order."""
        return self._with(formula=formula)

    def element(self, symbol: str) -> "Results":
        """With at least one atom of this element."""
        return self._with(element=symbol)

    def charge(self, charge: int) -> "Results":
        """Of this charge [e]."""
        return self._with(charge=charge)

    def multiplicity(self, multiplicity: int) -> "Results":
        """Of this spin multiplicity 2S+1."""
        return self._with(multiplicity=multiplicity)

    def since(self, when: str | datetime | timedelta) -> "Results":
        """Done or failed at this time or later: ``2026-11-01``, ``2026-11-01T08:30``, or a span: ``7d``, ``12h``."""
        return self._with(since=when)

    def until(self, when: str | datetime | timedelta) -> "Results":
        """Done or failed at this time or earlier, as `since`; a date counts to its end."""
        return self._with(until=when)

    def sorted_by(self, key: str, reverse: bool = False) -> "Results":
        """In the order of submitted, energy, finished, formula, level, step or state; then of submission.

        What has no energy or has not finished comes last, also in reverse.
        """
        return self._with(sort=key, reverse=reverse)

    def limit(self, number: int, page: int = 1) -> "Results":
        """At most so many of them, or the second, third, ... so many."""
        return self._with(limit=number, page=page)

    # --- answers ----------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many calculations fit, whatever the limit."""
        with self._open() as database:
            return query_rows.count(database, self._filters)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary per calculation, done or not; energies in Hartree, charges in e."""
        with self._open() as database:
            return list(query_rows.rows_of(database, self._filters))

    def records(self) -> Iterator[Record]:
        """The records of those that are done, in order."""
        with self._open() as database:
            for some in pieces(query_rows.ordered_ids(database, self._filters), _RECORDS_TOGETHER):
                found = database.records_of(list(some))
                yield from (found[i] for i in some if i in found)

    def one(self) -> Record:
        """The record of the one calculation that fits.

        Raises
        ------
        BadInputError
            None fits, or several do, or the one is not done; says which.
        """
        found = self.limit(4).rows()
        if not found:
            raise BadInputError("no calculation fits")
        if len(found) > 1:
            named = "; ".join(f"{row['id']} ({row['title']})" for row in found[:3])
            raise BadInputError(f"{self.count()} calculations fit: {named}{'; ...' if len(found) > 3 else ''}")
        with self._open() as database:
            record = database.record(found[0]["id"])
        if record is None:
            why = f": {found[0]['outcome']}" if found[0]["outcome"] else ""
            raise BadInputError(f"calculation {found[0]['id']} has no record; it is {found[0]['state']}{why}")
        return record

    def to_dataframe(self) -> "pd.DataFrame":
        """One line per calculation in a pandas DataFrame: the columns of `COLUMNS`, then charges of the guests [e]."""
        import pandas as pd

        lines = [flat(row) for row in self.rows()]
        frame = pd.DataFrame(lines, columns=columns_of(lines))
        for key in ("submitted", "finished"):
            frame[key] = pd.to_datetime(frame[key], utc=True)
        for key in ("energy_hartree", "s_squared"):
            frame[key] = frame[key].astype(float)
        return frame

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def _repr_html_(self) -> str:
        """The first lines as a table, for notebooks."""
        number = self.count()
        shown = min(self._filters.limit or _SHOWN, _SHOWN)
        frame = replace(self, _filters=replace(self._filters, limit=shown)).to_dataframe()
        return f"{frame.dropna(axis=1, how='all').to_html(index=False)}<p>{number} calculations fit</p>"

    def _open(self) -> AbstractContextManager[Database]:
        if isinstance(self._where, Database):
            return nullcontext(self._where)
        return open_database(self._where or load_settings())


def results(where: Database | Settings | None = None) -> Results:
    """All calculations of a database, to be narrowed down.

    Parameters
    ----------
    where
        An open database, which stays open; or settings; those of the configuration file without either.
    """
    if where is not None and not isinstance(where, Database | Settings):
        raise BadInputError(f"results() takes settings or an open database, not a {type(where).__name__}")
    return Results(where)


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without lists and dictionaries: studies as text, ``held`` for constraints, a column for every charge."""
    line = {key: row[key] for key in COLUMNS if key != "held"} | {"held": bool(row["constraints"])}
    line["studies"] = ", ".join(row["studies"])
    return line | {f"guest_charge_{scheme}": value for scheme, value in row["guest_charge"].items()}


def columns_of(lines: list[dict[str, Any]]) -> list[str]:
    """`COLUMNS`, then every other key of some flat rows."""
    return [*COLUMNS, *sorted({key for line in lines for key in line} - set(COLUMNS))]
