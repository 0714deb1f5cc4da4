"""A row index with the smallest possible engine on top: what the runtime's tests run functions against."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbreactive.engine.catalog import BY_NAME, TABLES, Catalog, declared_indexes, index_id, table_document
from nbreactive.engine.prepare import catalog_after, check_writes, prepare
from nbreactive.engine.row_index import Applied, RowIndex
from nbreactive.engine.transactions import Call, Outcome, Write
from nbreactive.functions.specs import Bundle, Manifest, ModuleSource, Origin
from nbreactive.runtime.pool import Pool
from nbreactive.values.json import decode_json
from nbreactive.values.packing import pack

HEADER = (
    "from nbreactive import query, mutation, internal_query, internal_mutation, api, internal, v, Id, UNSET, AppError\n"
)
NOW = 1_790_000_000_000


def bundle(version: int = 1, /, **modules: str) -> Bundle:
    """A bundle of modules; ``__`` in a name is ``/``, and the usual imports are put in front."""
    sources = {name.replace("__", "/"): HEADER + source for name, source in modules.items()}
    return Bundle(version, tuple(ModuleSource(name, source, Origin("api")) for name, source in sources.items()))


class House:
    """Holds the index, applies writes, makes calls."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "index"
        self.index = RowIndex.open(self.path, map_size=1 << 28)
        self.index.trust()
        self.reader = self.index.reader()
        self.ts = 1
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self.reader.close()
        self.index.close()

    def catalog(self) -> Catalog:
        self.reader.renew()
        return Catalog.load(self.reader, self.ts)

    def apply(self, writes: list[Write] | tuple[Write, ...], reach: Any = "public") -> None:
        """Commit writes at the next timestamp."""
        before = self.catalog()
        after = catalog_after(writes, before)
        check_writes(writes, after, reach)
        prepared = prepare(writes, lambda table, id: self.reader.document(table, id, self.ts), after, {})
        self.ts += 1000
        self.index.apply([Applied(self.ts, prepared.rows)])

    def deploy_schema(self, manifest: Manifest) -> None:
        """Create the tables of a manifest."""
        for spec in manifest.tables:
            number = self.catalog().next_number()
            indexes = [
                replace(index, id=index_id(number, slot), slot=slot)
                for slot, index in enumerate(declared_indexes(spec), start=BY_NAME)
            ]
            doc = table_document(
                spec.name, number, 1.0, indexes=indexes, next_slot=BY_NAME + len(indexes), validator=spec.validator
            )
            self.apply([Write(TABLES, number.to_bytes(16, "big"), pack(doc))], "system")

    def call(self, path: str, args: Mapping[str, Any] | None = None, **options: Any) -> Call:
        """A call at the present snapshot."""
        number = next(self._numbers)
        options = {"request_id": f"r{number}", "now": NOW + number, "seed": number.to_bytes(16, "big")} | options
        return Call(path, pack(dict(args or {})), snapshot=self.ts, **options)

    def finish(self, outcome: Outcome) -> Any:
        """Commit what an outcome wrote and return its value; raises if it failed."""
        assert outcome.failure is None, outcome.failure.message
        if outcome.writes:
            self.apply(list(outcome.writes))
        return decode_json(outcome.value)


@contextlib.asynccontextmanager
async def running(folder: Path, source: str | None = None, **options: Any) -> AsyncIterator[tuple[House, Pool]]:
    """A house and a pool, with ``source`` deployed as module ``m``; both are closed whatever happens."""
    house = House(folder)
    pool = Pool(house.path, **options)
    try:
        if source is not None:
            await pool.prepare(bundle(1, m=source))
            await pool.activate(1)
            pool.switch(1)
        yield house, pool
    finally:
        await pool.close()
        house.close()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        await asyncio.sleep(0.005)
