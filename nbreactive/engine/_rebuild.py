"""Filling an empty row index quickly, from the latest version of every document.

First the documents go in as they come, in sorted blocks. Then they are read back in order, range by range; computing
index keys is most of the work, so processes of their own do it, which read the documents from the same file and
answer with sorted keys, ready to be put. Nothing is ever held whole in memory.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import IO, Any

import lmdb
import msgspec

from nbreactive.engine._row_changes import Databases
from nbreactive.engine._row_keys import CUT, LIVE, TS_BYTES, count_key, document_key, entry_key, inverted, pack_index
from nbreactive.errors import DataFolderError

Document = tuple[int, bytes, int, bytes]
"""Table number, document id, timestamp of the version, packed document."""

KeysOf = Callable[[int, bytes, bytes], tuple[Sequence[tuple[int, bytes]], Sequence[bytes]]]
"""``(table, id, packed document)`` to its keys in every index but that by id, and the counters it adds one to."""

BLOCK = 1 << 15
"""Documents per transaction and per range."""
_MAX_FRAME = 1 << 30


class Job(msgspec.Struct, frozen=True, array_like=True):
    """What a key process has to know."""

    folder: str
    map_size: int
    keys: str
    state: bytes


class Keys(msgspec.Struct, frozen=True, array_like=True):
    """The sorted, stored keys of a range of documents."""

    entries: list[bytes]
    cut: list[tuple[bytes, bytes]]
    """Those which are cut, with the whole key."""
    counts: list[tuple[bytes, int]]
    """Stored keys of counters, without timestamp."""


def put_documents(env: lmdb.Environment, dbs: Databases, chunks: Iterable[Sequence[Document]]) -> None:
    """Store documents, in whatever order they come."""
    last = b""
    for block in _blocks(chunks):
        rows = sorted((document_key(table, id) + inverted(version), doc) for table, id, version, doc in block)
        with env.begin(db=dbs.documents, write=True) as txn:
            txn.cursor().putmulti(rows, append=rows[0][0] > last)
        last = max(last, rows[-1][0])


def put_keys(env: lmdb.Environment, dbs: Databases, job: Job, applied: int, processes: int) -> None:
    """Compute and store the index entries and counters of all stored documents."""
    version = inverted(applied)
    for found in _compute(env, dbs, job, processes):
        with env.begin(write=True) as txn:
            cursor = txn.cursor(dbs.entries)
            cursor.putmulti([(stored, LIVE) for stored in found.entries])
            if found.cut:
                cursor.putmulti(found.cut)
            for counter, number in found.counts:
                stored = counter + version
                if not txn.put(stored, number.to_bytes(8, "little"), overwrite=False, db=dbs.counts):
                    before = int.from_bytes(txn.get(stored, b"", db=dbs.counts), "little")
                    txn.put(stored, (before + number).to_bytes(8, "little"), db=dbs.counts)


def load_keys(name: str, state: bytes) -> KeysOf:
    """Call the function ``module:name`` with ``state``."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(state)


def keys_of_range(cursor: lmdb.Cursor[bytes], start: bytes, stop: bytes, keys_of: KeysOf) -> Keys:
    """Compute the keys of the documents stored in ``[start, stop)``."""
    entries: list[bytes] = []
    cut: list[tuple[bytes, bytes]] = []
    counters: list[bytes] = []
    add = entries.append
    if cursor.set_range(start):
        for stored, doc in cursor:
            if stored >= stop:
                break
            index_keys, found = keys_of(int.from_bytes(stored[:3], "big"), stored[4:20], doc)
            version = stored[-TS_BYTES:]
            for index_id, key in index_keys:
                if len(key) <= CUT:
                    add(pack_index(index_id) + key + version)
                else:
                    cut.append((entry_key(index_id, key) + version, key))
            counters += found
    entries.sort()
    cut.sort()
    return Keys(entries, cut, sorted((count_key(counter), number) for counter, number in Counter(counters).items()))


def send(pipe: IO[bytes], message: Any) -> None:
    """Write one message to a pipe."""
    data = msgspec.msgpack.encode(message)
    pipe.write(len(data).to_bytes(4, "big"))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes], kind: Any) -> Any:
    """Read one message; None at the end."""
    head = pipe.read(4)
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > _MAX_FRAME:
        return None
    data = pipe.read(length)
    return msgspec.msgpack.decode(data, type=kind) if len(data) == length else None


def _blocks(chunks: Iterable[Sequence[Document]]) -> Iterator[list[Document]]:
    block: list[Document] = []
    for chunk in chunks:
        block.extend(chunk)
        if len(block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block


def _ranges(env: lmdb.Environment, dbs: Databases) -> list[tuple[bytes, bytes]]:
    with env.begin(db=dbs.documents) as txn:
        starts = [stored for number, stored in enumerate(txn.cursor().iternext(values=False)) if number % BLOCK == 0]
    return list(pairwise([*starts, b"\xff" * 5]))


def _compute(env: lmdb.Environment, dbs: Databases, job: Job, processes: int) -> Iterator[Keys]:
    ranges = _ranges(env, dbs)
    if processes == 0 or len(ranges) < 2:
        keys_of = load_keys(job.keys, job.state)
        for start, stop in ranges:
            with env.begin(db=dbs.documents) as txn:
                found = keys_of_range(txn.cursor(), start, stop, keys_of)
            yield found
        return
    workers = [_KeyProcess(job) for _ in range(min(processes, len(ranges)))]
    try:
        for number, span in enumerate(ranges):
            worker = workers[number % len(workers)]
            if number >= len(workers):
                yield worker.take()
            worker.give(span)
        for number in range(len(ranges), len(ranges) + len(workers)):
            yield workers[number % len(workers)].take()
    finally:
        for worker in workers:
            worker.end()


class _KeyProcess:
    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "nbreactive.engine._rebuild_worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        send(self._in, job)

    def give(self, span: tuple[bytes, bytes]) -> None:
        send(self._in, span)

    def take(self) -> Keys:
        found = receive(self._out, Keys)
        if found is None:
            raise DataFolderError(
                "the row index could not be rebuilt: a process that computes index keys has ended"
                f" (exit code {self._process.wait()}; its error is in the log of the backend); start again"
            )
        return found

    def end(self) -> None:
        self._in.close()
        self._out.close()
        self._process.kill()
        self._process.wait()
