"""Jobs: the documents of the reserved table ``_scheduled_functions``, with the fields and the spelling of Convex's.

``{name, args: [obj], scheduledTime, completedTime?, state: {kind}}``, where the kind goes from ``pending`` to ``success``
or ``failed`` (then ``state.error`` says why), for actions by way of ``inProgress``, or to ``canceled``. Functions
write them in their own transactions, so what a worker sends is looked at here once more: a worker adds jobs that are
pending, or canceled from the start, and cancels jobs, and does nothing else to them.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, Literal

from nbreactive.engine.catalog import CREATION_TIME, FIRST_DECLARED, SCHEDULED, index_id
from nbreactive.values.keys import encode_key
from nbreactive.values.limits import SCHEDULED_TEXT

StateKind = Literal["pending", "inProgress", "success", "failed", "canceled"]

BY_STATE: Final = index_id(SCHEDULED, FIRST_DECLARED)
"""Index by ``state.kind`` and ``scheduledTime``."""
BY_COMPLETED: Final = index_id(SCHEDULED, FIRST_DECLARED + 1)
"""Index by ``completedTime``."""
PENDING: Final = encode_key("pending")
"""What the keys of pending jobs start with in :data:`BY_STATE`; their time is next."""
IN_PROGRESS: Final = encode_key("inProgress")

_FIELDS: Final = frozenset({"name", "args", "scheduledTime", "completedTime", "state", CREATION_TIME})
_LONGEST_NAME: Final = 300


def job_document(
    name: str, args: dict[str, Any], at: float, created: float, *, canceled: bool = False
) -> dict[str, Any]:
    """Make the document of a new job that is due at ``at`` (ms)."""
    document: dict[str, Any] = {
        "name": name,
        "args": [args],
        "scheduledTime": float(at),
        "state": {"kind": "pending"},
        CREATION_TIME: created,
    }
    return finished(document, "canceled", created) if canceled else document


def finished(document: dict[str, Any], kind: StateKind, at: float, error: str | None = None) -> dict[str, Any]:
    """Return the document of a job that has come to its end."""
    state: dict[str, Any] = {"kind": kind}
    if error is not None:
        state["error"] = shortened(error)
    return document | {"state": state, "completedTime": float(at)}


def shortened(text: str) -> str:
    """Return the beginning of what may be long."""
    return text if len(text) <= SCHEDULED_TEXT else f"{text[: SCHEDULED_TEXT - 3]}..."


def is_pending(document: dict[str, Any]) -> bool:
    """Whether a job has not begun."""
    return document["state"]["kind"] == "pending"


def job_problem(document: Any, *, new: bool) -> str:
    """Return what is wrong with a job that a worker wants to add or to change, or an empty string."""
    if not isinstance(document, dict) or not document.keys() <= _FIELDS:  # pyright: ignore[reportUnknownMemberType]
        return "it has other fields"
    match document:
        case {
            "name": str(name),
            "args": [dict()],
            "scheduledTime": float(at),
            "state": {"kind": "pending" | "canceled" as kind, **more},
        } if not more and len(name) <= _LONGEST_NAME and isfinite(at):
            pass
        case _:
            return "its fields are not those of a job"
    if kind == "pending" and not new:
        return "a job that is there can only be canceled"
    completed: Any = document.get("completedTime")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if (kind == "canceled") != (isinstance(completed, float) and isfinite(completed)):
        return "it has no, or a wrong, completedTime"
    return ""
