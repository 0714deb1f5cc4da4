"""``./dev bench [--json] [--quick] [--only W1,W2,W3,W4,W5,W6,S1,S2,isolation,proxy,scale,search,vectors,presence,charts,grid,outputs,table,first-table]``: every figure as a ratio to its floor."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from .backend import BenchBackend
from .bulk import prepare as prepare_bulk
from .bulk import w5
from .charts import charts_in_a_browser
from .figures import Figure, table
from .first_table import first_table_in_a_browser
from .grid import grid_in_a_browser
from .history import prepare as prepare_history
from .history import s2
from .isolation import isolation
from .live_sql import prepare as prepare_live_sql
from .live_sql import w4
from .outputs import outputs_in_a_browser
from .presence import presence
from .proxy import proxy
from .reads import w3, w6
from .scale import fill, scale
from .scheduled import s1
from .search import prepare as prepare_search
from .search import search
from .table import table_in_a_browser
from .vectors import prepare as prepare_vectors
from .vectors import vectors
from .writes import w1, w2

WORKLOADS = (
    "W1",
    "W2",
    "W3",
    "W4",
    "W5",
    "W6",
    "S1",
    "S2",
    "isolation",
    "proxy",
    "scale",
    "search",
    "vectors",
    "presence",
)
IN_A_BROWSER = ("charts", "grid", "outputs", "table", "first-table")
"""Only if they are named: they need Chromium, and charts takes five minutes."""


@asynccontextmanager
async def _fresh(prepare: Callable[[BenchBackend], None] | None = None) -> AsyncGenerator[BenchBackend]:
    """A backend on a data folder of its own; ``prepare`` adds functions before it starts."""
    with tempfile.TemporaryDirectory() as folder:
        backend = BenchBackend(Path(folder))
        if prepare is not None:
            prepare(backend)
        backend.start()
        try:
            yield backend
        finally:
            backend.stop()


async def measure(only: set[str], *, quick: bool) -> list[Figure]:
    """Run the workloads, each kind on a fresh data folder."""
    figures: list[Figure] = []
    if only & {"W1", "W2", "W3", "W6", "isolation"}:
        async with _fresh() as backend:
            await fill(backend, 10_000)
            base = await w1(backend, quick=quick)
            figures += base if "W1" in only else []
            if "W2" in only:
                figures += await w2(backend, quick=quick)
            if "W3" in only:
                figures += await w3(backend, base[0].value)
            if "W6" in only:
                figures += await w6(backend)
            if "isolation" in only:
                figures += await isolation(backend, quick=quick)
    if "W4" in only:
        async with _fresh(prepare_live_sql) as backend:
            figures += await w4(backend, quick=quick)
    if "W5" in only:
        async with _fresh(prepare_bulk) as backend:
            figures += await w5(backend, 100_000 if quick else 1_000_000)
    if "S1" in only:
        async with _fresh() as backend:
            figures += await s1(backend, quick=quick)
    if "S2" in only:
        async with _fresh(prepare_history) as backend:
            figures += await s2(backend, 100_000 if quick else 10_000_000)
    if "proxy" in only:
        figures += await proxy(quick=quick)
    if "scale" in only:
        async with _fresh() as backend:
            figures += await scale(backend, 100_000 if quick else 1_000_000)
    if "search" in only:
        async with _fresh(prepare_search) as backend:
            figures += await search(backend, 100_000 if quick else 1_000_000)
    if "vectors" in only:
        async with _fresh(prepare_vectors) as backend:
            figures += await vectors(backend, 20_000 if quick else 100_000)
    if "presence" in only:
        async with _fresh() as backend:
            figures += await presence(backend, quick=quick)
    return figures


def main() -> int:
    """Parse, measure, print; exit status 1 when a gate does not hold."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    parser.add_argument("--quick", action="store_true", help="shorter runs and 100,000 documents: a look, not the bars")
    parser.add_argument(
        "--only",
        default=",".join(WORKLOADS),
        help=f"workloads, comma separated (%(default)s); in Chromium also {', '.join(IN_A_BROWSER)}",
    )
    options = parser.parse_args()
    only = set(options.only.split(","))
    if unknown := only - {*WORKLOADS, *IN_A_BROWSER}:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}; see --help")
    figures = asyncio.run(measure(only, quick=options.quick))
    if "charts" in only:
        figures += charts_in_a_browser(quick=options.quick)
    if "grid" in only:
        figures += grid_in_a_browser(quick=options.quick)
    if "table" in only:
        figures += table_in_a_browser(quick=options.quick)
    if "outputs" in only:
        figures += outputs_in_a_browser(quick=options.quick)
    if "first-table" in only:
        figures += first_table_in_a_browser()
    print("\n".join(figure.as_json() for figure in figures) if options.json else table(figures))
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
