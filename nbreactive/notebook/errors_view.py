"""Errors in a notebook: the message, the user's own lines, and nothing of ours.

The text of our errors says the fix already. Around it come the frames that the user wrote: those of the function in
the backend (it sends them in development mode), and the line of the cell which asked.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from nbreactive.errors import DeployRefused, NBReactiveError, StaleModule
from nbreactive.notebook.cells import safe_text

_OURS = str(Path(__file__).parent.parent)
_LIBRARIES = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of a traceback that the user wrote."""
    found: list[traceback.FrameSummary] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        name = code.co_filename
        if not name.startswith((_OURS, *_LIBRARIES)) and not name.startswith("<frozen"):
            line = linecache.getline(name, trace.tb_lineno).strip()
            if line.startswith(("get_ipython().run_", "%")):
                trace = trace.tb_next
                continue  # the magic itself says nothing that the user does not see
            found.append(traceback.FrameSummary(name, trace.tb_lineno, code.co_name, line=line))
        trace = trace.tb_next
    return found


def frames_text(error: BaseException) -> str:
    """Return the user's frames as text, one or two lines each."""
    return "\n".join(f"  {_place(frame)}\n    {frame.line}" for frame in own_frames(error))


def _place(frame: traceback.FrameSummary) -> str:
    name = frame.filename
    where = "this notebook" if "ipykernel_" in name or name.startswith("<ipython-input") else name
    inside = "" if frame.name == "<module>" else f", in {frame.name}"
    return f"{where}, line {frame.lineno}{inside}"


def error_text(error: NBReactiveError) -> str:
    """Return all that is to be printed of one of our errors."""
    return "\n".join([f"{type(error).__name__}: {_headline(error)}", *_details(error)])


def _headline(error: NBReactiveError) -> str:
    """Return the message, without what the lines below it say again."""
    text = str(error).strip()
    issues = getattr(error, "issues", None)
    if isinstance(error, DeployRefused) and issues:
        text = text.split("\n", 1)[0]
    elif getattr(error, "trace", ""):
        text = _without_places(text)
    return _shown(text)


def _without_places(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not _AT.fullmatch(line)).rstrip("\n")


_AT = re.compile(r"    at \S+ \(.*:\d+\)")
"""How the backend writes a frame inside of a message."""


def _details(error: NBReactiveError) -> list[str]:
    parts: list[str] = []
    trace = _trace_of(error)
    if trace:
        parts.append(_shown(trace))
    if isinstance(error, DeployRefused):
        parts += [_issue(issue) for issue in getattr(error, "issues", None) or []]
    if isinstance(error, StaleModule):
        if error.diff:
            parts.append(_shown(error.diff))
        module = str(error.current.get("name") or "MODULE")
        parts.append(
            _shown(
                f"Look at what is deployed: %reactive source {module}\n"
                f"Replace it:               %%reactive deploy {module} --force"
            )
        )
    frames = frames_text(error)
    if frames:
        parts.append(f"asked by\n{frames}")
    return parts


def _trace_of(error: NBReactiveError) -> str:
    """Return the function's own frames; what was raised there is said above them already."""
    trace = str(getattr(error, "trace", "") or "").strip("\n")
    said = _without_places(str(error).strip())
    if trace.endswith(said):
        trace = trace.removesuffix(said).removesuffix(f"{type(error).__name__}: ").rstrip("\n")
    return _FRAME.sub(_with_cell_line, trace)


_FRAME = re.compile(r"^  File \"reactive/(.+)\.py\", line (\d+), in .+(?=\n    (.+))", re.MULTILINE)
_cells: dict[str, list[str]] = {}


def remember_cell(module: str, source: str) -> None:
    """Note the text of a cell that was deployed, so that errors can say where in the cell they were raised."""
    _cells[module] = source.splitlines()


def _with_cell_line(frame: re.Match[str]) -> str:
    """Add the line in the cell (the magic is its first), if the module is still what the cell says."""
    lines, number = _cells.get(frame[1], []), int(frame[2])
    if not 0 < number <= len(lines) or lines[number - 1].strip() != frame[3].strip():
        return frame[0]
    return f"{frame[0]} (line {number + 1} of the cell)"


def _shown(text: str) -> str:
    return "\n".join(safe_text(line, 2000) for line in text.split("\n"))


def _issue(issue: dict[str, Any]) -> str:
    where = f"{issue.get('file', '')}:{issue.get('line') or ''}".rstrip(":")
    if issue.get("cell_line"):
        where += f" (line {issue['cell_line']} of the cell)"
    code = f"\n      {issue['code']}" if issue.get("code") else ""
    fix = f"\n    fix: {issue['fix']}" if issue.get("fix") else ""
    return _shown(f"  {where}{code}\n    {issue.get('reason', '')}{fix}")


def _render_traceback(self: NBReactiveError) -> list[str]:
    return error_text(self).split("\n")


def install() -> None:
    """Let IPython print our errors this way."""
    NBReactiveError._render_traceback_ = _render_traceback  # type: ignore[attr-defined]


def remove() -> None:
    """Undo :func:`install`."""
    if "_render_traceback_" in NBReactiveError.__dict__:
        del NBReactiveError._render_traceback_  # type: ignore[attr-defined]
