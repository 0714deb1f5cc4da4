"""What a new schema changes: compares the tables that modules declare with the tables that exist.

Pure computation, so that it can be repeated inside the transaction that flips: if the catalog has moved meanwhile (a
mutation created a table), the plan shows what is still to be done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbreactive.engine.catalog import (
    FIRST_DECLARED,
    FIRST_USER_TABLE,
    Catalog,
    IndexInfo,
    TableInfo,
    declared_indexes,
    describe_index,
    index_id,
    refuse_overflow,
)
from nbreactive.functions.specs import Issue, Manifest, TableSpec


@dataclass(frozen=True)
class TableChange:
    """One table as it shall be."""

    before: TableInfo | None
    after: TableInfo
    build: tuple[IndexInfo, ...]
    """Indexes whose entries do not exist yet."""
    check: bool
    """Whether the validator is new, so that stored documents have to be looked at."""


def plan_schema(
    manifest: Manifest, catalog: Catalog, built: Collection[int] = (), empty: Collection[int] = ()
) -> list[TableChange]:
    """List the tables that change.

    Parameters
    ----------
    manifest
        What the modules declare.
    catalog
        What exists.
    built
        Ids of indexes that are complete although the catalog still calls them ``backfilling``.
    empty
        Numbers of tables without documents, whose indexes are complete from the start.
    """
    changes: list[TableChange] = []
    number = catalog.next_number()
    declared = {table.name: table for table in manifest.tables}
    for spec in declared.values():
        before = catalog.table(spec.name)
        if before is None:
            changes.append(_changed(spec, None, TableInfo(spec.name, number, ()), manifest, built, {number}))
            number += 1
        else:
            change = _changed(spec, before, before, manifest, built, empty)
            if change.after != before or change.check:
                changes.append(change)
    for before in catalog.by_name.values():
        undeclared = before.number >= FIRST_USER_TABLE and before.name not in declared
        if undeclared and (before.module or before.validator is not None or len(before.indexes) > FIRST_DECLARED):
            if before.storage == "columns":  # its rows have the types that they were loaded with
                after = replace(before, module="")
            else:
                after = replace(
                    before, indexes=before.indexes[:FIRST_DECLARED], validator=None, ephemeral=False, module=""
                )
            if after == before:
                continue
            changes.append(TableChange(before, after, (), False))
    return changes


def refuse_impossible(
    changes: Sequence[TableChange], occupied: Collection[int], places: Mapping[str, tuple[str, int]]
) -> list[Issue]:
    """Changes that cannot be made to tables which hold documents; ``places`` are file and line of each declaration."""
    issues: list[Issue] = []
    for change in changes:
        before, after = change.before, change.after
        if before is None or before.number not in occupied:
            continue
        what = ""
        if before.ephemeral != after.ephemeral:
            what = "holds documents, so it cannot become or stop being ephemeral"
        elif before.storage != after.storage:
            what = "holds rows, so it cannot keep them elsewhere: storage stays as it is"
        elif after.storage == "columns" and before.validator != after.validator:
            what = "holds rows in columns, whose types cannot be changed"
        if what:
            place = places.get(after.name, (after.module, 0))
            issues.append(
                Issue(*place, f"the table {after.name!r} {what}", "empty the table first, or declare another one")
            )
    return issues


def _changed(
    spec: TableSpec,
    before: TableInfo | None,
    table: TableInfo,
    manifest: Manifest,
    built: Collection[int],
    empty: Collection[int],
) -> TableChange:
    checked = manifest.schema_validation or spec.storage == "columns"
    validator = spec.validator if checked and spec.validator.get("type") != "any" else None
    # Two can have the same name: one that is in use, and one that is being built, or was when the process ended.
    existing = {index.definition: index for index in table.indexes[FIRST_DECLARED:]}
    slot = table.next_slot
    indexes: list[IndexInfo] = []
    build: list[IndexInfo] = []
    for declared in declared_indexes(spec):
        index = existing.get(declared.definition)
        if index is None:
            index = replace(declared, id=index_id(table.number, slot), slot=slot, state="backfilling")
            slot += 1
        if index.state != "ready":
            if index.id in built or table.number in empty:
                index = replace(index, state="ready")
            else:
                build.append(index)
        indexes.append(index)
    after = replace(
        table,
        indexes=(*table.indexes[:FIRST_DECLARED], *indexes),
        validator=validator,
        ephemeral=spec.ephemeral,
        module=spec.module,
        next_slot=slot,
        storage=spec.storage,
    )
    refuse_overflow(after)
    check = (
        before is not None and validator is not None and validator != before.validator and before.number not in empty
    )
    return TableChange(before, after, tuple(build), check)


def staged(change: TableChange) -> TableInfo:
    """The table as it is while new indexes are being built: everything old, and the new indexes maintained."""
    assert change.before is not None
    names = {index.id for index in change.before.indexes}
    added = tuple(index for index in change.build if index.id not in names)
    return replace(change.before, indexes=(*change.before.indexes, *added), next_slot=change.after.next_slot)


def restored(table: TableInfo, unwanted: Collection[int]) -> TableInfo:
    """The table without indexes of a deploy that failed."""
    return replace(table, indexes=tuple(index for index in table.indexes if index.id not in unwanted))


def describe(table: TableInfo) -> dict[str, Any]:
    """One table for people."""
    return {
        "name": table.name,
        "number": table.number,
        "module": table.module,
        "ephemeral": table.ephemeral,
        "validator": table.validator,
        "indexes": [describe_index(index) for index in table.indexes[FIRST_DECLARED:]],
        "storage": table.storage,
    }
