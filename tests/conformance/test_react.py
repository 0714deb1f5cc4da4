"""The guide's React app, built with Vite on the official client: two people in a browser see what the other does.

Once with ``nbreactive serve``, and once behind a Jupyter server that is signed in to with its cookie. What is on the page
is noted in every frame and after every change of the document; what was seen is judged at the end.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conformance.packages import needs_node, provide
from tests.conformance.proxy import Proxy
from tests.jupyter.servers import JupyterProcess
from tests.served import Served

HERE = Path(__file__).parent
APP = HERE / "react"
FUNCTIONS = {path.stem: path.read_text("utf-8") for path in (HERE / "react_functions").glob("*.py")}
BUILDS = HERE.parents[1] / ".dev" / "react"
RESULTS = HERE.parents[1] / "test-results"
PATIENCE = 60_000
DELAY = 0.02
"""Seconds by which every message to a page is late, so that there are frames in between."""
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGM4IScHQQxwFgBBAAYZPEVBlgAAAABJRU5ErkJggg=="
"""Three by two pixels."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WATCH = """
window.seen = { frames: 0, states: [] };
let last = '';
const look = () => {
    const likes = document.querySelector('.likes')?.textContent ?? '';
    const posts = [...document.querySelectorAll('#posts li')].map(item => item.textContent);
    const now = JSON.stringify({ likes, posts });
    if (now !== last) { last = now; window.seen.states.push(JSON.parse(now)); }
};
const frame = () => { window.seen.frames += 1; look(); requestAnimationFrame(frame); };
new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true });
frame();
"""
pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_node]


# ---- the app, and where it runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built() -> Path:
    """The built app; built again only when something of it has changed."""
    sources = sorted(path for path in APP.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f"{path.relative_to(APP)}\0".encode() + path.read_bytes())
    target = BUILDS / digest.hexdigest()[:16]
    if not (target / "index.html").exists():
        provide(APP)
        shutil.rmtree(BUILDS, ignore_errors=True)
        vite = APP / "node_modules" / "vite" / "bin" / "vite.js"
        subprocess.run(["node", vite, "build", "--outDir", target], cwd=APP, check=True)
    return target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("NBREACTIVE_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.fail("There is no Chromium: `./dev test` finds or installs one; or name it in NBREACTIVE_CHROMIUM.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


class Site(Protocol):
    """A backend, and a web server that has the app."""

    proxy: Proxy

    def call(self, kind: str, path: str, **args: Any) -> Any:
        """Call a function, as a program does."""
        ...

    def page(self, **looked_at: str) -> str:
        """Address of the app."""
        ...

    def sign_in(self, page: Page, name: str) -> None:
        """Sign somebody in, if that is needed here."""
        ...


class ServeSite:
    """``nbreactive serve``, and the app on a web server of its own."""

    def __init__(self, backend: Served, proxy: Proxy, files: str) -> None:
        self.backend, self.proxy, self.files = backend, proxy, files

    def call(self, kind: str, path: str, **args: Any) -> Any:
        return self.backend.call(kind, path, **args)

    def page(self, **looked_at: str) -> str:
        return f"{self.files}/index.html?{urlencode({'backend': self.proxy.url, **looked_at})}"

    def sign_in(self, page: Page, name: str) -> None:
        """Nobody need."""


class JupyterSite:
    """A Jupyter server, which serves the app, too."""

    def __init__(self, server: JupyterProcess, proxy: Proxy, folder: str) -> None:
        self.server, self.proxy = server, proxy
        self.url, self.folder = f"{proxy.url}/base", folder

    def call(self, kind: str, path: str, **args: Any) -> Any:
        body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
        answer = self.server.request("POST", f"nbreactive/api/{kind}", body, token="alice-token").json()
        assert answer.get("status") == "success", answer
        return answer["value"]

    def page(self, **looked_at: str) -> str:
        backend = f"{self.url}/nbreactive"
        return f"{self.url}/static/{self.folder}/index.html?{urlencode({'backend': backend, **looked_at})}"

    def sign_in(self, page: Page, name: str) -> None:
        page.goto(f"{self.url}/login?token={name.lower()}-token")


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["serve", "jupyter"])
def site(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as running:
        if request.param == "serve":
            backend = running.enter_context(Served(folder, FUNCTIONS))
            proxy = running.enter_context(Proxy(backend.port, DELAY))
            yield ServeSite(backend, proxy, running.enter_context(web_server(built)))
            return
        reactive = folder / "root" / "reactive"
        reactive.mkdir(parents=True)
        for name, source in FUNCTIONS.items():
            (reactive / f"{name}.py").write_text(source, "utf-8")
        config = f"c.ServerApp.extra_static_paths = [{str(built.parent)!r}]"
        server = running.enter_context(JupyterProcess(folder, config))
        yield JupyterSite(server, running.enter_context(Proxy(server.port, DELAY)), built.name)


# ---- who uses it ----------------------------------------------------------------------------------------------


class Visitor:
    """Somebody who has the app open."""

    def __init__(self, name: str, context: BrowserContext, site: Site, **looked_at: str) -> None:
        self.name, self.context = name, context
        self.page = context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(error.stack or error.message))
        site.sign_in(self.page, name)
        self.page.add_init_script(WATCH)
        self.page.goto(site.page(**looked_at))
        expect(self.page.locator("[data-connected=true]")).to_be_attached(timeout=PATIENCE)

    def says(self, text: str) -> None:
        field = self.page.locator("#chat input")
        field.fill(text)
        field.press("Enter")

    def sees_message(self, text: str) -> None:
        expect(self.page.locator("#chat div div", has_text=text)).to_be_visible(timeout=PATIENCE)

    def sees_likes(self, count: int) -> None:
        expect(self.page.locator(".likes")).to_have_text(str(count), timeout=PATIENCE)

    def sees_posts(self, titles: list[str], status: str) -> None:
        expect(self.page.locator("#posts li")).to_have_text(titles, timeout=PATIENCE)
        expect(self.page.locator(f"#posts [data-status={status}]")).to_be_attached(timeout=PATIENCE)

    def clicks(self, *buttons: str) -> None:
        """All in one task of the page: none is answered before the last is sent."""
        self.page.evaluate("names => names.forEach(name => document.querySelector(name).click())", list(buttons))

    def publishes(self, *titles: str) -> None:
        """All in one task of the page."""
        publish = "document.querySelector('#posts .publish').click()"
        self.page.evaluate(
            f"titles => titles.forEach(title => {{ document.querySelector('#posts input').value = title; {publish} }})",
            list(titles),
        )

    def waits_for_nothing(self) -> None:
        expect(self.page.locator("[data-inflight='0']")).to_be_attached(timeout=PATIENCE)

    def forget(self) -> None:
        """Note what is seen anew from now on."""
        self.page.evaluate(
            "() => { window.seen.states.splice(0, window.seen.states.length - 1); window.seen.frames = 0; }"
        )

    def saw(self) -> list[dict[str, Any]]:
        """Every state of the page since then, none twice in a row."""
        seen = self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => done(window.seen)))")
        assert seen["frames"] > 0
        return seen["states"]


Bring = Callable[[str], Visitor]


@pytest.fixture
def bring(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Bring]:
    """Bring somebody in, looking at a post and a document made for this test."""
    looked_at = {
        "post": site.call("mutation", "posts:create", title=f"liked in {request.node.name}", content=""),
        "document": site.call("mutation", "documents:create", content="once upon a time"),
    }
    visitors: list[Visitor] = []

    def begin(name: str) -> Visitor:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        visitors.append(Visitor(name, context, site, **looked_at))
        return visitors[-1]

    yield begin
    RESULTS.mkdir(exist_ok=True)
    name = request.node.name.replace("[", "-").strip("]")
    for visitor in visitors:
        visitor.page.screenshot(path=RESULTS / f"react-{name}-{visitor.name.lower()}.png")
        visitor.context.close()
    assert [visitor.errors for visitor in visitors] == [[] for _ in visitors]


# ---- tests ----------------------------------------------------------------------------------------------------


def test_the_clients_code_is_the_guides() -> None:
    """Every line of the guide's client is in the app, in order; README.md lists what is between them."""
    places = {"chat": "chat/page", "pagination": "posts", "like": "posts", "create": "posts"}
    for excerpt in sorted((APP / "guide").iterdir()):
        if excerpt.stem not in places:
            assert f"from './guide/{excerpt.stem}'" in (APP / "main.tsx").read_text("utf-8")
            continue
        app = (APP / "app" / f"{places[excerpt.stem]}.tsx").read_text("utf-8").splitlines()
        rest = iter([line.strip() for line in app])
        missing = [line for line in excerpt.read_text("utf-8").splitlines() if line.strip() not in rest]
        assert missing == [], excerpt.name


def test_the_app_type_checks_but_for_what_the_guide_leaves_out() -> None:
    provide(APP)
    tsc = APP / "node_modules" / "typescript" / "bin" / "tsc"
    checked = subprocess.run(["node", tsc, "--noEmit"], cwd=APP, capture_output=True, text=True, check=False)
    [complaint] = checked.stdout.splitlines()
    assert complaint.startswith("guide/upload.tsx(") and "'e.target.files' is possibly 'null'" in complaint


def test_chat_editor_and_presence(site: Site, bring: Bring) -> None:
    alice, bob = bring("Alice"), bring("Bob")
    alice.says("hello Bob")
    bob.sees_message("John: hello Bob")
    bob.says("hello Alice")
    alice.sees_message("John: hello Alice")

    text = alice.page.locator("#editor textarea"), bob.page.locator("#editor textarea")
    for writer, reader, said in ((*text, "Alice was here"), (*reversed(text), "and Bob, too")):
        writer.fill(said)
        expect(reader).to_have_value(said, timeout=PATIENCE)
        expect(writer).to_have_value(said, timeout=PATIENCE)
    # The guide's client gives no names; behind Jupyter the server knows them.
    names = ["Alice", "Bob"] if isinstance(site, JupyterSite) else ["current-user-id"]
    for visitor in (alice, bob):
        for name in names:
            expect(visitor.page.get_by_text(f"{name} is editing")).to_be_visible(timeout=PATIENCE)

    # A web app finds its way back by itself, and tries at once when the browser says that it is online again.
    site.proxy.refusing = True
    site.proxy.cut()
    for visitor in (alice, bob):
        expect(visitor.page.locator("[data-connected=false]")).to_be_attached(timeout=PATIENCE)
        visitor.context.set_offline(True)
        visitor.context.set_offline(False)
    site.proxy.refusing = False
    site.proxy.wait_for(lambda _: len(site.proxy.saw("Event")) >= 2)
    assert {event.message["eventType"] for event in site.proxy.saw("Event")} == {"NetworkRecoveryReconnect"}
    alice.says("are you still there?")
    bob.sees_message("John: are you still there?")
    assert int(bob.page.locator("output[data-connections]").get_attribute("data-connections") or 0) >= 2


def test_likes_never_flicker(site: Site, bring: Bring) -> None:
    alice, bob = bring("Alice"), bring("Bob")
    for visitor in (alice, bob):
        visitor.sees_likes(0)
        visitor.forget()
    site.proxy.hold()
    alice.clicks(".like", ".like", ".like")
    alice.sees_likes(3)
    bob.sees_likes(0)
    site.proxy.release()
    for visitor in (alice, bob):
        visitor.sees_likes(3)
    alice.waits_for_nothing()
    for visitor in (alice, bob):
        likes = [int(state["likes"]) for state in visitor.saw()]
        assert likes == sorted(set(likes)) and likes[0] == 0 and likes[-1] == 3, likes

    # Three in flight, and the one in between fails: it alone is taken back.
    alice.forget()
    bob.forget()
    site.proxy.hold()
    alice.clicks(".like", ".refused", ".like")
    alice.sees_likes(6)
    site.proxy.release()
    alice.waits_for_nothing()
    for visitor in (alice, bob):
        visitor.sees_likes(5)
    likes = [int(state["likes"]) for state in alice.saw()]
    up, down = likes[: likes.index(6) + 1], likes[likes.index(6) :]
    assert up == sorted(set(up)) and down == [6, 5], likes
    assert [int(state["likes"]) for state in bob.saw()] in ([3, 4, 5], [3, 5])

    # Both at once, many times.
    for visitor in (alice, bob):
        visitor.forget()
        visitor.clicks(*[".like"] * 5)
    for visitor in (alice, bob):
        visitor.sees_likes(15)
        visitor.waits_for_nothing()
    for visitor in (alice, bob):
        likes = [int(state["likes"]) for state in visitor.saw()]
        assert likes == sorted(set(likes)) and likes[-1] == 15, likes


def test_pages_of_posts_and_optimistic_inserts(site: Site, bring: Bring) -> None:
    site.call("mutation", "posts:fill", count=45)
    alice, bob = bring("Alice"), bring("Bob")
    everything: list[str] = site.call("query", "posts:titles")
    for visitor in (alice, bob):
        visitor.sees_posts(everything[:20], "CanLoadMore")
    alice.clicks("#posts .more")
    alice.sees_posts(everything[:40], "CanLoadMore")
    for visitor in (alice, bob):
        visitor.forget()

    # Three in flight, the one in between fails.
    site.proxy.hold()
    alice.publishes("first", "refused one", "second")
    alice.sees_posts(["second", "refused one", "first", *everything[:40]], "CanLoadMore")
    site.proxy.release()
    alice.waits_for_nothing()
    bob.publishes("third")
    bob.waits_for_nothing()
    new = ["third", "second", "first"]
    alice.sees_posts(new + everything[:40], "CanLoadMore")
    bob.sees_posts(new + everything[:20], "CanLoadMore")
    for visitor, shown in ((alice, everything[:40]), (bob, everything[:20])):
        appeared: set[str] = set()
        gone: set[str] = set()
        for posts in (state["posts"] for state in visitor.saw()):
            assert len(set(posts)) == len(posts), "shown twice"
            assert posts[-len(shown) :] == shown, "what was there moved or went"
            gone |= appeared - set(posts)
            assert not gone & set(posts), "went and came back"
            appeared |= set(posts)
        assert gone == ({"refused one"} if visitor is alice else set())

    # Pages shrink and grow where they are: they never overlap, and nothing is between them.
    site.call("mutation", "posts:remove", title=everything[5])
    site.call("mutation", "posts:remove", title=everything[30])
    alice.clicks("#posts .more")
    alice.sees_posts(site.call("query", "posts:titles"), "Exhausted")


def test_the_guides_search_follows_what_others_publish(site: Site, bring: Bring) -> None:
    alice, bob = bring("Alice"), bring("Bob")
    found = alice.page.locator("#search li")
    alice.page.locator("#search input").fill("zoe 데이터 chro")
    expect(found).to_have_count(0)
    bob.publishes("Zoë's recipes", "Bread", "데이터베이스를 고르는 법")
    expect(found).to_have_text(["Zoë's recipes", "데이터베이스를 고르는 법"], timeout=PATIENCE)
    bob.publishes("Zoe's chronicle")
    expect(found.first).to_have_text("Zoe's chronicle", timeout=PATIENCE)
    alice.page.locator("#search input").fill("chronicles")
    expect(found).to_have_count(0, timeout=PATIENCE)
    for title in ("Zoë's recipes", "Bread", "데이터베이스를 고르는 법", "Zoe's chronicle"):
        site.call("mutation", "posts:remove", title=title)


def test_files_go_from_the_browser_to_the_backend_and_back(site: Site, bring: Bring) -> None:
    alice, bob = bring("Alice"), bring("Bob")
    png = base64.b64decode(PNG)
    name = f"of {type(site).__name__}.png"
    alice.page.locator("#files input").set_input_files({"name": name, "mimeType": "image/png", "buffer": png})
    for visitor in (alice, bob):
        image = visitor.page.get_by_alt_text(name)
        expect(image).to_be_visible(timeout=PATIENCE)
        assert image.evaluate(
            "async image => { await image.decode(); return [image.naturalWidth, image.naturalHeight] }"
        ) == [3, 2]
        got = visitor.page.evaluate(
            "async url => { const answer = await fetch(url); return [answer.headers.get('Content-Type'), (await answer.blob()).size] }",
            image.get_attribute("src"),
        )
        assert got == ["image/png", len(png)]
    site.call("mutation", "files:remove", name=name)
    for visitor in (alice, bob):
        expect(visitor.page.get_by_alt_text(name)).to_have_count(0, timeout=PATIENCE)


@pytest.mark.parametrize("site", ["jupyter"], indirect=True)
def test_without_the_cookie_there_is_nothing(browser: Browser, site: Site) -> None:
    context = browser.new_context()
    page = context.new_page()
    with page.expect_console_message(lambda message: "Unexpected response code: 403" in message.text, timeout=PATIENCE):
        page.goto(site.page())
    expect(page.locator("[data-connected=false]")).to_be_attached()
    context.close()
