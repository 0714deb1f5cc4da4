"""The examples of docs/time-travel.md run: its module on a backend, its cells in a client, its SQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbreactive
from nbreactive import api
from nbreactive.services import past_indexes, undo
from tests.client.fake_server import until
from tests.served import KEY, Served

PAGE = (Path(__file__).parents[2] / "docs" / "time-travel.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n# (.+?)\n(.*?)```", PAGE, re.DOTALL)
MODULES = {where.removeprefix("reactive/").removesuffix(".py"): text for where, text in BLOCKS if where.endswith(".py")}
CELLS = [text for where, text in BLOCKS if where == "in a notebook"]


def test_every_block_is_a_module_or_a_cell() -> None:
    assert len(BLOCKS) == PAGE.count("```python") == len(MODULES) + len(CELLS)


def test_the_limits_are_those_of_the_page() -> None:
    assert f"The last ones are kept ({past_indexes.MOST}, up to {past_indexes.MOST_BYTES >> 30} GiB" in PAGE
    assert f"more than {undo.MOST:,} documents" in PAGE


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    with Served(tmp_path, MODULES) as backend:
        client = nbreactive.connect(backend.url, admin_key=KEY)
        connect, nbreactive.connect = nbreactive.connect, lambda: client
        try:
            results: list[Any] = []
            for cell in CELLS:
                *lines, last = [line for line in cell.splitlines() if line]
                exec(compile("\n".join(lines), "docs/time-travel.md", "exec"), names)
                results.append(_last(last, names))
            assert [row["amount"] for row in names["yesterday"].value] == [3]
            until(lambda: names["change"].value == {"then": 3, "now": 6})  # restored, and that undone
            assert [each["function"] for each in names["commits"]] == ["shop:restore_amount", "shop:double_everything"]
            assert [row["amount"] for row in names["past"].live.value] == [6]
            (statement,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
            registered = client.call("_system/sql:register", {"sql": statement})
            with client.live("_system/sql:live", {"hash": registered, "params": {}}) as found:
                assert found.value["rows"] == []  # there was nothing then
            names["past"].close()
            assert api.shop.orders(item="tea")[0]["amount"] == 6
        finally:
            nbreactive.connect = connect
            nbreactive.client.disconnect()


def _last(line: str, names: dict[str, Any]) -> Any:
    """Run the last line of a cell; return its value, if it has one."""
    try:
        return eval(compile(line, "docs/time-travel.md", "eval"), names)
    except SyntaxError:
        exec(compile(line, "docs/time-travel.md", "exec"), names)
    return None
