"""What the backend writes about jobs: shared commits, of bounded size."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nbreactive.engine.catalog import SCHEDULED
from nbreactive.engine.scheduled import job_document
from nbreactive.services.changes import Batch, Changes
from tests.engine.test_engine import Bench, run


def test_changes_share_commits_and_see_each_other(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        changes, id = Changes(bench.engine), bytes(16)

        def bump(batch: Batch) -> float:
            found = batch.find(SCHEDULED, id)
            at = found[0]["scheduledTime"] + 1 if found is not None else 0.0
            batch.put(SCHEDULED, id, job_document("m:f", {}, at, 1.0))
            return at

        assert await asyncio.gather(*(changes.make(bump) for _ in range(100))) == [float(n) for n in range(100)]
        versions: set[int] = set()

        def remove(batch: Batch) -> None:
            found = batch.find(SCHEDULED, id)
            assert found is not None and found[0]["scheduledTime"] == 99
            versions.add(found[1])
            batch.put(SCHEDULED, id, None)
            assert batch.find(SCHEDULED, id) is None

        await changes.make(remove)
        assert min(versions) < bench.engine.durable
        reader = bench.engine.reader()
        assert reader.document(SCHEDULED, id, bench.engine.applied) is None
        reader.close()

    run(tmp_path, body)


@pytest.mark.parametrize(("size", "commits"), [(1 << 10, 1), (3 << 20, 4)])
def test_what_is_too_much_for_one_commit_goes_into_the_next(tmp_path: Path, size: int, commits: int) -> None:
    async def body(bench: Bench) -> None:
        changes = Changes(bench.engine)

        def add(batch: Batch, number: int) -> int:
            document = job_document("m:f", {"text": "x" * size}, 0, batch.created())
            batch.put(SCHEDULED, number.to_bytes(16, "big"), document)
            return number

        made = await asyncio.gather(*(changes.make(lambda batch, n=n: add(batch, n)) for n in range(8)))
        assert made == list(range(8))
        reader = bench.engine.reader()
        found = [reader.document(SCHEDULED, n.to_bytes(16, "big"), bench.engine.applied) for n in range(8)]
        reader.close()
        assert len({version for document in found if document is not None for version in document[1:]}) == commits

    run(tmp_path, body)


def test_a_change_that_raises_has_written_nothing(tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        changes = Changes(bench.engine)

        def fail(batch: Batch) -> None:
            batch.put(SCHEDULED, bytes(16), job_document("m:f", {}, 0, 1.0))
            raise ValueError("no")

        before = bench.engine.applied
        with pytest.raises(ValueError, match="no"):
            await changes.make(fail)
        assert bench.engine.applied == before
        assert await changes.make(lambda _: "and then") == "and then"

    run(tmp_path, body)
