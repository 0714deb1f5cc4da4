"""The side panel as people use it: one who may deploy, and one who may only look, in JupyterLab and in Notebook 7."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.e2e.axe import check
from tests.e2e.conftest import CONFIG, NOT_WANTED, RESULTS
from tests.e2e.people import PATIENCE, App, Person
from tests.jupyter.servers import JupyterProcess

ROLES = """
from jupyter_server.auth import Authorizer

class OnlyLooks(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return user.display_name != "Bob" or not resource.startswith("nbreactive") or action == "read"

c.ServerApp.authorizer_class = OnlyLooks
"""
SHOP = '''
from nbreactive import cron_jobs, define_schema, define_table, internal, internal_mutation, mutation, query, v

schema = define_schema({
    "orders": define_table({"city": v.string(), "n": v.number()}).index("by_city", ["city"]),
})

@query
def orders(ctx, city: str):
    """Orders of a city."""
    return ctx.db.query("orders").with_index("by_city", lambda q: q.eq("city", city)).collect()

@mutation
def add(ctx, city: str, n: float):
    print("adding", city)
    return ctx.db.insert("orders", {"city": city, "n": n})

@mutation
def later(ctx):
    return ctx.scheduler.run_after(3_600_000, internal.shop.note)

@internal_mutation
def note(ctx):
    ctx.db.insert("remarks", {"text": "<img src=x onerror=alert(1)>"})

crons = cron_jobs()
crons.daily("nightly", note, {}, hour_utc=2)
'''
_PAGES = {"lab": "lab", "notebook": "tree"}


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """What is live takes as long as a shared machine needs."""
    expect.set_options(timeout=PATIENCE // 3)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    folder = tmp_path_factory.mktemp("shop")
    functions = folder / "root" / "reactive"
    functions.mkdir(parents=True)
    (functions / "shop.py").write_text(SHOP)
    server = JupyterProcess(folder, CONFIG + ROLES, module="jupyterlab")
    pages = Path(server.environment["JUPYTER_CONFIG_DIR"]) / "labconfig"
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "page_config.json").write_text(json.dumps({"disabledExtensions": dict.fromkeys(NOT_WANTED, True)}))
    with server:
        yield server


@pytest.fixture
def visitor(browser: Browser, shop: JupyterProcess) -> Iterator[Callable[[str, App], Locator]]:
    """Bring somebody in and open the panel for them, at a screen of 13 inches: ``visitor("Alice", "lab")``."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def bring(name: str, app: App) -> Locator:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE // 3)
        contexts.append(context)
        somebody = Person(name, context, shop)
        people.append(somebody)
        page = somebody.page
        page.goto(f"{shop.url}/{_PAGES[app]}?token={name.lower()}-token&reset")
        page.wait_for_function(
            "() => window.jupyterapp?.commands.hasCommand('nbreactive:open-panel')", timeout=PATIENCE
        )
        page.evaluate("async () => { await window.jupyterapp.restored; }")
        somebody.command("nbreactive:open-panel")
        panel = page.locator("#nbreactive-panel .nbr-panel")
        expect(panel.locator(".nbr-panel-state")).to_have_text("default: live", timeout=PATIENCE)
        return panel

    yield bring
    for context in contexts:
        context.close()
    assert [error for somebody in people for error in somebody.errors] == []


def turn_to(panel: Locator, name: str) -> None:
    panel.get_by_role("tab", name=name, exact=True).click()


def press(panel: Locator, name: str) -> None:
    panel.get_by_role("button", name=name, exact=True).click()


def keep(page: Page, name: str) -> None:
    """Keep the screen; nobody is kept out of what is on it."""
    check(page, "#nbreactive-panel")
    RESULTS.mkdir(exist_ok=True)
    page.screenshot(path=RESULTS / f"panel-{name}.png")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_rows_are_looked_at_and_changed_while_a_viewer_looks(visitor: Callable[[str, App], Locator], app: App) -> None:
    city = f"Oslo of {app}"
    alice, bob = visitor("Alice", app), visitor("Bob", app)

    # who may only look sees public functions, and no tables
    tabs = bob.get_by_role("tab")
    expect(tabs).to_have_text(["Functions", "Health", "Settings"])
    expect(bob.get_by_role("button", name="shop:orders")).to_be_visible()
    expect(bob.get_by_role("button", name="shop:note")).to_have_count(0)
    press(bob, "shop:add")
    expect(bob).to_contain_text("You may look here, and not run what writes.")
    press(bob, "← Functions")
    press(bob, "shop:orders")
    bob.get_by_role("textbox", name="city").fill(city)
    press(bob, "Follow")
    result = bob.get_by_role("region", name="Result").first
    expect(result).to_contain_text("live")

    # who may deploy runs functions: the viewer sees what comes of it
    turn_to(alice, "Functions")
    press(alice, "shop:add")
    alice.get_by_role("textbox", name="city").fill(city)
    alice.get_by_role("textbox", name="n", exact=True).fill("7")
    press(alice, "Run")
    expect(result.get_by_role("cell", name=city)).to_have_count(1)

    # and changes rows
    turn_to(alice, "Data")
    press(alice, "orders")
    expect(alice.get_by_role("cell", name=city)).to_have_count(1)
    alice.get_by_text("Schema and indexes").click()
    expect(alice).to_contain_text("by_city (city)")
    alice.get_by_text("Schema and indexes").click()
    press(alice, "Add document")
    keep(alice.page, f"document-{app}")
    alice.get_by_role("textbox", name="city").fill(city)
    alice.get_by_role("textbox", name="n", exact=True).fill("8")
    press(alice, "Save")
    expect(alice).to_contain_text("The document was added.")
    expect(result.get_by_role("cell", name=city)).to_have_count(2)
    alice.get_by_role("combobox", name="Field", exact=True).fill("city")
    alice.get_by_role("textbox", name="Value", exact=True).fill(city)
    press(alice, "Filter")
    expect(alice.locator("tbody tr")).to_have_count(2)
    alice.get_by_role("checkbox", name="select all rows").check()
    expect(alice).to_contain_text("2 selected")
    keep(alice.page, f"data-{app}")
    alice.get_by_role("combobox", name="Field to change").fill("n")
    alice.get_by_role("textbox", name="New value").fill("42")
    press(alice, "Set")
    expect(result.get_by_role("cell", name="42", exact=True)).to_have_count(2)
    press(alice, "Delete the selected documents")
    alice.get_by_role("button", name="Really? Delete the selected documents").click()
    expect(result).to_contain_text("[]")
    expect(alice).to_contain_text("2 deleted.")


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_calls_jobs_files_history_and_settings(
    visitor: Callable[[str, App], Locator], shop: JupyterProcess, app: App
) -> None:
    alice = visitor("Alice", app)
    turn_to(alice, "Functions")
    press(alice, "shop:later")
    expect(alice).to_contain_text("mutation later()")
    alice.get_by_text("Source", exact=True).click()
    expect(alice.locator(".nbr-mod-here")).to_contain_text(re.compile("@mutation|def later"))
    press(alice, "Run")
    expect(alice.get_by_role("region", name="Result").first).to_contain_text("result, after")
    press(alice, "← Functions")
    row = alice.get_by_role("row", name=re.compile("shop:later"))
    expect(row.get_by_role("cell").nth(2)).not_to_have_text("0")

    turn_to(alice, "Logs")
    expect(alice.get_by_role("row", name=re.compile("shop:later")).first).to_be_visible()
    keep(alice.page, f"logs-{app}")
    alice.get_by_role("textbox", name="Function or module").fill("shop.later")
    alice.locator("tbody button").first.click()
    call = alice.get_by_role("region", name="Call", exact=True)
    expect(call).to_contain_text("mutation")
    alice.get_by_role("combobox", name="Level").select_option("error")
    expect(alice).to_contain_text("no calls")

    turn_to(alice, "Schedules")
    keep(alice.page, f"schedules-{app}")
    press(alice, "Run nightly now")
    expect(alice.get_by_role("row", name=re.compile("nightly"))).to_contain_text("success")
    alice.get_by_role("button", name="Cancel shop:note").first.click()
    expect(alice).to_contain_text("It was canceled.")
    alice.get_by_role("combobox", name="State").select_option("canceled")
    expect(alice.get_by_role("row", name=re.compile("shop:note canceled|canceled"))).not_to_have_count(0)

    turn_to(alice, "Data")
    press(alice, "remarks")
    expect(alice.get_by_role("cell", name="<img src=x onerror=alert(1)>").first).to_be_visible()
    assert alice.locator("img").count() == 0

    turn_to(alice, "Files")
    keep(alice.page, f"files-{app}")
    with alice.page.expect_file_chooser() as chooser:
        press(alice, "Upload")
    chooser.value.set_files(files=[{"name": "a.txt", "mimeType": "text/plain", "buffer": b"what is in it"}])
    expect(alice).to_contain_text("The file was uploaded.")
    alice.locator("tbody tr button").first.click()
    expect(alice.get_by_role("region", name="Preview")).to_contain_text("what is in it")
    alice.locator("tbody tr").get_by_text("Delete", exact=True).first.click()
    alice.locator("tbody tr").get_by_text("Really?").first.click()
    expect(alice).to_contain_text("The file was deleted.")
    expect(alice).to_contain_text("no files")

    turn_to(alice, "History")
    deploys = alice.get_by_role("region", name="Deploys")
    expect(deploys.locator("tbody tr")).not_to_have_count(0)
    before = deploys.locator("tbody tr").count()
    (shop.root / "reactive" / "shop.py").write_text(SHOP.replace("Orders of a city.", f"Orders, as of {app}."))
    expect(deploys.locator("tbody tr")).to_have_count(before + 1)
    deploys.locator("tbody button").first.click()
    difference = alice.get_by_role("region", name="Difference")
    expect(difference.locator(".nbr-mod-added").filter(has_text=f"as of {app}")).to_have_count(1)
    keep(alice.page, f"history-{app}")
    press(alice, "Close")
    deploys.get_by_role("button", name=re.compile("^Go back to version")).first.click()
    deploys.get_by_role("button", name=re.compile("^Really?")).click()
    expect(deploys.locator("tbody tr")).to_have_count(before + 2)
    expect(alice.get_by_role("region", name="Commits").locator("tbody tr")).not_to_have_count(0)

    turn_to(alice, "Health")
    expect(alice).to_contain_text("Connections")
    expect(alice.get_by_role("region", name="Slow functions")).to_be_visible()
    keep(alice.page, f"health-{app}")

    turn_to(alice, "Settings")
    alice.get_by_role("textbox", name="Name", exact=True).fill("TOKEN")
    alice.get_by_role("textbox", name="Value", exact=True).fill("secret")
    press(alice, "Set")
    expect(alice.get_by_role("row", name=re.compile("TOKEN"))).to_contain_text("6 characters")
    press(alice, "Show the value of TOKEN")
    keep(alice.page, f"settings-{app}")
    expect(alice.get_by_role("row", name=re.compile("TOKEN"))).to_contain_text("secret")
    press(alice, "Remove TOKEN")
    press(alice, "Really? Remove TOKEN")
    expect(alice.get_by_role("row", name=re.compile("TOKEN"))).to_have_count(0)


def test_it_works_by_keyboard_in_the_dark(visitor: Callable[[str, App], Locator]) -> None:
    alice = visitor("Alice", "lab")
    page = alice.page
    page.evaluate(
        "async () => { await window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' }); }"
    )
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    data = alice.get_by_role("tab", name="Data")
    data.focus()
    page.keyboard.press("ArrowRight")
    expect(alice.get_by_role("tab", name="Functions")).to_be_focused()
    expect(alice.get_by_role("tab", name="Functions")).to_have_attribute("aria-selected", "true")
    alice.get_by_role("button", name="shop:orders").focus()
    page.keyboard.press("Enter")
    expect(alice.get_by_role("heading", name="shop:orders")).to_be_focused()
    keep(page, "function-dark")
    for name in ("Data", "Logs", "Schedules", "Files", "History", "Health", "Settings"):
        turn_to(alice, name)
        keep(page, f"{name.lower()}-dark")
    page.locator("#nbreactive-panel").evaluate("node => node.style.maxWidth = '230px'")
    keep(page, "narrow")
    # nothing is wider than the panel, but what has a bar of its own
    wide = "node => node.scrollWidth - node.clientWidth"
    assert alice.locator(".nbr-panel-content").evaluate(wide) <= 1


def test_a_new_live_notebook_is_live(visitor: Callable[[str, App], Locator], shop: JupyterProcess) -> None:
    alice = visitor("Alice", "lab")
    page = alice.page
    page.evaluate("async () => { await window.jupyterapp.commands.execute('nbreactive:new-notebook', { cwd: '' }); }")
    expect(page.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=PATIENCE,
    )
    page.evaluate("async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    expect(page.locator(".nbr-live:visible").get_by_role("gridcell", name="hello")).to_be_visible(timeout=PATIENCE)
    expect(alice.get_by_role("button", name="notes", exact=True)).to_be_visible(timeout=PATIENCE)
