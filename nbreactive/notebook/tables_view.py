"""``%reactive tables``: the tables of the deployment, with what is in them, live."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from nbreactive.client.arguments import FixedArguments
from nbreactive.client.client import Client
from nbreactive.client.live import LiveQuery
from nbreactive.client.protocol import Outcome
from nbreactive.errors import NBReactiveError

SIZES = "_system/tables:sizes"
COLUMNS: Final[tuple[str, ...]] = ("table", "documents", "size", "schema", "indexes")
_PATIENCE = 2.0
NONE_YET = "no tables yet · the first insert makes one"


class TablesQuery(LiveQuery):
    """A row for each table: how many documents, about how large, what declares it."""

    _heard: Outcome | None = None
    _shown: Outcome | None = None

    @classmethod
    def open(cls, client: Client) -> TablesQuery:
        """Make the list live, and wait for it."""
        client.check_thread("%reactive tables")
        live = cls(client, SIZES, FixedArguments({}), title="tables")
        client.keep(live)
        try:
            with client.explained():
                live.wait()
                live._catch_up()
        except BaseException:
            live.close()
            raise
        return live

    def _catch_up(self) -> None:
        """Wait a moment for the list of now: an older one may be shared while the connection comes back (after a reset)."""
        there = {table["name"] for table in self._client.admin("GET", "tables")["tables"]}
        deadline = time.monotonic() + _PATIENCE
        while {row["table"] for row in self.value or ()} != there and time.monotonic() < deadline:
            time.sleep(0.02)

    def receive(self, outcome: Outcome | None, link: str, problem: NBReactiveError | None) -> None:
        """Take a new list (client thread)."""
        if outcome is not None and outcome.error is None:
            if outcome is not self._heard:
                rows = [_row(table) for table in outcome.value]
                ruled = any("rules" in row for row in rows)
                columns = (*COLUMNS, "rules") if ruled else COLUMNS
                self._heard, self._shown = outcome, replace(outcome, value=rows, columns=columns)
            outcome = self._shown
        super().receive(outcome, link, problem)
        if link == "open" and outcome is not None and not outcome.error and not outcome.value:
            self.message = NONE_YET


def _row(table: dict[str, Any]) -> dict[str, Any]:
    indexes = [
        index["name"] + ("" if index["state"] == "ready" else f" ({index['state']})") for index in table["indexes"]
    ]
    shown: list[Any] = [table["name"], int(table["count"]), size_text(table["bytes"])]
    shown += [table["module"] or "", ", ".join(indexes)]
    return dict(zip(COLUMNS, shown, strict=True))


def size_text(size: float) -> str:
    """Return a number of bytes as people read it.

    Examples
    --------
    >>> size_text(0), size_text(950), size_text(1536000)
    ('0 B', '950 B', '1.54 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
