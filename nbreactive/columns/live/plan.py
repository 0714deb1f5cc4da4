"""Which way a statement goes: its rows or groups are maintained from changes, or it is run again, and why.

A plan is made from DuckDB's syntax tree: names are resolved to (table, column), aliases and positions are put in, and
aggregates are taken out, so that what is left are scalar expressions over one row, which DuckDB evaluates itself.
"""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nbreactive.columns.live.tree import Node, column, form, names, of_class, rewrite, walk

GROUP = "__group"
"""The relation of groups, over which outputs, HAVING and ORDER BY of an aggregation are evaluated: k0.., a0.."""

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
PERIOD_MS = 10_000
"""How often a statement that looks at the clock is to be run again while somebody watches."""

_KINDS = {"count": "count", "sum": "sum", "avg": "avg", "mean": "avg", "min": "min", "max": "max"}
_HOW = {"ORDER_DEFAULT": "ASC", "ASCENDING": "ASC", "DESCENDING": "DESC"}


class Rerun(Exception):  # noqa: N818 - a finding about a statement
    """The statement is run again whenever something changes; the message is the reason."""

    def __init__(self, why: str, period_ms: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.period_ms = period_ms


class Source(NamedTuple):
    """A base table in FROM."""

    table: str
    alias: str
    columns: dict[str, str]
    """Names, as the table spells them, and types."""
    leaf: Node
    outer: bool = False
    """Whether its rows may be left out of a row of the join: the nullable side of an outer join."""


class Order(NamedTuple):
    """One key of ORDER BY."""

    by: Node
    how: str


class Aggregate(NamedTuple):
    """An aggregate function over one argument; rows that do not pass the filter count as NULL."""

    kind: str
    argument: Node | None
    filter: Node | None
    call: Node


class Plan(NamedTuple):
    """How a statement is maintained.

    ``outputs``, ``having`` and ``order`` are over rows of the tables, or over groups where there are ``keys``.
    """

    sources: list[Source]
    relation: Node
    where: Node | None
    keys: list[Node] | None
    aggregates: list[Aggregate]
    outputs: list[Node]
    having: Node | None
    order: list[Order]
    limit: int | None
    offset: int


class Scope:
    """The names that expressions of a SELECT may use: columns of its tables, aliases of its outputs."""

    def __init__(self, sources: Sequence[Source], using: Iterable[str] = ()) -> None:
        self.sources = sources
        self.aliases: dict[str, Node] = {}
        self._using = names(using)
        self._columns: dict[str, list[tuple[Source, str]]] = {}
        for source in sources:
            for name in source.columns:
                self._columns.setdefault(name.casefold(), []).append((source, name))

    def resolve(self, node: Any, *, alias_first: bool = False, depth: int = 0) -> Any:
        """Return an expression in which every column is named as (alias of its table, column)."""
        parameters = names(
            name
            for function in of_class(node, "LAMBDA")
            for reference in of_class(function.get("lhs"), "COLUMN_REF")
            for name in reference["column_names"][:1]
        )
        if parameters & (self.aliases.keys() | self._columns.keys()):
            raise Rerun("a lambda's parameter has the name of a column")

        def change(inner: Node) -> Node | None:
            if inner.get("class") != "COLUMN_REF":
                return None
            path = [str(part) for part in inner["column_names"]]
            first = path[0].casefold()
            if first in parameters:
                return inner
            alias = self.aliases.get(first) if len(path) == 1 else None
            if alias is not None and (alias_first or first not in self._columns):
                if depth > 20:
                    raise Rerun("names of outputs that stand for each other")
                return self.resolve(alias, depth=depth + 1)
            return self._column(path)

        return rewrite(node, change)

    def hidden(self) -> set[str]:
        """Return the names that are those of a column and of an output that is something else."""
        found = set[str]()
        for name, node in self.aliases.items():
            if name in self._columns and (
                node.get("class") != "COLUMN_REF" or str(node["column_names"][-1]).casefold() != name
            ):
                found.add(name)
        return found

    def _column(self, path: list[str]) -> Node:
        first = path[0].casefold()
        if first in self._columns:
            found = self._columns[first]
            if len(path) > 1 and any(source.alias.casefold() == first for source in self.sources):
                raise Rerun(f"{path[0]!r} is a table and a column")
            if len(found) > 1 and first not in self._using:
                raise Rerun(f"more than one table has a column {path[0]!r}")
            source, name = found[0]
            return column(source.alias, name, *path[1:])
        if first == "main" and len(path) > 2:
            path = path[1:]
        if len(path) > 1:
            for source in self.sources:
                if source.alias.casefold() == path[0].casefold():
                    for name in source.columns:
                        if name.casefold() == path[1].casefold():
                            return column(source.alias, name, *path[2:])
        if first in CLOCK:
            raise Rerun(f"{first} follows the clock", PERIOD_MS)
        raise Rerun(f"{'.'.join(path)!r} is no column of its tables")


def make_plan(
    node: Node, layouts: Mapping[str, dict[str, str]], aggregates: frozenset[str], params: dict[str, Any]
) -> Plan:
    """Return how to maintain a statement.

    Parameters
    ----------
    node
        The statement, from :func:`~nbreactive.columns.live.tree.parse`.
    layouts
        Columns and types of the tables that it names, by their folded names.
    aggregates
        Names of all aggregate functions.
    params
        Values of its parameters.

    Raises
    ------
    Rerun
        It cannot be maintained, or running it again is as good.
    """
    check_functions(node)
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
    for part, words in (("qualify", "QUALIFY"), ("sample", "a sample"), ("windows", "WINDOW")):
        if node.get(part):
            raise Rerun(f"{words} is not maintained")
    if len(node.get("group_sets", [])) > 1:
        raise Rerun("ROLLUP, CUBE and GROUPING SETS are not maintained")

    using: list[str] = []
    sources = list(_sources(node.get("from_table", {}), layouts, using))
    if len(names(source.alias for source in sources)) < len(sources) or len(
        names(source.table for source in sources)
    ) < len(sources):
        raise Rerun("a table joined with itself is not maintained")
    scope = Scope(sources, using)
    outputs, where = _outputs(node, scope, bool(using)), node.get("where_clause")
    where = scope.resolve(where) if where else None

    order_by, limit, offset, distinct = _modifiers(node, params)
    all_columns = any(order.by.get("class") == "STAR" for order in order_by)
    if all_columns:
        order_by = [Order(output, order_by[0].how) for output in outputs]
    else:
        order_by = [
            Order(_positioned(order.by, outputs) or scope.resolve(order.by, alias_first=True), order.how)
            for order in order_by
        ]

    def is_aggregate(inner: Node) -> bool:
        return inner.get("class") == "FUNCTION" and str(inner["function_name"]).lower() in aggregates

    grouped = any(map(is_aggregate, walk([outputs, node.get("having"), [order.by for order in order_by]])))
    by_all = node.get("aggregate_handling") == "FORCE_AGGREGATES"
    expressions = node.get("group_expressions", [])
    if where and any(map(is_aggregate, walk(where))):
        raise Rerun("an aggregate in WHERE")
    if not (grouped or by_all or expressions or distinct or node.get("having")):
        return Plan(sources, node["from_table"], where, None, [], outputs, None, order_by, limit, offset)

    if by_all:
        keys = [output for output in outputs if not any(map(is_aggregate, walk(output)))]
    elif distinct:
        if grouped or expressions or node.get("having"):
            raise Rerun("DISTINCT over groups is not maintained")
        keys = outputs
    else:
        keys = [_positioned(key, outputs) or scope.resolve(key) for key in expressions]
    having = node.get("having")
    if having:
        if any(
            reference["column_names"][0].casefold() in scope.hidden() for reference in of_class(having, "COLUMN_REF")
        ):
            raise Rerun("HAVING names an output that has the name of a column")
        having = scope.resolve(having)
    groups = _Groups(keys, aggregates)
    outputs = [groups.over(output) for output in outputs]
    having = groups.over(having) if having else None
    order_by = [Order(groups.over(order.by), order.how) for order in order_by]
    return Plan(
        sources, node["from_table"], where, groups.keys, groups.aggregates, outputs, having, order_by, limit, offset
    )


def check_functions(node: Node) -> None:
    """Raise Rerun where a statement looks at more than rows."""
    for inner in of_class(node, "FUNCTION", "WINDOW"):
        name = str(inner.get("function_name", "")).lower()
        if name in VOLATILE:
            raise Rerun(f"{name}() gives something else each time")
        if name in CLOCK and (name != "age" or len(inner.get("arguments", [])) < 2):
            raise Rerun(f"{name}() follows the clock", PERIOD_MS)
    if any("at_clause" in inner for inner in walk(node)):
        raise Rerun("AT is not maintained")


class _Groups:
    """Takes keys and aggregates out of expressions: what is left is over a row of the relation of groups."""

    def __init__(self, keys: Sequence[Node], aggregates: frozenset[str]) -> None:
        self.keys: list[Node] = []
        self.aggregates: list[Aggregate] = []
        self._names = aggregates
        self._known: dict[str, Node] = {}
        for key in keys:
            if form(key) not in self._known:
                self._known[form(key)] = column(GROUP, f"k{len(self.keys)}")
                self.keys.append(key)

    def over(self, node: Node) -> Node:
        def change(inner: Node) -> Node | None:
            if "class" not in inner:
                return None
            known = self._known.get(form(inner))
            if known is not None:
                return known
            if inner["class"] == "FUNCTION" and str(inner["function_name"]).lower() in self._names:
                self._known[form(inner)] = known = column(GROUP, f"a{len(self.aggregates)}")
                self.aggregates.append(self._aggregate(inner))
                return known
            if inner["class"] == "COLUMN_REF":
                raise Rerun(f"{'.'.join(inner['column_names'])} is neither grouped nor aggregated")
            return None

        return rewrite(node, change)

    def _aggregate(self, node: Node) -> Aggregate:
        name = str(node["function_name"]).lower()
        arguments = [argument["expression"] for argument in node.get("arguments", [])]
        where = node.get("filter")
        if node.get("distinct"):
            raise Rerun(f"{name}(DISTINCT ..) is not maintained")
        if (node.get("order_bys") or {}).get("orders") or node.get("export_state"):
            raise Rerun(f"{name}(.. ORDER BY ..) is not maintained")
        if any(
            str(inner.get("function_name", "")).lower() in self._names
            for inner in of_class([arguments, where], "FUNCTION")
        ):
            raise Rerun("an aggregate of an aggregate")
        if name == "count_star" or (name == "count" and not arguments):
            return Aggregate("count", None, where, node)
        if name in _KINDS and len(arguments) == 1:
            return Aggregate(_KINDS[name], arguments[0], where, node)
        raise Rerun(f"{name}() is not maintained")


def _sources(
    node: Node, layouts: Mapping[str, dict[str, str]], using: list[str], outer: bool = False
) -> Iterable[Source]:
    kind = node.get("type")
    if node.get("sample"):
        raise Rerun("a sample is not maintained")
    if kind == "JOIN":
        join = node.get("join_type")
        if join not in ("INNER", "LEFT") or node.get("ref_type") not in ("REGULAR", "CROSS"):
            raise Rerun("of joins, those by =, INNER and LEFT are maintained")
        using.extend(node.get("using_columns", []))
        yield from _sources(node["left"], layouts, using, outer)
        yield from _sources(node["right"], layouts, using, outer or join == "LEFT")
        return
    if kind != "BASE_TABLE":
        raise Rerun("only tables in FROM are maintained")
    if node.get("schema_name", "main").casefold() != "main" or node.get("catalog_name"):
        raise Rerun("tables of other databases are not followed")
    table = str(node["table_name"])
    columns = layouts.get(table.casefold())
    if columns is None or not {"_id", "_creationTime"} <= columns.keys():
        raise Rerun(f"{table!r} is no table with _id and _creationTime")
    if node.get("column_name_alias"):
        raise Rerun("names of columns after a table's alias are not maintained")
    yield Source(table, str(node.get("alias") or table), columns, node, outer)


def _outputs(node: Node, scope: Scope, using: bool) -> list[Node]:
    """Return the outputs; stars become the columns that they stand for."""
    outputs: list[Node] = []
    for item in node["select_list"]:
        if item.get("class") == "STAR":
            if item.get("columns") or item.get("expr") or item.get("replace_list") or item.get("rename_list") or using:
                raise Rerun("COLUMNS(..), REPLACE and RENAME are not maintained")
            excluded = names(_excluded(entry) for entry in item.get("exclude_list", []))
            wanted = str(item.get("relation_name", "")).casefold()
            outputs += [
                column(source.alias, name)
                for source in scope.sources
                if wanted in ("", source.alias.casefold())
                for name in source.columns
                if name.casefold() not in excluded
            ]
            continue
        if next(of_class(item, "STAR"), None):
            raise Rerun("COLUMNS(..) is not maintained")
        outputs.append(scope.resolve(item))
        if item.get("alias"):  # of those that come later, too: an output may name one before it
            bare = {key: value for key, value in item.items() if key != "alias"}
            scope.aliases.setdefault(str(item["alias"]).casefold(), bare)
    return outputs


def _excluded(entry: Any) -> str:
    return str(entry if isinstance(entry, str) else entry.get("column") or entry.get("column_name"))


def _modifiers(node: Node, params: dict[str, Any]) -> tuple[list[Order], int | None, int, bool]:
    order: list[Order] = []
    limit, offset, distinct = None, 0, False
    for modifier in node.get("modifiers", []):
        kind = modifier["type"]
        if kind == "ORDER_MODIFIER":
            order = [_order(item) for item in modifier["orders"]]
        elif kind == "LIMIT_MODIFIER" and "limit_type" not in modifier:
            limit = _count(modifier.get("limit"), params)
            offset = _count(modifier.get("offset"), params) or 0
        elif kind == "DISTINCT_MODIFIER" and not modifier.get("distinct_on_targets"):
            distinct = True
        else:
            raise Rerun("DISTINCT ON and LIMIT .. % are not maintained")
    return order, limit, offset, distinct


def _order(item: Node) -> Order:
    nulls = {"NULLS FIRST": "NULLS FIRST", "ORDER_DEFAULT": "NULLS LAST", "NULLS LAST": "NULLS LAST"}.get(
        item["null_order"]
    )
    if nulls is None:
        raise Rerun(f"{item['null_order']} is not maintained")
    return Order(item["expression"], f"{_HOW[item['type']]} {nulls}")


def _count(node: Node | None, params: dict[str, Any]) -> int | None:
    if node is None:
        return None
    if node.get("class") == "PARAMETER":
        name = str(node["identifier"]).casefold()
        value = next((value for given, value in params.items() if given.casefold() == name), None)
    else:
        literal = node.get("literal", {})
        value = int(literal["text"]) if literal.get("kind") == "INTEGER" else None
    if type(value) is not int or value < 0:
        raise Rerun("LIMIT and OFFSET that are not plain numbers are not maintained")
    return value


def _positioned(node: Node, outputs: Sequence[Node]) -> Node | None:
    """Return the output that a number in ORDER BY or GROUP BY stands for; None for other expressions."""
    literal = node.get("literal", {}) if node.get("class") == "CONSTANT" else {}
    if literal.get("kind") != "INTEGER":
        return None
    position = int(literal["text"])
    if not 0 < position <= len(outputs):
        raise Rerun("a position that is none")
    return outputs[position - 1]
