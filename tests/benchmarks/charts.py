"""C1: charts by ``.render`` in a browser, over a table that changes 30 times a second: how many drawings, and what they leave."""

from __future__ import annotations

import time

import psutil

from tests.e2e import charts
from tests.jupyter.servers import JupyterProcess

from .browser import notebook_in_a_browser
from .figures import Figure

QUICK, LONG = 20, 300
LEAST = 5.0
"""Drawings a second of each chart."""
GROWTH = 1.2
"""Of the memory of page and kernel, from when both charts have been drawn many times to the end."""
SETTLING = 10


def charts_in_a_browser(*, quick: bool) -> list[Figure]:
    """Two charts in JupyterLab for five minutes."""
    seconds = QUICK if quick else LONG
    change = charts.CHANGE.format(seconds=seconds + SETTLING, rate=charts.CHANGES)
    with notebook_in_a_browser(*charts.CELLS, change) as (alice, lab):
        for index in range(len(charts.CELLS)):
            alice.start_cell(index)
        charts.wait_for_charts(alice.page)
        cdp = alice.context.new_cdp_session(alice.page)
        alice.start_cell(len(charts.CELLS))
        alice.page.wait_for_timeout(SETTLING * 1000)
        alice.page.evaluate(charts.WATCH)
        before, kernel = charts.memory_of(cdp), _kernel(lab)
        held, begun = kernel.memory_info().rss, time.monotonic()
        alice.page.wait_for_timeout(seconds * 1000 - 1000)
        took = time.monotonic() - begun
        seen = charts.seen(alice.page)
        after = charts.memory_of(cdp)
        grown = kernel.memory_info().rss / held
    figures: list[Figure] = []
    for name, chart in zip(("Altair", "matplotlib"), seen, strict=True):
        figures.append(Figure("C1", f"{name}: drawings", chart["drawings"] / took, "/s", LEAST, at_least=True))
        figures.append(Figure("C1", f"{name}: frames without a chart", chart["blank"], "", 0))
        figures.append(Figure("C1", f"{name}: heights it has had", len(chart["heights"]), "", 1))
    figures.append(Figure("C1", f"memory of the page after {seconds} s", after[0], "MB", GROWTH, before[0]))
    figures.append(Figure("C1", f"nodes of the page after {seconds} s", after[1], "", GROWTH, before[1]))
    figures.append(Figure("C1", f"memory of the kernel after {seconds} s", grown, "x", GROWTH))
    return figures


def _kernel(lab: JupyterProcess) -> psutil.Process:
    server = psutil.Process(lab.process.pid)
    return next(child for child in server.children(recursive=True) if "ipykernel_launcher" in " ".join(child.cmdline()))
