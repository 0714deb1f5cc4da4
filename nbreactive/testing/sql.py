"""``ctx.db.sql`` in tests: the parts of the columns process, in the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from nbreactive.columns import _frames as frames
from nbreactive.engine.engine import Engine
from nbreactive.engine.entries import Entry
from nbreactive.engine.transactions import Call
from nbreactive.errors import NBReactiveError, Unavailable, from_wire
from nbreactive.runtime.determinism import frozen
from nbreactive.runtime.frames import Select, Selection
from nbreactive.services.selects import failed, succeeded
from nbreactive.values.limits import SQL_BYTES

if TYPE_CHECKING:
    from nbreactive.columns.answers import Answers
    from nbreactive.columns.database import Store
    from nbreactive.columns.readers import Readers, Reading
    from nbreactive.columns.writer import Writer

_MEMORY = "512MB"


class InlineSql:
    """SQL over the documents of one test; DuckDB is started by the first statement.

    Parameters
    ----------
    engine
        Whose commits it sees.
    folder
        Where its file goes.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._waiting: list[Entry] = []
        self._parts: _Parts | None = None
        engine.follow(0, self._waiting.extend)

    def select(self, call: Call, asked: Select) -> Selection:
        """Run a statement of a call; failures are in the selection."""
        with frozen(None):  # what happens here is not the function's
            if self._parts is None:
                self._parts = _Parts(self._folder)
            self._parts.feed([*self._waiting, *self._engine.not_durable()])
            self._waiting.clear()
            try:
                described, rows = self._parts.run(call, asked)
            except NBReactiveError as error:
                return failed(self._engine, error, self._parts.tables(asked.text))
            return succeeded(self._engine, described, rows)

    def close(self) -> None:
        """Let go of the file."""
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.close()


class _Parts:
    def __init__(self, folder: Path) -> None:
        from nbreactive.columns.answers import Answers
        from nbreactive.columns.apply import Applier
        from nbreactive.columns.database import Store
        from nbreactive.columns.readers import Readers
        from nbreactive.columns.writer import Writer

        self._heard: SimpleQueue[frames.Reply | BaseException] = SimpleQueue()
        self._store: Store = Store(frames.Open(str(folder / "store.duckdb"), _MEMORY, 1))
        self._readers: Readers = Readers(
            self._store.cursor, lambda reply, _: self._heard.put(reply), self._heard.put, threads=1
        )
        self._store.alone = self._readers.alone
        self._writer: Writer = Writer(
            Applier(self._store), collect=0, tell=lambda _: None, fail=self._heard.put, check=lambda: None
        )
        self._parser = self._store.cursor()
        self._answers: Answers = Answers(self._readers, self._writer, self._parser)
        self._number = 0

    def feed(self, entries: Sequence[Entry]) -> None:
        self._writer.feed([frames.Commit(entry.ts, list(entry.writes)) for entry in entries])

    def run(self, call: Call, asked: Select) -> tuple[frames.Described, bytes]:
        """Run a statement."""
        statement = frames.Statement(
            asked.text,
            asked.params,
            call.snapshot,
            asked.own,
            max_bytes=SQL_BYTES,
            strict=True,
            only=asked.only,
            packed=True,
        )
        described, *parts = self._ask(statement)
        assert isinstance(described, frames.Described)
        return described, b"".join(part.data for part in parts if isinstance(part, frames.Part))

    def tables(self, text: str) -> Sequence[str]:
        """Return the tables that a statement names."""
        try:
            (checked,) = self._ask(frames.Check(text))
        except NBReactiveError:
            return ()
        assert isinstance(checked, frames.Checked)
        return checked.tables

    def _ask(self, request: frames.Request) -> list[frames.Reply]:
        self._number += 1
        number, replies = self._number, list[frames.Reply]()

        def answer(reading: Reading) -> None:
            for reply in self._answers.replies(reading, request):
                reading.send(reply)

        self._readers.submit(number, answer)
        while not isinstance(reply := self._heard.get(), frames.End):
            if isinstance(reply, BaseException):
                raise Unavailable(f"SQL failed in this test: {reply!r}") from reply
            if isinstance(reply, frames.Failed):
                raise from_wire(reply.code, reply.message)
            if isinstance(reply, frames.Part):
                self._readers.taken(number, 1)
            replies.append(reply)
        return replies

    def close(self) -> None:
        self._readers.close()
        self._parser.close()
        self._store.connection.close()
