"""Case 29 of the attack list: what a worker may read and reach. What is not denied is documented, and shown here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from nbreactive.errors import DeployRefused
from nbreactive.runtime.frames import Setup
from tests.runtime.house import bundle, running, until

SOURCE = r"""
import ctypes, os, resource, socket, subprocess, time

@query
def about(ctx):
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    signal = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(signal))
    return {
        "environment": dict(os.environ),
        "arguments": open("/proc/self/cmdline").read(),
        "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "files": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "no_new_privs": int(status["NoNewPrivs"]),
        "capabilities": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")],
        "parent_death_signal": signal.value,
    }
@query
def peek(ctx, path: str):
    try:
        with open(path, "rb") as file: return len(file.read(64))
    except OSError as error: return error.strerror
@query
def connect(ctx, port: int): socket.create_connection(("127.0.0.1", port))
@query
def program(ctx): subprocess.run(["true"])
@query
def raise_limits(ctx): resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
@query
def fork_in_c(ctx):
    libc = ctypes.CDLL(None)
    for _ in range(2):
        if libc.fork() == 0:
            libc.prctl(15, b"nbr_forked")  # its name
            time.sleep(600)
    while True: pass
@query
def loop(ctx):
    while True: pass
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


@linux
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_case_29_what_a_worker_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Literal["fork", "spawn"]
) -> None:
    secrets = (
        "NBREACTIVE_PROXY_SECRET",
        "NBREACTIVE_ADMIN_KEY",
        "JUPYTER_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
    )
    for name in secrets:
        monkeypatch.setenv(name, "hush-hush")

    async def main() -> dict[str, Any]:
        async with running(tmp_path, SOURCE, method=method) as (house, pool):
            return house.finish(await pool.run(house.call("m:about")))

    found = asyncio.run(main())
    assert not set(secrets) & set(found["environment"])
    assert "hush-hush" not in str(found)
    assert found["core"] == [0, 0]
    assert max(found["files"]) <= 512
    assert found["no_new_privs"] == 1
    assert not any(capabilities & ~0b10 for capabilities in found["capabilities"])
    assert found["parent_death_signal"] == signal.SIGKILL


def test_case_29_what_a_worker_is_told() -> None:
    """Neither admin key nor the data folder's own files: of it, a worker has to know the row index.

    (The key of cursors seals what a client is given to come back with; it opens nothing else.)
    """
    assert set(Setup.__struct_fields__) == {
        "bundle", "index_path", "import_paths", "memory_bytes", "action_memory_bytes", "mode", "import_seconds",
        "limits", "deployment", "cursor_key",
    }  # fmt: skip


@linux
def test_case_29_memory_of_the_backend(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            for name in ("mem", "environ"):
                call = house.call("m:peek", {"path": f"/proc/{os.getpid()}/{name}"})
                seen = house.finish(await pool.run(call))
                if os.geteuid() == 0:
                    assert seen == "Permission denied", name
                else:  # Documented: it depends on the system.
                    assert seen in ("Permission denied", "Input/output error", 64), name

    asyncio.run(main())


def test_case_29_through_python(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE) as (house, pool):
            for name, args in (("connect", {"port": 3210}), ("program", {}), ("raise_limits", {})):
                failure = (await pool.run(house.call(f"m:{name}", args))).failure
                assert failure is not None
                assert failure.code == "NotAllowed", failure
            # Documented: files that its user may read are no secret from a function.
            (tmp_path / "mine").write_bytes(b"x" * 64)
            assert house.finish(await pool.run(house.call("m:peek", {"path": str(tmp_path / "mine")}))) == 64

    asyncio.run(main())


@linux
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_c_code_forks_ends_with_its_worker(tmp_path: Path, method: Literal["fork", "spawn"]) -> None:
    async def main() -> None:
        async with running(tmp_path, SOURCE, method=method, user_time=5.0) as (house, pool):
            call = asyncio.ensure_future(pool.run(house.call("m:fork_in_c")))
            await until(lambda: len(_forked()) == 2)
            forked = _forked()
            failure = (await call).failure
            assert failure is not None
            assert failure.code == "FunctionTimeout"
            await until(lambda: not any(_alive(process) for process in forked))

    asyncio.run(main())


@linux
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_nothing_outlives_a_killed_backend(tmp_path: Path, method: str) -> None:
    script = f"""
        import asyncio
        from pathlib import Path
        from tests.runtime import test_hardening
        from tests.runtime.house import running
        async def main():
            async with running(Path({str(tmp_path)!r}), test_hardening.SOURCE, user_time=600.0, method={method!r}) as (house, pool):
                calls = [asyncio.ensure_future(pool.run(house.call("m:loop"))) for _ in range(2)]
                while pool.status()["stuck"] < 2:
                    await asyncio.sleep(0.01)
                print("looping", flush=True)
                await asyncio.gather(*calls)
        asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "looping\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _forked() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == "nbr_forked":
                found.append(process)
    return found


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@linux
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    "source",
    ["x = 1\ny = bytearray(400_000_000)\n", "kept = []\nfor n in range(2_000_000): kept.append([[n]])\n"],
)
def test_importing_takes_no_more_memory_than_a_call(
    tmp_path: Path, method: Literal["fork", "spawn"], source: str
) -> None:
    async def main() -> None:
        async with running(tmp_path, "@query\ndef one(ctx): return 1\n", method=method, memory_bytes=100 << 20) as (
            house,
            pool,
        ):
            with pytest.raises(DeployRefused, match=r"more memory than a worker may have \(MemoryError\)") as refused:
                await pool.prepare(bundle(2, big=source))
            (issue,) = refused.value.issues
            assert issue["file"] == "reactive/big.py"
            assert issue["line"] in (0, 3)  # 0: when nothing at all is left, Python itself may lose the traceback
            assert "read less at import" in issue["fix"]
            assert house.finish(await pool.run(house.call("m:one"))) == 1
            fits = "kept = bytearray(60 << 20)\n@query\ndef two(ctx): return len(bytearray(60 << 20)) >> 20\n"
            await pool.prepare(bundle(3, big=fits))  # what a call may take comes on top of what importing took
            await pool.activate(3)
            pool.switch(3)
            assert house.finish(await pool.run(house.call("big:two"))) == 60

    asyncio.run(main())
