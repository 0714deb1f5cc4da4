"""A row index in memory with the interface of the real one, for thousands of simulated engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

from nbreactive.engine._row_keys import SLOT_BITS
from nbreactive.engine.row_index import Applied, request_key
from tests.engine.row_model import RowModel


class MemoryIndex(RowModel):
    """Survives the crash of its engine, as a memory-mapped file does."""

    def __init__(self) -> None:
        super().__init__()
        self.highest = 0
        self.horizon = 0
        self.log_position = 0
        self.trusted = True
        self.has_vectors = False

    def apply(self, batch: Sequence[Applied], *, log_position: int = 0) -> None:
        for commit in batch:
            assert commit.ts > self.applied
            super().apply([commit])
        self.highest = max(self.highest, self.applied)
        self.log_position = log_position or self.log_position

    def request_of(self, stored: bytes) -> tuple[int, bytes] | None:
        return next((found for key, found in self.requests.items() if request_key(*key) == stored), None)

    def reader(self) -> MemoryReader:
        return MemoryReader(self)

    def collect(self, horizon: int, limit: int) -> int:
        return 0

    def drop_requests(self, before_ts: int, limit: int) -> int:
        return 0


class MemoryReader:
    """Sees everything; there is nothing to renew."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index
        self.document = index.document
        self.count = index.count
        self.request = index.request_of

    def scan(
        self, index_id: int, low: bytes, high: bytes | None, ts: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return self._index.scan(index_id, low, high, ts, reverse)

    def scan_documents(
        self, index_id: int, low: bytes, high: bytes | None, ts: int, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes, bytes, int]]:
        for key, id in self.scan(index_id, low, high, ts, reverse):
            found = self.document(index_id >> SLOT_BITS, id, ts)
            if found is not None:
                yield key, id, *found

    def renew(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
