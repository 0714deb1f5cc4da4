"""What the side panel is shown by a real backend, live, and what it may do; and who may not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.client import Client
from nbreactive.client.target import Target
from nbreactive.errors import NBReactiveError
from tests.served import KEY, Served

SHOP = """
from nbreactive import cron_jobs, define_schema, define_table, internal, internal_mutation, mutation, query, v

schema = define_schema({"orders": define_table({"city": v.string(), "n": v.number()}).index("by_city", ["city"])})

@query
def orders(ctx, city: str):
    '''Orders of a city.'''
    return ctx.db.query("orders").with_index("by_city", lambda q: q.eq("city", city)).collect()

@mutation
def add(ctx, city: str, n: float):
    print("adding", city)
    if n < 0:
        raise ValueError("a negative order")
    return ctx.db.insert("orders", {"city": city, "n": n})

@mutation
def later(ctx):
    return ctx.scheduler.run_after(600_000, internal.shop.note)

@internal_mutation
def note(ctx):
    ctx.db.insert("notes", {"text": "noted"})

crons = cron_jobs()
crons.daily("nightly", note, {}, hour_utc=2)
"""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, {"shop": SHOP}) as served:
        yield served


@pytest.fixture
def deployer(backend: Served) -> Iterator[Client]:
    client = Client(Target(backend.url, headers={"Authorization": f"Convex {KEY}"}))
    yield client
    client.close()


def until(true: Callable[[], Any], what: str = "this") -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit, f"{what} does not become true"
        time.sleep(0.01)


def live(client: Client, path: str, **args: Any) -> Any:
    return client.live(path, args)


def test_calls_and_measurements_are_live(backend: Served, deployer: Client) -> None:
    logs = live(deployer, "_system/panel:logs")
    metrics = live(deployer, "_system/panel:metrics")
    backend.call("mutation", "shop:add", city="Bern", n=1)
    until(lambda: logs.value and logs.value[0]["path"] == "shop:add", "the call is in the log")
    [line] = logs.value[0]["lines"]
    assert "adding Bern" in str(line)
    with pytest.raises(RuntimeError):
        backend.call("mutation", "shop:add", city="Bern", n=-1)
    until(lambda: logs.value[0]["level"] == 3, "the failure is in the log")
    assert "a negative order" in logs.value[0]["message"]
    until(lambda: _row(metrics.value, "shop:add").get("errors") == 1, "the failure is counted")
    assert _row(metrics.value, "shop:add")["calls"] == 2
    for _ in range(3):
        backend.call("query", "shop:orders", city="Bern")
    until(lambda: _row(metrics.value, "shop:orders").get("hits", 0) >= 2, "answers without a run are counted")

    failures = live(deployer, "_system/panel:logs", level="error")
    assert [record["path"] for record in failures.value] == ["shop:add"]
    found = live(deployer, "_system/panel:logs", text=failures.value[0]["request_id"])
    assert len(found.value) == 1
    assert live(deployer, "_system/panel:logs", function="shop:orders", limit=2).value[0]["kind"] == "query"


def test_looking_at_the_log_does_not_fill_it(backend: Served, deployer: Client) -> None:
    logs = live(deployer, "_system/panel:logs", system=True)
    before = backend.fetch("/api/admin/status", admin=True)["executions"]["queries"]
    health = live(deployer, "nbreactive/panel:health")
    assert health.value["mode"] == "dev"
    backend.call("mutation", "shop:add", city="Oslo", n=1)
    until(lambda: logs.value and logs.value[0]["path"] == "shop:add")
    assert backend.fetch("/api/admin/status", admin=True)["executions"]["queries"] - before < 20
    assert not [record for record in logs.value if record["path"].startswith("_system/panel:logs")]


def test_rows_are_read_by_pages_and_changed(deployer: Client, backend: Served) -> None:
    for n in range(5):
        backend.call("mutation", "shop:add", city="Bern" if n % 2 else "Oslo", n=n)

    def page(**args: Any) -> Any:
        return live(deployer, "_system/panel:page", table="orders", **args)

    first = page(paginationOpts={"numItems": 2, "cursor": None})
    assert [row["n"] for row in first.value["page"]] == [4, 3]
    second = page(paginationOpts={"numItems": 10, "cursor": first.value["continueCursor"]})
    assert [row["n"] for row in second.value["page"]] == [2, 1, 0]
    some = page(paginationOpts={"numItems": 10, "cursor": None}, filters=[{"field": "n", "op": "gte", "value": 3}])
    assert len(some.value["page"]) == 2
    ids = [row["_id"] for row in some.value["page"]]
    assert ask(backend, "mutation", "_system/panel:change", {"ids": ids, "fields": {"city": "Rome"}}) == 2
    until(lambda: {row["city"] for row in some.value["page"]} == {"Rome"}, "changes are seen")
    document = {"city": "Lund", "n": 9}
    ask(backend, "mutation", "_system/panel:replace", {"id": ids[0], "document": document})
    with pytest.raises(RuntimeError, match="city"):
        ask(backend, "mutation", "_system/panel:change", {"ids": ids, "fields": {"city": 1}})
    assert ask(backend, "mutation", "_system/panel:delete", {"ids": ids}) == 2
    until(lambda: some.value["page"] == [], "they are gone")
    described = live(deployer, "_system/panel:table", table="orders").value
    assert [index["name"] for index in described["indexes"]][2:] == ["by_city"]


def test_jobs_and_crons(deployer: Client, backend: Served) -> None:
    jobs = live(deployer, "_system/panel:jobs", state="pending")
    ids = [backend.call("mutation", "shop:later") for _ in range(2)]
    until(lambda: len(jobs.value) == 2, "both are listed")
    assert act(backend, "cancel_job", id=ids[0]) is True
    assert act(backend, "run_job", id=ids[1]) is True
    until(lambda: jobs.value == [], "none is pending")
    done = live(deployer, "_system/panel:jobs", state="success")
    until(lambda: [job["_id"] for job in done.value] == [ids[1]], "one has run")
    crons = live(deployer, "_system/panel:crons")
    assert [cron["name"] for cron in crons.value] == ["nightly"]
    act(backend, "run_cron", name="nightly")
    until(lambda: len(crons.value[0]["logs"]) == 1, "the cron job has run")
    with pytest.raises(RuntimeError, match="nightly"):
        act(backend, "run_cron", name="weekly")


def test_history_and_going_back(deployer: Client, backend: Served) -> None:
    history = live(deployer, "_system/panel:deploys")
    functions = live(deployer, "nbreactive/panel:functions")
    assert "shop:orders" in _paths(functions)
    first = history.value["current"]["shop"]
    (backend.functions / "shop.py").write_text(SHOP.replace("def orders", "def orders_of"))
    until(lambda: "shop:orders_of" in _paths(functions), "the deploy is seen")
    until(lambda: history.value["current"]["shop"] > first)
    version = history.value["current"]["shop"]
    diff = live(deployer, "_system/panel:diff", module="shop", version=version).value
    assert "-def orders(ctx" in diff
    assert "+def orders_of(ctx" in diff
    act(backend, "roll_back", module="shop", version=first)
    until(lambda: "shop:orders" in _paths(functions), "the old functions are back")
    source = live(deployer, "_system/panel:source", module="shop")
    assert source.value["source"] == SHOP

    commits = live(deployer, "_system/panel:commits", table="orders")
    assert commits.value == []
    backend.call("mutation", "shop:add", city="Bern", n=1)
    until(lambda: len(commits.value) == 1, "the commit is listed")
    assert commits.value[0]["function"] == "shop:add"
    act(backend, "undo", commit=commits.value[0]["ts"])
    assert backend.call("query", "shop:orders", city="Bern") == []


def test_variables_and_files(deployer: Client, backend: Served) -> None:
    variables = live(deployer, "_system/panel:variables")
    act(backend, "set_variable", name="TOKEN", value="secret")
    until(lambda: variables.value == [{"name": "TOKEN", "length": 6}], "it is listed without its value")
    assert live(deployer, "_system/panel:variable", name="TOKEN").value == "secret"
    act(backend, "set_variable", name="TOKEN", value=None)
    until(lambda: variables.value == [], "it is gone")
    files = live(deployer, "_system/panel:files")
    assert files.value == []
    assert "/api/storage/upload?token=" in act(backend, "upload_url")
    with pytest.raises(RuntimeError):
        act(backend, "delete_file", id="nothing")


def test_whoever_may_not_deploy_sees_public_functions_and_that_it_runs(backend: Served) -> None:
    viewer = Client(Target(backend.url))
    try:
        assert sorted(live(viewer, "nbreactive/identity:roles").value) == ["read", "write"]
        # what a caller says of their roles is not looked at
        assert "deploy" not in ask(backend, "query", "nbreactive/identity:roles", {"roles": ["deploy"]}, admin=False)
        assert _paths(live(viewer, "nbreactive/panel:functions")) == ["shop:add", "shop:later", "shop:orders"]
        health = live(viewer, "nbreactive/panel:health").value
        assert health["deployment"] == "default"
        assert not {"data", "disk", "slow", "python"} & set(health)
        for name, args in {"logs": {}, "files": {}, "source": {"module": "shop"}, "variables": {}}.items():
            with pytest.raises(NBReactiveError, match="no function"):
                live(viewer, f"_system/panel:{name}", **args)
        for name, args in {"set_variable": {"name": "A", "value": "b"}, "upload_url": {}}.items():
            with pytest.raises(RuntimeError, match="deploy"):
                act(backend, name, admin=False, **args)
    finally:
        viewer.close()


def ask(backend: Served, kind: str, path: str, args: dict[str, Any], *, admin: bool = True) -> Any:
    answer = backend.fetch(f"/api/{kind}", {"path": path, "args": args, "format": "json"}, admin=admin)
    if answer.get("status") != "success":
        raise RuntimeError(answer.get("errorMessage", str(answer)))
    return answer["value"]


def act(backend: Served, name: str, /, *, admin: bool = True, **args: Any) -> Any:
    return ask(backend, "action", f"_system/panel:{name}", args, admin=admin)


def _row(rows: list[dict[str, Any]], path: str) -> dict[str, Any]:
    return next((row for row in rows if row["path"] == path), {})


def _paths(functions: Any) -> list[str]:
    return [function["path"] for function in functions.value]
