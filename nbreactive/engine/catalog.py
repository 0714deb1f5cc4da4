"""Which tables and indexes exist at a timestamp, and the index keys of a document.

Tables are described by documents of the reserved table ``_tables``; reserved tables themselves are built in. So the
catalog is read at the same snapshot as everything else, and a change of schema is a write like any other.

An index id is ``table number << SLOT_BITS | slot``: slot 0 is ``by_id`` (key: the 16 id bytes), slot 1 ``by_creation_time``,
declared indexes follow; a slot is never used twice. Keys of every other index end in the 16 id bytes, too. One pseudo
index, :data:`COUNTS`, has a key per (index, equality prefix): whoever reads a counter records that key, whoever changes
the counter touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from nbreactive.engine._row_keys import LAST_TABLE, SLOT_BITS, SLOT_MASK
from nbreactive.engine.read_set import END, WHOLE
from nbreactive.engine.transactions import Interval
from nbreactive.errors import SchemaError
from nbreactive.functions.specs import TableSpec
from nbreactive.values import UNSET
from nbreactive.values.keys import encode_fields, encode_key
from nbreactive.values.packing import unpack

TABLES, MODULES, DEPLOYS, ENV, SCHEDULED, CRONS, CRON_LOGS, STORAGE, PRESENCE = 1, 2, 3, 4, 5, 6, 7, 8, 9
STATEMENTS, BATCHES = 10, 11
FIRST_USER_TABLE = 10_001

COUNTS = 1
"""Index id of the counters."""

BY_ID, BY_CREATION_TIME, FIRST_DECLARED = 0, 1, 2
"""Slots."""

BY_TABLE = 2
"""Slot of ``by_table`` in ``_batches``."""

BY_NAME = 2
"""Slot of ``by_name`` in ``_tables``, ``_modules`` and ``_env``."""

CREATION_TIME = "_creationTime"


def index_id(table: int, slot: int) -> int:
    """Return the id of an index, e.g. ``index_id(TABLES, BY_NAME)``."""
    return table << SLOT_BITS | slot


def count_key(index: int, prefix: bytes = b"") -> bytes:
    """Return the key of a counter in :data:`COUNTS`; the whole table is ``count_key(index_id(table, BY_ID))``."""
    return index.to_bytes(4, "big") + prefix


class SnapshotReader(Protocol):
    """What loading a catalog needs of :class:`nbreactive.engine.row_index.Reader`."""

    def document(self, table: int, id: bytes, ts: int) -> tuple[bytes, int] | None:
        """Return the packed document and its version, as of ``ts``."""
        ...

    def scan(
        self, index_id: int, low: bytes, high: bytes, ts: int, reverse: bool = False
    ) -> Iterable[tuple[bytes, bytes]]:
        """Yield (key, id) of the live entries of an index, as of ``ts``."""
        ...


IndexKind = Literal["ordered", "text", "vector"]
Storage = Literal["rows", "columns"]
"""Where the rows of a table are: documents in the row index, or files of columns, which documents of ``_batches`` name."""


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """One index of one table."""

    id: int
    name: str
    slot: int
    fields: tuple[str, ...]
    """What it is ordered by; the one field that a text or vector index finds by."""
    state: Literal["ready", "backfilling"] = "ready"
    kind: IndexKind = "ordered"
    filter_fields: tuple[str, ...] = ()
    """Of a text or vector index."""
    dimensions: int = 0
    """Of a vector index."""

    @property
    def definition(self) -> tuple[Any, ...]:
        """What two indexes must have in common to be the same one."""
        return self.name, self.kind, self.fields, self.filter_fields, self.dimensions

    def parts(self, doc: Mapping[str, Any]) -> list[bytes]:
        """Encode the values of the index's own fields, in order."""
        return [encode_key(field_of(doc, name)) for name in self.fields]

    def key(self, doc: Mapping[str, Any], id: bytes) -> bytes:
        """Return the key of a document, id bytes included."""
        if self.slot == BY_ID:
            return id
        return b"".join(self.parts(doc)) + encode_key(doc[CREATION_TIME]) + id

    def prefix(self, values: Sequence[Any]) -> bytes:
        """Encode what all keys whose first fields equal ``values`` begin with."""
        return encode_fields(values)


class DocumentKeys(NamedTuple):
    """Everything that a document is found by."""

    keys: list[tuple[int, bytes]]
    """(index id, key) in every maintained index except ``by_id``."""
    counts: list[bytes]
    """Counters which the document adds one to."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table: its number, its indexes, its validator."""

    name: str
    number: int
    indexes: tuple[IndexInfo, ...]
    """``by_id`` and ``by_creation_time`` first, then the declared ones, also those still backfilling."""
    validator: dict[str, Any] | None = None
    ephemeral: bool = False
    module: str = ""
    next_slot: int = FIRST_DECLARED
    id: bytes = b""
    """Internal id of the describing document in ``_tables``; empty for reserved tables."""
    storage: Storage = "rows"
    ordered: tuple[IndexInfo, ...] = field(init=False, compare=False)
    """The declared indexes of the kind ``ordered``."""
    text: tuple[IndexInfo, ...] = field(init=False, compare=False)
    """Those of the kind ``text``."""
    vector: tuple[IndexInfo, ...] = field(init=False, compare=False)
    """Those of the kind ``vector``."""

    def __post_init__(self) -> None:
        ordered = tuple(index for index in self.indexes[FIRST_DECLARED:] if index.kind == "ordered")
        object.__setattr__(self, "ordered", ordered)
        text = tuple(index for index in self.indexes[FIRST_DECLARED:] if index.kind == "text")
        object.__setattr__(self, "text", text)
        vector = tuple(index for index in self.indexes[FIRST_DECLARED:] if index.kind == "vector")
        object.__setattr__(self, "vector", vector)

    def index(self, name: str) -> IndexInfo | None:
        """Find an index by name, in whatever state."""
        return next((index for index in self.indexes if index.name == name), None)

    def entries(self, doc: Mapping[str, Any], id: bytes, skip: Iterable[int] = ()) -> DocumentKeys:
        """Index keys and counters of a document in one go; ``skip`` names indexes that are not maintained (yet).

        Those of the indexes that are ordered; what text indexes keep is in :mod:`nbreactive.engine.postings`.
        """
        created = encode_key(doc[CREATION_TIME])
        keys = [(self.indexes[BY_CREATION_TIME].id, created + id)]
        counts = [count_key(self.indexes[BY_ID].id)]
        for index in self.ordered:
            if index.id in skip:
                continue
            prefix = b""
            for part in index.parts(doc):
                prefix += part
                counts.append(count_key(index.id, prefix))
            keys.append((index.id, prefix + created + id))
        return DocumentKeys(keys, counts)

    def keys(self, doc: Mapping[str, Any], id: bytes) -> list[tuple[int, bytes]]:
        """(index id, key) of a document in every index, ``by_id`` included."""
        return [(self.indexes[BY_ID].id, id), *self.entries(doc, id).keys]

    def count_keys(self, doc: Mapping[str, Any]) -> list[bytes]:
        """Counters which the document adds one to."""
        return self.entries(doc, b"").counts


@dataclass(frozen=True, slots=True)
class Catalog:
    """All tables at one timestamp; immutable."""

    ts: int = 0
    """The timestamp it was loaded at; it stays right until ``_tables`` is touched."""
    by_name: Mapping[str, TableInfo] = field(default_factory=lambda: dict(_SYSTEM_BY_NAME))
    by_number: Mapping[int, TableInfo] = field(default_factory=lambda: dict(_SYSTEM_BY_NUMBER))

    @classmethod
    def load(cls, reader: SnapshotReader, ts: int) -> Catalog:
        """Read the catalog as of ``ts``."""
        documents: list[tuple[bytes, bytes | None]] = []
        for _, id in reader.scan(index_id(TABLES, BY_CREATION_TIME), b"", END, ts):
            found = reader.document(TABLES, id, ts)
            if found is not None:
                documents.append((id, found[0]))
        return replace(cls().changed(documents), ts=ts)

    def changed(self, documents: Iterable[tuple[bytes, bytes | None]], ts: int | None = None) -> Catalog:
        """Catalog after writes to ``_tables``: pairs of id and packed document (None deletes)."""
        by_name, by_number = dict(self.by_name), dict(self.by_number)
        ids = {table.id: table for table in by_number.values() if table.id}
        for id, packed in documents:
            old = ids.pop(id, None)
            if old is not None:
                del by_name[old.name], by_number[old.number]
            if packed is not None:
                table = table_of(unpack(packed), id)
                by_name[table.name] = by_number[table.number] = ids[id] = table
        return Catalog(self.ts if ts is None else ts, by_name, by_number)

    def table(self, name: str) -> TableInfo | None:
        """Find a table by name."""
        return self.by_name.get(name)

    def number(self, number: int) -> TableInfo | None:
        """Find a table by number."""
        return self.by_number.get(number)

    def name_of(self, number: int) -> str | None:
        """Return the name of a table's number, if there is such a table."""
        table = self.by_number.get(number)
        return table.name if table is not None else None

    def next_number(self) -> int:
        """Return the number for a new table (whoever uses it has read all of :func:`all_tables`)."""
        return max(FIRST_USER_TABLE - 1, *self.by_number) + 1


def refuse_overflow(table: TableInfo) -> None:
    """Raise :class:`SchemaError` if an index id of the table would be one of another table."""
    if table.number > LAST_TABLE:
        raise SchemaError(
            f"there is no room for the table {table.name!r}: there have been {LAST_TABLE - FIRST_USER_TABLE + 1:,} tables"
            " already; keep documents of one kind in one table, with a field that tells them apart"
        )
    if any(index.slot > SLOT_MASK for index in table.indexes):
        raise SchemaError(
            f"the table {table.name!r} has had {SLOT_MASK - FIRST_DECLARED + 1:,} indexes, as many as a table can have"
            " in its life; declare a table with another name, and copy the documents to it"
        )


def field_of(doc: Mapping[str, Any], name: str) -> Any:
    """Return a field of a document, ``a.b`` that of an object inside it; UNSET where there is none."""
    if "." not in name:
        return doc.get(name, UNSET)
    value: Any = doc
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return UNSET
        value = value[part]  # pyright: ignore[reportUnknownVariableType]
    return value  # pyright: ignore[reportUnknownVariableType]


def table_of(doc: Mapping[str, Any], id: bytes) -> TableInfo:
    """Understand a document of ``_tables``."""
    number = int(doc["number"])
    declared = tuple(
        IndexInfo(
            index_id(number, int(i["slot"])),
            i["name"],
            int(i["slot"]),
            tuple(i["fields"]),
            i["state"],
            i.get("kind", "ordered"),
            tuple(i.get("filter_fields", ())),
            int(i.get("dimensions", 0)),
        )
        for i in doc["indexes"]
    )
    return TableInfo(
        doc["name"],
        number,
        _built_in(number) + declared,
        doc.get("validator"),
        bool(doc.get("ephemeral", False)),
        doc.get("module", ""),
        int(doc["next_slot"]),
        id,
        doc.get("storage", "rows"),
    )


def table_document(
    name: str,
    number: int,
    created: float,
    *,
    indexes: Sequence[IndexInfo] = (),
    next_slot: int = FIRST_DECLARED,
    validator: dict[str, Any] | None = None,
    ephemeral: bool = False,
    module: str = "",
    storage: Storage = "rows",
) -> dict[str, Any]:
    """Document of ``_tables`` that describes a table (the inverse of :func:`table_of`)."""
    described = {
        "name": name,
        "number": number,
        "indexes": [{"slot": index.slot, **describe_index(index)} for index in indexes if index.slot >= FIRST_DECLARED],
        "next_slot": next_slot,
        "validator": validator,
        "ephemeral": ephemeral,
        "module": module,
        CREATION_TIME: created,
    }
    return described if storage == "rows" else described | {"storage": storage}


def describe_index(index: IndexInfo) -> dict[str, Any]:
    """Return what there is to know about an index, as it is stored and shown."""
    described: dict[str, Any] = {"name": index.name, "fields": list(index.fields), "state": index.state}
    if index.kind != "ordered":
        described |= {"kind": index.kind, "filter_fields": list(index.filter_fields)}
    if index.kind == "vector":
        described["dimensions"] = index.dimensions
    return described


def declared_indexes(spec: TableSpec) -> list[IndexInfo]:
    """Return the indexes that a schema declares for a table; they have no id and no slot yet."""
    ordered = [IndexInfo(0, name, 0, tuple(fields)) for name, fields in spec.indexes.items()]
    text = [
        IndexInfo(0, name, 0, (index.field,), kind="text", filter_fields=index.filter_fields)
        for name, index in spec.search_indexes.items()
    ]
    vector = [
        IndexInfo(0, name, 0, (index.field,), "ready", "vector", index.filter_fields, index.dimensions)
        for name, index in spec.vector_indexes.items()
    ]
    return [*ordered, *text, *vector]


def table_name(name: str) -> tuple[int, Interval]:
    """Read (index id, interval) that a transaction records when it looks up a table by name."""
    prefix = encode_key(name)
    return index_id(TABLES, BY_NAME), (prefix, prefix + END)


def all_tables() -> tuple[int, Interval]:
    """Read that a transaction records when it looks at all table names, e.g. to create one."""
    return index_id(TABLES, BY_NAME), WHOLE


def all_modules() -> tuple[int, Interval]:
    """Read that every transaction which runs user code records: a deploy touches it."""
    return index_id(MODULES, BY_NAME), WHOLE


def _built_in(number: int) -> tuple[IndexInfo, ...]:
    return (
        IndexInfo(index_id(number, BY_ID), "by_id", BY_ID, ()),
        IndexInfo(index_id(number, BY_CREATION_TIME), "by_creation_time", BY_CREATION_TIME, ()),
    )


def _system(number: int, name: str, *, ephemeral: bool = False, **indexes: tuple[str, ...]) -> TableInfo:
    declared = tuple(
        IndexInfo(index_id(number, slot), index, slot, fields)
        for slot, (index, fields) in enumerate(indexes.items(), start=FIRST_DECLARED)
    )
    slot = FIRST_DECLARED + len(declared)
    return TableInfo(name, number, (*_built_in(number), *declared), ephemeral=ephemeral, next_slot=slot)


_SYSTEM = (
    _system(TABLES, "_tables", by_name=("name",)),
    _system(MODULES, "_modules", by_name=("name",)),
    _system(DEPLOYS, "_deploys", by_version=("version",)),
    _system(ENV, "_env", by_name=("name",)),
    _system(
        SCHEDULED, "_scheduled_functions", by_state=("state.kind", "scheduledTime"), by_completed=("completedTime",)
    ),
    _system(CRONS, "_crons", by_name=("name",)),
    _system(CRON_LOGS, "_cron_job_logs", by_name=("name",)),
    _system(STORAGE, "_storage", by_address=("address",)),
    _system(PRESENCE, "_presence", ephemeral=True, by_room=("room",)),
    _system(STATEMENTS, "_statements"),
    _system(BATCHES, "_batches", by_table=("table",)),
)
_SYSTEM_BY_NAME: Mapping[str, TableInfo] = {table.name: table for table in _SYSTEM}
_SYSTEM_BY_NUMBER: Mapping[int, TableInfo] = {table.number: table for table in _SYSTEM}
