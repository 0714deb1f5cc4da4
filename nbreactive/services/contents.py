"""Contents that documents name, or are about to: kept before the commit, and collected when none has named them for long.

Whoever is about to name a content holds it meanwhile. One that was new and came to be named by nobody goes at once; all others
go in a round of retention, when they have been named by no document for as long as history is kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from nbreactive.engine.transactions import NewFile
from nbreactive.errors import InvalidValue
from nbreactive.services.blobs import Blobs
from nbreactive.services.receiving import Receiving, too_large

T = TypeVar("T")
_THREADS: Final = 8
_NOTES: Final = "unreferenced.json"


class _Pin:
    """A content that somebody is about to name in a document."""

    __slots__ = ("count", "lock", "made", "named")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.count = 0
        self.made = False
        """Whether it was not there before."""
        self.named = False
        """Whether a document names it now."""


class Contents:
    """The contents of one deployment, off the event loop.

    Parameters
    ----------
    blobs
        Where they are.
    most
        Bytes of the largest.
    """

    def __init__(self, blobs: Blobs, most: int) -> None:
        self.blobs = blobs
        self.most = most
        self._threads = ThreadPoolExecutor(_THREADS, "files")
        self._pins: dict[str, _Pin] = {}
        self._fresh: set[str] | None = None
        """Those that were named since a sweep has begun to look."""

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what blocks, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def open(self) -> None:
        """Delete what an earlier process has left half written."""
        await self.run(self.blobs.clean)

    async def close(self) -> None:
        """End."""
        await asyncio.to_thread(self._threads.shutdown)

    async def receive(self, size: int | None = None, most: int | None = None) -> Receiving:
        """Begin to take a content; at most ``most`` bytes, and no more than the largest file has."""
        most = self.most if most is None else min(most, self.most)
        if size is not None and size > most:
            raise too_large(size, most)
        return Receiving(self.run, await self.run(self.blobs.receive, size or 0), most)

    @asynccontextmanager
    async def keep(self, files: Sequence[NewFile]) -> AsyncGenerator[None]:
        """Keep what a mutation stores, while it is committed."""
        coming: list[tuple[str, Receiving]] = []
        try:
            for file in files:
                receiving = await self.receive(len(file.data))
                coming.append((file.sha256, receiving))
                await receiving.write(file.data)
                if await receiving.done() != file.sha256:
                    raise InvalidValue("a worker sent a file with the checksum of another; nothing was written")
            async with self.held(coming):
                yield
        finally:
            for _, receiving in coming:
                await receiving.discard()

    @asynccontextmanager
    async def held(self, coming: Sequence[tuple[str, Receiving]]) -> AsyncGenerator[None]:
        """Keep what was received, while a document that names it is committed."""
        pinned: list[str] = []
        named = False
        try:
            for sha256, receiving in coming:
                pin = self._pins.setdefault(sha256, _Pin())
                pin.count += 1
                pinned.append(sha256)
                async with pin.lock:
                    pin.made |= await self.run(self.blobs.keep, receiving.taken(), sha256)
            yield
            named = True
            if self._fresh is not None:
                self._fresh.update(pinned)
        finally:
            for sha256 in pinned:
                await self._unpin(sha256, named=named)

    async def _unpin(self, sha256: str, *, named: bool) -> None:
        pin = self._pins[sha256]
        pin.named |= named
        async with pin.lock:
            if pin.count == 1 and pin.made and not pin.named:
                await self.run(self.blobs.remove, sha256)
                pin.made = False
        pin.count -= 1
        if not pin.count:
            del self._pins[sha256]

    async def sweep(self, keep: float, named: Callable[[], Awaitable[set[str]]]) -> int:
        """Delete contents that no document has named for ``keep`` seconds; return how many.

        ``named`` finds those that documents name.
        """
        self._fresh = set()
        try:
            there = {sha256 for sha256, _ in await self.run(lambda: list(self.blobs.names()))}
            unnamed = there - await named()
            now = time.time()
            noted = await self.run(self._notes)
            since = {sha256: min(noted.get(sha256, now), now) for sha256 in unnamed}
            gone = 0
            for sha256 in [sha256 for sha256, at in since.items() if now - at >= keep]:
                if sha256 in self._pins or sha256 in self._fresh:
                    continue
                pin = self._pins.setdefault(sha256, _Pin())
                pin.count += 1
                try:
                    async with pin.lock:
                        if pin.count == 1 and sha256 not in self._fresh:
                            await self.run(self.blobs.remove, sha256)
                            del since[sha256]
                            gone += 1
                finally:
                    pin.count -= 1
                    if not pin.count:
                        self._pins.pop(sha256, None)
            if since != noted:
                await self.run(self._note, since)
            return gone
        finally:
            self._fresh = None

    def _notes(self) -> dict[str, float]:
        try:
            noted: Any = json.loads((self.blobs.folder / _NOTES).read_bytes())
            return {str(sha256): float(at) for sha256, at in noted.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # the time begins anew

    def _note(self, since: Mapping[str, float]) -> None:
        file = self.blobs.folder / _NOTES
        draft = file.with_suffix(f".{os.getpid()}.new")
        draft.write_text(json.dumps(since))
        draft.replace(file)
