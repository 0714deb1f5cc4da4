"""The simplest executor: plain Python functions over a reader, in this process."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from nbreactive.engine.catalog import (
    BY_ID,
    COUNTS,
    CREATION_TIME,
    TABLES,
    Catalog,
    TableInfo,
    all_modules,
    all_tables,
    count_key,
    index_id,
    table_document,
    table_name,
)
from nbreactive.engine.read_set import END, ReadSetBuilder
from nbreactive.engine.transactions import Call, Failure, Outcome, Write
from nbreactive.errors import NBReactiveError
from nbreactive.values import encode_json, pack, unpack
from nbreactive.values.ids import new_internal


class Transaction:
    """What a function of the tests is given."""

    def __init__(self, reader: Any, call: Call) -> None:
        self.reader = reader
        self.call = call
        self.ts = call.snapshot
        self.reads = ReadSetBuilder()
        self.reads.add(*_flat(all_modules()))
        self.writes: dict[tuple[int, bytes], Write] = {}
        self.identity_read = False
        self.every = 0
        self._random = random.Random(call.seed)
        self._catalog = Catalog.load(reader, call.snapshot)

    @property
    def identity(self) -> dict[str, Any] | None:
        self.identity_read = True
        return self.call.identity

    def table(self, name: str) -> TableInfo | None:
        self.reads.add(*_flat(table_name(name)))
        return self._catalog.table(name)

    def get(self, table: str, id: bytes) -> dict[str, Any] | None:
        found = self._read(table, id)
        return unpack(found[0]) if found is not None else None

    def insert(self, table: str, doc: dict[str, Any]) -> bytes:
        info = self.table(table) or self.create(table)
        id = new_internal(self.call.now, len(self.writes), self._random.randbytes(8))
        stored = {**doc, CREATION_TIME: float(self.call.now)}
        self.writes[info.number, id] = Write(info.number, id, pack(stored), 0)
        return id

    def put(self, table: str, id: bytes, doc: dict[str, Any] | None) -> None:
        """Replace or delete a document; it keeps its creation time."""
        info = self.table(table)
        assert info is not None
        found = self._read(table, id)
        assert found is not None
        before = unpack(found[0])
        packed = pack({**doc, CREATION_TIME: before[CREATION_TIME]}) if doc is not None else None
        self.writes[info.number, id] = Write(info.number, id, packed, found[1])

    def scan(self, table: str, index: str, *prefix: Any) -> list[dict[str, Any]]:
        info = self.table(table)
        if info is None:
            return []
        found = info.index(index)
        assert found is not None
        low = found.prefix(prefix)
        high = low + END
        self.reads.add(found.id, low, high)
        rows: list[dict[str, Any]] = []
        for _, id in self.reader.scan(found.id, low, high, self.ts):
            document = self.reader.document(info.number, id, self.ts)
            rows.append({"_id": id.hex(), **unpack(document[0])})
        return rows

    def count(self, table: str, index: str = "by_id", *prefix: Any) -> int:
        info = self.table(table)
        if info is None:
            return 0
        found = info.index(index)
        assert found is not None
        key = count_key(found.id, found.prefix(prefix))
        self.reads.add_point(COUNTS, key)
        return self.reader.count(key, self.ts)

    def create(self, name: str) -> TableInfo:
        self.reads.add(*_flat(all_tables()))
        number = self._catalog.next_number()
        doc = table_document(name, number, float(self.call.now))
        id = new_internal(self.call.now, 60_000, self._random.randbytes(8))
        packed = pack(doc)
        self.writes[TABLES, id] = Write(TABLES, id, packed, 0)
        self._catalog = self._catalog.changed([(id, packed)])
        info = self._catalog.table(name)
        assert info is not None
        return info

    def _read(self, table: str, id: bytes) -> tuple[bytes, int] | None:
        info = self.table(table)
        if info is None:
            return None
        self.reads.add_point(index_id(info.number, BY_ID), id)
        own = self.writes.get((info.number, id))
        if own is not None:
            return None if own.doc is None else (own.doc, own.previous)
        return self.reader.document(info.number, id, self.ts)


Function = Callable[[Transaction, Any], Any]


class PlainExecutor:
    """Runs plain functions by name.

    ``pause`` is awaited before and after each run: time passes while a function is under way.
    """

    def __init__(self, index: Any, functions: dict[str, Function], pause: Callable[[], Awaitable[None]] | None = None):
        self.index = index
        self.functions = functions
        self.pause = pause
        self.runs: list[Call] = []

    async def run(self, call: Call, *, urgent: bool = False) -> Outcome:
        self.runs.append(call)
        if self.pause is not None:
            await self.pause()
        outcome = self.run_now(call)
        if self.pause is not None:
            await self.pause()
        return outcome

    def run_now(self, call: Call) -> Outcome:
        with self.index.reader() as reader:
            tx = Transaction(reader, call)
            try:
                value = self.functions[call.path](tx, unpack(call.args))
            except NBReactiveError as error:
                return Outcome(
                    failure=Failure(error.code, error.message), reads=tx.reads.build(), identity_read=tx.identity_read
                )
        return Outcome(
            value=encode_json(value),
            reads=tx.reads.build(),
            writes=list(tx.writes.values()),
            identity_read=tx.identity_read,
            every=tx.every,
        )


def _flat(read: tuple[int, tuple[bytes, bytes]]) -> tuple[int, bytes, bytes]:
    return read[0], *read[1]
