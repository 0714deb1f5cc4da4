"""T1: a table of 100,000 rows in a browser, which changes 60 times a second: how long frames take, how the page's memory grows.

Rows local: the kernel has them, and tells the page what has changed. Rows of SQL: the page asks for those that are looked at.
"""

from __future__ import annotations

import threading
import time

from .browser import notebook_in_a_browser
from .figures import Figure
from .floors import percentile

ROWS = 100_000
# A live value of the kernel's own, fed by a thread: no query may return as many rows.
LOCAL = """
%load_ext nbreactive
import random, threading, time
import nbreactive
from nbreactive.client import current
from nbreactive.client.arguments import FixedArguments
from nbreactive.client.live import LiveQuery

class Feed(LiveQuery):
    def _ask(self, args):
        pass
    def give(self, rows):
        self._put("value", rows)
        self._put("status", "live")
        self.announce()

feed = Feed(current(), "bench:feed", FixedArguments({}))
rows = [{"_id": f"id{n}", "name": f"row {n}", "n": n, "x": n / 7, "ok": n % 2 == 0} for n in range(MANY)]
feed.give(rows)
nbreactive.LiveTable(feed, selection="many")
"""
CHANGES = """
def change():
    global rows
    end = time.monotonic() + SECONDS
    turn = 0
    while time.monotonic() < end:
        turn += 1
        rows = list(rows)
        at = random.randrange(200) if turn % 2 else random.randrange(len(rows))
        rows[at] = {**rows[at], "x": turn / 7}
        if turn % 60 == 0:
            rows.insert(0, {"_id": f"new{turn}", "name": "new", "n": -turn, "x": 0.5, "ok": True})
            rows.pop()
        feed.give(rows)
        time.sleep(1 / 60)
threading.Thread(target=change, daemon=True).start()
"""
GRID = "[...document.querySelectorAll('.nbr-grid')].find(grid => grid.offsetParent !== null)"
# Frames are timed by the page; the sample of memory is taken after a collection, from outside
WATCH = f"""() => {{
    const grid = {GRID};
    const seen = (window.benchFrames = []);
    let last = performance.now();
    let at = 0;
    window.benchPaints = 0;
    new MutationObserver(() => window.benchPaints++).observe(grid, {{ subtree: true, characterData: true, childList: true }});
    const frame = now => {{
        seen.push(now - last);
        last = now;
        grid.scrollTop = ++at % 240 < 120 ? at % 120 * 3 : grid.scrollTop;
        requestAnimationFrame(frame);
    }};
    requestAnimationFrame(frame);
}}"""
SQL_MODULE = """%%reactive deploy big
from nbreactive import define_schema, define_table, mutation, v

schema = define_schema({"big": define_table({"name": v.string(), "n": v.integer(), "x": v.number()})})

@mutation
def change(ctx, x: float):
    ctx.db.patch(ctx.db.query("big").first()["_id"], {"x": x})
"""
SQL_LOAD = """
import numpy as np, pandas as pd
n = np.arange(MANY)
nbreactive.load("big", pd.DataFrame({"name": ["row " + str(i) for i in n], "n": n, "x": n / 7}))
"""
SQL = "%%reactive sql\nSELECT * FROM big ORDER BY n"
SQL_CHANGES = """
import threading, time
def change():
    end = time.monotonic() + SECONDS
    turn = 0
    while time.monotonic() < end:
        turn += 1
        begun = time.monotonic()
        api.big.change(x=float(turn))
        time.sleep(max(0, 1 / 60 - (time.monotonic() - begun)))
threading.Thread(target=change, daemon=True).start()
"""


def table_in_a_browser(*, quick: bool) -> list[Figure]:
    """Rows local, then rows of SQL."""
    seconds = 15 if quick else 60
    local = (_given(LOCAL, seconds), _given(CHANGES, seconds))
    sql = (
        "%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api",
        SQL_MODULE,
        _given(SQL_LOAD, seconds),
        SQL,
        _given(SQL_CHANGES, seconds),
    )
    return [*_watched("local", local, seconds), *_watched("SQL", sql, seconds)]


def _given(code: str, seconds: int) -> str:
    return code.replace("MANY", str(ROWS)).replace("SECONDS", str(seconds + 15))


def _watched(kind: str, cells: tuple[str, ...], seconds: int) -> list[Figure]:
    with notebook_in_a_browser(*cells) as (alice, _):
        page = alice.page
        for index in range(len(cells) - 1):
            alice.start_cell(index)
        page.wait_for_function(f"() => {GRID}?.getAttribute('aria-rowcount') === '{ROWS + 1}'", timeout=300_000)
        alice.wait_for_kernel("idle")
        devtools = page.context.new_cdp_session(page)
        devtools.send("HeapProfiler.enable")

        def used() -> float:
            devtools.send("HeapProfiler.collectGarbage")
            return devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6

        page.evaluate(WATCH)
        alice.start_cell(len(cells) - 1)
        threading.Event().wait(10)  # until it is warm
        first = used()
        page.evaluate("() => { window.benchFrames.length = 0; window.benchPaints = 0; }")
        begun = time.monotonic()
        threading.Event().wait(seconds)
        frames, paints = page.evaluate("() => [[...window.benchFrames], window.benchPaints]")
        took = time.monotonic() - begun
        last = used()
    name = f"{ROWS:,} rows ({kind}), 60 changes/s for {seconds} s"
    return [
        Figure("T1", f"{name}: frames, p99", percentile(frames, 0.99), "ms", 100),
        Figure("T1", f"{name}: frames, longest", max(frames), "ms", 1000),
        Figure("T1", f"{name}: frames a second", len(frames) / took, "/s", 10, at_least=True),
        Figure("T1", f"{name}: times the rows were painted", paints / took, "/s", 1, at_least=True),
        Figure("T1", f"{name}: memory of the page after 10 s", first, "MB", 500),
        Figure("T1", f"{name}: memory at the end, against that", abs(last / first - 1) * 100, "%", 10),
    ]
