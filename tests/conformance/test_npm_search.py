"""The guide's search, with npm's own client: ``searchPosts`` as a query, live, and in pages."""

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

schema = define_schema({
    "posts": define_table({"title": v.string(), "status": v.string()})
        .search_index("search_title_content", search_field="title", filter_fields=["status"]),
})

@query(name="searchPosts", args={"query": v.string()})
def search_posts(ctx, query):
    return ctx.db.query("posts").with_search_index("search_title_content", lambda q: q.search("title", query)).collect()

@query
def live_posts(ctx, text: str, opts: PaginationOpts):
    found = ctx.db.query("posts").with_search_index(
        "search_title_content", lambda q: q.search("title", text).eq("status", "live")
    )
    return found.paginate(opts)

@mutation
def publish(ctx, titles: list[str], status: str = "live"):
    return [ctx.db.insert("posts", {"title": title, "status": status}) for title in titles]

@mutation
def retitle(ctx, id: str, title: str):
    ctx.db.patch(id, {"title": title})
"""


@pytest.fixture(scope="module", autouse=True)
def _official_client() -> None:
    provide(NPM)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"search": MODULE}) as running:
        yield running


def titles(said: dict[str, Any]) -> list[str]:
    return [post["title"] for post in said["value"]]


def test_the_guides_search_is_live(backend: Served) -> None:
    with program(["node", "live.mjs", backend.url], NPM) as client:
        found = client.send("subscribe", "search:searchPosts", {"query": "카페 reac"})
        assert client.next(found)["value"] == []
        first, second = client.ask("mutation", "search:publish", {"titles": ["React 입문", "서울의 카페를 찾아서"]})[
            "value"
        ]
        assert titles(client.next(found)) == ["서울의 카페를 찾아서", "React 입문"]
        client.ask("mutation", "search:publish", {"titles": ["Nothing of that kind"]})
        client.ask("mutation", "search:retitle", {"id": first, "title": "Réactive 카페"})
        assert titles(client.next(found)) == ["Réactive 카페", "서울의 카페를 찾아서"]
        client.ask("mutation", "search:retitle", {"id": second, "title": "서울"})
        assert titles(client.next(found)) == ["Réactive 카페"]
        assert titles(client.ask("query", "search:searchPosts", {"query": "CAFÉ nothing"})) == ["Nothing of that kind"]
        refused = client.ask("query", "search:searchPosts", {"query": 5})["error"]
        assert "ArgumentValidationError" in refused["message"]


def shows(client: Program, number: int, expected: list[str], status: str) -> None:
    client.until(
        number,
        lambda said: (
            "results" in said and (said["status"], [row["title"] for row in said["results"]]) == (status, expected)
        ),
    )


def test_pages_of_a_search(backend: Served) -> None:
    words = [f"tea number{'x' * n}" for n in range(5)]
    backend.call("mutation", "search:publish", titles=words)
    backend.call("mutation", "search:publish", titles=["tea in a drawer"], status="draft")
    with program(["node", "pages.mjs", backend.url], NPM) as client:
        number = client.send("open", "search:live_posts", {"count": 2, "text": "tea"})
        shows(client, number, words[:2:-1], "CanLoadMore")
        assert client.ask("more", "", {"list": number, "count": 10})["value"]
        shows(client, number, words[::-1], "Exhausted")
        backend.call("mutation", "search:publish", titles=["tea, more tea"])
        shows(client, number, ["tea, more tea", *words[::-1]], "Exhausted")
