"""``nbreactive.load``: rows of any frame, file or stream into a table, each exactly once.

Rows are sent as Arrow, some ten thousand at a time, and numbered: what the backend has already, because the answer got lost
or a load of the same id was broken off, it leaves out. The id of a load comes from what is loaded, so running a cell
again goes on where its last run was stopped.
"""

# pandas, polars and pyarrow have no stubs, or partial ones
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import contextlib
import http.client
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

import msgspec

from nbreactive.client.bulk_rows import NAME
from nbreactive.client.bulk_sources import Piece, Source, source_of
from nbreactive.client.client import Client
from nbreactive.client.target import http_error
from nbreactive.errors import InvalidValue, NotConnected, ReadOnly, Refused, Unavailable
from nbreactive.values.id_columns import ids_of

if TYPE_CHECKING:
    import pyarrow as pa

_PATIENCE: Final = 60.0
"""Seconds without an answer after which a load gives up."""
_SECONDS: Final = 120.0
_ARROW: Final = "application/vnd.apache.arrow.stream"
_FEW: Final = 10_000
"""Rows that are sent without asking first whether they are there."""
_FEW_BYTES: Final = 256 << 10


class Loaded(int):
    """What a load has done: a number of rows, with the ids that they have."""

    table: str
    id: str
    """Of the load."""
    repeated: int
    """Rows that an earlier run of the same load had loaded."""
    moments: Sequence[str]
    """Columns of moments."""
    _number: int
    _parts: list[tuple[int, bytes]]

    def __new__(
        cls, count: int, table: str, id: str, number: int, parts: list[tuple[int, bytes]], repeated: int
    ) -> Self:
        """Make one."""
        loaded = super().__new__(cls, count)
        loaded.table, loaded.id, loaded.repeated = table, id, repeated
        loaded._number, loaded._parts = number, parts
        return loaded

    @property
    def count(self) -> int:
        """How many rows the load has."""
        return int(self)

    @property
    def ids(self) -> pa.ChunkedArray:
        """The ids of the rows, in their order, as Arrow."""
        import pyarrow as pa

        return pa.chunked_array([ids_of(self._number, first, rows) for rows, first in self._parts], pa.string())

    def __repr__(self) -> str:
        return f"<{int(self):,} rows loaded into {self.table!r}>"


def load(
    client: Client,
    name: str,
    data: Any,
    *,
    id: str | None = None,
    progress: Callable[[str], None] | None = None,
    chunk: int | None = None,
) -> Loaded:
    """Load rows; see :func:`nbreactive.load`. ``progress`` is given the lines that say how far it is."""
    client.check_thread("load(...)")
    if not NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r:.80} cannot be the name of a table: letters, digits and _, a letter first, at most 64"
        )
    say = progress or _quiet
    source = source_of(data, chunk)
    load_id = id or source.id
    with client.explained(), contextlib.closing(_Door(client, name, load_id)) as door:
        few = _few(source)
        try:
            if few is not None:
                state = _at_once(door, few, source, given=id is not None)
                say(_line(name, state.rows, source.total))
            else:
                done = _begin(door, source, given=id is not None)
                for piece in source.pieces(done):
                    done = door.send(piece).rows
                    say(_line(name, done, source.total))
                state = door.state() if done else _State()
            load_id = door.load
        except Refused:
            raise
        except BaseException as failure:
            say(f"\r{name}: stopped after {door.rows:,} rows{_of(source.total)}\n")
            failure.add_note(
                f"{door.rows:,}{_of(source.total)} rows are in {name!r}. Nothing is loaded twice if you go on"
                + (" by loading the same data again." if source.stable or id else f" with id={load_id!r}.")
            )
            raise
    parts = [(part.rows, bytes.fromhex(part.first)) for part in state.parts]
    repeated = sum(part.rows for part in state.parts if part.run != door.run)
    loaded = Loaded(state.rows, name, load_id, state.table, parts, repeated)
    loaded.moments = source.moments
    return loaded


class _Part(msgspec.Struct, frozen=True):
    rows: int
    first: str
    run: str = ""


class _State(msgspec.Struct, frozen=True):
    """How far a load is, as the backend tells."""

    rows: int = 0
    table: int = 0
    parts: Sequence[_Part] = ()
    gone: bool = False


def _few(source: Source) -> Piece | None:
    """Return all rows, if they are few: what is there already may be sent again, as that takes less than to ask."""
    if not source.total or source.total > _FEW:
        return None
    pieces = list(source.pieces(0))
    return pieces[0] if len(pieces) == 1 and len(pieces[0].data) <= _FEW_BYTES else None


def _at_once(door: _Door, piece: Piece, source: Source, *, given: bool) -> _State:
    """Load all rows with one request."""
    state = door.send(piece, whole=True)
    if door.another(state, source, given=given):
        _begin(door, source, given=given)
        state = door.send(piece, whole=True)
    return state


def _begin(door: _Door, source: Source, *, given: bool) -> int:
    """Return how many rows are there already. A load that is over, and whose documents were deleted since, is another one."""
    if source.total == 0:
        return 0
    while door.another(state := door.state(), source, given=given):
        pass
    return state.rows


def _quiet(_line: str) -> None:
    pass


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total:,}"


def _line(name: str, done: int, total: int | None) -> str:
    if not total:
        return f"\r{name}: {done:,} documents"
    share = min(1.0, done / total)
    return f"\r{name}: [{'#' * round(share * 20):20}] {done:,} of {total:,} documents"


class _Door:
    """Sends the rows of one load, again if need be."""

    def __init__(self, client: Client, table: str, load: str) -> None:
        self._client = client
        self.load = self._load = load
        self._times = 1
        self.run = secrets.token_hex(4)
        """Names this call, beside others that load the same."""
        self._table = quote(table, safe="")
        self._connection: http.client.HTTPConnection | None = None
        self.rows = 0

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def another(self, state: _State, source: Source, *, given: bool) -> bool:
        """Take another id if what was loaded with this one is over and gone; return whether it is."""
        gone = state.gone and state.rows == source.total and not given
        if gone:
            self._times += 1
            self.load = f"{self._load} {self._times}"
        return gone

    def state(self) -> _State:
        """Ask how far the load is."""
        return msgspec.json.decode(self._patiently("GET", "", None, ""), type=_State)

    def send(self, piece: Piece, *, whole: bool = False) -> _State:
        """Send rows; return how many the load has now, and with ``whole`` all that the backend knows of it."""
        query = f"&row={piece.row}&run={self.run}{'&state=1' if whole else ''}"
        answer = self._patiently("POST", query, piece.data, _ARROW if piece.arrow else "application/msgpack")
        state = msgspec.json.decode(answer, type=_State)
        self.rows = state.rows
        return state

    def _patiently(self, method: str, query: str, data: bytes | None, content_type: str) -> bytes:
        deadline, pause = time.monotonic() + _PATIENCE, 0.05
        while True:
            try:
                return self._ask(method, query, data, content_type)
            except (NotConnected, Unavailable) as error:
                self.close()
                if isinstance(error, ReadOnly) or time.monotonic() > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 2.0)

    def _ask(self, method: str, query: str, data: bytes | None, content_type: str) -> bytes:
        target = self._client.target
        parts = urlsplit(target.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = dict(target.request_headers())
        if target.bearer:
            headers.setdefault("Authorization", f"Bearer {target.bearer}")
        if content_type:
            headers["Content-Type"] = content_type
        try:
            if self._connection is None:
                self._connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
            self._connection.request(
                method, f"{parts.path}/api/load/{self._table}?load={quote(self.load, safe='')}{query}", data, headers
            )
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as failure:
            raise NotConnected(f"No answer from {target.base}: {failure}") from None
        if answer.status >= 300:
            raise http_error(answer.status, body, target.base)
        return body
