from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest

from nbreactive.server._frames import SyncProtocol
from nbreactive.server.limits import ServerLimits
from tests.server.fakes import PROXY_SECRET, eventually, handshake_status, serving

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


OPENED: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


class RawSocket:
    """A WebSocket client without a protocol: for frames that no honest client sends."""

    def __init__(
        self, url: str, path: str = "/api/1.48.0/sync", deflate: bool = False, buffer: int | None = None
    ) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        OPENED.append(self.socket)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(10)
        self.socket.connect((host, int(port)))
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extension}\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(4096)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        self.head = head.decode()

    def frame(self, payload: bytes, opcode: int = 1, fin: bool = True, rsv1: bool = False) -> None:
        first = (0x80 if fin else 0) | (0x40 if rsv1 else 0) | opcode
        size = len(payload)
        length = (
            struct.pack("!B", 0x80 | size)
            if size < 126
            else struct.pack("!BH", 0xFE, size)
            if size < 65536
            else struct.pack("!BQ", 0xFF, size)
        )
        self.socket.sendall(bytes([first]) + length + b"\0\0\0\0" + payload)

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError
            self.buffer += data
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def read(self) -> tuple[int, bool, bytes]:
        """Opcode, fin, payload."""
        first, second = self.take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.take(8))
        return first & 0xF, bool(first & 0x80), self.take(size)

    def close_code(self) -> int:
        """What the server closed with; 1006 when it just cut the connection."""
        try:
            while True:
                opcode, _, payload = self.read()
                if opcode == 8:
                    return struct.unpack("!H", payload[:2])[0] if payload else 1005
        except ConnectionError:
            return 1006


HELLO = json.dumps({"type": "Connect", "sessionId": "00000000-0000-4000-8000-000000000001"}).encode()


def subscription(path: str, args: dict) -> bytes:
    add = {"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}
    return json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}).encode()


def test_deflate_keeps_its_window_between_messages() -> None:
    async def main() -> None:
        async with serving() as served:
            text = os.urandom(10_000).hex()
            served.engine.functions["m:text"] = ("query", lambda state, args, ctx: f"{text} {state.get('total')}")
            one = await served.wire()
            assert "permessage-deflate" in one.connection.headers["Sec-WebSocket-Extensions"]
            one.hello()
            one.subscribe(0, (0, "m:text", {}))
            await one.until("Transition")
            (handler,) = served.site.sockets._open
            stream = handler.ws_connection.stream  # type: ignore[union-attr]
            sizes: list[int] = []
            write = stream.write
            stream.write = lambda data: (sizes.append(len(data)), write(data))[1]  # type: ignore[method-assign]
            one.mutate(0, "m:add")
            assert (await one.until("Transition"))["modifications"][0]["value"] == f"{text} 1"
            assert sum(sizes) < 1000

    asyncio.run(main())


def test_response_and_transition_leave_in_one_write() -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire()
            one.hello()
            one.mutate(0, "m:add")
            await one.until("Transition")
            (handler,) = served.site.sockets._open
            connection = handler.ws_connection
            assert isinstance(connection, SyncProtocol)
            writes: list[bytes] = []
            send = connection._send_now
            connection._send_now = lambda data: (writes.append(data), send(data))[1]  # type: ignore[method-assign]
            one.mutate(1, "m:add")
            await one.until("Transition")
            assert len(writes) == 1 and b"MutationResponse" in writes[0] and b"Transition" in writes[0]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "chunked"), [("/api/1.48.0/sync", True), ("/api/1.27.9/sync", False), ("/api/sync", False)]
)
def test_large_transitions_are_chunked_for_new_npm_clients_only(path: str, chunked: bool) -> None:
    async def main() -> None:
        async with serving(limits=ServerLimits(chunk_bytes=100_000)) as served:
            one = await served.wire(path, max_message_size=1 << 30)
            one.hello()
            one.subscribe(0, (0, "m:large", {"size": 250_000}))
            message = await one.receive()
            assert message is not None
            if not chunked:
                assert message["type"] == "Transition"
                return
            chunks = [message]
            while len(chunks) < message["totalParts"]:
                found = await one.receive()
                assert found is not None
                chunks.append(found)
            assert [c["partNumber"] for c in chunks] == [0, 1, 2] and len({c["transitionId"] for c in chunks}) == 1
            transition = json.loads("".join(c["chunk"] for c in chunks))
            assert transition["modifications"][0]["value"] == "x" * 250_000 + "0"

    asyncio.run(main())


def test_frames_stay_below_16_mib() -> None:
    async def main() -> None:
        async with serving() as served:

            def talk() -> list[int]:
                raw = RawSocket(served.url, "/api/sync")
                raw.frame(HELLO)
                raw.frame(subscription("m:large", {"size": 20_000_000}))
                sizes, fin = [], False
                while not fin:
                    _, fin, payload = raw.read()
                    sizes.append(len(payload))
                return sizes

            sizes = await asyncio.to_thread(talk)
            assert len(sizes) == 3 and max(sizes) <= 8 << 20 and sum(sizes) > 20_000_000

    asyncio.run(main())


def bad_frames_case_18() -> dict[str, tuple[list[tuple], set[int]]]:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezed = (bomb.compress(b"0" * (8 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return {
        "binary": [[(HELLO, 2)], {1003}],
        "bad utf-8": [[(b'{"type":"\xff\xfe"}', 1)], {1006, 1007}],
        "bad json": [[(b"{nope", 1)], {1002}],
        "unknown type": [[(b'{"type":"Drop"}', 1)], {1002}],
        "no type": [[(b"{}", 1)], {1002}],
        "array": [[(b"[1]", 1)], {1002}],
        "0 bytes": [[(b"", 1)], {1002}],
        "brackets only": [[(b'{"type":"Event","event":' + b"[" * 300_000 + b"]" * 300_000 + b"}", 1)], {1002}],
        "too large": [[(b"x" * (2 << 20), 1)], {1006, 1009}],
        "deflate bomb": [[(squeezed, 1, True, True)], {1006, 1009}],
        "rsv bits": [[(HELLO, 1, True, True)], {1002, 1006}],
        "lone continuation": [[(b"x", 0)], {1002, 1006}],
        "before Connect": [[(subscription("m:total", {}), 1)], {1002}],
        "Connect twice": [[(HELLO, 1), (HELLO, 1)], {1002}],
        "session is no uuid": [[(b'{"type":"Connect","sessionId":"../../etc"}', 1)], {1002}],
        "long fraction of a number": [[(b'{"type":"Authenticate","baseVersion":0.5,"tokenType":"None"}', 1)], {1002}],
    }  # type: ignore[return-value]


@pytest.mark.parametrize("name", bad_frames_case_18())
def test_bad_frames_close_only_their_own_connection_case_18(name: str) -> None:
    frames, codes = bad_frames_case_18()[name]

    async def main() -> None:
        async with serving(limits=ServerLimits(message_bytes=1 << 20)) as served:
            good = await served.wire()
            good.hello()
            good.mutate(0, "m:add")
            await good.until("Transition")

            def attack() -> int:
                raw = RawSocket(served.url, "/api/sync", deflate=name == "deflate bomb")
                try:
                    for frame in frames:
                        raw.frame(*frame)
                except OSError:
                    return 1006
                return raw.close_code()

            assert await asyncio.to_thread(attack) in codes
            good.mutate(1, "m:add")
            assert (await good.until("MutationResponse"))["result"] == 2

    asyncio.run(main())


def test_npm_clients_are_told_what_was_fatal_and_others_only_by_the_close() -> None:
    async def main() -> None:
        async with serving() as served:
            for path, told in (("/api/1.48.0/sync", True), ("/api/sync", False)):
                one = await served.wire(path)
                one.hello()
                one.send(type="ModifyQuerySet", baseVersion=7, newVersion=8, modifications=[])
                message = await one.receive()
                if told:
                    assert (
                        message is not None
                        and message["type"] == "FatalError"
                        and "BaseVersionMismatch" in message["error"]
                    )
                    message = await one.receive()
                assert message is None
                assert one.connection.close_code == 1002 and (one.connection.close_reason or "").startswith(
                    "BaseVersionMismatch"
                )

    asyncio.run(main())


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ModifyQuerySet", "baseVersion": 5, "newVersion": 6, "modifications": []},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": -1, "modifications": []},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 0, "modifications": []},
        {
            "type": "ModifyQuerySet",
            "baseVersion": 0,
            "newVersion": 1,
            "modifications": [{"type": "Remove", "queryId": 3}],
        },
        {"type": "Authenticate", "baseVersion": 3, "tokenType": "None"},
    ],
)
def test_versions_out_of_order_end_the_connection_case_22(message: dict) -> None:
    async def main() -> None:
        async with serving() as served:
            one = await served.wire("/api/sync")
            one.hello()
            one.send(**message)
            assert (await one.closed())[0] == 1002

    asyncio.run(main())


def test_too_many_subscriptions_and_sockets_are_refused_case_19() -> None:
    async def main() -> None:
        limits = ServerLimits(queries_per_socket=10, sockets_per_caller=3)
        async with serving(limits=limits) as served:
            one = await served.wire()
            one.hello()
            one.subscribe(0, *[(n, "m:echo", {"x": n}) for n in range(15)])
            found = (await one.until("Transition"))["modifications"]
            failed = [m for m in found if m["type"] == "QueryFailed"]
            assert len(found) == 15 and len(failed) == 5 and "more than 10 live queries" in failed[0]["errorMessage"]
            one.subscribe(1, *[(n, "m:echo", {"x": n}) for n in range(100, 110)])
            assert (await one.closed())[0] == 1002
            await eventually(lambda: len(served.site.sockets) == 0)
            assert served.engine.subscriptions.count == 0
            _keep = [await served.wire() for _ in range(3)]
            assert await handshake_status(served.url) == 503
            other = {
                "X-NBReactive-Proxy": PROXY_SECRET,
                "X-NBReactive-Identity": "eyJzdWJqZWN0IjoiYWRhIiwicm9sZXMiOlsicmVhZCJdfQ",
            }
            await served.wire(headers=other)

    asyncio.run(main())


def test_too_many_waiting_mutations_are_refused() -> None:
    async def main() -> None:
        async with serving(limits=ServerLimits(pending_mutations=5)) as served:
            served.engine.hold = asyncio.Event()
            one = await served.wire()
            one.hello()
            for number in range(6):
                one.mutate(number, "m:add")
            code, reason = await one.closed()
            assert code == 1013 and "more than 5 mutations" in (reason or "")

    asyncio.run(main())


def test_a_slow_consumer_gets_the_newest_or_is_sent_away_case_20() -> None:
    async def main() -> None:
        limits = ServerLimits(send_timeout=0.4)
        async with serving(limits=limits) as served:
            raw = await asyncio.to_thread(RawSocket, served.url, "/api/sync", False, 4096)
            raw.frame(HELLO)
            raw.frame(subscription("m:noise", {"size": 4_000_000}))
            writer = await served.wire()
            writer.hello("00000000-0000-4000-8000-000000000009")
            await eventually(lambda: len(served.site.sockets) == 2)
            slow = next(h for h in served.site.sockets._open if h.request.path == "/api/sync")
            highest = 0
            number = 0
            while slow in served.site.sockets._open and number < 2000:
                writer.mutate(number, "m:add")
                assert (await writer.until("MutationResponse"))["success"]
                number += 1
                protocol = slow.ws_connection
                if protocol is not None and hasattr(protocol, "buffered"):
                    highest = max(highest, protocol.buffered())
                if slow.session._closed:
                    break
                await asyncio.sleep(0.01)
            assert slow.session._closed and highest < 6_000_000
            assert served.engine.subscriptions.count == 0
            raw.socket.close()

    asyncio.run(main())


def test_a_client_that_sends_pings_and_never_reads_costs_nothing() -> None:
    async def main() -> None:
        async with serving() as served:
            raw = await asyncio.to_thread(RawSocket, served.url, "/api/sync", False, 4096)
            raw.frame(HELLO)
            for _ in range(2000):
                raw.frame(os.urandom(100), opcode=9)
            one = await served.wire()
            one.hello()
            one.mutate(0, "m:add")
            assert (await one.until("MutationResponse"))["success"]
            for handler in served.site.sockets._open:
                assert handler.ws_connection is not None and handler.ws_connection.buffered() < 100_000  # type: ignore[attr-defined]
            raw.socket.close()

    asyncio.run(main())
