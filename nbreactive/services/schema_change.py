"""From the tables that are to the tables that shall be, while everything else goes on.

:meth:`SchemaChange.prepare` does the slow part: it looks at stored documents, and builds new indexes, which commits
maintain from the moment on that the catalog names them. :meth:`SchemaChange.writes` gives what is left for the
transaction that flips, or finds that tables have changed meanwhile, so that there is more to prepare.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from nbreactive.engine.catalog import TABLES, Catalog, TableInfo, table_document
from nbreactive.engine.row_index import Reader
from nbreactive.engine.transactions import Write
from nbreactive.errors import DeployRefused
from nbreactive.functions.specs import Issue, Manifest
from nbreactive.runtime.loader import file_of
from nbreactive.services.column_files import rows_in_columns
from nbreactive.services.schema_plan import TableChange, plan_schema, refuse_impossible, restored, staged
from nbreactive.services.stored_documents import DocumentCheck
from nbreactive.values.ids import new_internal
from nbreactive.values.packing import pack

if TYPE_CHECKING:
    from nbreactive.engine.engine import Engine


class MovedError(Exception):
    """Tables have changed since they were looked at; prepare again."""


class SchemaChange:
    """The change that one deploy makes to the schema.

    Parameters
    ----------
    engine
        Where the tables are.
    manifest
        What the modules declare.
    """

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self._engine = engine
        self._manifest = manifest
        self._places = {table.name: (file_of(table.module), table.line) for table in manifest.tables}
        self._checks: dict[int, DocumentCheck] = {}
        self._built: set[int] = set()
        self._added: set[int] = set()

    async def prepare(self) -> None:
        """Look at documents and build indexes; raises :class:`DeployRefused` naming the first offenders."""
        catalog = self._engine.catalog()
        plan = self._plan(catalog)
        tables = {change.before.number for change in plan if change.before is not None}
        issues = refuse_impossible(plan, tables - self._empty(catalog), self._places)
        for change in plan:
            if change.check and change.after.number not in self._checks:
                check = self._checks[change.after.number] = DocumentCheck(
                    self._engine, change.after, self._places[change.after.name]
                )
                await check.run()
                issues += check.issues()
        _refuse(issues)
        for change in plan:
            if change.build:
                await self._build(change)

    def writes(self, reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
        """What is left to be written; raises :class:`MovedError` or :class:`DeployRefused`."""
        plan = self._plan(catalog)
        issues: list[Issue] = []
        for change in plan:
            check = self._checks.get(change.after.number)
            if change.build or (change.check and check is None):
                raise MovedError
            if check is not None:
                check.catch_up(catalog)
                issues += check.issues()
        _refuse(issues)
        return [_table(reader, ts, change.after, change.before) for change in plan]

    async def abandon(self) -> None:
        """Take back the indexes that were added for nothing."""
        if self._added:
            await self._engine.transact(self._undo)

    async def _build(self, change: TableChange) -> None:
        name = change.after.name
        build: list[int] = []

        def stage(reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
            build.clear()
            for now in self._plan(catalog):
                if now.after.name == name and now.before is not None and now.build:
                    build.extend(index.id for index in now.build)
                    self._added.update(build)
                    return [_table(reader, ts, staged(now), now.before)]
            return []

        await self._engine.transact(stage)
        for index in build:
            await self._engine.backfill(name, index)
            self._built.add(index)

    def _undo(self, reader: Reader, catalog: Catalog, ts: int) -> list[Write]:
        added = self._added
        tables = [table for table in catalog.by_name.values() if any(index.id in added for index in table.indexes)]
        return [_table(reader, ts, restored(table, added), table) for table in tables]

    def _plan(self, catalog: Catalog) -> list[TableChange]:
        return plan_schema(self._manifest, catalog, self._built, self._empty(catalog))

    def _empty(self, catalog: Catalog) -> set[int]:
        reader, ts = self._engine.reader(), self._engine.applied
        in_columns = rows_in_columns(reader, catalog, ts)
        return {
            table.number
            for table in catalog.by_name.values()
            if table.number not in in_columns
            and next(iter(reader.scan(table.indexes[0].id, b"", None, ts)), None) is None
        }


def _refuse(issues: Sequence[Issue]) -> None:
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        message = f"nothing was deployed: {issues[0].reason}{more}"
        raise DeployRefused(message, [msgspec.to_builtins(issue) for issue in issues])


def _table(reader: Reader, ts: int, after: TableInfo, before: TableInfo | None) -> Write:
    now = time.time_ns() // 1_000_000
    document = table_document(
        after.name,
        after.number,
        float(now),
        indexes=after.indexes,
        next_slot=after.next_slot,
        validator=after.validator,
        ephemeral=after.ephemeral,
        module=after.module,
        storage=after.storage,
    )
    id = before.id if before is not None else new_internal(now, after.number & 0xFFFF, secrets.token_bytes(8))
    found = reader.document(TABLES, id, ts)
    return Write(TABLES, id, pack(document), found[1] if found is not None else 0)
