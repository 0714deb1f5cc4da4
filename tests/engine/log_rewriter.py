"""Rewrites the segments of a log again and again until it is killed: the victim of test_compaction.py."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nbreactive.engine.compaction import CompactionJob, compact
from nbreactive.engine.files import Disk
from nbreactive.engine.segments import SegmentLog


class TalkingDisk(Disk):
    """Says what it is about to do."""

    def rename(self, path: Path, to: Path) -> None:
        print("rename", flush=True)
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        print("remove", flush=True)
        super().remove(path)


async def main(folder: Path, upto: int) -> None:
    files = TalkingDisk()
    log = await SegmentLog.open(folder, files=files, segment_bytes=600)
    for done in compact(files, CompactionJob(log.closed(), upto, 0, 700)):
        await log.compact(Path(done.draft), done.header)
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
