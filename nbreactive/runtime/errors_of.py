"""From an exception to what the caller is told.

In development the caller sees the error and the user's own frames; in production only ``[Request ID: ...] Server
Error``, with the data of an :class:`~nbreactive.errors.AppError`, since messages can hold anything (case 30 of the
attack list). The request id leads to the full text in the log. The texts have Convex's form, which its clients print.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from nbreactive.engine.transactions import Failure
from nbreactive.errors import (
    AppError,
    ArgumentError,
    BadRequest,
    FunctionCrashed,
    FunctionNotFound,
    FunctionOutOfMemory,
    FunctionTimeout,
    NBReactiveError,
    ReturnsError,
    RuleRefused,
)
from nbreactive.runtime.loader import FILE_PREFIX
from nbreactive.values.checks import check_value
from nbreactive.values.json import encode_json

_MAX_TEXT: Final = 16_384
_MAX_FRAMES: Final = 20
_HEAD: Final = re.compile(r"\[Request ID: [^\]\n]*\] Server Error\n")
"""What the failure of a function begins with; that of one which ran it has a head of its own."""
_SAID_IN_PRODUCTION: Final = (
    BadRequest,
    FunctionNotFound,
    FunctionTimeout,
    FunctionCrashed,
    FunctionOutOfMemory,
    RuleRefused,
)


def failure_of(error: BaseException, request_id: str, *, production: bool) -> Failure:
    """Describe what a function raised."""
    if isinstance(error, MemoryError):
        error = FunctionOutOfMemory(
            "the function asked for more memory than a worker may have; it has written nothing."
            " Read less at once (take(n), an index range), or do the work in the notebook"
        ).with_traceback(error.__traceback__)
    data: bytes | None = None
    if isinstance(error, AppError):
        try:
            data = encode_json(check_value(error.data, "AppError.data", datetimes=True))
        except NBReactiveError as invalid:
            error = invalid.with_traceback(error.__traceback__)
    code = error.code if isinstance(error, NBReactiveError) else "FunctionFailed"
    head = f"[Request ID: {request_id}] Server Error"
    frames = list(user_frames(error.__traceback__))
    where = "".join(
        f"\n    at {frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[: -_MAX_FRAMES - 1 : -1]
    )
    text = text_of(error)
    if isinstance(error, _SAID_IN_PRODUCTION):
        if production:
            return Failure(code, f"{head}\n{text}", data)
        return Failure(code, f"{head}\n{text}{where}", data, trace_of(error))
    name = _named(error)
    said = text if text.startswith((f"{name}: ", "Uncaught ")) and _of_another(error) else _joined(name, text)
    if isinstance(error, (ArgumentError, ReturnsError)):
        said += f"\nPath: {error.where.removeprefix('args').removeprefix('returns') or '.'}" if error.where else ""
    elif not _of_another(error) or not said.startswith("Uncaught "):
        said = f"Uncaught {said}"
    if production:
        return Failure(code if data is not None else "FunctionFailed", head, data, detail=f"{said}{where}")
    return Failure(code, f"{head}\n{said}{where}\n", data, trace_of(error))


def text_of(error: BaseException) -> str:
    """The error's own text; whatever its ``__str__`` does. Of a function's that this one ran: without its head."""
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001 - it is user code
        return f"<its text cannot be shown: {type(second).__name__}>"
    if isinstance(error, NBReactiveError) and (found := _HEAD.match(text)):
        text = text[found.end() :].rstrip("\n")
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}... ({len(text)} characters)"


def trace_of(error: BaseException) -> str:
    """A traceback like Python's, of the user's own frames only."""
    frames = list(user_frames(error.__traceback__))
    if not frames:
        return ""
    lines = ["Traceback (most recent call last):\n"]
    if len(frames) > _MAX_FRAMES:
        half = _MAX_FRAMES // 2
        lines += traceback.format_list(frames[:half])
        lines.append(f"  ... {len(frames) - 2 * half} more frames ...\n")
        lines += traceback.format_list(frames[-half:])
    else:
        lines += traceback.format_list(frames)
    name, text = _named(error), text_of(error)
    lines.append(f"{text if text.startswith(f'{name}: ') and _of_another(error) else _joined(name, text)}\n")
    return "".join(lines)


def _of_another(error: BaseException) -> bool:
    """Whether it is the failure of a function that the failing one ran, and says already what it is."""
    return isinstance(error, NBReactiveError) and _HEAD.match(error.message) is not None


def _joined(name: str, text: str) -> str:
    return f"{name}: {text}" if text else name


def user_frames(tb: TracebackType | None) -> Iterator[traceback.FrameSummary]:
    """The frames of modules of server functions, outermost first."""
    while tb is not None:
        code = tb.tb_frame.f_code
        if code.co_filename.startswith(FILE_PREFIX):
            line = linecache.getline(code.co_filename, tb.tb_lineno)
            yield traceback.FrameSummary(
                code.co_filename, tb.tb_lineno, code.co_name, lookup_line=False, line=line.strip()
            )
        tb = tb.tb_next


def _named(error: BaseException) -> str:
    if isinstance(error, (ArgumentError, ReturnsError)):
        return error.code
    kind: Any = type(error)
    module = getattr(kind, "__module__", "")
    if module == "builtins" or module.startswith(("nbreactive.", "reactive")):
        return str(kind.__name__)
    return f"{module}.{kind.__qualname__}"
