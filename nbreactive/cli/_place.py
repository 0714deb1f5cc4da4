"""Where a command finds its deployment: a URL, a data folder that is being served, or one that nobody serves."""

from __future__ import annotations

import argparse
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
from nbreactive.errors import DataFolderError, NBReactiveError, NotConnected, Refused
from nbreactive.server.data_folder import DataFolder, running_backend
from nbreactive.server.reset import unfinished

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
                said = error.read()
            if error.code == 404:
                self._check_deployment()
            raise http_error(error.code, said, self.url) from None
        except OSError as error:
            raise NotConnected(f"nothing answers at {self.url}: {getattr(error, 'reason', error)}") from None

    def _check_deployment(self) -> None:
        """Say which deployments there are, if the address ends with the name of one that is not among them."""
        root, _, name = self.url.rpartition("/")
        if root.endswith("/"):  # http://host
            return
        try:
            known = Door(root, self.key).ask("/api/admin/status")["deployments"]
        except NBReactiveError:
            return  # it does not tell those without a key of its own
        if name not in known:
            raise NotConnected(
                f"{root} has no deployment {name!r}; it has: {', '.join(known)} (the first one is {root})"
            )

    def ask(self, path: str, body: Any = None, *, packed: bool = False) -> Any:
        """Send a request with JSON (or msgpack) and return the JSON of the answer."""
        data = None if body is None else msgspec.msgpack.encode(body) if packed else json.dumps(body).encode()
        with self.open(path, data, "application/msgpack" if packed else "application/json") as answer:
            return msgspec.json.decode(answer.read())


def add_place(parser: Any, *, what: str = "data folder or URL of the deployment", inner: bool = False) -> None:
    """Add the arguments that name a deployment; ``inner`` ones keep what the command before them was given."""
    default = argparse.SUPPRESS if inner else ".nbreactive"
    parser.add_argument("--at", metavar="DATA|URL", default=default, help=f"{what} (default: .nbreactive)")
    add_key(parser, inner=inner)


def add_key(parser: Any, *, inner: bool = False) -> None:
    """Add the argument that opens a deployment."""
    default = argparse.SUPPRESS if inner else None
    parser.add_argument("--admin-key", metavar="KEY", default=default, help=f"for a URL (default: ${_KEY})")


def door(place: str, admin_key: str | None) -> Door | None:
    """Return the backend at a place; None for a data folder that nobody serves."""
    if place.startswith(("http://", "https://")):
        key = admin_key or os.environ.get(_KEY)
        if not key:
            raise Refused(f"{place} asks for an admin key: give it with --admin-key or ${_KEY}")
        return Door(place.rstrip("/"), key)
    folder = Path(place)
    if not folder.is_dir():
        raise DataFolderError(
            f"there is no data folder {place}: `nbreactive dev` makes one and serves it, in another terminal; --at names"
            " another folder, or the URL of a server"
        )
    running = running_backend(folder)
    if running is None:
        if not (folder / "log").is_dir() and not unfinished(folder):  # to open it would make it one
            raise DataFolderError(
                f"{place} is not a data folder: there is no log in it; `nbreactive dev` and `nbreactive serve --data` make"
                " one, `nbreactive restore` fills one from a backup"
            )
        return None
    return _opened(running.url, [admin_key] if admin_key else _keys_of(folder))


def _keys_of(folder: Path) -> list[str]:
    """Return a folder's own key, and that of the environment, with which it may have been served instead."""
    stored = folder / "admin.key"
    own = stored.read_text("utf-8").strip() if stored.exists() else ""
    return [key for key in (own, os.environ.get(_KEY, "")) if key]


def _opened(url: str, keys: list[str]) -> Door | None:
    """Return the backend, opened by the first of the keys that does; None if it was killed."""
    refused: Refused | None = None
    for key in keys or [""]:
        try:
            found = Door(url, key)
            found.ask("/api/admin/status")
        except Refused as error:
            refused = refused or error
        except NotConnected:
            return None
        else:
            return found
    assert refused is not None
    raise refused


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
    env = {name: value for name, value in os.environ.items() if name != _KEY}  # it is for URLs: the folder has its own
    env |= {"NBREACTIVE_EXIT_WITH_STDIN": "1"} | ({_KEY: admin_key} if admin_key else {})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            if len(line) != 2 or line[0] != "ready":
                raise DataFolderError(f"the data folder {place} cannot be opened; what was said above tells why")
            key = admin_key or (Path(place) / "admin.key").read_text("utf-8").strip()
            yield Door(line[1], key)
        finally:
            process.stdin.close()
            process.wait(60)
