"""What a test's backend is made of: the parts of a real one, on an event loop that runs only while the test waits."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from nbreactive.engine.engine import Engine
from nbreactive.engine.engine_limits import EngineLimits
from nbreactive.engine.log import MemoryLog
from nbreactive.engine.row_index import RowIndex
from nbreactive.engine.scheduled import BY_STATE
from nbreactive.engine.upload_tokens import upload_key
from nbreactive.errors import DeployRefused, NotAllowed
from nbreactive.functions import Function
from nbreactive.functions.specs import FunctionSpec, ModuleSource, Origin
from nbreactive.runtime.loader import PACKAGE, SourceFinder
from nbreactive.runtime.storage import NOWHERE, URL
from nbreactive.services.actions import Actions
from nbreactive.services.blobs import Blobs
from nbreactive.services.deploys import Deployer, DeployRequest
from nbreactive.services.env import EnvironmentVariables, VariableChange, env_at
from nbreactive.services.files import Files
from nbreactive.services.folder import read_folder
from nbreactive.services.jobs import Jobs
from nbreactive.services.scheduled_jobs import ScheduledJobs
from nbreactive.services.scheduler import Scheduler
from nbreactive.testing.inline import InlineActions, InlineFunctions
from nbreactive.testing.sql import InlineSql
from nbreactive.testing.time import FrozenClock, SkippingLoop

T = TypeVar("T")
RUN: Final = "_testing:run"
"""The path under which the functions that a test makes up itself run."""
_INDEX_BYTES: Final = 1 << 30
_LIMITS: Final = EngineLimits(cache_bytes=0)
"""Results are not kept: what a query says may depend on the clock, which tests move at will."""


class Machine:
    """Engine, deployer, actions and scheduler of one test.

    Parameters
    ----------
    start
        What the clock says, in seconds since the epoch.
    """

    def __init__(self, start: float) -> None:
        self.clock = FrozenClock(start)
        self.body: Callable[[Any], Any] | None = None
        """What runs as ``RUN``."""
        self.settled: Callable[[], Coroutine[Any, Any, None]] | None = None
        """Awaited at the end of everything: live queries catch up."""
        self._loop = SkippingLoop()
        self._folder = tempfile.TemporaryDirectory(prefix="nbreactive-test-")
        self._going = False
        self._modules = {name: module for name, module in sys.modules.items() if _is_ours(name)}
        self._loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self._index = RowIndex.open(Path(self._folder.name) / "index", map_size=_INDEX_BYTES)
        self._index.trust()
        run = Function(lambda ctx: self.body(ctx) if self.body else None, "mutation", "system", name="run")
        self.functions = InlineFunctions(self._index, {RUN: run})
        self._log = MemoryLog()
        self.engine = await Engine.open(
            log=self._log, index=self._index, executor=self.functions, clock=self.clock, limits=_LIMITS
        )
        self._sql = InlineSql(self.engine, Path(self._folder.name))
        self.functions.select = self._sql.select
        self.deployer = Deployer(self.engine, self.functions)
        blobs = Blobs(Path(self._folder.name) / "files")
        key = upload_key(self.functions.cursor_key)
        self.files = Files(self.engine, blobs, key, url=lambda: env_at(self.engine).get(URL, NOWHERE))
        self.engine.keep_files = self.files.keep
        self._host = InlineActions(lambda: self.functions.program, self.clock.now_ns)
        self.actions = Actions(self.engine, cast("Any", self._host), lambda: env_at(self.engine))
        self.actions.files = self.files
        self.environment = EnvironmentVariables(lambda: self.engine)
        self._jobs = Jobs(self.engine, self.actions.run, self._runnable)
        self.jobs = ScheduledJobs(self.engine, self._jobs.changes, lambda: self.deployer.functions)
        self.actions.jobs = cast("Any", self.jobs)
        self._scheduler = Scheduler(self.engine, self._jobs)
        self._changed = asyncio.Event()
        self.engine.watch(BY_STATE, lambda _: self._changed.set())
        await self._scheduler.start()

    def close(self) -> None:
        """End, and leave the process as it was."""
        if self._loop.is_closed():
            return
        try:
            self._loop.run_until_complete(self._close())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
            self._folder.cleanup()
            sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, SourceFinder)]
            for name in [name for name in sys.modules if _is_ours(name)]:
                del sys.modules[name]
            sys.modules.update(self._modules)

    async def _close(self) -> None:
        await self._scheduler.stop()
        await self._host.close()
        await self._jobs.close()
        await self.engine.close()
        await self.files.close()
        self.functions.close()
        self._sql.close()
        self._index.close()
        await self._log.close()

    # ---- running -------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, with what follows from it."""
        if self._loop.is_closed():
            work.close()
            raise NotAllowed(
                "this backend is closed; use it inside of its `with` block, or of the test that asked for it"
            )
        if _loop_runs():
            work.close()
            raise NotAllowed(
                "a test's backend runs an event loop of its own, so it cannot be used where another one runs: write the"
                " test as a plain def; inside of functions use ctx.run_query and its kin"
            )
        return self._loop.run_until_complete(self._settling(work))

    async def _settling(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        finally:
            if self.settled is not None:
                await self.settled()

    async def deploy(self, modules: Sequence[ModuleSource], env: Mapping[str, str]) -> None:
        """Deploy modules and set environment variables."""
        if env:
            await self.environment.update([VariableChange(name, value) for name, value in env.items()])
        if modules:
            await self.deployer.deploy(DeployRequest(modules=list(modules), force=True), "test")

    # ---- time ----------------------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Move the clock; what is due on the way runs at its time."""
        target = self.clock.now_ns() + round(seconds * 1e9)
        await self.drain()
        while (due := self._next()) is not None and due <= target:
            await self._move(due)
            await self.drain()
        await self._move(target)

    async def finish(self, most: int) -> None:
        """Run scheduled functions, moving the clock to the time of each, until none is left."""
        await self.drain()
        for _ in range(most):
            due = self._next()
            if due is None:
                return
            await self._move(due)
            await self.drain()
        raise NotAllowed(
            f"after {most} steps functions still schedule functions; end that in the test, or let only some time pass"
            " with advance(seconds)"
        )

    async def drain(self) -> None:
        """Run the scheduled functions that are due, to their ends."""
        self._going = True
        try:
            while True:
                self._changed.clear()
                due = self._next()
                if (due is None or due > self.clock.now_ns()) and not self.jobs.listing("inProgress", 1):
                    return
                self._scheduler.wake()
                await self._changed.wait()
        finally:
            self._going = False

    def _next(self) -> int | None:
        """Return when the first pending job is due, in ns."""
        found = self.jobs.listing("pending", 1)
        # Exactly: the clock moved to a time that is only rounded to this one would not have reached it.
        return ceil(Fraction(found[0]["scheduledTime"]) * 1_000_000) if found else None

    async def _move(self, ns: int) -> None:
        seconds = (ns - self.clock.now_ns()) / 1e9
        if seconds > 0:
            self.clock.set(ns)
            self._loop.skipped += seconds
            for _ in range(3):  # timers that ring now, and what follows at once
                await asyncio.sleep(0)

    def _runnable(self) -> Mapping[str, FunctionSpec] | None:
        # Nothing begins by itself in the middle of a test: what is due waits until the test says so.
        return self.deployer.functions if self._going else None


def sources(modules: str | Path | Mapping[str, str] | None) -> list[ModuleSource]:
    """Return the modules of a functions folder, or those given as text by name."""
    if modules is None:
        return []
    if isinstance(modules, Mapping):
        return [ModuleSource(name, source, Origin("api")) for name, source in modules.items()]
    folder = Path(modules).resolve()
    if not folder.is_dir():
        raise DeployRefused(f"there is no functions folder {folder}; give its path, or the modules as a dict of texts")
    found, unreadable = read_folder(folder)
    if unreadable:
        raise DeployRefused("; ".join(unreadable.values()))
    return list(found.values())


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")
