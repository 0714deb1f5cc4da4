"""A process that computes index keys while a row index is rebuilt (see :mod:`nbreactive.engine._rebuild`).

Reads a job and then ranges of documents from its standard input, and answers each range with its keys.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from nbreactive.engine._rebuild import Job, keys_of_range, load_keys, receive, send
from nbreactive.engine.row_index import open_environment


def main() -> None:
    """Work until there are no more ranges."""
    gc.disable()  # millions of small lists and no cycles: a third of the time
    pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer
    job = receive(pipe_in, Job)
    env = open_environment(Path(job.folder), job.map_size, readonly=True)
    documents = env.open_db(b"documents", create=False)
    keys_of = load_keys(job.keys, job.state)
    while (span := receive(pipe_in, tuple[bytes, bytes])) is not None:
        with env.begin(db=documents) as txn:
            found = keys_of_range(txn.cursor(), span[0], span[1], keys_of)
        send(pipe_out, found)
    env.close()


if __name__ == "__main__":
    main()
