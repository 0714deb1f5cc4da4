"""DuckDB's own syntax tree of a statement, as JSON: read, searched, changed, and written as text again.

The tree is the one that runs, so nothing that is decided on it can be about another statement than the user's.
"""

# duckdb has no stubs for what is used here, and a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import duckdb
import msgspec

Node = dict[str, Any]

_PARSE = "SELECT json_serialize_sql($text, skip_null := true, skip_empty := true, skip_default := true)"
_WRITE = "SELECT json_deserialize_sql(tree::JSON) FROM unnest($trees::VARCHAR[]) AS given(tree)"
_PLACES = frozenset({"query_location", "query_location_length", "alias", "qualified_name", "is_operator"})
_FROM = re.compile(r"\s*SELECT NULL FROM ")


class Unreadable(Exception):  # noqa: N818 - a finding about a statement
    """DuckDB cannot give the tree of this statement; its message says why."""


def parse(cursor: duckdb.DuckDBPyConnection, text: str) -> Node:
    """Return the node of a SELECT.

    Raises
    ------
    Unreadable
        It is no SELECT, several, or one whose tree DuckDB cannot give.
    """
    row = cursor.execute(_PARSE, {"text": text}).fetchone()
    assert row is not None
    tree = msgspec.json.decode(row[0])
    if tree["error"] or len(tree["statements"]) != 1:
        raise Unreadable(tree.get("error_message", "more than one statement"))
    return tree["statements"][0]["node"]


def write(cursor: duckdb.DuckDBPyConnection, nodes: Sequence[Node]) -> list[str]:
    """Return the text of SELECT nodes."""
    trees = [
        msgspec.json.encode(
            {"error": False, "statements": [{"node": node, "named_param_map": _numbered(node)}]}
        ).decode()
        for node in nodes
    ]
    return [text for (text,) in cursor.execute(_WRITE, {"trees": trees}).fetchall()]


def write_expressions(cursor: duckdb.DuckDBPyConnection, nodes: Sequence[Node]) -> list[str]:
    """Return the text of expressions."""
    bare = [{key: value for key, value in node.items() if key != "alias"} for node in nodes]
    return [text.removeprefix("SELECT ") for text in write(cursor, [_select(node) for node in bare])] if bare else []


def write_relation(cursor: duckdb.DuckDBPyConnection, node: Node) -> str:
    """Return the text of what stands after FROM."""
    null = {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "NULL_LITERAL"}}
    return _FROM.sub("", write(cursor, [_select(null, node)])[0], count=1)


def walk(node: Any) -> Iterator[Node]:
    """Yield every object of a tree, outer ones first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from walk(item)


def rewrite(node: Any, change: Callable[[Node], Node | None]) -> Any:
    """Return a copy in which every object for which ``change`` returns another one is that one."""
    if isinstance(node, dict):
        changed = change(node)
        return {key: rewrite(value, change) for key, value in node.items()} if changed is None else changed
    if isinstance(node, list):
        return [rewrite(item, change) for item in node]
    return node


def form(node: Node) -> str:
    """Return what tells expressions apart: two that only stand at different places are the same."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key not in _PLACES}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return msgspec.json.encode(strip(node), order="sorted").decode()


def column(*path: str) -> Node:
    """Return a reference to a column."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": list(path)}


def integer(value: int) -> Node:
    """Return an integer; in ORDER BY it is a position."""
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "literal": {"kind": "INTEGER", "text": str(value)}}


def of_class(nodes: Any, *classes: str) -> Iterator[Node]:
    """Yield the expressions of some classes."""
    return (node for node in walk(nodes) if node.get("class") in classes)


def parameters(nodes: Any) -> frozenset[str]:
    """Return the folded names of the parameters in trees."""
    return frozenset(str(node["identifier"]).casefold() for node in of_class(nodes, "PARAMETER"))


def _numbered(node: Node) -> list[Node]:
    return [{"key": name, "value": number} for number, name in enumerate(sorted(parameters(node)), 1)]


def _select(expression: Node, relation: Node | None = None) -> Node:
    return {
        "type": "SELECT_NODE",
        "cte_map": {},
        "select_list": [expression],
        "from_table": relation or {"type": "EMPTY"},
        "aggregate_handling": "STANDARD_HANDLING",
    }


def names(items: Iterable[Any]) -> set[str]:
    """Fold names as DuckDB compares them: case does not count."""
    return {str(item).casefold() for item in items}
