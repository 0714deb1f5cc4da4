"""The cells of docs/sql.md, "In the notebook", run in a kernel."""

from __future__ import annotations

import re
from pathlib import Path

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")
SECTION = PAGE.partition("\n## In the notebook\n")[2].partition("\n## ")[0]
CELLS = re.findall(r"^```python cell\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
MODULE = """
from nbreactive import mutation

@mutation
def ride(ctx, station: str, minutes: float):
    ctx.db.insert("trips", {"station": station, "minutes": minutes, "fare": minutes / 10, "started": "2026-11-01"})
"""


def test_the_cells_of_the_page_run(tmp_path: Path) -> None:
    with Served(tmp_path, {"hire": MODULE}) as backend:
        for minutes in (5.0, 12.5, 30.0):
            backend.call("mutation", "hire:ride", station="Harbour", minutes=minutes)
        kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(tmp_path))
        try:
            kernel.run("%load_ext nbreactive\nimport nbreactive")
            said: list[str] = []
            for cell in CELLS:
                ran = kernel.run(cell)
                assert ran.error is None, f"{cell}\n{ran.error_text}"
                said.append(ran.plain)
            assert len(CELLS) == 8
            assert "Harbour" in said[0]
            assert "2 trips, 42 minutes" in said[4]
            assert said[5] == "1"
        finally:
            kernel.close()
