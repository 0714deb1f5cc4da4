"""Figures of drawings apart from those of cells."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import matplotlib.pyplot as plt
import pytest

from nbreactive.client import threads
from nbreactive.notebook import pyplot
from tests.served import ROOT


def on_drawing_thread(work: Any) -> Any:
    """Run something where drawings run."""
    done, result = threading.Event(), []

    def run() -> None:
        try:
            result.append(work())
        finally:
            done.set()

    threads.callbacks().post(("test", id(work)), run)
    assert done.wait(20)
    return result[0]


@pytest.fixture(autouse=True)
def closed() -> Any:
    plt.switch_backend("agg")
    yield
    plt.close("all")


def test_figures_of_drawings_are_not_those_of_cells() -> None:
    pyplot.keep_apart()
    pyplot.keep_apart()
    mine = plt.figure()

    def draw() -> tuple[list[int], bool]:
        assert plt.get_fignums() == []
        figure, axes = plt.subplots()
        plt.plot([1, 2])
        assert len(axes.lines) == 1
        plt.figure()
        return plt.get_fignums(), plt.gcf() is figure

    assert on_drawing_thread(draw) == ([1, 2], False)
    # what a cell sees is its own
    assert plt.get_fignums() == [mine.number]
    assert plt.gcf() is mine
    on_drawing_thread(pyplot.close_drawn)
    assert on_drawing_thread(plt.get_fignums) == []
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)
    assert plt.get_fignums() == []


def test_figures_that_were_drawn_are_kept_by_nobody() -> None:
    code = """
import gc, weakref
import matplotlib_inline.backend_inline as inline
import matplotlib.pyplot as plt
from nbreactive.client import threads
from nbreactive.notebook import pyplot
from tests.notebook.test_pyplot import on_drawing_thread
pyplot.keep_apart()
plt.ion()
kept = weakref.WeakSet()
def draw():
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    kept.add(figure)
    del figure, axes
    pyplot.close_drawn()
for _ in range(3):
    on_drawing_thread(draw)
gc.collect()
print(len(kept), len(inline.show._to_draw))
"""
    env = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT, timeout=120)
    assert ran.stdout.split() == ["0", "0"], ran.stderr
