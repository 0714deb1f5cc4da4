"""Whole tables without a function: ``nbreactive.table("orders")`` to look, ``nbreactive.load("orders", df)`` to fill."""

from __future__ import annotations

import datetime as dt
import difflib
import math
import re
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nbreactive.client import frames
from nbreactive.client.arguments import Arguments, FixedArguments
from nbreactive.client.client import Client
from nbreactive.client.live import LiveQuery
from nbreactive.client.live_value import LiveValue
from nbreactive.errors import ArgumentError, FunctionNotFound, InvalidValue, NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.values.checks import check_value
from nbreactive.values.sizes import size_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

ROWS = "_system/tables:rows"
COUNT = "_system/tables:count"
INSERT = "_system/tables:insert_many"
CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class TableQuery(LiveQuery):
    """A table, live: its newest documents to look at, all of it as a frame."""

    def __init__(self, client: Client, path: str, arguments: Arguments, *, title: str = "") -> None:
        # first, because views may ask for the total as soon as there are rows
        self._count = LiveQuery(client, COUNT, FixedArguments({"table": title}), title=title)
        self._validator: Mapping[str, Any] | None = None
        super().__init__(client, path, arguments, title=title)
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
        """Return the whole table, typed, as it stands in the backend's column store; empty if there is none yet."""
        if self.error is not None:
            raise self.error
        try:
            return frames.from_ipc(self._client.admin_bytes(f"rows?table={quote(self.title, safe='')}"))
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
    client: Client, name: str, data: Any, *, chunk: int = CHUNK_ROWS, progress: Callable[[str], None] | None = None
) -> int:
    """Insert the rows of ``data`` into the table ``name``, in several mutations; returns how many.

    Each chunk is one transaction: if one fails, the chunks before it stay, and the error says how many rows those are.

    Parameters
    ----------
    client
        Where to.
    name
        The table; it is made if it does not exist.
    data
        A pandas or polars DataFrame, anything with ``__arrow_c_stream__``, a list of dicts, or a dict of columns.
        The index of a pandas DataFrame becomes a column if it has a name; without one, only row numbers are left out.
        ``_id`` and ``_creationTime`` are refused, since every document gets new ones.
    chunk
        Rows per mutation at most.
    progress
        Takes the progress line instead of standard output.
    """
    total, rows = rows_of(data)
    say = progress or _say
    done = 0
    moments: set[str] = set()
    for documents in chunks(_noting_moments(rows, moments), max(1, chunk)):
        try:
            with client.explained():
                client.call(INSERT, {"table": name, "documents": documents})
        except Exception as failure:
            say(f"{name}: stopped after {done:,} of {total:,} documents\n")
            failure.add_note(f"{done:,} of {total:,} documents were inserted before this.")
            raise
        done += len(documents)
        say(f"\r{name}: {done:,} of {total:,} documents")
    say(f"\r{name}: {done:,} documents loaded" + " " * 12 + "\n")
    if not done:
        _say_if_missing(client, name)
    if moments and not _has_schema(client, name):
        columns = f"column{'' if len(moments) == 1 else 's'} {', '.join(sorted(moments))}"
        say(safe_text(f"{columns}: stored as milliseconds; a schema with v.datetime() makes them times again") + "\n")
    return done


def _noting_moments(rows: Iterator[Any], moments: set[str]) -> Iterator[Any]:
    """Pass rows on, and put the names of columns with datetimes into ``moments``."""
    for row in rows:
        if isinstance(row, dict):
            found = {
                str(key) for key, value in row.items() if isinstance(value, dt.datetime) and value.tzinfo is not None
            }
            moments |= found  # NaT calls itself a datetime, without a time zone
        yield row


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


def rows_of(data: Any) -> tuple[int, Iterator[dict[str, Any]]]:
    """Return how many rows ``data`` has, and the rows."""
    if isinstance(data, LiveValue):
        data = data.value
    if isinstance(data, dict):
        columns = {str(key): list(column) for key, column in data.items()}
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ArgumentError(f"The columns have different lengths: {sorted(lengths)}.")
        names = list(columns)
        return (lengths or {0}).pop(), (
            dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
        )
    if isinstance(data, list | tuple):
        return len(data), iter(data)
    if type(data).__name__ == "Series":
        raise ArgumentError("A Series is one column without a name for its field: load series.to_frame('name').")
    if hasattr(data, "iter_rows") and hasattr(data, "columns"):  # polars
        return data.height, data.iter_rows(named=True)
    if hasattr(data, "iloc"):  # pandas
        frame = _with_index(data)
        _refuse_doubles(list(frame.columns))
        return len(frame), _pandas_rows(frame)
    if hasattr(data, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            table = pa.table(data)
        except (TypeError, ValueError) as failure:
            raise ArgumentError(f"A {type(data).__name__} is no table of named columns: {failure}") from None
        _refuse_doubles(table.column_names)
        return table.num_rows, (row for batch in table.to_batches(CHUNK_ROWS) for row in batch.to_pylist())
    raise ArgumentError(
        f"A {type(data).__name__} has no rows to load: give a DataFrame, Arrow data or a list of dicts."
    )


def _refuse_doubles(columns: list[Any]) -> None:
    doubles = [column for column, times in Counter(columns).items() if times > 1]
    if doubles:
        names = ", ".join(repr(column) for column in doubles)
        raise ArgumentError(
            f"{'Columns' if len(doubles) > 1 else 'A column'} called {names} "
            f"{'are' if len(doubles) > 1 else 'is'} there more than once: rename or drop all but one, "
            "e.g. df = df.loc[:, ~df.columns.duplicated()]."
        )


def _with_index(frame: Any) -> Any:
    """Return a pandas DataFrame with its index as columns, unless that only numbers the rows."""
    index = frame.index
    if any(name is None for name in index.names):
        if index.nlevels == 1 and (index.dtype.kind in "iu" or not len(index)):
            return frame
        raise ArgumentError(
            "The index of the DataFrame has values but no name: give it one with df.rename_axis('name'), and it becomes a "
            "column (a list of names, if it has several levels), or leave it out with df.reset_index(drop=True)."
        )
    _refuse_doubles([*index.names, *frame.columns])
    return frame.reset_index()


def _pandas_rows(frame: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(frame), CHUNK_ROWS):
        yield from frame.iloc[start : start + CHUNK_ROWS].to_dict("records")


def chunks(rows: Iterator[Any], most: int) -> Iterator[list[dict[str, Any]]]:
    """Gather documents into chunks of a bounded number and size."""
    waiting: list[dict[str, Any]] = []
    size = 0
    for at, row in enumerate(rows):
        document = document_of(row, at)
        weight = size_of(document)
        if waiting and (len(waiting) >= most or size + weight > CHUNK_BYTES):
            yield waiting
            waiting, size = [], 0
        waiting.append(document)
        size += weight
    if waiting:
        yield waiting


def document_of(row: Any, at: int) -> dict[str, Any]:
    """Return one row as a document; missing values become None, moments milliseconds."""
    if not isinstance(row, dict):
        raise ArgumentError(f"row {at} is a {type(row).__name__}, not a dict of fields")
    document: dict[str, Any] = {}
    for name, value in row.items():
        if name in ("_id", "_creationTime"):
            raise InvalidValue(
                f"{name!r} cannot be loaded, as every document gets a new one: leave it out, e.g. "
                "df.drop(columns=['_id', '_creationTime'], errors='ignore'), or rename the column to keep it",
                f"row {at}",
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidValue(
                f"{name!r} cannot be the name of a field (letters, digits and _, a letter first): rename the column, "
                f"e.g. df.rename(columns={{{name!r}: {_suggest(name)!r}}})",
                f"row {at}",
            )
        document[name] = _plain(value, f"row {at}.{name}")
    return check_value(document, f"row {at}", datetimes=True)


def _suggest(name: Any) -> str:
    text = re.sub(r"\W+", "_", str(name)).strip("_") or "field"
    return text if text[0].isalpha() and text.isascii() else f"c_{re.sub(r'[^A-Za-z0-9_]', '', text)}"


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, str | bool | int | bytes):
        return value
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas' missing values; NaT calls itself a datetime
        return None
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise InvalidValue(
                "a moment without a time zone: say which, e.g. df[column] = df[column].dt.tz_localize('UTC')", where
            )
        return value
    if isinstance(value, dt.date):
        return value.isoformat()
    if type(value).__name__ == "Decimal":
        return float(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist(), where)
    if isinstance(value, dict):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{at}]") for at, item in enumerate(value)]
    return value
