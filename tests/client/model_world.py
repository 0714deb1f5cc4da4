"""A client, its two threads, the network and a server, of which a test decides every single step.

The client's parts are the real ones (session, subscriptions, layers, calls, live queries); its threads are two lists of
work, the network two lists of messages, and the server a model of what the backend does: it runs mutations in order and
once, keeps every version of its table, and answers before or together with a transition that has the mutation.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from nbreactive.client import page_updates
from nbreactive.client.arguments import FixedArguments
from nbreactive.client.calls import Calls
from nbreactive.client.live import LiveQuery
from nbreactive.client.local_store import LocalStore
from nbreactive.client.optimistic import Layer, Layers
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.client.protocol import encode_args, encode_ts
from nbreactive.client.session import Session
from nbreactive.client.subscription import Subscriptions
from nbreactive.client.target import Target
from nbreactive.errors import AppError
from nbreactive.values.kinds import UNSET

KINDS = {"items:list": "query", "items:page": "query", "items:change": "mutation"}
END = "end"
State = dict[str, dict[str, Any]]
"""Items by their tags."""


def applied(state: State, op: Mapping[str, Any]) -> State:
    """What an operation makes of a table; the server's truth, and what the optimistic updates have to look like."""
    kind, tag = op["kind"], op["tag"]
    if kind == "add":
        return {**state, tag: {"tag": tag, "key": op["key"], "likes": 0}}
    if tag not in state:
        return state
    if kind == "remove":
        return {name: item for name, item in state.items() if name != tag}
    return {**state, tag: {**state[tag], "likes": state[tag]["likes"] + 1}}


def listed(state: State) -> list[dict[str, Any]]:
    """Newest first, as both queries return them."""
    return sorted(state.values(), key=lambda item: -item["key"])


def update(store: LocalStore, op: Mapping[str, Any]) -> None:
    """The optimistic update of ``items:change``."""
    rows = store.get_query("items:list")
    if rows is not UNSET:
        made = listed(applied({row["tag"]: row for row in rows}, op))
        store.set_query("items:list", {}, made)
        rows.clear()  # a copy: nobody sees that
    if op["kind"] == "add":
        item = {"tag": op["tag"], "key": op["key"], "likes": 0}
        if op["top"]:
            page_updates.insert_at_top(store, "items:page", item)
        else:
            by: Callable[[Any], Any] = lambda item: [item["key"]]  # noqa: E731
            page_updates.insert_at_position(store, "items:page", item, key=by, order="desc")
    else:
        page_updates.update_in_page(
            store, "items:page", lambda row: applied({row["tag"]: row}, op).get(row["tag"], UNSET)
        )


class Server:
    """Every version of one table, and what became of each mutation."""

    def __init__(self) -> None:
        self.ts = 10
        self.versions: dict[int, State] = {10: {}}
        self.records: dict[tuple[str, int], tuple[int, bool]] = {}
        self.applied: dict[int, int] = {}
        """The timestamps of operations that were committed, by their numbers."""
        self.salt = 0

    def commit(self, op: Mapping[str, Any]) -> int:
        state = applied(self.versions[self.ts], op)
        self.ts += 1
        self.versions[self.ts] = state
        return self.ts

    def page(self, opts: dict[str, Any], journal: str | None) -> tuple[dict[str, Any] | None, str | None]:
        """One page as ``.paginate()`` reads it, and its journal; None if a cursor is not of this server's making."""
        start, end = opts["cursor"], opts.get("endCursor") or journal
        salt = f"{self.salt}:"
        if any(cursor is not None and not cursor.startswith(salt) for cursor in (start, opts.get("endCursor"))):
            return None, None
        if end is not None and not end.startswith(salt):
            return None, None
        rows = listed(self.versions[self.ts])
        if start is not None:
            rows = [] if start == salt + END else [row for row in rows if row["key"] < float(start[len(salt) :])]
        if end is None:
            taken = rows[: opts["numItems"]]
            end = salt + (END if len(taken) == len(rows) else str(taken[-1]["key"]))
        elif end == salt + END:
            taken = rows
        else:
            taken = [row for row in rows if row["key"] >= float(end[len(salt) :])]
        middle = salt + str(taken[len(taken) // 2]["key"]) if len(taken) >= 3 else None
        value = {"page": taken, "isDone": end == salt + END, "continueCursor": end, "splitCursor": middle}
        return value | {"pageStatus": None}, end


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.queries: dict[int, list[Any]] = {}
        self.waiting: list[dict[str, Any]] = []
        self.responses: list[str] = []
        self.version = {"querySet": 0, "identity": 0, "ts": encode_ts(0)}
        self.query_set = 0
        self.session = ""

    def receive(self, text: str) -> None:
        message = json.loads(text)
        match message["type"]:
            case "Connect":
                self.session = message["sessionId"]
            case "ModifyQuerySet":
                assert message["baseVersion"] == self.query_set
                for change in message["modifications"]:
                    if change["type"] == "Add":
                        self.queries[change["queryId"]] = [
                            change["udfPath"], change["args"][0], change.get("journal"), None,
                        ]  # fmt: skip
                    else:
                        del self.queries[change["queryId"]]
                self.query_set = message["newVersion"]
            case "Mutation":
                self.waiting.append(message)
            case other:
                raise AssertionError(other)

    def run_one(self) -> None:
        """Run the next mutation, or look up what became of it."""
        if not self.waiting:
            return
        message = self.waiting.pop(0)
        op, key = message["args"][0], (self.session, message["requestId"])
        if key not in self.server.records:
            good = not op["fail"]
            self.server.records[key] = (self.server.commit(op) if good else 0, good)
            if good:
                self.server.applied[op["number"]] = self.server.ts
        ts, good = self.server.records[key]
        answer: dict[str, Any] = {"type": "MutationResponse", "requestId": message["requestId"], "logLines": []}
        if good:
            answer |= {"success": True, "result": None, "ts": encode_ts(ts)}
        else:
            answer |= {"success": False, "result": "no", "ts": None, "errorData": "no"}
        self.responses.append(json.dumps(answer))

    def answers(self) -> list[str]:
        out, self.responses = self.responses, []
        return out

    def transition(self) -> list[str]:
        """The answers that are ready, and everything that has changed."""
        modifications: list[dict[str, Any]] = []
        for number, query in self.queries.items():
            path, args, journal, before = query
            failed: dict[str, Any] | None = None
            value: Any = None
            if path == "items:list":
                value = listed(self.server.versions[self.server.ts])
            else:
                value, query[2] = self.server.page(args["paginationOpts"], journal)
                if value is None:
                    failed = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
            text = json.dumps([value, failed])
            if text == before:
                continue
            query[3] = text
            change: dict[str, Any] = {"queryId": number, "logLines": [], "journal": query[2]}
            if failed is None:
                change |= {"type": "QueryUpdated", "value": value}
            else:
                change |= {"type": "QueryFailed", "errorMessage": "Server Error", "errorData": failed}
            modifications.append(change)
        end = {"querySet": self.query_set, "identity": 0, "ts": encode_ts(self.server.ts)}
        message = {
            "type": "Transition",
            "startVersion": self.version,
            "endVersion": end,
            "modifications": modifications,
        }
        self.version = end
        return [*self.answers(), json.dumps(message)]


class FakeConnection:
    """A connection whose network is the test."""

    def __init__(self) -> None:
        self.session = Session()
        self.state = "connecting"
        self.problem: Any = None
        self.carry_out: Any = None
        self._open = asyncio.Event()

    def flush(self) -> None:
        """The test takes what there is to send after every step."""

    async def opened(self, within: float) -> None:
        await self._open.wait()

    def set_state(self, state: str) -> None:
        self.state = state
        if state == "open":
            self._open.set()
        else:
            self._open.clear()


class World:
    """Client, network and server; every method is one step, and checks what is shown then."""

    def __init__(self) -> None:
        self.server = Server()
        self.client_work: list[Callable[[], None]] = []
        self.user_work: list[Callable[[], None]] = []
        self.to_server: list[str] = []
        self.to_client: list[str] = []
        self.peer: Peer | None = None
        self.connection: Any = FakeConnection()
        back = lambda work, *args: self.client_work.append(partial(work, *args))  # noqa: E731
        self.subscriptions = Subscriptions(
            self.connection, lambda show, said: Layers(show, said, self.user_work.append, back)
        )
        self.target = Target("http://127.0.0.1:1", health={})
        self.calls = Calls(self.target, self.connection, self.subscriptions, 30.0)
        self.calls.kinds = dict(KINDS)
        self.begun: dict[int, Mapping[str, Any]] = {}
        """Operations whose updates have been shown, in order."""
        self.failed: set[int] = set()
        """Those of which the client has been told that they failed."""
        self.ended: list[int] = []
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.count = 0
        self.shown = 10
        self.taken = 0
        """The newest timestamp of results that were given to be shown, on any connection."""
        self.gone: set[int] = set()
        self.checked = 0
        client: Any = self
        self.list = LiveQuery(client, "items:list", FixedArguments({}))
        self.pages = PaginatedQuery(client, "items:page", FixedArguments({}), page_size=1)
        self.pages.announce = self._pages_changed  # type: ignore[method-assign]
        self.seen: list[list[Any]] = []
        """What the paginated query has shown, even for a moment, since the last check."""

    # ---- what live queries ask of a client ----

    def attach(self, *args: Any) -> None:
        self.client_work.append(partial(self.subscriptions.attach, *args))

    def detach(self, token: int) -> None:
        self.client_work.append(partial(self.subscriptions.detach, token))

    def soon(self, work: Any, *args: Any) -> None:
        self.client_work.append(partial(work, *args))

    def check_thread(self, what: str) -> None:
        return

    def _pages_changed(self) -> None:
        self.seen.append(self.pages.results)

    # ---- steps ----

    async def turn(self) -> None:
        """Let what is ready on the client's loop run, take what it sends, look at what it shows."""
        for _ in range(8):
            await asyncio.sleep(0)
        if self.peer is not None:
            self.to_server += self.connection.session.drain()
        self.check()

    async def client(self) -> None:
        if self.client_work:
            self.client_work.pop(0)()
        await self.turn()

    async def user(self) -> None:
        if self.user_work:
            self.user_work.pop(0)()
        await self.turn()

    async def begin(self, op: Mapping[str, Any]) -> None:
        number = self.count
        self.count += 1
        op = {**op, "number": number}
        layer = Layer("items:change", update, op)

        async def run() -> None:
            outcome = await self.calls.run_optimistically("items:change", encode_args(dict(op)), layer)
            self.ended.append(number)
            assert (outcome.error is not None) == op["fail"]
            if outcome.error is not None:
                assert isinstance(outcome.error, AppError)
                assert number in self.failed
            else:  # a mutation returns when the server's results that are shown have it
                assert self.server.applied[number] <= self.taken

        layer.begun.add_done_callback(lambda _: self.begun.__setitem__(number, op))
        self.tasks[number] = asyncio.create_task(run())
        await self.turn()

    async def server_takes(self) -> None:
        if self.to_server and self.peer is not None:
            self.peer.receive(self.to_server.pop(0))

    async def server_runs(self) -> None:
        if self.peer is not None:
            self.peer.run_one()

    async def server_answers(self) -> None:
        if self.peer is not None:
            self.to_client += self.peer.answers()

    async def server_shows(self) -> None:
        if self.peer is not None:
            self.to_client += self.peer.transition()

    async def network(self) -> None:
        if self.to_client and self.connection.state == "open":
            text = self.to_client.pop(0)
            effects = self.connection.session.receive(text)
            self.taken = max(self.taken, self.connection.session._shown_ts)
            for request, outcome in effects.finished:
                if outcome.error is not None:
                    self.failed.add(json.loads(request.text)["args"][0]["number"])
            self.connection.carry_out(effects)
            await self.turn()

    async def disconnect(self) -> None:
        if self.peer is None:
            return
        self.peer = None
        self.to_server.clear()
        self.to_client.clear()
        self.connection.carry_out(self.connection.session.disconnected())
        self.connection.set_state("reconnecting")
        self.subscriptions.tell_all()
        await self.turn()

    async def connect(self) -> None:
        if self.peer is not None:
            return
        self.peer = Peer(self.server)
        self.to_server = self.connection.session.connected("", 0)
        self.connection.set_state("open")
        self.subscriptions.tell_all()
        await self.turn()

    async def quiet(self) -> None:
        """Let everything happen that is under way."""
        for _ in range(60):
            before = (self.count, len(self.ended))
            await self.connect()
            while self.client_work:
                await self.client()
            await self.user()
            while self.to_server:
                await self.server_takes()
            while self.peer is not None and self.peer.waiting:
                await self.server_runs()
            await self.server_shows()
            while self.to_client:
                await self.network()
            pages = self.pages._pages
            busy = self.client_work or self.user_work or self.to_server or self.subscriptions.layers.active
            splitting = pages is not None and any(page.halves for page in pages._pages)
            if not busy and not splitting and len(self.ended) == self.count == before[0] and not self.pages.is_loading:
                return
        raise AssertionError("it does not come to rest")

    async def end(self) -> None:
        """Stop, wherever it is; raises what a call has found to be wrong."""
        for task in self.tasks.values():
            task.cancel()
        while not all(task.done() for task in self.tasks.values()):
            for works in (self.user_work, self.client_work):
                while works:
                    works.pop(0)()
            await asyncio.sleep(0)
        for outcome in await asyncio.gather(*self.tasks.values(), return_exceptions=True):
            if isinstance(outcome, AssertionError):
                raise outcome

    # ---- what has to hold ----

    def expected(self, version: int, gone: Collection[int]) -> list[dict[str, Any]]:
        """The rows of one version, with the updates of mutations that are not in it, except failed ones."""
        state = self.server.versions[version]
        for number, op in self.begun.items():
            if number not in gone and self.server.applied.get(number, version + 1) > version:
                state = applied(state, op)
        return listed(state)

    def check(self) -> None:
        """There is one version, not before the last one, and one set of failures that all views show together."""
        seen, self.seen = self.seen, []
        assert all(rows is seen[-1] for rows in seen), f"a view in between: {seen}"
        if self.list.value is None:
            return
        maybe = sorted(self.failed - self.gone)
        for version in range(self.shown, self.server.ts + 1):
            for many in range(len(maybe) + 1):
                for more in itertools.combinations(maybe, many):
                    gone = self.gone | set(more)
                    rows = self.expected(version, gone)
                    if self.list.value == rows and self.pages_show(rows, gone):
                        self.shown, self.gone = version, gone
                        self.checked += 1
                        return
        raise AssertionError(self.describe())

    def pages_show(self, rows: list[dict[str, Any]], gone: Collection[int]) -> bool:
        """Whether the paginated query shows these rows as far as its pages go."""
        pages = self.pages._pages
        if pages is None or self.pages.dimmed or self.pages.status not in ("CanLoadMore", "Exhausted"):
            return True  # what it shows is being replaced
        shown = self.pages.results
        last = pages._pages[-1].outcome
        assert last is not None
        end = last.value["continueCursor"].partition(":")[2]
        due = [row for row in rows if end == END or row["key"] >= float(end)]
        # The place of a new item behind the last row that is loaded is not known: it may come with the server's page.
        pending = {op["tag"] for number, op in self.begun.items() if number not in gone}
        return shown == due[: len(shown)] and all(row["tag"] in pending for row in due[len(shown) :])

    def describe(self) -> str:
        """Everything that one wants to know of a view that nothing explains."""
        return "\n".join(
            [
                f"list  {[(row['tag'], row['likes']) for row in self.list.value]}",
                f"pages {[(row['tag'], row['likes']) for row in self.pages.results]} {self.pages.status}",
                *(
                    f"{version} {[(row['tag'], row['likes']) for row in self.expected(version, self.gone)]}"
                    for version in range(self.shown, self.server.ts + 1)
                ),
                f"begun {self.begun} failed {self.failed} gone {self.gone} applied {self.server.applied}",
            ]
        )
