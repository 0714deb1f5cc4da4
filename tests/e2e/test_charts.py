"""Charts by ``.render`` that follow a table which changes 30 times a second: coalesced, and without flicker."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.e2e import charts
from tests.e2e.people import PATIENCE, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

SECONDS = 4


def test_charts_follow_many_changes_without_flicker(person: Callable[[str], Person], lab: JupyterProcess) -> None:
    change = charts.CHANGE.format(seconds=SECONDS, rate=charts.CHANGES)
    write_notebook(lab.root / "charts" / "charts.ipynb", *charts.CELLS, change, charts.DONE)
    alice = person("Alice")
    alice.open("charts/charts.ipynb")
    for index in range(len(charts.CELLS)):
        alice.start_cell(index)
    charts.wait_for_charts(alice.page)
    alice.page.evaluate(charts.WATCH)
    before = alice.page.locator(".nbr-drawing img").get_attribute("src")
    for index in range(len(charts.CELLS), len(charts.CELLS) + 2):
        alice.start_cell(index)
    said = alice.page.locator(".jp-OutputArea-output pre").filter(has_text=re.compile("changes: "))
    expect(said).to_be_visible(timeout=PATIENCE)
    changes, figures = map(int, re.findall(r"\d+", said.inner_text()))
    assert figures == 0  # matplotlib keeps none of those that were drawn
    expect(alice.page.locator(".nbr-drawing img")).not_to_have_attribute("src", before or "", timeout=PATIENCE)
    altair, matplotlib = charts.seen(alice.page)
    assert altair["swaps"] == 0  # it has taken the new rows
    assert matplotlib["swaps"] > 0
    for chart in (altair, matplotlib):
        assert 0 < chart["drawings"] <= changes  # one for each change at most
        assert chart["blank"] == 0, chart
        assert len(chart["heights"]) == 1, chart
    assert alice.errors == []
