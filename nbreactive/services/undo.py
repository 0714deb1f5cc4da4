"""Undoing a commit: one new commit in which its documents are again what they were before it.

What it inserted is deleted, what it changed has its old fields, what it deleted is there again, with its id and creation
time. If any of the documents is not as the commit left it, nothing happens, unless that is said to be all right. The new
commit is one like any other: live queries see it, schemas hold, it can be undone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from nbreactive.engine.catalog import (
    CREATION_TIME,
    CRON_LOGS,
    CRONS,
    FIRST_USER_TABLE,
    SCHEDULED,
    STORAGE,
    TABLES,
    Catalog,
)
from nbreactive.engine.committer import Recorded
from nbreactive.engine.entries import By, Entry
from nbreactive.engine.transactions import Write
from nbreactive.errors import HistoryGone, InvalidId, InvalidValue, UndoRefused
from nbreactive.services.commits import Commits
from nbreactive.values.checks import check_document
from nbreactive.values.ids import decode_id, encode_id
from nbreactive.values.instants import moment
from nbreactive.values.packing import unpack
from nbreactive.values.validators import Validator, from_json

if TYPE_CHECKING:
    from nbreactive.columns.supervisor import Columns
    from nbreactive.engine.engine import Engine
    from nbreactive.engine.log import CommitLog
    from nbreactive.engine.row_index import Reader

MOST = 20_000
"""Documents that are restored in one commit; it holds everybody else up for so long."""
_ASKED = 4096
_NAMED = 5
_LEFT = frozenset((TABLES, CRONS, CRON_LOGS))
"""Reserved tables that stay as they are: a table that came with its first document stays, as after deleting that."""


class Undone(msgspec.Struct, frozen=True):
    """What was done."""

    ts: str
    """The timestamp of the commit that undid the other one: with it, that is undone again."""
    undone: str
    at: str
    function: str
    who: str
    documents: dict[str, int]
    """By table."""


class Undo:
    """Undoes commits of one deployment.

    Parameters
    ----------
    engine, log, columns
        Where they are, and what was before.
    """

    def __init__(self, engine: Engine, log: CommitLog, columns: Columns) -> None:
        self._engine = engine
        self._log = log
        self._columns = columns
        self._commits = Commits(log)

    async def undo(self, commit: str, who: str, request_id: str, *, force: bool = False) -> Undone:
        """Undo a commit.

        Parameters
        ----------
        commit
            Its timestamp, or the id of its request.
        who, request_id
            Who wants that, for the log.
        force
            Also restore documents that were changed since.

        Raises
        ------
        UndoRefused
            Documents were changed since, do not match the schema, or it is no commit of documents.
        HistoryGone
            It is older than what is kept.
        """
        entry = await self._commits.find(commit)
        span = await self._columns.span(entry.ts)
        if entry.ts <= max(span.horizon, self._log.horizon):
            raise HistoryGone(f"what was before the commit of {moment(entry.ts)} is not kept any more")
        writes = _undoable(entry)
        by = By(f"undo {entry.ts}", who, bytes.fromhex(request_id))
        await self._columns.wait(entry.ts)
        before: list[bytes | None] = []
        for start in range(0, len(writes), _ASKED):
            asked = [(write.table, write.id, write.previous) for write in writes[start : start + _ASKED]]
            before += (await self._columns.versions(asked)).docs
        counts: Counter[str] = Counter()

        def restore(reader: Reader, catalog: Catalog, ts: int) -> Recorded:
            counts.clear()
            current = [reader.document(write.table, write.id, ts) for write in writes]
            if not force:
                _refuse_changed(writes, current, catalog)
            checks = _Checks(catalog)
            restored: list[Write] = []
            for write, doc, found in zip(writes, before, current, strict=True):
                if write.previous and doc is None:
                    raise HistoryGone(
                        f"what {_named(write, catalog)} was before {moment(entry.ts)} is not kept any more"
                    )
                checks.check(write, doc)
                if doc is not None or found is not None:
                    restored.append(Write(write.table, write.id, doc, found[1] if found is not None else 0))
                    counts[catalog.name_of(write.table) or ""] += 1
            if not restored:
                raise UndoRefused("nothing was undone: all is as it was before that commit already")
            return Recorded(restored, None, by)

        ts = await self._engine.transact(restore)
        path, author = (entry.by.path, entry.by.who) if entry.by is not None else ("", "")
        return Undone(str(ts), str(entry.ts), moment(entry.ts), path, author, dict(counts))


def _refuse_changed(writes: Sequence[Write], current: Sequence[tuple[bytes, int] | None], catalog: Catalog) -> None:
    """Raise if a document is not what the commit has made of it."""
    changed = [
        f"{_named(write, catalog)} ({moment(found[1]) if found is not None else 'deleted'})"
        for write, found in zip(writes, current, strict=True)
        if (found[0] if found is not None else None) != write.doc
    ]
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise UndoRefused(
            f"nothing was undone: {len(changed)} of its {len(writes)} documents were changed since:"
            f" {', '.join(changed[:_NAMED])}{more}. Undo those changes first, or force it, by which they are lost"
        )


class _Checks:
    """Looks whether documents fit the schema of today."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._validators: dict[int, Validator | None] = {}

    def check(self, write: Write, doc: bytes | None) -> None:
        if write.table < FIRST_USER_TABLE:
            return
        table = self._catalog.number(write.table)
        if table is None:
            raise UndoRefused(f"nothing was undone: its table (number {write.table}) does not exist any more")
        if doc is None:
            return
        if write.table not in self._validators:
            self._validators[write.table] = from_json(table.validator) if table.validator is not None else None
        fields: dict[str, Any] = {name: value for name, value in unpack(doc).items() if name != CREATION_TIME}
        try:
            check_document(fields, table.name, validator=self._validators[write.table], table_of=self._table_of)
        except InvalidValue as error:
            raise UndoRefused(
                f"nothing was undone: {_named(write, self._catalog)} as it was does not match the schema of today:"
                f" {error.message}"
            ) from None

    def _table_of(self, text: str) -> str | None:
        try:
            return self._catalog.name_of(decode_id(text)[0])
        except InvalidId:
            return None


def _undoable(entry: Entry) -> list[Write]:
    """Return the writes of a commit that are undone."""
    writes: list[Write] = []
    for write in entry.writes:
        if (
            write.table >= FIRST_USER_TABLE
            or write.table == STORAGE
            or (write.table == SCHEDULED and _is_choice(write))
        ):
            writes.append(write)
        elif write.table not in _LEFT and write.table != SCHEDULED:
            raise UndoRefused(
                f"the commit of {moment(entry.ts)} is none of documents: deploys are taken back with rollback, environment"
                " variables are set again, and column tables are only added to"
            )
    if not writes:
        raise UndoRefused(f"the commit of {moment(entry.ts)} has changed no documents")
    if len(writes) > MOST:
        raise UndoRefused(
            f"the commit of {moment(entry.ts)} has {len(writes):,} documents, and at most {MOST:,} are restored at once:"
            " change them with a mutation, a part at a time, which reads what was with ctx.db.at(...)"
        )
    return writes


def _is_choice(write: Write) -> bool:
    """Whether a function has scheduled or canceled a job; what became of a job stays as it is."""
    return write.doc is None or unpack(write.doc)["state"]["kind"] in ("pending", "canceled")


def _named(write: Write, catalog: Catalog) -> str:
    return f"{catalog.name_of(write.table) or write.table} {encode_id(write.table, write.id)}"
