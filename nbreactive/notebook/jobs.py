"""``%reactive jobs``, and what ``nbreactive jobs`` shows: scheduled functions and cron jobs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlencode

from nbreactive.errors import ArgumentError

USAGE = "jobs [STATE] | jobs cancel ID | jobs run ID_OR_CRON"
STATES: Final = ("pending", "inProgress", "success", "failed", "canceled")
_ID: Final = re.compile(r"[0-9a-z]{31,37}")

Ask = Callable[[str, dict[str, Any] | None], Any]
"""Asks ``/api/admin/<address>`` and returns the answer."""


def jobs(ask: Ask, words: list[str]) -> list[list[str]]:
    """Do what ``%reactive jobs WORDS`` says; returns rows of words to show."""
    if not words or (len(words) == 1 and words[0] in STATES):
        return rows(*listed(ask, words[0] if words else None, 100))
    if words[0] == "cancel" and len(words) == 2:
        return [[canceled(ask, {"id": words[1]})]]
    if words[0] == "run" and len(words) == 2:
        return [[run_now(ask, words[1])]]
    raise ArgumentError(f"Usage: %reactive {USAGE}      (STATE: {', '.join(STATES)})")


def listed(ask: Ask, state: str | None, limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return jobs of one state, or those that have not ended and all cron jobs."""
    found: list[dict[str, Any]] = []
    for one in (state,) if state else ("inProgress", "pending"):
        found += ask(f"scheduled?{urlencode({'state': one, 'limit': limit - len(found)})}", None)["scheduled"]
        if len(found) >= limit:
            break
    return found, ask("crons", None)["crons"] if state is None else []


def rows(scheduled: list[dict[str, Any]], crons: list[dict[str, Any]]) -> list[list[str]]:
    """Return a line of words for each."""
    lines = [[_at(job["scheduledTime"]), _state(job["state"]), job["name"], job["_id"]] for job in scheduled]
    for cron in crons:
        last = cron["logs"][-1] if cron["logs"] else None
        ran = f"last run {_at(last['ts'])}: {_state(last['status'])}" if last else "has not run yet"
        lines.append([_at(cron["nextRun"]), "cron", cron["function"], f"{cron['name']} · {ran}"])
    return lines or [["nothing is scheduled"]]


def canceled(ask: Ask, what: dict[str, Any]) -> str:
    """Cancel one job or many, and say how many that were; of one job there is an error if it cannot be."""
    count = ask("scheduled/cancel", what)["canceled"]
    if "id" in what:
        if not count:
            raise ArgumentError(f"{what['id']} has ended before, or there is no such job; nothing was canceled")
        return f"canceled {what['id']}"
    return f"canceled {count} job{'s' * (count != 1)}"


def run_now(ask: Ask, name: str) -> str:
    """Make a job or a cron job due, and say so."""
    crons = [cron["name"] for cron in ask("crons", None)["crons"]]
    if name in crons:
        ask("scheduled/run", {"cron": name})
        return f"the cron job {name} runs now, besides its times"
    if _ID.fullmatch(name) and ask("scheduled/run", {"id": name})["due"]:
        return f"{name} runs now"
    near = get_close_matches(name, crons, 3)
    known = (
        f"did you mean the cron job {' or '.join(near)}?" if near else f"cron jobs are: {', '.join(crons) or 'none'}"
    )
    raise ArgumentError(f"{name} has begun before, or there is no such job; {known}")


def _at(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _state(state: dict[str, Any]) -> str:
    return f"{state['kind']}: {state['error']}" if "error" in state else state["kind"]
