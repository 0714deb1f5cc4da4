"""Built-in presence through the official React client: two browsers see each other come, move and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conformance.packages import needs_node
from tests.conformance.test_react import PATIENCE, JupyterSite, Site, browser, built, site

__all__ = ["browser", "built", "site"]
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_node]


@pytest.fixture
def open_room(browser: Browser, site: Site) -> Iterator[Callable[[str, str], Page]]:
    """Open the page in the name of somebody, in a browser of their own."""
    contexts: list[BrowserContext] = []

    def begin(name: str, room: str) -> Page:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        site.sign_in(page, name)
        page.goto(site.page(document=room).replace("/index.html", "/presence.html"))
        return page

    yield begin
    for context in contexts:
        context.close()


def test_two_people_see_each_other_without_any_function_of_their_own(
    site: Site, open_room: Callable[[str, str], Page]
) -> None:
    alice, bob = open_room("Alice", "a room"), open_room("Bob", "a room")
    elsewhere = open_room("Alice", "another room")
    for page in (alice, bob):
        expect(page.locator("#room li")).to_have_count(2, timeout=PATIENCE)
    expect(elsewhere.locator("#room li")).to_have_count(1, timeout=PATIENCE)
    names = ("Alice", "Bob") if isinstance(site, JupyterSite) else ("Guest", "Guest")
    bob.locator("#room button").click()
    bob.locator("#room button").click()
    expect(alice.locator("#room li")).to_have_text(
        [f"{names[0]} is in line 1", f"{names[1]} is in line 3"], timeout=PATIENCE
    )
    # who was cut off is back without anybody's doing
    site.proxy.cut()
    for page in (alice, bob):
        expect(page.locator("#room li")).to_have_count(2, timeout=PATIENCE)
        expect(page.locator("[data-connected=true]")).to_be_attached(timeout=PATIENCE)
    alice.goto("about:blank")
    expect(bob.locator("#room li")).to_have_text([f"{names[1]} is in line 3"], timeout=PATIENCE)
