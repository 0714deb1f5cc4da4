"""Downloads of stored data: who stops reading holds nothing up."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbreactive.server.backend import Backend, BackendConfig
from nbreactive.server.limits import ServerLimits
from nbreactive.services.imports import Imports


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """A backend tunes the collector of its process."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("door", ["backup", "documents"])
def test_a_download_that_nobody_reads_is_left(door: str, tmp_path: Path) -> None:
    async def main() -> None:
        config = BackendConfig(tmp_path / "data", port=0, admin_key="key", limits=ServerLimits(send_timeout=0.5))
        backend = await Backend.open(config)
        try:
            parts = backend.parts
            imports = Imports(parts.engine)
            await imports.tables({"texts": 10_001})
            for _ in range(12):
                await imports.insert("texts", [{"text": "x" * 900_000}])
            retention, engine = parts.retention, parts.engine

            def holds() -> bool:
                return retention.busy.locked() if door == "backup" else bool(engine._held)

            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", int(backend.url.rpartition(":")[2])))
                await until(lambda: not holds())
                head = f"GET /api/admin/{door} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Convex key\r\n\r\n"
                await loop.sock_sendall(client, head.encode())
                assert (await loop.sock_recv(client, 12)) == b"HTTP/1.1 200"
                await until(holds)
                await until(lambda: not holds())
        finally:
            await backend.close()

    asyncio.run(main())
