"""Stands for the backend: tells what reached it, so that the tests can see what the proxy lets through."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path

from tornado import web, websocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets


class Echo(web.RequestHandler):
    """The request, as JSON."""

    def get(self) -> None:
        self.set_header("Set-Cookie", "theirs=1")
        self.set_header("X-Private", "of the backend")
        self.set_header("Cache-Control", "no-store")
        self.finish(
            {
                "method": self.request.method,
                "uri": self.request.uri,
                "headers": dict(self.request.headers),
                "body": self.request.body.decode(),
                "pid": os.getpid(),
            }
        )

    post = get


class Big(web.RequestHandler):
    """Many bytes, of a length that is not said."""

    async def get(self) -> None:
        for _ in range(int(self.get_argument("chunks"))):
            self.write(b"x" * 65536)
            await self.flush()


class Refuse(web.RequestHandler):
    def post(self) -> None:
        self.set_status(409)
        self.finish({"code": "StaleModule", "message": "somebody was faster"})


class Die(web.RequestHandler):
    def post(self) -> None:
        print("dying as told", file=sys.stderr, flush=True)
        os._exit(3)


class Sync(websocket.WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True

    def get_compression_options(self) -> dict[str, object]:
        return {}

    def open(self, *args: str) -> None:
        self.write_message(json.dumps({"headers": dict(self.request.headers), "uri": self.request.uri}))

    def on_message(self, message: str | bytes) -> None:
        if message == "close":
            self.close(4001, "as told")
        else:
            self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    folder = Path(sys.argv[sys.argv.index("--data") + 1])
    (folder / "arguments.json").write_text(json.dumps(sys.argv[1:]))
    (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
    if (folder / "broken").exists():
        print("the data folder is broken, on purpose", file=sys.stderr)
        sys.exit(4)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def watch_stdin() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch_stdin, daemon=True).start()
    app = web.Application(
        [
            (r"/version", Echo),
            (r"/api/big", Big),
            (r"/api/refuse", Refuse),
            (r"/api/die", Die),
            (r"/api/(?:([^/]+)/)?sync", Sync),
            (r"/api/.*", Echo),
        ]
    )
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(app).add_sockets(sockets)
    print(f"ready http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    (folder / f"drained-{os.getpid()}").write_text("")


if __name__ == "__main__":
    asyncio.run(main())
