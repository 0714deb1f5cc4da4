"""``%reactive changes`` and ``%reactive undo``, and what ``nbreactive changes`` and ``undo`` show."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nbreactive.notebook.jobs import Ask

CHANGES = "changes [TABLE] [--since TIME] [--limit N]"
UNDO = "undo TIMESTAMP_OR_REQUEST [--force]"


def listed(ask: Ask, table: str | None, since: str | None, limit: int) -> list[dict[str, Any]]:
    """Return the last commits, newest first."""
    given = {"table": table, "since": since, "limit": limit}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    return ask(f"changes?{query}", None)["changes"]


def rows(changes: list[dict[str, Any]]) -> list[list[str]]:
    """Return a line of words for each commit."""
    lines = [
        [change["at"], change["ts"], change["function"] or "-", change["who"], counts_of(change)] for change in changes
    ]
    return lines or [["nothing was committed"]]


def counts_of(change: dict[str, Any]) -> str:
    """Say what a commit did: ``orders +2 ~1 -3`` (inserted, changed, deleted)."""
    said: list[str] = []
    for table, counts in change["tables"].items():
        marks = (("inserted", "+"), ("changed", "~"), ("deleted", "-"))
        said.append(" ".join([table, *(f"{mark}{counts[what]}" for what, mark in marks if counts[what])]))
    return ", ".join(said)


def undone(ask: Ask, commit: str, *, force: bool) -> dict[str, Any]:
    """Undo a commit; returns what was done."""
    return ask("undo", {"commit": commit, "force": force})


def sentence(done: dict[str, Any]) -> str:
    """Say what was undone."""
    by = f" by {done['who']}" if done["who"] else ""
    tables = ", ".join(f"{count} in {table}" for table, count in done["documents"].items())
    what = f"{done['function'] or 'a commit'} of {done['at']}{by}"
    return f"undone: {what} · documents: {tables} · to undo that: undo {done['ts']}"
