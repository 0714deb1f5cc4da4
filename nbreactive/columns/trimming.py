"""Dropping old history from store.duckdb, and giving the room back.

At a horizon every document has one version, or none: what was replaced or deleted by then is dropped. DuckDB fills
the room with what comes next. Where most of the file is free, it is written anew: all tables are copied into a new
file, which takes the name of the old one in one step. That is done while opening, before the settings are locked.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import duckdb

from nbreactive.columns.past import note_horizon

_WORTHWHILE = 1 << 20
"""Bytes of free room below which a file is not written anew."""
_SMALL, _LARGE = 16 << 20, 256 << 20
"""A file that is written anew and is shorter than the one gets small blocks: each column takes one at least. Once it
is longer than the other it gets large ones."""
_SMALL_BLOCK, _LARGE_BLOCK = 16_384, 262_144

_SIZE = (
    "SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = current_database()"
)
_LATEST = """
    SELECT table_number, id, max(ts) AS ts FROM nbreactive.history WHERE ts <= {horizon:d} GROUP BY table_number, id
"""
_DROP = f"""
    DELETE FROM nbreactive.history h
    WHERE h.ts <= {{horizon:d}} AND (h.deleted OR NOT EXISTS (
        SELECT 1 FROM ({_LATEST}) last
        WHERE last.table_number = h.table_number AND last.id = h.id AND last.ts = h.ts))
"""  # noqa: S608 - our own text, and numbers
_KEEP = f"""
    SELECT h.* FROM nbreactive.history h WHERE h.ts > {{horizon:d}}
    UNION ALL
    SELECT h.* FROM nbreactive.history h JOIN ({_LATEST}) last USING (table_number, id, ts) WHERE NOT h.deleted
"""  # noqa: S608 - our own text, and numbers


def trim(connection: duckdb.DuckDBPyConnection, horizon: int) -> int:
    """Drop what was replaced or deleted at or before ``horizon``; return how many versions."""
    (total, old, kept) = _row(
        connection,
        f"SELECT (SELECT count(*) FROM nbreactive.history),"  # noqa: S608 - our own text, and a number
        f" (SELECT count(*) FROM nbreactive.history WHERE ts <= {horizon:d}),"
        f" (SELECT count(*) FROM nbreactive.history h JOIN ({_LATEST.format(horizon=horizon)}) last"
        "  USING (table_number, id, ts) WHERE NOT h.deleted)",
    )
    if old == kept:
        return 0
    note_horizon(connection, horizon)
    connection.execute("CHECKPOINT")
    if old - kept < total // 2:
        connection.execute(_DROP.format(horizon=horizon))
    else:  # little is left: writing that down takes less than taking the rest away
        connection.execute("BEGIN")
        try:
            connection.execute(f"CREATE TEMP TABLE kept AS {_KEEP.format(horizon=horizon)}")
            connection.execute("TRUNCATE nbreactive.history")
            connection.execute("INSERT INTO nbreactive.history SELECT * FROM kept ORDER BY ts")
            connection.execute("DROP TABLE kept")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    connection.execute("CHECKPOINT")
    return old - kept


def wasteful(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether the file is much longer than it need be, or has blocks that are too small for it."""
    block, total, free = _row(connection, _SIZE)
    used = (total - free) * block
    if block == _LARGE_BLOCK and used < _SMALL:
        return total * block >= _WORTHWHILE
    return (free * block >= _WORTHWHILE and free * 2 > total) or (block < _LARGE_BLOCK and used > _LARGE)


def rewrite(path: Path, connect: Callable[[Path], duckdb.DuckDBPyConnection]) -> None:
    """Write a database, which nobody has open, into a new file that takes its name; after a crash it is one or the other."""
    draft = path.with_name(path.name + ".compact")
    for old in (draft, draft.with_name(draft.name + ".wal")):
        old.unlink(missing_ok=True)
    with contextlib.closing(connect(path)) as connection:
        connection.execute("CHECKPOINT")
        (name,) = _row(connection, "SELECT current_database()")
        old, total, free = _row(connection, _SIZE)
        block = _SMALL_BLOCK if (total - free) * old < _SMALL else _LARGE_BLOCK
        literal = str(draft).replace("'", "''")
        # Newer storage versions do not compress long texts in small blocks
        version = ", STORAGE_VERSION 'v1.2.0'" if block == _SMALL_BLOCK else ""
        connection.execute(f"ATTACH '{literal}' AS compacted (BLOCK_SIZE {block:d}{version})")
        connection.execute(f'COPY FROM DATABASE "{name}" TO compacted')
        connection.execute("CHECKPOINT compacted")
        connection.execute("DETACH compacted")
    if path.with_name(path.name + ".wal").exists():
        draft.unlink()  # something was left out of the file itself; the next time will do
        return
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


def _sync(path: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
