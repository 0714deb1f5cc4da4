"""A proxy between client and backend that reads the sync protocol, and cuts connections at chosen messages.

What is no WebSocket passes as it is, so that a page may be loaded through it, too. Compression is not negotiated, as the
proxy takes the offer out: then every message is plain to read. A sealed proxy leaves all as it is, and counts bytes instead.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

SECONDS = 60


class Verdict(Enum):
    """What becomes of a message."""

    PASS = "pass"
    CUT = "cut"
    """It does not arrive, and the connection ends, as if a cable had been pulled."""


@dataclass(frozen=True)
class Passing:
    """A message on its way."""

    connection: int
    """1, 2, ... in the order in which the WebSockets were opened."""
    up: bool
    """From the client to the backend."""
    message: dict[str, Any]

    @property
    def type(self) -> str:
        """Which message of the protocol it is."""
        return self.message["type"]


Judge = Callable[[Passing], Verdict]


class Proxy:
    """Listens on a port of its own, in a thread of its own.

    Parameters
    ----------
    port
        Of the backend.
    delay
        Seconds that every message of the backend takes.
    sealed
        Whether it only counts.
    """

    def __init__(self, port: int, delay: float = 0.0, *, sealed: bool = False) -> None:
        self.judge: Judge = lambda _: Verdict.PASS
        self.refusing = False
        """New connections are closed at once."""
        self.seen: list[Passing] = []
        self.fault: BaseException | None = None
        self.handshakes: list[bytes] = []
        """What the backend has answered to whoever opened a WebSocket."""
        self.received = 0
        """Bytes of the backend on WebSockets, if the proxy is sealed."""
        self._sealed = sealed
        self._target = port
        self._delay = delay
        self._connections = 0
        self._news = threading.Condition()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(SECONDS)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _close(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- for tests ---------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[list[Passing]], Any]) -> Any:
        """Wait until ``condition`` of what has passed is true, and return what it gave."""
        found: Any = None

        def holds() -> bool:
            nonlocal found
            found = condition(self.seen)
            return bool(found) or self.fault is not None

        with self._news:
            if not self._news.wait_for(holds, SECONDS) or self.fault is not None:
                tail = "\n".join(
                    f"{p.connection} {'>' if p.up else '<'} {str(p.message)[:200]}" for p in self.seen[-20:]
                )
                raise AssertionError(f"never seen; the last messages were\n{tail}") from self.fault
        return found

    def saw(self, kind: str, *, up: bool | None = None, connection: int | None = None) -> list[Passing]:
        """The messages of a type that have passed."""
        return [
            passing
            for passing in list(self.seen)
            if passing.type == kind and up in (None, passing.up) and connection in (None, passing.connection)
        ]

    @property
    def connections(self) -> int:
        """How many WebSockets have been opened."""
        return self._connections

    def cut(self) -> None:
        """Cut every connection."""

        def now() -> None:
            for writer in self._open:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(now)

    def hold(self) -> None:
        """Let no message of the backend arrive until :meth:`release`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def release(self) -> None:
        """Let them arrive."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    # ---- a connection ------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        backend: asyncio.StreamWriter | None = None
        try:
            if self.refusing:
                return
            head = await reader.readuntil(b"\r\n\r\n")
            answers, backend = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 26)
            self._open |= {writer, backend}
            upgrade = b"upgrade: websocket" in head.lower()
            if upgrade and not self._sealed:
                lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"sec-websocket-ext")]
                head = b"\r\n".join(lines)
            backend.write(head)
            if not upgrade:
                await self._both(_copy(reader, backend), _copy(answers, writer))
                return
            head = await answers.readuntil(b"\r\n\r\n")
            writer.write(head)
            if b" 101 " not in head[:20]:
                await _copy(answers, writer)
                return
            self._connections += 1
            number = self._connections
            self.handshakes.append(head)
            if self._sealed:
                await self._both(_copy(reader, backend), _copy(answers, writer, self._count))
                return
            await self._both(
                self._pass(reader, backend, number, up=True), self._pass(answers, writer, number, up=False)
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - raised where the test looks
            self._found(error)
        finally:
            for end in (writer, backend):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()
            self._tasks.discard(task)

    async def _both(self, *ways: Any) -> None:
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, number: int, up: bool) -> None:
        async for raw, text in _messages(source):
            if text is not None:
                if not up:
                    await asyncio.sleep(self._delay)
                    await self._flowing.wait()
                passing = Passing(number, up, json.loads(text))
                verdict = self.judge(passing)
                self._note(passing)
                if verdict is Verdict.CUT:
                    sink.close()  # what passed before does arrive
                    await sink.wait_closed()
                    return
            sink.write(raw)
            await sink.drain()

    def _note(self, passing: Passing) -> None:
        with self._news:
            self.seen.append(passing)
            self._news.notify_all()

    def _count(self, size: int) -> None:
        self.received += size

    def _found(self, error: BaseException) -> None:
        with self._news:
            self.fault = error
            self._news.notify_all()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None] = lambda _: None
) -> None:
    while data := await source.read(1 << 16):
        count(len(data))
        sink.write(data)
        await sink.drain()


async def _messages(source: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes | None]]:
    """The frames of a message as they came, with its text; control frames by themselves, with None."""
    frames: list[bytes] = []
    text: list[bytes] = []
    while True:
        try:
            head = await source.readexactly(2)
        except asyncio.IncompleteReadError:
            return
        last, opcode = head[0] & 0x80, head[0] & 0x0F
        masked, size = head[1] & 0x80, head[1] & 0x7F
        extended = await source.readexactly({126: 2, 127: 8}.get(size, 0))
        if extended:
            size = struct.unpack("!H" if size == 126 else "!Q", extended)[0]
        mask = await source.readexactly(4 if masked else 0)
        payload = await source.readexactly(size)
        raw = head + extended + mask + payload
        if opcode >= 8:
            yield raw, None
            continue
        frames.append(raw)
        text.append(_unmask(payload, mask))
        if last:
            yield b"".join(frames), b"".join(text)
            frames, text = [], []


def _unmask(payload: bytes, mask: bytes) -> bytes:
    if not mask:
        return payload
    whole = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def wait_until(condition: Callable[[], Any], what: str = "") -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what or condition}")
        time.sleep(0.005)
    return found
