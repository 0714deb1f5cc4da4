"""What store.duckdb knows of earlier times: until when its history is whole, and single versions of documents."""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbreactive.columns import _frames as frames

if TYPE_CHECKING:
    import duckdb

_TABLE = "nbreactive.trimmed"


def span(connection: duckdb.DuckDBPyConnection, at: int) -> frames.Span:
    """Return from when on the history is whole, and the last commit at or before ``at``."""
    last = connection.execute("SELECT max(ts) FROM nbreactive.history WHERE ts <= ?", [at]).fetchone()
    return frames.Span(horizon(connection), last[0] if last is not None and last[0] is not None else 0)


def horizon(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the timestamp from which on the history is whole: what was replaced or deleted by then may be gone."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'nbreactive' AND table_name = 'trimmed'"
    ).fetchone()
    if known == (0,):  # nothing was dropped yet
        return 0
    row = connection.execute(f"SELECT max(horizon) FROM {_TABLE}").fetchone()  # noqa: S608 - our own text
    return row[0] if row is not None and row[0] is not None else 0


def note_horizon(connection: duckdb.DuckDBPyConnection, horizon: int) -> None:
    """Note that versions which were replaced or deleted by ``horizon`` are about to be dropped."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (horizon BIGINT NOT NULL)")
    connection.execute(f"DELETE FROM {_TABLE} WHERE horizon < ?", [horizon])  # noqa: S608 - our own text
    connection.execute(f"INSERT INTO {_TABLE} VALUES (?)", [horizon])  # noqa: S608 - our own text


def versions(connection: duckdb.DuckDBPyConnection, wanted: Sequence[frames.Version]) -> frames.Versions:
    """Return the documents of these versions (None: it is not known)."""
    docs: list[bytes | None] = [None] * len(wanted)
    rows = connection.execute(
        "SELECT k.n, h.doc FROM"
        " (SELECT unnest($n) AS n, unnest($tables) AS table_number, unnest($ids) AS id, unnest($stamps) AS ts) k"
        " JOIN nbreactive.history h USING (table_number, id, ts)",
        {
            "n": list(range(len(wanted))),
            "tables": [one.table for one in wanted],
            "ids": [one.id for one in wanted],
            "stamps": [one.ts for one in wanted],
        },
    ).fetchall()
    for number, doc in rows:
        docs[number] = doc
    return frames.Versions(docs)
