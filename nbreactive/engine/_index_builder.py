"""Filling an empty row index from many documents at once: columns of keys instead of one document at a time.

Documents are stored as they come. Their index entries are computed for a whole part, field by field, held back, and
stored in order: appending to LMDB's tree costs a quarter of putting keys anywhere into it, and fills its pages. What is
held back is bounded; beyond that the entries go in early, and later ones among them.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import compress, pairwise, repeat
from operator import attrgetter
from typing import Any, NamedTuple

import lmdb
import msgspec

from nbreactive.engine._reader import Txn
from nbreactive.engine._row_changes import Databases
from nbreactive.engine._row_keys import (
    CUT,
    ID_BYTES,
    INDEX_BYTES,
    LIVE,
    SLOT_BITS,
    TS_BYTES,
    count_key,
    entry_key,
    inverted,
    pack_index,
)
from nbreactive.engine.catalog import (
    BY_CREATION_TIME,
    BY_ID,
    CREATION_TIME,
    FIRST_DECLARED,
    TABLES,
    Catalog,
    IndexInfo,
    TableInfo,
    field_of,
)
from nbreactive.engine.postings import UNFINISHED, counters_of, postings_from
from nbreactive.values import UNSET
from nbreactive.values.keys import encode_column
from nbreactive.values.packing import decoder_of

Document = tuple[int, bytes, int, bytes]
"""Table number, document id, timestamp of the version, packed document."""

TEXT_ENTRIES = 1_000_000
"""A search index with more is begun empty instead, and made while functions run (:mod:`nbreactive.engine.text_upkeep`)."""
BLOCK = 1 << 16
"""Rows per transaction."""
_BLOCK_BYTES = 32 << 20
HELD = 256 << 20
"""Bytes of entries that are held back."""
_OVERHEAD = 41
"""What a bytes object in a list takes besides its bytes."""
_COUNTER = 150
"""What a counter takes, about."""
_LONGEST = INDEX_BYTES + CUT + TS_BYTES

_pack_number = struct.Struct("<q").pack
_number = struct.Struct("<q").unpack


class Part(msgspec.Struct, frozen=True):
    """Some documents, column by column: native integers, ids of 16 bytes, ``offsets`` into ``data``."""

    tables: bytes
    ids: bytes
    versions: bytes
    offsets: bytes
    data: bytes

    def __len__(self) -> int:
        return len(self.tables) // 4

    def documents(self) -> list[Document]:
        """Return them one by one."""
        tables, stamps = memoryview(self.tables).cast("i").tolist(), memoryview(self.versions).cast("q").tolist()
        return list(zip(tables, _pieces(self.ids, ID_BYTES), stamps, self.packed(), strict=True))

    def packed(self) -> list[bytes]:
        """Return the packed documents alone."""
        data = self.data
        return [data[start:end] for start, end in pairwise(memoryview(self.offsets).cast("i").tolist())]


class Builder:
    """Fills an empty row index.

    Parameters
    ----------
    env, dbs
        What to fill.
    applied
        The timestamp at which the documents are the latest ones.
    share, shares
        Which part of the work this builder does: each one gets all documents, and stores some of their indexes.

    Notes
    -----
    The documents of ``_tables``, which say what indexes there are, must come before those of users' tables.
    """

    def __init__(self, env: lmdb.Environment, dbs: Databases, applied: int, *, share: int = 0, shares: int = 1) -> None:
        self._env = env
        self._dbs = dbs
        self._version = inverted(applied)
        self._share = share
        self._shares = shares
        self._catalog = Catalog()
        self._rows: list[tuple[bytes, bytes]] = []
        self._row_bytes = 0
        self._entries: dict[int, list[bytes]] = {}
        self._cut: list[tuple[bytes, bytes]] = []
        self._counts: Counter[bytes] = Counter()
        self._texts: dict[int, _Text | None] = {}
        """Of search indexes; None: too much."""
        self._held = 0
        self._counted = False
        """Whether counters have been stored, so that later ones must be added to them."""

    def add(self, part: Part) -> None:
        """Take some documents."""
        for columns in _by_table(part):
            if columns.table == TABLES:
                self._catalog = self._catalog.changed(zip(columns.ids, columns.docs, strict=True))
            if self._mine(BY_ID):
                head = pack_index(columns.table << SLOT_BITS)
                keys = [head + id + version for id, version in zip(columns.ids, columns.versions, strict=True)]
                self._rows += zip(keys, columns.docs, strict=True)
                self._row_bytes += len(part.data)
            info = self._catalog.number(columns.table)
            if info is not None:
                self._index(info, columns)
        if len(self._rows) >= BLOCK or self._row_bytes >= _BLOCK_BYTES:
            self._put_documents()
        if self._held + _COUNTER * len(self._counts) > HELD // self._shares:
            self._put_entries()

    def finish(self) -> None:
        """Store what is left."""
        self._put_documents()
        for index_id, text in self._texts.items():
            if text is None:
                self._hold(index_id, [pack_index(index_id) + UNFINISHED + self._version])
            elif text.entries:
                self._counts.update(text.counts)
                self._hold(index_id, text.entries)
        self._put_entries()

    def _mine(self, position: int) -> bool:
        return position % self._shares == self._share

    def _index(self, table: TableInfo, columns: _Columns) -> None:
        # One that is being filled is left to its backfill, which begins anew.
        declared = [
            index
            for n, index in enumerate(table.indexes)
            if n >= FIRST_DECLARED and index.state == "ready" and index.kind != "vector" and self._mine(n)
        ]
        names = [name for index in declared for name in (*index.fields, *index.filter_fields)]
        fields = _reader(tuple(dict.fromkeys([CREATION_TIME, *names])))(columns.docs)
        created = encode_column(fields[CREATION_TIME])
        tails = [time + id + version for time, id, version in zip(created, columns.ids, columns.versions, strict=True)]
        if self._mine(BY_ID):
            self._counts[pack_index(table.indexes[BY_ID].id)] += len(tails)
        if self._mine(BY_CREATION_TIME):
            head = pack_index(table.indexes[BY_CREATION_TIME].id)
            self._hold(table.indexes[BY_CREATION_TIME].id, [head + tail for tail in tails])
        for index in declared:
            if index.kind == "text":
                self._index_text(index, columns, fields)
                continue
            prefixes = [pack_index(index.id)] * len(tails)
            for name in index.fields:
                prefixes = [p + value for p, value in zip(prefixes, encode_column(fields[name]), strict=True)]
                self._counts.update(prefixes)
            self._hold(index.id, [prefix + tail for prefix, tail in zip(prefixes, tails, strict=True)])

    def _index_text(self, index: IndexInfo, columns: _Columns, fields: Mapping[str, list[Any]]) -> None:
        held = self._texts.setdefault(index.id, _Text([], Counter()))
        if held is None:
            return
        head = pack_index(index.id)
        values = (
            zip(*(fields[name] for name in index.filter_fields), strict=True) if index.filter_fields else repeat(())
        )
        rows = zip(fields[index.fields[0]], values, fields[CREATION_TIME], columns.ids, columns.versions, strict=False)
        for text, filters, created, id, version in rows:
            postings = postings_from(text, filters, created, id)
            if postings.terms:
                held.counts.update(counters_of(index, postings))
                keys = [*postings.term_keys(postings.terms), *postings.scope_keys(postings.scopes)]
                held.entries.extend([head + key + version for key in keys])
        if len(held.entries) > TEXT_ENTRIES:
            self._texts[index.id] = None

    def _hold(self, index_id: int, entries: list[bytes]) -> None:
        sizes = [*map(len, entries)]
        if max(sizes) > _LONGEST:
            for entry in entries:
                if len(entry) > _LONGEST:
                    key = entry[INDEX_BYTES:-TS_BYTES]
                    self._cut.append((entry_key(index_id, key) + entry[-TS_BYTES:], key))
            entries = [entry for entry in entries if len(entry) <= _LONGEST]
        self._entries.setdefault(index_id, []).extend(entries)
        self._held += sum(sizes) + _OVERHEAD * len(sizes)

    # ---- storing -------------------------------------------------------------------------------------------------

    def _put_documents(self) -> None:
        rows, self._rows, self._row_bytes = self._rows, [], 0
        rows.sort()
        self._put(self._dbs.documents, rows)

    def _put_entries(self) -> None:
        for index_id in sorted(self._entries):
            entries = self._entries.pop(index_id)
            entries.sort()
            for start in range(0, len(entries), BLOCK):
                self._put(self._dbs.entries, [(entry, LIVE) for entry in entries[start : start + BLOCK]])
        cut, self._cut, self._held = sorted(self._cut), [], 0
        self._put(self._dbs.entries, cut)
        counts = [(count_key(key) + self._version, _pack_number(number)) for key, number in self._counts.items()]
        self._counts.clear()
        counts.sort()
        for start in range(0, len(counts), BLOCK):
            (self._add_counts if self._counted else self._put)(self._dbs.counts, counts[start : start + BLOCK])
        self._counted = True

    def _put(self, db: object, rows: list[tuple[bytes, bytes]]) -> None:
        """Put sorted rows, that are not there yet."""

        def put(txn: Txn) -> None:
            cursor = txn.cursor(db)  # pyright: ignore[reportArgumentType]
            cursor.putmulti(rows, append=not cursor.last() or cursor.key() < rows[0][0])

        if rows:
            self._write(put)

    def _add_counts(self, db: object, rows: list[tuple[bytes, bytes]]) -> None:
        """Add to counters, or put those that are not there yet."""

        def put(txn: Txn) -> None:
            cursor = txn.cursor(db)  # pyright: ignore[reportArgumentType]
            for key, number in rows:
                before = _number(cursor.value())[0] if cursor.set_key(key) else 0
                cursor.put(key, _pack_number(before + _number(number)[0]))

        self._write(put)

    def _write(self, put: Callable[[Txn], None]) -> None:
        while True:
            try:
                with self._env.begin(write=True) as txn:
                    return put(txn)
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])


class _Text(NamedTuple):
    """What a search index is made of."""

    entries: list[bytes]
    counts: Counter[bytes]


class _Columns(NamedTuple):
    """Documents of one table."""

    table: int
    ids: Sequence[bytes]
    versions: Sequence[bytes]
    """Inverted."""
    docs: Sequence[bytes]


@cache
def _reader(names: tuple[str, ...]) -> Callable[[Sequence[bytes]], dict[str, list[Any]]]:
    """Return what reads these fields of documents, and nothing else of them, which takes half the time."""
    outer = list(dict.fromkeys(name.partition(".")[0] for name in names))
    attributes = {name: f"field{number}" for number, name in enumerate(outer)}
    kind = msgspec.defstruct(
        "Fields", [(a, Any, UNSET) for a in attributes.values()], rename={a: n for n, a in attributes.items()}, gc=False
    )
    decode = decoder_of(list[kind])

    def read(packed: Sequence[bytes]) -> dict[str, list[Any]]:
        docs = decode(b"\xdd" + len(packed).to_bytes(4, "big") + b"".join(packed))
        columns = {name: [*map(attrgetter(attribute), docs)] for name, attribute in attributes.items()}
        for name in names:
            if name not in columns:
                first = name.partition(".")[0]
                columns[name] = [field_of({first: value}, name) for value in columns[first]]
        return columns

    return read


def _by_table(part: Part) -> Iterator[_Columns]:
    if not len(part):
        return
    ids, docs = _pieces(part.ids, ID_BYTES), part.packed()
    # As unsigned numbers, the complements are the inverted timestamps
    stamps = memoryview(part.versions).cast("q").tolist()
    versions = _pieces(struct.pack(f">{len(stamps)}q", *[~ts for ts in stamps]), TS_BYTES)
    numbers = memoryview(part.tables).cast("i").tolist()
    if numbers.count(numbers[0]) == len(numbers):
        yield _Columns(numbers[0], ids, versions, docs)
        return
    for table in sorted(set(numbers)):
        chosen = [number == table for number in numbers]
        yield _Columns(table, *(list(compress(column, chosen)) for column in (ids, versions, docs)))


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
