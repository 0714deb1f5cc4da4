"""Live SQL: calls of ``_system/sql:...`` are answered by the columns process, all others by the workers.

A statement is registered under the hash of its text, in the table ``_statements``; its result is a query like any other, with a
read set and interests, so subscriptions, sharing and caching are what they are for functions. All it takes is this
executor, which stands before the worker pool.

The columns process maintains results: what it is asked for comes with the documents that have changed since the result
that it has (:mod:`nbreactive.engine.recent_documents`), so that it need not look for them, nor apply them first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec

from nbreactive.columns._live_frames import Explain, Explained, Live, LiveResult
from nbreactive.engine.catalog import BY_ID, CREATION_TIME, STATEMENTS, all_modules, all_tables, index_id
from nbreactive.engine.read_set import ReadSetBuilder
from nbreactive.engine.transactions import Call, Condition, Executor, Interval, Outcome, SqlInterest, Write
from nbreactive.errors import (
    ArgumentError,
    FunctionNotFound,
    LimitExceeded,
    NBReactiveError,
    Refused,
    SqlError,
    Unavailable,
    from_wire,
)
from nbreactive.functions import bind
from nbreactive.functions.specs import Visibility
from nbreactive.runtime.errors_of import failure_of
from nbreactive.runtime.lookup import find
from nbreactive.runtime.system_sql import EXPLAIN, FUNCTIONS, LIVE, REGISTER
from nbreactive.services.known_results import KnownResult, columns_of
from nbreactive.values.json import encode_json
from nbreactive.values.limits import RESULT_SIZE, SQL_PARAMS, SQL_ROWS, SQL_TEXT, over
from nbreactive.values.packing import pack, unpack

if TYPE_CHECKING:
    from nbreactive.columns._frames import Checked
    from nbreactive.columns.supervisor import Selected
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.row_index import RowIndex

_SOON: Final = 500
"""Milliseconds after which a live query is run again that could not be run."""
_FORGET: Final = 60.0
"""Seconds after which nothing is kept for a statement that nobody has asked for and nobody watches."""
_ROUND: Final = 5.0


class Source(Protocol):
    """What is asked of the columns process."""

    async def check(self, text: str) -> Checked:
        """Say what a statement is about; raises what is wrong with it."""
        ...

    async def live(self, request: Live) -> LiveResult:
        """Bring the result of a statement to a timestamp, and give a window of it."""
        ...

    async def sql(self, text: str, params: bytes, *, at: int | None, max_bytes: int) -> Selected:
        """Give a whole result."""
        ...

    async def explain(self, request: Explain) -> Explained:
        """Say how a statement is kept up to date, and why so."""
        ...


def hash_of(text: str) -> str:
    """Return the hash under which a text is registered.

    Examples
    --------
    >>> hash_of("SELECT 1"), hash_of("  SELECT 1") == hash_of("SELECT 1")
    ('e004ebd5b5532a4b85984a62f8ad48a8', True)
    """
    return sha256(text.strip().encode()).hexdigest()[:32]


class Statements:
    """Implements :class:`~nbreactive.engine.transactions.Executor`.

    Parameters
    ----------
    inner
        Runs all other calls.
    index
        Where the texts are.
    columns
        Runs statements.
    production
        Whether errors are kept from callers.
    ruled
        Tells whether the deployment has row rules.
    """

    def __init__(
        self,
        inner: Executor,
        index: RowIndex,
        columns: Source,
        *,
        production: bool = False,
        ruled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._inner = inner
        self._index = index
        self._columns = columns
        self._production = production
        self._ruled = ruled
        self._engine: Engine | None = None
        self._known: dict[tuple[str, bytes], KnownResult] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._own: Mapping[str, Callable[[Call], Coroutine[Any, Any, Outcome]]] = {
            REGISTER: self._register,
            LIVE: self._live,
            EXPLAIN: self._explain,
        }

    def use(self, engine: Engine) -> None:
        """Begin, once there is an engine."""
        self._engine = engine

    def columns_changed(self, tables: Iterable[int]) -> None:
        """Run statements again that read tables (their numbers) of which the columns are others now."""
        if self._engine is not None:
            index, keys = index_id(STATEMENTS, BY_ID), [columns_of(table)[1] for table in tables]
            self._engine.touch({index: keys})

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        for known in self._known.values():
            known.close()
        self._known.clear()

    def run(self, call: Call, *, urgent: bool = False) -> Awaitable[Outcome]:
        """Start a call; its failures are in the outcome."""
        own = self._own.get(call.path)
        return self._inner.run(call, urgent=urgent) if own is None else self._answer(own, call)

    async def _answer(self, own: Callable[[Call], Coroutine[Any, Any, Outcome]], call: Call) -> Outcome:
        try:
            return await own(call)
        except NBReactiveError as error:
            return self._failed(error, call, ReadSetBuilder())

    def _failed(self, error: NBReactiveError, call: Call, reads: ReadSetBuilder) -> Outcome:
        failure = failure_of(_shown(error, call.reach), call.request_id, production=self._production)
        _read(reads, all_modules())
        soon = _SOON if isinstance(error, Unavailable) else 0
        return Outcome(failure=failure, reads=reads.build(), kind=call.kind or "query", every=soon)

    # ---- registration ------------------------------------------------------------------------------------------

    async def _register(self, call: Call) -> Outcome:
        """Keep a text, whose author may deploy."""
        args = _args(call)
        text: str = args["sql"].strip()
        await self._check(text)
        id = bytes.fromhex(hash_of(text))
        found = self._document(id, call.snapshot)
        reads = ReadSetBuilder()
        reads.add_point(index_id(STATEMENTS, BY_ID), id)
        writes: list[Write] = []
        if found is None:
            by = str((call.identity or {}).get("subject") or "admin key")
            document = {"hash": id.hex(), "sql": text, "by": by, CREATION_TIME: float(call.now)}
            writes.append(Write(STATEMENTS, id, pack(document)))
        return Outcome(value=encode_json(id.hex()), reads=reads.build(), writes=writes, kind="mutation")

    async def _check(self, text: str) -> Checked:
        if len(text) > SQL_TEXT:
            raise LimitExceeded(
                over("characters of SQL", len(text), SQL_TEXT, "pass values as $parameters"), "args.sql"
            )
        return await self._columns.check(text)

    def text_of(self, hash: str, ts: int | None = None, reads: ReadSetBuilder | None = None) -> str:  # noqa: A002
        """Return the text that is registered under a hash.

        Raises
        ------
        FunctionNotFound
            There is none.
        """
        assert self._engine is not None
        if len(hash) == 32 and hash.isascii() and hash.isalnum() and hash == hash.lower():
            try:
                id = bytes.fromhex(hash)
            except ValueError:
                id = b""
            if id:
                if reads is not None:
                    reads.add_point(index_id(STATEMENTS, BY_ID), id)
                found = self._document(id, self._engine.durable if ts is None else ts)
                if found is not None:
                    return unpack(found)["sql"]
        raise FunctionNotFound(
            f"there is no SQL statement {hash[:40]!a} in this deployment: whoever may deploy registers it, by running its"
            " cell or with nbreactive sql"
        )

    def _document(self, id: bytes, ts: int) -> bytes | None:
        with self._index.reader() as reader:  # not kept: what is open keeps every page that it sees
            found = reader.document(STATEMENTS, id, ts)
        return None if found is None else found[0]

    # ---- results -----------------------------------------------------------------------------------------------

    async def _live(self, call: Call) -> Outcome:
        """Give a window of the result of a statement."""
        began = time.perf_counter()
        reads = ReadSetBuilder()
        try:
            result, interests = await self._result(call, reads)
        except NBReactiveError as error:
            return self._failed(error, call, reads)
        _read(reads, all_modules())
        return Outcome(
            value=result.value,
            reads=reads.build(),
            interests=interests,
            every=result.every,
            duration_us=int((time.perf_counter() - began) * 1e6),
        )

    async def _result(self, call: Call, reads: ReadSetBuilder) -> tuple[LiveResult, Sequence[SqlInterest]]:
        engine = self._engine
        if engine is None:
            raise Unavailable("the backend is starting; ask again in a moment")
        self.refuse_rules(call.reach)
        args = _args(call)
        offset, limit = _window(args)
        params = _params(args)
        past = call.snapshot < engine.oldest
        # What is registered stays so; an earlier time may be from before that, and before what the row index has
        text = self.text_of(args["hash"], max(call.snapshot, engine.durable), reads)
        await engine.release(call.snapshot)
        known = self._known.get((text, params))
        if known is None:
            known = self._known[text, params] = KnownResult(engine.recent_documents)
            self._arm()
        async with known.lock:
            known.used = time.monotonic()
            known.asked.add(call.args)
            changes = known.changes(call.snapshot, engine.catalog())
            shown = known.shown.get((offset, limit)) if known.at == call.snapshot and changes is not None else None
            if shown is not None:
                known.read(reads)
                return shown, known.interests
            request = Live(
                text, params, call.snapshot, limit, offset, known.at if changes is not None else None, changes or ()
            )
            try:
                result = await self._columns.live(request)
            except NBReactiveError as error:
                # It is tried again when any of what it is about changes
                known.at = None
                if not isinstance(error, Unavailable):
                    known.name([(name, ()) for name in await self._tables(text)], engine.catalog(), engine.applied)
                known.read(reads)
                _read(reads, all_tables())
                raise
            if result.tables is not None:
                known.name(result.tables, engine.catalog(), engine.applied)
            if not past:
                known.show(call.snapshot, (offset, limit), result)
            known.read(reads)
            if len(result.value) > 2 * RESULT_SIZE:
                fix = "ask for fewer rows (limit) or columns, or fetch the result as Arrow"
                raise LimitExceeded(over("bytes of a result", len(result.value), 2 * RESULT_SIZE, fix))
            return result, known.interests

    async def _tables(self, text: str) -> Sequence[str]:
        try:
            return (await self._columns.check(text)).tables
        except NBReactiveError:
            return ()

    async def _explain(self, call: Call) -> Outcome:
        """Say how a statement is kept up to date, and what of its tables concerns it."""
        engine = self._engine
        if engine is None:
            raise Unavailable("the backend is starting; ask again in a moment")
        args = _args(call)
        if ("hash" in args) == ("sql" in args):
            raise ArgumentError('explain takes {"hash": ...} or {"sql": ...}', "args")
        reads = ReadSetBuilder()
        text = self.text_of(args["hash"], call.snapshot, reads) if "hash" in args else args["sql"].strip()
        await self._check(text)
        await engine.release(call.snapshot)
        said = await self._columns.explain(Explain(text, _params(args), call.snapshot))
        watched = {name: [_described(conditions)] for name, conditions in said.tables}
        _read(reads, all_modules())
        _read(reads, all_tables())
        return Outcome(value=encode_json(said.facts | {"watches": watched}), reads=reads.build())

    async def whole(self, text: str, params: bytes, at: int, reach: Visibility, max_bytes: int) -> bytes:
        """Return a whole result, as of a durable timestamp, as an Arrow IPC stream."""
        self.refuse_rules(reach)
        try:
            return (await self._columns.sql(text, params, at=at, max_bytes=max_bytes)).data
        except SqlError as error:
            if reach != "system" and self._production:
                raise SqlError("the statement failed; the log of the server says why") from error
            raise _shown(error, reach) from error

    def refuse_rules(self, reach: Visibility) -> None:
        """Raise if row rules forbid a caller what SQL would show."""
        if reach != "system" and self._ruled():
            raise Refused(
                "this deployment has row rules, which SQL does not know of: only those who may deploy see results of SQL"
                " here; let a query read the rows and compute what others may see"
            )

    # ---- forgetting --------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_ROUND, self._look_around)

    def _look_around(self) -> None:
        """Forget what nobody asks for, and what has changed without concerning those who still watch."""
        self._timer = None
        assert self._engine is not None
        watched, durable = self._engine.subscriptions.watched(LIVE), self._engine.durable
        old = time.monotonic() - _FORGET
        for key, known in list(self._known.items()):
            if known.lock.locked():
                continue
            untouched = [watched[args] for args in known.asked if args in watched]
            if any(untouched):
                known.unchanged(durable)
            elif not untouched and known.used < old:
                known.close()
                del self._known[key]
        if self._known:
            self._arm()


def _args(call: Call) -> dict[str, Any]:
    if call.path == LIVE:  # for everybody who may read
        call = msgspec.structs.replace(call, reach="system")
    _, function = find(FUNCTIONS, call)
    return bind(function, unpack(call.args))["args"]


def _shown(error: NBReactiveError, reach: Visibility) -> NBReactiveError:
    """Return what a caller is told: a viewer has named a hash, and DuckDB goes on with a piece of the text."""
    return error if reach == "system" else from_wire(error.code, error.message.partition("\n")[0])


def pack_params(params: Any, where: str = "params") -> bytes:
    """Pack the values of a statement's ``$name``."""
    if not isinstance(params, dict):
        raise ArgumentError("parameters are an object: names and values", where)
    packed = pack(cast("dict[str, Any]", params))
    if len(packed) > SQL_PARAMS:
        fix = "keep what is large in a table, and join it"
        raise LimitExceeded(over("bytes of parameters", len(packed), SQL_PARAMS, fix), where)
    return packed


def _params(args: Mapping[str, Any]) -> bytes:
    return pack_params(args.get("params", {}), "args.params")


def _window(args: Mapping[str, Any]) -> tuple[int, int]:
    offset, limit = args.get("offset", 0), args.get("limit", SQL_ROWS)
    if offset < 0:
        raise ArgumentError("a window begins at row 0 at the earliest", "args.offset")
    if not 0 <= limit <= SQL_ROWS:
        raise ArgumentError(f"a window has 0 to {SQL_ROWS:,} rows; more is fetched as Arrow", "args.limit")
    return offset, limit


def _read(reads: ReadSetBuilder, read: tuple[int, Interval]) -> None:
    index, (low, high) = read
    reads.add(index, low, high)


def _described(conditions: Sequence[Condition]) -> str:
    """Say conditions in words of SQL."""
    parts = [
        f"{one.field} IS NOT NULL"
        if one.op == "not null"
        else f"{one.field} {one.op.upper()} {', '.join(repr(value) for value in one.values)}"
        for one in conditions
    ]
    return " AND ".join(parts) or "every row"
