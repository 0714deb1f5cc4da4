"""Why a statement is run again instead of being kept up to date: what in it cannot be, by its tree alone."""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from nbreactive.columns.live.tree import Node, of_class, walk

CLOCK = frozenset(
    [
        "now",
        "today",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "get_current_time",
        "get_current_timestamp",
        "transaction_timestamp",
        "ago",
        "age",
    ]
)
"""Functions, and names that are functions, whose value follows the clock (``age`` does with one argument)."""
VOLATILE = frozenset(
    [
        "random",
        "setseed",
        "uuid",
        "uuidv4",
        "uuidv7",
        "gen_random_uuid",
        "nextval",
        "currval",
        "setval",
        "txid_current",
        "current_query",
        "current_query_id",
        "current_transaction_id",
        "current_connection_id",
        "current_setting",
        "getvariable",
        "stats",
        "vector_type",
        "sleep_ms",
        "pg_sleep",
        "write_log",
        "error",
    ]
)
"""Functions of which no two runs agree, or which depend on something else than rows."""
_SEVERAL = frozenset({"unnest", "unlist", "generate_subscripts", "regexp_split_to_table"})
"""Functions that make several rows of one."""
PERIOD_MS = 10_000
"""How often a statement that looks at the clock is to be run again while somebody watches."""


class Rerun(Exception):  # noqa: N818 - a finding about a statement
    """The statement is run again whenever something changes; the message is the reason."""

    def __init__(self, why: str, period_ms: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.period_ms = period_ms


def check(node: Node) -> None:
    """Raise Rerun where a statement looks at more than rows of its tables, or at more than one of them at a time."""
    _check_functions(node)
    _check_shape(node)


def _check_functions(node: Node) -> None:
    for inner in of_class(node, "FUNCTION", "WINDOW"):
        name = str(inner.get("function_name", "")).lower()
        if name in VOLATILE:
            raise Rerun(f"{name}() gives something else each time")
        if name in CLOCK and (name != "age" or len(inner.get("arguments", [])) < 2):
            raise Rerun(f"{name}() follows the clock", PERIOD_MS)
    if any("at_clause" in inner for inner in walk(node)):
        raise Rerun("AT is not maintained")


def _check_shape(node: Node) -> None:
    if node.get("type") != "SELECT_NODE":
        raise Rerun("UNION, EXCEPT and INTERSECT are not maintained")
    if node.get("cte_map"):
        raise Rerun("WITH is not maintained")
    if next(of_class(node, "SUBQUERY"), None) or any(inner.get("type") == "SUBQUERY" for inner in walk(node)):
        raise Rerun("subqueries are not maintained")
    if next(of_class(node, "WINDOW"), None):
        raise Rerun("window functions are not maintained")
    if next(of_class(node, "COLLATE"), None):
        raise Rerun("COLLATE is not maintained")
    if next(of_class(node, "POSITIONAL_REFERENCE"), None):
        raise Rerun("#1 is not maintained")
    for inner in of_class(node, "FUNCTION"):
        if str(inner["function_name"]).lower() in _SEVERAL:
            raise Rerun(f"{inner['function_name']}() is not maintained")
    for part, words in (("qualify", "QUALIFY"), ("sample", "a sample"), ("windows", "WINDOW")):
        if node.get(part):
            raise Rerun(f"{words} is not maintained")
    if len(node.get("group_sets", [])) > 1:
        raise Rerun("ROLLUP, CUBE and GROUPING SETS are not maintained")
