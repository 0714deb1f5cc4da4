"""The function of the system that ``ctx.vector_search`` of actions runs: a query like any other, at one snapshot."""

from __future__ import annotations

from typing import Any, Final

from nbreactive.functions.decorators import Function
from nbreactive.runtime.context import QueryContext
from nbreactive.runtime.nearest import Condition
from nbreactive.values.kinds import UNSET
from nbreactive.values.validators import v

VECTOR_SEARCH: Final = "_system/vectors:search"


def _search(
    ctx: QueryContext, table: str, index: str, vector: Any, limit: float, conditions: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Ids and scores of the documents nearest to a vector."""
    parts = tuple((condition["field"], condition.get("value", UNSET)) for condition in conditions)
    return ctx.db.query(table).nearest_ids(index, vector, limit, Condition(parts) if parts else None)


_ARGS: Final = {
    "table": v.string(),
    "index": v.string(),
    "vector": v.any(),
    "limit": v.any(),
    "conditions": v.array(v.object({"field": v.string(), "value": v.any().optional()})),
}
FUNCTIONS: Final[dict[str, Function]] = {VECTOR_SEARCH: Function(_search, "query", "system", args=_ARGS, name="search")}
