"""What was committed, newest first: by which function, for whom, and what it did to which table.

The log has it all, in order. So it is read backwards, a stretch at a time, until there is enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from nbreactive.engine.catalog import FIRST_USER_TABLE, SCHEDULED, STORAGE
from nbreactive.engine.entries import Entry, decode_entry
from nbreactive.engine.feed import position_of
from nbreactive.errors import FunctionNotFound, HistoryGone, InvalidValue, UndoRefused
from nbreactive.values.instants import moment

if TYPE_CHECKING:
    from nbreactive.engine.catalog import Catalog
    from nbreactive.engine.log import CommitLog

_STRETCH, _LONGEST = 256, 8192
_BREATH = 500
"""Entries that are looked at before others have their turn."""
_REQUEST_DIGITS = 16
MOST = 1000
"""Commits in one answer."""


class Counts(msgspec.Struct):
    """What a commit did to one table."""

    inserted: int = 0
    changed: int = 0
    deleted: int = 0


class CommitSummary(msgspec.Struct, frozen=True):
    """One commit."""

    ts: str
    """Its timestamp, by which it is named: a text, since JavaScript's numbers are too short for it."""
    at: str
    """The same for people."""
    function: str
    """The path of the function; empty where the backend itself has written it."""
    who: str
    request: str
    tables: dict[str, Counts]


class Commits:
    """The commits of one deployment.

    Parameters
    ----------
    log
        Has them.
    """

    def __init__(self, log: CommitLog) -> None:
        self._log = log

    async def recent(
        self, catalog: Catalog, *, table: str | None = None, since: int = 0, limit: int = 100
    ) -> list[CommitSummary]:
        """Return the last commits that changed documents of users, newest first."""
        number = None
        if table is not None:
            found = catalog.table(table)
            if found is None:
                raise FunctionNotFound(f"there is no table {table[:100]!a}")
            number = found.number
        summaries: list[CommitSummary] = []
        async for entry in self._backwards(since):
            if any(write.table == number if number is not None else _is_shown(write.table) for write in entry.writes):
                summaries.append(summary_of(entry, catalog))
                if len(summaries) >= min(limit, MOST):
                    break
        return summaries

    async def find(self, name: str) -> Entry:
        """Return the commit with a timestamp, or the only one of a request.

        Raises
        ------
        HistoryGone
            The log does not have it any more.
        UndoRefused
            The request has made several.
        InvalidValue
            There is none.
        """
        name = name.strip().lower()
        if len(name) == _REQUEST_DIGITS and all(digit in "0123456789abcdef" for digit in name):
            return await self._of_request(bytes.fromhex(name))
        if not (name.isascii() and name.isdigit()) or not 17 <= len(name) <= 19:
            raise InvalidValue(
                f"{name[:80]!a} names no commit: give its timestamp (`nbreactive changes` lists them) or the id of the"
                " request (16 digits, in the log and in errors)"
            )
        ts = int(name)
        if ts <= self._log.horizon:
            raise HistoryGone(f"what was committed at {moment(ts)} is not in the log any more")
        async for batch in self._log.read(await position_of(self._log, ts - 1)):
            for data in batch.entries:
                entry = decode_entry(data)
                if entry.ts == ts:
                    return entry
            break
        raise InvalidValue(f"nothing was committed at {name}; `nbreactive changes` lists what was")

    async def _of_request(self, request: bytes) -> Entry:
        found = [entry async for entry in self._backwards(0) if entry.by is not None and entry.by.request == request]
        if not found:
            raise InvalidValue(
                f"the request {request.hex()} has committed nothing that is still in the log; `nbreactive changes` lists"
                " what was committed"
            )
        if len(found) > 1:
            stamps = ", ".join(str(entry.ts) for entry in found)
            raise UndoRefused(
                f"the request {request.hex()} has made {len(found)} commits: {stamps} (newest first); name one of them"
            )
        return found[0]

    async def _backwards(self, since: int) -> AsyncIterator[Entry]:
        """Yield the commits after a timestamp, the newest first."""
        since = max(since, self._log.horizon)
        first, high, stretch, looked_at = await self._log.trim(0), await self._log.tail(), _STRETCH, 0
        while high > first:
            low = max(first, high - stretch)
            entries: list[Entry] = []
            async for batch in self._log.read(low):
                if batch.position > high:
                    break
                entries += map(decode_entry, batch.entries)
                looked_at += len(batch.entries)
                if looked_at > _BREATH:
                    looked_at = 0
                    await asyncio.sleep(0)
            for entry in reversed(entries):
                if entry.ts <= since:
                    return
                yield entry
            high, stretch = low, min(2 * stretch, _LONGEST)


def summary_of(entry: Entry, catalog: Catalog) -> CommitSummary:
    """Say what a commit did."""
    tables: dict[str, Counts] = {}
    for write in entry.writes:
        if not _is_shown(write.table):
            continue
        counts = tables.setdefault(catalog.name_of(write.table) or f"table {write.table}", Counts())
        if write.doc is None:
            counts.deleted += 1
        elif write.previous:
            counts.changed += 1
        else:
            counts.inserted += 1
    by = entry.by
    function, who, request = (by.path, by.who, by.request.hex()) if by is not None else ("", "", "")
    return CommitSummary(str(entry.ts), moment(entry.ts), function, who, request, tables)


def _is_shown(table: int) -> bool:
    return table >= FIRST_USER_TABLE or table in (SCHEDULED, STORAGE)
