"""The floors: what the bare parts can do on this machine, now."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import tornado.websocket

_COMMITS = 300
_BROADCASTS = 40

_BROADCASTER = """
import asyncio, sys, tornado.web, tornado.websocket, tornado.httpserver, tornado.netutil
sockets, payload = [], "x"
class Echo(tornado.websocket.WebSocketHandler):
    def get_compression_options(self): return {}
    def open(self): self.set_nodelay(True); sockets.append(self)
    def on_message(self, message):
        global payload
        if message.startswith("payload:"): payload = message[8:]; self.write_message("ok"); return
        for number, socket in enumerate(sockets): socket.write_message(payload + message)
async def main():
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/", Echo)], websocket_max_message_size=1 << 26))
    listening = tornado.netutil.bind_sockets(0, "127.0.0.1"); server.add_sockets(listening)
    print(listening[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Commits:
    """The floor of writes: durable one-row commits of bare DuckDB, one connection.

    A machine is not equally fast all the time, so some are taken before and after each slice of what they are compared with.
    """

    def __init__(self) -> None:
        self.taken: list[float] = []

    def sample(self) -> None:
        """Take some."""
        self.taken += duckdb_commits()

    @property
    def seconds(self) -> float:
        """Median of one commit."""
        return median(self.taken)

    @property
    def per_second(self) -> float:
        """Commits per second."""
        return len(self.taken) / sum(self.taken)


def duckdb_commits() -> list[float]:
    """Seconds of durable one-row commits of bare DuckDB."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        con = duckdb.connect(str(Path(folder) / "floor.duckdb"))
        con.execute("CREATE TABLE messages (id BIGINT, author VARCHAR, body VARCHAR, ts DOUBLE)")
        taken: list[float] = []
        for number in range(_COMMITS):
            start = time.perf_counter()
            con.execute("INSERT INTO messages VALUES (?, ?, ?, ?)", [number, "floor", "hello there", start])
            taken.append(time.perf_counter() - start)
        con.close()
    return taken[_COMMITS // 10 :]


async def tornado_broadcast(payload: str, sockets: int) -> float:
    """Median seconds until the last of ``sockets`` has a broadcast of ``payload`` from a bare tornado server."""
    child = subprocess.Popen([sys.executable, "-c", _BROADCASTER], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        url = f"ws://127.0.0.1:{child.stdout.readline().strip()}/"
        clients = [
            await tornado.websocket.websocket_connect(url, compression_options={}, max_message_size=1 << 26)
            for _ in range(sockets)
        ]
        await clients[0].write_message("payload:" + payload)
        await clients[0].read_message()
        taken: list[float] = []
        for number in range(_BROADCASTS):
            start = time.perf_counter()
            await clients[0].write_message(str(number))
            await asyncio.gather(*(client.read_message() for client in clients))
            taken.append(time.perf_counter() - start)
        for client in clients:
            client.close()
    finally:
        child.terminate()
        child.wait()
    return median(taken[4:])
