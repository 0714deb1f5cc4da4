"""Answers of the columns process to requests that read."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import IO, Any, cast

import duckdb
import msgspec
import pyarrow as pa

from nbreactive.columns import _frames as frames
from nbreactive.columns.conditions import conditions
from nbreactive.columns.documents import stream
from nbreactive.columns.earlier import show
from nbreactive.columns.inspection import inspect
from nbreactive.columns.live_statements import LiveStatements
from nbreactive.columns.past import span, versions
from nbreactive.columns.readers import Interrupted, Readers, Reading
from nbreactive.columns.schema import Layout, quote
from nbreactive.columns.snapshots import Snapshot
from nbreactive.columns.statements import Parsed, parse
from nbreactive.columns.writer import Writer
from nbreactive.errors import InvalidValue, LimitExceeded, NBReactiveError, NotAllowed, SqlError, SqlTimeout
from nbreactive.values.frames import Schema, cells, unique
from nbreactive.values.limits import over
from nbreactive.values.packing import pack, unpack

_PART = 4 << 20
_IN_MEMORY = 64 << 20
"""Bytes of a result beyond which it is written to a file on its way."""
_USERS = (frames.Check, frames.Statement, frames.Live, frames.Explain)
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
        self._live = LiveStatements(readers, writer, self.understand, what_is_read)

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
            elif isinstance(request, frames.Live):
                with users_sql(reading, request.seconds):
                    yield self._live.result(reading, request)
            elif isinstance(request, frames.Explain):
                with users_sql(reading, request.seconds):
                    yield self._live.explain(reading, request)
            else:
                with self._readers.transaction(reading) as cursor:
                    yield from _plain(cursor, request)
        except NBReactiveError as error:
            yield frames.Failed(error.message, fatal=False, code=error.code)
        except duckdb.OutOfMemoryException as error:
            yield frames.Failed(str(error), fatal=False)
        except (Interrupted, duckdb.InterruptException, duckdb.FatalException):
            raise
        except Exception as error:
            if not isinstance(request, _USERS):
                raise
            # No text that somebody writes ends this process
            yield frames.Failed(f"the statement cannot be understood: {error!r:.200}", fatal=False, code=SqlError.code)
        else:
            yield frames.End()

    def tables(self, reading: Reading, parsed: Parsed) -> list[str]:
        """Return the user's names of the tables of a statement that there are."""
        with self._readers.transaction(reading) as cursor:
            known = Snapshot(cursor).tables
        found = [known.get(name.casefold()) for name in parsed.names]
        return [layout.table for layout in found if layout is not None]

    def understand(self, text: str, params: dict[str, Any]) -> Parsed:
        """Take a statement apart that is to run with these parameters."""
        parsed = self._parse(text)
        wanted = {name.casefold() for name in parsed.parameters}
        given = {name.casefold() for name in params}
        missing, unknown = sorted(wanted - given), sorted(given - wanted)
        if missing:
            raise SqlError(f"the statement has a parameter ${missing[0]}, which is not given: pass {missing[0]}=...")
        if unknown:
            raise SqlError(f"the statement has no parameter ${unknown[0]}; write it there, or leave {unknown[0]} out")
        return parsed

    def _tables(self, parsed: Parsed, snapshot: Snapshot, only: Sequence[str] | None) -> list[Layout]:
        for name in parsed.names:
            if name.casefold() not in snapshot.tables and snapshot.ephemeral(name):
                raise NotAllowed(f"the table {name!r} is ephemeral: it is kept in memory, and not in SQL")
        layouts = parsed.tables(snapshot.tables)
        for layout in layouts:
            if only is not None and layout.table not in only:
                raise NotAllowed(
                    f"this deployment has row rules, which SQL does not know of, and the table {layout.table!r} is not one"
                    " that everybody may read: use ctx.db.query(...), or SQL in an internal function that decides itself"
                )
        return layouts

    def _parsed(self, text: str) -> Parsed:
        with self._parsing:
            return parse(self._parser, text)

    def _statement(self, reading: Reading, request: frames.Statement) -> Iterator[frames.Reply]:
        params: dict[str, Any] = unpack(request.params) if request.params else {}
        parsed = self.understand(request.text, params)
        if request.strict and parsed.volatile:
            raise NotAllowed(
                f"{parsed.volatile[0]} gives something else each time, which a function must not; pass"
                " ctx.now() or a random number as a parameter"
            )
        if request.at is not None:
            self._writer.reach(request.at)
        with users_sql(reading, request.seconds), self._readers.transaction(reading) as cursor:
            snapshot = Snapshot(cursor, request.at, request.own, reading.check)
            layouts = self._tables(parsed, snapshot, request.only)
            for layout in layouts:
                snapshot.use(layout)
            if parsed.earlier:
                _check_earlier(request)
                show(cursor, parsed.earlier, params, snapshot.at, reading.check)
            result = cursor.execute(parsed.text, parsed.values(params))
            names = unique([str(column[0]) for column in result.description or []])
            types = [(name, str(column[1])) for name, column in zip(names, result.description or [], strict=True)]
            encode = _packed if request.packed else _encoded
            data = encode(result.to_arrow_reader(_ROWS), types, request.max_bytes)
        yield frames.Described(snapshot.at, what_is_read(parsed, params, layouts), types, bool(parsed.volatile))
        with data:
            while piece := data.read(_PART):
                yield frames.Part(piece)


def _check_earlier(request: frames.Statement) -> None:
    if request.only is not None:
        raise NotAllowed("row rules do not know of earlier times: read them in an internal function")
    if not request.earlier:
        raise NotAllowed(
            "AT shows what may have been deleted since, so it is for internal functions and for callers who may deploy: make"
            " this an @internal_query, or read the past in one that this function runs"
        )


@contextlib.contextmanager
def users_sql(reading: Reading, seconds: float) -> Generator[None]:
    """Run a user's SQL for so long; what goes wrong is the user's, in words that are."""
    reading.deadline = reading.deadline or time.monotonic() + seconds
    try:
        yield
    except duckdb.InterruptException:
        if reading.late() and not reading.cancelled:
            raise SqlTimeout(_LATE.format(seconds=seconds)) from None
        raise
    except (duckdb.OutOfMemoryException, duckdb.IOException, MemoryError):  # the words of the two name paths
        raise LimitExceeded(_LARGE) from None
    except (duckdb.FatalException, NBReactiveError, Interrupted):
        raise
    except duckdb.Error as error:
        raise SqlError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - see below
        # values that are beyond what Python or Arrow have, or are not what they are said to be: nobody else's trouble
        raise SqlError(f"the result cannot be given: {type(error).__name__}: {error}") from None


def what_is_read(
    parsed: Parsed, params: dict[str, Any], layouts: list[Layout]
) -> list[tuple[str, list[frames.Condition]]]:
    """Return the tables of a statement, with what is known to hold of the rows that can matter."""
    by_name = {layout.name.casefold(): layout for layout in layouts}
    proven = conditions(parsed.tree, params, by_name)
    return [(layout.table, proven.get(layout.number, [])) for layout in layouts]


def _encoded(reader: pa.RecordBatchReader, types: Schema, most: int) -> IO[bytes]:
    """Return rows as an Arrow IPC stream, whose columns have names of their own.

    It is complete before any of it is sent, so that no transaction waits for somebody who takes it slowly; what is large
    is a file meanwhile.
    """
    schema = pa.schema([field.with_name(name) for field, (name, _) in zip(reader.schema, types, strict=True)])
    file = cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - closed by who reads it
    with pa.ipc.new_stream(file, schema) as writer:
        for batch in reader:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            _check_size(file.tell(), most)
    file.seek(0)
    return file


def _packed(reader: pa.RecordBatchReader, types: Schema, most: int) -> IO[bytes]:
    """Return rows as packed lists of values."""
    rows, size = list[Any](), 0
    for batch in reader:
        size += batch.nbytes
        _check_size(size, most)
        columns = [cells(column, type_) for column, (_, type_) in zip(batch.columns, types, strict=True)]
        rows += map(list, zip(*columns, strict=True))
    data = pack(rows)
    _check_size(len(data), most)
    return io.BytesIO(data)


def _check_size(size: int, most: int) -> None:
    if size > most:
        fix = "select fewer columns or rows, or aggregate"
        raise LimitExceeded(over("bytes in the result of a SQL statement", size, most, fix))


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


_LATE = "the SQL statement took longer than {seconds:g} s and was ended; read less, or aggregate earlier"
_LARGE = "the SQL statement needs more memory than there is for it; read less at once, or aggregate earlier"
