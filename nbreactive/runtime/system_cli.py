"""The queries with which Convex's command line looks at a deployment: ``npx convex data`` and ``npx convex function-spec``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nbreactive.functions import Function
from nbreactive.functions.paths import BUILT_IN
from nbreactive.functions.specs import Kind
from nbreactive.runtime.context import QueryContext
from nbreactive.values.validators import Validator, v

_TYPES: Final[dict[Kind, str]] = {"query": "Query", "mutation": "Mutation", "action": "Action"}
_READABLE: Final = ("_scheduled_functions", "_storage")
"""What users may read of the system's tables, here as in functions."""
_BUILT_IN: Final = f"{BUILT_IN}/"


def _tables(ctx: QueryContext, paginationOpts: Any) -> dict[str, Any]:  # noqa: N803, ARG001 - theirs; there is one page
    """Every table of users."""
    page = [{"name": table.name} for table in ctx.all_tables()]
    return {"page": page, "isDone": True, "continueCursor": ""}


def _table_data(ctx: QueryContext, table: str, order: Any, paginationOpts: dict[str, Any]) -> Any:  # noqa: N803
    """Pages of a table."""
    db: Any = ctx.db.system if table in _READABLE else ctx.db
    return db.query(table).order(order).paginate(paginationOpts)


def _table_size(ctx: QueryContext, tableName: str) -> int:  # noqa: N803
    """How many documents a table has."""
    return ctx.db.query(tableName).count()


def _api_spec(ctx: QueryContext) -> list[dict[str, Any]]:
    """Every function of users, with the validators of its arguments and of its result."""
    return [
        {
            "functionType": _TYPES[function.kind],
            "identifier": path.replace(":", ".js:"),
            "visibility": {"kind": function.visibility},
            "args": function.args.to_json(),
            "returns": function.returns.to_json() if function.returns is not None else {"type": "any"},
        }
        for path, function in sorted(ctx.all_functions().items())
        if function.visibility != "system" and function.kind in _TYPES and not path.startswith(_BUILT_IN)
    ]


def _cloud_url(ctx: QueryContext) -> str | None:
    """Where this deployment is."""
    return ctx.env.get("CONVEX_CLOUD_URL")


def _query(path: str, handler: Callable[..., Any], args: dict[str, Validator]) -> tuple[str, Function]:
    path = f"_system/cli/{path}"
    return path, Function(handler, "query", "system", args=args, name=path.partition(":")[2])


_ORDER: Final = v.union(v.literal("asc"), v.literal("desc"))

FUNCTIONS: Final[dict[str, Function]] = dict(
    [
        _query("tables:default", _tables, {"paginationOpts": v.any()}),
        _query("tableData:default", _table_data, {"table": v.string(), "order": _ORDER, "paginationOpts": v.any()}),
        _query("tableSize:default", _table_size, {"tableName": v.string()}),
        _query("modules:apiSpec", _api_spec, {}),
        _query("convexUrl:cloudUrl", _cloud_url, {}),
    ]
)
"""By path."""
