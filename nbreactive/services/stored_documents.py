"""Do the stored documents match a new schema? Looked at a little at a time, while everything else goes on.

Documents are read in the order of their ids, each slice at the newest timestamp, so that no old version has to be kept
for it. What is written behind the scan's back is looked at again at the end, inside the transaction that flips.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nbreactive.engine.catalog import BY_ID, Catalog, TableInfo, index_id
from nbreactive.errors import InvalidId, InvalidValue, SchemaError
from nbreactive.functions.specs import Issue
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.packing import unpack
from nbreactive.values.validators import from_json

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine

_SLICE = 0.001
_REST = 2.0
"""How long to rest after a slice, in terms of what it took."""
_NAMED = 5


class DocumentCheck:
    """Checks the documents of one table against its next validator.

    Parameters
    ----------
    engine
        Where they are.
    table
        The table as it shall be, with a validator.
    place
        File and line of its declaration.
    """

    def __init__(self, engine: Engine, table: TableInfo, place: tuple[str, int]) -> None:
        assert table.validator is not None
        self.table = table
        self._place = place
        self._engine = engine
        self._validator = from_json(table.validator)
        self._offenders: dict[bytes, str] = {}
        self._seen_to = 0

    async def run(self) -> None:
        """Look at all documents; stops early when enough offenders are known."""
        self._seen_to = self._engine.applied
        table_of = _names(self._engine.catalog())
        last: bytes | None = b""
        while last is not None and len(self._offenders) < _NAMED:
            began = time.perf_counter()
            last = self._slice(last, table_of)
            await asyncio.sleep(_REST * (time.perf_counter() - began))

    def _slice(self, low: bytes, table_of: Callable[[str], str | None]) -> bytes | None:
        until = time.perf_counter() + _SLICE
        rows = self._engine.reader().scan_documents(index_id(self.table.number, BY_ID), low, None, self._engine.applied)
        for _, id, doc, _ in rows:
            self._look(id, doc, table_of)
            if time.perf_counter() > until:
                return id + b"\0"
        return None

    def catch_up(self, catalog: Catalog) -> None:
        """Look at what was written since :meth:`run` began (synchronous: there is little of it)."""
        table_of = _names(catalog)
        for id, doc in self._engine.changed_since(self.table.number, self._seen_to):
            self._offenders.pop(id, None)
            if doc is not None:
                self._look(id, doc, table_of)

    def issues(self) -> Iterator[Issue]:
        """The first offenders, in the words of a deploy."""
        for id, reason in list(self._offenders.items())[:_NAMED]:
            name = encode_id(self.table.number, id)
            yield Issue(
                *self._place,
                f'Document with ID "{name}" in table "{self.table.name}" does not match the schema: {reason}',
                "mend the document with a mutation first, or let the schema allow it (v.optional, v.union)",
            )

    def _look(self, id: bytes, packed: bytes, table_of: Callable[[str], str | None]) -> None:
        doc: dict[str, Any] = unpack(packed)
        fields = {name: value for name, value in doc.items() if not name.startswith("_")}
        try:
            self._validator.check(fields, "", error=SchemaError, table_of=table_of)
        except InvalidValue as error:
            self._offenders[id] = error.message


def _names(catalog: Catalog) -> Callable[[str], str | None]:
    def table_of(text: str) -> str | None:
        try:
            number, _ = decode_id(text)
        except InvalidId:
            return None
        return catalog.name_of(number)

    return table_of
