"""Processes of the runtime end without a word, whenever the backend closes or is gone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("end", ["close", "vanish"])
def test_nothing_on_stderr(tmp_path: Path, method: str, end: str) -> None:
    script = f"""
        import asyncio, os
        from pathlib import Path
        from tests.runtime.house import bundle, running
        SOURCE = "import os\\n@query\\ndef bad(ctx): os._exit(3)\\n@query\\ndef fine(ctx): return 1"
        async def main():
            async with running(Path({str(tmp_path)!r}), SOURCE, method={method!r}) as (house, pool):
                calls = [asyncio.ensure_future(pool.run(house.call(f"m:{{name}}"))) for name in ("bad", "fine") * 4]
                loading = asyncio.ensure_future(pool.prepare(bundle(2, m=SOURCE)))
                await calls[0]
                if {end!r} == "vanish":
                    os._exit(0)
                loading.cancel()
        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2]
    )
    assert (done.returncode, done.stderr) == (0, "")
