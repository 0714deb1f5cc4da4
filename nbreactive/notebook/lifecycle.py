"""Which cell made what: views and observers of a cell end when it runs again, or is deleted.

Front ends tell the kernel the id of the cell that runs, and the ids of cells that were deleted since. Without ids
(plain consoles, nbclient) nothing is ended early. IPython keeps everything a cell displayed (``_``, ``Out[5]``): live objects
of a cell that runs again are taken out of there, so that only the user's own names keep them.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any

from nbreactive.client import threads
from nbreactive.client.live_value import LiveValue

_log = logging.getLogger("nbreactive")
SETTLING = 1.0
"""Seconds that a cell waits at its end, at most, for drawings of what it has changed."""
Ending = Callable[[], None]
_CACHED = re.compile(r"_{1,3}|_\d+")
"""Names under which IPython keeps what was displayed."""


class Cells:
    """What the cells of this kernel have made."""

    def __init__(self) -> None:
        self.current: str | None = None
        self._endings: dict[str, dict[int, Ending]] = {}
        self._displayed: dict[str, list[int]] = {}
        self._count = 0

    def own(self, ending: Ending) -> Callable[[], None]:
        """Call ``ending`` when the running cell runs again; returns how to forget it."""
        key = self.current
        if key is None:
            return _nothing
        self._count += 1
        number = self._count
        self._endings.setdefault(key, {})[number] = ending

        def forget() -> None:
            self._endings.get(key, {}).pop(number, None)

        return forget

    def begin(self, cell_id: str | None, deleted: list[str] | None = None) -> list[int]:
        """A cell starts to run; returns the prompt numbers whose outputs are gone."""
        gone: list[int] = []
        for cell in [*(deleted or []), *([cell_id] if cell_id else [])]:
            self.end(cell)
            gone += self._displayed.pop(cell, [])
        self.current = cell_id
        return gone

    def finish(self, prompt: int | None) -> None:
        """The cell has run, as number ``prompt``."""
        if self.current is not None and prompt is not None:
            self._displayed.setdefault(self.current, []).append(prompt)
        self.current = None

    def end(self, cell_id: str) -> None:
        """End what a cell has made."""
        for ending in self._endings.pop(cell_id, {}).values():
            try:
                ending()
            except Exception:  # noqa: BLE001 (the others have to end too)
                _log.exception("something of a cell could not be ended")

    def end_all(self) -> None:
        """End everything (the extension is unloaded)."""
        for cell_id in list(self._endings):
            self.end(cell_id)


cells = Cells()
after_cell: list[Callable[[], None]] = []
"""Called when a cell has run that no page has sent (pages say which cell it is), and what it changed is drawn."""


def _nothing() -> None:
    return


class Hooks:
    """Connects :data:`cells` with one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)
        LiveValue.on_observe = cells.own

    def remove(self) -> None:
        """Undo everything."""
        LiveValue.on_observe = None
        cells.end_all()
        for event, hook in (("pre_run_cell", self.before), ("post_run_cell", self.after)):
            with contextlib.suppress(ValueError):
                self._shell.events.unregister(event, hook)

    def before(self, info: Any) -> None:
        """IPython is about to run a cell."""
        if any(line.split()[:2] == ["%load_ext", "nbreactive"] for line in str(info.raw_cell or "").splitlines()):
            # Run All says again to what this notebook is connected, rather than that the extension is loaded
            self._shell.extension_manager.loaded.discard("nbreactive")
        meta = getattr(info, "cell_meta", None) or {}
        deleted = meta.get("deletedCells") if isinstance(meta, dict) else None
        gone = cells.begin(info.cell_id, [str(cell) for cell in deleted or []])
        if gone:
            drop_outputs(self._shell, gone)

    def after(self, result: Any) -> None:
        """IPython has run a cell."""
        paged = cells.current is not None
        cells.finish(getattr(result, "execution_count", None))
        # What the cell has changed is drawn before the cell has ended, or it would be missing from what nbconvert and
        # papermill save: they end the kernel after the last one.
        threads.settle(SETTLING)
        if not paged:
            for work in after_cell:
                work()


def drop_outputs(shell: Any, prompts: list[int]) -> None:
    """Let IPython's output cache forget live objects which cells, now run again or deleted, had displayed."""
    history = shell.user_ns.get("_oh", {})
    dropped = [id(history.pop(prompt)) for prompt in prompts if _is_live(history.get(prompt))]
    for names in (shell.user_ns, shell.user_ns_hidden, vars(shell.displayhook)):
        for name in [name for name, value in names.items() if _CACHED.fullmatch(name) and id(value) in dropped]:
            if name.strip("_"):
                del names[name]
            else:
                names[name] = ""  # IPython wants _, __ and ___ to be there


def _is_live(value: Any) -> bool:
    from nbreactive.notebook.render import Rendering

    return isinstance(value, LiveValue | Rendering)
