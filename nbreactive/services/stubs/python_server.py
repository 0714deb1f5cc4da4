"""``server.pyi``: the ``ctx`` of functions, with the tables of the deployment.

``from reactive._generated.server import QueryCtx``: then ``ctx.db.get(post_id)`` is a ``Posts``, ``ctx.db.insert("posts",
...)`` takes what the schema allows, and a table or an index that does not exist is found. Tables that no schema has are
not known here; ``QueryCtx`` of ``nbreactive`` itself takes any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nbreactive.functions.generated import class_names
from nbreactive.functions.schema import BUILT_IN_INDEXES
from nbreactive.functions.specs import TableSpec
from nbreactive.services.stubs.python import HEAD
from nbreactive.services.stubs.python_types import PythonTypes

_CONTEXTS: Final = "ActionCtx, BlockingActionCtx, MutationCtx, QueryCtx"
SERVER_PY: Final = f'''{HEAD}"""The first argument of functions. What type checkers know of it is in ``server.pyi``."""

from nbreactive import {_CONTEXTS}

__all__ = ["ActionCtx", "BlockingActionCtx", "MutationCtx", "QueryCtx"]
'''


def server_stub(tables: Sequence[TableSpec]) -> str:
    """Return the text of ``server.pyi``."""
    if not tables:
        names = (f"{name} as {name}" for name in _CONTEXTS.split(", "))
        return f"{HEAD}from nbreactive import {', '.join(names)}\n"
    return _ServerStub(tables).text()


class _ServerStub:
    def __init__(self, tables: Sequence[TableSpec]) -> None:
        self._tables = sorted(tables, key=lambda table: table.name)
        self._names = class_names(table.name for table in tables)
        self._types = PythonTypes({table: f"{name}Id" for table, name in self._names.items()})

    def text(self) -> str:
        queries = [line for table in self._tables for line in self._query(table)]
        writer = list(self._writer())
        searched = any(table.search_indexes for table in self._tables)
        near = any(table.vector_indexes for table in self._tables)
        model = sorted([*self._names.values(), *(f"{name}Id" for name in self._names.values())])
        lines = [
            HEAD.rstrip(),
            "# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false",
            "from collections.abc import Callable, Mapping, Sequence",
            "from datetime import datetime",
            "from typing import Any, Literal, Never, NotRequired, TypedDict, overload",
            "",
            "import nbreactive",
            "from nbreactive import ActionCtx as ActionCtx, BlockingActionCtx as BlockingActionCtx, Id",
            "from nbreactive.runtime.database import DatabaseReader",
            *(["from nbreactive.runtime.nearest import Condition, VectorFilterBuilder"] if near else []),
            "from nbreactive.runtime.query import IndexRange",
            *(["from nbreactive.runtime.search import SearchFilter"] if searched else []),
            "from nbreactive.runtime.typed import TypedQuery",
            "from nbreactive.values.kinds import Unset",
            f"from .data_model import {', '.join(model)}",
            "",
            *self._types.classes,
            *queries,
            "class _Reader(DatabaseReader):",
            *self._reader(),
            "",
            "class _Writer(_Reader):",
            *writer,
            "",
            "class QueryCtx(nbreactive.QueryCtx):",
            "    db: _Reader",
            "",
            "class MutationCtx(nbreactive.MutationCtx):",
            "    db: _Writer",
        ]
        return "\n".join(lines) + "\n"

    def _query(self, table: TableSpec) -> Iterator[str]:
        name = self._names[table.name]
        indexes = ", ".join(map(repr, (*BUILT_IN_INDEXES, *table.indexes)))
        found = "dict[str, Any]"
        if table.vector_indexes and table.validator["type"] == "object":
            found = f"_{name}Found"
            yield f"class {found}({name}):"
            yield "    _score: float"
            yield ""
        yield f"class _{name}Query(TypedQuery[{name}]):"
        yield "    def with_index("
        yield f"        self, name: Literal[{indexes}], build: Callable[[IndexRange], IndexRange] | None = None"
        yield f"    ) -> TypedQuery[{name}]: ..."
        if table.search_indexes:
            yield "    def with_search_index("
            searches = ", ".join(map(repr, table.search_indexes))
            yield f"        self, name: Literal[{searches}], build: Callable[[SearchFilter], SearchFilter]"
            yield f"    ) -> TypedQuery[{name}]: ..."
        if table.vector_indexes:
            yield "    def nearest("
            vectors = ", ".join(map(repr, table.vector_indexes))
            yield f"        self, name: Literal[{vectors}], vector: Sequence[float], *, limit: int = 10,"
            yield "        filter: Callable[[VectorFilterBuilder], Condition] | None = None,"
            yield f"    ) -> list[{found}]: ..."
        yield ""

    def _reader(self) -> Iterator[str]:
        yield from self._overloads(
            (
                "get",
                [(f"{at}, /", f"{name} | None") for table, name in self._names.items() for at in _places(table, name)],
            ),
            ("query", [(f"table: Literal[{table!r}]", f"_{name}Query") for table, name in self._names.items()]),
            (
                "normalize_id",
                [(f"table: Literal[{table!r}], id: str", f"{name}Id | None") for table, name in self._names.items()],
            ),
        )

    def _writer(self) -> Iterator[str]:
        insert: list[tuple[str, str]] = []
        patch: list[tuple[str, str]] = []
        replace: list[tuple[str, str]] = []
        for table in self._tables:
            name = self._names[table.name]
            whole, part = self._document(table, name)
            insert.append((f"table: Literal[{table.name!r}], document: {whole}", f"{name}Id"))
            for place in _places(table.name, name):
                patch.append((f"{place}, fields: {part}, /", "None"))
                replace.append((f"{place}, document: {whole} | {name}, /", "None"))
        delete = [(f"{at}, /", "None") for table, name in self._names.items() for at in _places(table, name)]
        yield from self._overloads(("insert", insert), ("patch", patch), ("replace", replace), ("delete", delete))

    def _document(self, table: TableSpec, name: str) -> tuple[str, str]:
        """Return the types of a new document, and of what a patch changes of one."""
        validator = table.validator
        system = {"_id": (f"{name}Id", True), "_creationTime": ("float", True)}
        if validator["type"] == "object":
            fields = self._types.given_fields(validator, f"_{name}")
            whole = self._types.object({**system, **fields}, f"_{name}Fields")
            changes = {field: (f"{type_} | Unset", True) for field, (type_, _) in fields.items()}
            return whole, self._types.object({**system, **changes}, f"_{name}Changes")
        if validator["type"] == "union":
            members = [
                self._types.object({**system, **self._types.given_fields(member, f"_{name}")}, f"_{name}Fields")
                for member in validator["value"]
            ]
            return " | ".join(members), "Mapping[str, Any]"
        return "Mapping[str, Any]", "Mapping[str, Any]"

    def _overloads(self, *methods: tuple[str, list[tuple[str, str]]]) -> Iterator[str]:
        for method, signatures in methods:
            for parameters, returns in signatures:
                if len(signatures) > 1:
                    yield "    @overload"
                yield f"    def {method}(self, {parameters}) -> {returns}: ..."


def _places(table: str, name: str) -> tuple[str, str]:
    """The two ways to say which document is meant."""
    return f"id: {name}Id", f"table: Literal[{table!r}], id: {name}Id"
