"""What happened: the last calls in memory, for those who may deploy, and JSON lines on standard error.

Lines are pure ASCII with every control character escaped, so that no text of a user can forge another line or
colour a terminal. Identities appear as a hash, arguments and results not at all: also where the error of a call quotes
an argument that was no good. Memory is bounded twice, in calls and in bytes of what they printed.

Calls are numbered, across restarts too (the first number is the time of the start in microseconds), so that whoever
follows asks for what came after the last number seen, wherever that was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import msgspec

from nbreactive.engine.transactions import LogLine
from nbreactive.values.limits import LOG_BYTES, LOG_CALLS, LOG_LINES

_LONGEST_TEXT = 4096
_LONGEST_ERROR = 20_000
_LONGEST_PATH = 300
_GATHER = 0.05
"""Seconds that followers wait for more, so that under load each of them is told twenty times a second."""


class _Text:
    """What a call said; emptied when the log holds too much."""

    __slots__ = ("lines", "message", "size")

    def __init__(self, message: str, lines: Sequence[LogLine]) -> None:
        self.message = message
        self.lines = lines
        self.size = len(message) + sum(80 + len(line.text) for line in lines)


_Entry = tuple[int, str, float, str, str, float, str, str, _Text | None]


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
    """The error with the user's own frames, in production too."""
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
    keep_bytes
        How much of what they said is kept; then the oldest are kept without it.
    """

    def __init__(
        self, stream: TextIO | None = None, keep: int = LOG_CALLS, verbose: bool = False, keep_bytes: int = LOG_BYTES
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._calls: deque[_Entry] = deque(maxlen=keep)
        self._texts: deque[_Text] = deque()
        self._bytes = 0
        self._keep_bytes = keep_bytes
        self._number = time.time_ns() // 1000
        self._followers: list[asyncio.Future[None]] = []
        self._told: asyncio.TimerHandle | None = None
        self.on_call: Callable[[str, str, float, str], None] | None = None
        """Told of every call: path, kind, seconds, code of the failure."""

    @property
    def newest(self) -> int:
        """The number of the last call."""
        return self._number

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
        text = self._said(message, lines) if code or lines else None
        entry = (self._number, request_id, time.time(), path[:_LONGEST_PATH], kind, duration, caller, code, text)
        self._calls.append(entry)
        if self._followers:
            self._tell_soon()
        if self.on_call is not None:
            self.on_call(path, kind, duration, code)
        if self._verbose or text is not None:
            self._write(_record(entry))

    def since(
        self, number: int, *, path: str | None = None, errors: bool = False, last: int | None = None
    ) -> list[CallRecord]:
        """The kept calls after ``number``, oldest first.

        Parameters
        ----------
        number
            Of the last call that is known. One that no call of this process can have (0; or the clock was set back
            between two starts) gives all of them.
        path
            Only calls of this function, or of this module.
        errors
            Only calls that failed.
        last
            Only so many, the newest.
        """
        if number > self._number:
            number = 0
        found: list[CallRecord] = []
        for entry in reversed(self._calls):
            if entry[0] <= number or (last is not None and len(found) >= last):
                break
            if (errors and not entry[7]) or (path is not None and not _concerns(entry[3], path)):
                continue
            found.append(_record(entry))
        return found[::-1]

    async def follow(self, number: int, seconds: float, *, wanted: Callable[[], bool] | None = None) -> None:
        """Return when there is a call after ``number`` (and ``wanted`` says yes), or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._number == number or (wanted is not None and not wanted()):
                    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._followers.append(told)
                    try:
                        await told
                    finally:
                        if told in self._followers:
                            self._followers.remove(told)

    # ---- inside ------------------------------------------------------------------------------------------

    def _said(self, message: str, lines: Sequence[LogLine]) -> _Text:
        if _WRONG_ARGUMENT.search(message):
            message = without_values(message)
        text = _Text(message[:_LONGEST_ERROR], lines[:LOG_LINES])
        self._texts.append(text)
        self._bytes += text.size
        while self._bytes > self._keep_bytes and len(self._texts) > 1:
            oldest = self._texts.popleft()
            self._bytes -= oldest.size
            oldest.message = oldest.message and "(forgotten: the log holds only so much)"
            oldest.lines = ()
        return text

    def _tell_soon(self) -> None:
        if self._told is None:
            self._told = asyncio.get_running_loop().call_later(_GATHER, self._tell)

    def _tell(self) -> None:
        self._told = None
        followers, self._followers = self._followers, []
        for told in followers:
            if not told.done():
                told.set_result(None)

    def _write(self, record: CallRecord) -> None:
        fields: dict[str, Any] = {
            "request_id": record.request_id,
            "path": record.path,
            "kind": record.kind,
            "ms": record.duration_ms,
            "caller": record.caller,
        }
        if record.code:
            fields |= {"code": record.code, "message": record.message}
        if record.lines:
            fields["lines"] = [f"[{line.level}] {line.text}" for line in record.lines]
        self.event("call", "error" if record.code else "info", **fields)


def _record(entry: _Entry) -> CallRecord:
    number, request_id, at, path, kind, duration, caller, code, text = entry
    return CallRecord(
        number,
        request_id,
        at,
        path,
        kind,
        round(duration * 1000, 3),
        _pseudonym(caller),
        code,
        text.message if text is not None else "",
        text.lines if text is not None else (),
    )


def _concerns(path: str, wanted: str) -> bool:
    """Whether a function is the one that is wanted, or in the module: ``chat:send``, ``chat.send``, ``chat``."""
    dotted, found = _dotted(wanted.removeprefix("api.").removeprefix("internal.")), _dotted(path)
    return found == dotted or found.startswith(f"{dotted}.")


def _dotted(name: str) -> str:
    return name.replace("/", ".").replace(":", ".")


_WRONG_ARGUMENT = re.compile(r"^ArgumentValidationError: ", re.MULTILINE)
_QUOTED = re.compile(r"""the (string|number|boolean) ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s;'"]+)""")


def without_values(message: str) -> str:
    r"""A message about a wrong argument without the argument, which belongs to whoever sent it.

    Examples
    --------
    >>> without_values("args.age: expected a number, got the string 'my \\'secret\\''; use float(x)")
    'args.age: expected a number, got a string; use float(x)'
    """
    return _QUOTED.sub(r"a \1", message)


def _pseudonym(label: str) -> str:
    if label in ("anonymous", "admin key", "the backend"):
        return label
    return "user " + hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:10]


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, list | tuple):
        return [_shorten(item) for item in value[:LOG_LINES]]
    return value
