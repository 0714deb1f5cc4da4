from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nbreactive.columns.supervisor import Columns, Selected
from nbreactive.engine.transactions import Condition, Write
from nbreactive.errors import InvalidValue, LimitExceeded, NotAllowed, SqlError, SqlTimeout, Unavailable
from nbreactive.values import pack
from tests.columns._support import NOTES, Database, internal


def table(result: Selected) -> pa.Table:
    return pa.ipc.open_stream(result.data).read_all()


@contextlib.asynccontextmanager
async def running(folder: Path, db: Database, **more: Any) -> AsyncIterator[Columns]:
    columns = Columns(folder, read_log=db.read_log, memory_limit="256MB", **more)
    await columns.start()
    try:
        yield columns
    finally:
        await columns.close()


def filled() -> Database:
    db = Database()
    db.define("notes")
    for n in range(20):
        db.commit((NOTES, n, {"n": n, "text": "even" if n % 2 == 0 else "odd"}))
    return db


def test_a_statement_sees_what_was_fed_before_it(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db, collect=60) as columns:  # nothing is applied unless it has to be
            for n in range(20, 30):
                await columns.feed([db.commit((NOTES, n, {"n": n, "text": "late"}))])
            result = await columns.sql(
                "SELECT text, count(*) AS many, sum(n) AS total FROM notes WHERE n >= $least GROUP BY text ORDER BY text",
                pack({"least": 10}),
                at=db.ts,
            )
            assert table(result).to_pylist() == [
                {"text": "even", "many": 5, "total": 70},
                {"text": "late", "many": 10, "total": 245},
                {"text": "odd", "many": 5, "total": 75},
            ]
            assert result.described.at == db.ts
            assert [(name, list(proven)) for name, proven in result.described.tables] == [
                ("notes", [Condition("n", ">=", [10])])
            ]
            assert list(result.described.columns) == [("text", "VARCHAR"), ("many", "BIGINT"), ("total", "HUGEINT")]

    asyncio.run(main())


def test_statements_at_any_timestamp_and_with_own_writes(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        then = db.ts
        db.commit((NOTES, 3, None), (NOTES, 4, {"n": 400}), (NOTES, 50, {"n": 50}))
        async with running(tmp_path, db) as columns:
            count = "SELECT count(*) AS many, sum(n) AS total FROM notes"
            assert table(await columns.sql(count, at=db.ts)).to_pylist() == [{"many": 20, "total": 633}]
            assert table(await columns.sql(count, at=then)).to_pylist() == [{"many": 20, "total": 190}]
            own = [
                Write(NOTES, internal(3), pack({"_creationTime": 3.0, "n": 1000}), 0),
                Write(NOTES, internal(0), None, then),
                Write(NOTES, internal(77), pack({"_creationTime": 77.0, "n": 0.5, "new": [1]}), 0),
            ]
            assert table(await columns.sql(count, at=then, own=own)).to_pylist() == [{"many": 20, "total": 1187.5}]
            new = await columns.sql("SELECT new FROM notes WHERE new IS NOT NULL", at=db.ts, own=own)
            assert table(new).to_pylist() == [{"new": [1]}]
            assert table(await columns.sql(count, at=db.ts)).to_pylist() == [{"many": 20, "total": 633}]

    asyncio.run(main())


WRONG: list[tuple[str, type[Exception], str]] = [
    ("SELECT nope FROM notes", SqlError, "nope"),
    ("SELEC 1", SqlError, "syntax"),
    ("SELECT * FROM other", SqlError, "no table 'other' in SQL: there are notes"),
    ("SELECT $a", SqlError, r"parameter \$a"),
    ("SELECT ?", SqlError, "parameters are named"),
    ("SELECT 1; SELECT 2", NotAllowed, "exactly one SELECT"),
    ("", NotAllowed, "exactly one SELECT"),
    ("DELETE FROM notes", NotAllowed, "only SELECT is run, not DELETE"),
    ("DESCRIBE notes", NotAllowed, "%reactive tables lists the tables"),
    ("SUMMARIZE notes", NotAllowed, r"\.df\(\)\.describe\(\)"),
    ("EXPLAIN SELECT * FROM notes", NotAllowed, "EXPLAIN LIVE"),
    ("PIVOT notes ON text USING sum(n)", NotAllowed, "name its values"),
    ("SELECT random()", NotAllowed, "random"),
    ("SELECT ago(INTERVAL 1 DAY)", NotAllowed, r"ago\(\) gives something else"),
    ("SELECT age(TIMESTAMP '2026-01-01')", NotAllowed, "age"),
    ("FROM notes TABLESAMPLE 10%", NotAllowed, "a sample gives something else"),
    ("SELECT n.rowid FROM notes n", NotAllowed, "use _id"),
    ("FROM notes USING SAMPLE 1", NotAllowed, "a sample gives something else"),
    ("SELECT text::INTEGER FROM notes", SqlError, "Could not convert"),
    ("SELECT repeat('x', 1000) FROM range(100000)", LimitExceeded, "bytes in the result"),
]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            for text, error, match in WRONG:
                with pytest.raises(error, match=match):
                    await columns.sql(text, at=db.ts, strict=True)
            assert table(await columns.sql("SELECT 1 AS one")).to_pylist() == [{"one": 1}]
            named = "SELECT max(r.rowid) AS one FROM (SELECT 1 AS rowid FROM notes) r"
            assert table(await columns.sql(named)).to_pylist() == [{"one": 1}]
            assert columns.restarts == 0

    asyncio.run(main())


def test_a_statement_without_end_is_interrupted_and_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
            runaway = asyncio.create_task(columns.sql(endless, seconds=0.5))
            await asyncio.sleep(0)
            await columns.feed([db.commit((NOTES, 60, {"n": 1, "other": {"a": 1}}))])  # a column more, meanwhile
            result = await columns.sql("SELECT count(*) AS many FROM notes", at=db.ts)
            assert table(result).to_pylist() == [{"many": 21}]
            with pytest.raises(SqlTimeout, match=r"0\.5 s"):
                await runaway
            assert columns.restarts == 0

    asyncio.run(main())


def test_what_was_under_way_is_asked_again_when_the_process_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            await columns.wait(db.ts)
            slow = "SELECT count(*) AS many FROM range(20000000) a(x) WHERE hash(x) % 7 = 0"
            asked = [asyncio.create_task(columns.sql(slow)) for _ in range(5)]
            while not all(task.get_coro().cr_await for task in asked) or columns._child is None:  # type: ignore[union-attr]
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            columns.kill()
            results = [table(result).to_pylist() for result in await asyncio.gather(*asked)]
            assert results == [results[0]] * 5
            assert columns.restarts == 1

    asyncio.run(main())


def test_nobody_who_asks_keeps_the_process_busy_after_he_has_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, filled()) as columns:
            endless = "SELECT count(*) FROM range(100000000000)"
            for _ in range(20):  # more than run at a time
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await columns.sql(endless, seconds=600)
            assert table(await columns.sql("SELECT 1 AS one")).to_pylist() == [{"one": 1}]
            assert columns.restarts == 0

    asyncio.run(main())


def test_writes_that_are_none_are_the_trouble_of_who_sends_them(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            for doc in (b"", b"\xc1\xff", pack([1]), pack({"_creationTime": "x"})):
                own = [Write(NOTES, internal(1), doc, 0), Write(NOTES, b"short", doc, 0), Write(1, b"x" * 16, doc, 0)]
                for some in (own, own[:1], own[1:2]):
                    with contextlib.suppress(InvalidValue):
                        await columns.sql("SELECT * FROM notes", at=db.ts, own=some)
            assert table(await columns.sql("SELECT count(*) AS many FROM notes", at=db.ts)).to_pylist() == [
                {"many": 20}
            ]
            assert columns.restarts == 0

    asyncio.run(main())


BOMBS = [
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    "SELECT count(*) FROM range(1000000) a, range(1000000) b",
    "SELECT length(repeat('x', 1000000000))",
    "SELECT sum(length(repeat('x', 1000000000))) FROM range(1000)",
    "SELECT list(x) FROM range(10000000000) r(x)",
    "SELECT list(repeat('x', 1000000)) FROM range(100000)",
    "SELECT string_agg(repeat('x', 100000)) FROM range(1000000)",
    "SELECT x FROM range(10000000000) r(x) ORDER BY hash(x) LIMIT 1 OFFSET 1000000000",
    "SELECT count(DISTINCT x) FROM range(10000000000) r(x)",
    "SELECT unnest(range(10000000000))",
    "SELECT list_reduce(range(10000000000), lambda a, b: a + b)",
    "SELECT range(100000000000000)",
    "SELECT lpad('', 2000000000, 'x')",
    "SELECT 10::HUGEINT ** 1000000",
    "SELECT factorial(1000000)",
    "SELECT regexp_matches(repeat('a', 1000000), '(a*)*b')",
    "SELECT * FROM generate_series(1, 100000000000) a(x) WHERE x < 0",
]


def test_statements_without_measure_end_and_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            for text in BOMBS:
                bomb = asyncio.create_task(columns.sql(text, seconds=0.3))
                await asyncio.sleep(0)
                seen = await columns.sql("SELECT count(*) AS many FROM notes", at=db.ts)
                assert table(seen).to_pylist() == [{"many": 20}], text
                with contextlib.suppress(SqlTimeout, LimitExceeded, SqlError, Unavailable):
                    await bomb  # most fail; what fits is fine
            await columns.feed([db.commit((NOTES, 60, {"n": 1}))])
            seen = await columns.sql("SELECT count(*) AS many FROM notes", at=db.ts)
            assert table(seen).to_pylist() == [{"many": 21}]

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process takes besides its buffers")
def test_memory_that_duckdb_does_not_count_is_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            await columns.sql("SELECT 1", at=db.ts)
            limits = Path(f"/proc/{columns.status()['pid']}/limits").read_text().splitlines()
            most = next(int(line.split()[3]) for line in limits if line.startswith("Max data size"))
            assert most < 6 << 30
            with pytest.raises((LimitExceeded, SqlError, Unavailable)):
                await columns.sql(
                    "SELECT max(length(repeat('x', 300000000 + i::INT))) FROM range(100000) t(i)", seconds=30
                )
            seen = await columns.sql("SELECT count(*) AS many FROM notes", at=db.ts)
            assert table(seen).to_pylist() == [{"many": 20}]

    asyncio.run(main())


def test_no_text_ends_the_process(tmp_path: Path) -> None:
    odd = [
        "SELECT '' AS e, \"\" FROM notes WHERE text = ''",
        "SELECT * FROM notes WHERE text IN ('', '') AND '' = text AND text BETWEEN '' AND ''",
        "SELECT count() FROM notes",
        "SELECT FROM notes",
        "FROM notes LIMIT ''",
        "SELECT [] AS l, {} AS s, '' || '' AS t FROM notes",
        "SELECT '\ud83d\ude00', 'é' AS \"ü\" FROM notes".encode("utf-16", "surrogatepass").decode("utf-16"),
        'SELECT $"" FROM notes',
        'SELECT * FROM ""',
        'WITH "" AS (SELECT 1) FROM ""',
        "SELECT *, COLUMNS('.*') FROM notes",
        'SELECT ""() FROM notes',
    ]

    async def main() -> None:
        db = filled()
        async with running(tmp_path, db) as columns:
            for text in odd:
                with contextlib.suppress(SqlError, NotAllowed):
                    await columns.sql(text, at=db.ts)
                with contextlib.suppress(SqlError, NotAllowed):
                    await columns.check(text)
            assert columns.restarts == 0

    asyncio.run(main())
