"""What the backend itself writes into documents of jobs: many changes in one commit, of a size that a commit can have."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from nbreactive.engine.catalog import Catalog
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

Document = dict[str, Any]

_TICK: Final = 2.0**-10
_AT_ONCE: Final = 500
"""Changes in one commit."""
_BATCH_BYTES: Final = 4 << 20
"""Bytes after which a commit takes no more changes."""


class Batch:
    """Several changes that are committed together; each sees those before it."""

    def __init__(self, engine: Engine, reader: Reader, ts: int) -> None:
        self._engine = engine
        self._reader = reader
        self._ts = ts
        self._now = max(engine.clock.now_ns(), ts) / 1e6
        self._made = 0
        self._written: dict[tuple[int, bytes], tuple[Document | None, Write]] = {}
        self.size = 0
        """Bytes of everything that is to be written."""

    def find(self, table: int, id: bytes) -> tuple[Document, int] | None:
        """Return a document and its version."""
        if (table, id) in self._written:
            document, write = self._written[table, id]
            return (document, write.previous) if document is not None else None
        found = self._reader.document(table, id, self._ts)
        return (unpack(found[0]), found[1]) if found is not None else None

    def scan(self, index: int, low: bytes, high: bytes) -> list[bytes]:
        """Return the ids of the documents in a range of an index; what this batch has changed is not considered."""
        return [id for _, id in self._reader.scan(index, low, high, self._ts)]

    def put(self, table: int, id: bytes, document: Document | None) -> None:
        """Write a document; None deletes it."""
        if (table, id) in self._written:
            previous = self._written[table, id][1].previous
        else:
            found = self._reader.document(table, id, self._ts)
            previous = found[1] if found is not None else 0
        packed = pack(document) if document is not None else None
        self._written[table, id] = document, Write(table, id, packed, previous)
        self.size += len(packed) if packed is not None else 0

    def created(self) -> float:
        """Return the creation time of the next new document."""
        self._made += 1
        return self._now + self._made * _TICK

    def new_id(self) -> bytes:
        """Return the internal id of the next new document."""
        return self._engine.new_internal()

    def writes(self) -> list[Write]:
        """Return everything that is to be written."""
        return [write for _, write in self._written.values() if write.doc is not None or write.previous]


class Changes:
    """Writes of the backend's own: whatever is asked for while a commit is under way shares the next one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: deque[tuple[Callable[[Batch], Any], asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def make(self, change: Callable[[Batch], Any]) -> Any:
        """Commit a change; returns what it returned, once it is durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.append((change, future))
        if self._task is None:
            self._task = loop.create_task(self._commit())
        return await future

    async def _commit(self) -> None:
        try:
            while self._queue:
                some = [self._queue.popleft() for _ in range(min(len(self._queue), _AT_ONCE))]
                answers: list[Any] = []

                def write(
                    reader: Reader, _catalog: Catalog, ts: int, some: Any = some, answers: Any = answers
                ) -> list[Write]:
                    answers.clear()
                    batch = Batch(self._engine, reader, ts)
                    for change, _ in some:
                        answers.append(change(batch))
                        if batch.size > _BATCH_BYTES:
                            break
                    return batch.writes()

                try:
                    await self._engine.transact(write)
                except Exception as error:  # noqa: BLE001 - told to everybody whose change it was
                    for _, future in some:
                        if not future.done():
                            future.set_exception(error)
                else:
                    self._queue.extendleft(reversed(some[len(answers) :]))  # what was too much for one commit
                    for (_, future), answer in zip(some, answers, strict=False):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._task = None
            for _, future in self._queue:
                future.cancel()
