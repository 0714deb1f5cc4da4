"""``api.chat.send?``, ``??`` and Shift+Tab: what a function is, who deployed it when, and its source.

IPython asks these hooks what to show of a reference instead of what it would find out about the Python object.
"""

from __future__ import annotations

import ast
import concurrent.futures
import datetime as dt
import html
import inspect
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from nbreactive.client import connected, threads
from nbreactive.client.client import Client
from nbreactive.client.deployed import deployed
from nbreactive.client.mutations import BoundMutation
from nbreactive.errors import NBReactiveError
from nbreactive.functions.references import Reference, reference, signature_of
from nbreactive.notebook.cells import safe_text

PATIENCE: Final = 1.0
"""Seconds that the backend may take to say who has deployed a function, and its source."""
_LONGEST: Final = 100_000
Section = tuple[str, str]


class Inspection:
    """The hooks of one shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        # a dict of their own: hooks belong to this shell
        shell.inspector.mime_hooks = {**shell.inspector.mime_hooks, "text/plain": self._plain, "text/html": self._html}

    def remove(self) -> None:
        """Let IPython describe references as it does other objects."""
        mine = (self._plain, self._html)
        hooks = self._shell.inspector.mime_hooks
        self._shell.inspector.mime_hooks = {kind: hook for kind, hook in hooks.items() if hook not in mine}

    def _plain(self, data: Any) -> list[Section] | None:
        sections = sections_of(data.obj, source=bool(data.detail_level))
        if sections is None:
            return None
        colour = self._shell.inspector.format
        return [(title, colour(text) if title in _CODE else text) for title, text in sections]

    def _html(self, data: Any) -> list[Section] | None:
        from IPython.core.oinspect import pylight

        sections = sections_of(data.obj, source=bool(data.detail_level))
        if sections is None:
            return None
        return [
            (html.escape(title), pylight(text) if title in _CODE else f"<pre>{html.escape(text)}</pre>")
            for title, text in sections
        ]


_CODE: Final = frozenset({"Signature", "Source"})


def sections_of(value: Any, *, source: bool = False) -> list[Section] | None:
    """Return what is to be shown of a reference, or of what is made from one; None: it is something else.

    Parameters
    ----------
    value
        ``api.chat.send``, ``api.chat.send.live``, ``use_mutation(api.chat.send)``.
    source
        Whether the source is wanted, too.
    """
    value = value.__self__ if inspect.ismethod(value) else value
    ref = reference(value.path) if isinstance(value, BoundMutation) else value
    if not isinstance(ref, Reference):
        return None
    client = connected()
    if client is None:
        return [("Function", repr(ref)), ("Note", "not connected: %reactive connect, then it can be said what it is")]
    spec = deployed(client).get(ref.path) or client.describe(ref.path)
    if spec is None:
        inside = [name for name in dir(ref) if name not in ("aio", "live", "options", "path")]
        if inside:
            return [("Module", repr(ref)), ("Functions", ", ".join(inside))]
        return [("Function", repr(ref)), ("Note", "not deployed (as far as this connection may see)")]
    hidden = "internal " * (spec.get("visibility") == "internal")
    sections = [
        ("Signature", f"{ref!r}{signature_of(spec)}"),
        ("Type", f"{hidden}{spec['kind'].replace('_', ' ')}"),
        ("Docstring", _clean(spec.get("doc") or "") or "<no docstring>"),
    ]
    module = _module(client, ref.path.partition(":")[0])
    if module is not None:
        sections.append(("Deployed", _deployed(module)))
        text = function_source(module["source"], int(spec.get("line") or 0)) if source else ""
        sections += [("Source", _clean(text))] * bool(text)
    return [(title, text if title == "Source" else safe_lines(text)) for title, text in sections]


def safe_lines(text: str) -> str:
    """Return text that shows as what it is, line by line."""
    return "\n".join(safe_text(line, 2000) for line in text[:_LONGEST].split("\n"))


def _clean(text: str) -> str:
    return safe_lines(text.expandtabs(4))


def _module(client: Client, name: str) -> Mapping[str, Any] | None:
    """Return what is deployed as a module; None if this user may not see it, or the answer takes too long."""
    asked = client.target.fetch_json("GET", f"/api/admin/source?module={quote(name, safe='')}", within=PATIENCE)
    running = threads.loop_thread().submit(asked)
    try:
        return running.result(PATIENCE)
    except (NBReactiveError, concurrent.futures.TimeoutError):
        running.cancel()
        return None


def _deployed(module: Mapping[str, Any]) -> str:
    when = dt.datetime.fromtimestamp(module["time"] / 1000, dt.UTC).astimezone()
    origin = module.get("origin") or {}
    place = f" from {origin['label']}" if origin.get("label") else ""
    return f"{when:%Y-%m-%d %H:%M:%S} by {module['author']}{place} · version {module['version']} of this deployment"


def function_source(module: str, line: int) -> str:
    r"""Return the function, with its decorators, that a line of a module belongs to; else nothing.

    Examples
    --------
    >>> function_source("import x\n\n@query\ndef f(ctx):\n    return 1\n", 4)
    '@query\ndef f(ctx):\n    return 1'
    """
    try:
        tree = ast.parse(module)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= line <= (node.end_lineno or node.lineno):
                return "\n".join(module.splitlines()[first - 1 : node.end_lineno])
    return ""
