"""Validators as people write them: type hints, as the signatures of references show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_NAMES = {
    "null": "None",
    "boolean": "bool",
    "number": "float",
    "integer": "int",
    "bigint": "Int64",
    "string": "str",
    "bytes": "bytes",
    "datetime": "datetime",
    "any": "Any",
}
_LONGEST = 120


class HintText:
    """Stands in a signature for a type, and shows as its text.

    Examples
    --------
    >>> number = {"type": "number", "nbreactive": "integer"}
    >>> HintText({"type": "union", "value": [number, {"type": "null"}]})
    int | None
    """

    def __init__(self, validator: Mapping[str, Any] | None) -> None:
        text = _text(validator)
        self._text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

    def __repr__(self) -> str:
        return self._text


def _text(validator: Any) -> str:
    form = cast("dict[str, Any]", validator) if isinstance(validator, dict) else {"type": "any"}
    kind, value = form.get("type"), form.get("value")
    if kind == "id":
        return f'Id["{form.get("tableName")}"]'
    if kind == "literal":
        return f"Literal[{value!r}]"
    if kind == "array":
        return f"list[{_text(value)}]"
    if kind == "record":
        values = cast("dict[str, Any]", form.get("values") or {})
        return f"dict[{_text(form.get('keys'))}, {_text(values.get('fieldType'))}]"
    if kind == "object" and isinstance(value, dict):
        fields = cast("dict[str, dict[str, Any]]", value)
        return (
            "{"
            + ", ".join(
                f"{name}{'?' * bool(f.get('optional'))}: {_text(f.get('fieldType'))}" for name, f in fields.items()
            )
            + "}"
        )
    if kind == "union" and isinstance(value, list):
        return " | ".join(dict.fromkeys(_text(member) for member in cast("list[Any]", value))) or "Never"
    # Integers and datetimes are numbers to Convex's clients; a mark says what they are here
    return _NAMES.get(str(form.get("nbreactive") or kind), "Any")
