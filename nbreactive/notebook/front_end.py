"""What widgets with a front end of their own share: their classes, and calls on behalf of a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from nbreactive.client import threads
from nbreactive.errors import AppError, NBReactiveError
from nbreactive.notebook.table_widget import STATIC, FrontEndMissingError
from nbreactive.values.json import from_jsonable, to_jsonable

if TYPE_CHECKING:
    from nbreactive.client.client import Client


def widget_base(name: str) -> type[Any]:
    """Return the class that a widget derives from: it has the script and the style of its front end.

    Parameters
    ----------
    name
        Of the files, e.g. ``"live_form"``.
    """
    return _base(STATIC, name)


@cache
def _base(static: Path, name: str) -> type[Any]:
    script, style = static / f"{name}.js", static / f"{name}.css"
    if not script.is_file():
        raise FrontEndMissingError(
            f"The front end of this widget is missing: {script} does not exist. In a checkout run `./dev build`; "
            "an installed package should contain it: reinstall nbreactive."
        )

    class FrontEnd(anywidget.AnyWidget):
        # texts, not paths: anywidget watches files, and what watches a file is never collected
        _esm = traitlets.Unicode(script.read_text(encoding="utf-8")).tag(sync=True)
        _css = traitlets.Unicode(style.read_text(encoding="utf-8") if style.is_file() else "").tag(sync=True)
        follower: Any = None
        """Keeps it up to date."""
        on_close: Any = None
        """Called when it ends."""

        def close(self) -> None:
            """End it."""
            follower, self.follower = self.follower, None
            on_close, self.on_close = self.on_close, None
            if follower is not None:
                follower.close()
            if on_close is not None:
                on_close()
            super().close()

    return FrontEnd


def call_for_page(
    widget: Any, client: Client, path: str, args: dict[str, Any], id: str, done: Callable[[Any], object] | None = None
) -> None:
    """Call a function for a page that has no way to the backend, and answer it; returns at once.

    Parameters
    ----------
    args
        Arguments as they are on the wire.
    id
        By which the page knows its question.
    done
        Called with the result, on the nbreactive thread.
    """

    def ended(running: Any) -> None:
        failure = running.exception()
        outcome = None if failure is not None else running.result()
        error: Any = failure if outcome is None else outcome.error
        if outcome is not None and outcome.logs:
            client.on_logs(path, outcome.logs)
        if error is not None:
            widget.send({"type": "answer", "id": id, **_told(error)})
            return
        value: Any = outcome.value if outcome is not None else None
        widget.send({"type": "answer", "id": id, "value": to_jsonable(value)})
        if done is not None:
            done(value)

    try:
        given = from_jsonable(args)
    except NBReactiveError as failure:
        widget.send({"type": "answer", "id": id, **_told(failure)})
        return
    running = threads.loop_thread().submit(client.run(path, given))
    running.add_done_callback(lambda ended_: threads.callbacks().post(object(), lambda: ended(ended_)))


def _told(error: BaseException) -> dict[str, Any]:
    """Return what a page is told of an error, in the words that it would have heard itself."""
    if isinstance(error, AppError):
        data = to_jsonable(error.data)
        said = data.get("message") if isinstance(data, dict) else data
        return {"error": said if isinstance(said, str) else json.dumps(data), "data": data}
    if isinstance(error, NBReactiveError):
        return {"error": f"{error.code}: {error}"}
    return {"error": f"{type(error).__name__}: {error}"}
