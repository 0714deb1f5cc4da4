"""Many new documents as one commit, prepared outside of the backend: its index keys, counters, journal and log are ready.

What a mutation writes is prepared by the backend itself, one document at a time, since its worker has run anybody's code
(:mod:`nbreactive.engine.prepare`). A bulk load has none: a process of ours converts rows and computes the keys, column by
column, so all that is left for the backend is to give the commit its timestamp and to store what is sorted already.
That the table is still as the keys were computed for is checked in the moment of the commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from nbreactive.engine._row_keys import CUT, LIVE, count_key, document_key, entry_key, pack_index
from nbreactive.engine.catalog import BY_CREATION_TIME, BY_ID, COUNTS, FIRST_DECLARED, TableInfo, field_of, index_id
from nbreactive.engine.entries import By, Entry, Request
from nbreactive.engine.transactions import Write
from nbreactive.values import UNSET
from nbreactive.values.keys import encode_column

Row = tuple[bytes, bytes]
_RECORD_KEYS: Final = 512
"""Stored keys in one record of the journal, as in :mod:`nbreactive.engine._row_changes`."""


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """What keys depend on: two equal ones give the same keys."""

    table: int
    indexes: Sequence[tuple[int, Sequence[str]]]
    """Id and fields of each ordered index that is ready."""


class Bulk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """New documents of one table, oldest first, and all that follows from them."""

    plan: Plan
    created: float
    """The latest ``_creationTime``."""
    ids: list[bytes]
    docs: list[bytes]
    entries: list[tuple[int, list[bytes]]]
    """Index id -> keys, sorted."""
    long: bool
    """Whether a key is so long that it is cut in the row index."""
    counts: list[tuple[bytes, int]]
    """Counters (index id in 4 bytes, then an equality prefix), sorted, and what to add."""
    journal: list[bytes]
    """Records of the journal, without their timestamps."""
    writes: bytes
    """As the log has them."""

    @property
    def touched(self) -> dict[int, list[bytes]]:
        """Index id -> keys that it writes, counters included."""
        touched = {index_id(self.plan.table, BY_ID): self.ids, **dict(self.entries)}
        touched[COUNTS] = [key for key, _ in self.counts]
        return touched

    def documents(self, version: bytes) -> list[Row]:
        """Return the documents as rows of LMDB."""
        head = pack_index(self.plan.table << 16)
        return [(head + id + version, doc) for id, doc in zip(self.ids, self.docs, strict=True)]

    def index_rows(self, version: bytes) -> list[Row]:
        """Return the index entries as rows of LMDB."""
        rows: list[Row] = []
        for index, keys in self.entries:
            head = pack_index(index)
            if self.long:
                rows += [(entry_key(index, key) + version, LIVE if len(key) <= CUT else key) for key in keys]
            else:
                rows += [(head + key + version, LIVE) for key in keys]
        return rows

    def entry(self, ts: int, epoch: int, request: Request | None, by: By | None) -> tuple[Entry, bytes]:
        """Return what the log has of the commit, and that as bytes."""
        data = _encode([ts, epoch, msgspec.Raw(self.writes), request, by])
        return Entry(ts, epoch, _decode_writes(self.writes), request, by), data


def plan_of(table: TableInfo) -> Plan | None:
    """Return what the keys of a table's documents depend on; None if they cannot be computed ahead."""
    declared = table.indexes[FIRST_DECLARED:]
    if table.ephemeral or any(index.state != "ready" or index.kind != "ordered" for index in declared):
        return None
    return Plan(table.number, [(index.id, list(index.fields)) for index in declared])


def prepare_bulk(
    plan: Plan, ids: list[bytes], docs: list[bytes], columns: Mapping[str, list[Any]], created: list[float]
) -> Bulk:
    """Compute all that follows from new documents.

    Parameters
    ----------
    plan
        Which keys there are.
    ids, docs
        Internal ids, ascending, and packed documents.
    columns
        The values of each field of the documents, ``UNSET`` where there is none.
    created
        Their creation times, ascending.
    """
    tails = [time + id for time, id in zip(encode_column(created), ids, strict=True)]
    entries: list[tuple[int, list[bytes]]] = [(index_id(plan.table, BY_CREATION_TIME), tails)]
    counts: Counter[bytes] = Counter({pack_index(index_id(plan.table, BY_ID)): len(ids)})
    for index, fields in plan.indexes:
        prefixes = [b""] * len(ids)
        head = pack_index(index)
        for name in fields:
            encoded = encode_column(_column(columns, name, len(ids)))
            prefixes = [prefix + part for prefix, part in zip(prefixes, encoded, strict=True)]
            counts.update({head + prefix: count for prefix, count in Counter(prefixes).items()})
        entries.append((index, sorted([prefix + tail for prefix, tail in zip(prefixes, tails, strict=True)])))
    long = any(max(map(len, keys)) > CUT for _, keys in entries)
    counted = sorted(counts.items())
    writes = _encode([[plan.table, id, doc, 0] for id, doc in zip(ids, docs, strict=True)])
    journal = _journal(plan.table, ids, entries, counted, long=long)
    return Bulk(plan, created[-1], ids, docs, entries, long, counted, journal, writes)


def _column(columns: Mapping[str, list[Any]], name: str, count: int) -> list[Any]:
    first, _, rest = name.partition(".")
    values = columns.get(first)
    if values is None:
        return [UNSET] * count
    return [field_of({first: value}, name) for value in values] if rest else values


def _journal(
    table: int, ids: list[bytes], entries: list[tuple[int, list[bytes]]], counts: list[tuple[bytes, int]], *, long: bool
) -> list[bytes]:
    head = document_key(table, b"")
    stored_documents = [head + id for id in ids]
    stored_entries: list[bytes] = []
    for index, keys in entries:
        head = pack_index(index)
        stored_entries += [entry_key(index, key) for key in keys] if long else [head + key for key in keys]
    stored_counts = [count_key(key) for key, _ in counts]
    records: list[bytes] = []
    for position, keys in ((0, stored_documents), (2, stored_entries), (4, stored_counts)):
        for start in range(0, len(keys), _RECORD_KEYS):
            record: list[Any] = [[], [], [], [], [], b""]
            record[position] = keys[start : start + _RECORD_KEYS]
            records.append(_encode(record))
    return records


_encode = msgspec.msgpack.Encoder().encode
_decode_writes = msgspec.msgpack.Decoder(list[Write]).decode
