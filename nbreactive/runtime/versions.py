"""The versions of the code that have processes: the one in use, those that are prepared, those that drain.

Deploying is three steps: :meth:`Versions.prepare` loads a bundle in processes of its own, :meth:`Versions.activate` gets
its workers ready, :meth:`Versions.switch` makes it the one that new calls run on, which is a pointer only. Calls on the
old version end normally, then its processes end.

A group has one worker for each call that may run at a time, a spare, and one more for each call that takes long; what
is missing is started, what is too much is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from nbreactive.errors import DeployRefused, Unavailable
from nbreactive.functions.specs import Bundle, Manifest
from nbreactive.runtime.frames import Reply, Setup
from nbreactive.runtime.group import Group, Method
from nbreactive.runtime.handles import Worker

_EXTRA_WORKERS: Final = 6
_GIVE_UP_AFTER: Final = 3


class Versions:
    """Groups of processes by version.

    Parameters
    ----------
    setup
        What every process has to know; the bundle is put in.
    workers
        How many calls run at a time.
    method
        How processes are started.
    on_ready, on_reply, on_end
        Called when a worker can take its first call, when it answers, and when it is gone.
    on_lost
        Called with the workers that were busy when they all were lost at once.
    """

    def __init__(
        self,
        setup: Setup,
        workers: int,
        method: Method,
        *,
        on_ready: Callable[[Worker], None],
        on_reply: Callable[[Worker, Reply], None],
        on_end: Callable[[Worker], None],
        on_lost: Callable[[list[Worker]], None],
    ) -> None:
        self._setup = setup
        self._workers = workers
        self._method: Method = method
        self._on_ready = on_ready
        self._on_reply = on_reply
        self._on_end = on_end
        self._on_lost = on_lost
        self.current: Group | None = None
        self._prepared: dict[int, Group] = {}
        """The one in use included."""
        self._retired: set[Group] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def draining(self) -> int:
        """How many versions only end their calls."""
        return len(self._retired)

    def all(self) -> set[Group]:
        """Every group that has processes."""
        return {*self._prepared.values(), *self._retired, *((self.current,) if self.current is not None else ())}

    # ---- from one version to the next ----------------------------------------------------------------------

    async def prepare(self, bundle: Bundle) -> Manifest:
        """Load a bundle beside the one in use, or raise :class:`~nbreactive.errors.DeployRefused` with its issues."""
        if self._closing:
            raise _stopping()
        group = self._new_group(bundle)
        try:
            manifest = await group.load()
        except DeployRefused:
            await group.close()
            raise
        except BaseException:
            self._spawn(group.close())
            raise
        self.drop(bundle.version)
        self._prepared[bundle.version] = group
        self.fill(group)
        return manifest

    async def activate(self, version: int) -> None:
        """Wait until the workers of a prepared version can take calls; they do not get any yet."""
        group = self._prepared[version]
        self.fill(group)
        while not group.idle and not group.busy:
            if self._closing:
                raise _stopping()
            if group.failures >= _GIVE_UP_AFTER:
                raise Unavailable(f"no function worker of version {version} starts; see the log of the backend")
            await asyncio.sleep(0.001)

    def switch(self, version: int) -> None:
        """From now on, new calls run on ``version``; running ones end on theirs."""
        if self._closing:  # nothing will be called any more
            return
        group = self._prepared[version]
        before, self.current = self.current, group
        if before is not None and before is not group:
            # It stays prepared, should the deploy fail after all, until the next one takes its place.
            for other in list(self._prepared):
                if self._prepared[other] is not group and self._prepared[other] is not before:
                    self.drop(other)
            if self._prepared.get(before.version) is not before:  # The same version was prepared again.
                self._retired.add(before)
            self.trim(before)

    def drop(self, version: int) -> None:
        """End a prepared version that is not in use; calls that still run on it end normally."""
        group = self._prepared.get(version)
        if group is None or group is self.current:
            return
        del self._prepared[version]
        self._retired.add(group)
        self.trim(group)

    def _new_group(self, bundle: Bundle) -> Group:
        setup = msgspec.structs.replace(self._setup, bundle=bundle)
        return Group(setup, self._method, self._on_ready, self._on_reply, self._on_end, self._lost)

    # ---- as many workers as are needed ---------------------------------------------------------------------

    def fill(self, group: Group) -> None:
        """Start as many workers as are missing."""
        known = group is self.current or self._prepared.get(group.version) is group
        if self._closing or group.closed or not known:
            return
        for _ in range(self._wanted(group) - group.live):
            group.start_worker()

    def trim(self, group: Group) -> None:
        """End workers that are not needed any more, and a retired group once it is idle."""
        if group in self._retired:
            for worker in [*group.idle, *group.starting]:
                group.discard(worker)
            if not group.busy:
                self._retired.discard(group)
                self._spawn(group.close())
        else:
            while group.idle and group.live > self._wanted(group):
                group.discard(group.idle[0])

    def settle(self, group: Group) -> None:
        """End what is too much after a call; nearly always there is nothing."""
        if group is not self.current or group.live > self._workers + 1:
            self.trim(group)

    def replace(self, group: Group) -> bool:
        """Make up for a worker that is gone; False if workers in use end before they are ready, again and again."""
        if group.failures:
            delay = min(0.05 * 2**group.failures, 5.0)
            asyncio.get_running_loop().call_later(delay, self.fill, group)
        else:
            self.fill(group)
        self.trim(group)
        return group is not self.current or group.failures < _GIVE_UP_AFTER

    def _wanted(self, group: Group) -> int:
        return self._workers + 1 + min(group.stuck, _EXTRA_WORKERS)

    def _lost(self, group: Group) -> None:
        self._spawn(self._load_again(group))

    async def _load_again(self, lost: Group) -> None:
        """The zygote of a group is gone, and its workers with it: load the same code again."""
        busy = [*lost.busy]
        await lost.close()
        self._on_lost(busy)
        delay = 0.05
        while not self._closing and (lost is self.current or self._prepared.get(lost.version) is lost):
            group = self._new_group(lost.setup.bundle)
            try:
                await group.load()
            except DeployRefused:
                await group.close()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
                continue
            self._prepared[lost.version] = group
            if self.current is lost:
                self.current = group
            self.fill(group)
            return

    # ---- the end -------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End all processes."""
        self._closing = True
        await asyncio.gather(*(group.close() for group in self.all()))
        while self._tasks:
            await asyncio.gather(*self._tasks)
        self.current = None
        self._prepared.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _stopping() -> Unavailable:
    return Unavailable("the backend is stopping; deploy again when it has started")
