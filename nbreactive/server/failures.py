"""What a caller is told when a function failed.

In development the whole text and the user's own frames; in production only texts that the system itself wrote, because
the text of an exception may hold data. What ``AppError`` carries was meant for the caller and always arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nbreactive.engine.transactions import Failure, LogLine

Mode = Literal["dev", "prod"]

_REDACTED = frozenset(("FunctionFailed", "ReturnsValidationError", "SchemaError", "InvalidValue", "Error"))
_PLAIN = frozenset(("Refused", "Overloaded", "ReadOnly", "Unavailable", "ProtocolError"))


def failure_text(failure: Failure, request_id: str, mode: Mode) -> str:
    """The ``errorMessage`` of a failed call, in the form that the official clients know."""
    if failure.message.startswith("[Request ID: ") or failure.code in _PLAIN:
        return failure.message
    head = f"[Request ID: {request_id}] Server Error"
    if mode == "prod" and failure.code in _REDACTED:
        return head
    name = "" if failure.code == "FunctionNotFound" else f"{failure.code}: "
    return f"{head}\n{name}{failure.message}\n"


def logged_text(failure: Failure) -> str:
    """What the log says of a failure: all of it, in production too."""
    return f"{failure.message}\n{failure.detail}" if failure.detail else failure.message


def log_texts(lines: Sequence[LogLine], mode: Mode) -> list[str]:
    """The ``logLines`` for a client; in production they stay on the server."""
    return [] if mode == "prod" else [f"[{line.level}] {line.text}" for line in lines]
