from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.row_index import Applied, RowIndex
from nbreactive.engine.segments import SegmentLog
from tests.engine.row_model import RowModel
from tests.engine.storage_writer import BY_TEXT, COUNTER, SESSION, TABLE, WHO, row_write

ROOT = Path(__file__).parents[2]


def killed_writer(folder: Path, seed: int, commits: int) -> int:
    """Let a process write until it says that so many more batches are durable; return the last ts it said."""
    command = [sys.executable, "-m", "tests.engine.storage_writer", str(folder), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(commits)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines(keepends=True)
    return int([line for line in said if line.endswith(b"\n")][-1])


async def logged(folder: Path) -> list[Entry]:
    log = await SegmentLog.open(folder, segment_bytes=20_000)
    entries = [decode_entry(data) async for batch in log.read() for data in batch.entries]
    await log.close()
    return entries


@pytest.mark.slow
def test_after_sigkill_the_index_is_rewound_to_the_log(tmp_path: Path) -> None:
    choose = random.Random(4)
    rewound = 0
    for round_ in range(12):
        acknowledged = killed_writer(tmp_path, round_, choose.randint(1, 40))
        entries = asyncio.run(logged(tmp_path / "log"))
        tail = entries[-1].ts
        assert tail >= acknowledged
        stamps = [entry.ts for entry in entries]
        assert stamps == sorted(set(stamps))

        index = RowIndex.open(tmp_path / "index")
        assert index.trusted
        assert index.applied >= tail
        epoch = index.epoch
        rewound += index.rewind(tail)
        assert index.epoch >= epoch

        model = RowModel()
        for entry in entries:
            writes = [
                row_write(write.id, write.doc, model.document(TABLE, write.id, entry.ts)) for write in entry.writes
            ]
            model.apply([Applied(entry.ts, writes, entry.request)])
        with index.reader() as reader:
            for ts in range(max(index.horizon, tail - 50), tail + 1):
                assert list(reader.scan(BY_TEXT, b"", None, ts)) == model.scan(BY_TEXT, b"", None, ts, False)
                assert reader.count(COUNTER, ts) == model.count(COUNTER, ts)
                for number in range(20):
                    id = bytes([number]) * 16
                    assert reader.document(TABLE, id, ts) == model.document(TABLE, id, ts)
        for ts in range(tail - 20, tail + 20):
            assert index.request(WHO, SESSION, ts) == model.requests.get((WHO, SESSION, ts))
        index.close()
    assert rewound, "no round was killed between applying and appending"
