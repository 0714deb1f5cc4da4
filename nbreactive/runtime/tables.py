"""Finding tables at a snapshot, cheaply.

A worker runs thousands of calls per second against a catalog that hardly ever changes. So it remembers the tables
that it has seen with the version of the document that describes each, and at every use asks the row index (about
1.5 us) whether that version is still the one of the snapshot. The validator of a table is rebuilt with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from nbreactive.engine.catalog import (
    BY_NAME,
    FIRST_USER_TABLE,
    TABLES,
    Catalog,
    TableInfo,
    all_tables,
    index_id,
    table_name,
    table_of,
)
from nbreactive.values.packing import unpack
from nbreactive.values.validators import Validator, from_json

if TYPE_CHECKING:
    from nbreactive.engine.vector_store import VectorView

_BUILT_IN: Final = Catalog()


class SnapshotReader(Protocol):
    """What running a call needs of :class:`nbreactive.engine.row_index.Reader`."""

    @property
    def horizon(self) -> int:
        """Timestamps below this one cannot be read."""
        ...

    def renew(self) -> None:
        """See what has been committed since."""
        ...

    def close(self) -> None:
        """Let go, until it is renewed."""
        ...

    def document(self, table: int, id: bytes, ts: int) -> tuple[bytes, int] | None:
        """Packed document and the timestamp of its version."""
        ...

    def scan(
        self, index_id: int, low: bytes, high: bytes, ts: int, reverse: bool = False
    ) -> Iterable[tuple[bytes, bytes]]:
        """Keys and ids of a range, in order."""
        ...

    def count(self, key: bytes, ts: int) -> int:
        """Value of a counter."""
        ...

    def vectors(self, index_id: int) -> VectorView | None:
        """Return what there is of a vector index."""
        ...


class Table:
    """A table as a transaction uses it: its description and its validator."""

    __slots__ = ("info", "load", "validator", "version")

    def __init__(self, info: TableInfo, version: int) -> None:
        self.info = info
        self.version = version
        self.validator: Validator | None = None
        self.load: Callable[[Any], Any] | None = None
        """Turns a stored document (without ``_id``) into its Python form; None where the two are the same."""
        if info.validator is not None and info.validator.get("type") != "any":
            self.validator = from_json(info.validator)
            self.load = self.validator.load if self.validator.loads else None


class TableCache:
    """The tables that a worker has seen; shared by all its transactions."""

    def __init__(self) -> None:
        self._by_name: dict[str, Table] = {name: Table(info, 0) for name, info in _BUILT_IN.by_name.items()}
        self._names: dict[int, str] = {number: info.name for number, info in _BUILT_IN.by_number.items()}

    def find(self, reader: SnapshotReader, ts: int, name: str) -> Table | None:
        """The table called ``name`` at ``ts``."""
        table = self._by_name.get(name)
        if table is not None:
            if table.info.number < FIRST_USER_TABLE:
                return table
            found = reader.document(TABLES, table.info.id, ts)
            if found is not None and found[1] == table.version:
                return table
        low, high = table_name(name)[1]
        for _, id in reader.scan(index_id(TABLES, BY_NAME), low, high, ts):
            found = reader.document(TABLES, id, ts)
            if found is not None:
                table = Table(table_of(unpack(found[0]), id), found[1])
                self._by_name[name] = table
                self._names[table.info.number] = name
                return table
        return None

    def find_number(self, reader: SnapshotReader, ts: int, number: int) -> Table | None:
        """The table with that number at ``ts``."""
        name = self._names.get(number)
        if name is not None:
            table = self.find(reader, ts, name)
            if table is not None and table.info.number == number:
                return table
        info = Catalog.load(reader, ts).number(number)
        return self.find(reader, ts, info.name) if info is not None else None

    def all(self, reader: SnapshotReader, ts: int) -> Catalog:
        """Every table at ``ts``."""
        return Catalog.load(reader, ts)


def name_read(name: str) -> tuple[int, bytes, bytes]:
    """What a transaction records that has looked a table up by name."""
    index, (low, high) = table_name(name)
    return index, low, high


def all_read() -> tuple[int, bytes, bytes]:
    """What a transaction records that has looked at all tables."""
    index, (low, high) = all_tables()
    return index, low, high
