"""What a kernel can know about the notebook it runs: its path, its cells, and what was saved in their outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def notebook_path(shell: Any = None) -> Path | None:
    """Return the notebook's file: a Jupyter server and VS Code tell; others do not."""
    told = os.environ.get("JPY_SESSION_NAME") or ""
    names = getattr(shell, "user_ns", None) or {}
    told = str(names.get("__vsc_ipynb_file__") or told)
    path = Path(told)
    return path if told and path.suffix == ".ipynb" else None


def notebook_label(shell: Any = None, root: Path | None = None) -> str:
    """Return how people call the notebook: below ``root``, the folder of its server, by its path there."""
    path = notebook_path(shell)
    if path is None:
        return f"a notebook in {Path.cwd().name or Path.cwd()}"
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name


def notebook_key(shell: Any = None) -> str:
    """Return what makes it the same notebook again."""
    path = notebook_path(shell)
    return str(path) if path is not None else f"{Path.cwd()}{os.sep}"


def saved_versions(deployment: str, shell: Any = None) -> dict[str, int]:
    """Return the versions of modules that the saved notebook's outputs say it has seen (newest per module)."""
    path = notebook_path(shell)
    if path is None:
        return {}
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found: dict[str, int] = {}
    for cell in cells if isinstance(cells, list) else []:
        for output in cell.get("outputs") or [] if isinstance(cell, dict) else []:
            note = (output.get("metadata") or {}).get("nbreactive") if isinstance(output, dict) else None
            if (
                isinstance(note, dict)
                and note.get("deployment") == deployment
                and isinstance(note.get("modules"), dict)
            ):
                for module, version in note["modules"].items():
                    if isinstance(version, int):
                        found[str(module)] = max(version, found.get(str(module), 0))
    return found
