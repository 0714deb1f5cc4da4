"""The status line: which deployment this is, where its data are, and who else sees them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbreactive.client.client import Client
from nbreactive.client.live_value import LiveValue
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.render import open_renderings
from nbreactive.notebook.table_widget import open_views

_SIGN_IN = "; client.set_auth(token) signs in, client.clear_auth() goes on as who the connection is"


def status_line(client: Client) -> str:
    """Return one line, e.g. ``deployment default on your server · data .nbreactive/ · shared with nobody``."""
    health = client.target.health
    name = health.get("deployment", "default") if isinstance(health, dict) else "default"
    parts = [
        f"deployment {name} on {client.target.label or client.target.base}",
        _data(client),
        _shared(client, health),
    ]
    return safe_text(" · ".join(part for part in parts if part), 1000)


def _data(client: Client) -> str:
    if not client.target.data:
        return ""
    folder = Path(client.target.data)
    try:
        shown = os.path.relpath(folder)
    except ValueError:  # another drive
        shown = str(folder)
    return f"data {str(folder) if shown.startswith('..') else shown}{os.sep}"


def _shared(client: Client, health: Any) -> str:
    shared = health.get("shared_with") if isinstance(health, dict) else None
    if isinstance(shared, list):
        return f"shared with {', '.join(str(who) for who in shared)}" if shared else "shared with nobody"
    if isinstance(shared, str) and shared:
        return f"shared with {shared}"
    if client.target.kind == "backend":
        return "shared with everyone who can reach it"
    if client.target.kind == "standalone":
        return "shared with whoever uses this folder"
    return "shared with nobody"


def report(client: Client) -> str:
    """Return everything ``%reactive status`` says."""
    state = client.connection.state
    lines = [
        status_line(client),
        f"connection: {state}{f' ({client.connection.problem})' if client.connection.problem else ''}",
    ]
    if client.connection.speaker:
        lines.append(f"calls: {client.connection.speaker}{_SIGN_IN if client.connection.session.nobody else ''}")
    try:
        said = client.admin("GET", "status")
    except NBReactiveError as failure:
        lines.append(f"backend: {type(failure).__name__}: {failure}")
    else:
        lines += backend_lines(said)
    lives = sorted(client.live_queries, key=lambda live: live.number)
    lines.append(f"live queries: {len(lives)}" + (f" ({len(client.subscriptions)} subscriptions)" if lives else ""))
    lines += [f"  {_asked(live)} · {live.state}" for live in lives]
    lines.append(f"views: {many(len(open_views()), 'table')}, {many(len(open_renderings()), 'drawing')}")
    return "\n".join(safe_text(line, 1000) for line in lines)


def _asked(live: LiveValue) -> str:
    """Return what a live query asks, as one would write it."""
    name = f"table {live.title}" if live.path.startswith("_system/") else live.path.replace("/", ".").replace(":", ".")
    args = live.args
    if args is None:
        return f"{name} (paused)"
    given = args if not live.path.startswith("_system/") else {}
    return name + (f"({', '.join(f'{key}={value!r}' for key, value in given.items())})" if given else "")


def many(count: int, what: str) -> str:
    """Count things in words: ``1 query``, ``2 queries``."""
    several = f"{what.removesuffix('y')}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {what if count == 1 else several}"


def backend_lines(said: Mapping[str, Any]) -> list[str]:
    """Return what a backend says of itself."""
    lines = [f"backend: version {said.get('version')}, mode {said.get('mode')}, up {said.get('uptime_s', 0):,.0f} s"]
    connections, queries = said.get("connections", 0), said.get("subscriptions", 0)
    lines.append(f"  {many(connections, 'connection')}, {many(queries, 'live query')} (everybody's)")
    if said.get("python"):
        lines.append(f"  functions run in {said['python']}")
    if said.get("functions_folder"):
        lines.append(f"  functions folder {said['functions_folder']}")
    lines += [
        f"  index {one['name']} of {one['table']} is being made anew: {one['documents']:,} of {one['total']:,} documents"
        for one in said.get("indexes_made_anew", ())
    ]
    problems = [*(said.get("folder_problems") or {}).values()]
    problems += [f"the log is not whole: {gap}; see `nbreactive doctor`" for gap in said.get("log_problems", ())]
    if said.get("problem"):
        problems.append(said["problem"].get("message", ""))
    return lines + [f"  problem: {problem}" for problem in problems]
