"""A live connection as the protocol has it, spoken by hand, on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from typing import Any, Self

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect


class Live:
    """Follows one query.

    Attributes
    ----------
    values
        What the query has given so far.
    closed
        Set when the server has ended the connection.
    """

    def __init__(self, url: str, path: str, headers: dict[str, str]) -> None:
        self.values: list[Any] = []
        self.closed = threading.Event()
        self._request = HTTPRequest(url, headers=headers)
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._follow(),))
        self._thread.start()

    async def _follow(self) -> None:
        self._leave = asyncio.Event()
        connection = await websocket_connect(self._request, ping_interval=1, ping_timeout=1)
        try:
            connect = {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0}
            await connection.write_message(json.dumps(connect | {"lastCloseReason": "InitialConnect"}))
            add = {"type": "Add", "queryId": 0, "udfPath": self._path, "args": [{}]}
            change = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}
            await connection.write_message(json.dumps(change))
            leaving = asyncio.ensure_future(self._leave.wait())
            while True:
                reading = asyncio.ensure_future(connection.read_message())
                await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    connection.close()
                    await reading
                    return
                frame = reading.result()
                if frame is None:
                    leaving.cancel()
                    return
                for found in json.loads(frame).get("modifications", []):
                    self.values.append(found.get("value", found))
        finally:
            connection.close()
            self.closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.closed.is_set():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self._loop.close()
