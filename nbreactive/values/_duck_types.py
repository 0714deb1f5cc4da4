"""DuckDB's names of types, as Arrow types."""

# pyarrow has no stubs: what comes out of it is unknown to the checker
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@lru_cache(1024)
def arrow_type_of(name: str) -> pa.DataType | None:
    """Return the Arrow type of a DuckDB type; None for those that are kept as text.

    Examples
    --------
    >>> str(arrow_type_of("STRUCT(a INTEGER, b DECIMAL(4,2)[])[]"))
    'list<item: struct<a: int32, b: list<item: decimal128(4, 2)>>>'
    """
    import pyarrow as pa

    if name.endswith("]"):
        inner, _, size = name[:-1].rpartition("[")
        element = arrow_type_of(inner)
        if element is None:
            return None
        return pa.list_(element, int(size)) if size else pa.list_(element)
    if name.startswith("STRUCT(") and name.endswith(")"):
        fields: list[tuple[str, pa.DataType]] = []
        for part in _parts(name[7:-1]):
            field, type_ = _named(part)
            inner_type = arrow_type_of(type_)
            if inner_type is None:
                return None
            fields.append((field, inner_type))
        return pa.struct(fields)
    if name.startswith("DECIMAL("):
        precision, scale = name[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    simple = {
        "BOOLEAN": pa.bool_(),
        "TINYINT": pa.int8(),
        "SMALLINT": pa.int16(),
        "INTEGER": pa.int32(),
        "BIGINT": pa.int64(),
        "UTINYINT": pa.uint8(),
        "USMALLINT": pa.uint16(),
        "UINTEGER": pa.uint32(),
        "UBIGINT": pa.uint64(),
        "HUGEINT": pa.decimal128(38, 0),
        "UHUGEINT": pa.decimal128(38, 0),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "BLOB": pa.binary(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMP_S": pa.timestamp("s"),
        "TIMESTAMP_MS": pa.timestamp("ms"),
        "TIMESTAMP_NS": pa.timestamp("ns"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
        '"NULL"': pa.null(),
    }
    return simple.get(name)


def _parts(text: str) -> Iterator[str]:
    """Yield what stands between the commas that are in no bracket and no quotes."""
    depth, quoted, start = 0, False, 0
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "([":
            depth += 1
        elif not quoted and character in ")]":
            depth -= 1
        elif character == "," and depth == 0 and not quoted:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def _named(part: str) -> tuple[str, str]:
    """Return name and type of a field of a struct."""
    if not part.startswith('"'):
        name, _, type_ = part.partition(" ")
        return name, type_
    end = 1
    while part[end] != '"' or part[end + 1 : end + 2] == '"':
        end += 2 if part[end] == '"' else 1
    return part[1:end].replace('""', '"'), part[end + 1 :].strip()
