"""The dashboard notebook in a browser: a chart that changes in place, filters, and honesty without a kernel."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.people import PATIENCE, App, Person
from tests.jupyter.servers import JupyterProcess

DASHBOARD = Path(__file__).parents[2] / "notebooks" / "02-live-dashboard.ipynb"
PLACE = 14
"""Index of the cell that places five orders."""
# Looks at every frame: the chart's height, and whether there is a chart in sight.
WATCH = """() => {
    const drawing = document.querySelector('.nbr-drawing');
    window.frames_seen = new Set();
    window.drawings = 0;
    new MutationObserver(changes => { window.drawings += changes.length; })
        .observe(drawing, { attributeFilter: ['data-number'] });
    const look = () => {
        const shown = drawing.querySelectorAll(':scope > :not(.nbr-staged) :is(canvas, svg.marks)').length > 0;
        window.frames_seen.add(`${shown} ${Math.round(drawing.getBoundingClientRect().height)}`);
        requestAnimationFrame(look);
    };
    look();
}"""


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_dashboard_follows_filters_and_orders(
    person: Callable[[str], Person], lab: JupyterProcess, app: App
) -> None:
    folder = lab.root / f"dashboard-{app}"
    folder.mkdir()
    shutil.copy(DASHBOARD, folder)
    alice = person("Alice")
    page = alice.page
    # Charts are drawn by the page's own Vega: a library from elsewhere would not come.
    foreign: list[str] = []
    page.on("request", lambda request: None if "127.0.0.1" in request.url else foreign.append(request.url))
    alice.open(f"dashboard-{app}/{DASHBOARD.name}", app)
    alice.run_all()
    chart = page.locator(".nbr-drawing").first
    expect(chart.locator("canvas, svg.marks").first).to_be_visible(timeout=PATIENCE)
    expect(
        page.locator("[data-mime-type='application/vnd.jupyter.error'], .jp-RenderedText[data-mime-type$=stderr]")
    ).to_have_count(0)
    expect(page.locator(".nbr-live:visible")).to_have_count(2)
    counter = page.locator(".nbr-drawing h3")
    # the last cell but one has placed five orders on top of what there was
    [before] = (
        page.locator(".jp-OutputArea-executeResult [data-mime-type='text/plain'] pre")
        .filter(has_text=re.compile(r"^3\d\d\d\s*$"))
        .all_inner_texts()
    )
    expect(counter).to_contain_text(f"{int(before) + 5:,} orders", timeout=PATIENCE)

    # the slider moves: the chart takes new rows, and there is never a frame without it
    page.evaluate(WATCH)
    orders = alice.table.get_by_role("row", name="books").get_by_role("gridcell").nth(1)
    first = orders.inner_text()
    alice.wait_for_kernel("idle")
    handle = page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y, steps=10)
    page.mouse.up()
    expect(orders).not_to_have_text(first, timeout=PATIENCE)
    page.wait_for_function("() => window.drawings > 0", timeout=PATIENCE)
    page.locator(".widget-dropdown select").select_option("south")
    newest = page.locator(".nbr-live:visible").last
    expect(newest.get_by_role("gridcell", name="west", exact=True)).to_have_count(0, timeout=PATIENCE)

    alice.start_cell(PLACE)
    expect(counter).to_contain_text(f"{int(before) + 10:,} orders", timeout=PATIENCE)
    seen = page.evaluate("() => [...window.frames_seen]")
    assert len(seen) == 1, seen
    assert seen[0].startswith("true ")

    # a chart takes the colours of another theme
    page.evaluate("() => { document.body.dataset.jpThemeLight = 'false'; }")
    page.wait_for_function(
        """() => [...document.querySelectorAll('.nbr-drawing > :not(.nbr-staged) canvas')].some(canvas => {
            const [red, green, blue, opaque] = canvas.getContext('2d').getImageData(1, 1, 1, 1).data;
            return opaque === 255 && red + green + blue < 300;
        })""",
        timeout=PATIENCE,
    )
    assert foreign == []
    assert alice.errors == []


def test_drawings_say_that_their_kernel_was_restarted(person: Callable[[str], Person], lab: JupyterProcess) -> None:
    folder = lab.root / "restarted"
    folder.mkdir()
    shutil.copy(DASHBOARD, folder)
    alice = person("Alice")
    alice.open(f"restarted/{DASHBOARD.name}")
    alice.run_all()
    notes = alice.page.locator(".nbr-drawing > .nbr-detached:visible")
    expect(alice.page.locator(".nbr-drawing h3")).to_be_visible(timeout=PATIENCE)
    expect(notes).to_have_count(0)
    alice.save()
    alice.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(notes).to_have_count(2, timeout=PATIENCE)
    alice.wait_for_kernel("idle")
    expect(notes.first).to_contain_text("no longer live")

    # also a page that was loaded afterwards, with the same kernel id
    alice.page.reload()
    expect(notes).to_have_count(2, timeout=PATIENCE)
    expect(notes.first).to_contain_text("no longer live")
    expect(alice.page.locator(".nbr-live:visible .nbr-state").first).to_have_text("live")  # a table needs no kernel
