"""Imports inside a call: not at the cost of its time, bounded, and not to be forged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbreactive.runtime import timing
from tests.runtime.house import House, running

SOURCE = r"""
import ctypes, os, struct, time

@query
def fine(ctx): return 1
@query
def slow(ctx):
    import nbr_slow
    return nbr_slow.value
@query
def slow_in_c(ctx):
    load = ctypes.pythonapi.PyImport_ImportModule
    load.restype = ctypes.py_object
    return load(b"nbr_slow").value
@query
def slow_afterwards(ctx):
    import nbr_slow
    while True: pass
@query
def missing(ctx):
    for _ in range(2000):
        try: import nbr_missing
        except ImportError: pass
    return "none"
@query
def hang(ctx): import nbr_hang
@query
def sleep(ctx, seconds: float): time.sleep(seconds)
def _send(data):
    for fd in range(3, 256):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"): return os.write(fd, data)
        except OSError: pass
@query
def forged(ctx):
    _send(b"\x00\x00\x00\x00\x0a")
    while True: pass
@query
def forged_end(ctx):
    _send(b"\x13\x00\x00\x00\x0b\x92\xcb" + struct.pack(">d", 1e300) + b"\xcb" + struct.pack(">d", 1e300))
    while True: pass
@query
def flood(ctx):
    while True:
        _send(b"\x00\x00\x00\x00\x0a" + b"\x13\x00\x00\x00\x0b\x92\xcb" + bytes(8) + b"\xcb" + bytes(8))
"""

SLOW = "import threading, time\ntime.sleep(0.7)\nt = threading.Thread(target=int); t.start(); t.join()\nvalue = time.time() > 0\n"


async def _failure(house: House, pool: object, name: str, **args: object) -> tuple[str, str]:
    failure = (await pool.run(house.call(f"m:{name}", args))).failure  # type: ignore[attr-defined]
    assert failure is not None
    return failure.code, failure.message


@pytest.fixture
def libraries(tmp_path: Path) -> str:
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / "nbr_slow.py").write_text(SLOW)
    (folder / "nbr_hang.py").write_text("while True: pass\n")
    return str(folder)


@pytest.mark.parametrize("name", ["slow", "slow_in_c"])
def test_an_import_does_not_use_up_the_time(tmp_path: Path, libraries: str, name: str) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=0.5, import_paths=[libraries]) as (house, pool):
            assert house.finish(await pool.run(house.call(f"m:{name}"))) is True
            code, message = await _failure(house, pool, "slow_afterwards")
            assert (code, "took more than 0.5 s and was stopped" in message) == ("FunctionTimeout", True)

    asyncio.run(main())


def test_endless_imports_end(tmp_path: Path, libraries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "IMPORT_SECONDS", 0.4)

    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=0.3, import_paths=[libraries]) as (house, pool):
            for name in ("hang", "forged"):
                code, message = await _failure(house, pool, name)
                assert code == "FunctionTimeout"
                assert f"m:{name} took more than 0.3 s besides 0.4 s of importing modules" in message
            for name in ("forged_end", "flood"):
                code, message = await _failure(house, pool, name)
                assert (code, "not part of the protocol" in message) == ("FunctionCrashed", True), message
            assert house.finish(await pool.run(house.call("m:fine"))) == 1

    asyncio.run(main())


def test_imports_that_find_nothing_are_no_forgery(tmp_path: Path, libraries: str) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=20.0, import_paths=[libraries]) as (house, pool):
            for _ in range(2):
                assert house.finish(await pool.run(house.call("m:missing"))) == "none"

    asyncio.run(main())


def test_a_starved_call_gets_more_time(tmp_path: Path, libraries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "GRACE_SECONDS", 60.0)

    async def main() -> None:
        async with running(tmp_path, SOURCE, user_time=0.2, import_paths=[libraries]) as (house, pool):
            monkeypatch.setattr("nbreactive.runtime.pool.cpu_of", lambda pid: (0.0, True))
            assert house.finish(await pool.run(house.call("m:sleep", {"seconds": 0.6}))) is None
            monkeypatch.setattr("nbreactive.runtime.pool.cpu_of", lambda pid: (0.0, False))
            assert (await _failure(house, pool, "sleep", seconds=60.0))[0] == "FunctionTimeout"

    asyncio.run(main())


@pytest.mark.slow
def test_pyarrow_may_import_pandas_at_its_first_use(tmp_path: Path) -> None:
    source = "import pyarrow\n@query\ndef size(ctx): return len(pyarrow.array([1, 2]))\n@query\ndef bad(ctx):\n    while True: pass"

    async def main() -> None:
        async with running(tmp_path, source) as (house, pool):
            assert house.finish(await pool.run(house.call("m:size"))) == 2
            await _failure(house, pool, "bad")
            for _ in range(4):
                assert house.finish(await pool.run(house.call("m:size"))) == 2

    asyncio.run(main())
