"""``TextEditor``: a text of a document that several people write at once.

Each page loads and saves as whoever looks at it, over its own connection to its Jupyter server; elsewhere the kernel does, for all
its pages. What others write is merged word by word in the page (``labextension/src/connection/text_sync.ts``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import traitlets

from nbreactive.client import files, threads
from nbreactive.client.arguments import path_of, plain_args
from nbreactive.client.live_value import LiveValue
from nbreactive.client.presence import People, Room
from nbreactive.errors import ArgumentError, NBReactiveError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.followers import Follower
from nbreactive.notebook.front_end import call_for_page, widget_base
from nbreactive.values._paths import with_article
from nbreactive.values.json import to_jsonable

if TYPE_CHECKING:
    from nbreactive.client.client import Client

_LONGEST_CURSOR = 2


@cache
def _widget_class() -> type[Any]:
    class TextEditorWidget(widget_base("text_editor")):
        load = traitlets.Unicode("").tag(sync=True)
        save = traitlets.Unicode("").tag(sync=True)
        history = traitlets.Unicode("").tag(sync=True)
        args = traitlets.Dict().tag(sync=True)
        options = traitlets.Dict().tag(sync=True)
        room = traitlets.Unicode("").tag(sync=True)
        place = traitlets.Dict().tag(sync=True)
        document = traitlets.Any({}, allow_none=True).tag(sync=True)
        people = traitlets.Dict().tag(sync=True)
        edits = traitlets.Any([], allow_none=True).tag(sync=True)
        value = traitlets.Unicode("")

    return TextEditorWidget


def TextEditor(  # noqa: N802 - a widget, made like one
    load: Any,
    save: Any,
    *,
    history: Any = None,
    args: Mapping[str, Any] | None = None,
    field: str = "content",
    version: str = "version",
    author: str = "author",
    room: str | None = None,
    label: str = "Text",
    rows: int = 14,
    **document: Any,
) -> Any:
    """Show an editor of a text that several people may write at once.

    Parameters
    ----------
    load
        A query that gives the document, with its text and a version, which is a number.
    save
        A mutation that takes the text and the version that was changed. It raises ``AppError({"code": "CONFLICT"})`` if
        another one is stored; else it stores the text and the next version.
    history
        A query that lists earlier versions, newest first: documents with the text, and maybe version, author and time.
    args, document
        Which document: arguments of all three functions, as keywords, or as a dict where a name is one of the names here.
    field, version, author
        What the text, the version and the author are called, in documents and among the arguments of ``save``.
    room
        In which room people see each other's carets; ``""`` is none, and the document has one of its own if it is not given.
    label
        What the text is called.
    rows
        How high the editor is, in lines.

    Returns
    -------
    widget
        Its ``value`` is the text that is stored.

    Examples
    --------
    >>> nbreactive.TextEditor(api.docs.get, api.docs.update, history=api.docs.history, id=doc)       # doctest: +SKIP
    """
    from nbreactive.client import current

    client = current()
    given = plain_args({**(args or {}), **document})
    paths = {
        name: "" if ref is None else path_of(ref)
        for name, ref in (("load", load), ("save", save), ("history", history))
    }
    _check(client, paths, [*given], [field, version])
    live = client.live(paths["load"], given)
    _check_document(paths["load"], live.value, field, version)
    widget = _widget_class()(
        **paths,
        args=to_jsonable(given),
        room=f"{paths['load']} {json.dumps(to_jsonable(given), sort_keys=True)}"[:200] if room is None else room,
        place=files.place_of(client.target),
        options={"label": safe_text(label), "rows": rows, "field": field, "version": version, "author": author},
    )
    kernel = _Kernel(widget, client, paths, given, field)
    widget.follower = Follower(widget, live, kernel.paint, kernel.heard)
    widget.on_close = kernel.close
    return widget


def _check(client: Client, paths: Mapping[str, str], given: list[str], saved: list[str]) -> None:
    """Raise if the functions are not what they have to be."""
    for name, path in paths.items():
        if not path:
            continue
        described = client.function(path)
        wanted = "mutation" if name == "save" else "query"
        if described["kind"] != wanted:
            raise ArgumentError(f"{path} is {with_article(described['kind'])}, and {name}= takes a {wanted}")
        fields = described["args"].get("value")
        missing = [
            each
            for each in [*given, *(saved if name == "save" else [])]
            if isinstance(fields, dict) and each not in fields
        ]
        if missing:
            raise ArgumentError(
                f"{path} takes {', '.join(fields) or 'no arguments'}, but not {', '.join(missing)}"
                + ("; field= and version= say what they are called" if name == "save" else "")
            )


def _check_document(path: str, value: Any, field: str, version: str) -> None:
    if not isinstance(value, dict):
        raise ArgumentError(
            f"{path} has to give a document, and gave {'nothing' if value is None else type(value).__name__}"
        )
    if not isinstance(value.get(field, ""), str) or not isinstance(value.get(version, 0), int | float):
        raise ArgumentError(f"{path} has to give a text {field!r} and a number {version!r}")


class _Kernel:
    """What the kernel does for pages that have no way to the backend, and keeps for all."""

    def __init__(self, widget: Any, client: Client, paths: Mapping[str, str], args: dict[str, Any], field: str) -> None:
        self._widget = widget
        self._client = client
        self._paths = paths
        self._args = args
        self._field = field
        self._relayed = 0
        self._value: Any = None
        self._room: Room | None = None
        self._people: People | None = None
        self._edits: LiveValue | None = None

    def paint(self, live: LiveValue) -> None:
        """The document is another one."""
        value: Any = live.value
        self._value = value
        text = value.get(self._field) if isinstance(value, dict) else None
        self._widget.value = text if isinstance(text, str) else ""
        if self._relayed:
            self._widget.document = to_jsonable(value)

    def heard(self, _live: LiveValue, content: dict[str, Any]) -> None:
        """Take a message of a page (any thread)."""
        threads.callbacks().post(object(), lambda: self._take(content))

    def close(self) -> None:
        """End everything."""
        for ending in (self._people, self._edits):
            if ending is not None:
                ending.close()
        if self._room is not None:
            self._room.leave()
        self._room = self._people = self._edits = None

    def _take(self, content: dict[str, Any]) -> None:
        match content:
            case {"type": "call", "id": str(id), "args": dict(args)}:
                call_for_page(self._widget, self._client, self._paths["save"], args, id)
            case {"type": "relay", "open": bool(opened)}:
                self._relay(opened)
            case {"type": "cursor", "at": [int(start), int(end)]}:
                if self._room is not None and not self._room.left:
                    self._room.update({"at": [start, end]})
            case {"type": "history", "open": bool(opened)} if self._paths["history"]:
                self._show_history(opened)
            case _:
                pass

    def _relay(self, opened: bool) -> None:
        self._relayed = max(0, self._relayed + (1 if opened else -1))
        if not self._relayed:
            self.close()
            return
        self._widget.document = to_jsonable(self._value)
        if self._widget.room and self._people is None:
            self._people = people = People.open(self._client, self._widget.room, wait=False)
            people.watch(self._people_changed)
            self._room = room = Room(self._client, self._widget.room)
            threading.Thread(target=self._enter, args=(room,), daemon=True, name="nbreactive-enter").start()

    def _enter(self, room: Room) -> None:
        """Join, on a thread of its own: it waits for the backend."""
        try:
            room.enter()
        except NBReactiveError:
            return  # the text can be written all the same
        threads.callbacks().post(("editor people", id(self)), self._people_changed)

    def _people_changed(self) -> None:
        people, room = self._people, self._room
        if people is not None:
            mine = room.session if room is not None else ""
            self._widget.people = {"list": to_jsonable(people.value or []), "mine": mine}

    def _show_history(self, opened: bool) -> None:
        edits, self._edits = self._edits, None
        if edits is not None:
            edits.close()
        if opened:
            self._edits = shown = self._client.live(self._paths["history"], self._args, {"wait": False})

            def changed() -> None:
                self._widget.edits = to_jsonable(shown.value)

            shown.watch(changed)
            changed()
