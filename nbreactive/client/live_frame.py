"""The result of a SQL statement, live: rows to look at, frames of any size.

The client holds what the backend sends: the whole result up to 10,000 rows, else its beginning. Frames are
always whole: what is not here is fetched, as Arrow, when it is asked for.
"""

# pyarrow, pandas and polars have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbreactive.client import frames
from nbreactive.client.arguments import Arguments
from nbreactive.client.live import LiveQuery
from nbreactive.client.protocol import Outcome
from nbreactive.client.statement import EXPLAIN, REGISTER, SQL_LIVE, StatementArguments, hash_of, title_of
from nbreactive.errors import FunctionNotFound, NBReactiveError, Refused
from nbreactive.values.json import to_jsonable

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from nbreactive.client.client import Client

ARROW = "/api/sql/arrow"
FETCH_SECONDS = 120.0
FIRST_RESULT = 30.0
"""Seconds that the first result is awaited: SQL may look at a lot, and has a deadline of its own in the backend."""


@dataclass(frozen=True)
class Result:
    """One result of a statement, as it came."""

    names: list[str]
    types: list[str]
    rows: list[list[Any]]
    """The first rows: all of them if ``complete``."""
    total: int
    complete: bool

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Result:
        """Read what ``_system/sql:live`` returns."""
        columns = value["columns"]
        return cls(
            [column["name"] for column in columns],
            [column["type"] for column in columns],
            value["rows"],
            int(value["total"]),
            bool(value.get("complete", True)),
        )

    def documents(self) -> list[dict[str, Any]]:
        """Return the rows as dicts."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


NOTHING = Result([], [], [], 0, complete=True)


class LiveFrame(LiveQuery):
    """The newest result of a SQL statement, and of every change to it.

    Attributes
    ----------
    value
        The rows as dicts (the first 10,000 of a larger result); a fresh list after every change.
    columns
        The names of the columns.
    types
        Their types, as DuckDB names them.
    total
        How many rows there are.
    complete
        Whether ``value`` has all of them; frames always do.

    Examples
    --------
    >>> busy = nbreactive.sql("SELECT station, count(*) n FROM trips GROUP BY station")       # doctest: +SKIP
    >>> busy.df().sort_values("n")       # doctest: +SKIP
    """

    def __init__(self, client: Client, path: str, arguments: Arguments, *, title: str = "", **more: Any) -> None:
        assert isinstance(arguments, StatementArguments)
        self.statement = arguments
        self.result = NOTHING
        self._heard: Outcome | None = None
        self._told_as: Outcome | None = None
        self._whole: tuple[Any, pa.Table] | None = None
        self.frozen = False
        """Whether this is how it was at one moment, for good."""
        super().__init__(client, path, arguments, title=title or title_of(arguments.text), **more)

    @classmethod
    def open(
        cls,
        client: Client,
        text: str,
        given: Mapping[str, Any],
        *,
        title: str = "",
        once: bool = False,
        timeout: float = FIRST_RESULT,
    ) -> LiveFrame:
        """Register a statement, and make it live with these parameters; waits for its first result.

        With ``once`` it stays as it is then.
        """
        client.check_thread("sql(...)")
        arguments = StatementArguments.of(text, hash_of(text), given)
        try:
            refused: NBReactiveError | None = None
            try:
                with client.explained():
                    arguments.key = client.call(REGISTER, {"sql": text})
            except (Refused, FunctionNotFound) as failure:
                # who only reads may look at what others have registered; tracebacks would keep the result alive
                refused = failure.with_traceback(None)
                refused.__context__ = None
            live = cls(client, SQL_LIVE, arguments, title=title)
        except BaseException:
            arguments.close()
            raise
        client.keep(live)
        try:
            live.wait(timeout)
            if once:
                live.freeze()
        except FunctionNotFound:
            live.close()
            raise refused or _gone(text) from None
        except BaseException:
            live.close()
            raise
        return live

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take a new result, or a new state of the connection (client thread)."""
        if outcome is not None and outcome.error is None:
            if outcome is not self._heard or self._told_as is None:
                self.result = Result.of(outcome.value)
                self._heard = outcome
                self._told_as = replace(outcome, value=self.result.documents(), columns=self.result.names)
            outcome = self._told_as
        super().receive(outcome, link, problem)

    def freeze(self) -> None:
        """Keep what it is now, all rows of it, and follow it no longer."""
        if not self.result.complete:
            self.arrow()
        self.frozen = True
        self.close()

    # ---- rows ----

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts; the first 10,000 of a larger result."""
        return self._rows() or []

    @property
    def types(self) -> dict[str, str]:
        """The types of the columns, as DuckDB names them."""
        return dict(zip(self.result.names, self.result.types, strict=True))

    @property
    def total(self) -> int | None:
        """How many rows there are; None before the first result."""
        return self.result.total if self._heard is not None else None

    @property
    def complete(self) -> bool:
        """Whether ``value`` has all rows."""
        return self.result.complete

    @property
    def state(self) -> str:
        """What views say of it."""
        return "snapshot" if self.frozen and self.error is None else self.status

    def __len__(self) -> int:
        self._rows()  # raises what is wrong
        return self.result.total

    # ---- frames ----

    def arrow(self) -> pa.Table:
        """Return all rows as a pyarrow Table, with the types of SQL."""
        self._rows()  # raises what is wrong
        result = self.result
        if self._whole is None or self._whole[0] is not result:
            self._whole = (result, self._table(result))
        return self._whole[1]

    def _table(self, result: Result) -> pa.Table:
        if not result.complete:
            args = self.args
            if args is None or self.closed:
                raise NBReactiveError(
                    f"Only the first {len(result.rows):,} of {result.total:,} rows are here, and the query is no longer "
                    "followed: run the cell again."
                )
            body = to_jsonable(args) | ({"at": self.at} if self.at else {})
            return frames.from_stream(self._client.fetch_bytes("POST", ARROW, body, within=FETCH_SECONDS))
        from nbreactive.values.frames import decode

        return decode(list(zip(result.names, result.types, strict=True)), result.rows)

    def df(self) -> pd.DataFrame:
        """Return all rows as a pandas DataFrame."""
        return frames.arrow_to_pandas(self.arrow())

    def pl(self) -> pl.DataFrame:
        """Return all rows as a polars DataFrame."""
        return frames.arrow_to_polars(self.arrow())

    if not TYPE_CHECKING:  # pyright is to know which attributes there are

        def __getattr__(self, name: str) -> Any:
            hint = "" if name.startswith("_") else f"; a frame of it is .df(), so try .df().{name}, or .pl() for polars"
            raise AttributeError(f"a live result has no {name!r}{hint}", name=name, obj=self)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    # ---- how it is kept up to date ----

    def explain(self) -> Explanation:
        """Say how the result is kept up to date, and why that way."""
        return Explanation(self._client.call(EXPLAIN, {"hash": self.statement.key, "params": self._params()}))

    @staticmethod
    def explained(client: Client, text: str, given: Mapping[str, Any]) -> Explanation:
        """Say how the result of a statement would be kept up to date; nothing is registered."""
        arguments = StatementArguments.of(text, hash_of(text), given)
        try:
            params = (arguments.current() or {}).get("params", {})
        finally:
            arguments.close()
        with client.explained():
            return Explanation(client.call(EXPLAIN, {"sql": text, "params": params}))

    def _params(self) -> dict[str, Any]:
        return (self.args or {}).get("params", {})

    def window(self, offset: int, limit: int) -> LiveQuery:
        """Return a live query of ``limit`` rows from ``offset`` on, with the same parameters."""
        return LiveQuery(self._client, SQL_LIVE, self.statement.window(offset, limit), title=self.title)

    def __repr__(self) -> str:
        return f"<live SQL · {self.title} · {self.state}>"


class Explanation(dict[str, Any]):
    """What ``.explain()`` says; printed as text, what matters first."""

    _FIRST = ("kind", "why", "watches")

    def __repr__(self) -> str:
        names = [*(name for name in self._FIRST if name in self), *(name for name in self if name not in self._FIRST)]
        return "\n".join(f"{name}: {_words(self[name])}" for name in names if self[name] not in (None, "", [], {}))


def _words(said: Any) -> str:
    if isinstance(said, dict):
        return "; ".join(f"{name}: {_words(part)}" for name, part in said.items())
    return ", ".join(map(_words, said)) if isinstance(said, list | tuple) else str(said)


def _gone(text: str) -> NBReactiveError:
    return FunctionNotFound(f"The statement {title_of(text)!r} is not registered any more: run the cell again.")
