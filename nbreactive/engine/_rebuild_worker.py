"""A process that builds a row index (see :mod:`nbreactive.engine._rebuild`).

Reads a job and then parts of documents from its standard input, builds, and says so.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path

from nbreactive.engine._index_builder import Builder, Part
from nbreactive.engine._rebuild import Done, Job, receive, send
from nbreactive.engine._row_changes import Databases
from nbreactive.engine.row_index import open_environment


def main() -> None:
    """Build; ends early, without an answer, when the backend does."""
    gc.disable()  # millions of small objects and no cycles
    pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer
    job = receive(pipe_in, Job)
    env = open_environment(Path(job.folder), job.map_size, readonly=False)
    try:
        dbs = Databases(*(env.open_db(name.encode()) for name in Databases._fields))
        builder = Builder(env, dbs, job.applied, share=job.share, shares=job.shares)
        documents = 0
        while (part := receive(pipe_in, Part)) is not None:
            builder.add(part)
            documents += len(part)
        builder.finish()
    finally:
        env.close()
    send(pipe_out, Done(documents))
    pipe_out.flush()


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        main()
