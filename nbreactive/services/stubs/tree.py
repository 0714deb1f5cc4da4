"""The functions of a deployment as ``api`` and ``internal`` show them: modules inside each other."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nbreactive.functions.specs import FunctionSpec, Visibility

CALLABLE: Final = ("query", "mutation", "action")
_TAKEN: Final = frozenset({"aio", "getdoc", "internal", "live", "options", "path"})
"""Attributes that references have themselves (:class:`~nbreactive.functions.references.Reference`)."""


@dataclass
class Node:
    """One step of ``api.admin.users.list``: a folder, a module, a function, or several of these at once."""

    steps: tuple[str, ...]
    function: FunctionSpec | None = None
    children: dict[str, Node] = field(default_factory=dict[str, "Node"])

    def walk(self) -> Iterator[Node]:
        """Give the node and all below it, in the order of their names."""
        yield self
        for name in sorted(self.children):
            yield from self.children[name].walk()


def function_tree(functions: Iterable[FunctionSpec], visibility: Visibility) -> Node:
    """Return the tree of the functions of one visibility."""
    root = Node(())
    for spec in functions:
        if spec.visibility != visibility or spec.kind not in CALLABLE:
            continue
        module, _, name = spec.path.partition(":")
        node = root
        for step in (*module.split("/"), name):
            node = node.children.setdefault(step, Node((*node.steps, step)))
        node.function = spec
    return root


def python_attribute(name: str) -> str | None:
    """Return how Python spells a step as an attribute: ``import_`` for ``import``; None: only with brackets."""
    if name in _TAKEN or (name.endswith("_") and keyword.iskeyword(name[:-1])):
        return None
    return f"{name}_" if keyword.iskeyword(name) else name


def arguments_of(spec: FunctionSpec) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the fields of the arguments, ``{"fieldType", "optional"}`` each; None if they are not one object."""
    return spec.args["value"] if spec.args.get("type") == "object" else None


def is_pagination_options(validator: Mapping[str, Any]) -> bool:
    """Whether a validator is that of ``paginationOpts``."""
    fields: Mapping[str, Any] = validator["value"] if validator.get("type") == "object" else {}
    return {"numItems", "cursor"} <= fields.keys() <= _PAGINATION


_PAGINATION: Final = {"numItems", "cursor", "endCursor", "id", "maximumRowsRead", "maximumBytesRead"}
