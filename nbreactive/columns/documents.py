"""Streaming the latest version of every document, to rebuild a row index with.

The history has no "latest" mark, which every commit would have to move. Instead one join finds the last ts of each
document (narrow columns, small hash table) and the wide column of packed documents streams past it. Over the pipe go
Arrow's own buffers; the backend, which does not know Arrow, slices them.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nbreactive.columns._frames import DocumentPart, Reply
from nbreactive.engine.catalog import DEPLOYS, ENV, FIRST_USER_TABLE, MODULES, TABLES
from nbreactive.errors import ProtocolError

if TYPE_CHECKING:
    import duckdb

LATEST = """
    SELECT h.table_number AS table_number, h.id AS id, h.ts AS ts, h.doc AS doc
    FROM nbreactive.history h
    JOIN (SELECT table_number, id, max(ts) AS ts FROM nbreactive.history {where} GROUP BY ALL) last
      USING (table_number, id, ts)
    WHERE NOT h.deleted
"""

_OF_NOW = (TABLES, MODULES, DEPLOYS, ENV)
"""Reserved tables that say how documents are read."""
_ROWS = 8192
_BYTES = 8 << 20


def stream(connection: duckdb.DuckDBPyConnection, at: int = 0) -> Iterator[DocumentPart]:
    """Yield the latest version of every document, reserved tables first; the part of the columns process.

    With ``at``: as of that timestamp, but under the tables, the code and the environment of now.
    """
    import pyarrow as pa

    def parts(batch: pa.RecordBatch) -> Iterator[DocumentPart]:
        if batch.nbytes > _BYTES and batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from parts(batch.slice(0, half))
            yield from parts(batch.slice(half))
            return
        # A copy that begins at 0, so that its buffers hold these rows only
        tables, ids, versions, docs = pa.concat_batches([batch.slice(0, 0), batch]).columns
        offsets = docs.buffers()[1]
        yield DocumentPart(
            memoryview(tables.buffers()[1]).tobytes()[: 4 * len(tables)],
            memoryview(ids.buffers()[2]).tobytes()[: 16 * len(ids)],
            memoryview(versions.buffers()[1]).tobytes()[: 8 * len(versions)],
            memoryview(offsets).tobytes()[: 4 * (len(docs) + 1)],
            memoryview(docs.buffers()[2] or b"").tobytes(),
        )

    # What says which tables there are comes first; nothing is applied between the two queries
    if at:
        now = f"table_number IN {_OF_NOW}"
        conditions = (now, f"NOT {now} AND ts <= {at:d}")
        ts = f"least(ts, {at:d}) AS ts"
    else:
        conditions = tuple(f"table_number {which} {FIRST_USER_TABLE}" for which in ("<", ">="))
        ts = "ts"
    for condition in conditions:
        latest = LATEST.format(where=f"WHERE {condition}")
        query = f"SELECT table_number, id, {ts}, doc FROM ({latest})"  # noqa: S608 - our own text
        for batch in connection.sql(query).to_arrow_reader(_ROWS):
            if batch.num_rows:
                yield from parts(batch)


class DocumentStream:
    """The latest version of every document, in parts, reserved tables first; for a blocking consumer.

    Attributes
    ----------
    applied
        The ts of the snapshot.
    """

    def __init__(self, applied: int, replies: Iterator[Reply]) -> None:
        self.applied = applied
        self._replies = replies

    def __iter__(self) -> Iterator[DocumentPart]:
        for reply in self._replies:
            if not isinstance(reply, DocumentPart):
                raise ProtocolError(f"the columns process sent {type(reply).__name__} among documents")
            yield reply
