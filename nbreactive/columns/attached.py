"""Sources outside of the deployment that SQL may read, because the operator has named them: Parquet and DuckDB files, Postgres.

They are opened for reading while the store is opened, before external access is switched off for good; nothing else can be
reached afterwards. What is in them is seen by views in a database of their own, in memory: one for Parquet files, named as
the source, and one for each table of a database, named ``<source>_<table>``. A user's table of the same name comes first.
Nobody tells when something changes in them, so results about them are those of the moment in which they ran. Which files a
pattern stands for is looked at once.
"""

# duckdb has partial stubs: what comes out of it is unknown to the checker
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nbreactive.columns.schema import Layout, quote
from nbreactive.errors import DataFolderError, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

VIEWS: Final = "nbreactive_attached"
_POSTGRES: Final = ("postgres://", "postgresql://")
_PARQUET: Final = (".parquet",)
_DATABASE: Final = (".duckdb", ".ddb", ".db")
LAYOUTS: Final[dict[str, Layout]] = {}
"""The views that there are in this process, by case-folded name; their numbers are negative."""


def source_of(text: str) -> tuple[str, str]:
    """Understand ``name=path``, as the operator writes it.

    Examples
    --------
    >>> source_of("geo=postgresql://reader@db/geo")
    ('geo', 'postgresql://reader@db/geo')
    """
    name, given, place = text.partition("=")
    if not given or not name.isidentifier() or not name.isascii() or name.startswith("_") or not place:
        raise InvalidValue(f"{text!r:.100} is not NAME=PATH, the name made of letters, digits and _")
    if place.startswith(_POSTGRES):
        return name, place
    path = Path(place).expanduser().absolute()
    if path.suffix.lower() not in (*_PARQUET, *_DATABASE):
        raise InvalidValue(
            f"{place} is neither Parquet (.parquet) nor a DuckDB database (.duckdb, .db) nor postgresql://..."
        )
    if not glob.glob(str(path)):  # noqa: PTH207 - an absolute pattern
        raise DataFolderError(f"there is no file {place} to attach as {name!r}")
    return name, str(path)


def attach(connection: duckdb.DuckDBPyConnection, sources: Sequence[tuple[str, str]]) -> None:
    """Open sources, whose places have been looked at; one that cannot be opened is left out, and said on standard error."""
    import duckdb

    LAYOUTS.clear()
    if not sources:
        return
    connection.execute(f"ATTACH ':memory:' AS {VIEWS}")
    paths: list[str] = []
    for name, place in sources:
        try:
            if place.lower().endswith(_PARQUET):
                files = sorted(glob.glob(place))  # noqa: PTH207 - an absolute pattern
                _view(connection, name, f"read_parquet([{', '.join(map(_literal, files))}])")
                paths += files
            else:
                _attach_database(connection, name, place)
        except duckdb.Error as error:
            sys.stderr.write(f"columns: the attached source {name!r} is left out: {str(error).splitlines()[0]}\n")
    allowed = ", ".join(map(_literal, paths))
    connection.execute(f"SET GLOBAL allowed_paths = [{allowed}]")


def _attach_database(connection: duckdb.DuckDBPyConnection, name: str, place: str) -> None:
    kind = ""
    if place.startswith(_POSTGRES):
        connection.execute("LOAD postgres")  # what is not installed is not installed by itself
        kind = "TYPE postgres, "
    inner = quote(f"{VIEWS}_{name}")
    connection.execute(f"ATTACH {_literal(place)} AS {inner} ({kind}READ_ONLY)")
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = ? AND NOT internal"
        " UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = ? AND NOT internal",
        [f"{VIEWS}_{name}"] * 2,
    ).fetchall()
    for schema, table in tables:
        middle = "" if schema in ("main", "public") else f"{schema}_"
        _view(connection, f"{name}_{middle}{table}", f"{inner}.{quote(schema)}.{quote(table)}")


def _view(connection: duckdb.DuckDBPyConnection, name: str, source: str) -> None:
    connection.execute(f"CREATE VIEW {VIEWS}.main.{quote(name)} AS SELECT * FROM {source}")  # noqa: S608 - the operator's
    LAYOUTS[name.casefold()] = Layout(-len(LAYOUTS) - 1, name, name, ())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
