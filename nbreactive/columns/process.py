"""The columns process: ``python -m nbreactive.columns.process``, the only opener of store.duckdb.

It answers requests from its standard input, one at a time, and ends with it at once, whatever DuckDB is doing: a backend
that dies takes it along without a checkpoint, which the write-ahead log makes good. DuckDB finds some of its files by
their path, so it must not live on when another folder may stand there, a restored one for example; nor does it serve
a folder that stands there since the backend began.

After a failure that leaves the database in doubt (disk full, an invalidated database, whatever goes wrong while applying)
it says so and exits; the backend starts another one, which begins at the applied ts that the file itself tells. Nothing is
lost by killing it at any moment.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import duckdb
import pyarrow as pa

from nbreactive.columns import _frames as frames
from nbreactive.columns.apply import Applier
from nbreactive.columns.database import AheadOfLog, Store, damaged
from nbreactive.columns.documents import stream
from nbreactive.columns.inspection import inspect
from nbreactive.columns.schema import quote
from nbreactive.columns.trimming import trim, wasteful
from nbreactive.errors import DataFolderError, InvalidValue
from nbreactive.runtime._hardening import bind_to_parent

_PART = 4 << 20
_ROWS = 65536


def main() -> None:
    """Serve requests until the backend closes the store or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the backend, which closes this process
    bind_to_parent()
    source, sink = _pipes()
    asked: SimpleQueue[frames.Request | Exception] = SimpleQueue()
    threading.Thread(target=_listen, args=(source, asked), daemon=True).start()
    try:
        request = _next(asked)
        assert isinstance(request, frames.Open)
        opened = request
        _check_folder(opened)
        store = Store(opened)
        server = _Server(store, Applier(store))
        frames.write(sink, frames.Ready(store.applied, store.set_aside))
        while True:
            request = _next(asked)
            _check_folder(opened)
            for reply in server.answer(request):
                frames.write(sink, reply)
            if isinstance(request, frames.Close):
                break
    except BrokenPipeError:
        pass
    except BaseException as error:  # noqa: BLE001 - reported, then this process ends
        ahead = isinstance(error, AheadOfLog)
        reason = (
            error.message
            if isinstance(error, DataFolderError)
            else "".join(traceback.format_exception_only(error)).strip()
        )
        frames.write(sink, frames.Failed(reason, damaged=damaged(error), ahead=ahead))
    finally:
        # No clean-up on the way out: closing a database checkpoints it, and an invalidated one may hang or abort
        os._exit(0)


def _listen(source: IO[bytes], asked: SimpleQueue[frames.Request | Exception]) -> None:
    """Take requests; the end of the pipe is that of the backend, and ends this process while it works, too."""
    try:
        while True:
            asked.put(frames.read(source, frames.requests))
    except (EOFError, OSError):
        os._exit(0)
    except Exception as error:  # noqa: BLE001 - reported by the thread that answers
        asked.put(error)


def _next(asked: SimpleQueue[frames.Request | Exception]) -> frames.Request:
    request = asked.get()
    if isinstance(request, Exception):
        raise request
    return request


def _check_folder(opened: frames.Open) -> None:
    folder = Path(opened.path).parent
    if opened.folder is not None and frames.identity(folder) != opened.folder:
        raise DataFolderError(
            f"{folder} is another folder than the one that this backend has opened; stop the backend and start it again"
        )


class _Server:
    def __init__(self, store: Store, applier: Applier) -> None:
        self._store = store
        self._applier = applier
        self._polite = False

    def answer(self, request: frames.Request) -> Iterator[frames.Reply]:
        if isinstance(request, frames.Apply):
            self._step_back()
            yield frames.Applied(self._applier.apply(request.commits))
            return
        if isinstance(request, frames.Close):
            self._store.close()
        elif isinstance(request, frames.Documents):
            yield frames.Applied(self._applier.applied)
            yield from stream(self._store.connection)
        elif isinstance(request, frames.Trim):
            self._step_back()
            versions = trim(self._store.connection, request.horizon)
            yield frames.Trimmed(versions, wasteful(self._store.connection))
        elif isinstance(request, frames.Inspect):
            try:
                yield inspect(self._store.connection, request.upto)
            except duckdb.OutOfMemoryException as error:
                yield frames.Failed(str(error), fatal=False)
                return
        elif isinstance(request, frames.Rows):
            try:
                yield from self._rows(request.table)
            except (InvalidValue, duckdb.OutOfMemoryException) as error:
                yield frames.Failed(str(error), fatal=False)
                return
        yield frames.End()

    def _step_back(self) -> None:
        """Let the backend and its workers go first, once all that is left to do is keeping up with them."""
        if not self._polite and os.name == "posix":
            os.nice(10)
        self._polite = True

    def _rows(self, table: str) -> Iterator[frames.Reply]:
        layout = self._applier.layout(table)
        if layout is None:
            raise InvalidValue(
                f"store.duckdb has no table {table!r}; insert a document, or deploy a schema that has it"
            )
        query = f"SELECT * FROM main.{quote(layout.name)} ORDER BY _creationTime, _id"  # noqa: S608 - quoted
        reader = self._store.connection.sql(query).to_arrow_reader(_ROWS)
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


def _pipes() -> tuple[IO[bytes], IO[Any]]:
    """Return the pipes to the backend; whatever a library prints goes to standard error instead of between frames."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, sink


if __name__ == "__main__":
    main()
