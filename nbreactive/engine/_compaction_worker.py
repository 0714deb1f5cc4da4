"""The process that rewrites segments of the log: a job on standard input, a line of JSON for each file that is done.

Each is answered by a line when it has taken its place. The end of standard input is the end of the backend, and the end of
this process at once: a folder has one backend, and what is left of an earlier one writes nothing to it.
"""

from __future__ import annotations

import os
import sys
import threading
from queue import SimpleQueue

import msgspec

from nbreactive.engine.compaction import CompactionJob, compact
from nbreactive.engine.files import Disk
from nbreactive.errors import DataFolderError


def main() -> int:
    """Do one job."""
    if os.name == "posix":
        os.nice(10)
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=CompactionJob)
    told: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(told,), daemon=True).start()
    try:
        for done in compact(Disk(), job):
            sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
            sys.stdout.buffer.flush()
            told.get()
    except (DataFolderError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _listen(told: SimpleQueue[bytes]) -> None:
    # Not by sys.stdin, whose lock a thread that waits would hold when the interpreter ends
    while line := os.read(0, 1):
        told.put(line)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
