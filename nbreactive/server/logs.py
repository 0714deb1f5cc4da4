"""What happened: the last calls in memory, and JSON lines on standard error.

Lines are pure ASCII with every control character escaped, so that no text of a user can forge another line or
colour a terminal. Identities appear as a hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, TextIO

import msgspec

from nbreactive.engine.transactions import LogLine

_LONGEST_TEXT = 4096
_LINES_PER_CALL = 256


_Entry = tuple[int, str, float, str, str, float, str, str, str, Sequence[LogLine]]


class CallRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finished call."""

    number: int
    request_id: str
    at: float
    """Seconds since the epoch."""
    path: str
    kind: str
    duration_ms: float
    caller: str = ""
    code: str = ""
    """Of the failure; empty when the call succeeded."""
    message: str = ""
    lines: Sequence[LogLine] = ()


def escape_line(record: dict[str, Any]) -> str:
    r"""One line of JSON in printable ASCII.

    Examples
    --------
    >>> escape_line({"path": "a\nb\x7f"})
    '{"path": "a\\nb\\u007f"}'
    """
    return json.dumps(record, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")


class Logs:
    """Bounded log of calls, and the writer of lines.

    Parameters
    ----------
    stream
        Where lines go.
    keep
        How many calls are kept.
    verbose
        Write a line for every call, not only for failures and calls that logged something.
    """

    def __init__(self, stream: TextIO | None = None, keep: int = 1000, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._calls: deque[_Entry] = deque(maxlen=keep)
        self._number = 0

    def event(self, name: str, level: str = "info", **fields: Any) -> None:
        """Write one line."""
        line = {"at": round(time.time(), 3), "level": level, "event": name[:_LONGEST_TEXT]}
        line |= {key: _shorten(value) for key, value in fields.items()}
        # A full disk or a reader that is gone must not be the end of what was to be told.
        with contextlib.suppress(OSError, ValueError):
            print(escape_line(line), file=self._stream or sys.stderr, flush=True)

    def call(
        self,
        request_id: str,
        path: str,
        kind: str,
        duration: float,
        caller: str,
        code: str = "",
        message: str = "",
        lines: Sequence[LogLine] = (),
    ) -> None:
        """Record one finished call."""
        self._number += 1
        # Every call passes here and few are ever looked at: what can wait until then does.
        if code or lines:
            message, lines = message[:_LONGEST_TEXT], lines[:_LINES_PER_CALL]
        entry = (self._number, request_id, time.time(), path[:300], kind, duration, caller, code, message, lines)
        self._calls.append(entry)
        if self._verbose or code or lines:
            record = _record(*entry)
            fields: dict[str, Any] = {
                "request_id": request_id,
                "path": path,
                "kind": kind,
                "ms": record.duration_ms,
                "caller": record.caller,
            }
            if code:
                fields |= {"code": code, "message": message}
            if lines:
                fields["lines"] = [f"[{line.level}] {line.text}" for line in record.lines]
            self.event("call", "error" if code else "info", **fields)

    def since(self, number: int) -> list[CallRecord]:
        """The kept calls after ``number``, oldest first."""
        return [_record(*entry) for entry in self._calls if entry[0] > number]


def _record(
    number: int,
    request_id: str,
    at: float,
    path: str,
    kind: str,
    duration: float,
    caller: str,
    code: str,
    message: str,
    lines: Sequence[LogLine],
) -> CallRecord:
    return CallRecord(
        number,
        request_id,
        at,
        path,
        kind,
        round(duration * 1000, 3),
        _pseudonym(caller),
        code,
        message,
        lines,
    )


def _pseudonym(label: str) -> str:
    if label in ("anonymous", "admin key"):
        return label
    return "user " + hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:10]


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, list | tuple):
        return [_shorten(item) for item in value[:_LINES_PER_CALL]]
    return value
