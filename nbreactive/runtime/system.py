"""Functions of the system: any table, without a function of the user's. Reached with the role ``deploy`` only.

``_system/tables:rows`` is what ``nbreactive.table(name)`` is subscribed to. They run in the workers like any other function, so
reads are live and writes are checked.
"""

from __future__ import annotations

from typing import Any, Final

from nbreactive.engine.catalog import TableInfo, describe_index
from nbreactive.functions.decorators import Function
from nbreactive.functions.rules import TableRules
from nbreactive.functions.specs import FunctionSpec, Kind
from nbreactive.runtime import (
    system_cli,
    system_environment,
    system_identity,
    system_panel,
    system_presence,
    system_sql,
    system_vectors,
)
from nbreactive.runtime.context import MutationContext, QueryContext
from nbreactive.values.kinds import UNSET
from nbreactive.values.limits import READ_DOCUMENTS
from nbreactive.values.sizes import size_of
from nbreactive.values.validators import Validator, v

_SAMPLED: Final = 20


def _in_columns(ctx: QueryContext, number: int, what: str) -> int:
    """How many ``rows`` or ``bytes`` a table has in columns: its last batch knows what was before it."""
    batches = ctx.db.system.query("_batches").with_index("by_table", lambda q: q.eq("table", float(number)))
    last = batches.order("desc").first()
    return 0 if last is None else int(last[what] + last.get(f"{what}Before", 0))


def _rows_of(ctx: QueryContext, table: TableInfo) -> int:
    if table.storage == "columns":
        return _in_columns(ctx, table.number, "rows")
    return ctx.db.query(table.name).count()


def _allowed(rules: TableRules | None) -> list[str]:
    """What public functions may do with some rows of a table, where there are rules; nothing if there are none of it."""
    return list(rules.spec("").operations) if rules is not None else []


def _list(ctx: QueryContext) -> list[dict[str, Any]]:
    """Every table, with its indexes, what its row rules may allow, and how many documents it has."""
    rules = ctx.all_rules()
    return [
        {
            "name": table.name,
            "count": _rows_of(ctx, table),
            "storage": table.storage,
            "module": table.module,
            "ephemeral": table.ephemeral,
            "rules": _allowed(rules.get(table.name)) if rules else None,
            "indexes": [describe_index(index) for index in table.indexes[2:]],
        }
        for table in ctx.all_tables()
    ]


def _sizes(ctx: QueryContext) -> list[dict[str, Any]]:
    """Every table with how many documents it has, and about how many bytes: those of the newest, times their number."""
    tables: list[dict[str, Any]] = []
    for table in _list(ctx):
        if table["storage"] == "columns":
            found = ctx.table_info(table["name"])
            assert found is not None
            tables.append(table | {"bytes": _in_columns(ctx, found.number, "bytes")})
            continue
        newest = ctx.db.query(table["name"]).order("desc").take(_SAMPLED)
        each = sum(map(size_of, newest)) / max(len(newest), 1)
        tables.append(table | {"bytes": round(each * table["count"])})
    return tables


def _rows(ctx: QueryContext, table: str, limit: float = 100, order: Any = "desc") -> list[dict[str, Any]]:
    """The newest (or, ``order="asc"``, the oldest) documents of a table."""
    db = ctx.db.system if table.startswith("_") else ctx.db
    return db.query(table).order(order).take(min(int(limit), READ_DOCUMENTS))


def _count(ctx: QueryContext, table: str) -> int:
    """How many documents a table has."""
    found = ctx.table_info(table)
    db = ctx.db.system if table.startswith("_") else ctx.db
    return _rows_of(ctx, found) if found is not None and db is ctx.db else db.query(table).count()


def _get(ctx: QueryContext, id: str) -> dict[str, Any] | None:
    """One document."""
    return ctx.db.get(id)


def _insert_many(ctx: MutationContext, table: str, documents: list[dict[str, Any]]) -> int:
    """Insert documents; returns how many."""
    for document in documents:
        ctx.db.insert(table, document)
    return len(documents)


def _patch(ctx: MutationContext, id: str, fields: dict[str, Any], remove: Any = UNSET) -> None:
    """Change fields of a document, and remove those named in ``remove``."""
    ctx.db.patch(id, {**fields, **dict.fromkeys(remove or (), UNSET)})


def _delete(ctx: MutationContext, id: str) -> None:
    """Delete a document."""
    ctx.db.delete(id)


def _function(handler: Any, kind: Kind, args: dict[str, Validator]) -> tuple[str, Function]:
    name = handler.__name__.strip("_")
    return f"_system/tables:{name}", Function(handler, kind, "system", args=args, name=name)


_ORDER: Final = v.union(v.literal("asc"), v.literal("desc"))

FUNCTIONS: Final[dict[str, Function]] = dict(
    [
        _function(_list, "query", {}),
        _function(_sizes, "query", {}),
        _function(_rows, "query", {"table": v.string(), "limit": v.number().optional(), "order": _ORDER.optional()}),
        _function(_count, "query", {"table": v.string()}),
        _function(_get, "query", {"id": v.string()}),
        _function(_insert_many, "mutation", {"table": v.string(), "documents": v.array(v.any())}),
        _function(_patch, "mutation", {"id": v.string(), "fields": v.any(), "remove": v.array(v.string()).optional()}),
        _function(_delete, "mutation", {"id": v.string()}),
    ]
)
"""By path."""
FUNCTIONS.update(system_environment.FUNCTIONS)
FUNCTIONS.update(system_cli.FUNCTIONS)
FUNCTIONS.update(system_identity.FUNCTIONS)
FUNCTIONS.update(system_panel.FUNCTIONS)
FUNCTIONS.update(system_presence.FUNCTIONS)
FUNCTIONS.update(system_sql.FUNCTIONS)
FUNCTIONS.update(system_vectors.FUNCTIONS)


def functions() -> list[FunctionSpec]:
    """Descriptions of the functions of the system."""
    return [function.spec(path) for path, function in FUNCTIONS.items()]
