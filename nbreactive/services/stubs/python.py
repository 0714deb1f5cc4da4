"""``api.pyi`` and ``data_model.py``: what pyright and editors know of a deployment."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from nbreactive.functions.generated import class_names, document_validator
from nbreactive.functions.pagination import ARGUMENT
from nbreactive.functions.specs import FunctionSpec, TableSpec
from nbreactive.services.stubs.python_types import PythonTypes
from nbreactive.services.stubs.tree import Node, arguments_of, function_tree, python_attribute
from nbreactive.values.validators import ObjectValidator, from_json

HEAD: Final = """# Written by nbreactive whenever functions are deployed; changes made here are lost.
# ruff: noqa
# pyright: reportUnusedImport=false
"""
API_PY: Final = f'''{HEAD}"""The deployed functions: ``api.chat.send(body="hi")``. What type checkers know of them is in ``api.pyi``."""

from nbreactive.functions.references import api, internal

__all__ = ["api", "internal"]
'''
_TYPED: Final = ("ActionReference", "Bound", "Live", "MutationReference", "Paginated", "QueryReference")
_KINDS: Final = {"query": "QueryReference", "mutation": "MutationReference", "action": "ActionReference"}


def data_model(tables: Sequence[TableSpec]) -> str:
    """Return the text of ``data_model.py``."""
    names = class_names(table.name for table in tables)
    types = PythonTypes({table: f"{name}Id" for table, name in names.items()})
    for name in names.values():
        types.name(name)
    parts: list[str] = []
    for table in sorted(tables, key=lambda each: each.name):
        name, doc = names[table.name], f"A document of the table ``{table.name}``."
        validator = document_validator(table.name, from_json(table.validator))
        done = len(types.classes)
        if isinstance(validator, ObjectValidator):
            types.document(validator.to_json(), name, doc)
            parts += types.classes[done:]
        else:
            shown = types.received(validator.to_json(), f"_{name}", loaded=True)
            shown = "dict[str, Any]" if shown == "Any" else shown
            parts += [*types.classes[done:], f'{name} = {shown}\n"""{doc}"""\n']
    lines = [
        HEAD.rstrip(),
        '"""The documents of each table, and their ids."""',
        "",
        "from datetime import datetime",
        "from typing import TYPE_CHECKING, Any, Literal, Never, NotRequired, TypedDict",
        "",
        "from nbreactive import Id, Int64",
        "",
        f"__all__ = {sorted([*names.values(), *(f'{name}Id' for name in names.values())])!r}",
        "",
    ]
    if names:
        lines += ["if TYPE_CHECKING:"]
        lines += [f"    class {name}Id(Id): ..." for _, name in sorted(names.items())]
        lines += ["else:", *(f'    {name}Id = Id["{table}"]' for table, name in sorted(names.items())), ""]
    return "\n".join([*lines, *parts])


def api_stub(functions: Sequence[FunctionSpec], tables: Sequence[TableSpec]) -> str:
    """Return the text of ``api.pyi``."""
    return _ApiStub(functions, tables).text()


class _ApiStub:
    def __init__(self, functions: Sequence[FunctionSpec], tables: Sequence[TableSpec]) -> None:
        self._names = class_names(table.name for table in tables)
        self._types = PythonTypes({table: f"{name}Id" for table, name in self._names.items()})
        self._roots = {
            "api": function_tree(functions, "public"),
            "internal": function_tree(functions, "internal"),
        }
        self._classes: dict[int, str] = {}
        for table in tables:
            validator = document_validator(table.name, from_json(table.validator))
            if isinstance(validator, ObjectValidator):
                self._types.recognise(validator.to_json(), self._names[table.name])

    def text(self) -> str:
        for root, tree in self._roots.items():
            for node in tree.walk():
                start = "" if root == "api" and node.steps else f"_{root}"
                self._classes[id(node)] = self._types.name("_".join((start, *node.steps)))
        parts = [part for tree in self._roots.values() for node in tree.walk() for part in self._class(node)]
        model = sorted([*self._names.values(), *(f"{name}Id" for name in self._names.values())])
        lines = [
            HEAD.rstrip(),
            "from collections.abc import Mapping, Sequence",
            "from datetime import datetime",
            "from typing import Any, Literal, Never, NotRequired, TypedDict, overload",
            "",
            "from nbreactive import Id, Int64",
            f"from nbreactive.client.typed import {', '.join(_TYPED)}",
            *([f"from .data_model import {', '.join(model)}"] if model else []),
            "",
        ]
        roots = [f"{root}: {self._classes[id(tree)]}" for root, tree in self._roots.items()]
        return "\n".join([*lines, *self._types.classes, *parts, *roots]) + "\n"

    def _class(self, node: Node) -> Iterator[str]:
        name = self._classes[id(node)]
        default = node.children.get("default") if len(node.steps) == 1 else None
        if node.function is not None:
            lines = [f"class {name}({_KINDS[node.function.kind]}):", *self._methods(node.function, name)]
        elif default is not None:
            lines = [f"class {name}({self._classes[id(default)]}):"]  # api.chat is chat:default
        else:
            lines = [f"class {name}:"]
        children = [node.children[step] for step in sorted(node.children)]
        lines += [line for child in children for line in self._attribute(child)]
        lines += self._brackets([child for child in children if python_attribute(child.steps[-1]) is None])
        yield "\n".join(lines if len(lines) > 1 else [*lines, "    pass"]) + "\n"

    def _attribute(self, child: Node) -> Iterator[str]:
        attribute = python_attribute(child.steps[-1])
        if attribute is not None:
            yield f"    {attribute}: {self._classes[id(child)]}"
            if child.function is not None:
                yield from docstring(_described(child.function), "    ")

    def _brackets(self, children: Sequence[Node]) -> Iterator[str]:
        for child in children:
            if len(children) > 1:
                yield "    @overload"
            yield (
                f"    def __getitem__(self, name: Literal[{child.steps[-1]!r}], /) -> {self._classes[id(child)]}: ..."
            )

    def _methods(self, spec: FunctionSpec, name: str) -> Iterator[str]:
        returns = spec.returns or {"type": "any"}
        client = self._types.received(returns, f"{name}_result", loaded=False)
        inside = self._types.received(returns, f"{name}_result", loaded=True)
        yield f"    def __call__({', '.join(self._parameters(spec, name))}) -> {client}:"
        yield from docstring(_described(spec), "        ")
        yield f"    def __as_{spec.kind}__(self) -> {inside}: ..."
        if spec.kind == "query":
            yield f"    def live({', '.join(self._parameters(spec, name, ' | Bound'))}) -> Live[{client}]:"
            yield from docstring(_described(spec), "        ")
            fields = arguments_of(spec)
            row = _row(returns) if fields is None or ARGUMENT in fields else None
            if row is not None:
                rows = self._types.received(row, f"{name}_result_page", loaded=False)
                own = self._parameters(spec, name, " | Bound", paginated=True)
                yield f"    def __as_pages__({', '.join(own)}) -> Paginated[{rows}]: ..."

    def _parameters(self, spec: FunctionSpec, name: str, also: str = "", *, paginated: bool = False) -> list[str]:
        """The parameters: keywords, or one dict where that is how they have to be passed."""
        fields = arguments_of(spec)
        if paginated and fields is not None:  # pages are asked for by the paginated query itself
            fields = {field: each for field, each in fields.items() if field != ARGUMENT}
        if fields is None:
            given = self._types.given(spec.args, name)
            given = "Mapping[str, Any]" if given == "Any" else given
            return ["self", f"args: {given} = ...", "/", "**kwargs: Any"]
        if not all(field.isidentifier() and not keyword.iskeyword(field) for field in fields):
            values = {
                field: (self._types.given(each["fieldType"], name) + also, each["optional"])
                for field, each in fields.items()
            }
            given = self._types.object(values, f"{name}_{'live_' * bool(also)}args")
            return ["self", f"args: {given}", "/"]
        required = [field for field in fields if not fields[field]["optional"]]
        ordered = [*required, *(field for field in fields if fields[field]["optional"])]
        keywords = [
            f"{field}: {self._types.given(fields[field]['fieldType'], f'{name}_{field}')}{also}"
            + " = ..." * fields[field]["optional"]
            for field in ordered
        ]
        self_ = "self"
        while self_ in fields:
            self_ = f"_{self_}"
        return [self_, *(["*"] if keywords else []), *keywords]


def _row(returns: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the validator of the rows, if the result is a page, or may be one."""
    if returns["type"] == "any":
        return returns
    page = returns["value"].get("page") if returns["type"] == "object" else None
    if page is None or "continueCursor" not in returns["value"] or page["fieldType"]["type"] not in ("array", "any"):
        return None
    return page["fieldType"].get("value", page["fieldType"])


def _described(spec: FunctionSpec) -> str:
    hidden = "Internal " if spec.visibility == "internal" else ""
    head = f"{hidden}{spec.kind} ``{spec.path}``."
    return f"{head[:1].upper()}{head[1:]}\n\n{spec.doc}".rstrip()


def docstring(text: str, indent: str) -> Iterable[str]:
    """Return the lines of a docstring."""
    # Characters that end a line for Python, or nothing for an editor, are written as escapes.
    escaped = "".join(
        char if char == "\n" or (char.isprintable() and char not in '\\"') else _escape(char) for char in text
    )
    lines = f'"""{escaped}"""'.split("\n")
    return [f"{indent}{line}".rstrip() for line in lines]


def _escape(char: str) -> str:
    return {"\\": "\\\\", '"': '\\"', "\t": "    "}.get(char) or char.encode("unicode_escape").decode()
