"""``ctx.db.sql(...)``: SQL over the tables of the deployment, inside of a query or mutation.

The worker asks the backend in the middle of the call, and the backend the columns process, which answers as of the
snapshot of the call and with its own writes on top. What the statement depends on comes back with its rows and becomes part of the read
set, so a live query that uses SQL runs again when a row changes that can matter to it, and a mutation is validated.
"""

# pyarrow, pandas and polars have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast, overload
from uuid import UUID

from nbreactive.engine.read_set import merge
from nbreactive.engine.transactions import Reads, SqlInterest
from nbreactive.errors import InvalidValue, LimitExceeded, MissingPackage, NotAllowed, from_wire
from nbreactive.runtime.frames import Select, Selection
from nbreactive.values.checks import check_value
from nbreactive.values.limits import SQL_STATEMENTS, over
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from nbreactive.runtime.transaction import Transaction

Ask = Callable[[Select], Selection]
"""Has a statement run."""

_AS_TEXT: Final = (date, time, Decimal, UUID)


class SqlRows(Sequence[dict[str, Any]]):
    """The result of a statement: a sequence of objects, which may be returned from a function as it is.

    Parameters
    ----------
    schema
        Name and DuckDB's type of each column.
    packed
        Its rows, packed: lists of values.
    """

    def __init__(self, schema: Sequence[tuple[str, str]], packed: bytes) -> None:
        self._schema = schema
        self._packed = packed
        self._cells: list[list[Any]] | None = None
        self._rows: list[dict[str, Any]] | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [name for name, _ in self._schema]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as a list of dicts."""
        if self._rows is None:
            names = self.columns
            self._rows = [dict(zip(names, row, strict=True)) for row in self._values()]
        return self._rows

    __nbreactive_value__ = rows

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table, with DuckDB's types."""
        from nbreactive.values.frames import decode

        return decode(self._schema, self._values())

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame."""
        _need("pandas", "df")
        return self.arrow().to_pandas()

    def pl(self) -> pl.DataFrame:
        """Return the rows as a polars DataFrame."""
        return cast("pl.DataFrame", _need("polars", "pl").from_arrow(self.arrow()))

    def _values(self) -> list[list[Any]]:
        if self._cells is None:
            self._cells = cast("list[list[Any]]", unpack(self._packed))
        return self._cells

    def __len__(self) -> int:
        return len(self._values())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self.rows()[place]

    def __eq__(self, other: object) -> bool:
        return self.rows() == (other.rows() if isinstance(other, SqlRows) else other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return f"<{len(self)} rows of SQL: {', '.join(self.columns)}>"


class SqlReads:
    """What the statements of one call depend on."""

    def __init__(self) -> None:
        self._reads: list[Reads] = []
        self._interests: list[SqlInterest] = []
        self._unknown: set[int] = set()

    @property
    def count(self) -> int:
        """How many statements there were."""
        return len(self._reads)

    def add(self, selection: Selection) -> None:
        """Take note of one."""
        self._reads.append(selection.reads)
        self._interests += selection.interests
        self._unknown |= selection.reads.keys() - {interest.index for interest in selection.interests}

    def into(self, reads: Reads) -> list[SqlInterest]:
        """Add what was read to what the call has read besides; return what says more exactly what concerns it.

        An index that was read in another way, or by a statement of which nothing is known, is judged by its intervals.
        """
        exact = {interest.index for interest in self._interests} - reads.keys() - self._unknown
        for one in self._reads:
            for index, intervals in one.items():
                reads[index] = merge([*reads.get(index, ()), *((low, high) for low, high in intervals)])
        return [interest for interest in self._interests if interest.index in exact]


def select(
    txn: Transaction,
    text: object,
    params: Mapping[str, Any],
    only: Sequence[str] | None = None,
    *,
    earlier: bool = False,
) -> SqlRows:
    """Run a statement inside of a call.

    Parameters
    ----------
    txn
        Of the call.
    text
        The statement.
    params
        Values of its ``$name``.
    only
        The tables that it may read; None: all.
    earlier
        Whether it may read earlier times.
    """
    if not isinstance(text, str):
        raise InvalidValue(f"ctx.db.sql takes the text of a SELECT, not {text!r:.60}")
    if txn.select is None:
        raise NotAllowed("ctx.db.sql is not there: it needs a backend, and reads the present")
    if txn.sql.count >= SQL_STATEMENTS:
        fix = "join or group in one statement instead of asking for each row"
        txn.abort(LimitExceeded(over("SQL statements in one call", txn.sql.count + 1, SQL_STATEMENTS, fix)))
    packed = pack({name: _param(value, f"${name}") for name, value in params.items()})
    with txn.away():
        selection = txn.select(Select(text, packed, txn.writes(), only, earlier))
    txn.sql.add(selection)
    failure = selection.failure
    if failure is not None:
        raise from_wire(failure.code, failure.message)
    return SqlRows(selection.columns, selection.rows)


def _param(value: Any, where: str) -> Any:
    """Return the value of a parameter as what is sent; moments and decimals are text, which DuckDB reads as what is wanted."""
    if isinstance(value, datetime) and value.tzinfo is None:
        raise InvalidValue("a datetime without a time zone could mean anything: use datetime.now(UTC)", where)
    if isinstance(value, _AS_TEXT):
        return value.isoformat() if isinstance(value, (date, time)) else str(value)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        return [_param(item, f"{where}[{place}]") for place, item in enumerate(items)]
    return check_value(value, where)


def _need(package: str, method: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise MissingPackage(
            f".{method}() needs {package}, which is not installed where functions run: pip install 'nbreactive[{package}]'"
        ) from None
