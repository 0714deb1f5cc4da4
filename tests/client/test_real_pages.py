"""``use_paginated_query`` against the real backend: it keeps its places over a kill, and begins anew when cursors are void."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbreactive.client.client import Client
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.client.target import Target
from tests.client.fake_server import until
from tests.served import KEY, Served

MODULE = """
from nbreactive import PaginationOpts, define_schema, define_table, mutation, query, v
schema = define_schema({"rows": define_table({"k": v.number()}).index("by_k", ["k"])})

@query
def list_(ctx, opts: PaginationOpts):
    return ctx.db.query("rows").with_index("by_k").paginate(opts)

@mutation
def put(ctx, ks: list[float]):
    for k in ks:
        ctx.db.insert("rows", {"k": k})
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"pages": MODULE}) as running:
        running.call("mutation", "pages:put", ks=[0, 1, 2, 3, 4, 5])
        yield running


def shows(page: PaginatedQuery, ks: list[float]) -> bool:
    return [row["k"] for row in page.results] == ks


@pytest.mark.slow
def test_places_are_kept_over_a_kill_and_given_up_with_the_query(backend: Served) -> None:
    with Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"})) as client:
        page = client.paginated("pages:list", {}, {"page_size": 2})
        page.load_more()
        assert shows(page, [0, 1, 2, 3])
        client.call("pages:put", {"ks": [0.5, 2.5]})
        assert shows(page, [0, 0.5, 1, 2, 2.5, 3])
        backend.kill()
        backend.start()
        # Asked for anew, a first page would have two rows.
        client.call("pages:put", {"ks": [0.7, 3.5]})
        until(lambda: shows(page, [0, 0.5, 0.7, 1, 2, 2.5, 3]))
        assert page.status == "CanLoadMore"
        # Another query from now on: its first page is loaded by itself.
        source = MODULE.replace(".paginate", '.filter(lambda q: q.field("k") >= 2).paginate')
        (backend.functions / "pages.py").write_text(source, "utf-8")
        until(lambda: shows(page, [2, 2.5]))
        page.load_more(3)
        assert shows(page, [2, 2.5, 3, 3.5, 4])
        page.load_more(9)
        assert shows(page, [2, 2.5, 3, 3.5, 4, 5])
        assert page.status == "Exhausted"
