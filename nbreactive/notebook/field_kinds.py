"""What the fields of documents are, as the front end of tables names it: from validators, and from how they look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbreactive.notebook.cells import _are_moments  # pyright: ignore[reportPrivateUsage]

Json = Mapping[str, Any]
_KINDS = {"string": "text", "boolean": "boolean", "bytes": "bytes", "id": "id", "bigint": "int64"}
_NESTED = ("array", "object", "record")
_SYSTEM = {"_id": "id", "_creationTime": "datetime"}


def document_fields(validator: Json | None) -> dict[str, Json]:
    """Return the validators of the fields of a list of documents, of a page of them, or of one document.

    Examples
    --------
    >>> n = {"fieldType": {"type": "number"}, "optional": False}
    >>> document_fields({"type": "array", "value": {"type": "object", "value": {"n": n}}})
    {'n': {'type': 'number'}}
    """
    if validator is None:
        return {}
    kind = validator.get("type")
    if kind == "array":
        return document_fields(validator["value"])
    if kind == "union":
        members = [member for member in validator["value"] if member.get("type") != "null"]
        return document_fields(members[0]) if len(members) == 1 else {}
    if kind != "object":
        return {}
    page = validator["value"].get("page")
    if page is not None and page["fieldType"].get("type") == "array":
        return document_fields(page["fieldType"])
    return {name: field["fieldType"] for name, field in validator["value"].items()}


def field_of(validator: Json) -> dict[str, Any]:
    """Return what one may put into a field: its kind, whether it may be null, and its only values, if it has such.

    Examples
    --------
    >>> field_of({"type": "union", "value": [{"type": "number", "nbreactive": "integer"}, {"type": "null"}]})
    {'kind': 'integer', 'nullable': True, 'options': []}
    """
    members = validator["value"] if validator["type"] == "union" else [validator]
    others = [member for member in members if member["type"] != "null"]
    nullable = len(others) < len(members) or any(member["type"] == "any" for member in others)
    if others and all(member["type"] == "literal" for member in others):
        return {"kind": "text", "nullable": nullable, "options": [member["value"] for member in others]}
    kinds = {_kind_of(member) for member in others}
    return {"kind": kinds.pop() if len(kinds) == 1 else "", "nullable": nullable, "options": []}


def declared_kinds(validator: Json | None) -> dict[str, str]:
    """Return what the fields are declared to be, where that is one kind."""
    kinds = {name: field_of(field)["kind"] for name, field in document_fields(validator).items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _kind_of(validator: Json) -> str:
    kind = validator["type"]
    if kind == "number":
        mark = validator.get("nbreactive")
        return mark if mark in ("integer", "datetime") else "number"
    return "json" if kind in _NESTED else _KINDS.get(kind, "")


def kinds_of(names: list[str], documents: list[dict[str, Any]], declared: Json | None) -> list[str]:
    """Return the kind of each column; numbers that are called like moments, and look like such, are moments."""
    fields = document_fields(declared)
    kinds: list[str] = []
    for name in names:
        kind = _SYSTEM.get(name) or (field_of(fields[name])["kind"] if name in fields else "")
        numeric = kind in ("", "number", "integer") and any(_is_number(row.get(name)) for row in documents)
        if numeric and _are_moments(name, (row.get(name) for row in documents)):
            kind = "datetime"
        kinds.append(kind)
    return kinds


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
