"""F1: a newcomer's first live table, from the three lines of docs/tutorial.md to rows on the screen, on a server that was just started."""

from __future__ import annotations

import re
import time
from pathlib import Path

from playwright.sync_api import expect

from .browser import notebook_in_a_browser
from .figures import Figure

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
WITHIN = 60.0
"""Seconds, with what somebody takes to type the lines; here nobody types."""


def first_table_in_a_browser() -> list[Figure]:
    """Run the first two cells of the tutorial."""
    first, rows = re.findall(r"^```python cell\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[:2]
    with notebook_in_a_browser(first, rows) as (alice, _):
        begun = time.monotonic()
        alice.start_cell(0)
        expect(alice.table).to_be_visible(timeout=60_000)
        shown = time.monotonic() - begun
        alice.start_cell(1)
        alice.sees("tea")
        filled = time.monotonic() - begun
    return [
        Figure("F1", "lines", len(first.splitlines()), "", 3),
        Figure("F1", "first live table", shown, "s", WITHIN),
        Figure("F1", "with rows", filled, "s", WITHIN),
    ]
