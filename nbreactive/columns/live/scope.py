"""The tables of a SELECT, and what names in its expressions stand for."""

# a tree of JSON has no types
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from nbreactive.columns.live.reasons import CLOCK, PERIOD_MS, Rerun
from nbreactive.columns.live.tree import Node, column, names, of_class, rewrite


class Source(NamedTuple):
    """A base table in FROM."""

    table: str
    alias: str
    columns: dict[str, str]
    """Names, as the table spells them, and types."""
    leaf: Node
    outer: bool = False
    """Whether its rows may be left out of a row of the join: the nullable side of an outer join."""


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


def sources_of(
    node: Node, layouts: Mapping[str, dict[str, str]], using: list[str], outer: bool = False
) -> Iterable[Source]:
    """Yield the tables in FROM; adds to ``using`` the columns that joins have in common."""
    kind = node.get("type")
    if node.get("sample"):
        raise Rerun("a sample is not maintained")
    if kind == "JOIN":
        join = node.get("join_type")
        if join not in ("INNER", "LEFT") or node.get("ref_type") not in ("REGULAR", "CROSS"):
            raise Rerun("of joins, those by =, INNER and LEFT are maintained")
        using.extend(node.get("using_columns", []))
        yield from sources_of(node["left"], layouts, using, outer)
        yield from sources_of(node["right"], layouts, using, outer or join == "LEFT")
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


def outputs_of(node: Node, scope: Scope, using: bool) -> list[Node]:
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
