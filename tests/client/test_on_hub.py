"""Where this server's token of the Hub goes: to the Hub's service that the admin names, and nowhere else."""

from __future__ import annotations

import asyncio

import pytest

from nbreactive.client import discovery, on_hub
from nbreactive.errors import NotConnected, Refused
from tests.client.fake_server import FakeServer

HUB = "https://hub.example.org/services/nbreactive"


@pytest.fixture(autouse=True)
def on_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NBREACTIVE_TOKEN", "NBREACTIVE_ADMIN_KEY", "NBREACTIVE_DEPLOYMENT", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NBREACTIVE_URL", HUB)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "T")
    monkeypatch.setenv("JUPYTERHUB_BASE_URL", "/")
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")


def test_the_token_is_for_the_service_that_the_admin_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_hub.hub_token(HUB) == "T"
    for other in (
        "https://evil.example/services/nbreactive",
        f"{HUB}.evil.example",
        "https://hub.example.org",
        f"{HUB}2",
    ):
        assert on_hub.hub_token(other) is None
    monkeypatch.setenv("JUPYTERHUB_BASE_URL", "/jupyter/")
    assert on_hub.hub_token(HUB) is None
    monkeypatch.setenv("NBREACTIVE_URL", "https://h/jupyter/services/team/")
    assert on_hub.hub_token("https://h/jupyter/services/team") == "T"
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN")
    assert on_hub.hub_token("https://h/jupyter/services/team") is None


def test_no_backend_elsewhere_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServer("/nbreactive")
    try:
        monkeypatch.setenv("NBREACTIVE_URL", fake.url)
        target = asyncio.run(discovery.find())
        assert "Authorization" not in target.headers
        monkeypatch.setenv("NBREACTIVE_TOKEN", "mine")
        assert asyncio.run(discovery.find()).headers["Authorization"] == "token mine"
    finally:
        fake.close()


def test_the_service_is_found_and_who_is_refused_is_told_whom_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServer("/services/nbreactive")
    try:
        monkeypatch.setenv("NBREACTIVE_URL", f"{fake.url}/services/nbreactive")
        target = asyncio.run(discovery.find())
        assert target.label == f"the Hub's service at {fake.url}/services/nbreactive"
        assert target.headers["Authorization"] == "token T"
        fake.refuse = True
        with pytest.raises(Refused, match="does not answer alice: ask whoever runs the Hub"):
            asyncio.run(discovery.find())
    finally:
        fake.close()


def test_a_kernel_of_no_server_has_none_of_its_own() -> None:
    with pytest.raises(NotConnected, match="was not started by a Jupyter server"):
        asyncio.run(discovery.find("own"))
