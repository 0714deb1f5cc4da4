"""G1: a live SQL table over 1,000,000 documents in a browser: how soon rows are there, how it scrolls, how soon it changes."""

from __future__ import annotations

from .browser import notebook_in_a_browser
from .figures import Figure
from .floors import percentile

MODULE = """%%reactive deploy big
from nbreactive import define_schema, define_table, mutation, v

schema = define_schema({
    "big": define_table({"name": v.string(), "n": v.integer(), "x": v.number(), "ok": v.boolean()})
})

@mutation
def put(ctx, n: int):
    ctx.db.insert("big", {"name": "new", "n": n, "x": 0.5, "ok": True})
"""
LOAD = """
import numpy as np, pandas as pd
n = np.arange({many})
nbreactive.load("big", pd.DataFrame({{"name": ["row " + str(i) for i in n], "n": n, "x": n / 7, "ok": n % 2 == 0}}))
"""
SQL = "%%reactive sql\nSELECT * FROM big ORDER BY n"
CELLS = ("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api", MODULE)
GRID = "[...document.querySelectorAll('.nbr-grid')].find(grid => grid.offsetParent !== null)"
# From a jump of the bar to the frame in which all rows in sight are there.
JUMPS = f"""async jumps => {{
    const grid = {GRID};
    const times = [];
    for (let i = 0; i < jumps; i++) {{
        const begun = performance.now();
        grid.scrollTop = (((i * 7) % jumps) + 0.5) / jumps * grid.scrollHeight;
        do {{
            await new Promise(requestAnimationFrame);
        }} while (grid.getAttribute('aria-busy') === 'true');
        times.push(performance.now() - begun);
    }}
    return times;
}}"""
FRAMES = f"""async steps => {{
    const grid = {GRID};
    const times = [];
    let last = performance.now();
    for (let i = 0; i < steps; i++) {{
        grid.dispatchEvent(new WheelEvent('wheel', {{ deltaY: 120, cancelable: true, bubbles: true }}));
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
    }}
    return times;
}}"""
# From a mutation of the page's own kernel to the frame that shows one row more.
CHANGE = f"""async index => {{
    const grid = {GRID};
    const rows = Number(grid.getAttribute('aria-rowcount'));
    const begun = performance.now();
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    window.jupyterapp.commands.execute('notebook:run-cell');
    while (Number(grid.getAttribute('aria-rowcount')) === rows) {{
        await new Promise(requestAnimationFrame);
    }}
    return performance.now() - begun;
}}"""


def grid_in_a_browser(*, quick: bool) -> list[Figure]:
    """Load, show, scroll, change."""
    many = 100_000 if quick else 1_000_000
    cells = (*CELLS, LOAD.format(many=many), SQL, "api.big.put(n=-1)")
    with notebook_in_a_browser(*cells) as (alice, _):
        for index in range(len(cells) - 1):
            alice.start_cell(index)
        alice.page.wait_for_function(f"() => {GRID}?.getAttribute('aria-rowcount') === '{many + 1}'", timeout=300_000)
        alice.wait_for_kernel("idle")
        jumps = alice.page.evaluate(JUMPS, 60)
        frames = alice.page.evaluate(FRAMES, 120)
        changes = [alice.page.evaluate(CHANGE, len(cells) - 1) for _ in range(5)]
    return [
        Figure("G1", f"{many:,} rows: a jump until all rows are there, median", percentile(jumps, 0.5), "ms", 50),
        Figure("G1", f"{many:,} rows: a jump until all rows are there, p95", percentile(jumps, 0.95), "ms", 100),
        Figure("G1", f"{many:,} rows: frames while the wheel turns, p95", percentile(frames, 0.95), "ms", 34),
        Figure(
            "G1", f"{many:,} rows: a cell that inserts until it is shown, median", percentile(changes, 0.5), "ms", 1000
        ),
    ]
