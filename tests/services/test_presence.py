"""Rooms: who is in them, what a heartbeat costs, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import lmdb
import pytest

from nbreactive.engine.catalog import PRESENCE, index_id
from nbreactive.engine.requests import MutationRequest, QuerySpec
from nbreactive.errors import ArgumentError, FunctionNotFound, LimitExceeded, NBReactiveError, ReadOnly
from nbreactive.services import presence as module
from nbreactive.services.presence import Presence
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack
from tests.services.running import Deployment, running

ADA = {"issuer": "jupyter", "subject": "ada", "name": "Ada Lovelace", "email": "ada@example.org"}
ADD = """
from nbreactive import mutation

@mutation
def add(ctx):
    ctx.db.insert("t", {})
"""
GRACE = {"issuer": "jupyter", "subject": "grace", "name": "Grace Hopper"}


class Rooms:
    """Presence of one deployment, asked as the doors ask it."""

    def __init__(self, deployment: Deployment, presence: Presence | None = None) -> None:
        self.deployment = deployment
        self.presence = presence or deployment.parts.presence

    async def call(
        self, what: str, identity: dict[str, Any] | None, session: str, room: str = "r", on: object = None, **data: Any
    ) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        args = {"room": room, "session": session, **data}
        self.presence.begin(f"nbreactive/presence:{what}", args, identity, on, future.set_result)
        end = await future
        if isinstance(end, Exception):
            raise end
        value, ts = end
        assert ts <= self.deployment.parts.engine.durable
        return value

    async def people(self, room: str = "r") -> list[dict[str, Any]]:
        return await self.deployment.query("nbreactive/presence:list", room=room)

    async def names(self, room: str = "r") -> list[str]:
        return [person["name"] for person in await self.people(room)]

    async def become(self, *names: str) -> None:
        async with asyncio.timeout(30):
            while await self.names() != list(names):
                await asyncio.sleep(0.01)


class Watcher:
    """A live query of a room; counts what it is shown."""

    def __init__(self, deployment: Deployment) -> None:
        self.subscriptions = deployment.parts.engine.subscriptions
        self.woken = asyncio.Event()
        self.subscriptions.add(self, QuerySpec("nbreactive/presence:list", pack({"room": "r"})))
        self.shown: list[Any] = []

    def invalidated(self) -> None:
        self.woken.set()

    async def look(self) -> list[Any]:
        """Everything that it has been shown up to now."""
        update = await self.subscriptions.update(self)
        self.shown += [decode_json(result.value) for _, result in update.changes]
        return self.shown


def test_people_are_shown_once_with_all_their_tabs_and_without_what_is_secret(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms = Rooms(deployment)
            joined = await rooms.call("join", ADA, "tab 1", data={"x": 1})
            await rooms.call("join", GRACE, "tab 1")
            await rooms.call("join", ADA, "tab 2", data={"x": 2})
            await rooms.call("join", ADA, "elsewhere", room="another")
            ada, grace = await rooms.people()
            assert (ada["name"], ada["initials"], ada["guest"]) == ("Ada Lovelace", "AL", False)
            assert [session["data"] for session in ada["sessions"]] == [{"x": 1}, {"x": 2}]
            assert ada["data"] == {"x": 2} and ada["joined"] <= ada["updated"]
            assert grace["data"] is None and grace["color"] != ada["color"]
            assert (joined["user"], joined["session"]) == (ada["user"], ada["sessions"][0]["id"])
            assert "tab 1" not in repr(ada) and "example.org" not in repr(ada)
            await rooms.call("leave", ADA, "tab 2")
            assert (await rooms.people())[0]["data"] == {"x": 1}
            await rooms.call("leave", ADA, "tab 1")
            assert await rooms.names() == ["Grace Hopper"]

    asyncio.run(main())


def test_nobody_speaks_for_the_session_of_somebody_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms = Rooms(deployment)
            await rooms.call("join", ADA, "s", data="mine")
            for other in (GRACE, None):
                await rooms.call("leave", other, "s")
                await rooms.call("heartbeat", other, "s", data="theirs")
            ada, grace, guest = await rooms.people()
            assert ada["data"] == "mine" and grace["data"] == guest["data"] == "theirs"
            assert guest["name"] == "Guest" and guest["guest"]

    asyncio.run(main())


def test_a_heartbeat_runs_no_function_and_writes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, engine = Rooms(deployment), deployment.parts.engine
            await rooms.call("join", ADA, "s", data={"at": 1})
            watcher = Watcher(deployment)
            assert len(await watcher.look()) == 1
            before, ts = dict(engine.executions), engine.applied
            watcher.woken.clear()
            for _ in range(100):
                assert await rooms.call("heartbeat", ADA, "s") == {"joined": False}
                await rooms.call("heartbeat", ADA, "s", data={"at": 1})
            assert (dict(engine.executions), engine.applied) == (before, ts)
            assert not watcher.woken.is_set()
            await rooms.call("heartbeat", ADA, "s", data={"at": 1.0})  # another value than 1
            assert len(await watcher.look()) == 2

    asyncio.run(main())


def test_silence_is_leaving_and_who_is_heard_of_again_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms = Rooms(deployment, Presence(deployment.parts.engine, timeout=0.4))
            await rooms.call("join", GRACE, "s")
            await rooms.call("join", ADA, "s")
            beating = True

            async def beat() -> None:
                while beating:
                    await rooms.call("heartbeat", ADA, "s")
                    await asyncio.sleep(0.02)

            heart = asyncio.create_task(beat())
            await rooms.become("Ada Lovelace")
            assert await rooms.call("heartbeat", GRACE, "s") == {"joined": True}
            await rooms.become("Ada Lovelace", "Grace Hopper")
            beating = False
            await heart
            await rooms.become()
            assert len(rooms.presence) == 0
            await rooms.presence.close()

    asyncio.run(main())


def test_a_connection_that_ends_takes_its_sessions_along_unless_another_one_takes_them_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, first, second = Rooms(deployment), object(), object()
            for room in ("r", "q"):
                await rooms.call("join", ADA, "s", room, on=first)
            await rooms.call("join", GRACE, "s", on=first)
            await rooms.call("heartbeat", GRACE, "s", on=second)
            rooms.presence.connection_ended(first)
            assert len(rooms.presence) == 3
            await rooms.become("Grace Hopper")
            assert await rooms.names("q") == []
            rooms.presence.connection_ended(second)
            await rooms.call("heartbeat", GRACE, "s", on=object())
            await asyncio.sleep(2 * module.GRACE)
            assert await rooms.names() == ["Grace Hopper"]

    asyncio.run(main())


def test_a_connection_that_becomes_somebody_elses_leaves_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, connection = Rooms(deployment), object()
            await rooms.call("join", ADA, "s", on=connection)
            rooms.presence.connection_ended(connection, at_once=True)
            assert len(rooms.presence) == 0
            await rooms.call("heartbeat", GRACE, "s", on=connection)
            assert await rooms.names() == ["Grace Hopper"]

    asyncio.run(main())


def test_many_updates_become_few_transactions_and_the_last_one_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, engine = Rooms(deployment), deployment.parts.engine
            written: list[Any] = []
            engine.watch(index_id(PRESENCE, 0), written.append)
            for session in range(10):
                await rooms.call("join", ADA, str(session))
            written.clear()
            await asyncio.gather(
                *(rooms.call("heartbeat", ADA, str(n % 10), data={"n": n}) for n in range(1000)),
            )
            assert len(written) <= 3
            (ada,) = await rooms.people()
            assert [session["data"]["n"] for session in ada["sessions"]] == list(range(990, 1000))

    asyncio.run(main())


def test_nothing_of_it_is_in_the_log_or_the_store_and_the_row_index_forgets(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, parts = Rooms(deployment), deployment.parts
            tail = await parts.log.tail()
            for n in range(200):
                await rooms.call("heartbeat", ADA, "s", "a secret room", data={"a secret word": n})
            assert await parts.log.tail() == tail  # of which backups are made, too
            await deployment.deploy("m", ADD)
            await deployment.mutate("m:add")
            await parts.columns.rows("t", at_least=parts.engine.durable)
            with parts.engine.hold() as ts:
                while parts.index.collect(ts, 1000):
                    pass
        assert _rows(tmp_path / "index", b"a secret word") == 1
        written = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())
        assert b"secret" not in written + (tmp_path / "store.duckdb").read_bytes()
        async with running(tmp_path) as deployment:
            assert await Rooms(deployment).names("a secret room") == []

    asyncio.run(main())


def _rows(index: Path, text: bytes) -> int:
    """How many rows of the row index hold a text."""
    with contextlib.closing(lmdb.open(str(index), max_dbs=8, readonly=True, lock=False)) as env, env.begin() as txn:
        names = [bytes(name) for name, _ in txn.cursor()]
        databases = [env.open_db(name, txn, create=False) for name in names]
        return sum(text in value for database in databases for _, value in txn.cursor(database))


def test_what_could_not_be_written_is_written_when_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms, engine = Rooms(deployment), deployment.parts.engine
            transact, refused = engine.transact, 0

            async def refuse(work: Any) -> int:
                nonlocal refused
                refused += 1
                if refused == 1:
                    raise ReadOnly("the disk is full")
                return await transact(work)

            monkeypatch.setattr(engine, "transact", refuse)
            with pytest.raises(ReadOnly):
                await rooms.call("join", ADA, "s")
            await rooms.become("Ada Lovelace")
            assert refused == 2

    asyncio.run(main())


def test_what_is_wrong_is_refused_in_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms = Rooms(deployment)
            for what, args in (
                ("join", {"session": ""}),
                ("join", {"session": "s", "room": "r" * 201}),
                ("join", {"session": 7}),
                ("leave", {"session": "s", "data": 1}),
                ("join", {"session": "s", "date": 1}),
            ):
                with pytest.raises(ArgumentError):
                    await rooms.call(what, ADA, **args)  # pyright: ignore[reportArgumentType]
            with pytest.raises(LimitExceeded, match="4096"):
                await rooms.call("join", ADA, "s", data="x" * 4095)
            await rooms.call("join", ADA, "s", data="x" * 4094)
            with pytest.raises(FunctionNotFound, match="nbreactive/presence:join"):
                await rooms.call("joins", ADA, "s")
            for number in range(module.ROOM_SESSIONS):
                rooms.presence.begin(
                    "nbreactive/presence:join", {"room": "full", "session": str(number)}, ADA, None, lambda _: None
                )
            with pytest.raises(LimitExceeded, match="one room"):
                await rooms.call("join", ADA, "one more", "full")
            for room in range(module.CONNECTION_SESSIONS):
                await rooms.call("join", GRACE, "s", str(room), on=rooms) if room == 0 else rooms.presence.begin(
                    "nbreactive/presence:join", {"room": str(room), "session": "s"}, GRACE, rooms, lambda _: None
                )
            with pytest.raises(LimitExceeded, match="one connection"):
                await rooms.call("join", GRACE, "s", "one more", on=rooms)

    asyncio.run(main())


def test_functions_may_look_and_a_mutation_says_that_it_may_not_join(tmp_path: Path) -> None:
    source = """
from nbreactive import mutation, query

@query
def editing(ctx, room: str):
    return [p["name"] for p in ctx.run_query("nbreactive/presence:list", room=room)]

@mutation
def join(ctx):
    ctx.run_mutation("nbreactive/presence:join", room="r", session="s")
"""

    async def main() -> None:
        async with running(tmp_path) as deployment:
            rooms = Rooms(deployment)
            await deployment.deploy("m", source)
            await rooms.call("join", ADA, "s")
            assert await deployment.query("m:editing", room="r") == ["Ada Lovelace"]
            result = await deployment.parts.engine.mutate(MutationRequest("m:join", pack({})))
            assert result.failure is not None and "is for clients" in result.failure.message
            with pytest.raises(NBReactiveError, match="what every deployment has"):
                await deployment.deploy("nbreactive/presence", source)

    asyncio.run(main())
