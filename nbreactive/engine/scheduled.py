"""Jobs: the documents of the reserved table ``_scheduled_functions``, with the fields and the spelling of Convex's.

``{name, args: [obj], scheduledTime, completedTime?, state: {kind}}``, where the kind goes from ``pending`` to ``success``
or ``failed`` (then ``state.error`` says why), for actions by way of ``inProgress``, or to ``canceled``. Functions
write them in their own transactions, so what a worker sends is looked at here once more: a worker adds jobs that are
pending, or canceled from the start, and cancels jobs, and does nothing else to them.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Final, Literal

import msgspec

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
_FIELDS: Final = {"due": "scheduledTime", "completed": "completedTime", "created": CREATION_TIME}


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["pending", "canceled"]


class _Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_FIELDS.get):
    name: Annotated[str, msgspec.Meta(max_length=300)]
    args: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=1)]
    due: float
    state: _State
    created: float
    completed: float | msgspec.UnsetType = msgspec.UNSET


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
    try:
        job = msgspec.convert(document, _Job)
    except msgspec.ValidationError as error:
        return str(error)
    kind, completed = job.state.kind, job.completed
    if kind == "pending" and not new:
        return "a job that is there can only be canceled"
    if (kind == "canceled") != (completed is not msgspec.UNSET):
        return "it has no, or a wrong, completedTime"
    if not isfinite(job.due) or (completed is not msgspec.UNSET and not isfinite(completed)):
        return "a time is infinite"
    return ""
