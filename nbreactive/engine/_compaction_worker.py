"""The process that rewrites segments of the log: a job on standard input, a line of JSON for each file that is done."""

from __future__ import annotations

import os
import sys

import msgspec

from nbreactive.engine.compaction import CompactionJob, compact
from nbreactive.engine.files import Disk
from nbreactive.errors import DataFolderError


def main() -> int:
    """Do one job."""
    if os.name == "posix":
        os.nice(10)
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=CompactionJob)
    try:
        for done in compact(Disk(), job):
            sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
            sys.stdout.buffer.flush()
            if not sys.stdin.buffer.readline():  # told when it has taken its place; the backend may be gone
                return 0
    except (DataFolderError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
