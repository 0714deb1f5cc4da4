"""Every cell of docs/tutorial.md, run by a newcomer whose kernel has a Jupyter server, and by a colleague who has another one."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.jupyter.servers import SERVER_TOKEN, JupyterProcess, wait_for
from tests.notebook.kernel import Kernel, Ran
from tests.notebook.test_real_kernel import environment

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python (\S+)(?: raises (\w+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CELLS = [text for what, _, text in BLOCKS if what == "cell"]


def test_the_first_live_table_takes_three_lines() -> None:
    assert len(CELLS[0].splitlines()) <= 3
    assert CELLS[0].startswith("%load_ext nbreactive\n") and "nbreactive.table(" in CELLS[0]
    assert "```python\n" not in PAGE, "every block says who runs it, so every block is run"


@pytest.mark.slow
def test_the_hour(tmp_path: Path) -> None:
    with JupyterProcess(tmp_path / "ada", people=False) as server:
        address = f"{server.url}/lab?token={SERVER_TOKEN}"
        # that a kernel finds the server which has started it is tested elsewhere: here it is told
        newcomer = Kernel({**server.environment, "NBREACTIVE_URL": address}, str(server.root))
        (tmp_path / "bo").mkdir()
        colleague = Kernel(environment(tmp_path / "bo"), str(tmp_path / "bo"))
        try:
            said: list[Ran] = []
            for number, (what, raises, text) in enumerate(BLOCKS):
                if what == "cell":
                    ran = newcomer.run(text, f"cell-{number}")
                    if "api.reports" in text:  # it is deployed when the backend has seen the file
                        wait_for(lambda text=text: said.append(newcomer.run(text, "reports")) or said[-1].error is None)
                        continue
                    assert (ran.error or {}).get("ename", "") == raises, f"{text}\n{ran.error_text}"
                    said.append(ran)
                elif what == "colleague":
                    ran = colleague.run(text.replace("http://ada.example:8888/lab?token=...", address))
                    assert ran.error is None, ran.error_text
                else:
                    path = server.root / what
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(text, "utf-8")
            first, loaded = said[0], said[1]
            assert first.text.startswith("deployment default on ") and "orders" in first.plain
            assert loaded.error is None
            assert "cake" in newcomer.run("api.shop.newest()").plain
            assert any("(20, 'CanLoadMore')" in ran.plain for ran in said)
            assert any("b'one tea, 3.50'" in ran.plain for ran in said)
            assert any("tea" in ran.plain and "turnover" in ran.plain for ran in said)
            # the first table of all is as live as in the beginning
            newcomer.until(
                lambda: any("cake" in repr(state.get("table")) for state in newcomer.live_tables()) or _asked(newcomer)
            )
        finally:
            newcomer.close()
            colleague.close()
            info = tmp_path / "bo" / ".nbreactive" / "backend.json"  # the colleague's own
            if info.exists():
                os.kill(json.loads(info.read_text())["pid"], signal.SIGTERM)


def _asked(kernel: Kernel) -> bool:
    """Ask every table for its rows, as a page does that has missed something."""
    for model, state in list(kernel.widgets.items()):
        if "table" in state:
            kernel.comm(model, {"type": "again"})
    return False
