"""Several deployments behind one door: nothing but the process and the port is shared."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

from nbreactive.client import discovery
from nbreactive.errors import InvalidValue, NotConnected
from nbreactive.server.deployments import check_name
from tests.served import KEY, Served
from tests.server.fakes import Wire

NOTES = """
from nbreactive import mutation, query

@mutation
def add(ctx, text: str):
    return ctx.db.insert("notes", {"text": text})

@query
def texts(ctx):
    return [d["text"] for d in ctx.db.query("notes").collect()]

@query
def where(ctx):
    return [ctx.meta.get_deployment_metadata(), ctx.env.get("X"), ctx.env["CONVEX_CLOUD_URL"]]

@query
def crash(ctx):
    raise ValueError("told in development only")
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("deployments")
    for name in ("staging", "production"):
        (folder / f"reactive-{name}").mkdir()
        (folder / f"reactive-{name}" / "notes.py").write_text(NOTES)
    (folder / "reactive-staging" / "extra.py").write_text(
        "from nbreactive import query\n@query\ndef f(ctx): return 1\n"
    )
    with Served(folder, {"notes": NOTES}, "--also", "staging", "--also", "production=prod") as running:
        yield running


def call(backend: Served, deployment: str, kind: str, path: str, **args: object) -> object:
    return backend.fetch(f"{deployment}/api/{kind}", {"path": path, "args": args, "format": "json"})


def test_data_functions_and_environment_are_separate(backend: Served) -> None:
    for deployment in ("", "/staging", "/production"):
        call(backend, deployment, "mutation", "notes:add", text=deployment or "default")
        body = {"changes": [{"name": "X", "value": f"x of {deployment}"}]}
        assert backend.fetch(f"{deployment}/api/update_environment_variables", body, admin=True) == {"changed": 1}
    for deployment, name, mode in (
        ("", "default", "dev"),
        ("/staging", "staging", "dev"),
        ("/production", "production", "prod"),
    ):
        assert call(backend, deployment, "query", "notes:texts")["value"] == [deployment or "default"]
        meta, variable, url = call(backend, deployment, "query", "notes:where")["value"]
        assert (meta["name"], meta["class"], variable) == (name, mode, f"x of {deployment}")
        assert url == backend.url + deployment
    assert call(backend, "/default", "query", "notes:texts")["value"] == ["default"]
    assert call(backend, "/staging", "query", "extra:f")["value"] == 1
    assert "Could not find public function" in call(backend, "", "query", "extra:f")["errorMessage"]
    assert {p.name for p in backend.folder.iterdir()} >= {"data", "data-staging", "data-production"}


def test_each_has_its_mode_and_its_log(backend: Served) -> None:
    assert "told in development only" in call(backend, "/staging", "query", "notes:crash")["errorMessage"]
    hidden = call(backend, "/production", "query", "notes:crash")["errorMessage"]
    assert "told" not in hidden and "Server Error" in hidden
    body: dict[str, object] = {"path": "_system/tables:rows", "args": {"table": "_storage"}, "format": "json"}
    assert backend.fetch("/production/api/query", body, admin=True)["value"] == []
    body["args"] = {"table": "_modules"}  # who may look at tables is told why not at this one
    assert "ctx.db.system has the tables" in backend.fetch("/production/api/query", body, admin=True)["errorMessage"]
    logged = backend.fetch("/production/api/admin/logs?function=notes.crash", admin=True)["calls"]
    assert [c["request_id"] in hidden and "told in development only" in c["message"] for c in logged] == [True]
    assert not backend.fetch("/api/admin/logs?function=notes.crash", admin=True)["calls"]


def test_live_queries_of_a_named_deployment(backend: Served) -> None:
    async def main() -> None:
        for address in ("/staging/api/sync", "/staging/api/1.48.0/sync"):
            wire = Wire(await websocket_connect(backend.url.replace("http", "ws") + address))
            wire.hello()
            wire.subscribe(0, (0, "extra:f", {}))
            assert (await wire.until("Transition"))["modifications"][0]["value"] == 1
            wire.connection.close()
            await wire.closed()

    asyncio.run(main())


def test_names_that_are_not_there_are_no_way_in(backend: Served) -> None:
    for address in ("/nothing/api/query", "/api/staging/api/query", "/staging/staging/api/query", "//api/query"):
        answer = backend.fetch(address, {"path": "notes:texts", "args": {}})
        assert answer["code"] == "NotFound", address


def test_the_client_finds_a_deployment_by_its_name(backend: Served) -> None:
    async def main() -> None:
        found = await discovery.at(backend.url, admin_key=KEY, deployment="staging")
        assert found.base == f"{backend.url}/staging" and found.health["deployment"] == "staging"
        first = await discovery.at(backend.url, admin_key=KEY, deployment="default")
        assert first.base == backend.url
        by_address = await discovery.at(f"{backend.url}/production", admin_key=KEY)
        assert by_address.health["deployment"] == "production"
        with pytest.raises(NotConnected, match="no deployment 'nothing'; it has: default, staging, production"):
            await discovery.at(backend.url, admin_key=KEY, deployment="nothing")

    asyncio.run(main())


@pytest.mark.parametrize("name", ["api", "http", "version", "", "a/b", "..", "1x", "x" * 41, "a b"])
def test_names_that_no_deployment_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot be called"):
        check_name(name)


def test_refusals_at_the_start_say_what_is_wrong(tmp_path: Path) -> None:
    for options, said in (
        (["--also", "api"], "cannot be called 'api'"),
        (["--also", "x=fast"], "the mode of a deployment is dev or prod"),
        (["--also", "default"], "two deployments are called 'default'"),
        (["--limit", "documents=1"], "there is no limit 'documents'"),
    ):
        served = Served(tmp_path, None, *options)
        done = subprocess.run(served.command(), capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 1 and said in done.stderr, (options, done.stderr)


def test_a_data_folder_in_use_stops_the_start_and_frees_the_others(tmp_path: Path) -> None:
    with Served(tmp_path / "a", {}, "--also", "x"):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "data-x").symlink_to(tmp_path / "a" / "data-x")
        second = Served(tmp_path / "b", {}, "--also", "x")
        done = subprocess.run(second.command(), capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "is in use" in done.stderr
    with second:
        assert second.fetch("/x/api/query_ts", {})["ts"]
