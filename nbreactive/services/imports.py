"""Documents from outside into tables: each batch is one transaction, checked as a mutation's writes are.

Ids and creation times that documents bring are kept. A table that does not exist is made, with the number that it had
where it comes from if that is free, so that ids stay as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbreactive.engine.catalog import (
    BY_ID,
    CREATION_TIME,
    FIRST_USER_TABLE,
    TABLES,
    Catalog,
    TableInfo,
    index_id,
    table_document,
)
from nbreactive.engine.transactions import Write
from nbreactive.errors import FunctionNotFound, InvalidId, InvalidValue
from nbreactive.services.creation_times import creation_time
from nbreactive.values.checks import check_document, field_problem
from nbreactive.values.ids import decode_id
from nbreactive.values.limits import WRITTEN_DOCUMENTS
from nbreactive.values.packing import pack
from nbreactive.values.sizes import check_document_size
from nbreactive.values.validators import Validator, from_json

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.row_index import Reader

MOST = 4096
"""Documents in one batch."""


class Imports:
    """Writes documents into the tables of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def tables(self, wanted: dict[str, int]) -> dict[str, int]:
        """Make the tables that are missing; return the number of each.

        Parameters
        ----------
        wanted
            The number that a new table should have, if it is free; 0: any.
        """
        numbers: dict[str, int] = {}

        def make(_: Reader, catalog: Catalog, ts: int) -> list[Write]:
            numbers.clear()
            writes: list[Write] = []
            taken = set(catalog.by_number)
            free = max(catalog.next_number(), *(number + 1 for number in wanted.values()), 0)
            for name, there in wanted.items():
                found = catalog.table(name)
                if found is None:
                    _check_name(name)
                    number = there
                    if number < FIRST_USER_TABLE or number in taken:
                        number, free = free, free + 1
                    doc = table_document(name, number, max(time.time_ns(), ts) / 1e6)
                    writes.append(Write(TABLES, self._engine.new_internal(), pack(doc)))
                    taken.add(number)
                    numbers[name] = number
                else:
                    numbers[name] = found.number
            return writes

        await self._engine.transact(make)
        return numbers

    def check(self, table: str, docs: list[dict[str, Any]], *, replacing: bool = False) -> int:
        """Look whether documents could be inserted now, without doing it; return how many.

        Parameters
        ----------
        table, docs
            As for :meth:`insert`.
        replacing
            Whether the documents that are in the table will be deleted before, so that their ids are free.
        """
        with self._engine.reader() as reader:
            self._writes(reader, self._engine.catalog(), self._engine.applied, table, docs, replacing=replacing)
        return len(docs)

    async def insert(self, table: str, docs: list[dict[str, Any]], *, cleared: bool = False) -> int:
        """Insert documents, all or none; return how many.

        Parameters
        ----------
        table, docs
            What goes where.
        cleared
            Whether the table was cleared for them, so that who finds an id taken is told how that can be.
        """
        fix = (
            "it was written after the table was cleared, maybe by another import at the same time; when that is done,"
            " import again with --replace, alone"
            if cleared
            else "import with --replace"
        )
        await self._engine.transact(lambda reader, catalog, ts: self._writes(reader, catalog, ts, table, docs, fix=fix))
        return len(docs)

    def _writes(
        self,
        reader: Reader,
        catalog: Catalog,
        ts: int,
        table: str,
        docs: list[dict[str, Any]],
        *,
        replacing: bool = False,
        fix: str = "import with --replace",
    ) -> list[Write]:
        if len(docs) > MOST:
            raise InvalidValue(f"a batch holds {len(docs)} documents; send at most {MOST} at a time")
        now = time.time_ns() / 1e6
        info = _table(catalog, table)
        validator = from_json(info.validator) if info.validator is not None else None
        seen: set[bytes] = set()
        writes: list[Write] = []
        for number, doc in enumerate(docs):
            where = f"document {number + 1} of the batch for {table!r}"
            id, stored = _stored(doc, info, validator, catalog, now, where)
            if id is None:
                id = self._engine.new_internal()
            elif id in seen or (not replacing and reader.document(info.number, id, ts) is not None):
                raise InvalidValue(f"{where}: there is a document with the id {doc['_id']!r} already; {fix}")
            seen.add(id)
            writes.append(Write(info.number, id, stored))
        return writes

    async def clear(self, table: str) -> int:
        """Delete some documents of a table; return how many, 0 when none is left."""
        gone = 0

        def delete(reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
            nonlocal gone
            info = catalog.table(table)
            writes: list[Write] = []
            if info is not None:
                rows = reader.scan_documents(index_id(_table(catalog, table).number, BY_ID), b"", None, ts)
                for _, id, _, version in rows:
                    writes.append(Write(info.number, id, None, version))
                    if len(writes) == min(MOST, WRITTEN_DOCUMENTS):
                        break
            gone = len(writes)
            return writes

        await self._engine.transact(delete)
        return gone


def _table(catalog: Catalog, name: str) -> TableInfo:
    info = catalog.table(name)
    if info is None or info.number < FIRST_USER_TABLE:
        raise FunctionNotFound(f"there is no table {name[:100]!a} to import into")
    if info.storage == "columns":
        raise InvalidValue(f"the rows of {name!r} are kept in columns: load them with nbreactive.load({name!r}, ...)")
    return info


def _check_name(name: str) -> None:
    problem = field_problem(name)
    if problem or name.startswith("_"):
        raise InvalidValue(f"{name[:100]!a} cannot be the name of a table{': ' if problem else ''}{problem}")


def _stored(
    doc: dict[str, Any], info: TableInfo, validator: Validator | None, catalog: Catalog, now: float, where: str
) -> tuple[bytes | None, bytes]:
    """Return the internal id that a document brings, if any, and the document as it is stored."""
    id: bytes | None = None
    text = doc.get("_id")
    if text is not None:
        try:
            number, id = decode_id(text) if isinstance(text, str) else (0, b"")
        except InvalidId as error:
            raise InvalidValue(error.message, where) from None
        if number != info.number:
            raise InvalidValue(f"_id {text!r} is not the id of a document of this table; leave it out", where)
    created = creation_time(doc.get(CREATION_TIME, now), where)
    fields = {name: value for name, value in doc.items() if name not in ("_id", CREATION_TIME)}
    fields = check_document(fields, where, validator=validator, table_of=_names(catalog))
    stored = fields | {CREATION_TIME: created}
    packed = pack(stored)
    check_document_size(stored, packed, where)
    return id, packed


def _names(catalog: Catalog) -> Callable[[str], str | None]:
    def table_of(text: str) -> str | None:
        try:
            number, _ = decode_id(text)
        except InvalidId:
            return None
        return catalog.name_of(number)

    return table_of
