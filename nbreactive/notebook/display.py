"""How a live query shows itself: one bundle for every front end.

JupyterLab and Notebook 7 mount the live MIME type, other front ends the widget; what shows saved notebooks without a
kernel (nbconvert, GitHub) has the HTML snapshot. Where no page has shown the view (nbconvert and papermill run notebooks
without one) the snapshot is made anew after each cell that has changed it, so that what is saved is as of the end.
"""

from __future__ import annotations

import html
import time
import uuid
from typing import TYPE_CHECKING, Any

from nbreactive.client.live_frame import LiveFrame
from nbreactive.client.live_value import LiveValue
from nbreactive.client.paginated import PaginatedQuery
from nbreactive.errors import NBReactiveError
from nbreactive.notebook.cells import args_text, cell_text, safe_text, table_of
from nbreactive.notebook.field_kinds import declared_kinds
from nbreactive.notebook.frame_table import frame_of, params_text, text_table
from nbreactive.notebook.lifecycle import after_cell
from nbreactive.notebook.settings import settings
from nbreactive.notebook.table_widget import TableView, badge_of, message_of, open_views

if TYPE_CHECKING:
    from nbreactive.notebook.live_table import LiveTable

LIVE_MIME = "application/vnd.nbreactive.live.v1+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def live_bundle(live: LiveValue, table: LiveTable | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the MIME bundle of a live query and make its view, as ``table`` wants it."""
    view, note = _view(live, table)
    return _data(live, view, note), {}


def show(live: LiveValue, table: LiveTable | None = None) -> None:
    """Display a live query, as ``table`` wants it."""
    from IPython.display import publish_display_data

    view, note = _view(live, table)
    data = _data(live, view, note)
    if view is None:
        publish_display_data(data)
        return
    view.display_id = uuid.uuid4().hex
    view.saved = live.value
    publish_display_data(data, transient={"display_id": view.display_id})


def save_again() -> None:
    """Replace the snapshots of views that no page has shown, where there is something new."""
    from IPython.display import publish_display_data

    for view in open_views():
        live = view.live
        if live is not None and view.display_id and not view.seen and live.value is not view.saved:
            view.saved = live.value
            publish_display_data(_data(live, view, ""), transient={"display_id": view.display_id}, update=True)


after_cell.append(save_again)


def _view(live: LiveValue, table: LiveTable | None) -> tuple[TableView | None, str]:
    """Make the view of a kernel's front end; None and why, if there is none."""
    if not _in_kernel():
        return None, ""
    try:
        return TableView(live, table), ""
    except NBReactiveError as failure:
        return None, str(failure)


def _data(live: LiveValue, view: TableView | None, note: str) -> dict[str, Any]:
    table = snapshot(live)
    data: dict[str, Any] = {"text/plain": plain(live, table)}
    if _in_kernel() and not live.at:  # a page without the kernel could only show what is now
        data[LIVE_MIME] = live_payload(live, table)
    if view is not None:
        data[WIDGET_MIME] = {"version_major": 2, "version_minor": 1, "model_id": view.widget.model_id}
    data["text/html"] = page(live, table, note)
    return data


def _in_kernel() -> bool:
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def snapshot(live: LiveValue) -> dict[str, Any]:
    """Return the rows that may be saved: few, and none of a function that reads who asks."""
    if isinstance(live, LiveFrame):
        table = text_table(live, settings.snapshot_rows)
    else:
        table = table_of(live.value, live.columns, settings.snapshot_rows, live.total, live.moments)
    return table | {"rows": []} if live.identity_read else table


def live_payload(live: LiveValue, table: dict[str, Any]) -> dict[str, Any]:
    """Return what the notebook extension needs to make the saved output live again."""
    from nbreactive.values.json import to_jsonable

    payload: dict[str, Any] = {
        "v": 1,
        "deployment": live.deployment,
        "path": live.path,
        "args": to_jsonable(live.args or {}),
        "title": safe_text(live.title),
        "badge": badge_of(live),
        "table": table,
        "renderedAt": time.time() * 1000,
    }
    payload |= _layout(live, len(table["rows"]))
    if live.args is not None and not live.at and not live.closed:
        payload["place"] = live.place  # where a page asks for what is new, by itself
    return payload


def _layout(live: LiveValue, rows: int) -> dict[str, Any]:
    """Return what a page needs to lay new results out as it is done here."""
    if isinstance(live, LiveFrame):
        return {"frame": frame_of(live, rows), "badge": badge_of(live) or params_text(live)}
    columns = live.columns
    names = [name for name in columns if isinstance(name, str)] if isinstance(columns, list | tuple | dict) else []
    layout: dict[str, Any] = {"columns": names, "kinds": declared_kinds(live.declared)}
    if isinstance(live, PaginatedQuery):
        layout["pageSize"] = live.page_size
    if live.identity_read:
        layout["personal"] = True
    if bound := live.bound:  # without the kernel, widgets move nothing
        layout["badge"] = ", ".join(filter(None, [badge_of(live), args_text(bound)]))
    return layout


def page(live: LiveValue, table: dict[str, Any], note: str = "") -> str:
    """Return the snapshot as HTML; every text of a user is escaped."""
    caption = f"{_escape(live.title)} · {_state(live, table)}"
    head = "".join(f"<th>{_escape(name)}</th>" for name in table["columns"])
    rows = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in table["rows"])
    problems = "".join(f"<p>{_escape(text)}</p>" for text in (message_of(live), note) if text)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{problems}"


def _state(live: LiveValue, table: dict[str, Any]) -> str:
    shown, total = len(table["rows"]), table["total"]
    if live.identity_read:
        rows = f"{total:,} rows, not saved: they depend on who looks"
    elif table.get("document"):
        rows = "1 document"
    else:
        rows = f"{shown:,} of {total:,} rows" if shown < total else f"{total:,} row{'' if total == 1 else 's'}"
    return f"snapshot of {time.strftime('%H:%M')} · {rows}"


def _cell(value: Any) -> str:
    return _escape(cell_text(value))


def _escape(value: Any) -> str:
    return html.escape(safe_text(str(value)), quote=True)


def plain(live: LiveValue, table: dict[str, Any], widest: int = 40) -> str:
    """Return the snapshot as text."""
    lines = [[str(name) for name in table["columns"]]]
    lines += [[" ".join(cell_text(value).split()) for value in row] for row in table["rows"]]
    lines = [[text if len(text) <= widest else text[: widest - 1] + "…" for text in line] for line in lines]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    body = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    problem = message_of(live)
    return "\n".join(
        [
            f"{safe_text(live.title)} · {live.state} · {_state(live, table)}",
            *body,
            *([safe_text(problem, 2000)] if problem else []),
        ]
    )
