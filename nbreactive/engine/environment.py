"""Environment variables: documents ``{name, value}`` of the reserved table ``_env``.

They are in the log like everything else, so a snapshot has the values of its time, and whoever has read one depends
on it: a query by name on that name alone, whether it is set or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from nbreactive.engine.catalog import BY_NAME, CREATION_TIME, ENV, SnapshotReader, index_id
from nbreactive.engine.read_set import END
from nbreactive.values.keys import encode_key
from nbreactive.values.packing import pack, unpack

_BY_NAME = index_id(ENV, BY_NAME)

IndexRange = tuple[int, bytes, bytes]
"""Index id, low and high end."""


class Variable(NamedTuple):
    """One variable as it is stored."""

    id: bytes
    """Of its document."""
    version: int
    value: str


def variable_range(name: str) -> IndexRange:
    """What somebody reads who asks for one variable, whether it is set or not."""
    prefix = encode_key(name)
    return _BY_NAME, prefix, prefix + END


def names_range() -> IndexRange:
    """What somebody reads who asks which variables there are."""
    return _BY_NAME, b"", END


def read_variable(reader: SnapshotReader, ts: int, name: str) -> str | None:
    """Value of a variable; None if it is not set."""
    for found, variable in _read(reader, ts, variable_range(name)):
        if found == name:
            return variable.value
    return None


def read_variables(reader: SnapshotReader, ts: int) -> dict[str, Variable]:
    """All variables by name, in order."""
    return dict(_read(reader, ts, names_range()))


def variable_document(name: str, value: str, now: float) -> bytes:
    """The document of a variable."""
    return pack({"name": name, "value": value, CREATION_TIME: now})


def _read(reader: SnapshotReader, ts: int, where: IndexRange) -> Iterator[tuple[str, Variable]]:
    index, low, high = where
    for _, id in reader.scan(index, low, high, ts):
        found = reader.document(ENV, id, ts)
        if found is not None:
            document: dict[str, Any] = unpack(found[0])
            yield document["name"], Variable(id, found[1], document["value"])
