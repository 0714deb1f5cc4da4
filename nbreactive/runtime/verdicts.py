"""What the backend says about calls whose worker did not, or said what no honest worker says."""

from __future__ import annotations

from math import ceil
from typing import Final

import msgspec

from nbreactive.engine.catalog import FIRST_USER_TABLE, SCHEDULED, STORAGE, TABLES
from nbreactive.engine.transactions import Call, Failure, Outcome
from nbreactive.errors import FunctionCrashed, FunctionTimeout, NBReactiveError, Unavailable
from nbreactive.runtime import timing
from nbreactive.runtime.breaker import KILLS, WINDOW_SECONDS
from nbreactive.values.limits import DOCUMENT_SIZE, RESULT_SIZE, SCHEDULED_ARGS, STORED_BYTES

_SOON: Final = 500
"""Milliseconds after which a live query is run again that was ended for no fault of its own."""
_skim: Final = msgspec.json.Decoder(msgspec.Raw).decode


def problem_of(outcome: Outcome) -> str:
    """What is wrong with an outcome that decodes; honest workers have none of it."""
    if len(outcome.value) > 4 * RESULT_SIZE:
        return "a result that is too long"
    if not _is_json(outcome.value) or (
        outcome.failure is not None and outcome.failure.data is not None and not _is_json(outcome.failure.data)
    ):
        return "a result that is not JSON"
    if outcome.writes and (outcome.kind != "mutation" or outcome.failure is not None):
        return "writes of a call that cannot write"
    if outcome.files:
        if outcome.kind != "mutation" or outcome.failure is not None:
            return "files of a call that cannot store any"
        if sum(len(file.data) for file in outcome.files) > STORED_BYTES:
            return "files that are too large"
    for write in outcome.writes:
        if len(write.id) != 16 or write.previous < 0:
            return "a write to no document of users"
        if write.table < FIRST_USER_TABLE and write.table not in (TABLES, SCHEDULED, STORAGE):
            return "a write to no document of users"
        largest = DOCUMENT_SIZE if write.table != SCHEDULED else SCHEDULED_ARGS
        if write.doc is not None and len(write.doc) > 2 * largest:
            return "a document that is too long"
    return ""


def _is_json(data: bytes) -> bool:
    """Whether ``data`` can be put into messages as it is: 0.3 us for 200 bytes, 1 ms for a megabyte."""
    try:
        _skim(data)
        return data.isascii() or bool(data.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def timed_out(call: Call, seconds: float, *, importing: bool) -> Outcome:
    """The outcome of a call that was over its time."""
    if importing:
        how = f"took more than {seconds:g} s besides {timing.IMPORT_SECONDS:g} s of importing modules, and was stopped"
        fix = "Import at the top of the module what the function needs"
    else:
        how = f"took more than {seconds:g} s and was stopped"
        fix = (
            "Read less (an index range, take(n)), or do the long part outside of queries and mutations and store its"
            " result"
        )
    return failed(FunctionTimeout(f"{call.path} {how}; it has written nothing. {fix}"), call, seconds=seconds)


def crashed(call: Call, how: str) -> Outcome:
    """The outcome of a call whose worker is gone; ``how`` completes a sentence about the function."""
    return failed(FunctionCrashed(f"{call.path} {how}; it has written nothing"), call)


def lost(call: Call) -> Outcome:
    """The outcome of a call whose worker went with the process that all workers are forked from."""
    error = Unavailable(f"the function workers were ended while {call.path} ran; it has written nothing. Call it again")
    return failed(error, call, every=_SOON)


def paused(call: Call, remaining: float) -> Outcome:
    """The outcome of a call of a function that was killed too often; a live query asks again when it may run."""
    error = Unavailable(
        f"{call.path} was stopped {KILLS} times within {WINDOW_SECONDS:g} s (out of time or memory, or crashed), so it is"
        f" not run for now; it will be tried again in {ceil(remaining)} s. Deploying a repaired version ends the pause at"
        " once; the log has the earlier errors"
    )
    return failed(error, call, every=ceil(remaining * 1000))


def failed(error: NBReactiveError, call: Call, *, every: int = 0, seconds: float = 0.0) -> Outcome:
    """Put an error of ours into the form in which callers get all errors; ``seconds`` is how long the call took."""
    message = f"[Request ID: {call.request_id}] Server Error\n{error.message}"
    return Outcome(
        failure=Failure(error.code, message), kind=call.kind or "query", every=every, duration_us=int(seconds * 1e6)
    )
