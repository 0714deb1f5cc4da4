"""Whole tables without a function: ``nbreactive.table("orders")`` to look, ``nbreactive.load("orders", df)`` to fill."""

from __future__ import annotations

import difflib
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbreactive.client import bulk, frames
from nbreactive.client.arguments import Arguments, FixedArguments
from nbreactive.client.bulk import Loaded
from nbreactive.client.client import Client
from nbreactive.client.live import LiveQuery
from nbreactive.errors import ArgumentError, FunctionNotFound, NBReactiveError
from nbreactive.notebook.cells import safe_text

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

ROWS = "_system/tables:rows"
COUNT = "_system/tables:count"


class TableQuery(LiveQuery):
    """A table, live: its newest documents to look at, all of it as a frame."""

    def __init__(self, client: Client, path: str, arguments: Arguments, *, title: str = "", at: int = 0) -> None:
        # first, because views may ask for the total as soon as there are rows
        self._count = LiveQuery(client, COUNT, FixedArguments({"table": title}), title=title, at=at)
        self._validator: Mapping[str, Any] | None = None
        super().__init__(client, path, arguments, title=title, at=at)
        this = weakref.ref(self)

        def counted() -> None:
            found = this()
            if found is not None:
                found.announce()

        self._count.watch(counted)

    @property
    def total(self) -> int | None:
        """How many documents the table has; None while that is not known."""
        count = self._count.value
        return None if count is None else max(int(count), len(self.value or ()))

    def travel(self, at: Any = None) -> None:
        """Show what was at an earlier time; None: what is."""
        super().travel(at)
        self._count.travel(at)

    def close(self) -> None:
        """Unsubscribe; the last value stays."""
        super().close()
        self._count.close()

    @classmethod
    def open(cls, client: Client, name: str, limit: int, order: str) -> TableQuery:
        """Make a table live and wait for its first rows."""
        if order not in ("asc", "desc"):
            raise ArgumentError(f"order is 'asc' or 'desc' (by creation time), not {order!r}.")
        client.check_thread("table(...)")
        args = FixedArguments({"table": name, "limit": limit, "order": order})
        live = cls(client, ROWS, args, title=name)
        client.keep(live)
        try:
            with client.explained():
                live.wait()
                live._count.wait()
        except BaseException:
            live.close()
            raise
        if not live.value:
            _say_if_missing(client, name)
        else:
            live._validator = (_described(client, name) or {}).get("validator")
        return live

    @property
    def declared(self) -> Mapping[str, Any] | None:
        """The validator of its documents, if the table has a schema that this user may see."""
        return self._validator

    def arrow(self) -> pa.Table:
        """Return the whole table, typed, as it stands in the backend's column store; empty if there is none yet.

        As of an earlier time: the rows that are shown.
        """
        if self.error is not None:
            raise self.error
        if self.at:
            return super().arrow()
        try:
            return frames.from_ipc(self._client.admin_bytes(f"rows?table={quote(self._plain_title, safe='')}"))
        except FunctionNotFound:  # open() has said so
            return frames.to_arrow([], ["_id", "_creationTime"])

    def df(self) -> pd.DataFrame:
        """Return the whole table as a pandas DataFrame."""
        return frames.arrow_to_pandas(self.arrow())

    def pl(self) -> pl.DataFrame:
        """Return the whole table as a polars DataFrame."""
        return frames.arrow_to_polars(self.arrow())


def _say_if_missing(client: Client, name: str) -> None:
    """An empty table may be a misspelled one."""
    try:
        names = [table["name"] for table in client.admin("GET", "tables")["tables"]]
    except NBReactiveError:
        return  # whoever may not list the tables may look at this one all the same
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(names)}." if names else ""
        _say(safe_text(f"There is no table {name!r} yet: it comes with its first document.{hint}") + "\n")


def load(
    client: Client,
    name: str,
    data: Any,
    *,
    id: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Loaded:
    """Load rows into the table ``name``; see :func:`nbreactive.load`. What is said goes to ``progress``, or to the cell."""
    say = progress or (_say if _in_notebook() else lambda _: None)
    loaded = bulk.load(client, name, data, id=id, progress=say)
    added = loaded - loaded.repeated
    if loaded and not added:
        text = f'{name}: these {loaded:,} documents were loaded before, nothing was added (load(..., id="again") adds them once more)'
    else:
        before = f", {loaded.repeated:,} of them before" if loaded.repeated else ""
        text = f"{name}: {loaded:,} documents loaded{before}"
    say(f"\r{text}" + " " * 30 + "\n")
    if not loaded:
        _say_if_missing(client, name)
    if loaded.moments and not _has_schema(client, name):
        columns = f"column{'' if len(loaded.moments) == 1 else 's'} {', '.join(loaded.moments)}"
        say(safe_text(f"{columns}: stored as milliseconds; a schema with v.datetime() makes them times again") + "\n")
    return loaded


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def _has_schema(client: Client, name: str) -> bool:
    return bool((_described(client, name) or {}).get("module"))


def _described(client: Client, name: str) -> dict[str, Any] | None:
    """Return what the backend says of a table; None too where this user may not ask."""
    try:
        tables = client.admin("GET", "tables")["tables"]
    except NBReactiveError:
        return None
    return next((table for table in tables if table["name"] == name), None)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
