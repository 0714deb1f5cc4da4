"""``LiveTable``: a live query as a table to work with: cells to edit, rows to select, numbers and dates as one likes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import traitlets

from nbreactive.client import threads
from nbreactive.client.live_value import LiveValue
from nbreactive.errors import ArgumentError
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.table_edit import Edit, edit_of

if TYPE_CHECKING:
    from nbreactive.notebook.table_widget import TableView

_SELECTIONS = ("none", "one", "many")


class LiveTable(traitlets.HasTraits):
    """A live query as a table whose cells can be edited, and whose rows can be selected.

    Parameters
    ----------
    live
        A live query, a result of SQL, or the name of a table (needs the right to deploy).
    edit
        The mutation that edits a cell; it is called as ``edit(id=row["_id"], field=value)``, so its signature is
        ``def update(ctx, id: Id["posts"], title: str = UNSET, likes: int = UNSET, **updates)``: the document (an argument called
        ``id``, or the only one hinted as ``Id``), and each field that may be edited, with a default. ``True``, for whole tables, lets any field
        be edited with the right to deploy. A function of the notebook is called as ``edit(id=..., field=value)``, in the kernel.
    selection
        ``"none"``, ``"one"`` or ``"many"`` rows can be selected.
    formats
        How columns are written: numbers as ``",.2f"``, ``",.0f"``, ``".1%"``; moments as ``"date"``, ``"time"``, ``"minutes"`` or
        ``"ms"``.
    height
        Of the rows at most, in pixels.

    Attributes
    ----------
    selected
        The ``_id`` of each selected row; where rows have none, its place in the result. To be observed, and set.

    Examples
    --------
    >>> posts = api.posts.list.live()       # doctest: +SKIP
    >>> view = nbreactive.LiveTable(posts, edit=api.posts.update, selection="one")       # doctest: +SKIP
    >>> view.observe(lambda change: print(view.selected_rows), "selected")       # doctest: +SKIP
    """

    selected = traitlets.List()

    def __init__(
        self,
        live: LiveValue | str,
        *,
        edit: Any = None,
        selection: Literal["none", "one", "many"] = "none",
        formats: Mapping[str, str] | None = None,
        height: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(live, str):
            from nbreactive.client import table

            live = table(live)
        if not isinstance(live, LiveValue):
            raise ArgumentError(f"A table shows a live query (api.posts.list.live()), not {type(live).__name__}.")
        if selection not in _SELECTIONS:
            raise ArgumentError(f"selection is 'none', 'one' or 'many', not {selection!r}")
        if height is not None and height < 1:
            raise ArgumentError(f"height is a number of pixels from 1 on, not {height!r}")
        self.live: LiveValue = live
        self._edit: Edit | None = edit_of(edit, live, live._client)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._selection = selection
        self._formats = {str(name): str(format_) for name, format_ in (formats or {}).items()}
        self._height = height or 0
        self._views: list[TableView] = []

    @property
    def editing(self) -> Edit | None:
        """Which function edits cells."""
        return self._edit

    @property
    def selected_rows(self) -> list[Any]:
        """The selected rows as they are now; those that have gone are missing."""
        rows = self.live.value
        rows = rows["page"] if isinstance(rows, dict) and isinstance(rows.get("page"), list) else rows
        if not isinstance(rows, list):
            return []
        by_id = {row["_id"]: row for row in rows if isinstance(row, dict) and "_id" in row}
        found = [
            by_id.get(key) if isinstance(key, str) else rows[key] if key < len(rows) else None for key in self.selected
        ]
        return [row for row in found if row is not None]

    def options(self) -> dict[str, Any]:
        """Return what a page is told of what may be done."""
        return {
            "edit": self._edit.told() if self._edit is not None else None,
            "selection": self._selection,
            "formats": self._formats,
            "height": self._height,
        }

    def attach(self, view: TableView) -> None:
        """A display of it was made."""
        self._views.append(view)
        view.widget.observe(self._chosen, "selected")

    def detach(self, view: TableView) -> None:
        """A display of it is gone."""
        if view in self._views:
            self._views.remove(view)

    def _chosen(self, change: Any) -> None:
        """Rows were selected in a page; any thread, so it only takes notes."""
        chosen = [key for key in change.new if isinstance(key, str | int)]
        threads.callbacks().post(("selected", id(self)), lambda: self.set_trait("selected", chosen))

    @traitlets.observe("selected")
    def _selected_changed(self, change: Any) -> None:
        for view in list(self._views):
            view.select(list(change.new))

    def _ipython_display_(self) -> None:
        from nbreactive.notebook.display import show

        show(self.live, self)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from nbreactive.notebook.display import live_bundle

        return live_bundle(self.live, self)

    def __repr__(self) -> str:
        return f"<LiveTable of {safe_text(self.live.title)}>"
