"""What a function prints or logs: bounded lines that travel with the outcome.

``sys.stdout`` and ``sys.stderr`` of a worker are a :class:`Capture`, which writes into the log of the running
call. At most 256 lines of 4 KiB are kept; the rest is counted, never stored, so a function that prints a gigabyte
costs no memory and its caller learns how much is missing.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import sys
from collections.abc import Generator
from typing import Any, Final, Literal

from nbreactive.engine.transactions import LogLine
from nbreactive.errors import NotAllowed
from nbreactive.values.limits import LOG_LINE, LOG_LINES

MAX_LINES: Final = LOG_LINES
MAX_LINE_BYTES: Final = LOG_LINE
ENDED: Final = (
    "this ctx belongs to a call that has ended, so nothing can be read, written or logged with it any more; use the ctx"
    " that the running function was given, and keep no ctx, ctx.db, ctx.log or unread query in a global"
)

Level = Literal["DEBUG", "LOG", "INFO", "WARN", "ERROR"]


class CallLog:
    """The lines of one call."""

    __slots__ = ("_dropped", "_partial", "closed", "lines")

    def __init__(self) -> None:
        self.closed = False
        self.lines: list[LogLine] = []
        self._partial: dict[Level, str] = {}
        self._dropped = 0

    def add(self, level: Level, text: str) -> None:
        """Add one line (or several, where ``text`` has line breaks)."""
        for line in text.split("\n") if "\n" in text else (text,):
            if len(self.lines) >= MAX_LINES - 1:
                self._dropped += 1
            else:
                self.lines.append(LogLine(level, _cut(line)))

    def write(self, level: Level, text: str) -> None:
        """Take what a stream was given; a line is added when its line break comes."""
        if len(self.lines) >= MAX_LINES - 1:
            if "\n" in text:  # finding none is ten times as quick as counting none
                self._dropped += text.count("\n")
            return
        whole = self._partial.pop(level, "") + text
        end = whole.rfind("\n")
        if end >= 0:
            self.add(level, whole[:end])
        rest = whole[end + 1 :]
        if rest:
            # More than a line can show is cut here already, so that writing without line breaks is bounded, too.
            self._partial[level] = rest[: MAX_LINE_BYTES + 1]

    def close(self) -> list[LogLine]:
        """All lines, with the unfinished ones, and a last one that says how many were dropped."""
        self.closed = True
        for level, text in self._partial.items():
            self.add(level, text)
        self._partial.clear()
        if self._dropped:
            self.lines.append(LogLine("WARN", f"... {self._dropped} more lines were dropped; a call keeps {MAX_LINES}"))
            self._dropped = 0
        return self.lines


def _cut(line: str) -> str:
    if len(line) <= MAX_LINE_BYTES // 4:
        return line
    data = line[: MAX_LINE_BYTES + 1].encode("utf-8", "replace")
    if len(data) <= MAX_LINE_BYTES:
        return line
    return data[: MAX_LINE_BYTES - 3].decode("utf-8", "ignore") + "..."


class Logger:
    """``ctx.log``: call it, or one of its levels, like :func:`print`.

    Examples
    --------
    >>> log = CallLog()
    >>> Logger(log)("sent", 3)
    >>> Logger(log).warn("slow")
    >>> [(line.level, line.text) for line in log.close()]
    [('LOG', 'sent 3'), ('WARN', 'slow')]
    """

    __slots__ = ("_log",)

    def __init__(self, log: CallLog) -> None:
        self._log = log

    def _add(self, level: Level, values: tuple[Any, ...]) -> None:
        if self._log.closed:
            raise NotAllowed(ENDED)
        self._log.add(level, _text(values))

    def __call__(self, *values: Any) -> None:
        """Log at level LOG."""
        self._add("LOG", values)

    def debug(self, *values: Any) -> None:
        """Log at level DEBUG."""
        self._add("DEBUG", values)

    def info(self, *values: Any) -> None:
        """Log at level INFO."""
        self._add("INFO", values)

    def warn(self, *values: Any) -> None:
        """Log at level WARN."""
        self._add("WARN", values)

    warning = warn

    def error(self, *values: Any) -> None:
        """Log at level ERROR."""
        self._add("ERROR", values)


def _text(values: tuple[Any, ...]) -> str:
    return " ".join(value if isinstance(value, str) else str(value) for value in values)


class Capture(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr`` while a call runs."""

    def __init__(self, level: Level, log: CallLog) -> None:
        self._level: Level = level
        self._log = log

    def write(self, text: str, /) -> int:
        """Write into the log of the call."""
        self._log.write(self._level, text)
        return len(text)

    def writable(self) -> bool:
        """Yes."""
        return True


@contextlib.contextmanager
def captured(log: CallLog) -> Generator[None]:
    """Send ``print``, and exceptions that Python can only report (a raising ``__del__``), to ``log`` meanwhile."""
    out, err, unraisable = sys.stdout, sys.stderr, sys.unraisablehook

    def ignored(args: Any) -> None:
        name = getattr(args.exc_type, "__name__", "Exception")
        log.add(
            "WARN", f"{args.err_msg or 'Exception ignored in'} {_safe(args.object)}: {name}: {_safe(args.exc_value)}"
        )

    sys.stdout, sys.stderr, sys.unraisablehook = Capture("LOG", log), Capture("ERROR", log), ignored
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.unraisablehook = out, err, unraisable


_log: Final[contextvars.ContextVar[CallLog | None]] = contextvars.ContextVar("log", default=None)


def route_output(log: CallLog) -> None:
    """From here on, what this context prints (and threads and tasks that inherit it) goes to ``log``.

    Where many calls run at once ``sys.stdout`` cannot be any one's.
    """
    _log.set(log)
    if not isinstance(sys.stdout, _Router):
        sys.stdout, sys.stderr = _Router("LOG"), _Router("ERROR")


class _Router(io.TextIOBase):
    """Writes into the log of the context that prints; without one, nowhere."""

    def __init__(self, level: Level) -> None:
        self._level: Level = level

    def write(self, text: str, /) -> int:
        log = _log.get()
        if log is not None and not log.closed:
            log.write(self._level, text)
        return len(text)

    def writable(self) -> bool:
        return True


def _safe(value: Any) -> str:
    try:
        return str(value)
    except BaseException:  # noqa: BLE001 - it is user code
        return f"<{type(value).__name__}>"
