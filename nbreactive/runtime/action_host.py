"""The process that runs actions: many at once, each a task of its event loop or, if it is a plain ``def``, a thread.

Started as ``python -m nbreactive.runtime.action_host FD`` with the modules of one version. It touches neither the row
index nor the log: what an action reads and writes goes through the backend as queries and mutations. Actions may do
what they like to the world (sockets, threads, files, programs), and to each other: one that ends the process, or uses
up its memory, takes the others with it. Each of them fails then, and none is run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from nbreactive.engine.transactions import Failure, Outcome
from nbreactive.errors import FunctionOutOfMemory, FunctionTimeout, InvalidId, NBReactiveError, ProtocolError
from nbreactive.functions import Function, bind
from nbreactive.runtime._hardening import bind_to_parent, give_up_rights, limit_resources
from nbreactive.runtime._processes import inherited_socket, silence_descriptors
from nbreactive.runtime.action_context import ActionContext, Running
from nbreactive.runtime.context import Deployment
from nbreactive.runtime.errors_of import failure_of
from nbreactive.runtime.exchange import Incoming, Request, Window, send_response
from nbreactive.runtime.frames import (
    ACT,
    ANSWER,
    ASK,
    BEAT,
    BODY,
    CANCEL,
    HEAD,
    READY,
    REPLY,
    TAKEN,
    Act,
    Answer,
    Ask,
    Body,
    Cancel,
    Head,
    Parser,
    Reply,
    Taken,
    encode,
    frame,
)
from nbreactive.runtime.loader import Program
from nbreactive.runtime.lookup import checked_result, find, refuse_giants, too_long
from nbreactive.runtime.output import CallLog, route_output
from nbreactive.runtime.worker import load
from nbreactive.values._checkers import TableOf
from nbreactive.values.ids import decode_id
from nbreactive.values.json import encode_json
from nbreactive.values.limits import RESULT_SIZE
from nbreactive.values.packing import unpack

THREADS: Final = 256
"""Plain ``def`` actions that run at once."""
DESCRIPTORS: Final = 4096
_BEAT_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 0.3
_FROM_BACKEND: Final = frozenset({ACT, ANSWER, CANCEL, BODY, TAKEN})

_act = msgspec.msgpack.Decoder(Act)
_answer = msgspec.msgpack.Decoder(Answer)
_cancel = msgspec.msgpack.Decoder(Cancel)
_body = msgspec.msgpack.Decoder(Body)
_taken = msgspec.msgpack.Decoder(Taken)


class Host:
    """Runs the actions that come over one socket.

    Parameters
    ----------
    program
        The imported code.
    write
        Sends a frame to the backend.
    production
        Whether errors are kept from callers.
    clock
        What time it is for them, in ns; tests have a clock of their own.
    deployment
        The name that they see in ``ctx.meta``.
    """

    def __init__(
        self,
        program: Program,
        write: Callable[[bytes], None],
        *,
        production: bool,
        clock: Callable[[], int] = time.time_ns,
        deployment: str = "default",
    ) -> None:
        self._clock = clock
        self._deployment = Deployment(deployment, "prod" if production else "dev")
        self._functions = program.functions
        self._write = write
        self._production = production
        self._threads = ThreadPoolExecutor(THREADS, "action")
        self._running: dict[int, tuple[asyncio.Task[None], Running | None]] = {}
        """Those that have not made their first step have no more than a task."""
        self._bodies: dict[int, tuple[Incoming, Window]] = {}
        self._asked: dict[int, tuple[int, asyncio.Future[Answer]]] = {}
        self._numbers = 0
        self._beating: asyncio.TimerHandle | None = None

    def receive(self, kind: int, body: bytes) -> None:
        """Take one frame of the backend."""
        if kind == ACT:
            act = _act.decode(body)
            log = CallLog()
            context = contextvars.copy_context()
            context.run(route_output, log)
            task = asyncio.get_running_loop().create_task(self._run(act, log), context=context)
            self._running[act.number] = task, None
            task.add_done_callback(lambda task: self._ended(act.number, task))
            if act.http is not None:
                self._bodies[act.number] = Incoming(lambda size: self._took(act.number, size)), Window()
            if self._beating is None:
                self._beat()
        elif kind == ANSWER:
            answer = _answer.decode(body)
            _, future = self._asked.pop(answer.number, (0, None))
            if future is not None and not future.done():
                future.set_result(answer)
        elif kind == BODY:
            piece = _body.decode(body)
            if piece.call in self._bodies:
                self._bodies[piece.call][0].put(piece.data, piece.end)
        elif kind == TAKEN:
            taken = _taken.decode(body)
            if taken.call in self._bodies:
                self._bodies[taken.call][1].taken(taken.size)
        else:
            cancel = _cancel.decode(body)
            task, running = self._running.get(cancel.number, (None, None))
            if task is not None:
                if running is not None and running.blocking:  # a thread, which nothing else reaches
                    running.stopped = FunctionTimeout(cancel.message)
                task.cancel(cancel.message)

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        self._running.pop(number, None)
        self._bodies.pop(number, None)
        if task.cancelled():  # before its first step
            failure = Failure(FunctionTimeout.code, "the action was stopped before it began")
            self._write(frame(REPLY, encode(Reply(number, Outcome(failure=failure, kind="action")))))

    def _took(self, number: int, size: int) -> None:
        self._write(frame(TAKEN, encode(Taken(number, size))))

    async def stop(self) -> None:
        """Tell all actions to end, and give them a moment to clean up behind themselves."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)

    def _beat(self) -> None:
        self._write(frame(BEAT))
        loop = asyncio.get_running_loop()
        self._beating = loop.call_later(_BEAT_SECONDS, self._beat) if self._running else None

    # ---- one action --------------------------------------------------------------------------------------

    async def _run(self, act: Act, log: CallLog) -> None:
        began = time.perf_counter()
        task = asyncio.current_task()
        assert task is not None
        value, failure, recycle = b"null", None, ""
        try:
            path, function = find(self._functions, act.call)
            running = Running(
                act.call,
                self._functions,
                log,
                self._sender(act.number),
                blocking=not function.is_async,
                clock=self._clock,
                deployment=self._deployment,
            )
            self._running[act.number] = task, running
            ctx = ActionContext(running, path, function, act.env)
            table_of = _table_of(act.tables)
            try:
                if act.http is not None:
                    await self._respond(act, running, function, ctx)
                    result = None
                else:
                    bound = bind(function, unpack(act.call.args), table_of=table_of)
                    result = checked_result(function, await self._invoke(function, ctx, bound), table_of)
            except asyncio.CancelledError:
                recycle = "" if function.is_async else "a thread goes on"
                running.abandon()
                raise
            finally:
                await running.settle()
            refuse_giants(result)
            value = encode_json(result)
            if len(value) > 2 * RESULT_SIZE:
                raise too_long(len(value))
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like end the action, not the process
            if isinstance(error, MemoryError):
                error = FunctionOutOfMemory(_NO_MEMORY).with_traceback(error.__traceback__)
                recycle = "out of memory"
            failure = failure_of(error, act.call.request_id, production=self._production)
            value = b"null"
        duration = int((time.perf_counter() - began) * 1e6)
        outcome = Outcome(value=value, failure=failure, logs=log.close(), kind="action", duration_us=duration)
        self._write(frame(REPLY, encode(Reply(act.number, outcome, recycle))))

    async def _respond(self, act: Act, running: Running, function: Function, ctx: ActionContext) -> None:
        assert act.http is not None
        incoming, window = self._bodies[act.number]
        request = Request(running, act.http, incoming)
        response = await self._invoke(function, ctx, {}, request)

        async def send(data: bytes) -> None:
            await window.use(len(data))
            self._write(frame(BODY, encode(Body(act.number, data))))

        def send_head(status: int, headers: list[tuple[str, str]]) -> None:
            self._write(frame(HEAD, encode(Head(act.number, status, headers))))

        await send_response(response, send_head, send)
        self._write(frame(BODY, encode(Body(act.number, b"", end=True))))

    async def _invoke(self, function: Function, ctx: ActionContext, bound: dict[str, Any], *given: Any) -> Any:
        if function.is_async:
            return await function.handler(ctx, *given, **bound)
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(_call, function, ctx, bound, *given))

    def _sender(self, call: int) -> Callable[..., asyncio.Future[Answer]]:
        def send(what: Any, target: str, args: bytes = b"", when: int = 0) -> asyncio.Future[Answer]:
            self._numbers += 1
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._asked[self._numbers] = call, future
            self._write(frame(ASK, encode(Ask(call, self._numbers, what, target, args, when))))
            return future

        return send


_NO_MEMORY: Final = (
    "the action asked for more memory than its process may have; what mutations it ran have written stays."
    " Read less at once, or work in pieces"
)


def _call(function: Function, ctx: ActionContext, bound: dict[str, Any], *given: Any) -> Any:
    try:
        return function.handler(ctx, *given, **bound)
    except StopIteration as error:  # which no future takes
        raise RuntimeError("the action raised StopIteration") from error


def _table_of(tables: dict[int, str]) -> TableOf:
    def table_of(id: str) -> str | None:
        with contextlib.suppress(InvalidId):
            return tables.get(decode_id(id)[0])
        return None

    return table_of


async def serve(sock: socket.socket, host_of: Callable[[Callable[[bytes], None]], Host]) -> None:
    """Run actions until the backend closes the socket."""
    reader, writer = await asyncio.open_connection(sock=sock)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "to_thread"))
    host = host_of(writer.write)
    parser = Parser(_FROM_BACKEND)
    writer.write(frame(READY))
    while data := await reader.read(1 << 16):
        for kind, body in parser.feed(data):
            host.receive(kind, body)
    await host.stop()


def main() -> None:
    """Entry point."""
    bind_to_parent()
    sock = inherited_socket()
    loaded = load(sock)
    if loaded is None:
        return
    setup, program = loaded
    silence_descriptors()
    give_up_rights()
    limit_resources(setup.action_memory_bytes, DESCRIPTORS)
    sock.setblocking(False)
    # Not asyncio.run(), which would wait for threads that nobody waits for
    loop = asyncio.new_event_loop()
    options: dict[str, Any] = {"production": setup.mode == "prod", "deployment": setup.deployment}
    loop.run_until_complete(serve(sock, lambda write: Host(program, write, **options)))


if __name__ == "__main__":
    status: int | str = 0
    try:
        main()
    except ConnectionError:
        pass  # The backend is gone, and nobody there to be told.
    except (OSError, ProtocolError, NBReactiveError) as error:
        sys.stderr.write(f"nbreactive action host: {error}\n")
        status = 1
    os._exit(int(status))  # Without waiting for the threads of actions that nobody waits for.
