"""Who is in which room, now.

Heartbeats never reach a worker or a table: this keeps in memory when each session was heard of last, and drops those
that were silent for too long, by one timer. What others see (joins, leaves, data) is written into the ephemeral table
``_presence``, which is read by the query ``nbreactive/presence:list`` like any other table: live, shared, at the
session's timestamp. All changes since the last write go into one transaction, and the more people there are the longer
is the pause between two, so that a room in which everybody moves costs no more than it can.

The table follows the memory: a write that the disk's trouble took along is made again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.engine.catalog import CREATION_TIME, PRESENCE, Catalog
from nbreactive.engine.committer import Recorded
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.errors import ArgumentError, FunctionNotFound, LimitExceeded, Unavailable
from nbreactive.services.persons import Person, person_of
from nbreactive.values.ids import encode_id
from nbreactive.values.limits import over
from nbreactive.values.packing import pack
from nbreactive.values.sizes import size_of

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

TIMEOUT: Final = 15.0
"""Seconds without a heartbeat after which a session has left: clients send one every 5."""
GRACE: Final = 0.5
"""Seconds in which a connection that has ended may be replaced by another one before its sessions leave."""

DATA_BYTES: Final = 4096
ROOM_SESSIONS: Final = 1000
SESSIONS: Final = 10_000
CONNECTION_SESSIONS: Final = 200
_LONGEST_ROOM: Final = 200
_LONGEST_SESSION: Final = 100

_PAUSE: Final = 0.02
_PAUSE_EACH: Final = 0.002
_LONGEST_PAUSE: Final = 0.4
_PAUSE_REFUSED: Final = 1.0

Answered = Callable[[tuple[Any, int] | Exception], None]
"""Told the result of a call and a timestamp at which everybody can see what it did, or why it was not done."""


class Session(msgspec.Struct, eq=False):
    """One tab, kernel or program in one room."""

    id: bytes
    room: str
    person: Person
    data: Any
    joined: float
    """Milliseconds since the epoch, as :attr:`updated`."""
    updated: float
    heard: float
    """When it was heard of last, by the loop's clock."""
    connection: object | None = None


class Presence:
    """The rooms of one deployment.

    Parameters
    ----------
    engine
        Where the table is.
    timeout, grace
        See :data:`TIMEOUT` and :data:`GRACE`.
    """

    def __init__(self, engine: Engine, *, timeout: float = TIMEOUT, grace: float = GRACE) -> None:
        self._engine = engine
        self._timeout = timeout
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[bytes, Session] = {}
        self._rooms: dict[str, int] = {}
        self._connections: dict[object, dict[bytes, Session]] = {}
        self._changed: dict[bytes, None] = {}
        self._waiting: list[tuple[Answered, Any]] = []
        self._writing: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._sessions)

    async def close(self) -> None:
        """Write no more; the table is empty at the next start."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        self._answer(Unavailable("the backend is stopping; ask again when it is back"))

    # ---- calls -------------------------------------------------------------------------------------------

    def begin(
        self,
        path: str,
        args: Mapping[str, Any],
        identity: Mapping[str, Any] | None,
        connection: object | None,
        answered: Answered,
    ) -> None:
        """Run ``nbreactive/presence:join``, ``heartbeat`` or ``leave``; ``answered`` is told later, not from within.

        Parameters
        ----------
        connection
            What the session ends with; None where a call comes alone.

        Raises
        ------
        NBReactiveError
            The call is wrong; nothing was done.
        """
        what = _KINDS.get(path)
        if what is None:
            raise FunctionNotFound(
                f"Could not find public function for {path[:200]!a}. There are: {', '.join((*_KINDS, LIST))}"
            )
        if self._closed:
            raise Unavailable("the backend is stopping; ask again when it is back")
        room, name = _checked(args, takes_data=what != "leave")
        owner = (str(identity.get("issuer", "")), str(identity.get("subject", ""))) if identity is not None else None
        # Of the person, too: nobody speaks for a session of somebody else, whose name they may have heard.
        id = blake2b(msgspec.msgpack.encode((room, owner, name)), digest_size=16).digest()
        if what == "leave":
            self._leave(id, answered)
        else:
            self._join(id, room, identity, args, connection, what, answered)

    def _join(
        self,
        id: bytes,
        room: str,
        identity: Mapping[str, Any] | None,
        args: Mapping[str, Any],
        connection: object | None,
        what: str,
        answered: Answered,
    ) -> None:
        given = "data" in args
        known = self._sessions.get(id)
        if known is not None and connection is not known.connection and connection is not None:
            self._refuse_too_many(room, connection, new=False)
        if known is None:
            self._refuse_too_many(room, connection, new=True)
            now = self._engine.clock.now_ns() / 1e6
            known = Session(id, room, person_of(identity, id[:8]), args.get("data"), now, now, 0.0)
            self._sessions[id] = known
            self._rooms[room] = self._rooms.get(room, 0) + 1
            changed = new = True
        else:
            new = False
            person = person_of(identity, id[:8])
            changed = person != known.person or (given and not _same(args["data"], known.data))
            known.person = person
            if given:
                known.data = args["data"]
            if changed:
                known.updated = self._engine.clock.now_ns() / 1e6
        known.heard = self._loop.time()
        if connection is not None and known.connection is not connection:
            self._untie(known)
            known.connection = connection
            self._connections.setdefault(connection, {})[id] = known
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._expire)
        value = (
            {"joined": new} if what == "heartbeat" else {"user": known.person.user, "session": encode_id(PRESENCE, id)}
        )
        if changed:
            self._change([known])
        if changed or id in self._changed:
            self._waiting.append((answered, value))
        else:
            self._loop.call_soon(answered, (value, self._engine.durable))

    def _leave(self, id: bytes, answered: Answered) -> None:
        known = self._sessions.get(id)
        if known is not None:
            self._forget([known])
        if id in self._changed:
            self._waiting.append((answered, None))
        else:
            self._loop.call_soon(answered, (None, self._engine.durable))

    def _refuse_too_many(self, room: str, connection: object | None, *, new: bool) -> None:
        tied = len(self._connections.get(connection, ())) if connection is not None else 0
        if tied >= CONNECTION_SESSIONS:
            _exceed("rooms of one connection", tied + 1, CONNECTION_SESSIONS, "leave those that nobody looks at")
        if new and self._rooms.get(room, 0) >= ROOM_SESSIONS:
            _exceed("sessions in one room", self._rooms[room] + 1, ROOM_SESSIONS, "make several rooms of it")
        if new and len(self._sessions) >= SESSIONS:
            _exceed("sessions in all rooms", len(self._sessions) + 1, SESSIONS, "join only rooms that are looked at")

    # ---- ends --------------------------------------------------------------------------------------------

    def connection_ended(self, connection: object, *, at_once: bool = False) -> None:
        """Let the sessions of a connection leave, unless they are heard of through another one soon.

        ``at_once``: it goes on in the name of somebody else.
        """
        if connection not in self._connections:
            return
        if at_once:
            self._forget_connection(connection)
        else:
            self._loop.call_later(self._grace, self._forget_connection, connection)

    def _forget_connection(self, connection: object) -> None:
        if not self._closed:
            self._forget(list(self._connections.get(connection, {}).values()))

    def _expire(self) -> None:
        """Drop what has been silent for too long, and look again when the next one might be."""
        self._timer = None
        now = self._loop.time()
        self._forget([session for session in self._sessions.values() if session.heard + self._timeout <= now])
        if self._sessions:
            due = min(session.heard for session in self._sessions.values()) + self._timeout
            self._timer = self._loop.call_at(max(due, now + 0.05), self._expire)

    def _forget(self, sessions: Iterable[Session]) -> None:
        gone = list(sessions)
        for session in gone:
            del self._sessions[session.id]
            self._untie(session)
            left = self._rooms[session.room] - 1
            if left:
                self._rooms[session.room] = left
            else:
                del self._rooms[session.room]
        self._change(gone)

    def _untie(self, session: Session) -> None:
        connection, session.connection = session.connection, None
        if connection is not None:
            tied = self._connections[connection]
            del tied[session.id]
            if not tied:
                del self._connections[connection]

    # ---- the table ---------------------------------------------------------------------------------------

    def _change(self, sessions: Iterable[Session]) -> None:
        self._changed.update((session.id, None) for session in sessions)
        if self._changed and self._writing is None:
            self._writing = self._loop.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._changed and not self._closed:
                await asyncio.sleep(max(self._rest_until - self._loop.time(), 0))
                changed, self._changed = self._changed, {}
                waiting, self._waiting = self._waiting, []
                try:
                    ts = await self._engine.transact(partial(self._writes, changed))
                except Exception as error:  # noqa: BLE001 - the disk refuses, or LMDB does: it is tried again
                    self._changed = changed | self._changed
                    self._rest_until = self._loop.time() + _PAUSE_REFUSED
                    self._waiting, late = waiting, self._waiting
                    self._answer(error)
                    self._waiting = late
                else:
                    for answered, value in waiting:
                        answered((value, ts))
                    self._rest_until = self._loop.time() + self._pause(changed)
        finally:
            self._writing = None

    def _pause(self, changed: Iterable[bytes]) -> float:
        rooms = {session.room for id in changed if (session := self._sessions.get(id)) is not None}
        crowd = max((self._rooms[room] for room in rooms), default=1)
        return min(_PAUSE + _PAUSE_EACH * crowd, _LONGEST_PAUSE)

    def _writes(
        self, changed: Iterable[bytes], reader: Reader, _catalog: Catalog, ts: int
    ) -> Sequence[Write] | Recorded:
        writes: list[Write] = []
        for id in changed:
            found = reader.document(PRESENCE, id, ts)
            session = self._sessions.get(id)
            doc = pack(_document(session)) if session is not None else None
            if doc is not None or found is not None:
                writes.append(Write(PRESENCE, id, doc, found[1] if found is not None else 0))
        return writes

    def _answer(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for answered, _ in waiting:
            with contextlib.suppress(Exception):  # whoever waited may be gone
                answered(error)


LIST: Final = "nbreactive/presence:list"
_KINDS: Final = {f"nbreactive/presence:{name}": name for name in ("join", "heartbeat", "leave")}


def _document(session: Session) -> dict[str, Any]:
    return {
        "room": session.room,
        "person": msgspec.structs.asdict(session.person),
        "data": session.data,
        "joined": session.joined,
        "updated": session.updated,
        CREATION_TIME: session.joined,
    }


def _checked(args: Mapping[str, Any], *, takes_data: bool) -> tuple[str, str]:
    """The room and the session that a call names."""
    known = ("room", "session", "data") if takes_data else ("room", "session")
    for name in args:
        if name not in known:
            raise ArgumentError(f"there is no argument {name[:60]!a}; there are {', '.join(known)}", "args")
    for name, most in (("room", _LONGEST_ROOM), ("session", _LONGEST_SESSION)):
        value = args.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= most:
            raise ArgumentError(f"{name} is a string of 1 to {most} characters", f"args.{name}")
    if takes_data and args.get("data") is not None and size_of(args["data"]) > DATA_BYTES:
        fix = "keep what is large in a table, and its id here"
        raise LimitExceeded(over("bytes of data", size_of(args["data"]), DATA_BYTES, fix), "args.data")
    return args["room"], args["session"]


def _same(one: Any, other: Any) -> bool:
    """Whether two values are shown alike: 1 and True, which are equal, are not."""
    return one is other or pack(one) == pack(other)


def _exceed(what: str, used: int, limit: int, fix: str) -> None:
    raise LimitExceeded(over(what, used, limit, fix), "args")
