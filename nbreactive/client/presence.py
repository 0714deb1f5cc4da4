"""Being in rooms, and seeing who else is: ``presence.join("room")``, ``use_presence("room")``.

A room is joined by a session of its own, which leaves when it is told to, when this process ends, and when the backend
has not heard of it for a while. One timer per client sends the heartbeats of all its rooms, on the client thread. Data
that changes faster than the backend takes it is sent when the last one has been taken, the newest only.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import threading
import uuid
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from nbreactive.client import threads
from nbreactive.client.arguments import FixedArguments, plain_args
from nbreactive.client.live import LiveQuery
from nbreactive.errors import ArgumentError, NBReactiveError
from nbreactive.values.validators import v

if TYPE_CHECKING:
    from nbreactive.client.client import Client

__all__ = ["LIST", "People", "Room", "join", "use_presence"]

JOIN, HEARTBEAT, LEAVE, LIST = (f"nbreactive/presence:{name}" for name in ("join", "heartbeat", "leave", "list"))
EVERY = 5.0
"""Seconds between two heartbeats; the backend waits for three."""
GOODBYE = 1.0
"""Seconds that the end of a process waits at most for the backend to hear of it."""
_log = logging.getLogger("nbreactive")
_hearts: weakref.WeakSet[Heart] = weakref.WeakSet()
_making = threading.Lock()


class Room:
    """Being in a room; made by :func:`join`.

    Attributes
    ----------
    name
        The room.
    user
        By which this person is known in the lists of :func:`use_presence`.
    session
        By which this session is known there.
    error
        Why the last heartbeat was not taken, or None.
    """

    def __init__(self, client: Client, name: str, data: Any = None) -> None:
        self.name = name
        self.user = self.session = ""
        self.error: BaseException | None = None
        self._client = client
        self._key = uuid.uuid4().hex
        self._data = plain_args({"data": data})["data"]
        self._unsent = False
        self._sending: asyncio.Task[None] | None = None
        self._left = False

    @property
    def data(self) -> Any:
        """What others see of it."""
        return self._data

    @property
    def left(self) -> bool:
        """Whether :meth:`leave` was called."""
        return self._left

    def update(self, data: Any) -> None:
        """Let others see ``data`` from now on; returns at once, and sends the newest only where there are many."""
        self._check()
        self._data = plain_args({"data": data})["data"]
        self._client.soon(self.push)

    def leave(self) -> None:
        """Leave the room; leaving twice is fine."""
        if self._left:
            return
        self._left = True
        heart_of(self._client).drop(self)
        if self._client.closed or self._client.connection.state != "open":
            return  # the backend finds out
        with contextlib.suppress(NBReactiveError, TimeoutError, concurrent.futures.TimeoutError):
            leaving = threads.loop_thread().submit(self.say_goodbye())
            if not threads.on_own_thread():
                leaving.result(GOODBYE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def __repr__(self) -> str:
        return f"<in room {self.name!r}{' · left' if self._left else ''}>"

    def enter(self) -> None:
        """Join; raises why not."""
        self._client.check_thread("presence.join(...)")
        heart = heart_of(self._client)
        heart.add(self)
        try:
            joined = self._client.call(JOIN, self._args() | {"data": self._data})
        except BaseException:
            self._left = True
            heart.drop(self)
            raise
        self.user, self.session = joined["user"], joined["session"]

    def enter_soon(self) -> None:
        """Join without waiting for it; may be called anywhere."""
        heart_of(self._client).add(self)
        self._client.soon(self.push)

    # ---- on the client thread ----

    def push(self) -> None:
        """Say what the data are now."""
        self._unsent = True
        self.beat()

    def beat(self) -> None:
        """Say that it is there, unless that is being said."""
        if self._sending is None and not self._left and not self._client.closed:
            self._sending = asyncio.ensure_future(self._send())

    async def say_goodbye(self) -> None:
        """Leave."""
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await self._run(LEAVE, self._args())

    async def _send(self) -> None:
        try:
            while not self._left:
                whole, self._unsent = self._unsent, False
                known = await self._run(HEARTBEAT, self._args() | ({"data": self._data} if whole else {}))
                # It had been given up, e.g. since this machine slept: what it has to show is not known there any more.
                self._unsent = self._unsent or (known["joined"] and not whole and self._data is not None)
                self.error = None
                if not self._unsent:
                    return
        except (NBReactiveError, OSError) as failure:
            self._unsent = True
            if type(failure) is not type(self.error):
                _log.warning("presence in the room %r: %s", self.name, failure)
            self.error = failure
        finally:
            self._sending = None

    async def _run(self, path: str, args: Mapping[str, Any]) -> Any:
        outcome = await self._client.run(path, args)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def _args(self) -> dict[str, Any]:
        return {"room": self.name, "session": self._key}

    def _check(self) -> None:
        if self._left:
            raise NBReactiveError(
                f"this session has left the room {self.name!r}; presence.join(...) begins another one"
            )


class Heart:
    """The heartbeats of a client."""

    def __init__(self, client: Client) -> None:
        self.rooms: dict[Room, None] = {}
        self._client = weakref.ref(client)
        self._timer: asyncio.TimerHandle | None = None
        client.on_state.append(self._state_changed)
        _hearts.add(self)

    def add(self, room: Room) -> None:
        """Beat for a room, too."""
        self.rooms[room] = None
        self._soon(self._arm)

    def drop(self, room: Room) -> None:
        """Beat for it no more."""
        self.rooms.pop(room, None)

    def leaving(self) -> list[Coroutine[Any, Any, None]]:
        """What is to be said at the end of the process."""
        client = self._client()
        if client is None or client.closed or client.connection.state != "open":
            return []
        return [room.say_goodbye() for room in list(self.rooms)]

    def _soon(self, work: Any) -> None:
        client = self._client()
        if client is not None:
            client.soon(work)

    def _arm(self) -> None:
        if self._timer is None and self.rooms:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._beat)

    def _beat(self) -> None:
        self._timer = None
        client = self._client()
        if client is None or client.closed:
            return
        if client.connection.state == "open":
            for room in list(self.rooms):
                room.beat()
        self._arm()

    def _state_changed(self) -> None:
        """After a reconnect the backend must hear of everything again, soon."""
        client = self._client()
        if client is not None and client.connection.state == "open":
            for room in list(self.rooms):
                room.push()


def heart_of(client: Client) -> Heart:
    """Return the heart of a client."""
    with _making:
        if client.heart is None:
            client.heart = Heart(client)
        return client.heart


class People(LiveQuery):
    """Who is in a room, live: a list of people, each once, with all their sessions."""

    @property
    def declared(self) -> Mapping[str, Any] | None:
        """What frames and views make of its columns."""
        return _DECLARED

    @classmethod
    def open(cls, client: Client, room: str, *, wait: bool = True) -> People:
        """Make the list of a room live."""
        live = cls(client, LIST, FixedArguments({"room": room}), title=f"room {room}")
        client.keep(live)
        if not wait:
            return live
        try:
            return live.wait()
        except BaseException:
            live.close()
            raise

    def _rows(self) -> Any:
        people: list[dict[str, Any]] = super()._rows() or []
        return [{name: _cell(person, name) for name in _COLUMNS} for person in people]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value or ())

    def __getitem__(self, at: Any) -> Any:
        return self.value[at]


def _cell(person: Mapping[str, Any], name: str) -> Any:
    return len(person[name]) if name == "sessions" else person[name]


_COLUMNS = {
    "name": v.string(),
    "guest": v.boolean(),
    "sessions": v.integer(),
    "joined": v.datetime(),
    "updated": v.datetime(),
    "data": v.any(),
    "color": v.string(),
    "user": v.string(),
}
_DECLARED: Mapping[str, Any] = v.array(v.object(_COLUMNS)).to_json()


def join(room: str, data: Any = None, *, deployment: str | Client | None = None) -> Room:
    """Be in a room, until :meth:`Room.leave`, the end of a ``with`` block, or of this process.

    Joining a room that this process is in already is fine: it is the same session, which shows ``data`` from then on.

    Parameters
    ----------
    room
        Its name; whoever may read the deployment and knows it can see who is there.
    data
        What others see besides name and colour, e.g. a selection: any value of up to 4 KiB.
    deployment
        The name of another deployment, or the client to go through.

    Examples
    --------
    >>> room = presence.join("report", {"cell": 3})       # doctest: +SKIP
    >>> room.update({"cell": 4})       # doctest: +SKIP
    >>> room.leave()       # doctest: +SKIP
    """
    try:
        client = client_of(deployment)
        for known in list(heart_of(client).rooms):
            if known.name == room and known.user:
                if data is not None:
                    known.update(data)
                return known
        joined = Room(client, room, data)
        joined.enter()
    except NBReactiveError as error:
        raise error.with_traceback(None) from None  # the user's lines, and not our own
    return joined


def use_presence(room: str, *, deployment: str | Client | None = None, wait: bool = True) -> People:
    """Who is in a room, live: a list with a dict for each person; looking does not join.

    Examples
    --------
    >>> people = use_presence("report")       # doctest: +SKIP
    >>> [person["name"] for person in people.value]       # doctest: +SKIP
    >>> people.observe(lambda change: print(len(change.new)), "value")       # doctest: +SKIP
    """
    try:
        return People.open(client_of(deployment), room, wait=wait)
    except NBReactiveError as error:
        raise error.with_traceback(None) from None


def client_of(deployment: str | Client | None) -> Client:
    """Return the client of a deployment at the place where this process is connected."""
    from nbreactive.client import current, discovery
    from nbreactive.client.client import Client

    if isinstance(deployment, Client):
        return deployment
    client = current()
    if deployment is None or deployment == client.target.health.get("deployment", "default"):
        return client
    if not isinstance(deployment, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(f"deployment is the name of a deployment, or a client, not {deployment!r:.60}")
    other = client.beside.get(deployment)
    if other is None or other.closed:
        target = threads.loop_thread().submit(discovery.beside(client.target, deployment)).result()
        other = client.beside[deployment] = Client(target)
    return other


def _leave_all() -> None:
    leaving = [work for heart in list(_hearts) for work in heart.leaving()]
    if leaving:
        said = [threads.loop_thread().submit(work) for work in leaving]
        concurrent.futures.wait(said, GOODBYE)


atexit.register(_leave_all)
