"""The backend's side of store.duckdb: what can be asked of the columns process.

It is kept running and up to date by :mod:`nbreactive.columns._kept`. Requests of which a process died are asked again of the
next one (:mod:`nbreactive.columns._turns`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from nbreactive.columns import _frames as frames
from nbreactive.columns._child import Child, ChildDied
from nbreactive.columns._kept import KeptProcess, ReadLog
from nbreactive.columns.documents import DocumentStream
from nbreactive.engine.transactions import Write
from nbreactive.errors import ProtocolError, SqlTimeout, Unavailable
from nbreactive.values.limits import SQL_BYTES, SQL_SECONDS

__all__ = ["Columns", "DocumentStream", "ReadLog"]

T = TypeVar("T")
R = TypeVar("R")

EXPORT_SECONDS = 3600.0

_GRACE = 2.0
"""Seconds for which a statement may go on after it was interrupted; then the process is killed."""


class Selected(msgspec.Struct, frozen=True):
    """The result of a statement."""

    described: frames.Described
    data: bytes
    """Its rows: an Arrow IPC stream, or packed."""


class Columns(KeptProcess):
    """store.duckdb, as the backend has it; made as its base is."""

    async def wait(self, ts: int, seconds: float = 30) -> None:
        """Wait until all that was fed up to ``ts`` is applied; Unavailable if that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._ask(frames.Reach(ts))
        except TimeoutError:
            why = self._why or "it is catching up"
            raise Unavailable(f"store.duckdb is more than {seconds:g} s behind ({why}); try again later") from None

    # ---- asking ------------------------------------------------------------------------------------------------------

    async def sql(
        self,
        text: str,
        params: bytes = b"",
        *,
        at: int | None = None,
        own: Sequence[Write] = (),
        seconds: float = SQL_SECONDS,
        max_bytes: int = SQL_BYTES,
        strict: bool = False,
        only: Sequence[str] | None = None,
        earlier: bool = True,
        packed: bool = False,
    ) -> Selected:
        """Run a SELECT.

        Parameters
        ----------
        text
            The statement.
        params
            Packed: the values of its ``$name``.
        at
            The timestamp that it sees: durable, and fed. None: what is applied.
        own
            Writes that are not committed and that it sees besides.
        seconds
            How long it may run.
        max_bytes
            The longest result.
        strict
            Refuse what gives something else each time.
        only
            The user's tables that it may read; None: all.
        earlier
            Whether it may read earlier times.
        packed
            The data is to be the rows, packed as lists of values, instead of Arrow.

        Raises
        ------
        NBReactiveError
            SqlError, NotAllowed, SqlTimeout, LimitExceeded: it is wrong, or takes too much. Unavailable.
        """
        request = frames.Statement(
            text, params, at, own, seconds, max_bytes, strict, only=only, packed=packed, earlier=earlier
        )
        described, *parts = await self.statement(request, seconds, at)
        if not isinstance(described, frames.Described):
            raise ProtocolError(f"the columns process answered {type(described).__name__} to Statement")
        return Selected(described, b"".join(part.data for part in parts if isinstance(part, frames.Part)))

    async def stream(
        self, text: str, params: bytes = b"", *, at: int, seconds: float = EXPORT_SECONDS
    ) -> AsyncGenerator[bytes]:
        """Run a SELECT and yield its rows, however many, as pieces of an Arrow IPC stream, as fast as they are taken.

        Raises
        ------
        SqlError, NotAllowed, SqlTimeout
            It is wrong, or takes too long. Unavailable: the process has ended; what came is not whole.
        """
        await self.wait(at)
        child = await self._running()
        request = frames.Statement(text, params, at, (), seconds, 1 << 62)
        try:
            async for reply in self._exchange(child, request):
                if isinstance(reply, frames.Part):
                    yield reply.data
        except ChildDied as error:
            self._died(child, error)
            raise Unavailable("the process that runs SQL has ended; try again") from None

    async def check(self, text: str) -> frames.Checked:
        """Say what a statement is about; raises as :meth:`sql` does if it may not run."""
        return _only(await self._ask(frames.Check(text)), frames.Checked)

    async def live(self, request: frames.Live) -> frames.LiveResult:
        """Bring the result of a live statement to a timestamp; raises as :meth:`sql` does."""
        # What is brought forward by changes need not be applied before
        at = request.at if request.base is None else None
        return _only(await self.statement(request, request.seconds, at), frames.LiveResult)

    async def explain(self, request: frames.Explain) -> frames.Explained:
        """Say how a live statement is kept up to date."""
        return _only(await self.statement(request, request.seconds, request.at), frames.Explained)

    async def statement(self, request: frames.Request, seconds: float, at: int | None = None) -> list[frames.Reply]:
        """Ask what runs a user's SQL, and return the replies without the End.

        Parameters
        ----------
        request
            It is interrupted in the process; if it does not end then, the process is killed, and others ask again.
        seconds
            When that is.
        at
            A timestamp that must be applied, or be on its way to the process.
        """
        if at is not None and at > self.applied:
            await self.wait(at)  # beforehand: catching up is not held against the statement
        for attempt in (1, 2):
            async with self._turns.take(alone=attempt == 2):
                child, late = await self._running(), False

                def kill(child: Child = child) -> None:
                    nonlocal late
                    late = True
                    child.kill()

                timer = asyncio.get_running_loop().call_later(seconds + _GRACE, kill)
                try:
                    return [reply async for reply in self._exchange(child, request)]
                except ChildDied as error:
                    self._died(child, error)
                    if late:
                        raise SqlTimeout(
                            f"the SQL statement took longer than {seconds:g} s and was ended; read less, or aggregate"
                            " earlier"
                        ) from None
                finally:
                    timer.cancel()
        raise Unavailable(
            f"the process that runs SQL ended twice while it ran this statement ({self._why}); read less at once"
        )

    async def rows(self, table: str, at_least: int = 0) -> bytes:
        """Return the typed table, oldest documents first, as an Arrow IPC stream.

        Parameters
        ----------
        table
            The user's name of the table.
        at_least
            Wait until this ts is applied.
        """
        await self.wait(at_least)
        return b"".join(part.data for part in await self._ask(frames.Rows(table)) if isinstance(part, frames.Part))

    async def documents(self, consume: Callable[[DocumentStream], T], *, at: int = 0) -> T:
        """Call ``consume`` with all documents, in a thread, and return its result; with ``at``, as they were then.

        If the process dies on the way, ``consume`` is called again, with a new stream; what it did before must not
        count.
        """

        def run(child: Child) -> T:
            with contextlib.closing(child.stream(frames.Documents(at))) as replies:
                first = next(replies)
                if not isinstance(first, frames.Applied):
                    raise ProtocolError(f"the columns process answered {type(first).__name__} to Documents")
                return consume(DocumentStream(first.ts, replies))

        return await self._again(lambda child: asyncio.to_thread(run, child))

    async def inspect(self, upto: int) -> frames.Inspection:
        """Look at everything that is stored; documents as of ``upto``."""
        return _only(await self._ask(frames.Inspect(upto)), frames.Inspection)

    async def span(self, at: int) -> frames.Span:
        """Return from when on history is whole, and the last commit by ``at``, which is applied."""
        return _only(await self._ask(frames.Past(at)), frames.Span)

    async def versions(self, wanted: Sequence[tuple[int, bytes, int]]) -> frames.Versions:
        """Return documents (table, id) at a timestamp of theirs."""
        asked = [frames.Version(*one) for one in wanted]
        return _only(await self._ask(frames.Find(asked)), frames.Versions)

    async def trim(self, horizon: int) -> int:
        """Drop versions that were replaced or deleted by ``horizon``, which is applied; return how many.

        If most of the file is free then, the process starts again and writes it anew; meanwhile nothing can be asked.
        """
        done = _only(await self._ask(frames.Trim(horizon)), frames.Trimmed)
        if done.wasteful and done.versions and not self._closing:
            self._rewriting = True
            self._hurry.set()
            self._fed.set()
        return done.versions

    async def _ask(self, request: frames.Request) -> list[frames.Reply]:
        async def ask(child: Child) -> list[frames.Reply]:
            return [reply async for reply in self._exchange(child, request)]

        return await self._again(ask)

    async def _again(self, ask: Callable[[Child], Awaitable[T]]) -> T:
        for _ in range(3):
            child = await self._running()
            try:
                return await ask(child)
            except ChildDied as error:
                self._died(child, error)
        raise self._unreadable()

    async def _running(self) -> Child:
        """Wait for a process that can be asked."""
        if self._closing:
            raise Unavailable("the backend is shutting down: try again when it has been started again")
        try:
            async with asyncio.timeout(0 if self._ahead else 30):
                while self._child is None or not self._up.is_set():
                    await self._up.wait()
        except TimeoutError:
            raise self._unreadable() from None
        return self._child

    def _unreadable(self) -> Unavailable:
        return Unavailable(f"store.duckdb cannot be read now: {self._why or 'its process does not start'}; try again")

    @property
    def _why(self) -> str:
        """Why the process has ended, for callers, who need not know where the data are."""
        return self.error.replace(str(self.data_dir), "the data folder")


def _only(replies: list[frames.Reply], kind: type[R]) -> R:
    if len(replies) != 1 or not isinstance(replies[0], kind):
        raise ProtocolError(f"the columns process answered {replies!r:.100} where {kind.__name__} was asked for")
    return replies[0]
