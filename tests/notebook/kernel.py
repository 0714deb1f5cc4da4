"""A real IPython kernel, driven as a front end drives it: cells with ids, outputs, comm messages."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import start_new_kernel


@dataclass
class Ran:
    """What a cell gave."""

    text: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None

    @property
    def plain(self) -> str:
        return "\n".join(display.get("text/plain", "") for display in self.displays)

    @property
    def error_text(self) -> str:
        return "\n".join((self.error or {}).get("traceback", []))


class Kernel:
    """A kernel and its client."""

    def __init__(self, env: dict[str, str], cwd: str) -> None:
        self.manager, self.client = start_new_kernel(
            kernel_name="python3", env=env, cwd=cwd, extra_arguments=["--log-level=40"]
        )
        self.cwd = Path(cwd)
        self.widgets: dict[str, dict[str, Any]] = {}
        self.updates: list[dict[str, Any]] = []

    def run(
        self, code: str, cell: str | None = None, *, deleted: list[str] | None = None, timeout: float = 60.0
    ) -> Ran:
        """Run one cell and wait until the kernel is idle again."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        metadata: dict[str, Any] = {"cellId": cell} if cell else {}
        if deleted:
            metadata["deletedCells"] = deleted
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        ran = Ran()
        deadline = time.monotonic() + timeout
        while True:
            heard = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            mine = heard["parent_header"].get("msg_id") == message["header"]["msg_id"]
            if self._take(heard, ran) and mine:
                self.client.get_shell_msg(timeout=timeout)
                return ran

    def drain(self, seconds: float = 0.2) -> Ran:
        """Take what comes without any cell."""
        ran = Ran()
        try:
            while True:
                self._take(self.client.get_iopub_msg(timeout=seconds), ran)
        except queue.Empty:
            return ran

    def until(self, condition: Any, seconds: float = 15.0) -> None:
        """Take messages until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            self.drain(0.02)

    def _take(self, heard: dict[str, Any], ran: Ran) -> bool:
        content, kind = heard["content"], heard["msg_type"]
        if kind == "status":
            return content["execution_state"] == "idle"
        if kind == "stream":
            ran.text += content["text"]
        elif kind in ("display_data", "execute_result"):
            ran.displays.append(content["data"])
            ran.metadata.append(content["metadata"])
        elif kind == "update_display_data":
            ran.updates.append(content["data"])
            self.updates.append(content["data"])
        elif kind == "error":
            ran.error = content
        elif kind == "comm_open":
            self.widgets[content["comm_id"]] = dict(content["data"].get("state", {}))
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.widgets.setdefault(content["comm_id"], {}).update(content["data"]["state"])
        elif kind == "comm_msg" and content["data"].get("content", {}).get("type") == "rows":
            self._take_rows(self.widgets[content["comm_id"]], content["data"]["content"])
        elif kind == "comm_close":
            self.widgets.setdefault(content["comm_id"], {})["_closed"] = True
        return False

    @staticmethod
    def _take_rows(state: dict[str, Any], change: dict[str, Any]) -> None:
        """Change the rows of a table as a page does."""
        rows = state["table"]["rows"]
        rows = [row for start, count, new in change["runs"] for row in (*rows[start : start + count], *new)]
        state["table"] = state["table"] | {"rows": rows, "total": change["total"], "version": change["version"]}

    def comm(self, comm_id: str, content: dict[str, Any]) -> None:
        """Send a custom message to a widget, as the front end does."""
        message = self.client.session.msg(
            "comm_msg", {"comm_id": comm_id, "data": {"method": "custom", "content": content}}
        )
        self.client.shell_channel.send(message)

    def live_tables(self) -> list[dict[str, Any]]:
        """State of the live tables that are open."""
        return [state for state in self.widgets.values() if "table" in state and not state.get("_closed")]

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
