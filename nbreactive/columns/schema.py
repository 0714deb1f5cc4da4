"""The layout of a typed table: which columns it has, under which names, of which types.

A column comes from the table's validator (``declared``: its type stays) or from the documents themselves (its type
widens as other values arrive). What fits in no column goes to ``_rest``, one JSON object per row. DuckDB's names
ignore case, so of two names that differ only in case the second gets a number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from nbreactive.values.columns import JSON, NULL, NUMBER, STRING, Kind, columns_of, join

ID, CREATION_TIME, REST = "_id", "_creationTime", "_rest"

MAX_INFERRED = 500
"""A free-form table has at most so many columns; further fields are in ``_rest``."""

_TYPES = {
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "int64": "BIGINT",
    "number": "DOUBLE",
    "string": "VARCHAR",
    "bytes": "BLOB",
    "datetime": "TIMESTAMP WITH TIME ZONE",
}


class Column(msgspec.Struct, frozen=True):
    """One column of a typed table."""

    field: str
    """The field of the documents."""
    name: str
    """The column in DuckDB: the field, unless another one differs only in case."""
    kind: Kind
    declared: bool = False
    """Whether the validator fixes the kind."""


SYSTEM = (Column(ID, ID, STRING, declared=True), Column(CREATION_TIME, CREATION_TIME, NUMBER, declared=True))


class Layout(msgspec.Struct, frozen=True):
    """One typed table; immutable, so that a transaction that fails leaves the old one in force."""

    number: int
    table: str
    """The user's name of the table."""
    name: str
    """The table in DuckDB, schema ``main``."""
    columns: tuple[Column, ...] = SYSTEM
    rest: bool = False
    """Whether there is a column ``_rest``."""
    batches: bool = False
    """Whether its rows come from files (:mod:`nbreactive.columns.batches`), in the order of the commits that name them."""

    def find(self, field: str) -> Column | None:
        """Return the column of a field."""
        return next((column for column in self.columns if column.field == field), None)

    def with_column(self, field: str, kind: Kind, *, declared: bool = False) -> Layout:
        """Return this layout with one column more; the same one if the field can have none."""
        inferred = sum(not column.declared for column in self.columns)
        if not field or (not declared and inferred >= MAX_INFERRED):
            return self
        name = free_name(field, [*(column.name for column in self.columns), REST])
        return msgspec.structs.replace(self, columns=(*self.columns, Column(field, name, kind, declared)))

    def with_kind(self, field: str, kind: Kind) -> Layout:
        """Return this layout with a column of another kind."""
        columns = tuple(
            msgspec.structs.replace(column, kind=kind) if column.field == field else column for column in self.columns
        )
        return msgspec.structs.replace(self, columns=columns)

    def with_rest(self) -> Layout:
        """Return this layout with a column ``_rest``."""
        return self if self.rest else msgspec.structs.replace(self, rest=True)

    def types(self) -> dict[str, str]:
        """Return the columns of the DuckDB table and their types, in order."""
        types = {column.name: duck_type(column.kind) for column in self.columns}
        return types | {REST: "JSON"} if self.rest else types


def declared_layout(
    number: int, table: str, name: str, validator: dict[str, Any] | None, storage: str = "rows"
) -> Layout:
    """Return the layout that a validator declares; without one, the system's columns only."""
    layout = Layout(number, table, name, batches=storage == "columns")
    for field, kind in columns_of(validator).items():
        if layout.batches:
            layout = layout.with_column(field, kind or JSON, declared=True)
            continue
        layout = layout.with_column(field, kind or NULL, declared=kind not in (None, NULL))
    return layout


def complete(layout: Layout, survey: Iterable[tuple[str, Kind]]) -> Layout:
    """Return ``layout`` with columns for everything that the documents were found to hold."""
    for field, kind in survey:
        column = layout.find(field)
        if column is None:
            layout = layout.with_column(field, kind)
        elif not column.declared:
            layout = layout.with_kind(field, join(column.kind, kind))
    return layout


def duck_type(kind: Kind) -> str:
    """Return the DuckDB type of a kind.

    Examples
    --------
    >>> duck_type(Kind("list", Kind("struct", fields=(("at", Kind("datetime")),))))
    'STRUCT("at" TIMESTAMP WITH TIME ZONE)[]'
    """
    if kind.element is not None:
        return duck_type(kind.element) + "[]"
    if kind.name == "struct":
        return f"STRUCT({', '.join(f'{quote(name)} {duck_type(field)}' for name, field in kind.fields)})"
    return _TYPES.get(kind.name, "JSON")


def quote(name: str) -> str:
    """Quote a name for SQL: reserved words and any character are only a name then.

    Examples
    --------
    >>> quote('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return ``wanted``, or with a number when that is taken; case does not tell names apart.

    Examples
    --------
    >>> free_name("Name", ["name", "name_2"])
    'Name_3'
    """
    folded = {name.casefold() for name in taken}
    name, number = wanted, 1
    while name.casefold() in folded:
        number += 1
        name = f"{wanted}_{number}"
    return name


def alterable(old: Layout, new: Layout) -> list[str] | None:
    """Return the statements that turn a table of ``old`` into one of ``new``; None if its rows must be written anew."""
    if old.name != new.name or (old.rest and not new.rest):
        return None
    table, statements = f"main.{quote(old.name)}", list[str]()
    for column in old.columns:
        wanted = new.find(column.field)
        if wanted is None or wanted.name != column.name:
            return None
        converted = _converted(column, wanted)
        if converted is None:
            return None
        if converted != quote(column.name):
            statements.append(f"ALTER TABLE {table} ALTER {quote(column.name)} TYPE {duck_type(wanted.kind)}")
            statements[-1] += " USING NULL" if column.kind == NULL else ""
    known = {column.field for column in old.columns}
    added = [(column.name, duck_type(column.kind)) for column in new.columns if column.field not in known]
    if new.rest and not old.rest:
        added.append((REST, "JSON"))
    return [*statements, *(f"ALTER TABLE {table} ADD COLUMN {quote(name)} {type_}" for name, type_ in added)]


def carried(old: Layout, new: Layout) -> list[str] | None:
    """Return what to select from a table of ``old`` to get rows of ``new``; None if they must be made of the documents."""
    selected: list[str] = []
    for wanted in new.columns:
        column = old.find(wanted.field)
        converted = f"NULL::{duck_type(wanted.kind)}" if column is None else _converted(column, wanted)
        if converted is None:
            return None
        selected.append(f"{converted} AS {quote(wanted.name)}")
    if new.rest:
        selected.append(f"{REST if old.rest else 'NULL::JSON'} AS {REST}")
    return selected


def _converted(old: Column, new: Column) -> str | None:
    """Return a column as an expression of another type that loses nothing; None if there is none."""
    type_ = duck_type(new.kind)
    if duck_type(old.kind) == type_:
        return quote(old.name)
    if old.kind == NULL:
        return f"NULL::{type_}"
    return f"{quote(old.name)}::{type_}" if old.kind.name == "integer" and new.kind == NUMBER else None


def create_statement(layout: Layout, schema: str = "main") -> str:
    """Return the statement that creates the table of a layout; a temporary one in the schema ``temp``."""
    columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in layout.types().items())
    return f"CREATE {'TEMP ' * (schema == 'temp')}TABLE {schema}.{quote(layout.name)} ({columns})"
