"""A backend of our own, where there is no Jupyter server: VS Code, Colab, marimo, scripts.

One per data folder: whoever comes first starts ``nbreactive serve`` and everybody after finds it through the info
file that a backend keeps in its folder. It ends by itself when nobody has been connected for a while.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout as LockTimeout

from nbreactive.client.target import Target
from nbreactive.errors import NBReactiveError, NotConnected

IDLE = 600
"""Seconds without any connection after which a backend that was started here ends."""
_START = 30.0
_children: list[subprocess.Popen[Any]] = []
"""Handles of what was started here: a Popen that is collected while its process runs warns, and reaps nothing."""


async def start_or_reuse(
    data: Path | None = None, functions: Path | None = None, *, idle: float = IDLE, deployment: str | None = None
) -> Target:
    """Return the backend of a data folder (default: ``.nbreactive`` here), started if none is running.

    Each deployment has folders of its own: ``.nbreactive-staging``, ``reactive-staging``.
    """
    suffix = f"-{deployment}" if deployment and deployment != "default" else ""
    folder = (data or Path.cwd() / f".nbreactive{suffix}").resolve()
    found = await running(folder)
    if found is not None:
        return found
    return await _start(folder, functions or folder.parent / f"reactive{suffix}", idle, deployment or "default")


async def _start(folder: Path, functions: Path, idle: float, deployment: str) -> Target:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    lock = FileLock(folder / "starting.lock")
    try:
        await asyncio.to_thread(lock.acquire, timeout=_START)
    except LockTimeout:
        raise NotConnected(f"Another process has been starting a backend in {folder} for {_START:g} s.") from None
    try:
        found = await running(folder)  # somebody else was first
        if found is not None:
            return found
        return await _launch(folder, functions, idle, deployment)
    finally:
        lock.release()


async def _launch(folder: Path, functions: Path, idle: float, deployment: str) -> Target:
    log = folder / "backend.log"
    command = [
        sys.executable, "-m", "nbreactive", "serve", str(functions), "--data", str(folder),
        "--host", "127.0.0.1", "--port", "0", "--idle-exit", str(idle), "--deployment", deployment,
    ]  # fmt: skip
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: ASYNC220 (it outlives this loop; starting it takes milliseconds)
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder.parent,
            env={
                name: value
                for name, value in os.environ.items()
                if name not in ("NBREACTIVE_EXIT_WITH_STDIN", "NBREACTIVE_PROXY_SECRET")
            },
            **_detached(),
        )
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        found = await running(folder)
        if found is not None:
            _children.append(child)
            return found
        if child.poll() is not None:
            raise NotConnected(f"The backend could not start in {folder}:\n{_tail(log)}")
        await asyncio.sleep(0.05)
    child.terminate()
    raise NotConnected(f"The backend in {folder} did not become ready within {_START:g} s:\n{_tail(log)}")


async def running(folder: Path) -> Target | None:
    """Return the backend that the info file names, if it answers."""
    try:
        info = json.loads((folder / "backend.json").read_text())
        url = str(info["url"]).rstrip("/")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    target = Target(url, "standalone", {}, "a backend of this folder", str(folder))
    key = _admin_key(folder)
    if key:
        target.headers["Authorization"] = f"Convex {key}"
    try:
        target.health = await target.fetch_json("GET", "/api/admin/status", within=5.0)
    except NBReactiveError:
        return None  # left behind by a backend that was killed
    return target


def _admin_key(folder: Path) -> str:
    try:
        return (folder / "admin.key").read_text().strip()
    except OSError:
        return ""


def _tail(log: Path) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-12:])
    except OSError:
        return "(no log)"


def _detached() -> dict[str, Any]:
    """Keep the backend out of this process's group: an interrupted cell must not stop it, nor the end of the kernel."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def children() -> list[subprocess.Popen[Any]]:
    """Return the backends that this process has started."""
    return list(_children)
