"""The columns process: ``python -m nbreactive.columns.process``, the only opener of store.duckdb.

One thread takes requests from the standard input, several answer those that read (:mod:`nbreactive.columns.readers`), and
the main thread writes (:mod:`nbreactive.columns.writer`). It ends with its standard input at once, whatever DuckDB is
doing: a backend that dies takes it along without a checkpoint, which the write-ahead log makes good. DuckDB finds some of
its files by their path, so it must not live on when another folder may stand there, a restored one for example; nor does
it serve a folder that stands there since the backend began.

After a failure that leaves the database in doubt (disk full, an invalidated database, whatever goes wrong while applying)
it says so and exits; the backend starts another one, which begins at the applied ts that the file itself tells. Nothing is
lost by killing it at any moment.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from nbreactive.columns import _frames as frames
from nbreactive.columns.answers import Answers
from nbreactive.columns.apply import Applier
from nbreactive.columns.database import AheadOfLog, Store, damaged
from nbreactive.columns.readers import Readers, Reading
from nbreactive.columns.trimming import trim, wasteful
from nbreactive.columns.writer import Writer
from nbreactive.errors import DataFolderError
from nbreactive.runtime._hardening import bind_to_parent, limit_resources

THREADS = 12
"""Eight statements, and a few of what the backend asks for itself."""

UNCOUNTED = 2 << 30
"""Bytes besides DuckDB's ``memory_limit``, which is of its buffers alone: values of expressions, rows on their way, Python."""
DESCRIPTORS = 4096


def main() -> None:
    """Serve requests until the backend closes the store or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the backend, which closes this process
    bind_to_parent()
    source, sink = _pipes()
    out = _Out(sink)
    opened: SimpleQueue[frames.Open] = SimpleQueue()
    server: SimpleQueue[_Server] = SimpleQueue()
    threading.Thread(target=_listen, args=(source, out, opened, server), name="listener", daemon=True).start()
    try:
        request = opened.get()
        _check_folder(request)
        limit_resources(_bytes_of(request.memory_limit) + UNCOUNTED, DESCRIPTORS)
        store = Store(request)
        ready = _Server(request, store, out)
        out.send(frames.Ready(store.applied, store.set_aside))
        server.put(ready)
        ready.run()
    except BaseException as error:  # noqa: BLE001 - reported, then this process ends
        out.fail(error)


def _bytes_of(size: str) -> int:
    """Return how many bytes a size of DuckDB's is, e.g. ``512MB`` or ``1.5 GiB``."""
    number = size.rstrip("BKMGTibkmgt ")
    unit = size[len(number) :].strip().upper()
    return int(float(number) * (1024 if "I" in unit else 1000) ** " KMGT".index(unit[:1].replace("B", " ") or " "))


class _Out:
    """The pipe to the backend."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._one = threading.Lock()

    def send(self, reply: frames.Reply, number: int = 0) -> None:
        """Write a frame."""
        try:
            with self._one:
                frames.write(self._sink, reply, number)
        except BrokenPipeError:
            os._exit(0)

    def fail(self, error: BaseException) -> None:
        """Say what has happened, and end the process."""
        try:
            ahead = isinstance(error, AheadOfLog)
            reason = (
                error.message
                if isinstance(error, DataFolderError)
                else "".join(traceback.format_exception_only(error)).strip()
            )
            self.send(frames.Failed(reason, damaged=damaged(error), ahead=ahead))
        finally:
            # No clean-up on the way out: closing a database checkpoints it, and an invalidated one may hang or abort
            os._exit(0)


def _listen(source: IO[bytes], out: _Out, opened: SimpleQueue[frames.Open], ready: SimpleQueue[_Server]) -> None:
    """Take requests; the end of the pipe is that of the backend, and ends this process while it works, too."""
    try:
        _, request = frames.read(source, frames.requests)
        assert isinstance(request, frames.Open)
        opened.put(request)
        number, request = frames.read(source, frames.requests)
        server = ready.get()
        while True:
            server.take(number, request)
            number, request = frames.read(source, frames.requests)
    except (EOFError, OSError):
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - reported, then this process ends
        out.fail(error)


def _check_folder(opened: frames.Open) -> None:
    folder = Path(opened.path).parent
    if opened.folder is not None and frames.identity(folder) != opened.folder:
        raise DataFolderError(
            f"{folder} is another folder than the one that this backend has opened; stop the backend and start it again"
        )


class _Server:
    def __init__(self, opened: frames.Open, store: Store, out: _Out) -> None:
        self._opened = opened
        self._store = store
        self._out = out
        self._readers = Readers(store.cursor, out.send, out.fail, THREADS)
        self._writer = Writer(
            Applier(store), collect=opened.collect, tell=out.send, fail=out.fail, check=lambda: _check_folder(opened)
        )
        self._answers = Answers(self._readers, self._writer, store.cursor())
        store.alone = self._readers.alone

    def run(self) -> None:
        """Apply what is handed over, for ever."""
        self._writer.run()

    def take(self, number: int, request: frames.Request) -> None:
        """Take a request; answering it is for other threads."""
        if isinstance(request, frames.Cancel):
            self._readers.cancel(number)
        elif isinstance(request, frames.Taken):
            self._readers.taken(number, request.count)
        elif isinstance(request, frames.Feed):
            self._writer.feed(request.commits, hurry=request.hurry)
        elif isinstance(request, frames.Trim):
            self._writer.do(lambda: self._trim(number, request.horizon))
        elif isinstance(request, frames.Close):
            self._writer.do(lambda: self._close(number))
        else:
            _check_folder(self._opened)
            self._readers.submit(number, lambda reading: self._answer(reading, request))

    def _answer(self, reading: Reading, request: frames.Request) -> None:
        for reply in self._answers.replies(reading, request):
            reading.send(reply)

    def _trim(self, number: int, horizon: int) -> None:
        with self._store.alone():
            versions = trim(self._store.connection, horizon)
            done = frames.Trimmed(versions, wasteful(self._store.connection))
        self._out.send(done, number)
        self._out.send(frames.End(), number)

    def _close(self, number: int) -> None:
        self._writer.reach(sys.maxsize)
        with self._store.alone():
            self._store.close()
            self._out.send(frames.End(), number)
            os._exit(0)


def _pipes() -> tuple[IO[bytes], IO[Any]]:
    """Return the pipes to the backend; whatever a library prints goes to standard error instead of between frames."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, sink


if __name__ == "__main__":
    main()
