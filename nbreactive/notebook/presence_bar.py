"""Avatars of who is in a room: ``nbreactive.PresenceBar("report")``.

The page that shows it joins as whoever looks at it, over a connection of its own to its Jupyter server (see
``labextension/src/connection/joining.ts``). Where it cannot (a backend without a Jupyter server, another front end), the kernel is
in the room as long as any page shows the bar. Nothing of who is there is saved with the notebook.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anywidget
import traitlets

from nbreactive.client import threads
from nbreactive.client.arguments import plain_args
from nbreactive.client.presence import People, Room, client_of
from nbreactive.errors import ArgumentError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.lifecycle import cells
from nbreactive.notebook.table_widget import STATIC, FrontEndMissingError, message_of
from nbreactive.values.json import to_jsonable

if TYPE_CHECKING:
    from nbreactive.client.client import Client

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_SENT = 1000
"""People at most that a page is sent."""


@cache
def _widget_class(static: Path) -> type[Any]:
    """Make the widget's class, at the first display."""
    script, style = static / "presence.js", static / "presence.css"
    if not script.is_file():
        raise FrontEndMissingError(
            f"The front end of presence is missing: {script} does not exist. In a checkout run `./dev build`; "
            "an installed package should contain it: reinstall nbreactive."
        )

    class Avatars(anywidget.AnyWidget):
        # texts, not paths: anywidget watches files, and what watches a file is never collected
        _esm = traitlets.Unicode(script.read_text(encoding="utf-8")).tag(sync=True)
        _css = traitlets.Unicode(style.read_text(encoding="utf-8") if style.is_file() else "").tag(sync=True)
        people = traitlets.List([]).tag(sync=True)
        room = traitlets.Unicode("").tag(sync=True)
        status = traitlets.Unicode("loading").tag(sync=True)
        message = traitlets.Unicode("").tag(sync=True)
        most = traitlets.Int(5).tag(sync=True)
        joins = traitlets.Bool(True).tag(sync=True)
        collaborators = traitlets.Bool(True).tag(sync=True)
        data = traitlets.Any(None, allow_none=True).tag(sync=True)
        sync = traitlets.Unicode("").tag(sync=True)

    return Avatars


class PresenceBar:
    """A row of avatars: who is in a room, now; displaying it joins as whoever looks.

    Parameters
    ----------
    room
        Its name.
    data
        What others see of those who look, besides name and colour.
    most
        How many avatars are shown; of the others there is the number.
    join
        False only looks.
    collaborators
        Whether those are shown, too, who have this notebook open, where jupyter-collaboration shares it.
    deployment
        The name of another deployment, or the client to go through.

    Examples
    --------
    >>> nbreactive.PresenceBar("report")       # doctest: +SKIP
    """

    def __init__(
        self,
        room: str,
        data: Any = None,
        *,
        most: int = 5,
        join: bool = True,
        collaborators: bool = True,
        deployment: str | Client | None = None,
    ) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ArgumentError(f"most is a number of avatars from 1 on, not {most!r:.40}")
        self.room = room
        self.data = plain_args({"data": data})["data"]
        self.most = most
        self.joins = join
        self.collaborators = collaborators
        self.client = client_of(deployment)
        self.people = People.open(self.client, room, wait=False)

    def __repr__(self) -> str:
        return f"<PresenceBar {safe_text(self.room)!r}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from nbreactive.notebook.display import _in_kernel  # pyright: ignore[reportPrivateUsage]

        if not _in_kernel():
            return {"text/plain": self.text()}, {}
        view = BarView(self)
        shown = {"version_major": 2, "version_minor": 1, "model_id": view.widget.model_id}
        return {"text/plain": repr(self), WIDGET_MIME: shown}, {}

    def _display_(self) -> Any:  # marimo asks so
        return BarView(self).widget

    def text(self) -> str:
        """Who is there, in a line: for terminals, which show no avatars."""
        self.people.wait()
        names = [str(person["name"]) for person in self.people.value or []]
        more = [f"and {len(names) - self.most} more"] * (len(names) > self.most)
        return safe_text(f"{self.room}: {', '.join([*names[: self.most], *more]) or 'nobody'}", 2000)


class BarView:
    """One display of a bar."""

    def __init__(self, bar: PresenceBar) -> None:
        self._bar = bar
        self._room: Room | None = None
        self._closed = False
        self._lock = threading.Lock()
        self.widget: Any = _widget_class(STATIC)(
            room=safe_text(bar.room),
            most=bar.most,
            joins=bar.joins,
            collaborators=bar.collaborators,
            data=to_jsonable(bar.data),
            sync=sync_path(bar.client),
            **self._state(),
        )
        self.widget.on_msg(self._heard)
        bar.people.watch(self._changed)
        self._changed()  # what has changed before it was watched
        self._forget = cells.own(self.close)

    def close(self) -> None:
        """End the view: its cell runs again."""
        if self._closed:
            return
        self._closed = True
        self._bar.people.unwatch(self._changed)
        self._forget()
        self._relay(False)
        with self._lock:
            self.widget.close()

    def _state(self) -> dict[str, Any]:
        people = self._bar.people
        shown: list[dict[str, Any]] = [
            {
                "user": person["user"],
                "name": safe_text(person["name"]),
                "initials": safe_text(person["initials"]),
                "color": person["color"],
                "guest": person["guest"],
                "sessions": len(person["sessions"]),
            }
            for person in (people.value or [])[:_SENT]
        ]
        return {"people": shown, "status": people.state, "message": safe_text(message_of(people), 500)}

    def _changed(self) -> None:
        """Somebody has come, or gone (nbreactive thread)."""
        if self._closed:
            return
        with self._lock, self.widget.hold_sync():
            for name, value in self._state().items():
                setattr(self.widget, name, value)

    def _heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """The page says whether the kernel is to be in the room for it; any thread, so it only takes notes."""
        if isinstance(content, dict) and content.get("type") == "views" and self._bar.joins and not self._closed:
            relay = content.get("relay") is True
            threads.callbacks().post(("presence", id(self)), lambda: self._relay(relay))

    def _relay(self, wanted: bool) -> None:
        room = self._room
        if wanted and room is None:
            self._room = Room(self._bar.client, self._bar.room, self._bar.data)
            self._room.enter_soon()
        elif not wanted and room is not None:
            self._room = None
            room.leave()


def sync_path(client: Client) -> str:
    """Where a page of this kernel's Jupyter server finds the backend, below the server's base; empty if it does not."""
    target = client.target
    if target.kind != "jupyter" or not target.data:  # its folder is known of the own server only
        return ""
    name = quote(target.health.get("deployment", "default"), safe="")
    return f"nbreactive/{name}/api/sync"
