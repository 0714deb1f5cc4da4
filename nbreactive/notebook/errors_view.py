"""Errors in a notebook: the message, the user's own lines, and nothing of ours.

The text of our errors says the fix already. Around it come the frames that the user wrote: those of the function in
the backend (it sends them in development mode), and the line of the cell which asked.
"""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Mapping
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
        issues: list[dict[str, Any]] = getattr(error, "issues", None) or []
        parts += [_issue(issue) for issue in issues[:_MOST]]
        parts += [f"... and {len(issues) - _MOST} more"] * (len(issues) > _MOST)
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


_BOLD, _RED = "1", "31"  # which can be read on the ground that front ends give errors, light or dark
_BEFORE, _AFTER, _MOST = 2, 1, 20
"""Lines shown around one that is wrong, and how many of these."""


def quote(refused: DeployRefused, sources: Mapping[str, tuple[str, str]]) -> None:
    """Add to each issue where people find its line, and the text there.

    Parameters
    ----------
    refused
        Its issues name files of the deployment.
    sources
        By those names: where the text is (``Cell In[5]``, a path), and the text.
    """
    for issue in refused.issues:
        where, source = sources.get(str(issue.get("file")), ("", ""))
        if where:
            line = issue.get("line") or 0
            first = where.startswith("Cell ")  # its magic, which is not part of the module
            issue |= {"where": where, "lines": source.splitlines(), "shown_line": line + first if line else 0}


def _issue(issue: Mapping[str, Any]) -> str:
    """Return one issue as tracebacks show a line: its place, the lines around it, a mark below; the reason, the fix."""
    number, lines = issue.get("shown_line") or issue.get("line") or 0, issue.get("lines") or []
    column = issue.get("column") or 0
    place = str(issue.get("where") or issue.get("file") or "")
    is_path = not place.startswith("Cell ")  # JupyterLab links a path with line and column behind it
    if number and is_path:
        place += f":{number}" + f":{column}" * bool(column)
    elif number:
        place += f", line {number}" + f", column {column}" * bool(column)
    text = [_styled(safe_text(place, 2000), _BOLD)]
    if 0 < number <= len(lines):
        for at in range(max(1, number - _BEFORE), min(len(lines), number + _AFTER) + 1):
            line = safe_text(lines[at - 1].expandtabs(4).rstrip(), 200)
            arrow = f"{'-' * (6 - len(str(at)))}> {at}" if at == number else f"{at:>8}"
            text.append(_styled(f"{arrow} {line}", _BOLD if at == number else ""))
            if at == number and column:
                text.append(" " * 9 + _styled(_mark(lines[at - 1], column), _RED))
    text.append(safe_text(f"    {issue.get('reason', '')}", 2000))
    if issue.get("fix"):
        text.append(safe_text(f"    fix: {issue['fix']}", 2000))
    return "\n".join(text)


def _mark(line: str, column: int) -> str:
    """Return what stands below a line, to mark the name or the sign at a column."""
    before = line[: column - 1].expandtabs(4)
    found = re.match(r"\w+", line[column - 1 :])
    return " " * len(before) + "^" * (len(found[0]) if found else 1)


def _styled(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and _Style.coloured else text


class _Style:
    coloured = True


def _render_traceback(self: NBReactiveError) -> list[str]:
    return error_text(self).split("\n")


def install(shell: Any) -> None:
    """Let IPython print our errors this way, in colours if it prints its own in colours."""
    _Style.coloured = str(getattr(shell, "colors", "")).lower() != "nocolor"
    NBReactiveError._render_traceback_ = _render_traceback  # type: ignore[attr-defined]


def remove() -> None:
    """Undo :func:`install`."""
    if "_render_traceback_" in NBReactiveError.__dict__:
        del NBReactiveError._render_traceback_  # type: ignore[attr-defined]
