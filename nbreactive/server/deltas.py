"""Row deltas: a client that shows a query's last result is sent the rows that are new, not all of them.

A result that is a list, or an object with a list under ``rows`` or ``page``, is taken apart into the texts of its rows;
nothing is decoded. A :class:`Delta` is a series of runs ``(start, count, rows)``: so many rows of the list before, from
``start`` on, then ``rows``. It is worked out once for all clients that go from the one result to the other, and given
only where it is less than half as long as the result.

For that a result is kept as long as a client that takes deltas shows it. That is nearly always one that is shown now, and
so in the engine's cache of results anyway; what is kept is bounded in bytes all the same, and a client whose last result had
to go is sent the whole next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
from msgspec import Raw

from nbreactive.engine.query_cache import QueryResult
from nbreactive.values.limits import MIB

LEAST: Final = 1024
"""Bytes of the results that deltas are worth while for."""
MOST: Final = 64 * MIB
"""Bytes that are kept for deltas, beside the engine's cache of results."""
_LISTS: Final = ("rows", "page")
_ROW: Final = 64
"""Bytes of the object that stands for a row's text."""
_RUN: Final = 16
"""Bytes of a run in a message, roughly."""
_MOST_RUNS: Final = 1000
"""A result that is made of more pieces is sent whole: that is less work than to find them."""
_SAMPLE: Final = 50
"""Of as many rows of the new list, from all over it, one has to be an old one; else all is taken to be new."""
_NEAR: Final = ((1, 1), (0, 1), (1, 0))
"""How many rows of the old list are skipped and of the new one inserted where a row was replaced, inserted, deleted."""

_split_list = msgspec.json.Decoder(list[Raw]).decode
_split_object = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode

Run = tuple[int, int, list[Raw]]
"""Where in the list before, how many rows of it, and the rows that come next."""


class Delta(NamedTuple):
    """What makes a result of another one."""

    path: list[str]
    """Where in the result the list is: nowhere (it is the result), or under a name."""
    runs: list[Run]
    rest: Raw | None
    """The object around the list, with an empty list in it."""
    check: int
    """The CRC-32 of the text of the new list."""


class Rows(NamedTuple):
    """A result, taken apart."""

    path: list[str]
    rows: list[Raw]
    rest: Raw | None
    check: int


class Shown:
    """A result that clients show which take deltas; empty when it had to go."""

    __slots__ = ("bytes", "delta", "hash", "rows", "users", "value")

    def __init__(self, result: QueryResult) -> None:
        self.hash = result.hash
        self.value = result.value
        self.rows: Rows | None = None
        self.delta: tuple[bytes, Delta | None] = (b"", None)
        """The one that was worked out last, and from which result it leads here."""
        self.users = 0
        self.bytes = len(self.value)


class Deltas:
    """What the clients of one deployment show that take deltas.

    Parameters
    ----------
    max_bytes
        Above it the result goes that was asked for least lately.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._shown: OrderedDict[bytes, Shown] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._shown)

    def follow(self, before: Shown | None, result: QueryResult) -> tuple[Shown | None, Delta | None]:
        """Let a client that shows ``before`` show ``result``; returns what it shows then, and the delta if there is one."""
        shown = self._show(result) if _is_list(result) else None
        delta = None
        if before is not None:
            if shown is not None and before.value:
                delta = self._delta(before, shown)
            self.leave(before)
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._shown.values())))
        return shown, delta

    def leave(self, shown: Shown) -> None:
        """Note that a client does not show it any more."""
        shown.users -= 1
        if not shown.users:
            self._drop(shown)

    def _show(self, result: QueryResult) -> Shown:
        shown = self._shown.get(result.hash)
        if shown is None:
            shown = self._shown[result.hash] = Shown(result)
            self.bytes += shown.bytes
        self._shown.move_to_end(shown.hash)
        shown.users += 1
        return shown

    def _drop(self, shown: Shown) -> None:
        if self._shown.get(shown.hash) is shown:
            del self._shown[shown.hash]
            self.bytes -= shown.bytes
            shown.value, shown.rows, shown.delta = b"", None, (b"", None)

    def _delta(self, before: Shown, shown: Shown) -> Delta | None:
        known, delta = shown.delta
        if known != before.hash:
            old, new = self._rows(before), self._rows(shown)
            delta = _delta_of(old, new, len(shown.value)) if old is not None and new is not None else None
            shown.delta = before.hash, delta
        return delta

    def _rows(self, shown: Shown) -> Rows | None:
        if shown.rows is None:
            shown.rows = rows_of(shown.value)
            if shown.rows is not None and shown.hash in self._shown:
                more = _ROW * len(shown.rows.rows)
                shown.bytes += more
                self.bytes += more
        return shown.rows


def _is_list(result: QueryResult) -> bool:
    """Whether a result may be one for deltas, at a glance."""
    value = result.value
    if result.failure is not None or len(value) < LEAST:
        return False
    return value.startswith(b"[") or (
        value.startswith(b"{") and any(b'"%b":[' % name.encode() in value for name in _LISTS)
    )


def rows_of(value: bytes) -> Rows | None:
    """Take a result apart; None if there is no list in it, or it is not written as we write JSON.

    Examples
    --------
    >>> bytes(rows_of(b'{"rows":[[1],[2]],"total":2}').rest)
    b'{"rows":[],"total":2}'
    """
    path: list[str] = []
    text, rest = Raw(value), None
    if value.startswith(b"{"):
        fields = _split_object(value)
        path = [name for name in _LISTS if name in fields and memoryview(fields[name])[:1] == b"["][:1]
        if not path:
            return None
        text = fields[path[0]]
        rest = Raw(_encode({**fields, path[0]: Raw(b"[]")}))
    rows = _split_list(text)
    # The client puts the list together from its rows, with nothing in between but commas.
    if len(text) != sum(map(len, rows)) + len(rows) + 1:
        return None
    return Rows(path, rows, rest, crc32(text))


def _delta_of(old: Rows, new: Rows, size: int) -> Delta | None:
    if old.path != new.path:
        return None
    runs = runs_between(old.rows, new.rows, size // 2 - len(new.rest or b""))
    return Delta(new.path, runs, new.rest, new.check) if runs is not None else None


def runs_between(old: Sequence[Raw], new: Sequence[Raw], most: int) -> list[Run] | None:
    """Say how ``new`` is made of rows of ``old`` and others; None if that takes more than ``most`` bytes or too many runs.

    From left to right, as many rows as are alike are one run. Where they differ a row was most likely replaced, inserted
    or deleted; if none of that is so, the row is looked for by its text. So the work grows with the number of rows,
    whatever has changed.
    """
    runs: list[Run] = []
    places: dict[bytes, int] | None = None
    place = at = 0
    while at < len(new):
        if most < _RUN * len(runs) or len(runs) > _MOST_RUNS:
            return None
        count = _alike(old, place, new, at)
        if count:
            runs.append((place, count, []))
            place, at = place + count, at + count
            continue
        near = _near(old, place, new, at) if places is None else None
        if near is None:
            if places is None:
                places = dict(zip(map(bytes, reversed(old)), range(len(old) - 1, -1, -1), strict=True))
                if not any(bytes(row) in places for row in new[:: 1 + len(new) // _SAMPLE]):
                    return None
            found = places.get(bytes(new[at]))
            if found is not None:
                place = found
                continue
            near = 0, 1
        skipped, inserted = near
        if inserted:
            if not runs:
                runs.append((0, 0, []))
            runs[-1][2].append(new[at])
            most -= len(new[at]) + 1
        place, at = place + skipped, at + inserted
    return runs if most >= _RUN * len(runs) else None


def _near(old: Sequence[Raw], place: int, new: Sequence[Raw], at: int) -> tuple[int, int] | None:
    """Say how many rows of either list are in the way of the next ones that are alike; the ends of both are alike."""
    for skipped, inserted in _NEAR:
        one, other = place + skipped, at + inserted
        if old[one : one + 1] == new[other : other + 1]:
            return skipped, inserted
    return None


def _alike(old: Sequence[Raw], place: int, new: Sequence[Raw], at: int) -> int:
    """Count the rows from ``place`` on that are those from ``at`` on; in steps that grow, compared as whole lists."""
    most = min(len(old) - place, len(new) - at)
    count, step = 0, 1
    while count < most:
        step = min(step, most - count)
        one, other = place + count, at + count
        if old[one : one + step] == new[other : other + step]:
            count += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
    return count
