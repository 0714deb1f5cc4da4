"""What a SQL text is: exactly one SELECT over the user's tables, and nothing that reaches further.

A text is judged by the tree that DuckDB's own parser makes of it, so no second parser can see something else than what
runs. Names of tables must be the user's or those of common table expressions in scope, unqualified; table functions are
the few that make rows of their arguments; scalar functions that tell of the database, the machine or the session are
refused. What remains runs in a transaction that cannot write, in a process that can be killed.
"""

# pyarrow and duckdb have no stubs, or partial ones: what comes out of them is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from nbreactive.columns.earlier import Earlier, spelled_out, take_out
from nbreactive.errors import NotAllowed, SqlError
from nbreactive.values.limits import SQL_TEXT, over

if TYPE_CHECKING:
    import duckdb

    from nbreactive.columns.schema import Layout

Tree = dict[str, Any]

_TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "repeat_row", "json_each", "json_tree"})
_REFUSED: Final = frozenset(
    {
        "checkpoint",
        "current_catalog",
        "current_connection_id",
        "current_database",
        "current_dialect",
        "current_query",
        "current_query_id",
        "current_role",
        "current_schema",
        "current_schemas",
        "current_setting",
        "current_transaction_id",
        "current_user",
        "currval",
        "force_checkpoint",
        "get_block_size",
        "getenv",
        "getvariable",
        "in_search_path",
        "index_key",
        "json_deserialize_sql",
        "json_execute_serialized_sql",
        "json_serialize_plan",
        "json_serialize_sql",
        "nextval",
        "parse_duckdb_log_message",
        "query",
        "query_table",
        "session_user",
        "setseed",
        "setval",
        "sleep_ms",
        "stats",
        "txid_current",
        "user",
        "vector_type",
        "write_log",
    }
)
_REFUSED_PREFIXES: Final = ("pg_", "has_", "__", "duckdb_", "read_", "pragma_", "parquet_", "sniff_", "map_to_pg_")
_VOLATILE: Final = frozenset(
    {
        "ago",
        "current_date",
        "current_localtime",
        "current_localtimestamp",
        "current_time",
        "current_timestamp",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "localtime",
        "localtimestamp",
        "now",
        "random",
        "today",
        "transaction_timestamp",
        "uuid",
        "uuidv4",
        "uuidv7",
    }
)
_BARE: Final = frozenset(
    {
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    }
)
"""What SQL calls without parentheses, where no column has the name."""
_STRUCTURE: Final = frozenset(
    {
        "SELECT_NODE",
        "SET_OPERATION_NODE",
        "RECURSIVE_CTE_NODE",
        "BASE_TABLE",
        "SUBQUERY",
        "JOIN",
        "TABLE_FUNCTION",
        "EXPRESSION_LIST",
        "EMPTY",
        "PIVOT",
        "LIMIT_MODIFIER",
        "LIMIT_PERCENT_MODIFIER",
        "ORDER_MODIFIER",
        "DISTINCT_MODIFIER",
        "ORDER_DEFAULT",
        "ASCENDING",
        "DESCENDING",
    }
)
"""What a tree consists of besides expressions; anything else that DuckDB learns is refused until it is known here."""


class Parsed(msgspec.Struct, frozen=True):
    """A statement that may run."""

    text: str
    tree: Tree
    """As ``json_serialize_sql`` gives it: its only statement."""
    names: tuple[str, ...]
    """Tables that it names, as it spells them."""
    parameters: tuple[str, ...]
    volatile: tuple[str, ...]
    """What in it gives something else each time, in words."""
    earlier: tuple[Earlier, ...] = ()
    """Tables that it names as of earlier times."""
    bound: frozenset[str] = frozenset()
    """The parameters that are left in its text, case-folded."""
    rowid: bool = False
    """Whether it names ``rowid``, and nothing in it has that name."""

    def values(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that its text has: those that only say a time are none of them."""
        return {name: value for name, value in params.items() if name.casefold() in self.bound}

    def tables(self, known: Mapping[str, Layout]) -> list[Layout]:
        """Return the layouts of its tables.

        Parameters
        ----------
        known
            By case-folded name.

        Raises
        ------
        SqlError
            There is no such table.
        NotAllowed
            It names DuckDB's own number of a row.
        """
        found: dict[int, Layout] = {}
        for name in self.names:
            layout = known.get(name.casefold())
            if layout is None:
                raise SqlError(no_table(name, known))
            found[layout.number] = layout
        named = any(column.name.casefold() == "rowid" for layout in found.values() for column in layout.columns)
        if self.rowid and found and not named:
            raise NotAllowed("rowid is where a row happens to lie just now, which changes by itself: use _id")
        return list(found.values())


def parse(connection: duckdb.DuckDBPyConnection, text: str) -> Parsed:
    """Take a text apart.

    Parameters
    ----------
    connection
        Parses; nothing is run on it.
    text
        What a user has typed.

    Raises
    ------
    SqlError
        It is no SQL.
    NotAllowed
        It is more than a SELECT over the user's tables.
    """
    import duckdb

    if len(text) > SQL_TEXT:
        raise SqlError(over("characters in a SQL statement", len(text), SQL_TEXT, "pass values as parameters"))
    try:
        text = spelled_out(text)
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise SqlError(str(error)) from None
    if len(statements) != 1:
        found = "nothing" if not statements else f"{len(statements)} statements"
        raise NotAllowed(f"exactly one SELECT is run, this is {found}; run them one by one")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise NotAllowed(_no_select(statements[0].type))
    ((serialized,),) = connection.execute(
        "SELECT json_serialize_sql($text::VARCHAR, skip_null := true, skip_empty := true, skip_default := true)",
        {"text": text},
    ).fetchall()
    tree: Any = msgspec.json.decode(serialized)
    if tree.get("error", True) or len(tree["statements"]) != 1:
        raise NotAllowed(f"this kind of SELECT is not run: {tree.get('error_message', 'unknown')}")
    walk = _Walk()
    walk.visit(tree["statements"][0], frozenset())
    numbered = [name for name in walk.parameters if name.isdigit()]
    if numbered:
        raise SqlError("parameters are named: write $since instead of ? or $1, and pass since=...")
    tree = tree["statements"][0]
    names, parameters, volatile = tuple(walk.names), tuple(walk.parameters), tuple(walk.volatile)
    earlier: tuple[Earlier, ...] = ()
    bound = frozenset(name.casefold() for name in parameters)
    if walk.earlier:
        earlier = tuple(take_out(node, number) for number, node in enumerate(walk.earlier, 1))
        left = _Walk()
        left.visit(tree, frozenset())
        bound = frozenset(name.casefold() for name in left.parameters)
        whole = msgspec.json.encode({"error": False, "statements": [tree]}).decode()
        ((text,),) = connection.execute("SELECT json_deserialize_sql($tree::JSON)", {"tree": whole}).fetchall()
    return Parsed(text, tree, names, parameters, volatile, earlier, bound, walk.rowid and not walk.rowid_named)


class _Walk:
    """Goes through a tree and refuses what is not to be there."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.parameters: dict[str, None] = {}
        self.volatile: dict[str, None] = {}
        self.earlier: list[Tree] = []
        self.rowid = self.rowid_named = False

    def visit(self, node: Any, scope: frozenset[str]) -> None:
        """Look at a node and what is below it; ``scope`` has the case-folded names of common table expressions."""
        if isinstance(node, list):
            for child in node:
                self.visit(child, scope)
        if not isinstance(node, dict):
            return
        kind = node.get("type")
        if "class" in node:
            self._expression(node)
        elif isinstance(kind, str) and kind not in _STRUCTURE and not kind.endswith("_TYPE_INFO"):
            raise NotAllowed(
                _DESCRIBED
                if kind == "SHOW_REF"
                else f"this kind of SELECT is not run ({kind.lower().replace('_', ' ')})"
            )
        if "rowid" in map(str.casefold, [str(node.get("alias", "")), *map(str, node.get("column_name_alias", ()))]):
            self.rowid_named = True
        if "sample" in node:
            self.volatile["a sample"] = None
        if "cte_map" in node:
            for entry in node["cte_map"].get("map", []):
                self.visit(entry["value"], scope)
                scope = scope | {entry["key"].casefold()}
        if kind == "BASE_TABLE":
            self._table(node, scope)
        elif kind == "TABLE_FUNCTION":
            self._table_function(node["function"])
        for key, child in node.items():
            if kind == "RECURSIVE_CTE_NODE" and key == "right":  # only the recursive part knows its own name
                self.visit(child, scope | {node["cte_name"].casefold()})
            elif key != "cte_map":
                self.visit(child, scope)

    def _table(self, node: Tree, scope: frozenset[str]) -> None:
        path = node["qualified_name"]["path"]
        if len(path) > 1:
            raise NotAllowed(f"tables are named alone: write {path[-1]} instead of {'.'.join(path)}")
        if "at_clause" in node:
            if path[0].casefold() in scope:
                raise SqlError(
                    f"AT is for tables, and {path[0]} is a part of this statement; write it behind the tables there"
                )
            self.earlier.append(node)
            return
        if path[0].casefold() not in scope:
            self.names[path[0]] = None

    def _table_function(self, function: Tree) -> None:
        name = function["function_name"]
        if name.casefold() not in _TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(_TABLE_FUNCTIONS))
            raise NotAllowed(f"{name}(...) cannot be used as a table; of those functions there are {allowed}")

    def _expression(self, node: Tree) -> None:
        if node["class"] == "PARAMETER":
            self.parameters[node["identifier"]] = None
        elif node["class"] == "COLUMN_REF":
            *of, name = (part.casefold() for part in node["column_names"])
            self.rowid = self.rowid or name == "rowid"
            if not of and name in _BARE:
                self._function(name)
        elif "function_name" in node:
            path = node.get("qualified_name", {}).get("path", [])
            if len(path) > 1:
                raise NotAllowed(f"functions are named alone: write {path[-1]} instead of {'.'.join(path)}")
            for name in {node["function_name"], *path}:
                self._function(name.casefold())
            if node["function_name"].casefold() == "age" and len(node.get("arguments", ())) < 2:
                self.volatile["age() of one moment"] = None  # until today

    def _function(self, name: str) -> None:
        if name in _REFUSED or name.startswith(_REFUSED_PREFIXES):
            raise NotAllowed(f"the function {name} is not available: it tells of the database or the machine")
        if name in _VOLATILE:
            self.volatile[f"{name}()"] = None


_DESCRIBED = (
    "DESCRIBE, SHOW and SUMMARIZE are not run: %reactive tables lists the tables, FROM name LIMIT 5 shows the columns of one"
    " with their types, and .df().describe() summarizes a result"
)


def _no_select(kind: Any) -> str:
    name = str(kind).rsplit(".", 1)[-1]
    if name == "EXPLAIN":
        return "EXPLAIN is not run: EXPLAIN LIVE SELECT ... in a cell, or .explain() of a result, says how it is kept up to date"
    if name == "MULTI":
        return "a PIVOT without IN is several statements; name its values: PIVOT orders ON year IN (2025, 2026) ..."
    return f"only SELECT is run, not {name}; mutations write"


def no_table(name: str, known: Mapping[str, Layout]) -> str:
    """Return what to say about a table that does not exist."""
    names: Iterable[str] = sorted(layout.name for layout in known.values())
    listed = ", ".join(names)
    there = f"there are {listed}" if listed else "there is none yet"
    return f"there is no table {name!r} in SQL: {there:.500}"
