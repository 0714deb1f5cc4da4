from __future__ import annotations

import asyncio
from pathlib import Path

from nbreactive.engine.applied import AppliedState
from nbreactive.engine.changes import ChangeList
from nbreactive.engine.clock import SystemClock
from nbreactive.engine.gate import Gate
from nbreactive.engine.housekeeping import Housekeeping
from nbreactive.engine.row_index import RowIndex
from tests.engine.test_index_slimming import held, written


def test_the_file_does_not_grow_while_it_is_emptied_and_nobody_commits(tmp_path: Path) -> None:
    async def go() -> None:
        index = RowIndex.open(tmp_path)
        docs = written(index, 300)
        before = (tmp_path / "data.mdb").stat().st_size
        state = AppliedState(index, ChangeList(0), SystemClock(), log_everything=False)
        housekeeping = Housekeeping(
            state, Gate(state.applied), state.clock, lambda: state.applied, keep_seconds=0, request_seconds=0
        )
        while housekeeping.slice():
            pass
        assert held(index) == docs
        assert (tmp_path / "data.mdb").stat().st_size < 1.2 * before
        state.reader.close()
        index.close()

    asyncio.run(go())
