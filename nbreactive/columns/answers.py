"""Answers of the columns process to requests that read."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from nbreactive.columns import _frames as frames
from nbreactive.columns.conditions import conditions
from nbreactive.columns.documents import stream
from nbreactive.columns.inspection import inspect
from nbreactive.columns.past import span, versions
from nbreactive.columns.readers import Readers, Reading
from nbreactive.columns.schema import Layout, quote
from nbreactive.columns.snapshots import Snapshot
from nbreactive.columns.statements import Parsed, parse
from nbreactive.columns.writer import Writer
from nbreactive.errors import InvalidValue, LimitExceeded, NBReactiveError, NotAllowed, SqlError, SqlTimeout
from nbreactive.values.limits import over
from nbreactive.values.packing import unpack

_PART = 4 << 20
_ROWS = 65536


class Answers:
    """Answers requests.

    Parameters
    ----------
    readers
        Where transactions come from.
    writer
        Applies what a request has to see.
    parser
        A connection that parses, and runs nothing.
    """

    def __init__(self, readers: Readers, writer: Writer, parser: duckdb.DuckDBPyConnection) -> None:
        self._readers = readers
        self._writer = writer
        self._parser = parser
        self._parsing = threading.Lock()
        self._parse = lru_cache(256)(self._parsed)

    def replies(self, reading: Reading, request: frames.Request) -> Iterator[frames.Reply]:
        """Yield the replies to a request; failures that are the request's own are among them."""
        try:
            if isinstance(request, frames.Reach):
                self._writer.reach(request.ts)
            elif isinstance(request, frames.Check):
                parsed = self._parse(request.text)
                yield frames.Checked(self.tables(reading, parsed), parsed.parameters, parsed.volatile)
            elif isinstance(request, frames.Statement):
                yield from self._statement(reading, request)
            else:
                with self._readers.transaction(reading) as cursor:
                    yield from _plain(cursor, request)
        except NBReactiveError as error:
            yield frames.Failed(error.message, fatal=False, code=error.code)
        except duckdb.OutOfMemoryException as error:
            yield frames.Failed(str(error), fatal=False)
        else:
            yield frames.End()

    def tables(self, reading: Reading, parsed: Parsed) -> list[str]:
        """Return the user's names of the tables of a statement that there are."""
        with self._readers.transaction(reading) as cursor:
            known = Snapshot(cursor).tables
        found = [known.get(name.casefold()) for name in parsed.names]
        return [layout.table for layout in found if layout is not None]

    def _parsed(self, text: str) -> Parsed:
        with self._parsing:
            return parse(self._parser, text)

    def _statement(self, reading: Reading, request: frames.Statement) -> Iterator[frames.Reply]:
        reading.deadline = reading.deadline or time.monotonic() + request.seconds
        parsed = self._parse(request.text)
        if request.strict and parsed.volatile:
            raise NotAllowed(
                f"{parsed.volatile[0]}() gives something else each time, which a function must not; pass"
                " ctx.now() or a random number as a parameter"
            )
        params: dict[str, Any] = unpack(request.params) if request.params else {}
        _check_params(parsed, params)
        if request.at is not None:
            self._writer.reach(request.at)
        try:
            with self._readers.transaction(reading) as cursor:
                snapshot = Snapshot(cursor, request.at, request.own, reading.check)
                layouts = parsed.tables(snapshot.tables)
                for layout in layouts:
                    snapshot.use(layout)
                result = cursor.execute(parsed.text, params)
                types = [(column[0], str(column[1])) for column in result.description or []]
                data = _encoded(result.to_arrow_reader(_ROWS), request.max_bytes)
        except duckdb.InterruptException:
            if reading.late() and not reading.cancelled:
                raise SqlTimeout(_late(request.seconds)) from None
            raise
        except duckdb.OutOfMemoryException:
            raise LimitExceeded(_LARGE) from None
        except duckdb.FatalException:
            raise
        except duckdb.Error as error:
            raise SqlError(str(error)) from None
        yield frames.Described(snapshot.at, _read(parsed, params, layouts), types, bool(parsed.volatile))
        for start in range(0, len(data), _PART):
            yield frames.Part(bytes(data[start : start + _PART]))


def _check_params(parsed: Parsed, params: dict[str, Any]) -> None:
    wanted = {name.casefold() for name in parsed.parameters}
    given = {name.casefold() for name in params}
    missing, unknown = sorted(wanted - given), sorted(given - wanted)
    if missing:
        raise SqlError(f"the statement has a parameter ${missing[0]}, which is not given: pass {missing[0]}=...")
    if unknown:
        raise SqlError(f"the statement has no parameter ${unknown[0]}; write it there, or leave {unknown[0]} out")


def _read(parsed: Parsed, params: dict[str, Any], layouts: list[Layout]) -> list[tuple[str, list[frames.Condition]]]:
    by_name = {layout.name.casefold(): layout for layout in layouts}
    proven = conditions(parsed.tree, params, by_name)
    return [(layout.table, proven.get(layout.number, [])) for layout in layouts]


def _encoded(reader: pa.RecordBatchReader, most: int) -> memoryview:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            if buffer.tell() > most:
                fix = "select fewer columns or rows, or aggregate"
                raise LimitExceeded(over("bytes in the result of a SQL statement", buffer.tell(), most, fix))
    return buffer.getbuffer()


def _plain(cursor: duckdb.DuckDBPyConnection, request: frames.Request) -> Iterator[frames.Reply]:
    if isinstance(request, frames.Documents):
        ((applied,),) = cursor.execute("SELECT applied FROM nbreactive.state").fetchall()
        yield frames.Applied(applied)
        yield from stream(cursor, request.at)
    elif isinstance(request, frames.Past):
        yield span(cursor, request.at)
    elif isinstance(request, frames.Find):
        yield versions(cursor, request.wanted)
    elif isinstance(request, frames.Inspect):
        yield inspect(cursor, request.upto)
    elif isinstance(request, frames.Rows):
        yield from _rows(cursor, request.table)


def _rows(cursor: duckdb.DuckDBPyConnection, table: str) -> Iterator[frames.Reply]:
    texts = cursor.execute("SELECT layout FROM nbreactive.tables").fetchall()
    layouts = [msgspec.json.decode(text, type=Layout) for (text,) in texts]
    layout = next((layout for layout in layouts if layout.table == table), None)
    if layout is None:
        raise InvalidValue(f"store.duckdb has no table {table!r}; insert a document, or deploy a schema that has it")
    query = f"SELECT * FROM main.{quote(layout.name)} ORDER BY _creationTime, _id"  # noqa: S608 - quoted
    reader = cursor.sql(query).to_arrow_reader(_ROWS)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            if buffer.tell() >= _PART:
                yield from _take(buffer)
    yield from _take(buffer)


def _take(buffer: io.BytesIO) -> Iterator[frames.Part]:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    for start in range(0, len(data), _PART):
        yield frames.Part(data[start : start + _PART])


def _late(seconds: float) -> str:
    return f"the SQL statement took longer than {seconds:g} s and was ended; read less, or aggregate earlier"


_LARGE = "the SQL statement needs more memory than there is for it; read less at once, or aggregate earlier"
