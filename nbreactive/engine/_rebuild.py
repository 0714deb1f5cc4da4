"""Filling an empty row index quickly, from the latest version of every document.

Processes of their own do the work, each for some of the indexes (see :mod:`nbreactive.engine._index_builder`), while the
documents come from yet another one: so all of it goes on side by side, and the memory that it takes is gone afterwards.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import IO, Any

import lmdb
import msgspec

import nbreactive
from nbreactive.engine._index_builder import Builder, Part
from nbreactive.engine._row_changes import Databases
from nbreactive.errors import DataFolderError

FEW = 5000
"""So many documents are not worth a process."""
_PROCESSES = 2
_MAX_FRAME = 1 << 30


class Job(msgspec.Struct, frozen=True):
    """What a building process has to know."""

    folder: str
    map_size: int
    applied: int
    share: int = 0
    shares: int = 1


class Done(msgspec.Struct, frozen=True):
    """The share is done."""

    documents: int


def fill(env: lmdb.Environment, dbs: Databases, job: Job, parts: Iterable[Part]) -> None:
    """Fill an empty row index; see :class:`~nbreactive.engine._index_builder.Builder` for the order of documents."""
    coming = iter(parts)
    first: list[Part] = []
    known = 0
    for part in coming:
        first.append(part)
        known += len(part)
        if known > FEW:
            break
    else:
        builder = Builder(env, dbs, job.applied)
        for part in first:
            builder.add(part)
        builder.finish()
        return
    with contextlib.ExitStack() as stack:
        jobs = [msgspec.structs.replace(job, share=share, shares=_PROCESSES) for share in range(_PROCESSES)]
        processes = [stack.enter_context(contextlib.closing(_BuildingProcess(job))) for job in jobs]
        for part in chain(first, coming):
            for process in processes:
                process.add(part)
        for process in processes:
            process.end()
        for process in processes:
            process.wait()


def send(pipe: IO[bytes], message: Any) -> None:
    """Write one message to a pipe; None ends a sequence."""
    data = msgspec.msgpack.encode(message) if message is not None else b""
    pipe.write(len(data).to_bytes(4, "big"))
    pipe.write(data)


def receive(pipe: IO[bytes], kind: Any) -> Any:
    """Read one message; None at the end of a sequence, EOFError where the other side is gone."""
    head = pipe.read(4)
    length = int.from_bytes(head, "big")
    data = pipe.read(length) if length <= _MAX_FRAME else b""
    if len(head) < 4 or len(data) < length:
        raise EOFError
    return msgspec.msgpack.decode(data, type=kind) if data else None


class _BuildingProcess:
    def __init__(self, job: Job) -> None:
        # -P: what lies in the working directory is not ours. So the package's own place must be said
        place = str(Path(nbreactive.__file__).resolve().parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nbreactive.engine._rebuild_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._say(job)

    def add(self, part: Part) -> None:
        self._say(part)

    def end(self) -> None:
        self._say(None)

    def wait(self) -> None:
        try:
            receive(self._out, Done)
        except EOFError:
            raise self._ended() from None

    def close(self) -> None:
        # Its end of input is the end of a process that is not finished: killed inside a transaction it might leave
        # LMDB's lock behind.
        with contextlib.suppress(OSError):
            self._in.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    def _say(self, message: Job | Part | None) -> None:
        try:
            send(self._in, message)
            if message is None:
                self._in.flush()
        except OSError:
            raise self._ended() from None

    def _ended(self) -> DataFolderError:
        return DataFolderError(
            "the row index could not be rebuilt: a process that builds it has ended"
            f" (exit code {self._process.wait()}; its error is in the log of the backend); start again"
        )
