"""Where a command finds its deployment: a URL, a data folder that is being served, or one that nobody serves."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from nbreactive.client.target import http_error
from nbreactive.errors import DataFolderError, NotConnected, Refused
from nbreactive.server.data_folder import DataFolder, running_backend

_KEY = "NBREACTIVE_ADMIN_KEY"
# Jobs that are due would begin, and be cut short when the command ends
_OPTIONS = ("--port", "0", "--workers", "1", "--no-jobs")


@dataclass(frozen=True)
class Door:
    """A backend that answers, and the key that opens it."""

    url: str
    key: str

    def open(
        self,
        path: str,
        body: bytes | IO[bytes] | None = None,
        kind: str | None = "application/msgpack",
        *,
        size: int | None = None,
        method: str | None = None,
    ) -> IO[bytes]:
        """Send a request (a POST if there is a body) and return the answer, to be read and closed.

        A body that is a file has ``size`` bytes.
        """
        headers = {"Authorization": f"Convex {self.key}"} | ({"Content-Type": kind} if kind is not None else {})
        headers |= {"Content-Length": str(size)} if size is not None else {}
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310 - http(s), see `door`
        try:
            return urllib.request.urlopen(request)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                raise http_error(error.code, error.read(), self.url) from None
        except OSError as error:
            raise NotConnected(f"nothing answers at {self.url}: {getattr(error, 'reason', error)}") from None

    def ask(self, path: str, body: Any = None, *, packed: bool = False) -> Any:
        """Send a request with JSON (or msgpack) and return the JSON of the answer."""
        data = None if body is None else msgspec.msgpack.encode(body) if packed else json.dumps(body).encode()
        with self.open(path, data, "application/msgpack" if packed else "application/json") as answer:
            return msgspec.json.decode(answer.read())


def add_place(parser: Any, *, what: str = "data folder or URL of the deployment") -> None:
    """Add the arguments that name a deployment."""
    parser.add_argument("--at", metavar="DATA|URL", default=".nbreactive", help=f"{what} (default: .nbreactive)")
    add_key(parser)


def add_key(parser: Any) -> None:
    """Add the argument that opens a deployment."""
    parser.add_argument("--admin-key", metavar="KEY", help=f"for a URL (default: ${_KEY})")


def door(place: str, admin_key: str | None) -> Door | None:
    """Return the backend at a place; None for a data folder that nobody serves."""
    key = admin_key or os.environ.get(_KEY)
    if place.startswith(("http://", "https://")):
        if not key:
            raise Refused(f"{place} asks for an admin key: give it with --admin-key or ${_KEY}")
        return Door(place.rstrip("/"), key)
    folder = Path(place)
    if not folder.is_dir():
        raise DataFolderError(f"{place} is neither a URL nor a folder")
    running = running_backend(folder)
    if running is None:
        return None
    stored = folder / "admin.key"
    if key is None and stored.exists():
        key = stored.read_text("utf-8").strip()
    found = Door(running.url, key or "")
    try:
        found.ask("/api/admin/status")
    except NotConnected:
        return None  # it was killed
    return found


@contextlib.contextmanager
def own_folder(place: str) -> Generator[Path]:
    """Own a data folder that nobody serves, until the end of the block."""
    folder = DataFolder(Path(place))
    try:
        yield folder.path
    finally:
        folder.close()


@contextlib.contextmanager
def served(place: str, admin_key: str | None) -> Generator[Door]:
    """Give the backend at a place; a folder that nobody serves is served until the end of the block."""
    found = door(place, admin_key)
    if found is not None:
        yield found
        return
    command = [sys.executable, "-m", "nbreactive", "serve", "--data", place, *_OPTIONS]
    env = os.environ | {"NBREACTIVE_EXIT_WITH_STDIN": "1"} | ({_KEY: admin_key} if admin_key else {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            if len(line) != 2 or line[0] != "ready":
                raise DataFolderError(f"the data folder {place} cannot be opened; what was said above tells why")
            key = admin_key or os.environ.get(_KEY) or (Path(place) / "admin.key").read_text("utf-8").strip()
            yield Door(line[1], key)
        finally:
            process.stdin.close()
            process.wait(60)
