"""The row index as a dictionary of versions: slow, and obviously right."""

from __future__ import annotations

from collections.abc import Iterable

from nbreactive.engine._row_keys import SLOT_BITS, SLOT_MASK
from nbreactive.engine.row_index import Applied

Versions = dict[tuple[int, bytes], dict[int, bytes | None]]


class RowModel:
    """Keeps every version of everything, by timestamp."""

    def __init__(self) -> None:
        self.documents: Versions = {}
        self.entries: Versions = {}
        self.counts: dict[bytes, dict[int, int]] = {}
        self.requests: dict[tuple[bytes, bytes, int], tuple[int, bytes]] = {}
        self.applied = 0
        self.epoch = 0

    def apply(self, batch: Iterable[Applied]) -> None:
        for commit in batch:
            self.applied = ts = commit.ts
            for write in commit.writes:
                if write.table:
                    self.documents.setdefault((write.table, write.id), {})[ts] = write.doc
                for key in write.dels:
                    self.entries.setdefault(key, {})[ts] = None
                for key in write.puts:
                    self.entries.setdefault(key, {})[ts] = b""
                for counter, delta in write.counts:
                    before = self.count(counter, ts)
                    self.counts.setdefault(counter, {})[ts] = before + delta
            if commit.request is not None:
                request = commit.request
                self.requests[request.identity_key, request.session, request.id] = (ts, request.result)

    def rewind(self, ts: int) -> None:
        if ts < self.applied:
            self.epoch += 1
            self.applied = ts
        for versions in (*self.documents.values(), *self.entries.values(), *self.counts.values()):
            for version in [version for version in versions if version > ts]:
                del versions[version]
        self.requests = {key: found for key, found in self.requests.items() if found[0] <= ts}

    def document(self, table: int, id: bytes, ts: int) -> tuple[bytes, int] | None:
        versions = self.documents.get((table, id), {})
        version = max((version for version in versions if version <= ts), default=0)
        doc = versions.get(version)
        return None if doc is None else (doc, version)

    def scan(self, index_id: int, low: bytes, high: bytes | None, ts: int, reverse: bool) -> list[tuple[bytes, bytes]]:
        source = self.entries
        if not index_id & SLOT_MASK:
            source = {(table << SLOT_BITS, id): found for (table, id), found in self.documents.items()}
        keys: list[bytes] = []
        for (index, key), versions in source.items():
            if index == index_id and low <= key and not (high and key >= high):
                version = max((version for version in versions if version <= ts), default=0)
                if versions.get(version) is not None:
                    keys.append(key)
        return [(key, key[-16:]) for key in sorted(keys, reverse=reverse)]

    def count(self, counter: bytes, ts: int) -> int:
        versions = self.counts.get(counter, {})
        return versions.get(max((version for version in versions if version <= ts), default=0), 0)
