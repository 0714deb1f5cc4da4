"""Pages with npm's own client, which loads, splits and joins them, and sends their journals when it reconnects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.packages import needs_node, provide
from tests.conformance.programs import Program, program
from tests.served import Served

NPM = Path(__file__).parent / "npm"
pytestmark = [pytest.mark.slow, needs_node]

MODULE = """
from nbreactive import PaginationOpts, define_schema, define_table, mutation, query, v
schema = define_schema({"rows": define_table({"k": v.number()}).index("by_k", ["k"])})

@query
def list_(ctx, opts: PaginationOpts, above: float = -1.0):
    return ctx.db.query("rows").with_index("by_k", lambda q: q.gt("k", above)).paginate(opts)

@query
def limited(ctx, opts: PaginationOpts):
    rows = ctx.db.query("rows").with_index("by_k").filter(lambda q: q.field("k") % 2 == 0)
    return rows.paginate({**opts, "maximumRowsRead": 5})

@mutation
def put(ctx, ks: list[float]):
    for k in ks:
        ctx.db.insert("rows", {"k": k})

@mutation
def remove(ctx, ks: list[float]):
    for k in ks:
        ctx.db.delete(ctx.db.query("rows").with_index("by_k", lambda q: q.eq("k", k)).first()["_id"])
"""


@pytest.fixture(scope="module", autouse=True)
def _official_client() -> None:
    provide(NPM)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"pages": MODULE}) as running:
        running.call("mutation", "pages:put", ks=list(range(10)))
        yield running


class List:
    """One paginated list of the client."""

    def __init__(self, client: Program, path: str = "pages:list", count: int = 3, **args: Any) -> None:
        self.client = client
        self.number = client.send("open", path, {"count": count, **args})

    def until(self, ks: list[float], status: str) -> None:
        self.client.until(
            self.number,
            lambda said: "results" in said and (said["status"], [row["k"] for row in said["results"]]) == (status, ks),
        )

    def more(self, count: int) -> None:
        assert self.client.ask("more", "", {"list": self.number, "count": count})["value"]


def opts(count: int, cursor: str | None = None) -> dict[str, Any]:
    return {"numItems": count, "cursor": cursor}


def test_pages_load_grow_split_and_end(backend: Served) -> None:
    with program(["node", "pages.mjs", backend.url], NPM) as client:
        shown = List(client)
        shown.until([0, 1, 2], "CanLoadMore")
        shown.more(4)
        shown.until([0, 1, 2, 3, 4, 5, 6], "CanLoadMore")
        # The first page grows to more than twice its size, and is split in two.
        between = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        client.ask("mutation", "pages:put", {"ks": between})
        whole = [0, *between, 1, 2, 3, 4, 5, 6]
        shown.until(whole, "CanLoadMore")
        client.ask("mutation", "pages:put", {"ks": [0.35, 6.5]})
        whole = sorted([*whole, 0.35])
        shown.until(whole, "CanLoadMore")
        client.ask("mutation", "pages:remove", {"ks": [0, 0.2, 0.6, 3, 5]})
        whole = [k for k in whole if k not in (0, 0.2, 0.6, 3, 5)]
        shown.until(whole, "CanLoadMore")
        shown.more(9)
        shown.until([*whole, 6.5, 7, 8, 9], "Exhausted")
        backend.call("mutation", "pages:put", ks=[10])
        shown.until([*whole, 6.5, 7, 8, 9, 10], "Exhausted")


def test_pages_that_a_limit_cuts_short_are_split_and_shown(backend: Served) -> None:
    with program(["node", "pages.mjs", backend.url], NPM) as client:
        shown = List(client, "pages:limited", 4)
        shown.until([0, 2, 4], "CanLoadMore")
        shown.more(4)
        shown.until([0, 2, 4, 6, 8], "CanLoadMore")
        shown.more(4)
        shown.until([0, 2, 4, 6, 8], "Exhausted")


def test_journals_come_back_after_the_backend_was_killed(backend: Served) -> None:
    with program(["node", "pages.mjs", backend.url], NPM) as client:
        shown = List(client)
        shown.until([0, 1, 2], "CanLoadMore")
        shown.more(3)
        shown.until([0, 1, 2, 3, 4, 5], "CanLoadMore")
        # The client asks for three documents once more, under the same number: only the journal knows of five.
        one = client.send("subscribe", "pages:list", {"paginationOpts": opts(3)})
        first = client.next(one)["value"]
        client.ask("mutation", "pages:put", {"ks": [0.5, 1.5]})
        client.until(one, lambda said: len(said["value"]["page"]) == 5)
        backend.kill()
        backend.start()
        client.ask("mutation", "pages:put", {"ks": [0.7, 3.5]})
        shown.until([0, 0.5, 0.7, 1, 1.5, 2, 3, 3.5, 4, 5], "CanLoadMore")
        again = client.until(one, lambda said: len(said["value"]["page"]) == 6)["value"]
        assert again["continueCursor"] == first["continueCursor"]
        shown.more(2)
        shown.until([0, 0.5, 0.7, 1, 1.5, 2, 3, 3.5, 4, 5, 6, 7], "CanLoadMore")
        # Whoever comes without a journal begins with a page of three, and can go on from where others were.
        http = backend.call("query", "pages:list", paginationOpts=opts(3))
        assert [row["k"] for row in http["page"]] == [0, 0.5, 0.7]
        rest = backend.call("query", "pages:list", paginationOpts=opts(2, again["continueCursor"]))
        assert [row["k"] for row in rest["page"]] == [3, 3.5]
        assert client.ask("state")["value"]["connectionCount"] >= 2


def test_cursors_outlive_restarts_and_deploys_but_not_their_key(backend: Served) -> None:
    key = backend.data / "cursor.key"
    assert key.stat().st_mode & 0o777 == 0o600
    cursor = backend.call("query", "pages:list", paginationOpts=opts(4))["continueCursor"]
    backend.stop()
    (backend.functions / "pages.py").write_text(MODULE + "\n# deployed again\n", "utf-8")
    backend.start()
    second = backend.call("query", "pages:list", paginationOpts=opts(4, cursor))
    assert [row["k"] for row in second["page"]] == [4, 5, 6, 7]
    with program(["node", "pages.mjs", backend.url], NPM) as client:
        page = client.send("subscribe", "pages:list", {"paginationOpts": opts(4, cursor)})
        assert len(client.next(page)["value"]["page"]) == 4
        backend.kill()
        key.unlink()
        backend.start()
        refused = client.until(page, lambda said: "error" in said)["error"]
        assert refused["isConvexError"] and "InvalidCursor" in refused["message"]
        assert refused["data"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
        # As the React hook does then: from the first page.
        again = List(client, above=-2)
        again.until([0, 1, 2], "CanLoadMore")
    answer = backend.ask("query", "pages:list", paginationOpts=opts(4, cursor))
    assert answer["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}
