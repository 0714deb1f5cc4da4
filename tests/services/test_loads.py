"""Bulk loads over a log that refuses and forgets: commits overlap, and yet no row is missing before one that is there."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from nbreactive.engine.catalog import BY_ID, index_id
from nbreactive.engine.log import Faults
from nbreactive.errors import InvalidValue, Unavailable
from nbreactive.services.column_files import folder_of
from nbreactive.services.loads import Loads
from nbreactive.values.packing import pack, unpack
from tests.engine.test_engine import Bench, run

_ROWS = 1500


@pytest.mark.parametrize(("refuse", "unknown"), [(0.0, 0.0), (0.2, 0.0), (0.1, 0.2)])
def test_commits_that_overlap_leave_no_gap(tmp_path: Path, refuse: float, unknown: float) -> None:
    async def body(bench: Bench) -> None:
        loads = Loads(bench.engine, folder_of(tmp_path))
        data = pack([{"n": n} for n in range(_ROWS)])
        with contextlib.suppress(InvalidValue):  # the table is made by the first load, which has no good row
            await loads.add("many", "none", 0, pack([{"": 1}]), None, arrow=False)
        bench.log.faults.refuse, bench.log.faults.unknown = refuse, unknown
        failures = done = 0
        while done < _ROWS:
            loads._pace._row_seconds = 8e-5  # pyright: ignore[reportPrivateUsage]
            with contextlib.suppress(Unavailable):
                done = await loads.add("many", "one", 0, data, None, arrow=False)
            failures += done < _ROWS
            known = loads.state("many", "one", None)
            assert numbers(bench, known.table) == list(range(known.rows))
        assert (failures > 0) == (refuse > 0)
        assert len(loads.state("many", "one", None).parts) == _ROWS // 100
        await loads.close()

    run(tmp_path / "index", body, Faults(delay=6))


def numbers(bench: Bench, table: int) -> list[int]:
    reader = bench.engine.reader()
    try:
        found = reader.scan_documents(index_id(table, BY_ID), b"", None, bench.engine.durable)
        return [unpack(packed)["n"] for _, _, packed, _ in found]
    finally:
        reader.close()
