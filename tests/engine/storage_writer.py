"""Commits to a row index and a log as fast as it can until it is killed: the victim of test_storage_crash.py.

The row index runs ahead of the log, as in the engine: applied first, then appended. Each durable timestamp is printed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from nbreactive.engine.catalog import index_id
from nbreactive.engine.entries import Entry, Request, encode_entry
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite
from nbreactive.engine.segments import SegmentLog
from nbreactive.engine.transactions import Write

TABLE = 10_001
BY_TEXT = index_id(TABLE, 2)
COUNTER = BY_TEXT.to_bytes(4, "big")
WHO, SESSION = b"w" * 16, b"s" * 16


def row_write(id: bytes, doc: bytes | None, before: tuple[bytes, int] | None) -> RowWrite:
    """Return the row index's side of a write, given what was there before."""
    dels = [(BY_TEXT, before[0] + id)] if before else []
    puts = [(BY_TEXT, doc + id)] if doc is not None else []
    counts = [(COUNTER, len(puts) - len(dels))]
    return RowWrite(TABLE, id, doc, before[1] if before else 0, puts, dels, counts)


async def main(folder: Path, seed: int) -> None:
    choose = random.Random(seed)
    log = await SegmentLog.open(folder / "log", segment_bytes=20_000)
    index = RowIndex.open(folder / "index")
    index.trust()
    reader = index.reader()
    appending: asyncio.Task[None] | None = None
    position = await log.tail()

    async def append(entries: list[Entry]) -> None:
        nonlocal position
        done = await log.append(position, [encode_entry(entry) for entry in entries])
        assert done.status == "ok"
        position = done.position
        print(entries[-1].ts, flush=True)

    while True:
        commits: list[Applied] = []
        entries: list[Entry] = []
        ts = index.highest
        reader.renew()
        live: dict[bytes, tuple[bytes, int] | None] = {}
        for _ in range(choose.randint(1, 8)):
            ts += 1
            id = bytes([choose.randrange(20)]) * 16
            before = live[id] if id in live else reader.document(TABLE, id, ts)
            doc = None if before and choose.random() < 0.3 else b"text %d|" % ts
            live[id] = None if doc is None else (doc, ts)
            request = Request(WHO, SESSION, ts, b"%d" % ts)
            entries.append(Entry(ts, index.epoch, [Write(TABLE, id, doc, before[1] if before else 0)], request))
            commits.append(Applied(ts, [row_write(id, doc, before)], request))
        index.apply(commits, log_position=position)
        if choose.random() < 0.2:
            index.collect(ts - 200, 20)
        if appending is not None:
            await appending
        appending = asyncio.create_task(append(entries))
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
