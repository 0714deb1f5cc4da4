"""Results as cells: the kernel lays them out as the page does, which is tested with the same cases."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nbreactive.notebook.field_kinds import declared_kinds
from nbreactive.notebook.table_rows import TableRows
from nbreactive.values.json import from_jsonable

CASES = json.loads((Path(__file__).parents[2] / "labextension/tests/views/cells.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_kernel_and_the_page_lay_out_alike(case: dict[str, Any]) -> None:
    """See labextension/tests/views/cells.test.ts."""
    value = from_jsonable(case["value"])
    declared = _validator(case["declared"]) if "declared" in case else None
    table, _ = TableRows().take(value, case.get("columns"), case.get("limit", 1000), None, declared)
    assert table is not None
    del table["version"]
    assert json.loads(json.dumps(table)) == case["table"]
    assert declared_kinds(declared) == case.get("kinds", {})


def _validator(fields: dict[str, Any]) -> dict[str, Any]:
    document = {name: {"fieldType": field, "optional": False} for name, field in fields.items()}
    return {"type": "array", "value": {"type": "object", "value": document}}
