"""Signing in through the official React client in a browser: with an issuer, and with an account of the example."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conformance.packages import needs_node, provide
from tests.conformance.test_react import APP, PATIENCE, browser, built, web_server  # noqa: F401 - fixtures
from tests.issuer import Issuer
from tests.served import Served

ACCOUNTS = Path(__file__).parents[2] / "examples" / "accounts" / "reactive"
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_node]


class Place(NamedTuple):
    backend: Served
    issuer: Issuer
    page: str


@pytest.fixture(scope="module")
def place(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: F811
    with ExitStack() as running:
        issuer = running.enter_context(Issuer())
        providers = [issuer.provider(), {"type": "session", "issuer": "accounts", "function": "accounts:session"}]
        modules = {
            "accounts": (ACCOUNTS / "accounts.py").read_text("utf-8"),
            "auth_config": f"auth_config = {{'providers': {providers!r}}}\n",
        }
        backend = running.enter_context(Served(tmp_path_factory.mktemp("auth"), modules))
        files = running.enter_context(web_server(built))
        query = urlencode({"backend": backend.url, "issuer": issuer.url})
        yield Place(backend, issuer, f"{files}/auth.html?{query}")


@pytest.fixture
def page(browser: Browser, place: Place) -> Iterator[Page]:  # noqa: F811
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(error.stack or error.message))
    opened.goto(place.page)
    sees(opened, ".state", "out")
    yield opened
    context.close()
    assert errors == []


def sees(page: Page, what: str, text: str | re.Pattern[str]) -> None:
    expect(page.locator(what)).to_have_text(text, timeout=PATIENCE)


def fills(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.locator(f"input[name={name}]").fill(text)
    page.locator("form button").first.click()


def test_the_app_type_checks() -> None:
    provide(APP)
    tsc = APP / "node_modules" / "typescript" / "bin" / "tsc"
    checked = subprocess.run(["node", tsc, "--noEmit"], cwd=APP, capture_output=True, text=True, check=False)
    # What the guide itself leaves open; its modules are used as they are.
    known = "guide/upload.tsx(30,59): error TS18047: 'e.target.files' is possibly 'null'."
    assert [line for line in checked.stdout.splitlines() if line != known] == []


def test_with_an_issuer(page: Page, place: Place) -> None:
    page.locator(".issuer").click()
    sees(page, ".name", "ADA")  # store_user has made the document
    sees(page, ".token", f"{place.issuer.url}|ada")
    page.locator(".leave").click()
    sees(page, ".state", "out")
    expect(page.locator("form")).to_be_visible()
    # The issuer's keys change: who comes back has a token of the new one.
    place.issuer.control(rotate=True)
    page.locator(".issuer").click()
    sees(page, ".token", f"{place.issuer.url}|ada")


def test_tokens_that_end_are_renewed_by_the_client(page: Page, place: Place) -> None:
    page.locator(".short").click()
    sees(page, ".name", "BOB")
    page.wait_for_function("() => globalThis.asked.length >= 5", timeout=PATIENCE)
    sees(page, ".state", "in")
    sees(page, ".name", "BOB")
    assert page.evaluate("() => globalThis.asked.slice(1).every(force => force)")


def test_a_token_that_is_refused_is_asked_for_again_and_then_no_more(page: Page) -> None:
    page.locator(".refused").click()
    page.wait_for_function("() => globalThis.asked.length >= 2", timeout=PATIENCE)
    sees(page, ".state", "out")
    assert page.evaluate("() => globalThis.asked")[:2] == [False, True]


def test_with_an_account(page: Page, place: Place) -> None:
    fills(page, email="react@example.org", password="a long password", name="React")
    sees(page, ".name", "React")
    sees(page, ".token", re.compile(r"accounts\|\w+"))
    page.locator(".leave").click()
    sees(page, ".state", "out")
    fills(page, email="react@example.org", password="another password", name="")
    sees(page, ".problem", "INVALID_CREDENTIALS")
    fills(page, email="react@example.org", password="a long password", name="")
    sees(page, ".name", "React")
    # Signed out from elsewhere: the page is nobody at once, without being asked.
    token = page.evaluate("() => localStorage.getItem('token')")
    place.backend.call("mutation", "accounts:sign_out", token=token)
    sees(page, ".state", "out")
