"""Mutations that complete something: exactly once, whoever else runs them, cancels them, or refuses the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nbreactive.engine.catalog import SCHEDULED
from nbreactive.engine.requests import MutationRequest, Result
from nbreactive.engine.scheduled import BY_STATE, PENDING, finished, job_document
from nbreactive.engine.transactions import Write
from nbreactive.errors import ReadOnly
from nbreactive.values import pack, unpack
from nbreactive.values.keys import successor
from nbreactive.values.limits import TransactionLimits
from tests.engine.test_engine import Bench, run

ID = bytes(15) + b"\x01"


async def add_job(bench: Bench) -> None:
    job = pack(job_document("m:add", {"n": 1}, 0, 1.0))
    await bench.engine.transact(lambda *_: [Write(SCHEDULED, ID, job)])


def state(bench: Bench) -> str:
    reader = bench.engine.reader()
    try:
        found = reader.document(SCHEDULED, ID, bench.engine.applied)
        return unpack(found[0])["state"]["kind"] if found is not None else "gone"
    finally:
        reader.close()


def completion(bench: Bench, kind: str = "success") -> Callable[[], Write]:
    reader = bench.engine.reader()
    found = reader.document(SCHEDULED, ID, bench.engine.applied)
    reader.close()
    assert found is not None
    document = unpack(found[0])
    return lambda: Write(SCHEDULED, ID, pack(finished(document, kind, 2.0)), found[1])  # type: ignore[arg-type]


async def do(bench: Bench, completes: Callable[[], Write], path: str = "add") -> Result:
    return await bench.engine.mutate(MutationRequest(path, pack({"n": 1}), completes=completes))


def test_however_many_run_it_one_of_them_counts(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await add_job(bench)
        completes = completion(bench)
        results = await asyncio.gather(*(do(bench, completes) for _ in range(20)))
        assert sorted(result.repeated for result in results) == [False] + [True] * 19
        assert await bench.query("total") == 1
        assert state(bench) == "success"
        assert (await do(bench, completes)).repeated
        assert await bench.query("total") == 1

    run(tmp_path, body)


def test_what_is_canceled_meanwhile_has_not_happened(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await add_job(bench)
        completes, cancels = completion(bench), completion(bench, "canceled")
        running = asyncio.create_task(do(bench, completes))
        await bench.engine.transact(lambda *_: [cancels()])
        result = await running
        assert (state(bench), await bench.query("total")) in [("canceled", 0), ("success", 1)]
        assert result.repeated == (state(bench) == "canceled")

    run(tmp_path, body)


def test_a_function_that_writes_nothing_or_fails(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await add_job(bench)
        failed = await do(bench, completion(bench), "refuse")
        assert failed.failure is not None
        assert (state(bench), await bench.query("total")) == ("pending", 0)
        done = await do(bench, completion(bench), "nothing")
        assert not done.repeated
        assert state(bench) == "success"

    run(tmp_path, body)


def test_a_refused_commit_leaves_it_pending_and_it_can_be_done_later(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await add_job(bench)
        bench.log.faults.refuse = 1.0
        with pytest.raises(ReadOnly):
            await do(bench, completion(bench))
        assert state(bench) == "pending"
        bench.log.faults.refuse = 0.0
        assert not (await do(bench, completion(bench))).repeated
        assert (state(bench), await bench.query("total")) == ("success", 1)

    run(tmp_path, body)


def test_the_backends_own_writes_are_not_bounded_by_what_users_may_write(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        job = pack(job_document("m:add", {"text": "x" * (3 << 20)}, 0, 1.0))
        big = [Write(SCHEDULED, number.to_bytes(16, "big"), job) for number in range(12)]
        await bench.engine.transact(lambda *_: big)
        job = pack(job_document("m:add", {}, 0, 1.0))
        many = [Write(SCHEDULED, number.to_bytes(16, "big"), job) for number in range(1000, 2100)]
        await bench.engine.transact(lambda *_: many)
        reader = bench.engine.reader()
        assert len(list(reader.scan(BY_STATE, PENDING, successor(PENDING), bench.engine.applied))) == 1112
        reader.close()

    run(tmp_path, body, transaction=TransactionLimits(documents_written=1, bytes_written=1))


def test_watchers_are_told_touched_keys_and_that_commits_were_undone(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        told: list[list[bytes] | None] = []
        bench.engine.watch(BY_STATE, lambda keys: told.append(list(keys) if keys is not None else None))
        await bench.mutate("add", {"n": 1})
        assert told == []
        await add_job(bench)
        [[pending]] = told  # type: ignore[misc]
        assert pending.startswith(PENDING) and pending.endswith(ID)
        told.clear()
        await do(bench, completion(bench))
        [[before, after]] = told  # type: ignore[misc]
        assert before == pending and not after.startswith(PENDING)
        told.clear()
        bench.log.faults.refuse = 1.0
        with pytest.raises(ReadOnly):
            await bench.mutate("add", {"n": 1})
        assert told == [None]

    run(tmp_path, body)
