"""Tables as of earlier times in SQL: ``FROM notes AT ($when)``."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from nbreactive.columns.supervisor import Columns
from nbreactive.errors import HistoryGone, NotAllowed, SqlError
from nbreactive.values import pack
from tests.columns._support import NOTES, Database
from tests.columns.test_sql import running, table

START = 1_793_534_400_000_000_000
"""2026-11-01 12:00 UTC."""
MINUTE = 60_000_000_000


def story() -> tuple[Database, list[int]]:
    """A table that changes every minute, and the timestamps of the commits."""
    db = Database()
    db.ts = START - MINUTE
    db.define("notes")
    rng = random.Random(7)
    stamps: list[int] = []
    there: set[int] = set()
    for minute in range(60):
        db.ts = START + minute * MINUTE - 1
        writes: list[Any] = []
        for number in rng.sample(range(50), 6):
            gone = number in there and rng.random() < 0.3
            there.discard(number) if gone else there.add(number)
            writes.append((NOTES, number, None if gone else {"n": number, "minute": minute}))
        db.commit(*writes)
        stamps.append(db.ts)
    return db, stamps


async def rows(columns: Columns, text: str, **params: Any) -> list[dict[str, Any]]:
    return table(await columns.sql(text, pack(params))).to_pylist()


def test_a_table_as_it_was_equals_the_statement_as_of_then(tmp_path: Path) -> None:
    async def main() -> None:
        db, stamps = story()
        async with running(tmp_path, db) as columns:
            await columns.feed(db.entries)
            await columns.wait(db.ts)
            plain = "SELECT n, minute FROM notes ORDER BY n"
            for ts in [stamps[0], stamps[17], stamps[-2], stamps[-1]]:
                then = table(await columns.sql(plain, at=ts)).to_pylist()
                assert await rows(columns, "SELECT n, minute FROM notes AT $when ORDER BY n", when=str(ts)) == then
                assert await rows(columns, f"SELECT n, minute FROM notes AT ({ts}) ORDER BY n") == then
            # a moment between two commits is that of the first of them
            then = table(await columns.sql(plain, at=stamps[16])).to_pylist()
            assert await rows(columns, "SELECT n, minute FROM notes AT ('2026-11-01 12:16:30') ORDER BY n") == then
            assert (
                await rows(columns, "SELECT n, minute FROM notes AT ('2026-11-01T13:16:30+01:00') ORDER BY n") == then
            )
            for between in ("\t", "\r\n\t", "/* then */"):
                assert (
                    await rows(
                        columns, f"SELECT n, minute FROM notes{between}AT $w ORDER BY n", w="2026-11-01 12:16:30"
                    )
                    == then
                )
            assert await rows(columns, "SELECT n FROM notes AT ('2026-10-01')") == []

    asyncio.run(main())


def test_then_and_now_in_one_statement(tmp_path: Path) -> None:
    async def main() -> None:
        db, stamps = story()
        async with running(tmp_path, db) as columns:
            await columns.feed(db.entries)
            await columns.wait(db.ts)
            models = {
                ts: {
                    row["n"]: row["minute"]
                    for row in table(await columns.sql("SELECT * FROM notes", at=ts)).to_pylist()
                }
                for ts in (stamps[5], stamps[40], stamps[-1])
            }
            first, second, now = models.values()
            text = """
                SELECT n.n, a.minute AS first, b.minute AS second, n.minute AS now
                FROM notes n LEFT JOIN notes AS a AT $first ON a._id = n._id
                LEFT JOIN notes b AT (TIMESTAMP => $second) ON b._id = n._id WHERE n.n >= $least ORDER BY n.n
            """
            found = await rows(columns, text, first=stamps[5] // 1_000_000 + 1, second=str(stamps[40]), least=3)
            assert found == [
                {"n": n, "first": first.get(n), "second": second.get(n), "now": minute}
                for n, minute in sorted(now.items())
                if n >= 3
            ]
            result = await columns.sql(text, pack({"first": stamps[5], "second": stamps[40], "least": 3}))
            assert [name for name, _ in result.described.tables] == ["notes"]
            result = await columns.sql("WITH c AS (SELECT * FROM notes AT ('2026-11-01 12:05')) SELECT count(*) FROM c")
            assert list(result.described.tables) == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("SELECT * FROM notes AT (now())", SqlError, "AT takes a time that is written there, or a parameter"),
        ("SELECT * FROM notes AT ('soon')", SqlError, "'soon' is no point in time"),
        ("SELECT * FROM notes AT ('2126-01-01')", SqlError, "has not come yet"),
        ("SELECT * FROM notes AT (VERSION => 3)", SqlError, "AT takes a time, not a version"),
        ("SELECT * FROM nothing AT ('2026-11-01')", SqlError, "there is no table 'nothing'"),
        ("WITH c AS (SELECT 1) SELECT * FROM c AT ('2026-11-01')", SqlError, "AT is for tables"),
        ("SELECT * FROM notes AT $when", SqlError, r"parameter \$when, which is not given"),
        ("SELECT * FROM nbreactive.history AT (TIMESTAMP => '2026-11-01')", NotAllowed, "tables are named alone"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    async def main() -> None:
        db, _ = story()
        async with running(tmp_path, db) as columns:
            await columns.feed(db.entries)
            await columns.wait(db.ts)
            with pytest.raises(error, match=message):
                await columns.sql(text)

    asyncio.run(main())


def test_what_is_not_kept_any_more_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        db, stamps = story()
        async with running(tmp_path, db) as columns:
            await columns.feed(db.entries)
            await columns.wait(db.ts)
            process = columns.status()["pid"]
            await columns.trim(stamps[30])
            while columns.status()["pid"] in (None, process) or not columns.status()["running"]:
                await asyncio.sleep(0.01)  # it starts again, and writes a file that is mostly free anew
            then = table(await columns.sql("SELECT n FROM notes ORDER BY n", at=stamps[30])).to_pylist()
            assert await rows(columns, "SELECT n FROM notes AT $when ORDER BY n", when=stamps[30]) == then
            with pytest.raises(HistoryGone, match="from when on history is kept"):
                await columns.sql("SELECT n FROM notes AT $when", pack({"when": stamps[29]}))
            assert (await columns.span(stamps[40] + 5)).last == stamps[40]
            assert (await columns.span(stamps[40])).horizon == stamps[30]

    asyncio.run(main())
