"""The process that runs functions: reads a call, runs it, writes its outcome, and nothing else.

Forked by the zygote, or started as ``python -m nbreactive.runtime.worker FD`` where that is not possible. It opens the
row index itself, read-only; it holds a read transaction only while a call runs. It asks to be replaced when a call has
left it in doubt: out of memory, builtins changed, descriptors left open.

What a function can do to its worker, and what its caller gets (in every case it has written nothing):

=========================================== ===================== ==============================
what                                        error                 the worker
=========================================== ===================== ==============================
more than 1 s (loop, sleep, endless C call) FunctionTimeout       killed by the backend
more memory than allowed                    FunctionOutOfMemory   replaced
segmentation fault, ``os._exit``, abort     FunctionCrashed       gone
forged or endless frames, socket closed     FunctionCrashed       killed by the backend
a forged answer, and it goes on             what it forged        killed; the next call is moved (*)
``sys.exit``, any other BaseException       FunctionFailed        goes on
recursion without end                       FunctionFailed        goes on
too many open files                         FunctionFailed        replaced
fork, threads, sockets, writing files       NotAllowed            goes on
a result that is no value, or cyclic        InvalidValue          goes on
a result over 16 MiB                        LimitExceeded         goes on
endless printing                            none (lines dropped)  goes on
an exception in ``__del__``                 none (a log line)     goes on
builtins replaced                           none                  replaced after the call
a ctx of an earlier call                    NotAllowed            goes on
=========================================== ===================== ==============================

(*) unless more calls wait in the worker: nothing tells then which of them it has read.

The 1 s is that of :mod:`nbreactive.runtime.timing`: importing modules inside a function does not count (up to 10 s), and
a machine that had no time for the worker gives it 0.4 s more. A function that costs its worker again and again is not
run for a while (:mod:`nbreactive.runtime.breaker`). What a worker can reach is in :mod:`nbreactive.runtime._hardening`.
"""

from __future__ import annotations

import importlib
import signal
import socket
import sys
from collections import deque
from typing import Final

import msgspec

from nbreactive.engine.row_index import RowIndex
from nbreactive.errors import NBReactiveError
from nbreactive.functions import references
from nbreactive.functions.specs import Issue, Manifest
from nbreactive.runtime import determinism, imports
from nbreactive.runtime._hardening import ImportMemory, bind_to_parent, give_up_rights, limit_resources
from nbreactive.runtime._processes import (
    inherited_socket,
    open_descriptors,
    silence_descriptors,
)
from nbreactive.runtime.execute import Runner
from nbreactive.runtime.frames import (
    CALL,
    IMPORTED,
    IMPORTING,
    LOADED,
    READY,
    REPLY,
    SELECT,
    SELECTED,
    SETUP,
    Imported,
    Loaded,
    Reply,
    Request,
    Select,
    Selection,
    Setup,
    encode,
    frame,
    read_frame,
)
from nbreactive.runtime.loader import Program
from nbreactive.runtime.manifest import load_program
from nbreactive.runtime.tables import TableCache

_MAY_STAY_OPEN: Final = 64
_setup = msgspec.msgpack.Decoder(Setup)
_request = msgspec.msgpack.Decoder(Request)
_selection = msgspec.msgpack.Decoder(Selection)


def load(sock: socket.socket) -> tuple[Setup, Program] | None:
    """Read the setup, import the modules, report; None when there is nothing to go on with."""
    received = read_frame(sock)
    if received is None or received[0] != SETUP:
        return None
    setup = _setup.decode(received[1])
    if hasattr(signal, "alarm"):
        # Should the backend die while a module hangs in its import, nobody else would end this process.
        signal.alarm(int(setup.import_seconds) + 5)
    determinism.install()
    references.refuse_calls()
    program, found = load_program(setup.bundle, setup.import_paths, ImportMemory(setup.memory_bytes))
    if hasattr(signal, "alarm"):
        signal.alarm(0)
    manifest = found if isinstance(found, Manifest) else None
    if manifest is not None and any(table.vector_indexes for table in manifest.tables):
        _load_numpy()
    issues: tuple[Issue, ...] = () if isinstance(found, Manifest) else tuple(found)
    sock.sendall(frame(LOADED, encode(Loaded(manifest, issues, sys.executable))))
    return (setup, program) if manifest is not None else None


def _load_numpy() -> None:
    """Load what vector searches need once, instead of once in every worker: with these settings it starts no threads."""
    importlib.import_module("nbreactive.engine._vector_search")
    determinism.install_numpy()


def serve(sock: socket.socket, setup: Setup, program: Program) -> None:
    """Run calls until the backend closes the socket."""
    silence_descriptors()
    index = RowIndex.open(setup.index_path, readonly=True)
    reader = index.reader()
    runner = Runner(
        program,
        reader,
        TableCache(),
        production=setup.mode == "prod",
        limits=setup.limits,
        deployment=setup.deployment,
        cursor_key=setup.cursor_key,
    )
    give_up_rights()
    limit_resources(setup.memory_bytes)
    descriptors = open_descriptors()
    reader.close()
    imports.announce(
        lambda: sock.sendall(frame(IMPORTING)),
        lambda seconds, cpu: sock.sendall(frame(IMPORTED, encode(Imported(seconds, cpu)))),
    )
    ahead: deque[tuple[int, bytes]] = deque()

    def select(asked: Select) -> Selection:
        sock.sendall(frame(SELECT, encode(asked)))
        while (received := read_frame(sock)) is not None:
            if received[0] == SELECTED:
                return _selection.decode(received[1])
            ahead.append(received)  # calls that come next
        raise ConnectionError("the backend is gone")

    runner.select = select
    sock.sendall(frame(READY))
    while (received := ahead.popleft() if ahead else read_frame(sock)) is not None:
        if received[0] != CALL:
            return
        request = _request.decode(received[1])
        reader.renew()
        try:
            outcome = runner.run(request.call)
        finally:
            reader.close()
        recycle = ""
        failure = outcome.failure
        if failure is not None and failure.code == "FunctionOutOfMemory":
            recycle = "out of memory"
        elif runner.changed_builtins:
            recycle = "a call changed the builtins"
        elif runner.opened_files and open_descriptors() > descriptors + _MAY_STAY_OPEN:
            recycle = "calls left files open"
        sock.sendall(frame(REPLY, encode(Reply(request.number, outcome, recycle))))


def main() -> None:
    """Entry point of a spawned worker."""
    bind_to_parent()
    sock = inherited_socket()
    loaded = load(sock)
    if loaded is not None:
        serve(sock, *loaded)


if __name__ == "__main__":
    try:
        main()
    except ConnectionError:
        sys.exit(0)  # The backend is gone, and nobody there to be told.
    except (OSError, NBReactiveError) as error:
        sys.exit(f"nbreactive worker: {error}")
