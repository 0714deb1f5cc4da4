"""``%reactive logs``: the last calls of the deployment, and following them as they happen."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from nbreactive.client.client import Client
from nbreactive.errors import ArgumentError
from nbreactive.notebook.cells import safe_text

USAGE = "logs [--follow] [--function chat:send | --function chat] [--errors] [-n 50]"
OPTIONS = {"--follow": False, "--errors": False, "--function": True, "-n": True}
_WAIT = 20
"""Seconds of one long poll; an interrupt is heard at any time."""
_LONGEST = 2000


def show(client: Client, options: Mapping[str, str]) -> None:
    """Print the last calls; with ``--follow`` go on until the cell is interrupted."""
    last = options.get("-n", "50")
    if not last.isdigit():
        raise ArgumentError(f"-n takes a number of calls, not {last!r}. Usage: %reactive {USAGE}")
    wanted: dict[str, Any] = {"function": options.get("--function"), "errors": "--errors" in options}
    lines, after = recent(client, last=int(last), **wanted)
    if "--follow" not in options:
        print("\n".join(lines) or "no such calls yet")  # noqa: T201 (the output of a cell)
        return
    try:
        for line in itertools.chain(lines, following(client, after, **wanted)):
            print(line, flush=True)  # noqa: T201
    except KeyboardInterrupt:
        print("stopped following")  # noqa: T201


def recent(client: Client, *, function: str | None, errors: bool, last: int) -> tuple[list[str], int]:
    """The last calls as lines, and the number to go on from."""
    said = client.admin("GET", _asked(0, function, errors, last=last))
    return [line for call in said["calls"] for line in lines_of(call)], said["next"]


def following(client: Client, after: int, *, function: str | None, errors: bool) -> Iterator[str]:
    """Lines of calls as they end, for ever."""
    while True:
        said = client.admin("GET", _asked(after, function, errors, wait=_WAIT))
        after = said["next"]
        for call in said["calls"]:
            yield from lines_of(call)


def lines_of(call: dict[str, Any]) -> Iterator[str]:
    """One call: a line about it, then what it printed, then its error."""
    when = dt.datetime.fromtimestamp(call["at"], dt.UTC).astimezone()
    outcome = call.get("code") or "ok"
    path = call["path"].replace("/", ".").replace(":", ".")
    head = f"{when:%H:%M:%S} {call['kind']} {path} · {outcome} · {call['duration_ms']:.1f} ms"
    yield safe_text(f"{head} · {call.get('caller', '')} · {call['request_id']}", _LONGEST)
    for level, text in call.get("lines", ()):
        yield safe_text(f"    [{level}] {text}", _LONGEST)
    for line in call.get("message", "").splitlines():
        if not line.startswith("[Request ID: "):
            yield safe_text(f"    {line}", _LONGEST)


def _asked(after: int, function: str | None, errors: bool, **more: int) -> str:
    asked: dict[str, Any] = {"after": after, **more}
    if function:
        asked["function"] = function
    if errors:
        asked["errors"] = 1
    return f"logs?{urlencode(asked)}"
