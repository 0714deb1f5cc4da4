"""What is kept of queries that nobody is subscribed to: what the bound allows, and nothing else."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from nbreactive.engine.requests import QueryRequest, QuerySpec
from nbreactive.engine.transactions import Call, Failure, Outcome
from nbreactive.errors import AppError
from nbreactive.values import pack
from tests.engine.plain_executor import PlainExecutor, Transaction
from tests.engine.test_engine import Bench, Told, run

BOUND = 2 << 20


class Dying(PlainExecutor):
    """Its functions end as a worker does that crashed, as long as ``dead``."""

    dead = True

    def run_now(self, call: Call) -> Outcome:
        return Outcome(failure=Failure("FunctionCrashed", "gone")) if self.dead else super().run_now(call)


def _die(bench: Bench) -> Dying:
    executor = bench.engine.executing._executor = Dying(bench.index, bench.functions)
    return executor


def _known(bench: Bench) -> int:
    return len(bench.engine._runs._queries)


def test_a_query_that_ends_transiently_is_not_remembered(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        _die(bench)
        for n in range(50):
            result = await bench.engine.query(QueryRequest("total", pack(n)))
            assert result.failure is not None and result.failure.code == "FunctionCrashed"
        assert _known(bench) == 0

    run(tmp_path, body)


def test_a_kept_query_that_ends_transiently_later_is_forgotten(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        executor = _die(bench)
        executor.dead = False
        await bench.query("total")
        assert _known(bench) == 1
        await bench.mutate("add", {"n": 1})
        executor.dead = True
        await bench.query("total")
        assert _known(bench) == 0

    run(tmp_path, body)


def test_a_live_query_that_ends_transiently_is_told_when_the_data_changes(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.mutate("add", {"n": 1})
        executor = _die(bench)
        executor.dead = False
        told, subs = Told(), bench.engine.subscriptions
        subs.add(told, QuerySpec("everything", pack(None)))
        assert (await subs.update(told)).changes[0][1].value == b"[1]"
        for dead, shown in ((True, b"null"), (False, b"[3]")):
            executor.dead = False
            told.event.clear()
            await bench.mutate("bump")
            await told.event.wait()
            executor.dead = dead
            assert (await subs.update(told)).changes[0][1].value == shown
        subs.close(told)
        assert _known(bench) == 1, "its result is kept"

    run(tmp_path, body)


def _ranges(tx: Transaction, args: Any) -> int:
    for n in range(300):
        tx.reads.add(7, bytes([n // 256, n % 256]) * 20, bytes([n // 256, n % 256]) * 20 + b"\0")
    return 1


def _refuses(tx: Transaction, args: Any) -> None:
    raise AppError("no" * 5_000)


@pytest.mark.parametrize(
    ("path", "args"), [("total", "x" * 10_000), ("total", ""), ("ranges", ""), ("refuses", ""), ("echo", "x" * 5_000)]
)
def test_the_bound_is_on_everything_that_stays_in_memory(tmp_path: Path, path: str, args: str) -> None:
    async def body(bench: Bench) -> None:
        bench.functions.update(ranges=_ranges, refuses=_refuses, echo=lambda tx, args: args)
        bench.executor.pause = None
        await bench.query(path, [0, args])
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n in range(2_000):
            await bench.query(path, [n, args])
            bench.executor.runs.clear()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert 2 < _known(bench) < 2_000
        assert held < BOUND * 1.5  # encoders leave up to a third of what they allocate unused

    run(tmp_path, body, cache_bytes=BOUND)
