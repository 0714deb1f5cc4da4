"""What store.duckdb holds, to be compared with the log: ``python -m nbreactive.columns.inspection PATH TS``.

Every block of every table is read on the way, so DuckDB's checksums of them are checked too. The columns process does
it for a file that is in use; for one that is not, this module is a process of its own, which opens it for reading only.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

import sys
from collections.abc import Iterator

import duckdb
import msgspec

from nbreactive.columns._frames import Inspection
from nbreactive.columns.batches import batch_of
from nbreactive.columns.documents import LATEST
from nbreactive.columns.schema import Layout, quote
from nbreactive.engine.catalog import BATCHES
from nbreactive.engine.fingerprint import of_documents, texts
from nbreactive.values.packing import unpack


def inspect(connection: duckdb.DuckDBPyConnection, upto: int) -> Inspection:
    """Look at everything; documents are compared as of ``upto``, or of what is applied if that is less."""
    row = connection.execute("SELECT applied FROM nbreactive.state").fetchone()
    applied = int(row[0]) if row is not None else 0
    at = min(applied, upto)
    names = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary"
    ).fetchall()
    for schema, table in names:
        connection.execute(f"SELECT bit_xor(hash(x)) FROM {quote(schema)}.{quote(table)} x").fetchone()  # noqa: S608
    latest = LATEST.format(where=f"WHERE ts <= {at:d}")

    def documents() -> Iterator[tuple[int, bytes, int, bytes]]:
        cursor = connection.execute(f"SELECT table_number, id, ts, doc FROM ({latest})")  # noqa: S608 - our own text
        while rows := cursor.fetchmany(4096):
            yield from rows

    tables = texts(of_documents(documents()))
    counted = f"SELECT table_number, count(*) FROM ({LATEST.format(where='')}) GROUP BY ALL"  # noqa: S608 - our own text
    expected = dict(connection.execute(counted).fetchall())
    rows: dict[int, int] = {}
    in_batches: dict[int, int] = {}
    named = LATEST.format(where=f"WHERE table_number = {BATCHES:d}")
    for (doc,) in connection.execute(f"SELECT doc FROM ({named})").fetchall():  # noqa: S608 - our own text
        batch = batch_of(unpack(doc))
        in_batches[batch.table] = in_batches.get(batch.table, 0) + batch.rows
    for number, layout in connection.execute("SELECT number, layout FROM nbreactive.tables").fetchall():
        decoded = msgspec.json.decode(layout, type=Layout)
        name = decoded.name
        if decoded.batches:
            expected[number] = in_batches.get(number, 0)
        found = connection.execute(f"SELECT count(*) FROM main.{quote(name)}").fetchone()  # noqa: S608 - quoted
        rows[number] = found[0] if found is not None else 0
    return Inspection(applied, at, tables, rows, expected)


def main() -> int:
    """Inspect a file that nobody has open."""
    try:
        connection = duckdb.connect(sys.argv[1], read_only=True)
        found = inspect(connection, int(sys.argv[2]))
    except duckdb.Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
