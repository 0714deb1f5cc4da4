"""What people could try with SQL: refused, or harmless, and the backend serves on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.served import Served

MODULE = """
from nbreactive import mutation, query

@mutation
def add(ctx, n: int): ctx.db.insert("notes", {"n": n})
@query
def run(ctx, text: str): return ctx.db.sql(text)
@query
def replaced(ctx):
    secret = [{"n": 1}]
    return ctx.db.sql("SELECT * FROM secret")
"""

REFUSED = [
    # files, and what looks like them
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM read_json('../x.json')",
    "SELECT * FROM read_ndjson_objects('x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'x.csv'",
    "SELECT * FROM '/proc/self/environ'",
    'SELECT * FROM "https://example.com/x.parquet"',
    "SELECT * FROM read_duckdb('store.duckdb')",
    "SELECT * FROM read_text('/dev/stdout')",
    "COPY notes TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "COPY notes FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/stolen'",
    "IMPORT DATABASE '/tmp/stolen'",
    "ATTACH '/tmp/stolen.duckdb' AS stolen",
    "ATTACH ':memory:' AS other",
    "DETACH store",
    "USE temp",
    # extensions and settings
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 64",
    "SET GLOBAL enable_external_access = true",
    "RESET memory_limit",
    "PRAGMA enable_profiling",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "SET VARIABLE x = 1",
    # more than one statement, other statements
    "SELECT 1; DROP TABLE notes",
    "DROP TABLE notes",
    "DELETE FROM notes",
    "INSERT INTO notes VALUES ('a', 1, 2)",
    "UPDATE notes SET n = 3",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP VIEW notes AS SELECT 1",
    "CREATE MACRO m(a) AS a",
    "CREATE TYPE t AS ENUM ('a')",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "EXPLAIN ANALYZE SELECT 1",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "DESCRIBE notes",
    "SUMMARIZE notes",
    # text that is run, and what is not the user's
    "SELECT * FROM query('SELECT * FROM nbreactive.history')",
    "SELECT * FROM query_table('nbreactive.history')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT * FROM nbreactive.history",
    "SELECT * FROM nbreactive.tables",
    "SELECT * FROM store.nbreactive.state",
    "SELECT * FROM store.main.notes",
    "SELECT * FROM main.notes",
    "SELECT * FROM history",
    "SELECT * FROM _tables",
    "SELECT * FROM _env",
    "SELECT (SELECT count(*) FROM nbreactive.history) FROM notes",
    "SELECT * FROM notes WHERE n IN (SELECT count(*) FROM duckdb_settings())",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM duckdb_tables()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM pg_class",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_table_info('notes')",
    "SELECT * FROM seq_scan('notes')",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM nbreactive_batch",
    "SELECT * FROM batch",
    "SELECT current_database()",
    "SELECT current_user",
    "SELECT pg_catalog.pg_get_viewdef('x')",
    "SELECT system.main.getenv('HOME')",
    "SELECT main.getenv('HOME')",
    "SELECT 'HOME'.getenv()",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "SELECT * FROM (VALUES (1)) t(x), LATERAL (SELECT * FROM glob('/*'))",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(100)",
    # names that hide others
    "WITH RECURSIVE duckdb_tables AS (SELECT * FROM duckdb_tables UNION ALL SELECT * FROM duckdb_tables) FROM duckdb_tables",
    "WITH duckdb_tables AS (SELECT * FROM duckdb_tables) FROM duckdb_tables",
    "SELECT * FROM (WITH duckdb_views AS (SELECT 1) FROM duckdb_views), duckdb_views",
    "WITH a AS (SELECT * FROM b), b AS (SELECT 1) FROM a",
    # things that DuckDB itself does not take
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT * FROM notes WHERE " + "NOT " * 50_000 + "true",
    "SELECT '\x00' FROM nowhere",
    "x" * 200_000,
]
"""Each ends in an error that says why."""

HARMLESS = {
    "SELECT '); DROP TABLE notes --' AS text": [{"text": "'); DROP TABLE notes --".replace("'", "", 1)}],
    "SELECT 1 AS one -- ; DROP TABLE notes": [{"one": 1}],
    "SELECT 1 AS one /* ; */ ;": [{"one": 1}],
    "WITH secrets AS (SELECT 1 AS one) FROM secrets": [{"one": 1}],
    "FROM notes SELECT count(*) AS many": [{"many": 1}],
    "VALUES (1)": [{"col0": 1}],
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Served(tmp_path_factory.mktemp("attacks"), {"notes": MODULE}) as served:
        served.call("mutation", "notes:add", n=1)
        yield served


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:60].replace("\x00", "NUL"))
def test_refused(backend: Served, text: str) -> None:
    answer = backend.ask("query", "notes:run", text=text)
    assert answer["status"] == "error", answer
    said = answer["errorMessage"]
    assert "SqlError" in said or "NotAllowed" in said or "LimitExceeded" in said, said
    assert str(backend.data) not in said
    assert "root:" not in said


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless(backend: Served, text: str) -> None:
    assert backend.call("query", "notes:run", text=text) == HARMLESS[text]


def test_variables_of_python_are_no_tables(backend: Served) -> None:
    assert "no table 'secret'" in backend.ask("query", "notes:replaced")["errorMessage"]


def test_afterwards_everything_is_as_it_was(backend: Served, tmp_path: Path) -> None:
    assert backend.call("query", "notes:run", text="SELECT n FROM notes") == [{"n": 1}]
    status = backend.fetch("/api/admin/status", admin=True)["columns"]
    assert (status["restarts"], status["error"]) == (0, "")
    assert not list(tmp_path.parent.glob("**/stolen*"))
