"""Two charts that follow a table which changes 30 times a second, and what a page sees of them; for a test and a benchmark."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import CDPSession, Page, expect

from tests.e2e.people import PATIENCE

CHANGES = 30
SETUP = """
%load_ext nbreactive
import threading, time
import altair as alt
import matplotlib.pyplot as plt
import pandas as pd
from nbreactive import api
"""
MODULE = """%%reactive deploy charts
from nbreactive import mutation, query

@query
def bars(ctx):
    return ctx.db.query("bars").order("asc").take(20)

@mutation
def bump(ctx, n: int):
    bars = ctx.db.query("bars").order("asc").take(20)
    if len(bars) < 20:
        ctx.db.insert("bars", {"name": f"b{len(bars):02}", "height": n % 50})
    else:
        ctx.db.patch(bars[n % 20]["_id"], {"height": (n * 7) % 50})
"""
FILL = "for n in range(20): api.charts.bump(n=n)\nbars = api.charts.bars.live()"
ALTAIR = """
def altair_chart(rows):
    frame = pd.DataFrame(rows)
    return alt.Chart(frame, width=400, height=150).mark_bar().encode(
        x="name:N", y=alt.Y("height:Q", scale=alt.Scale(domain=[0, 50])))
bars.render(altair_chart)
"""
MATPLOTLIB = """
def matplotlib_chart(rows):
    figure, axes = plt.subplots(figsize=(5, 2), dpi=80)
    axes.bar([row["name"] for row in rows], [row["height"] for row in rows])
    axes.set_ylim(0, 50)
    return figure
bars.render(matplotlib_chart)
"""
CHANGE = """
def change(seconds, rate):
    begun, n = time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        api.charts.bump(n=n)
        n += 1
        time.sleep(max(0.0, begun + n / rate - time.monotonic()))
    api.charts.bump(n=n)
    global changes
    changes = n + 1
changing = threading.Thread(target=change, args=({seconds}, {rate}))
changing.start()
"""
DONE = "changing.join(); print('changes:', changes, 'figures:', len(plt.get_fignums()))"
CELLS = (SETUP, MODULE, FILL, ALTAIR, MATPLOTLIB)

WATCH = """() => {
    window.charts = [...document.querySelectorAll('.nbr-drawing')].map(node => {
        const seen = { swaps: 0, drawings: 0, heights: {}, blank: 0, frames: 0 };
        const painted = child => child.querySelector('canvas, svg.marks, img');
        new MutationObserver(changes => changes.forEach(({ removedNodes }) => {
            seen.swaps += [...removedNodes].filter(n => !n.classList.contains('nbr-staged')).length;
        })).observe(node, { childList: true });
        new MutationObserver(changes => (seen.drawings += changes.length)).observe(node, { attributeFilter: ['data-number'] });
        const look = () => {
            const shown = [...node.children].filter(child => !child.classList.contains('nbr-staged') && painted(child));
            const image = shown[0]?.querySelector('img');
            seen.frames += 1;
            if (shown.length === 0 || (image && !(image.complete && image.naturalHeight > 0))) {
                seen.blank += 1;
            }
            const height = Math.round(node.getBoundingClientRect().height);
            seen.heights[height] = (seen.heights[height] ?? 0) + 1;
            requestAnimationFrame(look);
        };
        look();
        return seen;
    });
}"""


def wait_for_charts(page: Page) -> None:
    """Wait until both charts are drawn."""
    charts = page.locator(".nbr-drawing")
    expect(charts).to_have_count(2, timeout=PATIENCE)
    expect(charts.nth(0).locator("canvas, svg.marks").first).to_be_visible(timeout=PATIENCE)
    expect(charts.nth(1).locator("img").first).to_be_visible(timeout=PATIENCE)


def seen(page: Page) -> list[dict[str, Any]]:
    """What each chart has done since it was watched."""
    return page.evaluate("() => window.charts")


def memory_of(cdp: CDPSession) -> tuple[float, int]:
    """Megabytes of JavaScript in a page, and its nodes, after everything unused was collected."""
    cdp.send("Performance.enable")
    cdp.send("HeapProfiler.collectGarbage")
    metrics = {metric["name"]: metric["value"] for metric in cdp.send("Performance.getMetrics")["metrics"]}
    return metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"])
