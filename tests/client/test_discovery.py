"""Which server is found, in which order, and what is said when there is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nbreactive.client
from nbreactive.client import discovery, standalone
from nbreactive.client.discovery import clean_url
from nbreactive.client.target import Target, handshake_error
from nbreactive.errors import NotConnected, Refused
from tests.client.fake_server import FakeServer, until


@pytest.fixture
def jupyter() -> Iterator[FakeServer]:
    fake = FakeServer("/nbreactive")
    yield fake
    fake.close()


@pytest.fixture
def backend() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NBREACTIVE_URL", "NBREACTIVE_TOKEN", "NBREACTIVE_ADMIN_KEY", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)


def find(*args: str | None) -> Target:
    return asyncio.run(discovery.find(*args))


def test_addresses_as_people_paste_them() -> None:
    assert clean_url("http://h:8888/?token=abc") == ("http://h:8888", "abc")
    assert clean_url("https://hub/user/al/lab/workspaces/x?token=t&reset") == ("https://hub/user/al", "t")
    assert clean_url("h:3210") == ("http://h:3210", None)
    with pytest.raises(NotConnected, match="is not an address"):
        clean_url("ftp://x")


def test_a_jupyter_server_by_its_address(jupyter: FakeServer) -> None:
    target = find(f"{jupyter.url}/lab?token=T")
    assert (target.kind, target.base) == ("jupyter", f"{jupyter.url}/nbreactive")
    assert target.headers["Authorization"] == "token T"
    assert target.headers["X-NBReactive-Via"] == "kernel"
    assert target.sync_url == f"ws://127.0.0.1:{jupyter.port}/nbreactive/api/sync"
    assert target.cookies["who"]


def test_a_backend_by_its_address_and_by_the_environment(backend: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    target = find(backend.url, None, "KEY")
    assert (target.kind, target.headers["Authorization"]) == ("backend", "Convex KEY")
    monkeypatch.setenv("NBREACTIVE_URL", backend.url)
    monkeypatch.setenv("NBREACTIVE_ADMIN_KEY", "K2")
    assert find().headers["Authorization"] == "Convex K2"


def test_the_kernels_own_server(jupyter: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    info = {"url": f"{jupyter.url}/", "token": "T", "root_dir": str(tmp_path), "base_url": "/"}
    (tmp_path / "jpserver-4711.json").write_text(json.dumps(info))
    target = find()
    assert (target.label, target.data) == ("your server", str(tmp_path / ".nbreactive"))
    jupyter.refuse = True
    with pytest.raises(Refused):
        find()


def test_a_server_without_the_extension_is_passed_over(
    backend: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    (tmp_path / "jpserver-4711.json").write_text(json.dumps({"url": f"{backend.url}/", "token": ""}))
    assert asyncio.run(discovery.own_jupyter_server()) is None


def test_nothing_there_says_so() -> None:
    with pytest.raises(NotConnected, match="neither a Jupyter server with nbreactive nor a backend"):
        find("http://127.0.0.1:1")


def test_a_standalone_backend_is_started_reused_and_ends(tmp_path: Path) -> None:
    async def both() -> list[Target]:
        return await asyncio.gather(*(standalone.start_or_reuse(tmp_path / "data", idle=1.0) for _ in range(2)))

    one, two = asyncio.run(both())
    assert one.base == two.base
    assert one.kind == "standalone"
    assert one.headers["Authorization"].startswith("Convex ")
    assert one.health["pid"] == two.health["pid"]
    child = standalone.children()[-1]
    assert child.wait(60) == 0
    until(lambda: not (tmp_path / "data" / "backend.json").exists() or asyncio.run(_gone(tmp_path / "data")))


async def _gone(folder: Path) -> bool:
    return await standalone.running(folder) is None


def test_a_backend_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "format").mkdir()
    (tmp_path / "data" / "log").write_text("not a folder")
    with pytest.raises(NotConnected, match="could not start"):
        asyncio.run(standalone.start_or_reuse(tmp_path / "data"))


def test_a_script_is_told_what_it_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JPY_PARENT_PID", "NBREACTIVE_URL"):
        monkeypatch.delenv(name, raising=False)
    where = f"deployment default on a backend of this folder · data {tmp_path / '.nbreactive'}"
    try:
        for did in ("started", "connected to"):
            assert repr(nbreactive.connect()).startswith(f"<Client · {where} · ")
            assert capsys.readouterr().err == f"nbreactive: {did} {where}\n"
            assert nbreactive.connect() is nbreactive.client.connected()  # the same one, of which nothing is said
            assert capsys.readouterr().err == ""
            nbreactive.client.disconnect()
    finally:
        nbreactive.client.disconnect()
        standalone.children()[-1].terminate()
        standalone.children()[-1].wait(10)


def test_a_process_that_ends_says_so_when_it_cannot_connect_any_more() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    with pytest.raises(RuntimeError) as raised:
        threads.submit(print)
    for failure in (raised.value, RuntimeError("cannot schedule new futures after interpreter shutdown")):
        said = handshake_error(failure, "ws://127.0.0.1:1/api/sync")
        assert isinstance(said, NotConnected)
        assert (
            said.message == "The connection to ws://127.0.0.1:1/api/sync has ended, and this kernel is shutting down."
        )
    assert handshake_error(RuntimeError("odd"), "ws://h").message == "No connection to ws://h: odd"
